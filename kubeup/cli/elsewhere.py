"""kubeup import: inventories of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kubeup.cli.context import Inventory, inventory_path
from kubeup.cli.display import plain_stdout


def import_(
    file: Annotated[Path, typer.Argument(help="2015's config-default.sh, or kubespray's hosts.yaml or inventory.ini.")],
    inventory: Inventory = None,
    name: Annotated[str, typer.Option(help="The cluster's name.")] = "kubeup",
    print_it: Annotated[bool, typer.Option("--print", help="Print the inventory instead of writing it.")] = False,
    given: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE: a variable that kube-up.sh had from its environment."),
    ] = None,
) -> None:
    """Write an inventory from that of 2015's kube-up or of kubespray, and list what has no counterpart.

    The file is read as data. Nothing in it is run; where a shell would run something, it is refused.
    """
    from kubeup.elsewhere import imported

    read = imported.read(file, dict(_pair(text) for text in given or []))
    path = inventory_path(inventory)
    if print_it:
        plain_stdout(imported.text(read, name, path.absolute().parent))
    else:
        cluster = imported.write(read, path, name)
        plain_stdout(f"{path} is written: {', '.join(f'{n.name} ({n.role})' for n in cluster.hosts)}.")
    if read.left:
        lines = [f"  {left}" for left in read.left]
        typer.echo("\n".join(["What has no counterpart, or is otherwise here:", *lines]), err=True)
    else:
        typer.echo("Everything has a counterpart.", err=True)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise typer.BadParameter(f"--set {text}: write NAME=VALUE")
    return name, value


def explain(
    role: Annotated[str | None, typer.Argument(help="One part alone: etcd, kubelet, flannel … (default: all).")] = None,
    inventory: Inventory = None,
    host: Annotated[list[str] | None, typer.Option("--host", help="These hosts alone.")] = None,
) -> None:
    """Print what a person would do by hand for this inventory: the files and commands, in order, on each host.

    No host is connected to. It is made of what `up` would bring there, so it is never out of date.
    """
    from kubeup.cluster import load
    from kubeup.deploy.explain import explain as text

    plain_stdout(text(load(inventory_path(inventory)), role, host or ()))
