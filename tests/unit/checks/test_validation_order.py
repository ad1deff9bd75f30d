"""Which checks validation runs, in which order, and within which time."""

from typing import Any

import gevent
import pytest

from kubeup.checks import validation
from kubeup.checks.validation import YOURS, CheckFailed, CheckResult, Proof, lacks_its_network, titles, validate
from kubeup.host.session import Output

MISSING = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message: cni plugin"


@pytest.mark.parametrize(
    ("cni", "detail", "lacks"),
    [
        ("none", f"n1 is not Ready: {MISSING}; {YOURS}", True),
        ("none", f"n1 is not Ready: {MISSING}; n2 is not Ready: {MISSING}; {YOURS}", True),
        ("flannel", f"n1 is not Ready: {MISSING}", False),
        ("none", f"n1 is not Ready: {MISSING}; n2 is not Ready: kubelet stopped posting node status; {YOURS}", False),
        ("none", f"n1 is not Ready: {MISSING}; n2 has not registered with the API; {YOURS}", False),
    ],
)
def test_only_the_users_own_network_is_missing(world: Any, cni: str, detail: str, lacks: bool) -> None:
    cluster = world.cluster("ai i", cni=cni)
    assert lacks_its_network(cluster, [CheckResult("nodes-ready", False, detail, 1.0)]) is lacks
    other = CheckResult("services-run", False, "kubelet.service does not run", 1.0)
    assert not lacks_its_network(cluster, [CheckResult("nodes-ready", False, detail, 1.0), other])
    assert not lacks_its_network(cluster, [CheckResult("nodes-ready", True, "fine", 1.0)])


class Session:
    """A Session on which kubectl always succeeds."""

    def __init__(self) -> None:
        self.scripts: list[str] = []

    def shell(self, node: str, script: str, *arguments: str, stdin: str | None = None, timeout: float = 0) -> Output:
        self.scripts.append(script)
        return Output("", "", 0)


@pytest.fixture
def run(world: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs validation with checks that only say that they ran; those in ``broken`` fail, those in ``slow`` hang."""
    broken: set[str] = set()
    slow: set[str] = set()

    def stand_in(real: Any) -> Any:
        def check(proof: Proof) -> str:
            if validation.title(real) in slow:
                gevent.sleep(5)
            if validation.title(real) in broken:
                raise CheckFailed("broken")
            return "fine"

        check.__name__ = real.__name__
        return check

    stand_ins = {real: stand_in(real) for real in (*validation.BEFORE, *validation.SIDE_BY_SIDE, *validation.AFTERWARDS,
                                                   validation.pod_on_every_node)}  # fmt: skip
    for group in ("BEFORE", "SIDE_BY_SIDE", "AFTERWARDS"):
        monkeypatch.setattr(validation, group, tuple(stand_ins[real] for real in getattr(validation, group)))
    monkeypatch.setattr(validation, "pod_on_every_node", stand_ins[validation.pod_on_every_node])
    monkeypatch.setattr(validation, "outside_address", stand_ins[validation.outside_address])

    def run(
        *only: str, fail: set[str] = broken, hang: set[str] = slow, limit: float | None = None
    ) -> tuple[list[str], Session]:
        broken.update(fail)
        slow.update(hang)
        session = Session()
        results = validate(world.cluster("ai i"), session, only=only, limit=limit, show=lambda _: None)  # type: ignore[arg-type]
        return [result.name if result.ok else f"-{result.name}" for result in results], session

    return run


def test_all_checks_run_and_what_they_need_is_taken_away(run: Any) -> None:
    names, session = run()
    assert names == [name for name in titles() if name != "outside-address"]
    assert "kubectl apply" in session.scripts[0]
    assert "delete namespace kubeup-validation-" in session.scripts[-1]


def test_one_check_with_what_it_builds_on(run: Any) -> None:
    assert run("cluster-ip")[0] == ["nodes-ready", "pod-on-every-node", "cluster-ip"]
    assert run("pod-on-every-node")[0] == ["nodes-ready", "pod-on-every-node"]
    assert run("classic", "nodes-ready")[0] == ["nodes-ready", "classic"]
    names, session = run("services-run")
    assert names == ["services-run"]
    assert session.scripts == []  # no pods were needed


def test_nothing_is_looked_at_that_makes_no_sense(run: Any) -> None:
    names, session = run(fail={"services-run"})
    assert names == ["nodes-ready", "-services-run", "classic"]
    assert "delete namespace kubeup-validation-" in session.scripts[-1]


def test_all_of_it_ends_within_its_time(run: Any) -> None:
    names, session = run(hang={"cluster-ip"}, limit=0.3)
    assert "-cluster-ip" in names
    assert "delete namespace kubeup-validation-" in session.scripts[-1]
