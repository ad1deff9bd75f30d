"""etcd's snapshots, as far as they can be judged without etcd.

A snapshot is a bbolt database with the SHA-256 of all its bytes after it, which etcd computed when it sent it
(etcdutl/snapshot/v3_snapshot.go; etcdutl restores nothing that does not agree with it).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kubeup.errors import BackupError

CHUNK = 2**20
DIGEST = hashlib.sha256().digest_size
SECTOR = 512
"""A database is a multiple of it, whatever its page size."""
MAGIC = bytes.fromhex("edda0ced")
"""Of a bbolt database: 0xED0CDAED, little-endian, in its first page after the page's header of 16 bytes."""
PAGE_HEADER = 16


@dataclass(frozen=True)
class Snapshot:
    """A snapshot that was read and found whole. ``sha256`` is that of the file, ``size`` in bytes.

    ``chunks`` reads it once more.
    """

    name: str
    size: int
    sha256: str
    chunks: Callable[[], Iterator[bytes]]


class Check:
    """Takes a snapshot's bytes one after another, and knows in the end whether they are one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._all = hashlib.sha256()
        self._database = hashlib.sha256()
        self._head = b""
        self._tail = b""  # the last bytes, which may be the digest
        self.size = 0

    def feed(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._all.update(chunk)
        if len(self._head) < PAGE_HEADER + len(MAGIC):
            self._head += chunk[: PAGE_HEADER + len(MAGIC)]
        data = self._tail + chunk
        self._database.update(data[:-DIGEST])
        self._tail = data[-DIGEST:]

    @property
    def sha256(self) -> str:
        return self._all.hexdigest()

    def finish(self) -> None:
        """Raises BackupError when it was no snapshot, or not a whole one."""
        if self._head[PAGE_HEADER : PAGE_HEADER + len(MAGIC)] != MAGIC:
            raise BackupError(f"{self._name} is not a snapshot of etcd")
        if self.size % SECTOR != DIGEST:
            raise BackupError(
                f"{self._name} is cut off, or is not a snapshot but a copy of a database: "
                f"its {self.size} bytes do not end with a digest"
            )
        if self._database.digest() != self._tail:
            raise BackupError(f"{self._name} was altered: it is not what the digest at its end is of")


def open_snapshot(path: Path) -> Snapshot:
    """Read a snapshot through. Raises BackupError when it cannot be read or is damaged."""

    def chunks() -> Iterator[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    check = Check(str(path))
    try:
        for chunk in chunks():
            check.feed(chunk)
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror or error}") from error
    check.finish()
    return Snapshot(str(path), check.size, check.sha256, chunks)
