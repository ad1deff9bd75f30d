"""kubeup lab: throwaway Docker hosts, and clusters on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from kubeup.cli.context import Json
from kubeup.cli.display import Display, plain_stdout

if TYPE_CHECKING:
    from kubeup.deploy.throwaway import Wanted

app = typer.Typer(
    help="Throwaway hosts to try things on: Docker containers with systemd and SSH; and clusters on them.",
    no_args_is_help=True,
)

Hosts = Annotated[int, typer.Option(min=1, help="How many hosts.")]
Masters = Annotated[int, typer.Option(min=1, help="How many of them are masters.")]
Network = Annotated[
    str, typer.Option(help="nat, or none: hosts that reach one another and this machine, and nothing else.")
]
FromInventory = Annotated[
    Path | None,
    typer.Option(help="Hosts like those of this inventory, and its settings; instead of --hosts and --masters."),
]
Version = Annotated[str | None, typer.Option(help="Kubernetes' version, e.g. 1.36.3.")]
Addon = Annotated[list[str] | None, typer.Option(help="An addon to turn on; may be given several times.")]
Owner = Annotated[
    int,
    typer.Option(help="The process with whose end the lab becomes a leftover.", envvar="KUBEUP_LAB_OWNER", hidden=True),
]
Plain = Annotated[bool, typer.Option("--plain", help="On hosts that have nothing in place yet: slower.")]


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _wanted(
    hosts: int,
    masters: int,
    network: str,
    from_inventory: Path | None,
    version: str | None = None,
    addon: list[str] | None = None,
    plain: bool = False,
) -> Wanted:
    from kubeup.deploy.throwaway import wanted

    return wanted(
        hosts, masters, like=from_inventory, version=version, addons=addon or [], network=network, prepared=not plain,
        say=_say,
    )  # fmt: skip


@app.command()
def create(
    name: str,
    hosts: Hosts = 3,
    masters: Masters = 1,
    network: Network = "nat",
    from_inventory: FromInventory = None,
    os: Annotated[
        str, typer.Option(help="debian, or el: a stand-in for Rocky and RHEL, with dnf and firewalld.")
    ] = "debian",
    install: Annotated[
        bool, typer.Option("--install", help="Install and start a Docker engine where there is none.")
    ] = False,
    owner: Owner = 0,
) -> None:
    """Make hosts, and an inventory for them (the first are ai, the others i)."""
    from kubeup.lab import create as create_lab
    from kubeup.lab import ensure_engine
    from kubeup.lab import owner as owner_of
    from kubeup.lab.image import Os

    if os not in get_args(Os):
        raise typer.BadParameter(f"--os {os}: write {' or '.join(get_args(Os))}")
    chosen: Os = "el" if os == "el" else "debian"
    kind = _wanted(hosts, masters, network, from_inventory)
    ensure_engine(install, _say)
    whose = owner_of(owner) if owner else ""
    made = create_lab(
        name,
        roles=kind.roles,
        settings=kind.settings,
        more=kind.more,
        outside=kind.outside,
        owner=whose,
        say=_say,
        os=chosen,
    )
    for node in made.nodes:
        typer.echo(f"{node.name}  {node.role:<3} {node.address}")
    typer.echo(f"The inventory is {made.inventory}: kubeup -i {made.inventory} up")


@app.command()
def up(
    name: str,
    hosts: Hosts = 3,
    masters: Masters = 1,
    version: Version = None,
    addon: Addon = None,
    network: Network = "nat",
    from_inventory: FromInventory = None,
    plain: Plain = False,
    owner: Owner = 0,
) -> None:
    """Make hosts with a validated cluster on them. They stay until `kubeup lab destroy`."""
    from kubeup.deploy.throwaway import bring_up
    from kubeup.lab import owner as owner_of

    kind = _wanted(hosts, masters, network, from_inventory, version, addon, plain)
    with Display() as display:
        made = bring_up(name, kind, display, _say, owner_of(owner) if owner else "")
        display.summary()
    typer.echo(f"The cluster {name} is up: export KUBECONFIG={made.kubeconfig} KUBEUP_INVENTORY={made.inventory}")


@app.command(context_settings={"allow_extra_args": True, "allow_interspersed_args": False})
def run(
    command: Annotated[list[str], typer.Argument(help="What to run, after --.", metavar="-- COMMAND...")],
    hosts: Hosts = 3,
    masters: Masters = 1,
    version: Version = None,
    addon: Addon = None,
    network: Network = "nat",
    from_inventory: FromInventory = None,
    plain: Plain = False,
) -> None:
    """Run a command with a cluster of its own, and exit with its exit code. The cluster is gone afterwards.

    The command gets KUBECONFIG, KUBEUP_INVENTORY and KUBEUP_LAB, and finds a kubectl. What a run that was killed has
    left is removed by the next.
    """
    from kubeup.deploy.throwaway import run as run_with_cluster

    kind = _wanted(hosts, masters, network, from_inventory, version, addon, plain)
    with Display() as display:

        def begin() -> None:
            display.summary()
            display.__exit__()  # else it would write over what the command writes

        code = run_with_cluster(command, kind, display, _say, begin)
    raise typer.Exit(code)


@app.command()
def load(
    name: str,
    image: Annotated[list[str], typer.Argument(help="An archive (docker save), or an image that Docker has.")],
) -> None:
    """Bring container images to the nodes of a lab's cluster."""
    from kubeup.lab import find
    from kubeup.lab.images import load_image

    lab = find(name)
    for each in image:
        load_image(lab, each)
        typer.echo(f"{each} is on {', '.join(node.name for node in lab.nodes)}.")


@app.command()
def start(
    name: Annotated[str | None, typer.Argument(help="The lab (default: all).")] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Install and start a Docker engine where there is none.")
    ] = False,
) -> None:
    """Switch hosts on again that were switched off, or did not come back with the machine."""
    from kubeup.lab import ensure_engine, labs
    from kubeup.lab import start as start_lab

    ensure_engine(install, _say)
    for each in [name] if name else [lab.name for lab in labs()]:
        started = start_lab(each, _say)
        typer.echo(f"{each}: {', '.join(node.name for node in started.nodes)} run.")


@app.command()
def vagrant(
    folder: Annotated[Path, typer.Argument(help="The Vagrantfile's folder.")] = Path(),
    masters: Masters = 1,
) -> None:
    """Write cluster.yaml for the machines that Vagrant runs, beside their Vagrantfile."""
    from kubeup.lab.vagrant import write_inventory

    path = write_inventory(folder, masters)
    typer.echo(f"{path} is written: kubeup -i {path} up")


@app.command()
def image(as_json: Json = False) -> None:
    """Print the image of plain hosts, which is built where it is missing, and how `docker run` makes a host of it."""
    from kubeup.lab import ensure_engine, ensure_image
    from kubeup.lab.hosts import flags_here

    ensure_engine(False, _say)
    found = {"image": ensure_image(_say), "flags": flags_here()}
    plain_stdout(json.dumps(found) if as_json else f"docker run {' '.join(found['flags'])} {found['image']}")


@app.command("list")
def list_labs(as_json: Json = False) -> None:
    """List the labs."""
    from kubeup.lab import labs

    if as_json:
        return plain_stdout(json.dumps([lab.as_data() for lab in labs()], indent=2))
    for lab in labs():
        typer.echo(f"{lab.name:<20} {len(lab.nodes)} hosts  {lab.inventory}")
    return None


@app.command()
def prepare(version: Version = None) -> None:
    """Make the images of `lab up` and `lab run` now: hosts with all components in place."""
    from kubeup.deploy.prepared import ensure_prepared
    from kubeup.lab import ensure_engine

    kind = _wanted(1, 1, "nat", None, version)
    ensure_engine(False, _say)
    for image in ensure_prepared(kind.versions, _say).values():
        typer.echo(image)


@app.command()
def sweep() -> None:
    """Remove what killed runs have left."""
    from kubeup.lab import sweep as sweep_labs

    sweep_labs(_say)


@app.command()
def destroy(name: str) -> None:
    """Remove a lab's hosts, network and files."""
    from kubeup.lab import destroy as destroy_lab

    destroy_lab(name)
    typer.echo(f"The lab {name} is gone.")
