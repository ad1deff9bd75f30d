"""kubeup bundle: all that a cluster is made of, in one signed file."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from kubeup.cli.context import AcceptNew, Inventory, Json, connected, inventory_path, to_write
from kubeup.cli.display import plain_stdout

app = typer.Typer(
    help="All that a cluster is made of in one signed file, for places without a way out.", no_args_is_help=True
)

PublicKey = Annotated[
    Path, typer.Option("--key", envvar="KUBEUP_BUNDLE_KEY", help="The public key of who made the bundle.")
]


@app.command()
def key(
    private: Annotated[Path, typer.Option(help="Where the key to sign with goes.")] = Path("bundle.key"),
    public: Annotated[Path, typer.Option(help="Where its public half goes.")] = Path("bundle.pub"),
) -> None:
    """Make a key to sign bundles with, and its public half, by which they are known."""
    from kubeup.bundle import new_key

    new_key(private, public)
    plain_stdout(f"{private} signs bundles: keep it to yourself. {public} goes to those who use them.")


@app.command()
def create(
    output: Annotated[Path, typer.Option("--output", "-o", callback=to_write, help="The file to write.")],
    signing: Annotated[Path, typer.Option("--key", help="The key to sign with (kubeup bundle key).")],
    inventory: Inventory = None,
    arch: Annotated[list[str] | None, typer.Option(help="amd64 or arm64, or both; amd64 when not given.")] = None,
    packages_from: Annotated[
        list[str] | None,
        typer.Option(
            help="Fetch packages on this node of the inventory, which has a way out and nothing installed yet."
        ),
    ] = None,
    packages: Annotated[
        Path | None, typer.Option(help="A folder with packages, in folders like debian-12 and rocky-9.")
    ] = None,
    wheels: Annotated[bool, typer.Option(help="With kubeup itself and what it needs.")] = True,
    accept_new_host_keys: AcceptNew = False,
) -> None:
    """Put components, images, packages and kubeup itself into one file. Components come from the cache."""
    import shutil

    from kubeup.bundle import making
    from kubeup.bundle.archive import private_key
    from kubeup.cluster import load
    from kubeup.components import Store
    from kubeup.deploy.bundled import collect_packages
    from kubeup.roles.addons import needed

    private_key(signing)  # known to be one before minutes are spent
    cluster = load(inventory_path(inventory))
    wanted = needed(cluster)
    if unknown := sorted(set(packages_from or ()) - {host.name for host in cluster.hosts}):
        raise typer.BadParameter(f"--packages-from: the inventory has no {', '.join(unknown)}")
    if packages and not packages.is_dir():
        raise typer.BadParameter(f"--packages: there is no folder {packages}")
    with tempfile.TemporaryDirectory() as folder:
        own, wheelhouse = Path(folder) / "packages", Path(folder) / "wheels"
        own.mkdir()
        wheelhouse.mkdir()
        if packages:
            shutil.copytree(packages, own, dirs_exist_ok=True)
        if packages_from:
            with connected(inventory, accept_new_host_keys) as run:
                for node in packages_from:
                    typer.echo(f"packages for {collect_packages(run, node, own)}, from {node}", err=True)
        if wheels:
            making.collect_wheels(wheelhouse, lambda text: typer.echo(text, err=True))
        making.create(output, cluster.name, wanted, sorted(set(arch or ["amd64"])), Store(), signing, own, wheelhouse)
    plain_stdout(
        f"{output} is written, {output.stat().st_size / 2**20:.0f} MiB. On the other side: see docs/air-gapped.md"
    )


@app.command()
def inspect(file: Path, as_json: Json = False) -> None:
    """Show what a bundle says it holds. Its signature is not looked at: that is what verify does."""
    from kubeup.bundle import open_bundle

    bundle = open_bundle(file, None)
    if as_json:
        plain_stdout(json.dumps(bundle.manifest, indent=2))
        return
    manifest = bundle.manifest
    lines = [
        f"for the cluster {manifest['cluster']}, {', '.join(bundle.architectures)}, by kubeup {manifest['kubeup']}",
        *(f"  {name:<16}{version}" for name, version in manifest["components"].items()),
    ]
    for folder in ("packages", "wheels"):
        names = bundle.named(folder)
        lines.append(f"  {len(names)} files in {folder}/")
    size = sum(entry["size"] for entry in bundle.files.values())
    lines.append(f"{len(bundle.files)} files, {size / 2**20:.0f} MiB. Its signature was not looked at.")
    plain_stdout("\n".join(lines))


@app.command()
def verify(file: Path, public: PublicKey) -> None:
    """Read all of a bundle, and compare it with what was signed."""
    from kubeup.bundle import open_bundle

    bundle = open_bundle(file, public)
    bundle.verify()
    plain_stdout(f"{file} is whole, and signed with the key of {public}.")
