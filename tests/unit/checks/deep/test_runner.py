"""How deep checks are run, on hosts that do not exist."""

from typing import Any

import gevent
import pytest

from kubeup.checks.deep import runner
from kubeup.checks.deep.ground import Ground, Throttled
from kubeup.checks.deep.runner import CHECKS, Deep, run_deep
from kubeup.checks.validation import CheckFailed, titles
from kubeup.deploy import proof
from kubeup.errors import HostsFailed
from kubeup.host.session import Output


class Session:
    """A Session that writes down what is run on hosts; ``active`` is what systemd says of any unit."""

    def __init__(self, active: str = "active") -> None:
        self.ran: list[tuple[str, str, str]] = []
        self.active = active
        self.at_once = self.most = 0

    def shell(self, node: str, script: str, *arguments: str, stdin: str | None = None, timeout: float = 0) -> Output:
        self.ran.append((node, script, stdin or ""))
        if "is-active" in script:
            return Output(f"{self.active}\n", "", 0)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        gevent.sleep(0.01)
        self.at_once -= 1
        return Output("", "", 0)

    def side_by_side(self, nodes: Any, function: Any) -> dict[str, Any]:
        return {name: function(name) for name in nodes}

    @property
    def scripts(self) -> list[str]:
        return [script for _, script, _ in self.ran]


def passes(ground: Ground) -> str:
    return f"in {ground.namespace.removeprefix('kubeup-validation-')[6:]}"


def fails(ground: Ground) -> str:
    raise CheckFailed("it does not work")


def hangs(ground: Ground) -> str:
    gevent.sleep(5)
    return "never"


@pytest.fixture
def run(world: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(session: Session, *checks: Deep, **more: Any) -> dict[str, Any]:
        monkeypatch.setattr(runner, "CHECKS", checks)
        seen: list[Any] = []
        results = run_deep(world.cluster("ai i"), session, list, seen=seen.append, **more)  # type: ignore[arg-type]
        assert {result.name for result in seen} == {result.name for result in results}
        return {result.name: (result.ok, result.detail) for result in results}

    return run


def test_each_has_a_namespace_and_nothing_stays(run: Any) -> None:
    session = Session()
    checks = [Deep("one", passes, 5), Deep("two", passes, 5), Deep("bare", passes, 5, space="none")]
    assert run(session, *checks) == {name: (True, f"in -{name}") for name in ("one", "two", "bare")}
    first, last = session.ran[0], session.ran[-1]
    assert first[2].count('"kind": "Namespace"') == 2
    for script in (first[1], last[1]):
        assert "delete namespaces -l kubeup.dev/validation=true" in script
        assert "delete nodes -l kubeup.dev/stand-in" in script


def test_what_needs_no_namespace_needs_no_api(run: Any) -> None:
    session = Session()
    assert run(session, Deep("bare", passes, 5, space="none"), Deep("other", fails, 5), only=["bare"]) == {
        "bare": (True, "in -bare")
    }
    assert session.ran == []


def test_a_check_that_takes_too_long_fails_and_the_others_do_not(run: Any) -> None:
    found = run(Session(), Deep("slow", hangs, 0.05), Deep("quick", passes, 5))
    assert found == {"slow": (False, "not done within 0 s"), "quick": (True, "in -quick")}
    assert run(Session(), Deep("slow", hangs, 100), within=0.05)["slow"][0] is False


def test_a_failed_check_tells_that_nobody_does_the_work(run: Any) -> None:
    check = Deep("one", fails, 5, by="kube-scheduler")
    assert run(Session(), check) == {"one": (False, "it does not work")}
    assert run(Session("inactive"), check)["one"][1] == (
        "it does not work; kube-scheduler, which does this, runs on no master "
        "(n1: inactive; see journalctl -u kube-scheduler there)"
    )


def test_it_is_taken_away_also_when_it_is_interrupted(run: Any) -> None:
    def interrupted(ground: Ground) -> str:
        raise KeyboardInterrupt

    session = Session()
    with pytest.raises(KeyboardInterrupt):
        run(session, Deep("one", interrupted, 5), Deep("slow", hangs, 5))
    assert session.scripts[-1].count("delete namespaces") == 2  # again for what was being made meanwhile


def test_an_api_that_does_not_answer_is_told_at_once(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session()
    monkeypatch.setattr(session, "shell", lambda *_, stdin="", timeout=0: Output("", "connection refused", 1))
    with pytest.raises(HostsFailed, match="connection refused"):
        run(session, Deep("one", passes, 5))


def test_few_scripts_run_on_a_master_at_once(world: Any) -> None:
    session = Session()
    kubectl = Throttled(world.cluster("ai"), session)  # type: ignore[arg-type]
    gevent.joinall([gevent.spawn(kubectl.script, "true") for _ in range(20)])
    assert session.most == 5


def test_checks_have_names_of_their_own_that_a_namespace_can_have() -> None:
    names = proof.names()
    assert len(names) == len(set(names)) == len(CHECKS) + len(titles())
    assert all(name.replace("-", "").isalnum() and len(name) < 40 for name in names)


def test_a_check_waits_for_what_comes(world: Any) -> None:
    ground = Ground(None, None, None, "", "", None, list)  # type: ignore[arg-type]
    states = ["not yet", "not yet", ""]
    ground.until(5, lambda: states.pop(0))
    assert states == []
    with pytest.raises(CheckFailed, match=r"never \(waited for 0 s\)"):
        ground.until(0.05, lambda: "never")


def test_all_is_proven_within_the_time_that_is_promised() -> None:
    assert proof.FIRST_PART + proof.SECOND_PART + 5 < 90
