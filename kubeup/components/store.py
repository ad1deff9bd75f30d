"""The component cache: every file that can be placed on a host, by the digest of its content, kept compressed.

    <root>/blobs/<sha256 of the content>.zst (or .gz)   what travels to the hosts
    <root>/index/<component>/<version>/<arch>.json      which blobs a component consists of
    <root>/logs/<component>-<version>.log               how it was made
    <root>/locks/, <root>/tmp/                          for those who are putting something in

An index is written last and by a rename: what it names is complete, and anyone may read at any time.
"""

import fcntl
import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import zstandard

from kubeup.components.catalogue import Packing
from kubeup.errors import ComponentError

CHUNK = 1 << 20  # bytes: what is held in memory of a file of any size


class Writable(Protocol):
    """What a file's content can be written to."""

    def write(self, data: bytes, /) -> object: ...


class Readable(Protocol):
    """What a file's content can be read from."""

    def read(self, size: int, /) -> bytes: ...


# Nothing but the content decides over the bytes: no name and no time in gzip's header, and one thread for zstd.
_COMPRESSORS: Mapping[Packing, Callable[[Any], Any]] = {
    "zstd": lambda sink: zstandard.ZstdCompressor(level=9).stream_writer(sink, closefd=False),
    "gzip": lambda sink: gzip.GzipFile("", "wb", 6, sink, mtime=0),
}
_SUFFIXES: Mapping[Packing, str] = {"zstd": "zst", "gzip": "gz"}


class Counted:
    """Knows the digest and the size of what is written to it, and passes it on to ``sink`` where there is one."""

    def __init__(self, sink: Writable | None = None) -> None:
        self._sink = sink
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes, /) -> int:
        if self._sink is not None:
            self._sink.write(data)
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """gzip calls it; the file below is flushed when it is closed."""

    @property
    def sha256(self) -> str:
        """The digest of all that was written, in hex."""
        return self._hash.hexdigest()


@dataclass(frozen=True)
class Artifact:
    """One file that can be placed on a host.

    ``sha256`` (hex) and ``size`` (bytes) are of the content, ``packed_sha256`` and ``packed_size`` of ``path``, the
    compressed file in the cache; ``packing`` says how. Images are artifacts too, called ``image-<name>``.
    """

    name: str
    component: str
    version: str
    arch: str
    sha256: str
    size: int
    path: Path
    packed_sha256: str
    packed_size: int
    packing: Packing

    def verify(self) -> None:
        """Read the file in the cache and compare it, packed as it is: a host unpacks it and compares the content.

        Raises ComponentError with the file, the expected and the found digest when it is not what was put there.
        """
        try:
            with self.path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            found = f"nothing ({error})"
        if found != self.packed_sha256:
            raise ComponentError(
                f"{self.name} {self.version}: the file in the component cache is damaged: {self.path}\n"
                f"    expected sha256 {self.packed_sha256}\n"
                f"    found           {found}\n"
                f"    -> remove that file and run `kubeup components fetch`"
            )


class Store:
    """The component cache in ``root``: by default ``$KUBEUP_CACHE``, else ``kubeup`` in the user's cache folder."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_root()

    def find(self, name: str, version: str, arch: str = "amd64") -> Artifact:
        """The program or image ``name``, e.g. ("kubelet", "1.36.3") or ("image-pause", "1.0.0").

        Raises ComponentError when the cache does not hold it.
        """
        for index in self._indexes("*", version, arch):
            for artifact in self._read(index):
                if artifact.name == name and artifact.path.exists():
                    return artifact
        raise ComponentError(
            f"{name} {version} ({arch}) is not in the component cache {self.root}: run `kubeup components fetch`"
        )

    def entries(self) -> list[Artifact]:
        """Everything the cache holds, by component, version and architecture."""
        return [artifact for index in self._indexes("*", "*", "*") for artifact in self._read(index)]

    def holds(self, component: str, version: str, arch: str, recipe: str) -> bool:
        """Whether the component was put in as ``recipe`` says, and none of its files was lost since."""
        index = self._index(component, version, arch)
        try:
            made_by = json.loads(index.read_bytes())["recipe"]
        except (FileNotFoundError, ValueError, KeyError):
            return False
        return bool(made_by == recipe) and all(_is_whole(artifact) for artifact in self._read(index))

    def log(self, component: str, version: str) -> Path:
        """Where the log of making a component goes. The folder exists."""
        return _folder(self.root / "logs") / f"{component}-{version}.log"

    @contextmanager
    def providing(self, component: str, version: str, arch: str) -> Iterator[Path]:
        """An empty folder to make a component's files in, which is this process's alone: others wait their turn.

        It is gone afterwards, and one that a killed process has left behind is emptied.
        """
        with open(_folder(self.root / "locks") / component, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # let go by the kernel, also when this process is killed
            folder = self._workshop(component, version, arch)
            shutil.rmtree(folder, ignore_errors=True)
            try:
                yield _folder(folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def put(
        self,
        component: str,
        version: str,
        arch: str,
        recipe: str,
        contents: Mapping[str, Callable[[Writable], None]],
        packing: Packing = "zstd",
    ) -> None:
        """Take in all files of a component; to be called inside ``providing``.

        ``contents`` maps the name of each to a function that writes its content piece by piece, so that no file is ever
        whole in memory. ``recipe`` is what ``holds`` is asked for later.
        """
        index = self._index(component, version, arch)
        draft = self._workshop(component, version, arch) / ".draft"  # on the same file system: a rename is atomic
        artifacts = {name: self._pack(write, draft, packing) for name, write in contents.items()}
        draft.write_text(json.dumps({"recipe": recipe, "artifacts": artifacts}, indent=2) + "\n")
        _folder(index.parent)
        draft.replace(index)

    def index_text(self, component: str, version: str, arch: str) -> bytes:
        """What the cache says of a component's files. Raises ComponentError when it has none of it."""
        try:
            return self._index(component, version, arch).read_bytes()
        except FileNotFoundError as error:
            raise ComponentError(
                f"{component} {version} ({arch}) is not in the component cache {self.root}: "
                "run `kubeup components fetch`"
            ) from error

    def has_blob(self, name: str, size: int) -> bool:
        """Whether a compressed file of that name is there in its full length."""
        path = self.root / "blobs" / name
        return path.exists() and path.stat().st_size == size

    def put_blob(self, name: str, content: Readable) -> None:
        """Take in a compressed file under its name, in one step at its end: reading ``content`` may raise."""
        draft = _folder(self.root / "tmp") / f".{os.getpid()}-{name}"
        try:
            with draft.open("wb") as file:
                while chunk := content.read(CHUNK):
                    file.write(chunk)
            draft.replace(_folder(self.root / "blobs") / name)
        finally:
            draft.unlink(missing_ok=True)

    def put_index(self, name: str, text: bytes) -> None:
        """Take in what ``index_text`` gave, as COMPONENT/VERSION/ARCH.json; its blobs are there already."""
        path = self.root / "index" / name
        draft = _folder(path.parent) / f".{os.getpid()}-{path.name}"
        draft.write_bytes(text)
        draft.replace(path)

    def _pack(self, write: Callable[[Writable], None], draft: Path, packing: Packing) -> dict[str, str | int]:
        """Compress what ``write`` writes into its blob, by way of ``draft``, and say what the index says of it."""
        with open(draft, "wb") as file:
            packed = Counted(file)
            with _COMPRESSORS[packing](packed) as compressor:
                content = Counted(compressor)
                write(content)
        _folder(self.root / "blobs")
        draft.replace(self._blob(content.sha256, packing))
        return {
            "packing": packing,
            "sha256": content.sha256,
            "size": content.size,
            "packed_sha256": packed.sha256,
            "packed_size": packed.size,
        }

    def _workshop(self, component: str, version: str, arch: str) -> Path:
        return self.root / "tmp" / f"{component}-{version}-{arch}"

    def _blob(self, sha256: str, packing: Packing) -> Path:
        return self.root / "blobs" / f"{sha256}.{_SUFFIXES[packing]}"

    def _index(self, component: str, version: str, arch: str) -> Path:
        return self.root / "index" / component / version / f"{arch}.json"

    def _indexes(self, component: str, version: str, arch: str) -> list[Path]:
        return sorted((self.root / "index").glob(f"{component}/{version}/{arch}.json"))

    def _read(self, index: Path) -> list[Artifact]:
        component, version = index.parts[-3:-1]
        try:
            artifacts = json.loads(index.read_bytes())["artifacts"]
            return [
                Artifact(
                    name, component, version, index.stem, path=self._blob(facts["sha256"], facts["packing"]), **facts
                )
                for name, facts in artifacts.items()
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise ComponentError(
                f"the component cache's index cannot be read: {index}: {error}\n"
                f"    -> remove that file and run `kubeup components fetch`"
            ) from error


def default_root() -> Path:
    """``$KUBEUP_CACHE``, else ``$XDG_CACHE_HOME/kubeup``, else ``~/.cache/kubeup``."""
    if own := os.environ.get("KUBEUP_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kubeup"


def copy_from(path: Path) -> Callable[[Writable], None]:
    """A function that writes the file at ``path``, as ``Store.put`` wants it."""

    def write(sink: Writable) -> None:
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK):
                sink.write(chunk)

    return write


def _is_whole(artifact: Artifact) -> bool:
    """Whether the artifact's file is there in its full length: cheap, and enough after a full disk or a crash."""
    try:
        return artifact.path.stat().st_size == artifact.packed_size
    except FileNotFoundError:
        return False


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path
