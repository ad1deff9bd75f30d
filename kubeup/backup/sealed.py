"""An encrypted file: what is written can be read by who has the passphrase or the private key, whole or not at all.

docs/backup.md describes the format. In short: two lines of text, then pieces, each encrypted and authenticated by
itself together with its place, and whether it is the last: no byte can be changed, moved, left out or added unseen.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from kubeup.errors import BackupError

FORMAT = "kubeup-backup"
VERSION = 1
PIECE = 2**20
"""Bytes of each piece before it is encrypted; the last may have fewer."""
TAG = 16
LONGEST_HEADER = 65536
NO_NONCE = bytes(12)
"""For keys that encrypt but once."""

SCRYPT_N = 2**17  # 128 MiB of memory and half a second: what OWASP recommends at least for scrypt with r=8, p=1
SCRYPT_R, SCRYPT_P = 8, 1
LARGEST_N = 2**20  # of a file that is read: a forged header must not take all memory

Stanza = Mapping[str, Any]
"""How a file's key is locked, as its header says it: a "type", and what that needs."""


class Lock(Protocol):
    """Encrypts a file's key."""

    def lock(self, key: bytes) -> Stanza: ...


class Unlock(Protocol):
    """Decrypts it. Raises BackupError when this cannot, with the reason."""

    def unlock(self, stanza: Stanza) -> bytes: ...


class Passphrase:
    """Locks and unlocks with a passphrase, through scrypt."""

    def __init__(self, text: str, n: int = SCRYPT_N) -> None:
        self._text = text
        self._n = n

    def __repr__(self) -> str:
        return "<Passphrase>"

    def _key(self, salt: bytes, n: int) -> bytes:
        return Scrypt(salt=salt, length=32, n=n, r=SCRYPT_R, p=SCRYPT_P).derive(self._text.encode())

    def lock(self, key: bytes) -> Stanza:
        salt = os.urandom(16)
        wrapped = ChaCha20Poly1305(self._key(salt, self._n)).encrypt(NO_NONCE, key, None)
        return {"type": "passphrase", "scrypt_n": self._n, "salt": _text(salt), "wrapped": _text(wrapped)}

    def unlock(self, stanza: Stanza) -> bytes:
        if stanza["type"] != "passphrase":
            raise BackupError("it was encrypted for a public key, not with a passphrase: say --private-key FILE")
        n = stanza["scrypt_n"]
        if not (isinstance(n, int) and 2 <= n <= LARGEST_N and n & (n - 1) == 0):
            raise BackupError(f"its header asks for scrypt with n={n}, which no kubeup writes")
        try:
            return ChaCha20Poly1305(self._key(_bytes(stanza["salt"]), n)).decrypt(
                NO_NONCE, _bytes(stanza["wrapped"]), None
            )
        except InvalidTag:
            raise BackupError("this is not the passphrase that it was encrypted with") from None


_OAEP = OAEP(MGF1(hashes.SHA256()), hashes.SHA256(), None)


def _shared(secret: bytes, ephemeral: bytes, recipient: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt=ephemeral + recipient, info=b"kubeup-backup x25519").derive(secret)


def _raw(key: X25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _fingerprint(key: X25519PublicKey | rsa.RSAPublicKey) -> str:
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


class PublicKey:
    """Locks for who has the private key: X25519 or RSA (2048 bits or more), as PEM."""

    def __init__(self, pem: bytes, name: str = "the public key") -> None:
        """Raises BackupError when it is not such a key."""
        try:
            key = load_pem_public_key(pem)
        except ValueError:
            raise BackupError(f"{name} is not a public key in PEM form: {MAKE_KEYS}") from None
        if isinstance(key, rsa.RSAPublicKey) and key.key_size < 2048:
            raise BackupError(f"{name} is an RSA key of {key.key_size} bits: use one of 3072 or more")
        if not isinstance(key, X25519PublicKey | rsa.RSAPublicKey):
            raise BackupError(f"{name} cannot encrypt, it is for signatures: {MAKE_KEYS}")
        self._key = key

    def lock(self, key: bytes) -> Stanza:
        head = {"recipient": _fingerprint(self._key)}
        if isinstance(self._key, rsa.RSAPublicKey):
            return {"type": "rsa", **head, "wrapped": _text(self._key.encrypt(key, _OAEP))}
        ephemeral = X25519PrivateKey.generate()
        public = _raw(ephemeral.public_key())
        wrapping = _shared(ephemeral.exchange(self._key), public, _raw(self._key))
        wrapped = ChaCha20Poly1305(wrapping).encrypt(NO_NONCE, key, None)
        return {"type": "x25519", **head, "ephemeral": _text(public), "wrapped": _text(wrapped)}


MAKE_KEYS = (
    "make a pair with: openssl genpkey -algorithm X25519 -out backup.key; "
    "openssl pkey -in backup.key -pubout -out backup.pub"
)


class PrivateKey:
    """Unlocks what was locked with its public key."""

    def __init__(self, pem: bytes, passphrase: str | None = None, name: str = "the private key") -> None:
        """``passphrase``: of the key itself, where it has one. Raises BackupError when it is not such a key."""
        try:
            key = load_pem_private_key(pem, passphrase.encode() if passphrase else None)
        except TypeError:  # it has a passphrase and none was given, or the other way round
            what = "has a passphrase of its own" if not passphrase else "has no passphrase"
            raise BackupError(f"{name} {what}") from None
        except ValueError:
            hint = " or the passphrase is not its own" if passphrase else ""
            raise BackupError(f"{name} is not a private key in PEM form{hint}") from None
        if not isinstance(key, X25519PrivateKey | rsa.RSAPrivateKey):
            raise BackupError(f"{name} cannot decrypt, it is for signatures")
        self._key = key

    def __repr__(self) -> str:
        return "<PrivateKey>"

    def unlock(self, stanza: Stanza) -> bytes:
        if stanza["type"] == "passphrase":
            raise BackupError("it was encrypted with a passphrase, not for a key")
        own = _fingerprint(self._key.public_key())
        if stanza["recipient"] != own:
            raise BackupError(
                f"it was encrypted for another key (the public key's sha256 is {stanza['recipient'][:16]}…, "
                f"this one's {own[:16]}…)"
            )
        wrapped = _bytes(stanza["wrapped"])
        try:
            if isinstance(self._key, rsa.RSAPrivateKey):
                return self._key.decrypt(wrapped, _OAEP)
            ephemeral = X25519PublicKey.from_public_bytes(_bytes(stanza["ephemeral"]))
            wrapping = _shared(self._key.exchange(ephemeral), _raw(ephemeral), _raw(self._key.public_key()))
            return ChaCha20Poly1305(wrapping).decrypt(NO_NONCE, wrapped, None)
        except (InvalidTag, ValueError):
            raise BackupError("its header was altered: the key in it cannot be decrypted") from None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _cipher(key: bytes, header: bytes) -> ChaCha20Poly1305:
    """For the pieces. Bound to the header, so that one that was altered opens nothing."""
    salt = hashlib.sha256(header).digest()
    return ChaCha20Poly1305(HKDF(hashes.SHA256(), 32, salt=salt, info=b"kubeup-backup pieces").derive(key))


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


class Writer:
    """Encrypts what is written to it into a file."""

    def __init__(self, file: BinaryIO, header: bytes, key: bytes) -> None:
        self._file = file
        self._cipher = _cipher(key, header)
        self._buffer = bytearray()
        self._number = 0
        file.write(header)

    def write(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) > PIECE:  # not the last: more than it is here
            self._piece(last=False)

    def finish(self) -> None:
        """Write the last piece: without it the file is a truncated one."""
        self._piece(last=True)

    def _piece(self, *, last: bool) -> None:
        data = bytes(self._buffer[:PIECE])
        del self._buffer[:PIECE]
        self._file.write(self._cipher.encrypt(_nonce(self._number, last), data, None))
        self._number += 1


@contextlib.contextmanager
def seal(file: BinaryIO, lock: Lock) -> Iterator[Writer]:
    """Give something to write to; the file is whole when the block ended without an error."""
    key = os.urandom(32)
    line = json.dumps({"format": FORMAT, "version": VERSION, "piece": PIECE, "key": lock.lock(key)}).encode() + b"\n"
    writer = Writer(file, line + _digest_line(line), key)
    yield writer
    writer.finish()


def _digest_line(line: bytes) -> bytes:
    # Tells a damaged header from a wrong passphrase. Against who alters it on purpose there is _cipher.
    return b"sha256 " + hashlib.sha256(line).hexdigest().encode() + b"\n"


class Sealed:
    """An encrypted file, and its key."""

    def __init__(self, path: Path, unlock: Unlock) -> None:
        """Raises BackupError when it is none, when its header is damaged, and when it cannot be unlocked."""
        self._path = path
        try:
            with path.open("rb") as file:
                line, digest = file.readline(LONGEST_HEADER), file.readline(LONGEST_HEADER)
        except OSError as error:
            raise BackupError(f"{path} cannot be read: {error.strerror or error}") from error
        if not line.startswith(b'{"format": "' + FORMAT.encode() + b'"'):
            raise BackupError(f"{path} is not a backup made by kubeup, or its beginning was altered")
        if digest != _digest_line(line):
            raise BackupError(f"{path} is damaged: its header was altered or cut off")
        header = json.loads(line)
        if (header["version"], header["piece"]) != (VERSION, PIECE):
            raise BackupError(f"{path} has version {header['version']} of the format; this kubeup knows {VERSION}")
        try:
            key = unlock.unlock(header["key"])
        except BackupError as error:
            raise BackupError(f"{path} cannot be opened: {error}") from None
        except (KeyError, ValueError, TypeError):
            raise BackupError(f"{path} is damaged: its header does not say what it must") from None
        self._start = len(line) + len(digest)
        self._cipher = _cipher(key, line + digest)

    def __repr__(self) -> str:
        return f"<Sealed {self._path}>"

    def read(self) -> Iterator[bytes]:
        """What was written, from the beginning. Raises BackupError at the first piece that is not as it was written."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._start)
                piece = file.read(PIECE + TAG)
                number = 0
                while True:
                    following = file.read(PIECE + TAG)
                    try:
                        yield self._cipher.decrypt(_nonce(number, last=not following), piece, None)
                    except InvalidTag:
                        where = self._start + number * (PIECE + TAG)
                        raise BackupError(
                            f"{self._path} is damaged: it was altered or cut off, at byte {where} or after"
                        ) from None
                    if not following:
                        return
                    piece, number = following, number + 1
        except OSError as error:
            raise BackupError(f"{self._path} cannot be read: {error.strerror or error}") from error
