"""kubeup etcd: the cluster's data, looked at and saved."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kubeup.cli.context import AcceptNew, Inventory, Json, connected, inventory_path, paused
from kubeup.cli.display import Display, plain_stdout

if TYPE_CHECKING:
    from kubeup.checks.etcdctl import Member
    from kubeup.cluster import Cluster
    from kubeup.host.session import Session

app = typer.Typer(help="etcd, which keeps the cluster's objects.", no_args_is_help=True)

MIB = 2**20


@contextmanager
def _members(inventory: Path | None, accept_new: bool) -> Iterator[tuple[Cluster, Session]]:
    """The cluster, and a session to those of etcd's hosts that answer: one is enough."""
    from kubeup.checks.etcdctl import own_members
    from kubeup.cluster import load
    from kubeup.host.session import Session

    cluster = load(inventory_path(inventory))
    with Session(cluster, accept_new_host_keys=accept_new) as session:
        session.connect_some(node.name for node in own_members(cluster))
        yield cluster, session


@app.command()
def status(inventory: Inventory = None, accept_new_host_keys: AcceptNew = False, as_json: Json = False) -> None:
    """Show etcd's members: health, leader, size and quota, revision, alarms. Exits 1 when one is not healthy."""
    from kubeup.checks.etcdctl import Etcdctl

    with _members(inventory, accept_new_host_keys) as (cluster, session):
        found = Etcdctl(cluster, session).members()
        plain_stdout(json.dumps(as_data(found), indent=2) if as_json else as_text(found))
        if not all(member.healthy and not member.alarms for member in found):
            raise typer.Exit(1)


def as_data(members: Sequence[Member]) -> dict[str, Any]:
    """What `kubeup etcd status --json` prints. Sizes are in bytes."""
    return {
        "healthy": sum(member.healthy for member in members),
        "quorum": sum(not member.learner for member in members) // 2 + 1,
        "members": [{**asdict(member), "quota_share": round(member.quota_share, 4)} for member in members],
    }


def as_text(members: Sequence[Member]) -> str:
    """The same for people."""
    data = as_data(members)
    count = f"{len(members)} member{'' if len(members) == 1 else 's'}"
    lines = [f"{count}, {data['healthy']} healthy; a quorum is {data['quorum']}", ""]
    width = max([8, *(len(member.name) + 2 for member in members)])
    lines.append(
        f"{'MEMBER':<{width}}{'ENDPOINT':<28}{'STATE':<11}{'PART':<10}{'SIZE':>10}{'IN USE':>11}{'OF QUOTA':>10}"
        f"{'REVISION':>13}  VERSION"
    )
    for member in members:
        part = "leader" if member.leader else "learner" if member.learner else "follower" if member.version else "-"
        state = "healthy" if member.healthy else "unhealthy"
        row = f"{member.name or '-':<{width}}{member.endpoint or '-':<28}{state:<11}{part:<10}"
        if member.version:
            row += (
                f"{member.size / MIB:>6.1f} MiB{member.in_use / MIB:>7.1f} MiB{member.quota_share:>10.1%}"
                f"{member.revision:>13}  {member.version}"
            )
        lines.append(row.rstrip())
    told = [
        f"{member.name or member.peer}: {text}" for member in members for text in (*member.alarms, member.error) if text
    ]
    return "\n".join([*lines, *([""] if told else []), *told])


@app.command()
def snapshot(
    to: Annotated[
        Path | None, typer.Option("--to", help="Bring it to this machine too: a file, or a folder to put it into.")
    ] = None,
    inventory: Inventory = None,
    accept_new_host_keys: AcceptNew = False,
    as_json: Json = False,
) -> None:
    """Take a snapshot on a living master, and verify what was written. It stays there among the newest."""
    from kubeup.deploy.snapshots import fetch, take

    with _members(inventory, accept_new_host_keys) as (cluster, session):
        taken = take(cluster, session)
        path = fetch(session, taken, to) if to else None
    if as_json:
        plain_stdout(json.dumps({**asdict(taken), "file": str(path) if path else None}, indent=2))
        return
    plain_stdout(f"{taken.node}: {taken.path}")
    plain_stdout(
        f"{taken.keys} keys up to revision {taken.revision}, {taken.size / MIB:.1f} MiB, sha256 {taken.sha256}"
    )
    if path:
        plain_stdout(f"It is in {path} too. Whoever can read that file can read all of the cluster's Secrets.")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="The snapshot, as `kubeup etcd snapshot --to` brought it.")],
    inventory: Inventory = None,
    accept_new_host_keys: AcceptNew = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Replace all that etcd holds by a snapshot, on all members; then do what `up` does.

    The API is away meanwhile; pods go on. Run it again to go on after a failure.
    """
    from kubeup.backup import open_snapshot
    from kubeup.deploy.restore import restore_etcd

    snapshot = open_snapshot(file)
    with Display() as display, connected(inventory, accept_new_host_keys, display, alone=True) as run:
        if not yes:
            with paused(display):
                typer.confirm(
                    f"Replace all objects of the cluster {run.cluster.name} by those of {file}? "
                    "The API stops for a while, and what was done since is lost",
                    abort=True,
                )
        restore_etcd(run, snapshot)
        display.say(f"The cluster {run.cluster.name} has the objects of {file}. (changed={display.changed})")
        display.summary()


@app.command()
def defrag(inventory: Inventory = None, accept_new_host_keys: AcceptNew = False, as_json: Json = False) -> None:
    """Give the space of deleted data back to the disk: one member after another, the leader last."""
    from kubeup.deploy.snapshots import Defragmented
    from kubeup.deploy.snapshots import defrag as run

    def show(done: Defragmented) -> None:
        if not as_json:
            won = (done.before - done.after) / MIB
            plain_stdout(
                f"{done.name}: {done.before / MIB:.1f} MiB, now {done.after / MIB:.1f} MiB: {won:.1f} MiB won "
                f"in {done.seconds:.1f} s"
            )

    with _members(inventory, accept_new_host_keys) as (cluster, session):
        results = run(cluster, session, show)
    if as_json:
        plain_stdout(json.dumps([asdict(done) for done in results], indent=2))
