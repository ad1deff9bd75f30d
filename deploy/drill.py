"""Try a backup: restore it into throwaway hosts, prove that the cluster works there, and take the hosts away again."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubeup.backup import Backup
from kubeup.cluster import Versions, load
from kubeup.deploy.backup import count
from kubeup.deploy.restore import restore_cluster
from kubeup.deploy.run import Run
from kubeup.errors import BackupError
from kubeup.host.session import Session
from kubeup.lab import create, destroy, ensure_engine, ensure_image, sweep, this_process
from kubeup.lab.alike import settings_of
from kubeup.observer import Observer


@dataclass
class Drill:
    """What a drill found. ``seconds``: until the throwaway hosts were there, and then until the cluster was proven."""

    hosts: Sequence[str]
    counts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Counted:
    """Counts what is in etcd before anything else can change it: it must be what the backup's manifest says."""

    backup: Backup
    found: Drill
    title: str = "Objects"

    def run(self, run: Run) -> None:
        self.found.counts = count(run.session, run.cluster.members[0].name)
        expected = dict(self.backup.manifest.counts)
        wrong = {
            kind: f"{kind}: {self.found.counts.get(kind, 0)} instead of {expected.get(kind, 0)}"
            for kind in sorted(expected.keys() | self.found.counts.keys())
            if self.found.counts.get(kind) != expected.get(kind)
        }
        if wrong:
            raise BackupError(f"not all objects came back: {'; '.join(wrong.values())}")
        total = sum(self.found.counts.values())
        run.session.observer.say(f"All {total} objects of {len(self.found.counts)} kinds are there.")


def drill(backup: Backup, roles: Sequence[str], observer: Observer, say: Callable[[str], None]) -> Drill:
    """Restore a backup into a new lab with hosts of these roles, and remove the lab, whatever happens.

    Raises what `restore_cluster` raises, and BackupError when not every object came back.
    """
    ensure_engine(install=False, say=say)
    sweep(say)  # what a drill left that was killed
    ensure_image(say)
    name = f"drill-{secrets.token_hex(3)}"
    started = time.monotonic()
    try:
        lab = create(name, roles=roles, settings=settings(backup), owner=this_process(), say=say)
        found = Drill([node.name for node in lab.nodes])
        found.seconds["hosts"] = time.monotonic() - started
        cluster = load(lab.inventory)
        started = time.monotonic()
        with Session(cluster, observer=observer) as session:
            session.connect()
            restore_cluster(Run(cluster, session, job="kubeup drill"), backup, [Counted(backup, found)])
        found.seconds["restore"] = time.monotonic() - started
        return found
    finally:
        destroy(name)
        say(f"lab {name}: removed")


def settings(backup: Backup) -> dict[str, Any]:
    """The settings of the backup's inventory for a lab, with the very versions that the cluster had."""
    versions = {name: version for name, version in backup.manifest.versions.items() if name in Versions.model_fields}
    return {**settings_of(backup.inventory), "versions": versions}
