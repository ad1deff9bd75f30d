"""Nodes come and go: add-node, remove-node, replace-node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from kubeup.cli.context import AcceptNew, Inventory, inventory_path, paused
from kubeup.cli.display import Display

# What talks to hosts is imported by the commands that do: it takes most of a second, which --help need not wait for.
if TYPE_CHECKING:
    from kubeup.cluster import Cluster
    from kubeup.host.session import Session

app = typer.Typer()

Timeout = Annotated[int, typer.Option("--timeout", min=1, help="Seconds that all pods together may take to go.")]
Force = Annotated[bool, typer.Option("--force", help="Also delete pods that no controller makes anew elsewhere.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether a node that cannot be reached is dead.")]


@app.command("add-node")
def add_node(
    node: Annotated[
        list[str], typer.Option("--node", help="ROLE=[USER@]HOST[:PORT]; ROLE is a (master), i (minion) or ai (both).")
    ],
    name: Annotated[list[str] | None, typer.Option("--name", help="Its name; one for each --node, or none.")] = None,
    address: Annotated[
        list[str] | None, typer.Option("--address", help="Where other nodes find it; one for each --node, or none.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option("--label", help="KEY=VALUE, for all of them.")] = None,
    inventory: Inventory = None,
    accept_new_host_keys: AcceptNew = False,
) -> None:
    """Add nodes to the inventory and to the cluster. Run it again to go on after a failure."""
    from kubeup.cluster.editing import parse_new_nodes
    from kubeup.deploy.add_node import add_nodes, edit

    new = parse_new_nodes(node, name or [], address or [], label or [])
    edited, names = edit(inventory_path(inventory), new)
    with Display() as display, _session(edited.cluster, accept_new_host_keys, display) as session:
        add_nodes(edited, names, session, "kubeup add-node")
        display.say(f"{', '.join(names)}: in the cluster {edited.cluster.name}. (changed={display.changed})")
        display.summary()


@app.command("remove-node")
def remove_node(
    name: Annotated[list[str], typer.Argument(help="The node's name; several are removed one after another.")],
    force: Force = False,
    timeout: Timeout = 300,
    yes: Yes = False,
    inventory: Inventory = None,
    accept_new_host_keys: AcceptNew = False,
) -> None:
    """Drain a node, take it out of the cluster and the inventory, and leave its host as it was."""
    from kubeup.deploy.remove_node import Removal

    removal = Removal.of(inventory_path(inventory), name)
    with Display() as display, _session(removal.cluster, accept_new_host_keys, display) as session:
        confirm = _Confirm(display, yes)
        removal.run(session, "kubeup remove-node", confirm, timeout=timeout, force=force)
        display.say(f"{', '.join(name)}: no longer in the cluster {removal.cluster.name}. (changed={display.changed})")
        confirm.remind()
        display.summary()


@app.command("replace-node")
def replace_node(
    name: Annotated[str, typer.Argument(help="The node whose host is replaced; it may be dead.")],
    host: Annotated[str, typer.Option("--with", help="[USER@]HOST[:PORT] of the host that comes in its place.")],
    new_name: Annotated[
        str | None,
        typer.Option("--name", help="The new node's name (default: the old one's, if the inventory says it)."),
    ] = None,
    force: Force = False,
    timeout: Timeout = 300,
    yes: Yes = False,
    inventory: Inventory = None,
    accept_new_host_keys: AcceptNew = False,
) -> None:
    """Put another host in the place of a node, with its role, labels and taints."""
    from kubeup.deploy.replace_node import Replacement

    replacement = Replacement.of(inventory_path(inventory), name, host, new_name)
    with Display() as display:
        confirm = _Confirm(display, yes)
        replacement.run(
            lambda cluster: _session(cluster, accept_new_host_keys, display),
            "kubeup replace-node",
            confirm,
            timeout=timeout,
            force=force,
        )
        display.say(f"{replacement.new.name} is in the place of {name}. (changed={display.changed})")
        confirm.remind()
        display.summary()


def _session(cluster: Cluster, accept_new: bool, display: Display) -> Session:
    from kubeup.host.session import Session

    return Session(cluster, accept_new_host_keys=accept_new, observer=display)


class _Confirm:
    """Asks whether nodes that cannot be reached are to be taken for dead, and says afterwards what that means."""

    def __init__(self, display: Display, yes: bool) -> None:
        self._display = display
        self._yes = yes
        self._dead: list[str] = []

    def __call__(self, dead: Mapping[str, str]) -> None:
        self._dead = list(dead)
        for name, why in dead.items():
            self._display.say(f"{name} cannot be reached, and its kubelet does not answer: {why}")
        if not self._yes:
            with paused(self._display):
                typer.confirm(
                    "Is that host dead, or switched off? It will not be cleaned (--yes answers this)", abort=True
                )

    def remind(self) -> None:
        """What is to be done with hosts that were not cleaned."""
        if self._dead:
            self._display.say(
                f"The host of {', '.join(self._dead)} was not cleaned. Set it up anew before it comes back to this "
                "network: what runs on it still takes itself for a part of the cluster."
            )
