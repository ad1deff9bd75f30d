"""Nodes come and go: who has to know, and in which order."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kubeup.cluster import load
from kubeup.cluster.editing import NewNode
from kubeup.cluster.model import Role
from kubeup.deploy import leaving, up
from kubeup.deploy.add_node import Inventory, edit, phases
from kubeup.deploy.leaving import Belongs, Quorum, affected, member_of, without
from kubeup.deploy.members import Member
from kubeup.deploy.remove_node import Removal
from kubeup.deploy.replace_node import Replacement
from kubeup.deploy.run import Run
from kubeup.errors import InventoryError, NodeError, PreflightError
from kubeup.host.reading import Entry, Reading

THREE = """\
name: demo
nodes:
  - ai: 10.0.0.1
  - {ai: 10.0.0.2, name: n2}
  - ai: 10.0.0.3
  - i: 10.0.0.4
  - i: 10.0.0.5
"""
ONE = "name: demo\nnodes:\n  - ai: 10.0.0.1\n  - i: 10.0.0.2\n  - i: 10.0.0.3\n"
ETCD = ONE + "  - {etcd: 10.0.0.7, name: e1}\n  - etcd: 10.0.0.8\n  - etcd: 10.0.0.9\n"


@pytest.fixture
def inventory(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "cluster.yaml"
        path.write_text(text)
        return path

    return write


# Who has to know


def titles(items: Any) -> list[str]:
    return [f"{phase.title} {getattr(phase, 'name', '')}".strip() for phase in items]


@pytest.mark.parametrize(
    ("text", "name", "settings", "hosts"),
    [
        (ONE, "10.0.0.3", "", ["10.0.0.1", "10.0.0.3"]),
        (THREE, "10.0.0.5", "", ["10.0.0.1", "n2", "10.0.0.3", "10.0.0.5"]),
        (THREE, "n2", "", ["10.0.0.1", "n2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]),
        (ETCD, "10.0.0.3", "", ["10.0.0.1", "10.0.0.3"]),
        (ETCD, "e1", "", ["10.0.0.1", "e1", "10.0.0.8", "10.0.0.9"]),
        (ETCD, "e1", "flannel: {store: etcd}\n", ["10.0.0.1", "10.0.0.2", "10.0.0.3", "e1", "10.0.0.8", "10.0.0.9"]),
    ],
)
def test_who_has_to_know(text: str, name: str, settings: str, hosts: list[str], inventory: Any) -> None:
    cluster = load(inventory(text + settings))
    assert affected(cluster, [cluster.node(name)]) == hosts
    # As well when it is in the cluster no longer.
    assert affected(without(cluster, name), [cluster.node(name)]) == [host for host in hosts if host != name]


# Adding


def test_a_node_that_is_there_from_an_earlier_run_is_gone_on_with(inventory: Any) -> None:
    path = inventory(ONE)
    new = [NewNode(Role.MINION, "root@10.0.0.3"), NewNode(Role.MINION, "10.0.0.4")]
    edited, names = edit(path, new)
    assert names == ["10.0.0.3", "10.0.0.4"]
    assert edited.text == ONE + "  - i: 10.0.0.4\n"
    edited.write()
    again, names = edit(path, new)
    assert names == ["10.0.0.3", "10.0.0.4"]
    assert again.text == again.before


def test_a_role_is_not_changed_by_adding(inventory: Any) -> None:
    with pytest.raises(InventoryError, match=r"is there already, as i .*\n.*write that into the inventory"):
        edit(inventory(ONE), [NewNode(Role.BOTH, "10.0.0.3")])


def test_the_inventory_is_written_after_the_hosts_were_looked_at_and_before_they_are_touched(inventory: Any) -> None:
    edited, _ = edit(inventory(ONE), [NewNode(Role.MINION, "10.0.0.4")])
    assert titles(phases(edited))[:3] == ["Preflight", "Inventory", "Authorities"]
    assert titles(phases(edited))[2:] == titles(up.PHASES[1:])


def test_the_cluster_is_held_before_the_inventory_is_written(inventory: Any) -> None:
    path = inventory(ONE)
    edited, _ = edit(path, [NewNode(Role.MINION, "10.0.0.4")])

    class Busy:
        def hold(self) -> None:
            raise NodeError("another kubeup is at work")

    with pytest.raises(NodeError):
        Inventory(edited).run(Busy())  # type: ignore[arg-type]
    assert path.read_text() == ONE


# Removing


def test_the_last_master_stays(inventory: Any) -> None:
    with pytest.raises(NodeError, match=r"without a master there is no cluster.*destroy.*replace-node"):
        Removal.of(inventory(ONE), ["10.0.0.1"])
    with pytest.raises(NodeError, match="without a master"):
        Removal.of(inventory(THREE), ["10.0.0.3", "10.0.0.1", "n2"])


def test_two_masters_are_refused_with_what_to_do(inventory: Any) -> None:
    path = inventory(THREE)
    with pytest.raises(InventoryError) as raised:
        Removal.of(path, ["n2"])
    assert "2 masters: an even number" in str(raised.value)
    assert "remove two at once" in str(raised.value)
    assert Removal.of(path, ["n2", "10.0.0.1"]).edited.cluster.masters[0].name == "10.0.0.3"


def test_a_worker_leaves_without_a_word_to_etcd(inventory: Any) -> None:
    removal = Removal.of(inventory(ONE), ["10.0.0.3"])
    assert not removal.may_be_members
    assert titles(removal.leaving("10.0.0.3", False, 1, False)) == ["Drain 10.0.0.3", "Host 10.0.0.3"]
    assert titles(removal.rest())[-3:] == ["Tidy", "Objects 10.0.0.3", "Validation"]
    assert removal.affected(removal.edited.cluster) == ["10.0.0.1"]


def test_a_master_leaves_etcd_before_its_host_is_cleaned_and_a_dead_one_is_not_cleaned(inventory: Any) -> None:
    removal = Removal.of(inventory(THREE), ["n2", "10.0.0.1"])
    assert titles(removal.leaving("n2", False, 1, False)) == ["Drain n2", "Members n2", "Host n2"]
    assert titles(removal.leaving("n2", True, 1, False)) == ["Drain n2", "Members n2"]
    assert removal.affected(removal.edited.cluster) == ["10.0.0.3", "10.0.0.4", "10.0.0.5"]


def test_of_a_node_that_the_inventory_has_lost_everything_is_looked_for(inventory: Any) -> None:
    removal = Removal.of(inventory(THREE), ["gone"])
    assert removal.edited.text == THREE
    assert titles(removal.leaving("gone", False, 1, False)) == ["Drain gone", "Members gone"]
    assert removal.affected(removal.edited.cluster) == [host.name for host in removal.cluster.hosts]


def test_a_host_of_another_cluster_is_left_alone(world: Any) -> None:
    marks = {"n2": ("demo", world.trust.identity), "n3": ("other", "1"), "n4": ("demo", "another")}

    class Hosts:
        def read(self, *_: Any, **__: Any) -> dict[str, Reading]:
            readings = {name: Reading(world.facts) for name in ("n1", "n2", "n3", "n4")}
            for name, (cluster, identity) in marks.items():
                readings[name].record["cluster", cluster] = Entry(identity, "-", "-")
            return readings

    run = Run(world.cluster("ai i i i"), Hosts())  # type: ignore[arg-type]
    run.__dict__["vault"] = SimpleNamespace(trust=world.trust)
    Belongs(["n1", "n2"]).run(run)
    with pytest.raises(PreflightError) as raised:
        Belongs(["n1", "n2", "n3", "n4"]).run(run)
    assert "n3: belongs to the cluster other, not to demo" in str(raised.value)
    assert "n4: belongs to another cluster that is also called demo" in str(raised.value)
    assert "n2" not in str(raised.value)


def test_quorum_is_looked_at_for_all_that_go_together(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = world.cluster("ai ai ai")

    def of(*answer: bool) -> list[Member]:
        return [Member(i, f"n{i}", (f"https://10.0.0.{i}:2380",), answers=a) for i, a in enumerate(answer, 1)]

    run = replace(Run(cluster, type("Hosts", (), {})()))
    for answers, names, refused in [
        ((True, True, True), ["n1"], ""),
        ((True, True, True), ["n1", "n2"], ""),
        ((True, False, True), ["n2"], ""),
        ((True, False, True), ["n1"], "n1 cannot be taken out: without n1 etcd would have 2 members"),
        ((True, True, True), ["n1", "n2", "n3"], "n3 is the only member"),
        ((True, True, True), ["unknown"], ""),
    ]:
        monkeypatch.setattr(leaving, "members", lambda _, answers=answers: of(*answers))
        if refused:
            with pytest.raises(NodeError, match=refused):
                Quorum(names).run(run)
        else:
            Quorum(names).run(run)
    # One that never started has no name yet: it is known by its address.
    assert member_of(cluster, [Member(7, "", ("https://10.0.0.2:2380",))], "n2") is not None


# Replacing


def test_a_name_that_stays_means_that_the_old_one_goes_first(inventory: Any) -> None:
    replacement = Replacement.of(inventory(THREE), "n2", "root@10.0.0.9")
    assert replacement.new.name == "n2"
    assert str(replacement.new.address) == "10.0.0.9"
    assert titles(replacement.parting(False, 1, False)) == ["Quorum", "Drain n2", "Members n2", "Host n2", "Objects n2"]
    assert "Objects n2" not in titles(replacement.arriving()), "it is the new node's by then"


def test_a_new_name_lets_both_be_there(inventory: Any) -> None:
    path = inventory(THREE)
    replacement = Replacement.of(path, "10.0.0.1", "10.0.0.9")
    assert replacement.new.name == "10.0.0.9"
    assert [node.name for node in replacement.both.masters] == ["10.0.0.1", "n2", "10.0.0.3", "10.0.0.9"]
    assert titles(replacement.arriving())[-2:] == ["Objects 10.0.0.1", "Validation"]
    assert Replacement.of(path, "n2", "10.0.0.9", "n9").new.name == "n9"


def test_a_replacement_that_was_killed_is_known_by_its_host(inventory: Any) -> None:
    path = inventory(THREE)
    Replacement.of(path, "n2", "10.0.0.9").edited.write()
    again = Replacement.of(path, "n2", "10.0.0.9")
    assert (again.old, again.new.name, again.edited.text) == (None, "n2", path.read_text())
    Replacement.of(path, "10.0.0.1", "10.0.0.8", "n8").edited.write()
    again = Replacement.of(path, "10.0.0.1", "10.0.0.8", "n8")
    assert (again.old, again.new.name) == (None, "n8")
    assert titles(again.arriving())[-2:] == ["Objects 10.0.0.1", "Validation"]


def test_what_cannot_be_replaced(inventory: Any) -> None:
    path = inventory(THREE)
    with pytest.raises(InventoryError, match="is the host of the node n2"):
        Replacement.of(path, "10.0.0.1", "10.0.0.2")
    with pytest.raises(NodeError, match="n9 is not in the inventory"):
        Replacement.of(path, "n9", "10.0.0.9")
    with pytest.raises(NodeError, match="only member of etcd"):
        Replacement.of(inventory(ONE.replace("ai: 10.0.0.1", "{ai: 10.0.0.1, name: n1}")), "n1", "10.0.0.9")
    assert Replacement.of(inventory(ONE), "10.0.0.1", "10.0.0.9").new.name == "10.0.0.9"


def test_a_replaced_host_of_etcd_is_one(inventory: Any) -> None:
    replacement = Replacement.of(inventory(ETCD), "e1", "10.0.0.10", "e4")
    assert [host.name for host in replacement.both.etcd_hosts] == ["e1", "10.0.0.8", "10.0.0.9", "e4"]
