"""Where a passphrase or a key comes from: a file, the environment, the terminal. Never an argument, which all see."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kubeup.errors import KubeupError

if TYPE_CHECKING:
    from kubeup.backup import Lock, Unlock

VARIABLE = "KUBEUP_PASSPHRASE"
SHORTEST = 8

PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file", help=f"A file whose first line is the passphrase (default: ${VARIABLE}, or ask)."
    ),
]
PublicKeyFile = Annotated[
    Path | None, typer.Option("--public-key", help="Encrypt for this key (X25519 or RSA, PEM) instead of a passphrase.")
]
PrivateKeyFile = Annotated[
    Path | None, typer.Option("--private-key", help="The private key (PEM) of the one that it was encrypted for.")
]


def lock(passphrase_file: Path | None, public_key: Path | None) -> Lock:
    """What encrypts. Raises KubeupError."""
    from kubeup.backup import Passphrase, PublicKey

    if public_key:
        if passphrase_file:
            raise typer.BadParameter("say --passphrase-file or --public-key, not both")
        return PublicKey(_bytes(public_key), str(public_key))
    word = _passphrase(passphrase_file) or _ask("Passphrase for the backup", confirm=True)
    if len(word) < SHORTEST:
        raise KubeupError(f"the passphrase has {len(word)} characters: use {SHORTEST} or more, it guards all Secrets")
    return Passphrase(word)


def unlock(passphrase_file: Path | None, private_key: Path | None) -> Unlock:
    """What decrypts. Raises KubeupError."""
    from kubeup.backup import Passphrase, PrivateKey

    if private_key:
        pem = _bytes(private_key)
        word = _passphrase(passphrase_file)
        if word is None and b"ENCRYPTED" in pem:
            word = _ask(f"Passphrase of {private_key}")
        return PrivateKey(pem, word if b"ENCRYPTED" in pem else None, str(private_key))
    return Passphrase(_passphrase(passphrase_file) or _ask("Passphrase of the backup"))


def _passphrase(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(VARIABLE)
    lines = _bytes(file).decode(errors="replace").splitlines()
    if not lines or not lines[0]:
        raise KubeupError(f"{file} has no passphrase in its first line")
    return lines[0]


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise KubeupError(f"{file} cannot be read: {error.strerror or error}") from error


def _ask(prompt: str, *, confirm: bool = False) -> str:
    if not sys.stdin.isatty():
        raise KubeupError(
            f"there is no passphrase and no terminal to ask for one: say --passphrase-file FILE, or set {VARIABLE}"
        )
    word: str = typer.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)
    return word
