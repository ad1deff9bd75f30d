"""kubeup components: what can be installed, and fetching it into the cache."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from kubeup.cli.context import Inventory, inventory_path
from kubeup.components import DEFAULT_VERSIONS, REQUIRED_VERSIONS, Event, Store, provide

app = typer.Typer(help="The programs and images that are installed on hosts.", no_args_is_help=True)


class Progress:
    """Shows the events of fetching components: every one on a terminal, no more than one in 20 s elsewhere."""

    QUIET = 20.0

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._said = 0.0

    def __call__(self, event: Event) -> None:
        if event.state == "working":
            if time.monotonic() - self._said < (0.5 if self._console.is_terminal else self.QUIET):
                return
        elif event.state == "cached":
            return
        self._said = time.monotonic()
        took = f"  {event.seconds:.0f} s" if event.state != "start" else ""
        self._console.print(Text(f"{event.component} {event.version}: {event.state}{took}  {event.detail}".rstrip()))


@app.command("list")
def list_components() -> None:
    """List what is in the cache."""
    for artifact in Store().entries():
        typer.echo(
            f"{artifact.name:<26}{artifact.component:<14}{artifact.version:<10}{artifact.arch:<7}"
            f"{artifact.size / 2**20:7.1f} MiB  sha256:{artifact.sha256[:16]}"
        )


@app.command()
def fetch(
    component: Annotated[
        list[str] | None,
        typer.Argument(
            help="NAME or NAME=VERSION (default: all that the inventory asks for, or that every cluster needs)."
        ),
    ] = None,
    inventory: Inventory = None,
    arch: Annotated[str, typer.Option(help="amd64 or arm64.")] = "amd64",
    release: Annotated[
        str | None, typer.Option(help="Download from this URL (upstream's layout) instead of building.")
    ] = None,
    lock: Annotated[Path | None, typer.Option(help="The lock file with the sha256 of each download.")] = None,
) -> None:
    """Build the components from source (or download them), into the cache. What is there already is not built again."""
    from kubeup.components.release import LAYOUT, ReleaseProvider
    from kubeup.components.source import SourceProvider

    if not component:
        path = inventory_path(inventory)
        wanted = _of_cluster(path) if path.exists() else REQUIRED_VERSIONS
    else:
        wanted = {
            name: version or DEFAULT_VERSIONS.get(name, "")
            for name, _, version in (c.partition("=") for c in component)
        }
    source = SourceProvider()
    if release is not None or lock is not None:
        if lock is None:
            raise typer.BadParameter("downloads need --lock FILE, with the sha256 of each")
        ours = {name: version for name, version in wanted.items() if name not in LAYOUT}
        provide(
            Store(),
            [w for w in wanted.items() if w[0] not in ours],
            ReleaseProvider(lock, *([release] if release else [])),
            Progress(),
            arch,
        )
        wanted = ours
    provide(Store(), wanted.items(), source, Progress(), arch)
    typer.echo(f"The components are in {Store().root}.")


def _of_cluster(inventory: Path) -> dict[str, str]:
    """The components that an inventory asks for, with their versions."""
    from kubeup.cluster import load
    from kubeup.roles.addons import needed

    return needed(load(inventory))
