"""What most commands take and need: the inventory, how to print, and connections to the hosts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kubeup.cli.display import Display

# What talks to hosts is imported by the commands that do: it takes most of a second, which --help need not wait for.
if TYPE_CHECKING:
    from kubeup.deploy.run import Run

DIFFERENT = 3
"""The exit code of commands that found something that is not as it shall be."""

Inventory = Annotated[
    Path | None, typer.Option("--inventory", "-i", help="The inventory (default: $KUBEUP_INVENTORY, ./cluster.yaml).")
]
AcceptNew = Annotated[
    bool,
    typer.Option("--accept-new-host-keys", help="Trust hosts that known_hosts does not know yet, and note their keys."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

LIVING_TIMEOUT = 5
"""Seconds that a host may take to answer where those that do are enough: a dead one shall not keep people waiting."""

Deep = Annotated[bool, typer.Option("--deep", help="Hash programs and images on the hosts too.")]


def to_write(path: Path | None) -> Path | None:
    """The callback of an option for a file that is written at the end: whatever keeps it from that is told at once.

    Raises BadParameter.
    """
    if path is not None:
        folder = path.absolute().parent
        if not folder.is_dir():
            raise typer.BadParameter(f"there is no folder {folder} to write {path.name} into")
        if path.is_dir():
            raise typer.BadParameter(f"{path} is a folder: write a file's name")
        if not os.access(path if path.exists() else folder, os.W_OK):
            raise typer.BadParameter(f"{path} cannot be written")
    return path


class _Given:
    inventory: Path | None = None  # before the command's name
    command: str = ""


def given_before_command(inventory: Path | None, command: str) -> None:
    """Note the --inventory that stood before the command's name, and that name."""
    _Given.inventory = inventory
    _Given.command = command


def inventory_path(inventory: Path | None) -> Path:
    """The inventory that a command is for: its own option, the one before it, the environment's, or ./cluster.yaml."""
    return inventory or _Given.inventory or Path(os.environ.get("KUBEUP_INVENTORY") or "cluster.yaml")


@contextmanager
def connected(
    inventory: Path | None,
    accept_new: bool,
    display: Display | None = None,
    *,
    deep: bool = False,
    alone: bool = False,
    masters_alive: bool = False,
    living: bool = False,
) -> Iterator[Run]:
    """A Run with all hosts connected. ``alone`` for what will change them.

    ``masters_alive``: a Run on those masters and hosts of etcd that answer, for what any of them can do.
    ``living``: a Run on whichever hosts answer, as long as one of them is a master.
    """
    from kubeup.cluster import load
    from kubeup.deploy.run import Run
    from kubeup.errors import HostFailure, HostsFailed
    from kubeup.host.session import CONNECT_TIMEOUT, Session

    cluster = load(inventory_path(inventory))
    patience = LIVING_TIMEOUT if living else CONNECT_TIMEOUT
    with Session(cluster, accept_new_host_keys=accept_new, observer=display, connect_timeout=patience) as session:
        silent: list[HostFailure] = []
        scope = None
        if masters_alive:
            scope = frozenset(session.connect_some(host.name for host in (*cluster.masters, *cluster.etcd_hosts)))
        elif living:
            silent = session.reach()
            without = {failure.host for failure in silent}
            if without >= {master.name for master in cluster.masters}:
                raise HostsFailed("connecting", silent)
            scope = frozenset(host.name for host in cluster.hosts if host.name not in without) if silent else None
        else:
            session.connect()
        job = f"kubeup {_Given.command}"
        yield Run(cluster, session, deep=deep, alone=alone, scope=scope, silent=tuple(silent), job=job)


@contextmanager
def paused(display: Display) -> Iterator[None]:
    """The display off, to ask something on the terminal."""
    display.__exit__()
    yield
    display.__enter__()
