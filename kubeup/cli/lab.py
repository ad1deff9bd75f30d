"""kubeup lab: throwaway Docker hosts."""

from __future__ import annotations

from typing import Annotated, get_args

import typer

app = typer.Typer(
    help="Throwaway hosts to try things on: Docker containers with systemd and SSH.", no_args_is_help=True
)


def _say(text: str) -> None:
    typer.echo(text, err=True)


@app.command()
def create(
    name: str,
    hosts: Annotated[int, typer.Option(min=1, help="How many hosts.")] = 3,
    os: Annotated[
        str, typer.Option(help="debian, or el: a stand-in for Rocky and RHEL, with dnf and firewalld.")
    ] = "debian",
    install: Annotated[
        bool, typer.Option("--install", help="Install and start a Docker engine where there is none.")
    ] = False,
) -> None:
    """Make hosts, and an inventory for them (the first is ai, the others i)."""
    from kubeup.lab import create as create_lab
    from kubeup.lab import ensure_engine, ensure_image
    from kubeup.lab.image import Os

    if os not in get_args(Os):
        raise typer.BadParameter(f"--os {os}: write {' or '.join(get_args(Os))}")
    chosen: Os = "el" if os == "el" else "debian"
    ensure_engine(install, _say)
    ensure_image(_say, chosen)
    made = create_lab(name, hosts, os=chosen)
    for node in made.nodes:
        typer.echo(f"{node.name}  {node.role:<3} {node.address}")
    typer.echo(f"The inventory is {made.inventory}: kubeup -i {made.inventory} up")


@app.command("list")
def list_labs() -> None:
    """List the labs."""
    from kubeup.lab import labs

    for lab in labs():
        typer.echo(f"{lab.name:<20} {len(lab.nodes)} hosts  {lab.inventory}")


@app.command()
def destroy(name: str) -> None:
    """Remove a lab's hosts, network and files."""
    from kubeup.lab import destroy as destroy_lab

    destroy_lab(name)
    typer.echo(f"The lab {name} is gone.")
