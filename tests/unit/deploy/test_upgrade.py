"""Upgrades of clusters that exist in memory alone: their order, what stops them, and that they go on."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from kubeup.checks.kubectl import CORDONED
from kubeup.cluster import skew
from kubeup.deploy import rolling as rolling_module
from kubeup.deploy import upgrade as module
from kubeup.deploy.phases import other_versions
from kubeup.deploy.rolling import batches, plan_of, unavailable
from kubeup.deploy.run import PREVIOUS, Previous, Run
from kubeup.deploy.upgrade import Options, rollback, upgrade
from kubeup.deploy.vault import PUBLIC, Vault
from kubeup.errors import HostFailure, HostsFailed, NodeError, UpgradeError, UpgradeRefused, ValidationError
from kubeup.host.difference import Change
from kubeup.host.reading import Entry, Reading
from kubeup.host.session import Output
from kubeup.roles.common import versions_in_use

OLD = {"kubernetes": "1.35.4", "etcd": "3.6.7"}
NEW = {"kubernetes": "1.36.3", "etcd": "3.6.8"}


# The order


def steps(roles: str, **options: Any) -> Callable[[Any], list[tuple[str, str]]]:
    return lambda world: [(step.part, " ".join(step.nodes)) for step in plan_of(world.cluster(roles), **options)]


def order(text: str) -> list[tuple[str, str]]:
    """("etcd", "n1") and so on of "etcd: n1 | control plane: n1"."""
    return [(part, nodes) for part, _, nodes in (step.partition(": ") for step in text.split(" | "))]


def test_all_apiservers_come_before_the_first_kubelet(world: Any) -> None:
    assert steps("ai ai ai i i")(world) == order(
        "etcd: n1 | control plane: n1 | etcd: n2 | control plane: n2 | etcd: n3 | control plane: n3 | "
        "node: n1 | node: n2 | node: n3 | node: n4 | node: n5 | addons: n1 n2 n3"
    )


def test_back_is_the_other_way_round(world: Any) -> None:
    forward, back = (
        steps("a a a i i i", max_unavailable=2)(world),
        steps("a a a i i i", max_unavailable=2, back=True)(world),
    )
    assert back == [*reversed(forward[:-1]), forward[-1]]


def test_a_canary_comes_first_but_not_before_the_apiservers(world: Any) -> None:
    waits = steps("ai i i i", canary="n3", max_unavailable=2)(world)
    assert waits == order("etcd: n1 | control plane: n1 | node: n3 | node: n1 | node: n2 n4 | addons: n1")
    assert steps("ai i i i", canary="n3", kubelets_wait=False)(world)[0] == ("node", "n3")
    masters = steps("ai ai ai", canary="n2")(world)
    assert masters[1] == ("control plane", "n2")
    assert masters[6] == ("node", "n2")


def test_hosts_of_etcd_come_first(world: Any) -> None:
    assert steps("a i etcd etcd etcd")(world) == order(
        "etcd: n3 | etcd: n4 | etcd: n5 | control plane: n1 | node: n1 | node: n2 | addons: n1"
    )


def test_a_batch_stays_in_its_zone(world: Any) -> None:
    cluster = world.cluster("ai i i i i i")
    zones = {"n2": "a", "n3": "b", "n4": "a", "n5": "b", "n6": "a"}
    workers = [
        node.model_copy(update={"labels": {rolling_module.ZONE: zones[node.name]}}) for node in cluster.nodes[1:]
    ]
    assert batches(workers, 2) == [("n2", "n4"), ("n6",), ("n3", "n5")]
    assert batches(cluster.nodes[1:], 4) == [("n2", "n3", "n4", "n5"), ("n6",)]


@pytest.mark.parametrize(
    ("text", "workers", "number"),
    [("1", 9, 1), ("3", 2, 3), ("20%", 10, 2), ("20%", 9, 1), ("20%", 2, 1), ("100%", 7, 7)],
)
def test_unavailable(text: str, workers: int, number: int) -> None:
    assert unavailable(text, workers) == number


@pytest.mark.parametrize("text", ["0", "-1", "0%", "101%", "some", "%", "", "1.5"])
def test_what_is_no_number_of_nodes(text: str) -> None:
    with pytest.raises(ValueError, match="neither a number of nodes nor a percentage"):
        unavailable(text, 5)


# Hosts in memory


class Killed(Exception):
    """kubeup was killed."""


class Hosts:
    """A Session to hosts that hold what is applied to them; ``states`` is what."""

    def __init__(self, world: Any, states: dict[str, dict[Any, Any]], facts: Any) -> None:
        self.world, self.states, self.facts = world, states, facts
        self.texts: dict[str, str] = {}
        self.pending: dict[str, dict[Any, str]] = {name: {} for name in states}
        self.log: list[tuple[str, tuple[str, ...]]] = []
        self.said: list[str] = []
        self.fails: Callable[[str, str, Change], str] = lambda title, name, change: ""
        self.lives = 10**6
        self.observer: Any = SimpleNamespace(
            say=self.said.append,
            **dict.fromkeys(("phase_started", "host_started", "host_done", "phase_done", "checked"), lambda *_: None),
        )

    def read(self, nodes: Any = None, **_: Any) -> dict[str, Reading]:
        found = {}
        for name, state in self.states.items():
            if nodes is not None and name not in nodes:
                continue
            reading = self.world.holding(state, self.facts[name])
            reading.record["cluster", "demo"] = Entry(self.world.trust.identity, "-", "-")
            for unit in self.pending[name]:
                reading.record["unit", unit] = Entry("pending", "-", "absent")
            texts = {path: state["file", path][1].content for path in PUBLIC if ("file", path) in state}
            reading.texts = texts | (self.texts if texts else {})
            found[name] = reading
        return found

    def apply(self, title: str, changes: dict[str, Change], material: Any) -> None:
        changes = {name: change for name, change in changes.items() if change}
        if not changes:
            return
        self.log.append((title, tuple(changes)))
        failures = []
        for name, change in changes.items():
            self.pending[name].update(change.dirty)
            for item in change.items:
                if item.key[0] == "unit":
                    continue
                if item.action == "remove":
                    del self.states[name][item.key]
                else:
                    self.states[name][item.key] = (item.role, item.resource)
            self.lives -= 1
            if self.lives == 0:  # everything is placed, and no unit restarted
                raise Killed
            if why := self.fails(title, name, change):
                failures.append(HostFailure(name, title, 1, why))
                continue
            for item in change.items:
                if item.key[0] == "unit":
                    self.states[name][item.key] = (item.role, item.resource)
                    self.pending[name].pop(item.name, None)
        if failures:
            raise HostsFailed(title, failures)

    def shell(self, name: str, script: str, *arguments: str, **_: Any) -> Output:
        if arguments and arguments[0] == PREVIOUS:
            if "rm " in script:
                self.texts.pop(PREVIOUS, None)
            else:
                self.texts[PREVIOUS] = arguments[1]
        return Output("", "", 0)

    def side_by_side(self, names: Any, function: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in names:
            try:
                found[name] = function(name)
            except Killed:
                raise
            except Exception as error:
                found[name] = error
        return found

    def hold(self, nodes: Any, who: str) -> dict[str, str]:
        return {}

    def versions(self, program: str) -> dict[str, str]:
        """What the hosts run of a program."""
        links = {name: {k[1]: r.target for k, (_, r) in s.items() if k[0] == "link"} for name, s in self.states.items()}
        return {name: versions_in_use(found).get(program, ("", "-"))[1] for name, found in links.items()}


class World:
    """A cluster in memory, its inventory's versions, and jobs on it."""

    def __init__(self, world: Any, roles: str) -> None:
        self.world, self.roles = world, roles
        cluster = world.cluster(roles, versions=OLD)
        facts = {node.name: world.host(node) for node in cluster.hosts}
        states = {node.name: dict(world.desired(cluster, node)) for node in cluster.hosts}
        self.hosts = Hosts(world, states, facts)
        self.inventory = dict(OLD)
        self.cordoned: set[str] = set()
        self.by_hand: set[str] = set()

    def run(self, versions: dict[str, str]) -> Run:
        run = Run(self.world.cluster(self.roles, versions=versions), self.hosts)  # type: ignore[arg-type]
        self.hosts.log.clear()
        return run

    def note(self, versions: Any) -> None:
        self.inventory = {key: getattr(versions, key) for key in OLD}

    def upgrade(self, versions: dict[str, str] | None = None, **options: Any) -> bool:
        return upgrade(self.run(versions or NEW), Options(**options), self.note)

    def rollback(self, **options: Any) -> None:
        rollback(self.run(self.inventory), Options(**options), self.note)

    def differences(self, versions: dict[str, str]) -> dict[str, list[Any]]:
        changes = self.run(versions).changes
        return {name: [item.key for item in change.items] for name, change in changes.items() if change.items}


@pytest.fixture
def make(world: Any, monkeypatch: Any) -> Callable[[str], World]:
    """Makes a cluster that runs OLD. Its API says what is asked; what disturbs it is checked at every step."""

    def make(roles: str) -> World:
        made = World(world, roles)

        def gate(self: Any, name: str, part: str, versions: Any, ignoring: Any = ()) -> None:
            if self.run.job == "gate fails":
                raise NodeError(f"{name} is not ready")

        def drain(run: Any, name: str, **_: Any) -> bool:
            made.hosts.log.append(("Drain", (name,)))
            made.cordoned.add(name)
            return True

        def uncordon(run: Any, name: str) -> bool:
            made.cordoned.discard(name)
            return True

        class Api:
            def __init__(self, *_: Any, **__: Any) -> None: ...

            def get(self, kind: str, *_: str) -> list[Any]:
                ready = {"conditions": [{"type": "Ready", "status": "True"}]}
                return [
                    {
                        "metadata": {
                            "name": name,
                            "annotations": {CORDONED: ""} if name in made.cordoned else {},
                        },
                        "spec": {"unschedulable": name in made.cordoned | made.by_hand},
                        "status": ready,
                    }
                    for name in made.hosts.states
                ]

            def members(self) -> list[Any]:
                return []

        for where in (rolling_module, module):
            monkeypatch.setattr(where, "Kubectl", Api)
        monkeypatch.setattr(module, "Etcdctl", Api)
        monkeypatch.setattr(rolling_module.Rolling, "_gate", gate)
        monkeypatch.setattr(rolling_module.Rolling, "_controllers_work", lambda self: None)
        monkeypatch.setattr(rolling_module, "drain", drain)
        monkeypatch.setattr(rolling_module, "uncordon", uncordon)
        monkeypatch.setattr(rolling_module, "unready_pods", lambda run, name: {})
        monkeypatch.setattr(module.snapshots, "take", lambda *_: SimpleNamespace(node="n1", path="/snapshot"))
        monkeypatch.setattr(module, "preflight", lambda *_: None)
        monkeypatch.setattr(module.Validate, "run", lambda self, run: made.hosts.log.append(("Validation", ())))
        monkeypatch.setattr(module.apis, "asked_for", lambda *_: {})
        monkeypatch.setattr(module.apis, "stored", lambda *_: {})
        monkeypatch.setattr(module.apis, "served", lambda *_: ["v1"])
        monkeypatch.setattr(module.apis, "custom_groups", lambda *_: set())
        monkeypatch.setattr(Vault, "artifact", lambda self, name, version, host: world.artifact(name, version))
        return made

    return make


def test_an_upgrade_brings_everything_node_by_node(make: Any) -> None:
    made = make("ai ai ai i i")
    assert made.upgrade()
    assert made.hosts.log == [
        ("Components", ("n1", "n2", "n3", "n4", "n5")),
        ("etcd", ("n1",)),
        ("Control plane", ("n1",)),
        ("etcd", ("n2",)),
        ("Control plane", ("n2",)),
        ("etcd", ("n3",)),
        ("Control plane", ("n3",)),
        *(entry for n in ("n1", "n2", "n3", "n4", "n5") for entry in (("Drain", (n,)), ("Node", (n,)))),
        ("Validation", ()),
    ]
    assert made.inventory == NEW
    assert made.cordoned == set()
    assert made.differences(NEW) == {}


def test_nothing_is_restarted_that_did_not_change(make: Any) -> None:
    made = make("ai i")
    assert made.upgrade({**OLD, "etcd": "3.6.8"})
    assert made.hosts.log == [("Components", ("n1",)), ("etcd", ("n1",)), ("Validation", ())]


def test_hosts_of_etcd_alone_are_changed_as_a_whole_and_not_drained(make: Any) -> None:
    made = make("a i etcd etcd etcd")
    del made.hosts.states["n4"][next(key for key, (role, _) in made.hosts.states["n4"].items() if role == "base")]
    made.upgrade({**OLD, "etcd": "3.6.8"})
    # The master has an etcdctl to ask them with.
    rest = [("Control plane", ("n1",)), ("Validation", ())]
    assert made.hosts.log[1:] == [("etcd", ("n3",)), ("etcd", ("n4",)), ("etcd", ("n5",)), *rest]
    assert made.differences({**OLD, "etcd": "3.6.8"}) == {}


def test_coredns_follows_its_image_and_no_pod_has_to_go(make: Any) -> None:
    made = make("ai i")
    newer = {**OLD, "coredns": "1.99.0"}
    assert made.upgrade(newer)
    assert made.hosts.log == [
        ("Components", ("n1", "n2")),
        ("Node", ("n1",)),
        ("Node", ("n2",)),
        ("Addons", ("n1",)),
        ("Validation", ()),
    ]
    assert made.differences(newer) == {}
    made.rollback()
    assert made.differences(OLD) == {}


@pytest.mark.parametrize("component", ["flannel", "containerd", "runc"])
def test_what_pods_need_is_restarted_on_nodes_without_pods(make: Any, component: str) -> None:
    made = make("ai i")
    made.upgrade({**OLD, component: "9.9.9"})
    assert made.hosts.log == [
        ("Components", ("n1", "n2")),
        *(entry for n in ("n1", "n2") for entry in (("Drain", (n,)), ("Node", (n,)))),
        ("Validation", ()),
    ]
    assert made.differences({**OLD, component: "9.9.9"}) == {}


def test_what_ran_before_stays_on_the_hosts_until_the_next_upgrade(make: Any) -> None:
    made = make("ai i")
    made.upgrade()
    kept = {key[1] for key in made.hosts.states["n2"] if key[0] == "blob" and "/kubernetes/" in key[1]}
    assert kept == {f"/opt/kubeup/kubernetes/{v}/{p}" for v in ("1.35.4", "1.36.3") for p in ("kubelet", "kube-proxy")}
    previous = Previous.parse(made.hosts.texts[PREVIOUS])
    assert (previous.versions.kubernetes, previous.to.kubernetes) == ("1.35.4", "1.36.3")


@pytest.mark.parametrize("lives", [1, 5, 6, 9, 11, 14])
def test_killed_anywhere_the_same_command_goes_on(make: Any, lives: int) -> None:
    made = make("ai ai ai i")
    made.hosts.lives = lives
    with pytest.raises(Killed):
        made.upgrade()
    made.hosts.lives = 10**6
    kubelets, apiservers = made.hosts.versions("kubelet"), made.hosts.versions("kube-apiserver")
    oldest = min((v for v in apiservers.values() if v != "-"), key=skew.parts)
    assert all(skew.minor_of(v) <= skew.minor_of(oldest) for v in kubelets.values())
    made.upgrade()
    assert made.differences(NEW) == {}
    assert made.cordoned == set()
    assert Previous.parse(made.hosts.texts[PREVIOUS]).versions.kubernetes == "1.35.4"
    made.rollback()
    assert made.differences(OLD) == {}


@pytest.mark.parametrize("lives", [4, 8, 13])
def test_killed_anywhere_it_can_go_back(make: Any, lives: int) -> None:
    made = make("ai ai ai i")
    made.hosts.lives = lives
    with pytest.raises(Killed):
        made.upgrade()
    made.hosts.lives = 10**6
    if PREVIOUS in made.hosts.texts:
        made.rollback()
    assert {key for keys in made.differences(OLD).values() for key in keys if key[0] != "blob"} == set()
    assert made.cordoned == set()


@pytest.mark.parametrize("lives", [2, 6, 13])
def test_a_rollback_that_was_killed_goes_on(make: Any, lives: int) -> None:
    made = make("ai ai ai i")
    made.upgrade()
    made.hosts.lives = lives
    with pytest.raises(Killed):
        made.rollback()
    made.hosts.lives = 10**6
    made.rollback()
    assert made.differences(OLD) == {}
    assert PREVIOUS not in made.hosts.texts
    assert made.inventory == OLD


def test_a_node_that_a_killed_run_left_cordoned_is_taken_into_use(make: Any) -> None:
    made = make("ai i")
    made.upgrade()
    made.cordoned.add("n2")
    made.upgrade()
    assert made.cordoned == set()


def test_a_node_where_it_does_not_start_is_put_back_and_nothing_else_touched(make: Any) -> None:
    made = make("ai i i")
    made.hosts.fails = lambda title, name, change: "kubelet: exit 1" if (title, name) == ("Node", "n2") else ""
    with pytest.raises(UpgradeError) as caught:
        made.upgrade()
    text = str(caught.value)
    assert "Stopped: n2 does not work as it should (node)" in text
    assert "kubelet: exit 1" in text
    assert "n2 was put back to kubernetes 1.35.4, etcd 3.6.7, and works." in text
    assert "Changed and working: n1 (etcd), n1 (control plane), n1 (node)." in text
    assert "Not reached: n3, n1." in text
    assert made.hosts.log[-1] == ("Put back", ("n2",))
    assert made.hosts.versions("kubelet") == {"n1": "1.36.3", "n2": "1.35.4", "n3": "1.35.4"}
    assert made.cordoned == set()
    with pytest.raises(UpgradeError, match=r"put back to kubernetes 1\.35\.4, etcd 3\.6\.7, and works"):  # as noted
        made.upgrade()
    made.hosts.fails = lambda title, name, change: ""
    made.upgrade()
    assert made.hosts.log[0] == ("Drain", ("n2",))  # all bytes are there
    assert made.differences(NEW) == {}


def test_of_a_batch_only_those_that_fail_are_put_back(make: Any) -> None:
    made = make("ai i i i")
    made.hosts.fails = lambda title, name, change: "no" if (title, name) == ("Node", "n3") else ""
    with pytest.raises(UpgradeError, match="n3 was put back"):
        made.upgrade(max_unavailable="3")
    assert made.hosts.versions("kubelet") == {"n1": "1.36.3", "n2": "1.36.3", "n3": "1.35.4", "n4": "1.36.3"}


def test_where_the_connection_broke_nothing_is_put_back(make: Any) -> None:
    made = make("ai i")

    def apply(title: str, changes: Any, material: Any, real: Any = made.hosts.apply) -> None:
        if title == "Node":
            raise HostsFailed(title, [HostFailure("n1", title, None, "the connection broke")])
        real(title, changes, material)

    made.hosts.apply = apply
    with pytest.raises(UpgradeError, match="The connection to n1 broke while it was being changed"):
        made.upgrade()


def test_a_build_that_did_not_start_does_not_stay_in_the_way(make: Any, world: Any, monkeypatch: Any) -> None:
    made = make("ai i")
    made.hosts.fails = lambda title, name, change: "exit 1" if title == "Node" else ""
    with pytest.raises(UpgradeError):
        made.upgrade()
    made.hosts.fails = lambda title, name, change: ""
    monkeypatch.setattr(Vault, "artifact", lambda self, name, version, host: world.artifact(f"another {name}", version))
    made.upgrade()
    assert made.hosts.log[0] == ("Components", ("n1", "n2"))


def test_a_cluster_of_one_node_is_not_drained(make: Any) -> None:
    made = make("ai")
    made.upgrade()
    assert "Drain" not in [title for title, _ in made.hosts.log]
    assert "n1: not drained, as there is no other node for its pods; they run on meanwhile." in made.hosts.said


def test_it_is_refused_before_anything_is_touched(make: Any) -> None:
    made = make("ai i")
    for versions, options, wrong in (
        ({"kubernetes": "1.35.4", "etcd": "3.6.6"}, {}, "is older"),
        (NEW, {"canary": "n9"}, "there is no node n9"),
        (NEW, {"max_unavailable": "none"}, "neither a number"),
    ):
        with pytest.raises(UpgradeRefused, match=wrong):
            made.upgrade(versions, **options)
        assert made.hosts.log == []
    assert made.inventory == OLD
    with pytest.raises(UpgradeRefused, match="no earlier version to go back to"):
        made.rollback()


def test_removed_apis_are_refused_unless_forced(make: Any, monkeypatch: Any) -> None:
    made = make("ai i")
    monkeypatch.setattr(module.apis, "asked_for", lambda *_: {"x/v1beta1 things": "1.36", "x/v1beta2 things": "1.38"})
    monkeypatch.setattr(module.apis, "stored", lambda *_: {"storage.k8s.io/v1alpha1 VolumeAttributesClass": 2})
    with pytest.raises(UpgradeRefused) as caught:
        made.upgrade()
    assert "x/v1beta1 things is removed in Kubernetes 1.36" in str(caught.value)
    assert "2 objects are stored as storage.k8s.io/v1alpha1" in str(caught.value)
    assert "x/v1beta2 things (until 1.38)" in made.hosts.said[0]
    assert made.upgrade(force=True)


def test_going_back_is_refused_where_objects_would_be_out_of_reach(make: Any, monkeypatch: Any) -> None:
    made = make("ai i")
    made.upgrade()
    monkeypatch.setattr(module.apis, "stored", lambda *_: {"new.k8s.io/v1 Thing": 2})
    with pytest.raises(UpgradeRefused, match=r"2 objects are stored as new.k8s.io/v1 Thing, which Kubernetes 1\.35\.4"):
        made.rollback()
    made.rollback(force=True)
    assert made.differences(OLD) == {}


def test_a_half_finished_rollback_is_not_an_upgrade(make: Any) -> None:
    made = make("ai i")
    made.upgrade()
    made.hosts.lives = 1
    with pytest.raises(Killed):
        made.rollback()
    assert made.inventory == OLD
    with pytest.raises(UpgradeRefused, match=r"1\.36\.3 runs, and 1\.35\.4 is older"):
        made.upgrade(OLD)
    made.upgrade(NEW)
    assert made.differences(NEW) == {}


def test_up_refuses_other_versions_than_those_that_run(make: Any) -> None:
    made = make("ai i")
    assert other_versions(made.run(OLD)) == []
    found = other_versions(made.run(NEW))
    assert [problem.what for problem in found] == [
        "runs etcd 3.6.7, kubernetes 1.35.4, and the inventory says 3.6.8, 1.36.3",
        "runs kubernetes 1.35.4, and the inventory says 1.36.3",
    ]


def test_addons_are_waited_for_on_one_master_and_the_users_own_are_not(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def ready(kubectl: Any, *, own: bool) -> str:
        asked.append(own)
        raise ValidationError("after 180 s coredns: Deployment coredns is not ready")

    monkeypatch.setattr(rolling_module, "addons_ready", ready)
    monkeypatch.setattr(rolling_module.Rolling, "_units_run", lambda *_: None)
    run: Any = SimpleNamespace(cluster=world.cluster("ai ai ai"), session=None)
    rolling = rolling_module.Rolling(run, run.cluster.versions)
    with pytest.raises(ValidationError, match="coredns is not ready"):
        rolling._gate("n1", "addons", run.cluster.versions)
    rolling._gate("n2", "addons", run.cluster.versions)
    assert asked == [True]
