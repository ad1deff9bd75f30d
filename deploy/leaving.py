"""What it takes for a node to leave a cluster: one phase a step, each of which a run that goes on finds done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kubeup.checks.kubectl import Kubectl
from kubeup.cluster import Cluster, Node, Role
from kubeup.deploy.destroy import removal
from kubeup.deploy.drain import DRAIN_TIMEOUT, cordon, drain
from kubeup.deploy.members import Peer, members, remove_member, why_not_remove
from kubeup.deploy.phases import Phase
from kubeup.deploy.run import Run
from kubeup.errors import HostsFailed, NodeError, PreflightError, Problem
from kubeup.host.session import Session, failure
from kubeup.roles.etcd_client import access, etcdctl
from kubeup.roles.flannel import ETCD_PREFIX

GRACEFUL = ("keepalived.service", "kube-apiserver.service")
"""What is stopped before a master's host is cleaned, so that its clients are told: the rest is killed there."""


def affected(cluster: Cluster, nodes: Sequence[Node], *, firewalls: bool = False) -> list[str]:
    """The hosts of a cluster that have to know when these nodes come or go: they themselves, the masters, and more.

    All nodes, where one of them is a master: each node lists the masters, to reach the API through any of them. Those
    among which ingress' address moves, where one of them is among these. The hosts of etcd, where a member is. And all
    hosts, where there are ``firewalls``, which are opened for each host by its address.
    """
    if firewalls:
        return [host.name for host in cluster.hosts]
    member = any(node in cluster.members or node.is_master or node.role is Role.ETCD for node in nodes)
    listed = any(node.is_master for node in nodes) or (member and cluster.leases_in_etcd)
    names = {node.name for node in nodes}
    if any(cluster.takes_traffic_in(node) for node in nodes):
        names |= {node.name for node in cluster.ingress_nodes}
    return [
        *(node.name for node in cluster.nodes if listed or node.is_master or node.name in names),
        *(host.name for host in cluster.etcd_hosts if member or host.name in names),
    ]


def without(cluster: Cluster, name: str) -> Cluster:
    """The cluster without a host."""
    left = {field: tuple(h for h in getattr(cluster, field) if h.name != name) for field in ("nodes", "etcd_hosts")}
    return cluster.model_copy(update=left)


def reach(session: Session, names: Sequence[str], *, needed: Sequence[str] = ()) -> dict[str, str]:
    """Connect to nodes, side by side; those that cannot be reached are left out: their names, and why.

    Raises HostsFailed when one that is ``needed`` is among them.
    """
    failures = session.reach(names)
    if any(each.host in needed for each in failures):
        raise HostsFailed("connecting", failures)
    return {each.host: each.output for each in failures}


def reach_affected(cluster: Cluster, session: Session, names: Sequence[str], job: str) -> tuple[Run, dict[str, str]]:
    """Connect to the hosts that have to know when these come: a Run on them, and those that cannot be reached, and why.

    Raises HostsFailed when one of these themselves cannot be reached.
    """
    nodes = [node for node in cluster.hosts if node.name in names]

    def on(scope: list[str]) -> tuple[Run, dict[str, str]]:
        away = reach(session, scope, needed=names)
        return Run(cluster, session, scope=frozenset(scope) - away.keys(), alone=True, job=job), away

    run, away = on(affected(cluster, nodes))
    return on(affected(cluster, nodes, firewalls=True)) if has_firewalls(run) else (run, away)


def has_firewalls(run: Run) -> bool:
    """Whether a firewall runs on one of the hosts that were read."""
    return any(reading.facts.firewall for reading in run.readings.values())


def tell_left_out(session: Session, left_out: Sequence[str]) -> None:
    """Say that nodes that cannot be reached keep what they have."""
    for name in left_out:
        session.observer.say(f"{name} cannot be reached, and keeps what it has: run `kubeup up` when it is back.")


@dataclass(frozen=True)
class Belongs:
    """Refuses to clean a host of another cluster, before anything is touched."""

    names: Sequence[str]
    title: str = "Preflight"

    def run(self, run: Run) -> None:
        own = (run.cluster.name, run.vault.trust.identity)
        problems = []
        for name in self.names:
            mark = run.readings[name].cluster if name in run.readings else None
            if mark and mark != own:
                which = "another cluster that is also called" if mark[0] == own[0] else "the cluster"
                problems.append(Problem(name, f"belongs to {which} {mark[0]}, not to {own[0]}: it is left alone"))
        if problems:
            raise PreflightError(problems)


@dataclass(frozen=True)
class Quorum:
    """Refuses what would leave etcd without a majority, or without its last member, before anything is touched."""

    names: Sequence[str]
    title: str = "Quorum"

    def run(self, run: Run) -> None:
        now = members(run)
        for name in self.names:
            member = member_of(run.cluster, now, name)
            if member is None:
                continue
            if why := why_not_remove(now, member):
                raise NodeError(f"{name} cannot be taken out: {why}. Nothing was changed.")
            now = [other for other in now if other.id != member.id]


def member_of(cluster: Cluster, now: Sequence[Peer], name: str) -> Peer | None:
    """The node's member of etcd."""
    urls = [f"https://{node.address}:2380" for node in cluster.members if node.name == name]
    return next((m for m in now if m.name == name or (urls and urls[0] in m.peer_urls)), None)


@dataclass(frozen=True)
class Drain:
    """Evicts the node's pods; from a dead one nothing can be evicted, and no more shall come to it."""

    name: str
    dead: bool = False
    timeout: float = DRAIN_TIMEOUT
    force: bool = False
    title: str = "Drain"

    def run(self, run: Run) -> None:
        if Kubectl(run.cluster, run.session, avoid=self.name).node(self.name) is None:
            return
        run.hold()
        with run.phase(self.title):
            if self.dead:
                cordon(run, self.name)
            else:
                drain(run, self.name, timeout=self.timeout, force=self.force)
                run.session.observer.say(f"{self.name} is drained")


@dataclass(frozen=True)
class LeaveEtcd:
    """Takes the node's member out of etcd; its apiserver is stopped first, because that would lose its data."""

    name: str
    title: str = "Members"

    def run(self, run: Run) -> None:
        now = members(run)
        if member_of(run.cluster, now, self.name) is None:
            return
        run.hold()
        with run.phase(self.title):
            if self.name in run.readings:
                stop = 'for u in "$@"; do if systemctl is-active --quiet "$u"; then systemctl stop "$u"; fi; done'
                run.on([self.name], stop, *GRACEFUL)
            remove_member(run, self.name)


@dataclass(frozen=True)
class Clean:
    """Leaves the node's host as it was before it came to the cluster."""

    name: str
    title: str = "Host"

    def run(self, run: Run) -> None:
        if self.name in run.readings:
            run.session.apply(self.title, {self.name: removal(run, self.name)}, run.vault)


# $1: the node. Its lease goes with the Node object, which owns it. Its pods go at once: else their controllers would
# wait for minutes before they start others.
FORGET = """
kubectl delete node "$1" --ignore-not-found --timeout=60s >&2 || exit 1
kubectl delete pods -A --field-selector="spec.nodeName=$1" --force --grace-period=0 --wait=false --ignore-not-found >&2
"""

# Makes the Node object anew, with what the inventory says of the node: its kubelet could not set that by itself.
_REGISTER = """
kubectl apply --server-side --force-conflicts --field-manager=kubeup -f /etc/kubernetes/addons/nodes.yaml >&2
"""

# $1: the prefix of flannel's leases, $2: the node's address in the lease.
_LEASE = """
for key in $(etcdctl get --prefix "$1/subnets/" --keys-only); do
    lease=$(etcdctl get --print-value-only "$key") || exit 1
    case $lease in *'"PublicIP":"'"$2"'"'*) etcdctl del "$key" >&2 || exit 1 ;; esac
done
"""


@dataclass(frozen=True)
class Forget:
    """Takes away what the cluster's objects still say of a node: its Node, pods that nobody ends, flannel's lease.

    ``address``: the node's, where it is known. ``comes_again``: another host takes its place under the same name.
    """

    name: str
    address: str = ""
    comes_again: bool = False
    title: str = "Objects"

    def run(self, run: Run) -> None:
        kubectl = Kubectl(run.cluster, run.session, avoid=self.name)
        run.hold()
        script = FORGET + (_REGISTER if self.comes_again else "")
        kubectl.checked(script, self.name)
        if run.cluster.leases_in_etcd and self.address:
            master = next(master for master in run.masters if master.name != self.name)
            # As its apiserver does: etcd may have hosts of its own, which this run is not on.
            asking = f'etcdctl() {{ {etcdctl(access(run.cluster, master, run.vault.trust))} "$@"; }}\n'
            output = run.session.shell(master.name, asking + _LEASE, ETCD_PREFIX, self.address)
            if not output.ok:
                raise HostsFailed("removing a lease", [failure(master.name, "etcdctl (flannel's leases)", output)])


# $1: the node
_ALIVE = 'kubectl get --raw "/api/v1/nodes/$1/proxy/healthz" --request-timeout=10s'


def refuse_living(run: Run, names: Sequence[str]) -> None:
    """Raise NodeError for a node whose host cannot be cleaned, and that is not dead: its kubelet or etcd answers."""
    now = members(run) if names and run.cluster.members else []
    for name in names:
        member = member_of(run.cluster, now, name)
        answers = "etcd" if member and member.answers else "kubelet"
        if answers == "kubelet" and not Kubectl(run.cluster, run.session, avoid=name).script(_ALIVE, name).ok:
            continue
        why, mend = "cannot be reached by SSH", "mend the way to it (ssh, keys, firewall)"
        if name not in {host.name for host in run.cluster.hosts}:
            why, mend = "is not in the inventory", "put it there again, so that its host is known"
        raise NodeError(
            f"{name} {why}, but it is not dead: its {answers} answers. Nothing was changed. "
            f"Either {mend}, or switch the host off; then run the same command again"
        )


def leaving(
    name: str, *, dead: bool, timeout: float = DRAIN_TIMEOUT, force: bool = False, member: bool = True
) -> list[Phase]:
    """The phases by which a node leaves, up to where nothing runs on its host any more."""
    return [
        Drain(name, dead, timeout, force),
        *([LeaveEtcd(name)] if member else []),
        *([] if dead else [Clean(name)]),
    ]
