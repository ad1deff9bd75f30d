"""Take a cluster away, and leave its hosts as they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kubeup.cluster import Cluster, Node
from kubeup.deploy.phases import Phase, Preflight
from kubeup.deploy.run import Run
from kubeup.deploy.under_pyinfra import declare
from kubeup.errors import PreflightError, Problem
from kubeup.host.difference import Change, difference


@dataclass(frozen=True)
class Refuse(Preflight):
    """Refuses when a host belongs to another cluster."""

    def run(self, run: Run) -> None:
        problems = [
            Problem(name, f"belongs to the cluster {reading.cluster[0]}, not to {run.cluster.name}")
            for name, reading in run.readings.items()
            if reading.cluster and reading.cluster[0] != run.cluster.name
        ]
        if problems:
            raise PreflightError(problems)


def removal(run: Run, name: str) -> Change:
    """What takes away all that was placed on a host, and the record of it."""
    reading = run.readings[name]
    change = difference(name, {}, reading)
    change.forget = bool(reading.record)
    return change


@dataclass(frozen=True)
class Remove:
    """Desires nothing, not even the record, on hosts of a kind."""

    title: str
    masters: bool

    def _nodes(self, cluster: Cluster) -> Sequence[Node]:
        return [node for node in cluster.hosts if node.is_master == self.masters]

    def changes(self, run: Run) -> dict[str, Change]:
        return {node.name: removal(run, node.name) for node in self._nodes(run.cluster)}

    def run(self, run: Run) -> None:
        run.session.apply(self.title, self.changes(run), run.vault)


PHASES: list[Phase] = [
    Refuse(),
    # Masters last: they hold the authorities by which a run that was killed in between recognises its hosts.
    Remove("Nodes", masters=False),
    Remove("Masters", masters=True),
]

declare(PHASES, __file__)
