"""etcd's snapshots: taken on a living member, verified there, and brought to this machine when wanted."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from kubeup.checks.etcdctl import Etcdctl, Member, own_members
from kubeup.cluster import Cluster
from kubeup.errors import HostFailure, HostsFailed, KubeupError
from kubeup.host.session import Output, Session, failure
from kubeup.roles.snapshots import FOLDER
from kubeup.templates import text

HEALTHY_AGAIN = 60
"""Seconds that a member may take until it answers after `defrag`, during which it blocks."""


@dataclass(frozen=True)
class Taken:
    """A snapshot that was taken and verified: on which node, where there, its size in bytes, the sha256 of the file,
    and up to which revision of etcd and how many keys.
    """

    node: str
    path: str
    size: int
    sha256: str
    revision: int
    keys: int


def take(cluster: Cluster, session: Session) -> Taken:
    """Take a snapshot on the first member that can, where it stays among the newest.

    Raises HostsFailed with what each of them said when none can.
    """
    failures: list[HostFailure] = []
    for node in own_members(cluster):
        output = session.shell(
            node.name, text("snapshots/snapshot.sh"), str(cluster.snapshots.keep), node.name, timeout=900
        )
        if output.ok:
            path, size, sha256, status = output.stdout.strip().splitlines()[-1].split("\t")
            told = json.loads(status)
            return Taken(node.name, path, int(size), sha256, told["revision"], told["totalKey"])
        failures.append(failure(node.name, "taking a snapshot of etcd", output))
    raise HostsFailed("taking a snapshot", failures)


def fetch(session: Session, taken: Taken, to: Path) -> Path:
    """Bring a snapshot to this machine: to the file ``to``, or into it when it is a folder. Returns the file (0600).

    It is there whole and verified, or not at all. Raises HostsFailed, and KubeupError when it cannot be written.
    """
    path = to / taken.path.rpartition("/")[2] if to.is_dir() else to
    with whole_file(path) as file:
        bring(session, taken, file.write)
    return path


def bring(session: Session, taken: Taken, sink: Callable[[bytes], object]) -> None:
    """Hand the snapshot's bytes on. Raises HostsFailed when they did not arrive as they are there."""
    hashed = hashlib.sha256()

    def pass_on(chunk: bytes) -> None:
        hashed.update(chunk)
        sink(chunk)

    output = session.stream(taken.node, 'cat -- "$1"', taken.path, sink=pass_on)
    if not output.ok:
        raise HostsFailed("fetching the snapshot", [failure(taken.node, f"cat {taken.path}", output)])
    if hashed.hexdigest() != taken.sha256:
        what = f"arrived with sha256 {hashed.hexdigest()}, and has {taken.sha256} there"
        raise HostsFailed("fetching the snapshot", [HostFailure(taken.node, f"cat {taken.path}", 0, what)])


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A new file (0600) at ``path`` that takes the place of one there once all is written, and else never shows.

    Raises KubeupError when it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise KubeupError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def newest(session: Session, names: Iterable[str]) -> dict[str, str]:
    """When the newest snapshot was taken that lies on each of these hosts (UTC, ISO 8601), where there is one."""
    script = f"find {FOLDER} -maxdepth 1 -name 'etcd-*.db' 2>/dev/null | sort | tail -n 1"
    found = {}
    for name, output in session.side_by_side(names, lambda name: session.shell(name, script)).items():
        match = re.search(r"/etcd-(\d{8}T\d{6})Z-", output.stdout) if isinstance(output, Output) else None
        if match:
            found[name] = datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).isoformat()
    return found


@dataclass(frozen=True)
class Defragmented:
    """What `defrag` did to a member: sizes in bytes before and after, and seconds that it took."""

    name: str
    before: int
    after: int
    seconds: float


def defrag(
    cluster: Cluster, session: Session, done: Callable[[Defragmented], None] = lambda _: None
) -> list[Defragmented]:
    """Give back to the disk what etcd's deleted data took, one member after another, the leader last.

    A member answers nobody while it is at it, so none is begun before all the others are healthy. Raises KubeupError
    when a member is not healthy, before and between; running it again goes on.
    """
    etcdctl = Etcdctl(cluster, session)
    results = []
    for name in [member.name for member in sorted(etcdctl.members(), key=lambda m: (m.leader, m.name))]:
        member = _when_healthy(etcdctl, name)
        started = time.monotonic()
        # By its own client URL: it need not be on the host that etcdctl runs on.
        etcdctl.checked("defrag", "--command-timeout=600s", endpoints=member.endpoint, timeout=660)
        seconds = time.monotonic() - started
        after = _when_healthy(etcdctl, name)
        results.append(Defragmented(name, member.size, after.size, seconds))
        done(results[-1])
    return results


def _when_healthy(etcdctl: Etcdctl, name: str) -> Member:
    """The member, once all are healthy. Raises KubeupError."""
    deadline = time.monotonic() + HEALTHY_AGAIN
    while True:
        found = etcdctl.members()
        ill = [f"{member.name} ({member.error or 'no answer'})" for member in found if not member.healthy]
        if not ill:
            return next(member for member in found if member.name == name)
        if time.monotonic() > deadline:
            raise KubeupError(
                f"etcd is not healthy, so no member is made to pause: {', '.join(ill)}. "
                "See journalctl -u etcd there, mend it, and run kubeup etcd defrag again"
            )
        time.sleep(1)
