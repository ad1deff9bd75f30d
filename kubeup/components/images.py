"""Container images out of single static programs, without a daemon: an OCI archive is a tar file with some JSON.

The archive is what ``ctr -n k8s.io images import`` reads. Nothing in it depends on the time, the machine or the user
that made it: the same program gives the same bytes. Layers are not compressed: the store compresses the archive.
Specification: opencontainers/image-spec v1.1 (image-layout.md, manifest.md, config.md).
"""

import hashlib
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeup.components.catalogue import Image, image_reference
from kubeup.components.store import Counted, Writable, copy_from

# To be raised whenever the same program gives another archive: images in caches are then made anew.
FORMAT = 1

# No image has a meaningful time of making: what it holds is told by its version.
_CREATED = "1970-01-01T00:00:00Z"


def writer(image: Image, version: str, arch: str, program: Path) -> Callable[[Writable], None]:
    """A function that writes the archive of ``image`` made of the executable file ``program``, for ``Store.put``."""

    def write(sink: Writable) -> None:
        layer = _layer(image, program)
        config = _json(
            "application/vnd.oci.image.config.v1+json",
            {
                "created": _CREATED,
                "architecture": arch,
                "os": "linux",
                "config": {
                    "Entrypoint": [f"/{image.program}", *image.args],
                    "WorkingDir": "/",
                    **({"User": image.user} if image.user else {}),
                },
                "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
                "history": [{"created": _CREATED, "created_by": "kubeup"}],
            },
        )
        manifest = _json(
            "application/vnd.oci.image.manifest.v1+json",
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": config.descriptor,
                "layers": [layer.descriptor],
            },
        )
        index = _json(
            "application/vnd.oci.image.index.v1+json",
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": [
                    {
                        **manifest.descriptor,
                        "platform": {"architecture": arch, "os": "linux"},
                        "annotations": {
                            # containerd's own key: the imported image gets this name, whatever --base-name says
                            "io.containerd.image.name": image_reference(image.name, version),
                            "org.opencontainers.image.ref.name": version,
                        },
                    }
                ],
            },
        )
        _member(sink, "oci-layout", _bytes(b'{"imageLayoutVersion":"1.0.0"}'))
        _member(sink, "index.json", index.content)
        for blob in (manifest, config, layer):
            _member(sink, f"blobs/sha256/{blob.sha256}", blob.content)
        _end(sink)

    return write


@dataclass(frozen=True)
class _Content:
    """Bytes that are written when they are needed, with their length known beforehand."""

    size: int
    write: Callable[[Writable], None]


@dataclass(frozen=True)
class _Blob:
    """What an OCI layout keeps under its digest."""

    media_type: str
    sha256: str
    content: _Content

    @property
    def digest(self) -> str:
        return f"sha256:{self.sha256}"

    @property
    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.content.size}


def _layer(image: Image, program: Path) -> _Blob:
    """The file system of the image: a tar with the program alone. Its digest takes a reading of the whole program."""
    executable = _Content(program.stat().st_size, copy_from(program))

    def write(sink: Writable) -> None:
        _member(sink, image.program, executable, mode=0o755)
        _end(sink)

    measured = Counted()
    write(measured)
    return _Blob("application/vnd.oci.image.layer.v1.tar", measured.sha256, _Content(measured.size, write))


def _json(media_type: str, value: dict[str, Any]) -> _Blob:
    data = json.dumps(value, separators=(",", ":")).encode()
    return _Blob(media_type, hashlib.sha256(data).hexdigest(), _bytes(data))


def _bytes(data: bytes) -> _Content:
    def write(sink: Writable) -> None:
        sink.write(data)

    return _Content(len(data), write)


def _member(sink: Writable, name: str, content: _Content, mode: int = 0o644) -> None:
    """Write one member of a tar. tarfile.TarFile can only read a member from a file, and a layer is never in one."""
    info = tarfile.TarInfo(name)  # owner root, time 0
    info.size, info.mode = content.size, mode
    sink.write(info.tobuf(tarfile.USTAR_FORMAT))
    content.write(sink)
    sink.write(bytes(-content.size % tarfile.BLOCKSIZE))


def _end(sink: Writable) -> None:
    """Write what ends a tar: two empty blocks."""
    sink.write(bytes(2 * tarfile.BLOCKSIZE))
