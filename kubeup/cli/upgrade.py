"""kubeup upgrade and rollback: to other versions and back, while the cluster serves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kubeup.cli.context import AcceptNew, Inventory, connected, inventory_path
from kubeup.cli.display import Display

if TYPE_CHECKING:
    from kubeup.cluster.model import Versions

MaxUnavailable = Annotated[
    str, typer.Option("--max-unavailable", help="How many workers may be out of service at once: 2, or 20%.")
]
DrainTimeout = Annotated[int, typer.Option(help="Seconds that the pods of a node may take to go.")]


def _note(path: Path) -> Callable[[Versions], None]:
    """Writes those versions into the inventory that it does not ask for."""
    from kubeup.cluster import load
    from kubeup.cluster.editing import with_versions

    def note(versions: Versions) -> None:
        asked = load(path).versions
        with_versions(path, {key: v for key, v in versions if getattr(asked, key) != v}).write()

    return note


def upgrade(
    inventory: Inventory = None,
    accept_new_host_keys: AcceptNew = False,
    to: Annotated[
        str | None, typer.Option(help="The version of Kubernetes; it is written into the inventory.", metavar="VERSION")
    ] = None,
    max_unavailable: MaxUnavailable = "1",
    canary: Annotated[str, typer.Option(help="The node that goes first.", metavar="NODE")] = "",
    drain_timeout: DrainTimeout = 300,
    force: Annotated[
        bool, typer.Option(help="Go on where objects or pods would be lost: removed APIs, pods without a controller.")
    ] = False,
) -> None:
    """Take the cluster to the inventory's versions, one node after another, while it serves. Run it again to go on."""
    from kubeup.components import catalogue
    from kubeup.deploy import upgrade as job

    path = inventory_path(inventory)
    options = job.Options(max_unavailable, canary, force, drain_timeout)
    with Display() as display, connected(inventory, accept_new_host_keys, display, deep=True) as run:
        if to:
            version = catalogue.get("kubernetes", to.removeprefix("v")).version
            run = run.in_versions(run.cluster.versions.model_copy(update={"kubernetes": version}))
        done = job.upgrade(run, options, _note(path))
        nothing = "" if done else " Nothing had to be changed."
        display.say(
            f"The cluster {run.cluster.name} runs the inventory's versions.{nothing} (changed={display.changed})"
        )
        display.summary()


def rollback(
    inventory: Inventory = None,
    accept_new_host_keys: AcceptNew = False,
    max_unavailable: MaxUnavailable = "1",
    drain_timeout: DrainTimeout = 300,
    force: Annotated[
        bool, typer.Option(help="Go on where objects or pods would be lost: newer APIs, pods without a controller.")
    ] = False,
) -> None:
    """Take the cluster back to what ran before its last upgrade, also one that has stopped. Run it again to go on."""
    from kubeup.deploy import upgrade as job

    path = inventory_path(inventory)
    options = job.Options(max_unavailable, "", force, drain_timeout)
    with Display() as display, connected(inventory, accept_new_host_keys, display, deep=True) as run:
        job.rollback(run, options, _note(path))
        display.say(f"The cluster {run.cluster.name} runs what it ran before. (changed={display.changed})")
        display.summary()
