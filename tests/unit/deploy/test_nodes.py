"""Nodes come and go: who has to know, and in which order."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kubeup.cluster import load
from kubeup.cluster.editing import Edited, NewNode
from kubeup.cluster.model import Role
from kubeup.deploy import add_node, leaving, remove_node, replace_node, up
from kubeup.deploy.add_node import Inventory, add_nodes, edit, phases
from kubeup.deploy.leaving import Belongs, Quorum, affected, member_of, without
from kubeup.deploy.members import Peer
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
FOUR = ONE + "  - i: 10.0.0.4\n"
INGRESS = "addons: {traefik: on, ingress-vip: {address: 10.0.0.99}}\n"
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
        # Those among which ingress' address moves list one another.
        (THREE, "10.0.0.5", INGRESS, ["10.0.0.1", "n2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]),
        (FOUR, "10.0.0.4", INGRESS, ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]),
        (FOUR, "10.0.0.4", INGRESS.replace(": on", ": {nodes: [10.0.0.2]}"), ["10.0.0.1", "10.0.0.4"]),
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

    def of(*answer: bool) -> list[Peer]:
        return [Peer(i, f"n{i}", (f"https://10.0.0.{i}:2380",), answers=a) for i, a in enumerate(answer, 1)]

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
    assert member_of(cluster, [Peer(7, "", ("https://10.0.0.2:2380",))], "n2") is not None


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


# The order of it all


class Story:
    """What jobs do, in order: phases by title, and the writing of the inventory. Those ``dead`` cannot be reached.

    ``firewall``: the hosts on which one runs, by name.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, dead: Sequence[str] = (), firewall: Sequence[str] = (), facts: Any = None
    ) -> None:
        self.firewall, self.facts = firewall, facts
        self.told: list[str] = []
        self.scopes: list[set[str]] = []
        self.masters: list[list[str]] = []
        self.dead = dead
        for module in (remove_node, replace_node):
            monkeypatch.setattr(module, "refuse_living", lambda *_: None)
        for module in (remove_node, replace_node, leaving):
            monkeypatch.setattr(module, "reach", self.reach)
        for module in (remove_node, replace_node, add_node):
            monkeypatch.setattr(module, "execute", self.execute)
            monkeypatch.setattr(module, "tell_left_out", lambda *_: None)
        monkeypatch.setattr(replace_node.Preflight, "run", lambda *_: self.told.append("look"))
        monkeypatch.setattr(Edited, "write", lambda _: self.told.append("write"))
        monkeypatch.setattr(Run, "hold", lambda _: None)

    def execute(self, phases: Any, run: Run) -> None:
        self.told += titles(phases)
        self.scopes.append(set(run.scope or ()))
        self.masters.append([master.name for master in run.masters])

    def reach(self, session: Any, names: Sequence[str], **_: Any) -> dict[str, str]:
        return {name: "no route" for name in names if name in self.dead}

    def confirm(self, dead: Any) -> None:
        self.told.append(f"dead {' '.join(dead)}")

    def session(self, cluster: Any) -> Any:
        story = self

        class Sessions:
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *_: object) -> None: ...

            def close(self) -> None:
                story.told.append("close")

            def read(self, names: Sequence[str] | None, **_: Any) -> dict[str, Reading]:
                names = names or [host.name for host in cluster.hosts]
                return {
                    name: Reading(replace(story.facts, firewall="ufw" if name in story.firewall else ""))
                    for name in names
                    if story.facts
                }

        return Sessions()

    def order(self, *wanted: str) -> None:
        """These come, in this order."""
        rest = iter(self.told)
        assert all(any(told == want for told in rest) for want in wanted), self.told


def test_a_removed_nodes_host_is_clean_before_the_inventory_forgets_it(
    inventory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(monkeypatch)
    Removal.of(inventory(THREE), ["n2", "10.0.0.1"]).run(story.session(None), "test", story.confirm)
    story.order("Quorum", "Drain n2", "Members n2", "Host n2", "Drain 10.0.0.1", "Host 10.0.0.1", "write", "Tidy")
    story.order("write", "Tidy", "Objects n2", "Objects 10.0.0.1", "Validation")
    assert not any(told.startswith("dead") for told in story.told)
    both = ["10.0.0.1", "n2", "10.0.0.3"]
    assert story.masters == [both, both, ["10.0.0.1", "10.0.0.3"], ["10.0.0.3"]], "a cleaned one is asked no more"


def test_a_dead_node_is_asked_about_first_and_others_that_are_away_are_left_out(
    inventory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(monkeypatch, dead=["10.0.0.5", "n2"])
    Removal.of(inventory(THREE), ["10.0.0.5"]).run(story.session(None), "test", story.confirm)
    assert story.told[0] == "dead 10.0.0.5"
    assert "Host 10.0.0.5" not in story.told
    assert all(scope.isdisjoint({"10.0.0.5", "n2"}) for scope in story.scopes)


def test_a_replaced_node_of_the_same_name_goes_first(inventory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch)
    Replacement.of(inventory(THREE), "n2", "10.0.0.9").run(story.session, "test", story.confirm)
    assert story.told[0] == "look", "an unfit host is found out before the old one is touched"
    story.order("Quorum", "Drain n2", "Members n2", "Host n2", "Objects n2", "write", "close", "Members", "Validation")
    assert "Nodes" not in story.told[: story.told.index("write")]


def test_a_replacement_with_a_name_of_its_own_comes_first(inventory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch)
    Replacement.of(inventory(THREE), "n2", "10.0.0.9", "n9").run(story.session, "test", story.confirm)
    story.order("look", "Nodes", "Quorum", "Drain n2", "Host n2", "write", "Members", "Objects n2", "Validation")
    assert "close" not in story.told, "the masters stay held"
    assert story.told.count("Validation") == 1


def test_a_dead_one_goes_first_whatever_the_name(inventory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch, dead=["n2"])
    Replacement.of(inventory(THREE), "n2", "10.0.0.9", "n9").run(story.session, "test", story.confirm)
    story.order("look", "dead n2", "Quorum", "Members n2", "write", "Nodes", "Objects n2", "Validation")
    assert "Nodes" not in story.told[: story.told.index("write")]
    assert "Host n2" not in story.told


@pytest.mark.parametrize(("firewall", "others"), [((), set()), (("10.0.0.1",), {"10.0.0.3"})])
def test_all_that_answer_are_brought_along_where_firewalls_are_opened_for_a_new_address(
    firewall: Sequence[str], others: set[str], inventory: Any, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = inventory(FOUR)
    story = Story(monkeypatch, ["10.0.0.2"], firewall, world.facts)

    def scopes() -> list[set[str]]:
        """Those of each step that are neither the master nor the node that comes or goes."""
        told, story.scopes = story.scopes, []
        return [scope - {"10.0.0.1", "10.0.0.4", "10.0.0.9"} for scope in told]

    edited, names = edit(path, [NewNode(Role.MINION, "10.0.0.9")])
    add_nodes(edited, names, story.session(edited.cluster), "test")
    assert scopes() == [others]
    # It is looked at whose the old one is; the new one comes while both are there, the old one goes, and all know.
    Replacement.of(path, "10.0.0.4", "10.0.0.9").run(story.session, "test", story.confirm)
    assert scopes() == [set(), others, set(), others]
    Replacement.of(path, "10.0.0.4", "10.0.0.9", "10.0.0.4").run(story.session, "test", story.confirm)
    assert scopes() == [set(), set(), others]
