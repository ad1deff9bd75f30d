"""Whether addons are ready, by what the API says of their parts."""

from typing import Any

import pytest

from kubeup.checks import addons
from kubeup.checks.addons import addons_ready, not_applied, parts, why
from kubeup.cluster.manifests import OWNER
from kubeup.errors import ValidationError


def workload(kind: str, generation: int = 2, seen: int = 2, **status: Any) -> dict[str, Any]:
    meta = {"name": "x", "namespace": "n", "generation": generation, "labels": {OWNER: "demo"}}
    spec: dict[str, Any] = {"selector": {"matchLabels": {"app": "x"}}}
    if kind != "DaemonSet":
        spec["replicas"] = 2
    return {"kind": kind, "metadata": meta, "spec": spec, "status": {"observedGeneration": seen, **status}}


def api_service(status: str, message: str = "") -> dict[str, Any]:
    condition = {"type": "Available", "status": status, "message": message}
    meta = {"name": "v1.x", "labels": {OWNER: "demo"}}
    return {"kind": "APIService", "metadata": meta, "spec": {}, "status": {"conditions": [condition]}}


class Api:
    """kubectl that answers with these objects, one list after another, and these pods."""

    def __init__(
        self, *answers: list[dict[str, Any]], pods: list[dict[str, Any]] | None = None, errors: str = ""
    ) -> None:
        self.answers = list(answers)
        self.pods = pods or []
        self.errors = errors

    def get(self, kinds: str, *arguments: str) -> list[dict[str, Any]]:
        if kinds == "pods":
            return self.pods
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def checked(self, script: str, *arguments: str, timeout: float) -> str:
        return self.errors


def one(item: dict[str, Any]) -> addons.Part:
    (part,) = parts(Api([item]))  # type: ignore[arg-type]
    return part


READY = {"updatedReplicas": 2, "availableReplicas": 2}


@pytest.mark.parametrize(
    ("item", "works", "serves", "pods"),
    [
        (workload("Deployment", **READY), True, True, "2/2"),
        (workload("Deployment", seen=1, **READY), False, False, "2/2"),
        (workload("Deployment", updatedReplicas=1, availableReplicas=2), False, False, "2/2"),
        (
            workload("Deployment", availableReplicas=1, conditions=[{"type": "Available", "status": "True"}]),
            False,
            True,
            "1/2",
        ),
        (
            workload("DaemonSet", desiredNumberScheduled=3, updatedNumberScheduled=3, numberAvailable=3),
            True,
            True,
            "3/3",
        ),
        (workload("DaemonSet", desiredNumberScheduled=3, updatedNumberScheduled=3), False, True, "0/3"),
        (workload("StatefulSet", **READY), True, True, "2/2"),
        (api_service("True"), True, True, ""),
        (api_service("False"), False, False, ""),
    ],
)
def test_what_is_ready(item: dict[str, Any], works: bool, serves: bool, pods: str) -> None:
    part = one(item)
    assert (part.works, part.serves, part.pods) == (works, serves, pods)


def test_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(addons.gevent, "sleep", slept.append)
    api = Api([workload("Deployment")], [workload("Deployment", **READY), api_service("True")])
    assert addons_ready(api) == "demo: ready"  # type: ignore[arg-type]
    assert len(slept) == 1


def test_who_is_not_ready_is_told_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addons, "READY", -1)
    waiting = {"reason": "ErrImagePull", "message": "no such host"}
    pod = {"metadata": {"name": "x-1"}, "status": {"containerStatuses": [{"state": {"waiting": waiting}}]}}
    with pytest.raises(ValidationError, match="demo: Deployment x is not ready: x-1: ErrImagePull no such host"):
        addons_ready(Api([workload("Deployment")], pods=[pod]))  # type: ignore[arg-type]
    assert why(Api([]), one(workload("Deployment"))) == "demo: Deployment x is not ready: it has no pods"  # type: ignore[arg-type]
    said = why(Api([]), one(api_service("False", "no endpoints")))  # type: ignore[arg-type]
    assert said == "demo: APIService v1.x is not ready: no endpoints"


def test_what_could_not_be_applied_is_told_at_once() -> None:
    with pytest.raises(ValidationError, match="not applied: demo: no matches for kind"):
        addons_ready(Api([], errors="demo: no matches for kind\n"))  # type: ignore[arg-type]


def test_the_users_own_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addons, "READY", -1)
    theirs = workload("Deployment")
    theirs["metadata"]["labels"][OWNER] = "manifests.demo"
    api = Api([workload("Deployment", **READY), theirs], errors="helm.demo: no such chart\n")
    assert addons_ready(api, own=True) == "demo: ready"  # type: ignore[arg-type]
    api.errors = ""
    with pytest.raises(ValidationError, match=r"manifests\.demo: Deployment x is not ready"):
        addons_ready(api)  # type: ignore[arg-type]


def test_no_line_of_what_an_addon_fails_with_is_lost() -> None:
    errors = "demo: first: a\ndemo: second\ndemo: \nother: third\n"
    assert not_applied(Api([], errors=errors)) == {"demo": "first: a; second", "other": "third"}  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="not applied: demo: first: a; second; other: third"):
        addons_ready(Api([], errors=errors))  # type: ignore[arg-type]
