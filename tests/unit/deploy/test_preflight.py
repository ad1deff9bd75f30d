"""What is looked at before anything is changed: the same by `up` and by `kubeup preflight`."""

from types import SimpleNamespace
from typing import Any

import pytest

from kubeup.checks.reach import Reached
from kubeup.checks.runtime import Runtimes
from kubeup.deploy import phases
from kubeup.deploy.phases import Preflight
from kubeup.deploy.preflight import examine
from kubeup.errors import HostFailure, HostsFailed, KubeupError, PreflightError, Problem
from kubeup.host.difference import Change, Item
from kubeup.host.reading import Entry, Reading

LOOKS = ("measure", "preflight", "_refuse_expired", "look_up", "preflight_proxy", "preflight_outside", "existing_etcd",
         "check_members")  # fmt: skip


class Looked:
    """Notes who looks; ``raises`` is what they find."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at: list[str] = []
        self.tried: list[str] = []
        self.raises: dict[str, KubeupError] = {}
        self.reached = Reached(tried=4, fsync={"n1": 0.4})
        for name in LOOKS:
            monkeypatch.setattr(phases, name, lambda *_, name=name: self.look(name))
        monkeypatch.setattr(phases, "reach", self.reach)
        monkeypatch.setattr(phases, "ask_runtimes", self.ask_runtimes)
        self.runtimes = Runtimes(found={"n2": "CRI-O 1.36.0"})
        self.asked: list[str] = []

    def look(self, name: str) -> None:
        self.at.append(name)
        if error := self.raises.get(name):
            raise error

    def reach(self, cluster: Any, readings: Any, session: Any, program: Any, hosts: Any) -> Reached:
        self.look("reach")
        self.tried = sorted(hosts)
        return self.reached

    def ask_runtimes(self, cluster: Any, session: Any, crictl: Any, new: Any) -> Runtimes:
        self.look("ask_runtimes")
        self.asked = sorted(crictl)
        assert new == ["n2"]
        return self.runtimes


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Looked:
    return Looked(monkeypatch)


@pytest.fixture
def run(world: Any) -> Any:
    """A run on a host that has been in the cluster, and a new one."""
    cluster = world.cluster("ai i")
    readings = {node.name: Reading(world.host(node)) for node in cluster.nodes}
    readings["n1"].record["file", "/x"] = Entry("w", "h", "absent")
    changes = {name: Change(name, [Item("add", ("file", "/y"), "", "role", None)]) for name in readings}
    return SimpleNamespace(
        cluster=cluster, readings=readings, changes=changes, vault=None, session=None, nodes=cluster.nodes,
        masters=cluster.masters, restoring=False, running={},
    )  # fmt: skip


WRONG: dict[str, KubeupError] = {
    "preflight": PreflightError([Problem("n1", "too little memory"), Problem("n2", "too old")]),
    "preflight_outside": HostsFailed("asking", [HostFailure("n1", "ip", 1, "no")]),
    "_refuse_expired": PreflightError([Problem("n1", "expired: x")]),
}
TOLD = [
    ("n1", "too little memory"),
    ("n2", "too old"),
    ("n2", "does not reach n1"),
    ("", "asking failed on n1:"),
    ("n1", "expired: x"),
]


def told(problems: Any) -> list[tuple[str, str]]:
    return [(problem.where, problem.what.splitlines()[0]) for problem in problems]


def test_up_tries_the_ways_of_new_hosts_alone(run: Any, looked: Looked) -> None:
    Preflight().run(run)
    assert looked.at == [
        "measure", "preflight", "look_up", "reach", "preflight_proxy", "preflight_outside", "_refuse_expired",
        "check_members",
    ]  # fmt: skip
    assert looked.tried == ["n2"]


def test_up_tries_none_where_no_host_is_new(run: Any, looked: Looked) -> None:
    run.changes.clear()
    Preflight().run(run)
    assert looked.at == ["measure", "preflight", "preflight_outside", "_refuse_expired", "check_members"]


def test_up_tells_all_problems_at_once_and_asks_no_cluster_whose_certificates_have_expired(
    run: Any, looked: Looked
) -> None:
    looked.reached.problems.append(Problem("n2", "does not reach n1"))
    looked.raises = WRONG
    with pytest.raises(PreflightError) as caught:
        Preflight().run(run)
    assert told(caught.value.problems) == TOLD
    assert "check_members" not in looked.at


def test_preflight_tells_the_same_and_tries_the_ways_of_all_hosts(run: Any, looked: Looked) -> None:
    looked.reached.problems.append(Problem("n2", "does not reach n1"))
    looked.raises = WRONG
    found = examine(run)
    assert looked.tried == ["n1", "n2"]
    assert told(found.problems) == TOLD
    assert "5 problems." in found.text()
    assert (found.data()["ways_tried"], found.data()["hosts"]["n1"]["fsync_ms"]) == (4, 0.4)


def test_runtimes_of_users_are_asked_where_there_are_any(world: Any, run: Any, looked: Looked) -> None:
    run.cluster = world.cluster("ai i", runtime={"socket": "/run/x.sock"})
    run.vault = world.material()
    Preflight().run(run)
    assert looked.asked == ["n2"]
    found = examine(run)
    assert looked.asked == ["n1", "n2"]
    assert found.data()["hosts"]["n2"]["runtime"] == "CRI-O 1.36.0"
    assert "CRI-O 1.36.0" in found.text()
    looked.runtimes.problems.append(Problem("n2", "too old"))
    with pytest.raises(PreflightError, match="n2: too old"):
        Preflight().run(run)


@pytest.mark.parametrize("look", [lambda run: Preflight().run(run), examine])
def test_what_cannot_be_looked_at_where_nothing_else_is_wrong_is_raised_as_it_is(
    run: Any, looked: Looked, look: Any
) -> None:
    looked.raises = {"check_members": KubeupError("etcd has lost its quorum")}
    with pytest.raises(KubeupError, match=r"^etcd has lost its quorum$"):
        look(run)


def test_nothing_wrong_is_said(run: Any, looked: Looked) -> None:
    assert "The hosts can take the cluster." in examine(run).text()
