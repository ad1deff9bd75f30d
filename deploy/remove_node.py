"""Take nodes out of a cluster, and leave their hosts as they were."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kubeup.cluster import Cluster, load
from kubeup.cluster.editing import Edited, without_nodes
from kubeup.deploy import up
from kubeup.deploy.drain import DRAIN_TIMEOUT
from kubeup.deploy.leaving import (
    Belongs,
    Forget,
    Quorum,
    affected,
    leaving,
    reach,
    refuse_living,
    tell_left_out,
    without,
)
from kubeup.deploy.phases import Phase, execute
from kubeup.deploy.run import Run
from kubeup.errors import InventoryError, NodeError, Problem
from kubeup.host.session import Session

Confirm = Callable[[Mapping[str, str]], None]
"""Told of nodes that are taken for dead, and why; raises when they are not to be."""


@dataclass(frozen=True)
class Removal:
    """Nodes that are to go from the cluster, and the inventory as it will be.

    The order of `run` is such that one killed anywhere is finished by the same command. While a host holds anything,
    the inventory says how to reach it; a node's object and pods go last, when nothing can bring them back.
    """

    cluster: Cluster
    names: tuple[str, ...]
    edited: Edited

    @classmethod
    def of(cls, path: Path, names: Sequence[str]) -> Removal:
        """What is to be done. Raises InventoryError when what would be left is no cluster; nothing is changed.

        A name that the inventory does not have may be that of a node that it once had.
        """
        cluster = load(path)
        masters = {master.name for master in cluster.masters}
        if masters <= set(names):
            raise NodeError(
                f"{', '.join(sorted(masters))}: without a master there is no cluster. "
                "`kubeup destroy` takes it away; `kubeup replace-node` puts another host in a master's place"
            )
        known = [node.name for node in cluster.hosts if node.name in names]
        try:
            edited = without_nodes(path, known)
        except InventoryError as error:
            if not masters & set(names):
                raise
            remedy = (
                "remove two at once (kubeup remove-node NAME NAME), or put another host in its place (replace-node)"
            )
            more = Problem("", f"without {', '.join(known)} the cluster would be as said above", remedy)
            raise InventoryError([*error.problems, more]) from error
        return cls(cluster, tuple(names), edited)

    @property
    def known(self) -> list[str]:
        """Those that the inventory has."""
        return [node.name for node in self.cluster.hosts if node.name in self.names]

    def affected(self, cluster: Cluster) -> list[str]:
        """The hosts of a cluster that have to know: all, where it is not known what it is that went."""
        if len(self.known) < len(self.names):
            return [host.name for host in cluster.hosts]
        return affected(cluster, [node for node in self.cluster.hosts if node.name in self.names])

    def run(
        self, session: Session, job: str, confirm: Confirm, *, timeout: float = DRAIN_TIMEOUT, force: bool = False
    ) -> Run:
        """Do it. ``session`` is on the cluster as it is, and connects here.

        Raises NodeError when a node cannot be drained, or is alive though SSH does not reach it, or when what is left
        of etcd would have no majority; HostsFailed when no master answers.
        """
        after = self.edited.cluster
        away = reach(session, self.affected(self.cluster))
        if all(master.name in away for master in after.masters):
            session.connect([master.name for master in after.masters])  # says why
        dead = {name: why for name, why in away.items() if name in self.names}

        def on(cluster: Cluster, names: Sequence[str], *, held: bool = True) -> Run:
            return Run(cluster, session, scope=frozenset(names) - away.keys(), alone=True, held=held, job=job)

        core = [node.name for node in (*self.cluster.masters, *self.cluster.members)]
        first = on(self.cluster, [*core, *self.known], held=False)
        refuse_living(first, [name for name in self.names if name in dead or name not in self.known])
        if dead:
            confirm(dead)
        execute([Belongs(self.names), *([Quorum(self.names)] if self.may_be_members else [])], first)
        first.hold()
        cluster = self.cluster
        for name in self.names:
            execute(self.leaving(name, name in dead, timeout, force), on(cluster, [*core, name]))
            # The next must not ask a master that has just been cleaned.
            cluster = without(cluster, name)
        self.edited.write()
        last = on(after, self.affected(after))
        execute(self.rest(), last)
        tell_left_out(session, [name for name in away if name not in dead])
        return last

    @property
    def may_be_members(self) -> bool:
        """Whether there may be members of etcd among them: what the inventory no longer knows may be anything."""
        members = {node.name for node in self.cluster.members}
        return not self.cluster.etcd.endpoints and any(name in members or name not in self.known for name in self.names)

    def leaving(self, name: str, dead: bool, timeout: float, force: bool) -> list[Phase]:
        """The phases by which one of them leaves."""
        gone = dead or name not in self.known
        return leaving(name, dead=gone, timeout=timeout, force=force, member=self.may_be_members)

    def rest(self) -> list[Phase]:
        """The phases by which the others come to know."""
        addresses = {node.name: str(node.address) for node in self.cluster.hosts}
        *converge, validate = up.PHASES
        return [*converge, *(Forget(name, addresses.get(name, "")) for name in self.names), validate]
