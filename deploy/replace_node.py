"""Put another host in the place of a node, which may be dead, a master, a member of etcd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from kubeup.cluster import Cluster, Node, Role, load
from kubeup.cluster.editing import Edited, same_host, with_nodes, with_other_host
from kubeup.deploy import up
from kubeup.deploy.drain import DRAIN_TIMEOUT
from kubeup.deploy.leaving import (
    Belongs,
    Forget,
    Quorum,
    affected,
    has_firewalls,
    leaving,
    reach,
    reach_affected,
    refuse_living,
    tell_left_out,
    without,
)
from kubeup.deploy.phases import Phase, Preflight, execute
from kubeup.deploy.remove_node import Confirm
from kubeup.deploy.run import Run
from kubeup.errors import InventoryError, NodeError, Problem
from kubeup.host.session import Session


@dataclass(frozen=True)
class Replacement:
    """A node that goes, the one that comes in its place, and the inventory as it will be.

    A node whose name stays goes first, because two hosts cannot be one node: etcd has one member less until the new one
    has joined, so all others must be well. Where the new one has a name of its own, and the old one lives, the new one
    comes first: etcd never has fewer members than before, and pods have somewhere to go.

    The inventory is written when the old host is clean; until then it says how to reach that. The same command again
    goes on after a kill: it knows by the hosts in the inventory how far it was.
    """

    cluster: Cluster
    old: Node | None
    """None when an earlier run has come so far that the inventory knows the new host alone."""
    name: str
    new: Node
    edited: Edited

    @classmethod
    def of(cls, path: Path, name: str, target: str, new_name: str | None = None) -> Replacement:
        """What is to be done, for ``[user@]host[:port]``. Raises InventoryError, or NodeError; nothing is changed."""
        cluster = load(path)
        old = next((node for node in cluster.hosts if node.name == name), None)
        there = next((node for node in cluster.hosts if same_host(cluster, node, target)), None)
        if there is not None:
            if there.name not in (name, new_name) and old is not None:
                remedy = "name a host that is not in the cluster"
                raise InventoryError([Problem(f"--with {target}", f"is the host of the node {there.name}", remedy)])
            return cls(cluster, None, name, there, with_nodes(path, []))
        if old is None:
            raise NodeError(f"{name} is not in the inventory {path}; it has {', '.join(n.name for n in cluster.hosts)}")
        edited = with_other_host(path, name, target, new_name)
        new = next(node for node in edited.cluster.hosts if node not in cluster.hosts)
        if old.name == new.name and [node.name for node in cluster.members] == [name]:
            raise NodeError(
                f"{name} has the only member of etcd: a second must get its data before it goes, and so another name. "
                f"Say --name; where {name} is dead, its data are too: kubeup restore"
            )
        return cls(cluster, old, name, new, edited)

    @property
    def both(self) -> Cluster:
        """The cluster while both are there."""
        cluster = without(self.cluster, self.new.name)
        group = "etcd_hosts" if self.new.role is Role.ETCD else "nodes"
        return cluster.model_copy(update={group: (*getattr(cluster, group), self.new)})

    def run(
        self,
        connect: Callable[[Cluster], Session],
        job: str,
        confirm: Confirm,
        *,
        timeout: float = DRAIN_TIMEOUT,
        force: bool = False,
    ) -> Run:
        """Do it. ``connect`` makes a Session, not connected yet, on nodes of a cluster. Raises as `Removal.run`."""
        after, name, new = self.edited.cluster, self.name, self.new.name
        with ExitStack() as stack:
            # One Session for both, but for two hosts of one name.
            one = name != new and self.old is not None
            arriving = stack.enter_context(connect(self.both if one else after))
            parting = arriving if one or self.old is None else stack.enter_context(connect(self.cluster))
            fit, away = reach_affected(after, arriving, [new], job)
            firewalls = has_firewalls(fit)
            scope = affected(after, [self.new], firewalls=firewalls)

            def on_new(cluster: Cluster, names: Sequence[str], *, held: bool = False) -> Run:
                return Run(cluster, arriving, scope=frozenset(names) - away.keys(), alone=True, held=held, job=job)

            held = False
            if self.old is not None:
                # Before the old one goes: is the new host fit?
                Preflight().run(fit)
                core = [node.name for node in (*self.cluster.masters, *self.cluster.members)]
                away_of_old = reach(parting, [*core, name])
                dead = {name: away_of_old[name]} if name in away_of_old else {}

                def on_old(cluster: Cluster, *, held: bool) -> Run:
                    scope = frozenset([*core, name]) - away_of_old.keys()
                    return Run(cluster, parting, scope=scope, alone=True, held=held, job=job)

                first = on_old(self.cluster, held=False)
                refuse_living(first, list(dead))
                if dead:
                    confirm(dead)
                execute([Belongs([name])], first)
                first.hold()
                if new != name and not dead:
                    scope_of_both = affected(self.both, [self.new], firewalls=firewalls)
                    execute(up.PHASES[:-1], on_new(self.both, scope_of_both, held=True))
                    execute(self.parting(False, timeout, force), on_old(self.both, held=True))
                else:
                    execute(self.parting(bool(dead), timeout, force), on_old(self.cluster, held=True))
                self.edited.write()
                if parting is arriving:
                    held = True
                else:
                    parting.close()  # gives the masters back, which the other Session takes now
            last = on_new(after, scope, held=held)
            execute(self.arriving(), last)
            tell_left_out(arriving, list(away))
            return last

    def parting(self, dead: bool, timeout: float, force: bool) -> list[Phase]:
        """The phases by which the old one goes."""
        assert self.old is not None  # noqa: S101  it is not called otherwise
        member = any(node.name == self.name for node in self.cluster.members)
        again = Forget(self.name, str(self.old.address), comes_again=True)
        return [
            *([Quorum([self.name])] if member else []),
            *leaving(self.name, dead=dead, timeout=timeout, force=force, member=member),
            *([again] if self.name == self.new.name else []),
        ]

    def arriving(self) -> list[Phase]:
        """The phases by which the new one comes, and all others know."""
        *converge, validate = up.PHASES
        forget = [Forget(self.name, str(self.old.address) if self.old else "")] if self.name != self.new.name else []
        return [*converge, *forget, validate]
