"""A change that restarts services, while the cluster serves: those that it depends on one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gevent

from kubeup.checks.etcdctl import ETCDCTL, OWN, Etcdctl
from kubeup.checks.kubectl import KUBECTL, Kubectl
from kubeup.checks.preflight import preflight
from kubeup.deploy.drain import not_ready
from kubeup.deploy.gates import wait_until
from kubeup.deploy.phases import Converge, Part, Preflight, other_versions
from kubeup.deploy.run import Run
from kubeup.errors import HostsFailed, NodeError
from kubeup.host.converge import is_blob
from kubeup.host.difference import Change, Item

ETCD, APISERVER = "etcd.service", "kube-apiserver.service"

PROBES = {
    APISERVER: f"{KUBECTL} --request-timeout=5s get --raw /readyz >/dev/null",
    ETCD: f"{ETCDCTL} --endpoints={OWN} endpoint health >/dev/null",
}
"""What succeeds on a host on which the service of this name works: etcd only where a majority of it does."""

PROBED, PAUSE = 3, 1.0
"""How often a service must fail to answer, and the seconds in between, to count as ill. A host that is only busy must
not be: all that are ill are restarted at once."""


@dataclass(frozen=True)
class Fit(Preflight):
    """Refuses hosts that are not fit for the cluster. Of the cluster itself it asks nothing: that may be down."""

    def run(self, run: Run) -> None:
        preflight(run.cluster, run.readings, run.changes, run.vault, other_versions(run))


@dataclass(frozen=True)
class OneByOne(Part):
    """Applies what is left of the difference: on masters and etcd's members one at a time, then on all workers at once.

    None is touched before those before it work again. Those that do not work when it begins are done first, and all at
    once: there is nothing to be kept up on them, and they may need each other to work again.
    """

    title: str = "Nodes"
    without: tuple[str, ...] = ()
    """Roles whose part has been applied by a phase before."""

    def chooses(self, item: Item) -> bool:
        return not is_blob(item) and item.action != "remove" and item.role not in self.without

    def run(self, run: Run) -> None:
        changes = {name: change for name, change in self.changes(run).items() if change}
        carrying = {node.name for node in (*run.masters, *run.cluster.members)}
        restarted = [name for name, change in changes.items() if _restarts(change)]
        one_by_one = [name for name in restarted if name in carrying]
        ill = _ill(run, one_by_one, lambda name: _own_services(run, name))
        self._together(run, changes, ill)
        for number, name in enumerate(n for n in one_by_one if n not in ill):
            if number == 0 and not ill:
                _refuse_without_quorum_to_spare(run)
            self._together(run, changes, [name])
        self._together(run, changes, [name for name in changes if name not in one_by_one])

    def _together(self, run: Run, changes: dict[str, Change], names: Sequence[str]) -> None:
        """Apply to these nodes side by side, and return once those that were restarted work. Raises NodeError."""
        if names:
            run.session.apply(self.title, {name: changes[name] for name in names}, run.vault)
            restarted = [name for name in names if _restarts(changes[name])]
            _wait(run, restarted, wait_until_it_works)


@dataclass(frozen=True)
class InTurn(Converge):
    """As Converge; but a service of which several hosts are needed is restarted on those that serve one at a time.

    Where it does not serve on more than one host, as when the cluster is new, it costs nothing. Those whose service
    does not answer are done before the others: what is ill may need the change to work.
    """

    unit: str = ""

    def run(self, run: Run) -> None:
        changes = {name: change for name, change in self.changes(run).items() if change}
        serving = [name for name in changes if self._serves(run, name) and self._restarts_it(changes[name])]
        ill = _ill(run, serving, lambda _: PROBES[self.unit]) if len(serving) > 1 else serving
        in_turn = [name for name in serving if name not in ill]
        run.session.apply(self.title, {n: change for n, change in changes.items() if n not in in_turn}, run.vault)
        for name in in_turn:
            run.session.apply(self.title, {name: changes[name]}, run.vault)
            _wait(run, [name], self._until_it_answers)

    def _until_it_answers(self, run: Run, name: str) -> None:
        wait_until(f"{name} does not work", lambda: self._silence(run, name))

    def _serves(self, run: Run, name: str) -> bool:
        state = run.readings[name].units.get(self.unit)
        return state is not None and state.active == "active"

    def _restarts_it(self, change: Change) -> bool:
        return any(item.key == ("unit", self.unit) and item.action != "remove" for item in change.items)

    def _silence(self, run: Run, name: str) -> str:
        output = run.session.shell(name, PROBES[self.unit], timeout=30)
        return "" if output.ok else output.stderr.strip() or f"{self.unit} does not answer"


def _wait(run: Run, names: Sequence[str], gate: Callable[[Run, str], None]) -> None:
    """Return once all of these nodes are through the gate. Raises NodeError."""
    if wrong := run.each("Works", names, lambda name: gate(run, name)):
        told = [*map(str, wrong.values()), "Nothing else was touched; mend that, and run it again."]
        raise NodeError("\n".join(told))


def wait_until_it_works(run: Run, name: str) -> None:
    """Return once a node's services work: its apiserver and etcd where it has them, all of etcd's members, its kubelet.

    Raises NodeError with what does not.
    """
    wait_until(f"{name} does not work", lambda: _lacks(run, name))


def _restarts(change: Change) -> bool:
    return any(item.key[0] == "unit" for item in change.items)


def _own_services(run: Run, name: str) -> str:
    """A script that succeeds when what the cluster depends on works on this node."""
    node = run.cluster.node(name)
    has = {APISERVER: node.is_master, ETCD: node in run.cluster.members}
    return " && ".join(PROBES[unit] for unit in has if has[unit]) or "true"


def _ill(run: Run, names: Sequence[str], probe: Callable[[str], str]) -> list[str]:
    """Those of the nodes on which the script that ``probe`` gives fails, each time it is run: once may be chance."""

    def answers(name: str) -> bool:
        for _ in range(PROBED):
            if run.session.shell(name, probe(name), timeout=30).ok:
                return True
            gevent.sleep(PAUSE)
        return False

    outcome = run.session.side_by_side(names, answers)
    return [name for name, answered in outcome.items() if answered is not True]


def _sick_members(run: Run) -> list[str]:
    if not run.cluster.members:  # etcd is not kubeup's
        return []
    return [
        f"the etcd member {member.name or member.endpoint} is not healthy {member.error}".strip()
        for member in Etcdctl(run.cluster, run.session).members()
        if not member.healthy
    ]


def _refuse_without_quorum_to_spare(run: Run) -> None:
    if run.cluster.members and (wrong := _sick_members(run)):
        raise NodeError(
            f"{'; '.join(wrong)}, so no other may be restarted. Nothing was touched. See: kubeup etcd status"
        )


def _lacks(run: Run, name: str) -> str:
    """What does not work yet, or ""."""
    own = run.session.shell(name, _own_services(run, name), timeout=30)
    if not own.ok:
        return own.stderr.strip() or "its apiserver or etcd does not answer"
    try:
        if run.cluster.node(name) in run.cluster.members and (wrong := _sick_members(run)):
            return "; ".join(wrong)
    except HostsFailed as error:
        return str(error)
    if run.cluster.node(name) not in run.cluster.nodes:  # a host of etcd's alone
        return ""
    return "; ".join(not_ready(Kubectl(run.cluster, run.session), name, pods_too=False))
