"""`kubeup trace`: the way from a client to what it asks, link by link."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from kubeup.cli.context import AcceptNew, Inventory, Json, connected
from kubeup.cli.display import plain_stdout

COLOURS = {"ok": "green", "broken": "bold red", "follows": "yellow", "head": "bold", "plain": ""}


def trace(
    client: Annotated[
        str, typer.Argument(metavar="FROM", help="A node, pod/NAME, NAMESPACE/NAME, or an outside address.")
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="TO", help="svc/NAME:PORT, nodeport:PORT, a node, a pod, or an outside address; a port may follow."
        ),
    ],
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="The namespace of pods and Services named without one.")
    ] = "default",
    inventory: Inventory = None,
    accept_new_host_keys: AcceptNew = False,
    as_json: Json = False,
) -> None:
    """Walk the way of a packet, link by link, and say which is the first broken one, why, and what mends it.

    Exits 1 when a link is broken. Changes nothing.
    """
    from kubeup.checks.walk import as_data, as_text, draw
    from kubeup.checks.walk import trace as walk_along

    with connected(inventory, accept_new_host_keys, living=True) as run:
        silent = {failure.host: failure.output for failure in run.silent}
        walk = walk_along(run.cluster, run.session, client, target, namespace, silent)
    if as_json:
        plain_stdout(json.dumps(as_data(walk), indent=2))
    elif sys.stdout.isatty():
        from rich.console import Console
        from rich.text import Text

        console = Console(highlight=False, soft_wrap=True)
        for text, look in draw(walk):
            console.print(Text(text, COLOURS[look]))
    else:
        plain_stdout(as_text(walk))
    if walk.broken is not None:
        raise typer.Exit(1)
