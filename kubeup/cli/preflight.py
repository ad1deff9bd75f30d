"""kubeup preflight: whether the hosts can take the cluster."""

from __future__ import annotations

import json

import typer

from kubeup.cli.context import AcceptNew, Inventory, Json, connected
from kubeup.cli.display import plain_stdout


def preflight(inventory: Inventory = None, accept_new_host_keys: AcceptNew = False, as_json: Json = False) -> None:
    """Find out whether the hosts can take the cluster: all hosts side by side, all problems at once. Changes nothing.

    Every `up` looks at the same first. Of the network it tries the ways of new hosts alone,
    this command all of them.
    """
    from kubeup.deploy.preflight import examine

    with connected(inventory, accept_new_host_keys) as run:
        result = examine(run)
        plain_stdout(json.dumps(result.data(), indent=2) if as_json else result.text())
        if result.problems:
            raise typer.Exit(1)
