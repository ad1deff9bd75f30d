"""What is looked at before anything is changed: the same by `up` and by `kubeup preflight`."""

from types import SimpleNamespace
from typing import Any

import pytest

from kubeup.checks.reach import Reached
from kubeup.deploy import phases
from kubeup.deploy.phases import Preflight
from kubeup.deploy.preflight import examine
from kubeup.errors import HostFailure, HostsFailed, KubeupError, PreflightError, Problem
from kubeup.host.difference import Change, Item
from kubeup.host.reading import Entry, Reading

LOOKS = ("measure", "preflight", "_refuse_expired", "preflight_proxy", "preflight_outside", "existing_etcd",
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

    def look(self, name: str) -> None:
        self.at.append(name)
        if error := self.raises.get(name):
            raise error

    def reach(self, cluster: Any, readings: Any, session: Any, program: Any, hosts: Any) -> Reached:
        self.look("reach")
        self.tried = sorted(hosts)
        return self.reached


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


def test_up_tries_the_ways_of_new_hosts_alone(run: Any, looked: Looked) -> None:
    Preflight().run(run)
    assert looked.at == [
        "measure", "preflight", "_refuse_expired", "reach", "preflight_proxy", "preflight_outside", "check_members",
    ]  # fmt: skip
    assert looked.tried == ["n2"]


def test_up_tries_none_where_no_host_is_new(run: Any, looked: Looked) -> None:
    run.changes.clear()
    Preflight().run(run)
    assert looked.at == ["measure", "preflight", "_refuse_expired", "preflight_outside", "check_members"]


def test_up_ends_with_the_first_that_finds_something(run: Any, looked: Looked) -> None:
    looked.reached.problems.append(Problem("n2", "does not reach n1"))
    with pytest.raises(PreflightError, match="n2: does not reach n1"):
        Preflight().run(run)
    assert looked.at[-1] == "reach"


def test_preflight_looks_at_the_same_on_all_hosts_and_tells_all(run: Any, looked: Looked) -> None:
    Preflight().run(run)
    usual, looked.at = looked.at, []
    looked.reached.problems.append(Problem("n2", "does not reach n1"))
    looked.raises = {
        "preflight": PreflightError([Problem("n1", "too little memory"), Problem("n2", "too old")]),
        "_refuse_expired": PreflightError([Problem("n1", "expired: x")]),
        "preflight_outside": HostsFailed("asking", [HostFailure("n1", "ip", 1, "no")]),
        "check_members": KubeupError("etcd has lost its quorum"),
    }
    found = examine(run)
    assert looked.at == usual
    assert looked.tried == ["n1", "n2"]
    told = [(p.where, p.what.splitlines()[0]) for p in found.problems]
    assert told == [
        ("n1", "too little memory"),
        ("n2", "too old"),
        ("n1", "expired: x"),
        ("n2", "does not reach n1"),
        ("", "asking failed on n1:"),
        ("", "etcd has lost its quorum"),
    ]
    assert "6 problems." in found.text()
    assert (found.data()["ways_tried"], found.data()["hosts"]["n1"]["fsync_ms"]) == (4, 0.4)


def test_nothing_wrong_is_said(run: Any, looked: Looked) -> None:
    assert "The hosts can take the cluster." in examine(run).text()
