"""What the phases of a job work with."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

from kubeup.checks.preflight import RESTORING
from kubeup.checks.validation import CheckResult
from kubeup.cluster import Cluster, Node
from kubeup.cluster.model import Versions
from kubeup.components import Store
from kubeup.deploy.vault import PUBLIC, Vault, holding
from kubeup.errors import HostFailure, HostsFailed, KubeupError
from kubeup.host.difference import Change, Desired, Item, Renewal, difference, nearly_over
from kubeup.host.reading import Key, Reading
from kubeup.host.resources import digest
from kubeup.host.session import Output, Session, failure
from kubeup.roles import (
    Role,
    addons,
    apiserver,
    approver,
    authorities,
    balancer,
    base,
    containerd,
    controller_manager,
    desired_state,
    etcd,
    etcd_client,
    firewall,
    flannel,
    kube_proxy,
    kubelet,
    registry,
    runtime,
    scheduler,
    snapshots,
    sources,
    virtual_ip,
)
from kubeup.roles.common import is_of, versions_in_use
from kubeup.roles.etcd import FIRST_START

ROLES: tuple[Role, ...] = (
    authorities,
    sources,
    base,
    firewall,
    containerd,
    runtime,
    etcd,
    snapshots,
    etcd_client,
    apiserver,
    controller_manager,
    scheduler,
    approver,
    addons,
    virtual_ip,
    balancer,
    flannel,
    kubelet,
    kube_proxy,
    registry,
)
"""All roles. Where two ask for the same thing, it belongs to the first."""

VALIDATED = "/var/lib/kubeup/validated"
"""On masters: the digest of the state that was last proven to work."""

BACKUP = "the backup"
"""In the place of a master's name, where the authorities come from one. No node can have it."""

PREVIOUS = "/var/lib/kubeup/previous.json"
"""On masters: what the cluster ran before its last upgrade."""


@dataclass(frozen=True)
class Previous:
    """What a cluster ran before its last upgrade, which was ``to`` other versions. Those programs stay on the hosts.

    ``apis`` are the API versions that its apiservers served: no newer one can be read by them.
    """

    versions: Versions
    to: Versions
    apis: tuple[str, ...]

    @property
    def text(self) -> str:
        """As it lies on masters."""
        return json.dumps({"versions": self.versions.model_dump(), "to": self.to.model_dump(), "apis": self.apis})

    @classmethod
    def parse(cls, text: str) -> Previous:
        """From that text."""
        data = json.loads(text)
        versions, to = (Versions.model_validate(data[name]) for name in ("versions", "to"))
        return cls(versions, to, tuple(data["apis"]))


@dataclass
class Run:
    """One job on one cluster: connections, what was read, and what is to change."""

    cluster: Cluster
    session: Session
    store: Store = field(default_factory=Store)
    deep: bool = False
    """Whether large files are hashed too, instead of being known by size and time."""
    renewal: Renewal = nearly_over
    """Which certificates are to be issued anew, though nothing else is wrong with them."""
    job: str = "kubeup"
    """The command, as other users are told of it while they have to wait."""
    alone: bool = False
    """Whether hosts are not even read while another kubeup holds the cluster."""
    held: bool = False
    scope: frozenset[str] | None = None
    """The names of the nodes that are read and changed; all when None. The cluster is whole in any case."""
    silent: tuple[HostFailure, ...] = ()
    """The hosts that were to be connected to and did not answer, with the reason."""
    given: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Whom the cluster trusts and the keys, by their path on a master, where they come from a backup."""
    restoring: bool = False
    """Whether this is what goes on with a restore that was begun; every other job refuses to."""
    results: list[CheckResult] = field(default_factory=list)
    """What validation found."""
    placed: set[tuple[str, Key]] = field(default_factory=set)
    """Items of the difference (node, key) that a phase has applied ahead of the one that they belong to."""

    def __post_init__(self) -> None:
        self.session.before_change = self.hold

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The hosts that are read and changed."""
        return tuple(node for node in self.cluster.hosts if self.scope is None or node.name in self.scope)

    @property
    def masters(self) -> tuple[Node, ...]:
        """The masters among them."""
        return tuple(node for node in self.nodes if node.is_master)

    @property
    def whole(self) -> bool:
        """Whether they are all the nodes of the cluster."""
        return len(self.nodes) == len(self.cluster.hosts)

    @cached_property
    def readings(self) -> dict[str, Reading]:
        """What each node is and holds, read once: nothing but this run changes it (hosts are locked while written)."""
        names = None if self.whole else [node.name for node in self.nodes]
        return self.session.read(names, contents=self.contents, deep=self.deep, alone=self.alone and not self.held)

    @property
    def contents(self) -> tuple[str, ...]:
        """The files whose text is read too."""
        return (*PUBLIC, VALIDATED, PREVIOUS, FIRST_START, *(() if self.restoring else (RESTORING,)))

    @cached_property
    def previous(self) -> Previous | None:
        """What the cluster ran before its last upgrade, as the masters have it."""
        texts = (self.readings[master.name].texts.get(PREVIOUS, "") for master in self.masters)
        return next((Previous.parse(text) for text in texts if text.strip()), None)

    @cached_property
    def running(self) -> dict[str, dict[str, tuple[str, str]]]:
        """What runs: node -> program or image -> (component, version)."""
        return {name: versions_in_use(reading.links) for name, reading in self.readings.items()}

    def look_again(self) -> None:
        """Forget what follows from what is desired: facts of the hosts, or whom the cluster trusts, are others now."""
        for name in ("changes", "state"):
            self.__dict__.pop(name, None)

    def in_versions(self, versions: Versions) -> Run:
        """A Run of the same job that wants other versions."""
        other = replace(self, cluster=self.cluster.model_copy(update={"versions": versions}))
        if "readings" in self.__dict__:
            other.readings = self.readings
            other.vault = self.vault
        return other

    @cached_property
    def vault(self) -> Vault:
        """The cluster's authorities, and the component store."""
        masters = {node.name: self.readings[node.name] for node in self.masters}
        held = {path for reading in masters.values() for path in reading.texts}
        if not self.whole and not held.issuperset(PUBLIC):
            # Those that are left out may hold the authorities: new ones must not come beside them.
            raise KubeupError(
                f"none of the masters that answer ({', '.join(masters)}) holds the authorities of the cluster "
                f"{self.cluster.name}. Bring one back that does; where there is no cluster yet: kubeup up"
            )
        arch = {name: reading.facts.arch for name, reading in self.readings.items()}
        if self.given:  # a backup is as good as a master
            masters[BACKUP] = holding(self.given, next(iter(self.readings.values())).facts)
        cluster = self.cluster
        return Vault(masters, self.store, self.fetch, arch.__getitem__, cluster.certificates, cluster.etcd)

    @cached_property
    def changes(self) -> dict[str, Change]:
        """What differs on each node from what the inventory says."""
        return {node.name: self._change(node.name) for node in self.nodes}

    def hold(self) -> None:
        """Hold the masters, so that no other kubeup changes the cluster meanwhile.

        Called before the first change of whatever job; a job that does more than apply changes calls it by itself.
        Raises BusyError when another does, KubeupError when one has done so since the hosts were read.
        """
        if self.held:
            return
        read = "readings" in self.__dict__
        marks = self.session.hold([master.name for master in self.masters], self.job)
        self.held = True
        for name, mark in marks.items():
            if read and mark != self.readings[name].mark:
                raise KubeupError(
                    f"another kubeup has changed {name} while this one was reading. Nothing was changed by this one: "
                    "run the same command again"
                )

    def desired(self, name: str) -> Desired:
        """All that the node shall hold."""
        node = self.cluster.node(name)
        return desired_state(ROLES, self.cluster, node, self.readings[name].facts, self.vault.trust)

    def _change(self, name: str) -> Change:
        change = difference(name, self.desired(name), self.readings[name], renewal=self.renewal)
        change.items = [item for item in change.items if not self._kept(item)]
        mark = (self.cluster.name, self.vault.trust.identity)
        if self.readings[name].cluster != mark:
            change.cluster = mark
        return change

    def _kept(self, item: Item) -> bool:
        """Whether it is a program that only `kubeup rollback` would want."""
        kept = self.previous.versions if self.previous else None
        return item.action == "remove" and item.key[0] == "blob" and kept is not None and is_of(item.name, kept)

    @cached_property
    def state(self) -> str:
        """A digest of all that is desired, on all nodes that are read."""
        parts = [
            part
            for node in self.nodes
            for key, (_, resource) in sorted(self.desired(node.name).items(), key=lambda item: item[0])
            for part in (node.name, *key, resource.want)
        ]
        return digest(*parts)

    @property
    def validated(self) -> bool:
        """Whether what is desired was already proven to work, on all nodes."""
        return self.whole and all(
            self.readings[master.name].texts.get(VALIDATED, "").strip() == self.state for master in self.cluster.masters
        )

    def fetch(self, node: str, path: str) -> str:
        """The text of a file on a node, read as root. Raises HostsFailed."""
        if node == BACKUP:
            return self.given[path]
        output = self.session.shell(node, 'cat -- "$1"', path)
        if not output.ok:
            raise HostsFailed("reading a file", [failure(node, f"cat {path}", output)])
        return output.stdout + "\n"

    def on_masters(self, script: str, *arguments: str) -> None:
        """Run a shell script on the masters, side by side. Raises HostsFailed."""
        self.on([master.name for master in self.masters], script, *arguments)

    def on(
        self, names: Iterable[str], script: str, *arguments: str, doing: str = "running a script", timeout: float = 60
    ) -> dict[str, str]:
        """What a shell script prints on each of these nodes, side by side. Raises HostsFailed."""
        return self.outputs(names, lambda name: self.session.shell(name, script, *arguments, timeout=timeout), doing)

    def outputs(self, names: Iterable[str], do: Callable[[str], Output], doing: str) -> dict[str, str]:
        """What is printed by what ``do`` runs on each of these nodes, side by side. Raises HostsFailed."""
        printed, failures = {}, []
        for name, output in self.session.side_by_side(names, do).items():
            if isinstance(output, Exception):
                raise output
            if not output.ok:
                failures.append(failure(name, doing, output))
            printed[name] = output.stdout
        if failures:
            raise HostsFailed(doing, failures)
        return printed

    @contextmanager
    def phase(self, title: str) -> Iterator[None]:
        """What is done meanwhile is shown as a phase. What fails has no end of its own."""
        began = time.monotonic()
        self.session.observer.phase_started(title)
        yield
        self.session.observer.phase_done(title, time.monotonic() - began)

    def each(self, title: str, names: Iterable[str], do: Callable[[str], object]) -> dict[str, KubeupError]:
        """Call ``do`` for each of these nodes, side by side, shown as a phase; the error of each that raised one.

        Raises what was not raised on purpose. Nothing is shown where there are no nodes.
        """
        observer = self.session.observer

        def watched(name: str) -> None:
            observer.host_started(title, name)
            started, failed = time.monotonic(), True
            try:
                do(name)
                failed = False
            finally:
                observer.host_done(title, name, time.monotonic() - started, 0, failed)

        if not (names := list(names)):
            return {}
        wrong = {}
        with self.phase(title):
            for name, error in self.session.side_by_side(names, watched).items():
                if isinstance(error, KubeupError):
                    wrong[name] = error
                elif error is not None:
                    raise error
        return wrong
