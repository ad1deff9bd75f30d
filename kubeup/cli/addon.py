"""kubeup addon: what a cluster has besides itself; turning it on and off."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from kubeup.cli.context import AcceptNew, Inventory, Json, connected, inventory_path
from kubeup.cli.display import Display, plain_stdout

app = typer.Typer(help="Addons: list them, turn them on and off.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The addon, as `kubeup addon list` calls it.")]


@app.command("list")
def list_addons(inventory: Inventory = None, accept_new_host_keys: AcceptNew = False, as_json: Json = False) -> None:
    """List all addons: which are on, in which version, and whether their pods are ready."""
    from kubeup.deploy.addon import rows

    with connected(inventory, accept_new_host_keys, living=True) as run:
        found = rows(run.cluster, run.session)
    if as_json:
        plain_stdout(json.dumps([asdict(row) for row in found], indent=2))
        return
    width = max(len(row.name) for row in found) + 2
    for row in found:
        plain_stdout(f"{row.name:<{width}}{'on' if row.on else 'off':<5}{row.version:<10}{row.state}".rstrip())


@app.command()
def enable(
    name: Name,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, one of its settings; can be given again.")
    ] = None,
    inventory: Inventory = None,
    accept_new_host_keys: AcceptNew = False,
) -> None:
    """Turn an addon on in the inventory, and bring it into the cluster. Run it again to go on after a failure."""
    pairs = [setting.partition("=") for setting in settings or []]
    for key, equals, _ in pairs:
        if not equals:
            raise typer.BadParameter(f"--set {key}: write KEY=VALUE")
    _switch(name, True, {key: value for key, _, value in pairs}, inventory, accept_new_host_keys)


@app.command()
def disable(name: Name, inventory: Inventory = None, accept_new_host_keys: AcceptNew = False) -> None:
    """Turn an addon off in the inventory, and take it out of the cluster. Run it again to go on after a failure."""
    _switch(name, False, {}, inventory, accept_new_host_keys)


def _switch(name: str, on: bool, settings: dict[str, str], inventory: Inventory, accept_new: bool) -> None:
    from kubeup.deploy.addon import edit, switch
    from kubeup.host.session import Session

    edited = edit(inventory_path(inventory), name, on, settings)
    with Display() as display, Session(edited.cluster, accept_new_host_keys=accept_new, observer=display) as session:
        switch(edited, session, f"kubeup addon {'enable' if on else 'disable'}")
        display.say(f"The addon {name} is {'on' if on else 'off'}. (changed={display.changed})")
        display.summary()
