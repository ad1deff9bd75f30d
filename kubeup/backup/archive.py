"""A backup: a sealed tar with all that rebuilds a cluster, and a manifest with the digest of each part."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from kubeup.backup.sealed import Lock, Sealed, Unlock, seal
from kubeup.backup.snapshot import Check, Snapshot
from kubeup.errors import BackupError

MANIFEST, INVENTORY, SNAPSHOT, FILES = "manifest.json", "inventory.yaml", "etcd.db", "files"
LAYOUT = 1
LONGEST_TEXT = 2**24
"""Bytes that any part but the snapshot may have."""


@dataclass(frozen=True)
class Manifest:
    """What a backup is of: ``taken`` is when, in UTC (ISO 8601); ``identity`` tells the cluster from its namesakes.

    ``revision`` and ``keys`` are etcd's. ``counts`` is how many objects of each kind (etcd's key below /registry).
    ``parts`` has size in bytes and sha256 of each file of the archive.
    """

    cluster: str
    identity: str
    taken: str
    kubeup: str
    versions: Mapping[str, str]
    service_cidr: str
    revision: int
    keys: int
    counts: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    layout: int = LAYOUT


@dataclass(frozen=True)
class Backup:
    """A backup that was read and found whole.

    ``files`` are the cluster's authorities, their keys and those of service accounts, by their path on a master.
    ``inventory`` is the text of the inventory.
    """

    path: Path
    manifest: Manifest
    inventory: str
    files: Mapping[str, str] = field(repr=False)
    snapshot: Snapshot = field(repr=False)


def write_backup(
    file: BinaryIO,
    lock: Lock,
    manifest: Manifest,
    inventory: str,
    files: Mapping[str, str],
    snapshot: tuple[int, str, Callable[[Callable[[bytes], object]], object]],
) -> None:
    """Write a backup; what is written is encrypted before it leaves memory.

    ``snapshot`` is its size, the sha256 of its file, and a function that hands its bytes to the function it is given.
    Raises BackupError when it hands other bytes.
    """
    texts = {INVENTORY: inventory.encode(), **{FILES + path: text.encode() for path, text in files.items()}}
    size, sha256, bring = snapshot
    parts = {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in texts.items()}
    told = {**asdict(manifest), "parts": {**parts, SNAPSHOT: (size, sha256)}}
    with seal(file, lock) as writer:
        # The manifest first: who reads the file knows what has to come.
        for name, data in {MANIFEST: json.dumps(told, indent=1).encode(), **texts}.items():
            writer.write(_tar_header(name, len(data)) + data + _padding(len(data)))
        writer.write(_tar_header(SNAPSHOT, size))
        hashed, count = hashlib.sha256(), 0

        def take(chunk: bytes) -> None:
            nonlocal count
            hashed.update(chunk)
            count += len(chunk)
            writer.write(chunk)

        bring(take)
        if (count, hashed.hexdigest()) != (size, sha256):
            raise BackupError(f"the snapshot of {size} bytes did not arrive whole ({count} bytes)")
        writer.write(_padding(size) + bytes(2 * tarfile.BLOCKSIZE))


def _tar_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def open_backup(path: Path, unlock: Unlock) -> Backup:
    """Read a backup through to its end, without keeping the snapshot.

    Raises BackupError when it cannot be opened, and when any part of it is not as it was written.
    """
    sealed = Sealed(path, unlock)
    try:
        return _read(path, sealed)
    except (tarfile.TarError, KeyError, ValueError, TypeError) as error:
        raise BackupError(f"{path} holds no backup that this kubeup can read ({error})") from error


def _read(path: Path, sealed: Sealed) -> Backup:
    manifest: Manifest | None = None
    texts: dict[str, str] = {}
    check = Check(f"the snapshot in {path}")
    for name, chunks in _members(sealed.read()):
        if name == SNAPSHOT:
            for chunk in chunks:
                check.feed(chunk)
            continue
        data = bytearray()
        for chunk in chunks:
            data += chunk
            if len(data) > LONGEST_TEXT:
                raise BackupError(f"{path} holds no backup: {name} is too long")
        if manifest is None:
            told = json.loads(data)
            if told["layout"] != LAYOUT:
                raise BackupError(f"{path} has the layout {told['layout']}; this kubeup knows {LAYOUT}")
            manifest = Manifest(**{**told, "parts": {name: (size, sha) for name, (size, sha) in told["parts"].items()}})
            continue
        _agree(path, manifest, name, len(data), hashlib.sha256(data).hexdigest())
        texts[name] = data.decode()
    if manifest is None:
        raise BackupError(f"{path} holds no backup: it is empty")
    _agree(path, manifest, SNAPSHOT, check.size, check.sha256)
    check.finish()
    if missing := manifest.parts.keys() - texts.keys() - {SNAPSHOT}:
        raise BackupError(f"{path} lacks {', '.join(sorted(missing))}")

    def snapshot() -> Iterator[bytes]:
        for name, chunks in _members(sealed.read()):
            if name == SNAPSHOT:
                yield from chunks

    files = {name.removeprefix(FILES): text for name, text in texts.items() if name.startswith(FILES + "/")}
    size, sha256 = manifest.parts[SNAPSHOT]
    return Backup(path, manifest, texts[INVENTORY], files, Snapshot(f"the snapshot in {path}", size, sha256, snapshot))


def _agree(path: Path, manifest: Manifest, name: str, size: int, sha256: str) -> None:
    if manifest.parts.get(name) != (size, sha256):
        raise BackupError(f"{path} is damaged: {name} is not what its manifest says")


class _Stream(io.RawIOBase):
    """Chunks as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = next(self._chunks, b"")
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _members(chunks: Iterator[bytes]) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Name and content of each file of a tar, one after another; what follows the tar is read too."""
    stream = io.BufferedReader(_Stream(chunks), 2**20)
    with tarfile.open(fileobj=cast(BinaryIO, stream), mode="r|") as tar:
        for info in tar:
            file = tar.extractfile(info)
            if file is None:
                raise BackupError(f"{info.name} is not a file")
            yield info.name, iter(lambda file=file: file.read(2**20), b"")  # type: ignore[misc]
    while stream.read(2**20):  # to the last piece, which says that it is the last
        pass
