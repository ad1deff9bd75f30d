"""Each check against an API that answers what a test says, the right thing and wrong ones."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gevent
import pytest

from kubeup.checks.deep import access, controllers, refusals, scheduler
from kubeup.checks.deep.ground import Ground, Pods
from kubeup.checks.deep.runner import CHECKS, Deep
from kubeup.checks.validation import STAND_IN, CheckFailed
from kubeup.host.session import Output

SPACE = "kubeup-validation-abc-x"


class Api:
    """kubectl on a master. ``items``: what there is, by kind; ``says``: what a script with these words in it prints."""

    def __init__(self) -> None:
        self.items: dict[str, list[Any]] = {}
        self.says: dict[str, Output] = {}
        self.made: list[Any] = []

    def script(self, script: str, *arguments: str, stdin: str | None = None, timeout: float = 0) -> Output:
        if stdin and "create -f" in script:
            made = json.loads(stdin)
            self.made += made["items"] if made["kind"] == "List" else [made]
        return next((output for words, output in self.says.items() if words in script), Output("", "", 0))

    def get(self, kind: str, *_: str) -> list[Any]:
        found = self.items.get(kind, [])
        return found() if callable(found) else found


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    monkeypatch.setattr(controllers, "ACTS_WITHIN", 0.05)
    monkeypatch.setattr(scheduler, "DECIDES_WITHIN", 0.05)
    monkeypatch.setattr(gevent, "sleep", lambda seconds=0, sleep=gevent.sleep: sleep(0.001))
    return Api()


@pytest.fixture
def ground(world: Any, api: Api) -> Ground:
    pods = Pods("kubeup-validation-abc-pods", ["n1", "n2"])
    return Ground(world.cluster("ai i"), None, api, "abc", SPACE, pods, list)  # type: ignore[arg-type]


def named(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {}, **more}


def says(check: Callable[[Ground], str], ground: Ground) -> str:
    """What a check that has to fail says."""
    with pytest.raises(CheckFailed) as failed:
        check(ground)
    return str(failed.value)


def test_a_scheduler_that_puts_all_on_one_node(ground: Ground, api: Api) -> None:
    def placed() -> list[Any]:
        pods = [one["metadata"]["name"] for one in api.made if one["kind"] == "Pod"]
        return [named(name, status={}) | {"spec": {"nodeName": f"{SPACE}-a"}} for name in pods]

    api.items["pods"] = placed  # type: ignore[assignment]
    assert "the pod does-not was placed, and had to be refused" in says(scheduler.taints, ground)
    assert "the pod memory was placed" in says(scheduler.requests, ground)
    assert "one had to be on each of a, b: they are on a, a, a" in says(scheduler.affinity, ground)
    assert scheduler.places(ground).startswith("a pod was placed on")


def test_stand_ins_keep_others_off_and_are_found_again(ground: Ground, api: Api) -> None:
    assert "has not looked at the pods does-not, tolerates" in says(scheduler.taints, ground)
    (node,) = [one for one in api.made if one["kind"] == "Node"]
    assert node["spec"]["taints"] == [{"key": STAND_IN, "value": "abc", "effect": "NoSchedule"}]
    assert {"kubeup.dev/validation", STAND_IN} <= node["metadata"]["labels"].keys()
    pods = [one for one in api.made if one["kind"] == "Pod"]
    assert all(one["metadata"]["labels"][STAND_IN] == "true" for one in pods)
    assert all(one["spec"]["nodeSelector"] == {STAND_IN: SPACE} for one in pods)


def test_pods_for_real_nodes_stay_off_stand_ins(ground: Ground, api: Api) -> None:
    says(scheduler.places, ground)
    api.items["jobs"] = [job("succeeds", "Failed")]
    says(controllers.jobs, ground)
    specs = [
        one["spec"]["template"]["spec"] if one["kind"] == "Job" else one["spec"]
        for one in api.made
        if one["kind"] in ("Pod", "Job")
    ]
    assert len(specs) == 3
    assert all('"operator": "DoesNotExist"' in json.dumps(spec["affinity"]) for spec in specs)


def job(name: str, kind: str) -> Any:
    return named(name, status={"conditions": [{"type": kind, "status": "True", "message": "m"}]})


@pytest.mark.parametrize(
    ("succeeds", "fails", "told"),
    [
        ("Complete", "Failed", ""),
        ("Failed", "Failed", "the Job succeeds is Failed: m"),
        ("Complete", "Complete", "the Job fails is Complete: m"),
    ],
)
def test_jobs(ground: Ground, api: Api, succeeds: str, fails: str, told: str) -> None:
    api.items["jobs"] = [job("succeeds", succeeds), job("fails", fails)]
    if told:
        assert says(controllers.jobs, ground) == told
    else:
        assert controllers.jobs(ground)


QUOTA = {"resourcequotas": [named("pods", status={"hard": {"pods": "1"}})]}


@pytest.mark.parametrize(
    ("items", "answer", "told"),
    [
        (QUOTA, Output("", 'Error: pods "beyond" is forbidden: exceeded quota: pods', 1), ""),
        (QUOTA, Output("", "", 0), "a second pod was taken where a ResourceQuota allows one"),
        (
            QUOTA,
            Output("", "Error: timeout", 1),
            "a pod beyond the quota was refused, but not for that: Error: timeout",
        ),
        ({"resourcequotas": [named("pods")]}, Output("", "", 0), "nobody counts a ResourceQuota (waited for 0 s)"),
    ],
)
def test_quota(ground: Ground, api: Api, monkeypatch: Any, items: Any, answer: Output, told: str) -> None:
    api.items = items
    plain = api.script

    def script(script: str, *arguments: str, stdin: str | None = None, timeout: float = 0) -> Output:
        beyond = stdin is not None and '"beyond"' in stdin
        return answer if beyond else plain(script, *arguments, stdin=stdin)

    monkeypatch.setattr(api, "script", script)
    if told:
        assert says(controllers.quota, ground) == told
    else:
        assert controllers.quota(ground)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Output("", "", 0), ""),
        (Output("secret/one\n", "", 0), "of a namespace that is gone there are still secret/one"),
        (Output("pod/one\n", "timed out", 1), "25 s after its deletion a namespace is still there, with pod/one"),
        (Output("", "timed out", 1), "25 s after its deletion a namespace is still there, with nothing in it"),
    ],
)
def test_namespaces(ground: Ground, api: Api, answer: Output, told: str) -> None:
    api.says["delete namespace"] = answer
    if told:
        assert says(controllers.namespaces, ground) == told
    else:
        assert controllers.namespaces(ground)


def test_service_accounts(ground: Ground, api: Api) -> None:
    assert says(controllers.service_accounts, ground).startswith("a new namespace has no service account")
    api.items["serviceaccounts"] = [named("default")]
    assert "no certificate of the authority" in says(controllers.service_accounts, ground)
    api.items["configmaps"] = [named("kube-root-ca.crt")]
    assert says(controllers.service_accounts, ground) == "the API takes a service account's token for nobody"
    api.says["create token"] = Output(f"system:serviceaccount:{SPACE}:default", "", 0)
    assert controllers.service_accounts(ground)


def test_replication(ground: Ground, api: Api) -> None:
    api.items["pods"] = [named("a"), named("b"), named("c")]
    assert says(controllers.replication, ground).startswith("rc: 3 pods, wanted 2")
    api.items["pods"] = [named("a"), named("b")]  # and they stay, though one was deleted
    assert says(controllers.replication, ground).startswith("rc: 2 pods, wanted 2 without a")


def test_endpoints(ground: Ground, api: Api) -> None:
    assert "EndpointSlices of a Service hold nothing, not 192.0.2.1, 192.0.2.2" in says(controllers.endpoints, ground)
    ready = [{"addresses": [ip], "conditions": {"ready": True}} for ip in ("192.0.2.1", "192.0.2.2")]
    api.items["endpointslices"] = [{"endpoints": ready}]
    assert "Endpoints of a Service hold nothing" in says(controllers.endpoints, ground)
    api.items["endpoints"] = [{"subsets": [{"addresses": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}]}]}]
    # They do not follow when a pod is no longer ready:
    assert "hold 192.0.2.1, 192.0.2.2, not 192.0.2.2" in says(controllers.endpoints, ground)


def test_access_names_the_nodes(ground: Ground, api: Api) -> None:
    assert access.logs(ground) == "of pods on 2 nodes"
    api.says["each()"] = Output("n2: error: unable to upgrade connection\n", "", 0)
    assert says(access.execute, ground) == "n2: error: unable to upgrade connection"
    assert says(access.port_forward, ground) == "n2: error: unable to upgrade connection"
    pods = [one for one in api.made if one["kind"] == "Pod"]
    assert [one["spec"]["nodeName"] for one in pods] == ["n1", "n2"]  # made once for all three


def test_pods_that_do_not_start_are_told_of_by_each_that_needs_them(ground: Ground, api: Api) -> None:
    api.says["wait --for=condition=Ready"] = Output("", "timed out", 1)
    api.items["pods"] = [{"spec": {"nodeName": "n2"}, "status": {}}]
    told = "no pod became ready within 25 s on n2"
    assert [says(check, ground) for check in (access.logs, access.proxy)] == [told, told]
    assert len([one for one in api.made if one["kind"] == "Pod"]) == 2


@pytest.mark.parametrize(
    ("api_status", "pod_body", "told"),
    [
        (200, "on-0\n", ""),
        (403, "on-0\n", "the API does not answer through kubectl proxy: 403"),
        (200, "other\n", "the pod on-0 does not answer through kubectl proxy: 200 other"),
    ],
)
def test_proxy(ground: Ground, api: Api, api_status: int, pod_body: str, told: str) -> None:
    answers = [
        {"status": api_status, "body": ground.pods.namespace if api_status == 200 else "", "error": ""},
        {"status": 200, "body": pod_body, "error": ""},
    ]
    api.says["proxy --port=0"] = Output(json.dumps(answers), "", 0)
    if told:
        assert says(access.proxy, ground).strip() == told
    else:
        assert access.proxy(ground)


def test_unauthorized(ground: Ground, api: Api) -> None:
    assert refusals.unauthorized(ground)
    api.says["refused()"] = Output("a kubelet reads all Secrets: was allowed\n", "", 0)
    assert says(refusals.unauthorized, ground) == "a kubelet reads all Secrets: was allowed"


@pytest.mark.parametrize("deep", [deep for deep in CHECKS if deep.by], ids=lambda deep: deep.name)
def test_a_check_has_time_to_say_what_it_waited_for(deep: Deep, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(Ground, "until", lambda self, seconds, look: waits.append(seconds))
    pods = Pods("kubeup-validation-abc-pods", ["n1", "n2"])
    api = Api()
    api.items["pods"] = [named("one", status={})]
    ground = Ground(world.cluster("ai i"), None, api, "abc", SPACE, pods, list)  # type: ignore[arg-type]
    with suppress(CheckFailed, KeyError):  # of an API that answers nothing
        deep.check(ground)
    assert waits or deep.name == "namespaces"
    assert sum(waits) < deep.limit
