"""The file of a bundle: a tar whose first member says what the others are, and whose second is the signature of that.

    manifest.json      format, cluster, architectures, components, and of each file its size and SHA-256
    manifest.sig       ed25519, of manifest.json
    sbom.spdx.json     bill of materials (SPDX 2.3)
    blobs/…            programs and images as they lie in the component cache, each compressed
    packages/OS/…      packages of the hosts' distributions
    wheels/…           kubeup itself and what it needs

All that it holds is compressed already, so the tar is not. Nothing but the contents decides over its bytes: no time, no
owner, and names in order. Plain tar can take it apart: that is how kubeup gets out of it (docs/air-gapped.md).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from pydantic import AfterValidator, BaseModel, ConfigDict, NonNegativeInt, StringConstraints, ValidationError

from kubeup.errors import BundleError

FORMAT = 1
MANIFEST, SIGNATURE, SBOM = "manifest.json", "manifest.sig", "sbom.spdx.json"
CHUNK = 1 << 20
LARGEST_MANIFEST = 64 << 20
"""Bytes: what is read before its signature is known to be right."""

_WORD = r"[A-Za-z0-9][A-Za-z0-9._+-]*"
# Those below blobs/ and index/ become names of files in the component cache.
_NAMES = re.compile(
    rf"{re.escape(SBOM)}|blobs/[0-9a-f]{{64}}\.(zst|gz)|index/{_WORD}/{_WORD}/{_WORD}\.json|(packages|wheels)(/[^/]+)+"
)


def safe_name(name: str) -> str:
    """The name, if a file of a bundle can be called so. Raises ValueError."""
    odd = any(part in (".", "..") for part in name.split("/")) or not name.isprintable()
    if odd or not _NAMES.fullmatch(name):
        raise ValueError("no file of a bundle is called so")
    return name


_Word = Annotated[str, StringConstraints(pattern=f"^{_WORD}$")]


class _File(BaseModel):
    size: NonNegativeInt
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Manifest(BaseModel):
    """What has to be in a manifest. What it says is shown and becomes names of files: so it is plain words."""

    model_config = ConfigDict(strict=True)

    cluster: _Word
    kubeup: _Word
    architectures: list[_Word]
    components: dict[_Word, _Word]
    files: dict[Annotated[str, AfterValidator(safe_name)], _File]


def new_key(private: Path, public: Path) -> None:
    """Make a key to sign bundles with (0600, PEM), and its public half. Raises BundleError when one is there."""
    key = Ed25519PrivateKey.generate()
    texts = {
        private: (key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600),
        public: (key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644),
    }
    made: list[Path] = []
    for path, (text, mode) in texts.items():
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                made.append(path)
                file.write(text)
        except OSError as error:
            for half in made:  # one of the two is of no use, and would be in the way
                half.unlink(missing_ok=True)
            raise BundleError(f"{path} cannot be written: {error.strerror}") from error


def private_key(path: Path) -> Ed25519PrivateKey:
    """The key of that file. Raises BundleError."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BundleError(f"{path} is no key to sign with: {error}\n    -> make one: kubeup bundle key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError(f"{path} is not an ed25519 key\n    -> make one: kubeup bundle key")
    return key


def public_key(path: Path) -> Ed25519PublicKey:
    """The key of that file. Raises BundleError."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise BundleError(f"{path} is no public key: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BundleError(f"{path} is not an ed25519 key")
    return key


def write(path: Path, about: Mapping[str, Any], contents: Mapping[str, Path | bytes], key: Ed25519PrivateKey) -> None:
    """Write a bundle of ``contents`` (by name, a file or bytes); ``about`` is what its manifest says besides.

    The file appears when it is whole. Raises BundleError when there is no room.
    """
    names = sorted(contents)
    files = {name: {"size": size, "sha256": sha256} for name in names for size, sha256 in [measured(contents[name])]}
    manifest = json.dumps({"format": FORMAT, **about, "files": files}, indent=1, sort_keys=True).encode() + b"\n"
    draft = path.with_name(f".{path.name}.new")
    try:
        with draft.open("wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            _add(tar, MANIFEST, manifest)
            _add(tar, SIGNATURE, key.sign(manifest))
            for name in names:
                _add(tar, name, contents[name])
        draft.replace(path)
    except OSError as error:
        raise BundleError(f"the bundle {path} cannot be written: {error}") from error
    finally:
        draft.unlink(missing_ok=True)


def measured(content: Path | bytes) -> tuple[int, str]:
    if isinstance(content, bytes):
        return len(content), hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return content.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _add(tar: tarfile.TarFile, name: str, content: Path | bytes) -> None:
    info = tarfile.TarInfo(name)
    info.mode = 0o644
    if isinstance(content, bytes):
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    else:
        info.size = content.stat().st_size
        with content.open("rb") as file:
            tar.addfile(info, file)


@dataclass(frozen=True)
class Bundle:
    """A bundle whose signature was checked, if a key was given. ``manifest`` as it was written."""

    path: Path
    manifest: Mapping[str, Any]
    signed: bool

    @property
    def architectures(self) -> Sequence[str]:
        return tuple(self.manifest["architectures"])

    @property
    def files(self) -> Mapping[str, Mapping[str, Any]]:
        found: Mapping[str, Mapping[str, Any]] = self.manifest["files"]
        return found

    def named(self, folder: str) -> list[str]:
        """The names of the files in a folder."""
        return [name for name in self.files if name.startswith(f"{folder}/")]

    def verify(self) -> None:
        """Read all of it, and compare with what was signed. Raises BundleError at the first file that is another."""
        for _, content in self.read():
            while content.read(CHUNK):
                pass

    @contextmanager
    def _tar(self) -> Iterator[tarfile.TarFile]:
        try:
            with tarfile.open(self.path, "r:") as tar:
                yield tar
        except (OSError, tarfile.TarError, EOFError) as error:
            raise BundleError(f"the bundle {self.path} cannot be read: {error}") from error

    def read(self) -> Iterator[tuple[str, Checked]]:
        """Each file with its content, which is compared with what was signed as it is read to its end.

        What is not read by the caller is read here. Raises BundleError, also when files are missing or too many.
        """
        missing = set(self.files)
        with self._tar() as tar:
            for number, member in enumerate(tar):
                # Those that were read; a second one would be what plain tar takes out.
                if (number, member.name) in ((0, MANIFEST), (1, SIGNATURE)):
                    continue
                if member.name not in missing or not member.isfile():
                    raise self._altered(f"{member.name} is not in its manifest")
                missing.discard(member.name)
                content = Checked(tar.extractfile(member), self.files[member.name])
                yield member.name, content
                while content.read(CHUNK):
                    pass
                if not content.right:
                    raise self._altered(f"{member.name} is not what was signed")
        if missing:
            raise self._altered(f"{min(missing)} is missing")

    def _altered(self, what: str) -> BundleError:
        return BundleError(
            f"the bundle {self.path} was altered or is damaged: {what}. Nothing of it was used on any host\n"
            "    -> copy it again, and compare its SHA-256 with that of where it was made"
        )


class Checked:
    """A content that knows, at its end, whether it is the right one."""

    def __init__(self, source: IO[bytes] | None, expected: Mapping[str, Any]) -> None:
        self._source = source
        self._expected = expected
        self._hash = hashlib.sha256()
        self._size = 0

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size) if self._source else b""
        self._hash.update(data)
        self._size += len(data)
        return data

    @property
    def right(self) -> bool:
        return (self._size, self._hash.hexdigest()) == (self._expected["size"], self._expected["sha256"])


def open_bundle(path: Path, key: Path | None) -> Bundle:
    """Read what a bundle says of itself, and check that it was signed with the private half of this public key.

    ``key`` None leaves that out: for looking at one. Raises BundleError when it is not a bundle, is unsigned, was
    signed with another key, or names files that no bundle has.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            text = _first(tar, MANIFEST)
            signature = _first(tar, SIGNATURE)
    except FileNotFoundError as error:
        raise BundleError(f"there is no bundle {path}") from error
    except (OSError, tarfile.TarError, EOFError) as error:
        raise BundleError(f"{path} is not a bundle: {error}\n    -> kubeup bundle create makes one") from error
    if key is not None:
        if not signature:
            raise BundleError(f"the bundle {path} is not signed, and nothing of it is used")
        try:
            public_key(key).verify(signature, text)
        except InvalidSignature as error:
            raise BundleError(
                f"the bundle {path} was altered, or signed with another key than that of {key}. Nothing of it is used"
            ) from error
    try:
        manifest = json.loads(text)
        newer = manifest["format"] != FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path} is not a bundle: its manifest cannot be read") from error
    if newer:
        raise BundleError(f"the bundle {path} has format {manifest['format']}, and this kubeup reads {FORMAT}")
    try:
        _Manifest.model_validate(manifest)
    except ValidationError as error:
        wrong = error.errors()[0]
        where = " ".join(repr(part) for part in wrong["loc"])
        raise BundleError(f"{path} is not a bundle: its manifest is malformed at {where}: {wrong['msg']}") from error
    return Bundle(path, manifest, key is not None)


def _first(tar: tarfile.TarFile, name: str) -> bytes:
    """The next member, which has to be of that name; b"" for a signature that is not there."""
    member = tar.next()
    content = tar.extractfile(member) if member and member.name == name and member.size < LARGEST_MANIFEST else None
    if content is None and name == MANIFEST:
        raise tarfile.TarError(f"it does not begin with {name}")
    return content.read() if content else b""
