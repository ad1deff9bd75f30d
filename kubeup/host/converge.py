"""The one operation: applies a Change to a host."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
from collections.abc import Generator
from importlib.resources import files
from typing import Protocol

from pyinfra.api import FunctionCommand, operation
from pyinfra.api.command import PyinfraCommand

from kubeup.cluster.certificates import CertificateSpec
from kubeup.components import Artifact
from kubeup.host.difference import Change, Item
from kubeup.host.resources import (
    Blob,
    Certificate,
    Cleanup,
    Directory,
    File,
    Link,
    Module,
    Package,
    Secret,
    Sysctl,
    Unit,
)
from kubeup.host.shell import privileged
from kubeup.host.transfer import send

APPLY = files("kubeup.host").joinpath("apply.sh").read_text()


class Material(Protocol):
    """Where the contents come from that a desired state only names."""

    unpacker: str
    """Path, on every host, of the program that unpacks zstd; it is among the artifacts, packed as gzip."""

    def issue(self, spec: CertificateSpec, authority_fingerprint: str) -> tuple[str, str, int, int]:
        """A new certificate and its key, both PEM, and the certificate's begin and end in seconds since the epoch."""

    def secret(self, name: str) -> str:
        """The text of the cluster's secret of that name."""

    def artifact(self, name: str, version: str, host: str) -> Artifact:
        """The artifact for the architecture of that host."""


class Payload:
    """The actions and contents of a change, made when first asked for (it may need an authority's key), then kept.

    Has ``readlines`` because that is what pyinfra asks of a standard input. Never shows what it holds.
    """

    def __init__(self, change: Change, material: Material) -> None:
        self._change = change
        self._material = material
        self._packed: bytes | None = None

    def __repr__(self) -> str:
        return f"<what {self._change.host} shall be told>"

    @property
    def packed(self) -> bytes:
        if self._packed is None:
            self._packed = _pack(self._change, self._material)
        return self._packed

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.packed).hexdigest()

    def readlines(self) -> list[str]:
        return base64.encodebytes(self.packed).decode().splitlines()


def _pack(change: Change, material: Material) -> bytes:
    actions: list[str] = []
    contents: list[bytes] = []

    def act(*columns: str | int) -> None:
        actions.append("\t".join(str(column) if column != "" else "-" for column in columns))

    def content(data: str) -> tuple[str, str]:
        """(sha256, name in the tar)"""
        contents.append(data.encode())
        return hashlib.sha256(contents[-1]).hexdigest(), f"content.{len(contents) - 1}"

    def put(path: str, want: str, data: str, mode: int, before: str, extra: str = "-") -> None:
        sha256, name = content(data)
        act("file", path, want, sha256, f"{mode:04o}", name, before, extra)

    if change.cluster:
        act("cluster", *change.cluster)
    for name, was in change.dirty:
        act("dirty", name, was)
    for item in change.items:
        before = item.entry.before if item.entry else "?"
        if item.action == "remove":
            act("drop", *item.key, before)
            continue
        match item.resource:
            case File() as file:
                put(file.path, file.want, file.content, file.mode, before)
            case Secret() as secret:
                put(secret.path, secret.want, material.secret(secret.name), 0o600, before)
            case Certificate() as certificate:
                pem, key, begin, end = material.issue(certificate.spec, certificate.authority_fingerprint)
                put(certificate.key_path, certificate.want, key, 0o600, before)
                put(certificate.path, certificate.want, pem, 0o644, before, f"{end} {begin}")
            case Cleanup() as cleanup:
                sha256, name = content(cleanup.script)
                act("cleanup", cleanup.name, cleanup.want, sha256, "0600", name, before)
            case Link() as link:
                act("link", link.path, link.want, link.target, before)
            case Directory() as directory:
                act("dir", directory.path, directory.want, f"{directory.mode:04o}", before)
            case Sysctl() as sysctl:
                act("sysctl", sysctl.name, sysctl.want, sysctl.value, before)
            case Module() as module:
                act("module", module.name, module.want, module.evidence, before)
            case Package() as package:
                act("package", package.name, package.want, package.command, before)
            case Unit() as unit:
                sha256, name = content(unit.content)
                wait = "wait" if unit.wait else "go on"
                act("unit", unit.name, unit.want, sha256, name, before, wait, item.combined)
    if change.forget:
        act("forget", "-")
    return _tar(
        [("actions", "".join(f"{line}\n" for line in actions).encode())]
        + [(f"content.{index}", data) for index, data in enumerate(contents)]
    )


def _tar(members: list[tuple[str, bytes]]) -> bytes:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as stream, tarfile.open(fileobj=stream, mode="w|") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def is_blob(item: Item) -> bool:
    """Whether the item is a large file that has to travel."""
    return isinstance(item.resource, Blob) and item.action != "remove"


@operation()
def converge(change: Change, material: Material) -> Generator[PyinfraCommand]:
    """Make a host hold what it shall hold.

    + change: what differs, see kubeup.host.difference
    + material: where certificates, secrets and components come from

    Large files travel first, in one stream; everything else follows in one command.
    """
    blobs = [item for item in change.items if is_blob(item)]
    if blobs:
        yield FunctionCommand(send, (blobs, change.dirty, material), {})
        change.dirty.clear()
    rest = change.part(lambda item: not is_blob(item))
    rest.forget = change.forget
    if rest:
        payload = Payload(rest, material)
        yield privileged(APPLY, payload.sha256, name="kubeup-apply", stdin=payload)
        change.dirty.clear()
