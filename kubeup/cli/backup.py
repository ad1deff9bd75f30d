"""kubeup backup, restore and drill."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kubeup.cli.context import AcceptNew, Inventory, Json, connected, inventory_path, paused, to_write
from kubeup.cli.display import Display, age, plain_stdout
from kubeup.cli.keys import PassphraseFile, PrivateKeyFile, PublicKeyFile, lock, unlock
from kubeup.errors import KubeupError

if TYPE_CHECKING:
    from kubeup.backup import Backup, Manifest

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
File = Annotated[Path, typer.Argument(help="The backup.")]


def backup(
    file: Annotated[Path, typer.Argument(callback=to_write, help="The file to write.")],
    inventory: Inventory = None,
    accept_new_host_keys: AcceptNew = False,
    passphrase_file: PassphraseFile = None,
    public_key: PublicKeyFile = None,
    as_json: Json = False,
) -> None:
    """Write one encrypted file with all that rebuilds the cluster: etcd's data, authorities, inventory."""
    from kubeup.deploy.backup import back_up

    locked = lock(passphrase_file, public_key)  # asked for before anything is connected to
    with connected(inventory, accept_new_host_keys, masters_alive=True) as run:
        manifest = back_up(run, inventory_path(inventory), file, locked)
    if as_json:
        plain_stdout(json.dumps(asdict(manifest), indent=2))
    else:
        plain_stdout(f"{file}: {described(manifest)}")


def described(manifest: Manifest) -> str:
    """A backup in a few words."""
    objects = sum(manifest.counts.values())
    return (
        f"the cluster {manifest.cluster} as of {manifest.taken}, {objects} objects of {len(manifest.counts)} kinds, "
        f"revision {manifest.revision}, Kubernetes {manifest.versions['kubernetes']}"
    )


def restore(
    file: File,
    inventory: Inventory = None,
    accept_new_host_keys: AcceptNew = False,
    passphrase_file: PassphraseFile = None,
    private_key: PrivateKeyFile = None,
    yes: Yes = False,
) -> None:
    """Rebuild the cluster of a backup, on the hosts of the inventory: the same ones or others.

    Without an inventory, the backup's is written out and used. Run it again to go on after a failure.
    """
    from kubeup.backup import open_backup
    from kubeup.deploy.restore import restore_cluster

    with Display() as display:
        with paused(display):
            unlocked = unlock(passphrase_file, private_key)
        display.say(f"Reading {file} …")
        found = open_backup(file, unlocked)
        display.say(f"It is whole: {described(found.manifest)}.")
        path = _inventory(inventory, found, display)
        with connected(path, accept_new_host_keys, display, alone=True) as run:
            if not yes:
                with paused(display):
                    names = ", ".join(node.name for node in run.cluster.nodes)
                    typer.confirm(
                        f"Make {names} the cluster {run.cluster.name} as of {found.manifest.taken}? "
                        "What etcd holds there now is replaced",
                        abort=True,
                    )
            restore_cluster(run, found)
            display.say(
                f"The cluster {run.cluster.name} is back, as of {found.manifest.taken}, "
                f"{age(found.manifest.taken)} ago. (changed={display.changed})"
            )
            display.summary()


def _inventory(given: Path | None, found: Backup, display: Display) -> Path:
    """The inventory to restore by. Where there is none, the backup's is written."""
    path = inventory_path(given)
    if not path.exists():
        if given is not None:
            raise KubeupError(f"there is no inventory {path}")
        path.write_text(found.inventory, encoding="utf-8")
        display.say(f"{path} is the inventory of the backup.")
    return path


def drill(
    file: File,
    hosts: Annotated[int, typer.Option(min=1, help="How many throwaway hosts: a master, and minions.")] = 2,
    masters: Annotated[int, typer.Option(min=1, help="How many of them are masters.")] = 1,
    passphrase_file: PassphraseFile = None,
    private_key: PrivateKeyFile = None,
    as_json: Json = False,
) -> None:
    """Restore a backup into throwaway Docker hosts, prove that it works, say how old it is, and remove the hosts."""
    from kubeup.backup import open_backup
    from kubeup.deploy.drill import drill as run

    with Display() as display:
        with paused(display):
            unlocked = unlock(passphrase_file, private_key)
        found = open_backup(file, unlocked)
        display.say(f"It is whole: {described(found.manifest)}.")
        roles = [*["ai"] * masters, *["i"] * (hosts - masters)]
        result = run(found, roles, display, display.say)
    taken = found.manifest.taken
    if as_json:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(taken)).total_seconds()
        plain_stdout(json.dumps({"taken": taken, "age_seconds": round(seconds), **asdict(result)}, indent=2))
        return
    plain_stdout(
        f"The backup can be restored: {sum(result.counts.values())} objects of {len(result.counts)} kinds are back, "
        f"and the cluster works.\nIts data are {age(taken)} old (from {taken}).\n"
        f"Restoring and proving it took {result.seconds['restore']:.0f} s, "
        f"after {result.seconds['hosts']:.0f} s for {len(result.hosts)} throwaway hosts."
    )
