"""Draining, with an API that exists in memory alone."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from kubeup.checks.kubectl import CORDONED
from kubeup.deploy import drain as drain_module
from kubeup.deploy.drain import _documents as documents
from kubeup.deploy.drain import blockers, cordon, drain, not_ready, refusals, uncordon, without_controller
from kubeup.errors import HostsFailed, NodeError
from kubeup.host.session import Output

RUN: Any = SimpleNamespace(cluster=SimpleNamespace(name="demo"), session=None)

TIMED_OUT = """\
Warning: ignoring DaemonSet-managed Pods: kube-system/agent-x
error when evicting pods/"web-1" -n "default" (will retry after 5s): Cannot evict pod as it would violate the pod's disruption budget.
error when evicting pods/"web-1" -n "default" (will retry after 5s): Cannot evict pod: the last said.
There are pending pods in node "n2" when an error occurred: error when evicting pods/"web-1" -n "default": global timeout reached: 10s
error: unable to drain node "n2" due to error: error when evicting pods/"web-1" -n "default": global timeout reached: 10s, continuing command...
"""  # noqa: E501  as kubectl says it

STILL_ENDING = """\
There are pending pods in node "n2" when an error occurred: error when waiting for pod "web-1" in namespace "default" to terminate: context deadline exceeded
"""  # noqa: E501


def pod(name: str, owner: str | None = "ReplicaSet", *, ready: bool = True, **more: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": "default", "labels": {"app": name.partition("-")[0]}}
    if owner:
        metadata["ownerReferences"] = [{"kind": owner, "controller": True}]
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
    return {"metadata": {**metadata, **more.pop("metadata", {})}, "status": {**status, **more}}


def budget(name: str, selector: Any, allowed: int = 0, namespace: str = "default") -> dict[str, Any]:
    status = {"disruptionsAllowed": allowed, "currentHealthy": 2, "expectedPods": 3, "desiredHealthy": 2}
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"selector": selector}, "status": status}


class Api:
    """What takes the place of Kubectl: one node n2, its pods, and what `kubectl drain` will say."""

    def __init__(self) -> None:
        self.nodes: dict[str, Any] = {"n2": {"metadata": {"name": "n2"}, "spec": {}}}
        self.pods: list[dict[str, Any]] = []
        self.budgets: list[dict[str, Any]] = []
        self.drained = Output("", "", 0)
        self.said: list[tuple[str, ...]] = []
        self.avoided: list[str] = []
        self.now = 0.0

    def __call__(self, cluster: Any, session: Any, *, avoid: str = "") -> "Api":
        self.avoided.append(avoid)
        return self

    def node(self, name: str) -> Any:
        return self.nodes.get(name)

    def get(self, kind: str, *_: str) -> list[dict[str, Any]]:
        return {"pods": self.pods, "poddisruptionbudgets": self.budgets}[kind]

    def checked(self, script: str, name: str, patch: str) -> str:
        assert "patch node" in script
        for part, values in json.loads(patch).items():
            now = self.nodes[name][part]
            if part == "metadata":
                now, values = now.setdefault("annotations", {}), values["annotations"]
            now.update(values)
            for key in [key for key, value in values.items() if value is None]:
                del now[key]
        return ""

    def script(self, script: str, *arguments: str, timeout: float) -> Output:
        self.said.append(arguments)
        self.now += float(arguments[-1].removeprefix("--timeout=").removesuffix("s"))
        return self.drained


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    api = Api()
    monkeypatch.setattr(drain_module, "Kubectl", api)
    monkeypatch.setattr(drain_module, "time", SimpleNamespace(monotonic=lambda: api.now))
    return api


def test_cordon_and_uncordon_leave_the_node_as_it_was(api: Api) -> None:
    assert cordon(RUN, "n2")
    assert api.nodes["n2"]["spec"] == {"unschedulable": True}
    assert cordon(RUN, "n2"), "a run that goes on after a kill must know that it was kubeup"
    assert uncordon(RUN, "n2")
    assert api.nodes["n2"] == {"metadata": {"name": "n2", "annotations": {}}, "spec": {}}


def test_a_node_that_a_person_has_cordoned_stays_so(api: Api) -> None:
    api.nodes["n2"]["spec"]["unschedulable"] = True
    assert not cordon(RUN, "n2")
    assert not uncordon(RUN, "n2")
    assert api.nodes["n2"] == {"metadata": {"name": "n2"}, "spec": {"unschedulable": True}}


def test_there_is_no_such_node(api: Api) -> None:
    with pytest.raises(NodeError, match="no node n9"):
        cordon(RUN, "n9")
    assert not uncordon(RUN, "n9")


def test_kubectl_drains_past_daemon_sets_and_not_from_the_nodes_own_master(api: Api) -> None:
    api.pods = [pod("agent-x", "DaemonSet"), pod("web-1")]
    assert drain(RUN, "n2", timeout=10)
    assert api.said == [("n2", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=10s")]
    assert set(api.avoided) == {"n2"}
    assert api.nodes["n2"]["metadata"]["annotations"] == {CORDONED: "true"}


def test_pods_that_nobody_makes_anew_are_refused_by_name_before_anything_is_done(api: Api) -> None:
    mirror = pod("static", None, metadata={"annotations": {"kubernetes.io/config.mirror": "1"}})
    api.pods = [pod("b", None), pod("web-1"), pod("a", None), pod("job", None, phase="Succeeded"), mirror]
    with pytest.raises(NodeError, match=r"default/a, default/b\.\n.*--force"):
        drain(RUN, "n2")
    assert api.said == []
    assert api.nodes["n2"]["spec"] == {}
    drain(RUN, "n2", force=True)
    assert "--force" in api.said[0]


@pytest.mark.parametrize("said", [TIMED_OUT, STILL_ENDING])
def test_after_the_time_limit_it_says_what_blocks(api: Api, said: str) -> None:
    api.pods = [pod("agent-x", "DaemonSet"), pod("web-1")]
    api.budgets = [budget("two-of-web", {"matchLabels": {"app": "web"}})]
    api.drained = Output("", said, 1)
    with pytest.raises(NodeError) as raised:
        drain(RUN, "n2", timeout=45)
    assert [arguments[-1] for arguments in api.said] == ["--timeout=20s", "--timeout=20s", "--timeout=5s"]
    text = str(raised.value)
    assert "n2 could not be drained within 45 s" in text
    assert (
        "default/web-1: the PodDisruptionBudget two-of-web allows 0 disruptions: 2 of 3 pods are healthy, and 2 must be"
    ) in text
    assert "agent-x" not in text


def test_a_drain_whose_last_pod_went_in_the_end_is_done(api: Api) -> None:
    api.pods = [pod("agent-x", "DaemonSet")]
    api.drained = Output("", TIMED_OUT, 1)
    assert drain(RUN, "n2")


def test_another_failure_of_kubectl_is_told_as_it_is(api: Api) -> None:
    api.pods = [pod("web-1")]
    api.drained = Output("", "error: admission webhook said no", 1)
    with pytest.raises(HostsFailed, match="webhook said no"):
        drain(RUN, "n2")


def test_what_kubectl_said_last_of_a_pod_counts() -> None:
    assert refusals(TIMED_OUT) == {"default/web-1": "Cannot evict pod: the last said."}


@pytest.mark.parametrize(
    ("selector", "covers"),
    [
        ({}, True),
        (None, False),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "web", "tier": "front"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "api"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["web"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
    ],
)
def test_which_pods_a_budget_is_about(selector: Any, covers: bool) -> None:
    line = blockers([pod("web-1")], [budget("two", selector)], {"default/web-1": "said"})
    assert ("PodDisruptionBudget two" in line[0]) == covers
    assert line[0].endswith(": said") != covers


def test_budgets_that_allow_one_to_go_or_are_elsewhere_do_not_block() -> None:
    budgets = [budget("free", {}, allowed=1), budget("elsewhere", {}, namespace="other")]
    assert blockers([pod("web-1")], budgets, {}) == ["default/web-1: its turn had not come"]


def test_a_pod_that_is_ending_is_told_with_its_grace() -> None:
    slow = pod("web-1", metadata={"deletionTimestamp": "12:00", "deletionGracePeriodSeconds": 600, "finalizers": ["x"]})
    (line,) = blockers([slow], [budget("two", {})], {})
    assert line == "default/web-1: is ending, and has until 12:00 (600 s of grace), and is kept by the finalizers x"


def test_pods_of_a_controller_that_is_no_longer_theirs_count_as_alone() -> None:
    orphan = pod("a", metadata={"ownerReferences": [{"kind": "ReplicaSet"}]})
    assert without_controller([orphan]) == ["default/a"]


def ready_node(version: str = "v1.36.3", status: str = "True") -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": status, "message": "PLEG is not healthy"}]
    return {"status": {"nodeInfo": {"kubeletVersion": version}, "conditions": conditions}}


WAITING = {"name": "web", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}


@pytest.mark.parametrize(
    ("nodes", "pods", "code", "wrong"),
    [
        ([ready_node()], [pod("web-1")], 0, []),
        ([], [], 0, ["the node has not registered with the API"]),
        ([ready_node()], [], 1, ["its kubelet does not answer: refused"]),
        ([ready_node(status="False")], [], 0, ["the node is not Ready: PLEG is not healthy"]),
        ([ready_node("v1.35.4")], [], 0, ["the node reports the kubelet v1.35.4, not v1.36.3"]),
        (
            [ready_node()],
            [pod("web-1", ready=False, containerStatuses=[WAITING])],
            0,
            ["default/web-1: web is ImagePullBackOff no such image"],
        ),
        ([ready_node()], [pod("job", ready=False, phase="Succeeded")], 0, []),
        ([ready_node()], [pod("web-1", ready=False, metadata={"deletionTimestamp": "1"})], 0, []),
        ([ready_node()], [pod("was-bad-before", ready=False)], 0, []),
    ],
)
def test_what_keeps_a_node_from_being_ready(nodes: Any, pods: Any, code: int, wrong: list[str]) -> None:
    text = json.dumps({"items": nodes}, indent=2) + "\n" + json.dumps({"items": pods})
    kubectl: Any = SimpleNamespace(script=lambda *_: Output(text, "refused" if code else "", code))
    assert not_ready(kubectl, "n2", "1.36.3", ["default/was-bad-before"]) == wrong
    of_the_node = [line for line in wrong if not line.startswith("default/")]
    assert not_ready(kubectl, "n2", "1.36.3", pods_too=False) == of_the_node


def test_an_api_that_does_not_answer_is_not_ready() -> None:
    kubectl: Any = SimpleNamespace(script=lambda *_: Output('{"items": [', "no route", None))
    assert not_ready(kubectl, "n2", "", ()) == ["the API did not answer: no route"]


def test_json_documents_one_after_another() -> None:
    assert documents('{"a": 1}\n{"b": 2}\n{"c":') == [{"a": 1}, {"b": 2}]
