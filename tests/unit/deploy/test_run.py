"""Jobs on hosts that answer what is to be read and swallow the rest."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from kubeup.checks.reach import Reached
from kubeup.cluster.model import Flannel
from kubeup.deploy import destroy, up
from kubeup.deploy.path import measure
from kubeup.deploy.phases import Validate, execute
from kubeup.deploy.run import VALIDATED, Run
from kubeup.deploy.vault import PUBLIC, Vault
from kubeup.errors import PreflightError
from kubeup.host.difference import Change
from kubeup.host.reading import Entry, Reading
from kubeup.host.session import Output
from kubeup.observer import Silent


class Hosts:
    """A Session that knows what hosts hold, and writes down what is applied: (phase, host, actions and keys)."""

    def __init__(self, readings: dict[str, Reading]) -> None:
        self.readings = readings
        self.applied: list[tuple[str, str, list[tuple[str, tuple[str, str]]]]] = []
        self.asked: tuple[str, ...] = ()
        self.reads = 0
        self.ways: list[tuple[str, ...]] = []

    def read(
        self, nodes: Any = None, *, contents: tuple[str, ...] = (), deep: bool = False, alone: bool = False
    ) -> dict[str, Reading]:
        self.reads += 1
        self.asked = contents
        return {name: reading for name, reading in self.readings.items() if nodes is None or name in nodes}

    def side_by_side(self, nodes: Any, function: Any) -> dict[str, Any]:
        return {name: function(name) for name in nodes}

    def shell(self, node: str, script: str, *arguments: str, timeout: float = 0) -> Output:
        """The way to other nodes, which takes less than their links."""
        self.ways.append((node, *arguments))
        return Output("1400\n", "", 0)

    def apply(self, title: str, changes: dict[str, Change], material: Any) -> None:
        for name, change in changes.items():
            if change:
                self.applied.append((title, name, [(item.action, item.key) for item in change.items]))


@pytest.fixture
def make(world: Any) -> Any:
    """Makes a Run on hosts that are bare, or hold the whole cluster."""

    def make(roles: str = "ai i", *, up: bool = False) -> tuple[Run, Hosts]:
        cluster = world.cluster(roles)
        readings = {}
        for node in cluster.nodes:
            facts = world.host(node)
            readings[node.name] = world.holding(world.desired(cluster, node), facts) if up else Reading(facts)
            if up:
                readings[node.name].record["cluster", "demo"] = Entry(world.trust.identity, "-", "-")
        if up:
            for node in cluster.masters:
                desired = world.desired(cluster, node)
                readings[node.name].texts = {path: desired["file", path][1].content for path in PUBLIC}
        hosts = Hosts(readings)
        run = Run(cluster, hosts)  # type: ignore[arg-type]
        return run, hosts

    return make


def phases() -> list[Any]:
    """Of up, without those that look: what they do is tested by itself."""
    return [phase for phase in up.PHASES if hasattr(phase, "changes")]


def test_a_bare_cluster_gets_everything_once(make: Any) -> None:
    run, hosts = make()
    execute(phases(), run)
    assert hosts.reads == 1
    for name in ("n1", "n2"):
        placed = [key for _, host, items in hosts.applied if host == name for _, key in items]
        assert sorted(placed) == sorted(run.desired(name))


def test_the_order_of_phases(make: Any) -> None:
    run, hosts = make()
    execute(phases(), run)
    titles = list(dict.fromkeys(title for title, _, _ in hosts.applied))
    assert titles == ["Authorities", "Components", "Hosts", "etcd", "Control plane", "Nodes"]
    assert [host for title, host, _ in hosts.applied if title == "Authorities"] == ["n1"]


def test_a_cluster_that_is_up_is_left_alone(make: Any) -> None:
    run, hosts = make(up=True)
    execute(phases(), run)
    assert hosts.applied == []
    assert not any(run.changes.values())
    assert set(PUBLIC) <= set(hosts.asked)


def test_a_new_host_is_marked_as_the_clusters(make: Any, world: Any) -> None:
    run, _ = make(up=True)
    assert {change.cluster for change in run.changes.values()} == {None}
    bare, _ = make()
    assert {change.cluster for change in bare.changes.values()} == {("demo", bare.vault.trust.identity)}


def test_a_cluster_is_validated_once_and_again_when_something_changes(make: Any, monkeypatch: Any) -> None:
    run, hosts = make(up=True)
    assert not run.validated
    hosts.readings["n1"].texts[VALIDATED] = f"{run.state}\n"
    assert run.validated
    monkeypatch.setattr("kubeup.deploy.phases.validate", lambda *_, **__: pytest.fail("it was validated"))
    Validate().run(run)  # does not validate
    other, others = make(up=True)
    others.readings["n1"].texts[VALIDATED] = "older"
    assert not other.validated


def test_what_is_no_longer_wanted_goes_last(make: Any) -> None:
    run, hosts = make(up=True)
    hosts.readings["n2"].record["file", "/etc/old"] = Entry("want", "digest -", "absent")
    execute(phases(), run)
    assert hosts.applied == [("Tidy", "n2", [("remove", ("file", "/etc/old"))])]


# a part of the nodes


def test_nodes_out_of_scope_are_neither_read_nor_changed(make: Any) -> None:
    run, hosts = make("ai i i i", up=True)
    for name in ("n2", "n3", "n4"):  # n3 is out of reach
        hosts.readings[name].record["file", "/etc/old"] = Entry("want", "digest -", "absent")
    part = replace(run, scope=frozenset({"n1", "n2", "n4"}))
    execute(phases(), part)
    assert set(part.readings) == set(part.changes) == {"n1", "n2", "n4"}
    assert [host for _, host, _ in hosts.applied] == ["n2", "n4"]
    # What the others hold is still a function of the whole cluster.
    nodes = part.desired("n1")["file", "/etc/kubernetes/addons/nodes.yaml"][1]
    assert "n3" in nodes.content  # type: ignore[attr-defined]


def test_any_living_master_will_do_for_the_authorities(make: Any) -> None:
    run, hosts = make("ai ai ai", up=True)
    hosts.readings["n3"] = Reading(hosts.readings["n3"].facts)  # new
    part = replace(run, scope=frozenset({"n2", "n3"}))  # n1 is dead
    assert part.vault.trust == run.vault.trust
    assert part.changes["n3"].cluster == ("demo", run.vault.trust.identity)


def test_no_authorities_are_made_where_others_may_hold_them(make: Any) -> None:
    run, hosts = make("ai ai ai", up=True)
    hosts.readings["n2"].texts, hosts.readings["n3"].texts = {}, {}
    with pytest.raises(Exception, match=r"none of the masters that answer \(n2, n3\) holds the authorities"):
        _ = replace(run, scope=frozenset({"n2", "n3"})).vault


def test_a_part_is_validated_and_nothing_is_said_of_the_whole(make: Any, monkeypatch: Any) -> None:
    run, hosts = make("ai i i", up=True)
    hosts.readings["n1"].texts[VALIDATED] = f"{run.state}\n"
    part = replace(run, scope=frozenset({"n1", "n2"}))
    assert not part.validated
    asked = []
    monkeypatch.setattr("kubeup.deploy.phases.validate", lambda _, __, names, **___: asked.append(names) or [])
    hosts.observer = Silent()  # type: ignore[attr-defined]
    hosts.side_by_side = lambda *_: pytest.fail("it noted that the whole cluster works")  # type: ignore[attr-defined]
    Validate().run(part)
    assert asked == [["n1", "n2"]]


# destroy


def test_destroy_removes_all_that_was_placed_minions_first(make: Any) -> None:
    run, hosts = make(up=True)
    placed = {name: {key for key in reading.record if key[0] != "cluster"} for name, reading in hosts.readings.items()}
    execute(destroy.PHASES, run)
    assert [(title, host) for title, host, _ in hosts.applied] == [("Nodes", "n2"), ("Masters", "n1")]
    for _, host, items in hosts.applied:
        assert {action for action, _ in items} == {"remove"}
        assert {key for _, key in items} == placed[host]


def test_destroy_forgets_even_where_only_a_mark_is_left(make: Any) -> None:
    run, hosts = make()
    hosts.readings["n2"].record["cluster", "demo"] = Entry("1", "-", "-")
    execute(destroy.PHASES, run)
    assert hosts.applied == [("Nodes", "n2", [])]


def test_destroy_leaves_bare_hosts_alone(make: Any) -> None:
    run, hosts = make()
    execute(destroy.PHASES, run)
    assert hosts.applied == []


def test_destroy_refuses_another_clusters_hosts(make: Any) -> None:
    run, hosts = make(up=True)
    hosts.readings["n2"].record = {("cluster", "other"): Entry("1", "-", "-")}
    with pytest.raises(PreflightError, match="n2: belongs to the cluster other, not to demo"):
        execute(destroy.PHASES, run)
    assert hosts.applied == []


def test_up_changes_nothing_where_preflight_fails(make: Any, monkeypatch: Any, world: Any) -> None:
    run, hosts = make()
    monkeypatch.setattr(Vault, "artifact", lambda self, name, version, host: world.artifact(name, version))
    monkeypatch.setattr("kubeup.deploy.phases.reach", lambda *_: Reached())
    hosts.readings["n2"].facts = replace(hosts.readings["n2"].facts, init="openrc")
    with pytest.raises(PreflightError, match="n2: process 1 is openrc"):
        execute(up.PHASES, run)
    assert hosts.applied == []


def test_up_leaves_expired_certificates_to_the_command_that_needs_no_cluster(make: Any, monkeypatch: Any) -> None:
    run, hosts = make("ai", up=True)
    monkeypatch.setattr(Vault, "artifact", lambda self, name, version, host: pytest.fail("asked for"))
    facts = hosts.readings["n1"].facts
    hosts.readings["n1"].facts = replace(facts, clock=facts.clock + 366 * 24 * 3600)
    with pytest.raises(PreflightError, match=r"n1: expired: .*crt and \d+ more\s+first: kubeup certs renew"):
        execute(up.PHASES, run)
    assert hosts.applied == []


def test_a_script_that_fails_on_a_master_is_told(make: Any) -> None:
    run, hosts = make("ai ai ai")
    output = SimpleNamespace(ok=False, stderr="no", stdout="", exit_code=1)
    hosts.side_by_side = lambda names, function: dict.fromkeys(names, output)  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="running a script failed on n1, n2, n3"):
        run.on_masters("false")


def linked(make: Any, roles: str = "ai i", *, up: bool = False, **settings: Any) -> tuple[Run, Hosts]:
    """A Run on hosts whose links take 1500 and 9000 bytes in turn."""
    run, hosts = make(roles, up=up)
    for number, reading in enumerate(hosts.readings.values()):
        reading.facts = replace(reading.facts, mtus=(("lo", 65536), ("eth0", (1500, 9000)[number % 2])))
    run.cluster = run.cluster.model_copy(update=settings)
    return run, hosts


def path_mtus(hosts: Hosts) -> list[int]:
    return [reading.facts.path_mtu for reading in hosts.readings.values()]


def test_the_way_between_nodes_is_measured_once(make: Any) -> None:
    run, hosts = linked(make)
    measure(run)
    assert hosts.ways == [("n1", "1500", "10.0.0.2"), ("n2", "9000", "10.0.0.1")]
    assert path_mtus(hosts) == [1400, 1400]
    assert "mtu=1350 # what the way" in run.desired("n2")["file", "/opt/kubeup/lib/cni-config"][1].content  # type: ignore[union-attr]
    measure(run)
    assert len(hosts.ways) == 2
    run.deep = True
    measure(run)
    assert len(hosts.ways) == 4


def test_what_follows_from_the_way_is_looked_at_again(make: Any) -> None:
    run, _ = linked(make, up=True)
    state = run.state
    assert not any(run.changes.values())
    measure(run)
    assert run.state != state
    assert {item.key for item in run.changes["n2"].items} >= {("file", "/opt/kubeup/lib/cni-config")}


def test_the_smallest_link_counts_where_the_way_says_nothing(make: Any, monkeypatch: Any) -> None:
    run, hosts = linked(make)
    monkeypatch.setattr(hosts, "shell", lambda *_, timeout: Output("", "", 0))
    measure(run)
    assert path_mtus(hosts) == [1500, 1500]


def test_the_way_is_not_measured_where_nothing_follows_from_it(make: Any) -> None:
    for roles, settings in (("ai", {}), ("ai i", {"cni": "none"}), ("ai i", {"flannel": Flannel(mtu=1300)})):
        run, hosts = linked(make, roles, **settings)
        measure(run)
        assert hosts.ways == []
    for deep in (False, True):
        run, hosts = make()  # hosts that do not say what their links take
        run.deep = deep
        measure(run)
        assert hosts.ways == []
