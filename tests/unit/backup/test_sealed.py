"""Backup files: whole, or refused with the reason."""

import hashlib
import io
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from kubeup.backup.sealed import PIECE, TAG, Lock, Passphrase, PrivateKey, PublicKey, Sealed, Unlock, seal
from kubeup.errors import BackupError

WORD = Passphrase("correct horse", n=2**4)


@dataclass(frozen=True)
class Pair:
    lock: Lock
    unlock: Unlock


def pair(key: X25519PrivateKey | rsa.RSAPrivateKey) -> Pair:
    return Pair(PublicKey(public(key)), PrivateKey(private(key)))


def public(key: X25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private(key: X25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, word: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(word) if word else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


PAIRS = {
    "passphrase": Pair(WORD, WORD),
    "x25519": pair(X25519PrivateKey.generate()),
    "rsa": pair(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
}


def sealed(data: Sequence[bytes], lock: Lock = WORD) -> bytes:
    file = io.BytesIO()
    with seal(file, lock) as writer:
        for chunk in data:
            writer.write(chunk)
    return file.getvalue()


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., bytes]:
    def read(data: bytes, unlock: Unlock = WORD) -> bytes:
        path = tmp_path / "backup"
        path.write_bytes(data)
        return b"".join(Sealed(path, unlock).read())

    return read


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE])
def test_what_was_written_is_read(opened: Callable[..., bytes], kind: str, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    assert opened(sealed([data[:size]], PAIRS[kind].lock), PAIRS[kind].unlock) == data[:size]


def test_it_does_not_matter_in_which_chunks_it_is_written(opened: Callable[..., bytes]) -> None:
    assert opened(sealed([b"a" * 300_000] * 9 + [b"", b"b"])) == b"a" * 2_700_000 + b"b"


def test_nothing_of_it_can_be_read_in_the_file() -> None:
    data = sealed([b"-----BEGIN PRIVATE KEY-----" * 100])
    assert b"PRIVATE" not in data
    assert sealed([b"x"]) != sealed([b"x"])


REFUSED = r"damaged|not a backup made by kubeup"
WHOLE = sealed([bytes(PIECE), b"the second, which is the last"])
START = len(WHOLE) - (PIECE + TAG) - (29 + TAG)
PLACES = {
    "format": 12,
    "version": 32,
    "salt": WHOLE.index(b'"salt"') + 12,
    "wrapped key": WHOLE.index(b'"wrapped"') + 15,
    "header's digest": START - 10,
    "end of the header": START - 1,
    "first byte": START,
    "first piece": START + PIECE // 2,
    "first piece's tag": START + PIECE + TAG - 1,
    "last piece": START + PIECE + TAG + 3,
    "last byte": len(WHOLE) - 1,
}


@pytest.mark.parametrize("place", PLACES)
def test_one_altered_bit_anywhere_is_refused(opened: Callable[..., bytes], place: str) -> None:
    data = bytearray(WHOLE)
    data[PLACES[place]] ^= 1
    with pytest.raises(BackupError, match=REFUSED):
        opened(bytes(data))


def test_every_bit_of_the_header_counts(opened: Callable[..., bytes]) -> None:
    for place in range(START):
        data = bytearray(WHOLE)
        data[place] ^= 4
        with pytest.raises(BackupError, match=REFUSED):
            opened(bytes(data))


def test_a_header_with_a_digest_of_its_own_opens_nothing(opened: Callable[..., bytes]) -> None:
    """Who alters it can compute the digest anew; the key of the pieces depends on the header."""
    line = WHOLE[: WHOLE.index(b"\n")] + b" \n"
    digest = b"sha256 " + hashlib.sha256(line).hexdigest().encode() + b"\n"
    with pytest.raises(BackupError, match="altered or cut off"):
        opened(line + digest + WHOLE[START:])


@pytest.mark.parametrize(
    "length", [0, 10, START - 1, START, START + 5, START + PIECE + TAG, START + PIECE + TAG + 5, len(WHOLE) - 1]
)
def test_a_truncated_file_is_refused(opened: Callable[..., bytes], length: int) -> None:
    """Also one that ends exactly where a piece does."""
    with pytest.raises(BackupError, match=REFUSED):
        opened(WHOLE[:length])


def test_what_was_added_or_exchanged_is_refused(opened: Callable[..., bytes]) -> None:
    first, last = WHOLE[START : START + PIECE + TAG], WHOLE[START + PIECE + TAG :]
    for pieces in (first + last + b"x", first + first + last, last + first, last, first + last + last):
        with pytest.raises(BackupError, match="altered or cut off"):
            opened(WHOLE[:START] + pieces)


def test_pieces_of_another_file_with_the_same_passphrase_are_refused(opened: Callable[..., bytes]) -> None:
    other = sealed([bytes(PIECE), b"the second, which is the last"])
    with pytest.raises(BackupError, match="altered or cut off"):
        opened(WHOLE[: START + PIECE + TAG] + other[-29 - TAG :])


def test_a_wrong_passphrase_is_told_from_damage(opened: Callable[..., bytes]) -> None:
    with pytest.raises(BackupError, match="this is not the passphrase that it was encrypted with"):
        opened(WHOLE, Passphrase("wrong", n=2**4))


@pytest.mark.parametrize("kind", ["x25519", "rsa"])
def test_another_key_is_told(opened: Callable[..., bytes], kind: str) -> None:
    other = pair(X25519PrivateKey.generate())
    with pytest.raises(BackupError, match="encrypted for another key"):
        opened(sealed([b"x"], PAIRS[kind].lock), other.unlock)


def test_the_wrong_kind_of_secret_is_told(opened: Callable[..., bytes]) -> None:
    with pytest.raises(BackupError, match="encrypted with a passphrase, not for a key"):
        opened(WHOLE, PAIRS["x25519"].unlock)
    with pytest.raises(BackupError, match="encrypted for a public key, not with a passphrase: say --private-key"):
        opened(sealed([b"x"], PAIRS["rsa"].lock), WORD)


def test_keys_that_cannot_be_used_are_refused_at_once() -> None:
    signing = ec.generate_private_key(ec.SECP256R1())
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505  too short on purpose
    for pem, what in ((public(signing), "for signatures"), (public(short), "1024 bits"), (b"text", "not a public key")):
        with pytest.raises(BackupError, match=what):
            PublicKey(pem)
    own = private(X25519PrivateKey.generate(), b"word")
    for pem, word, what in (
        (private(signing), None, "for signatures"),
        (b"text", None, "not a private key"),
        (own, None, "has a passphrase of its own"),
        (own, "other", "passphrase is not its own"),
    ):
        with pytest.raises(BackupError, match=what):
            PrivateKey(pem, word)
    assert PrivateKey(own, "word")


def test_a_header_that_wants_all_memory_is_refused(opened: Callable[..., bytes]) -> None:
    with pytest.raises(BackupError, match="n=1099511627776"):
        Passphrase("x").unlock({"type": "passphrase", "scrypt_n": 2**40, "salt": "", "wrapped": ""})


def test_a_file_of_another_kind_or_none(opened: Callable[..., bytes], tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="not a backup made by kubeup"):
        opened(b"PK\x03\x04" * 100)
    with pytest.raises(BackupError, match="cannot be read: No such file"):
        Sealed(tmp_path / "nothing", WORD)


def test_a_key_made_by_openssl_works(opened: Callable[..., bytes], tmp_path: Path) -> None:
    """As the documentation and the error say how to make one."""
    key = tmp_path / "key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "X25519", "-out", key], check=True, capture_output=True)
    pub = subprocess.run(["openssl", "pkey", "-in", key, "-pubout"], check=True, capture_output=True).stdout
    assert opened(sealed([b"x"], PublicKey(pub)), PrivateKey(key.read_bytes())) == b"x"


def test_secrets_are_not_shown() -> None:
    assert "horse" not in repr(WORD)
    assert repr(PAIRS["rsa"].unlock) == "<PrivateKey>"
