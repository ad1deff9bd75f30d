"""What is in a backup, and etcd's snapshots."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kubeup.backup import Backup, Manifest, Passphrase, open_backup, open_snapshot, write_backup
from kubeup.backup import archive as layout
from kubeup.backup.sealed import seal
from kubeup.errors import BackupError

WORD = Passphrase("correct horse", n=2**4)
DATABASE = bytes(16) + bytes.fromhex("edda0ced") + b"data of the cluster!" * 200_000
DATABASE += bytes(-len(DATABASE) % 4096)
SNAPSHOT = DATABASE + hashlib.sha256(DATABASE).digest()
MANIFEST = Manifest(
    "demo", "abc", "2026-11-21T15:00:00+00:00", "0.1.0", {"etcd": "3.6.8"}, "10.0.0.0/24", 7, 3, {"secrets": 2}
)
FILES = {"/etc/kubernetes/pki/ca.key": "KEY", "/etc/kubernetes/pki/ca.crt": "CERTIFICATE"}
INVENTORY = "name: demo  # mine\n"


def written(path: Path, snapshot: bytes = SNAPSHOT, told: bytes = SNAPSHOT) -> Path:
    def bring(take: Callable[[bytes], object]) -> None:
        for start in range(0, len(snapshot), 100_000):
            take(snapshot[start : start + 100_000])

    with path.open("wb") as file:
        digest = hashlib.sha256(told).hexdigest()
        write_backup(file, WORD, MANIFEST, INVENTORY, FILES, (len(told), digest, bring))
    return path


@pytest.fixture
def backup(tmp_path: Path) -> Backup:
    return open_backup(written(tmp_path / "b"), WORD)


def test_all_of_it_is_read_again(backup: Backup) -> None:
    assert replace(backup.manifest, parts={}) == MANIFEST
    assert (backup.inventory, backup.files) == (INVENTORY, FILES)
    assert (backup.snapshot.size, backup.snapshot.sha256) == (len(SNAPSHOT), hashlib.sha256(SNAPSHOT).hexdigest())
    for _ in range(2):  # once for each member
        assert b"".join(backup.snapshot.chunks()) == SNAPSHOT
    assert set(backup.manifest.parts) == {"inventory.yaml", "etcd.db", *("files" + path for path in FILES)}


def test_secrets_are_not_shown(backup: Backup) -> None:
    assert "KEY" not in repr(backup)


def test_it_is_an_ordinary_tar_inside(tmp_path: Path) -> None:
    import tarfile

    from kubeup.backup.sealed import Sealed

    inside = b"".join(Sealed(written(tmp_path / "b"), WORD).read())
    with tarfile.open(fileobj=io.BytesIO(inside)) as tar:
        names = tar.getnames()
    assert names == ["manifest.json", "inventory.yaml", *("files" + path for path in FILES), "etcd.db"]


@pytest.mark.parametrize("arrived", [SNAPSHOT[:-1], SNAPSHOT + b"x", b"X" + SNAPSHOT[1:]])
def test_a_snapshot_that_does_not_arrive_whole_makes_no_backup(tmp_path: Path, arrived: bytes) -> None:
    with pytest.raises(BackupError, match="did not arrive whole"):
        written(tmp_path / "b", arrived)
    with pytest.raises(BackupError, match="altered or cut off"):  # nor does what was written of it count for one
        open_backup(tmp_path / "b", WORD)


def test_a_snapshot_that_etcd_did_not_make_is_refused(tmp_path: Path) -> None:
    broken = SNAPSHOT[:5000] + b"X" + SNAPSHOT[5001:]
    with pytest.raises(BackupError, match=r"the snapshot in .*/b was altered"):
        open_backup(written(tmp_path / "b", broken, broken), WORD)


@pytest.mark.parametrize("wrong", ["inventory.yaml", "etcd.db", "files/etc/kubernetes/pki/ca.key"])
def test_parts_that_are_not_what_the_manifest_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    header = layout._tar_header
    monkeypatch.setattr(layout, "_tar_header", lambda name, size: header("other" if name == wrong else name, size))
    with pytest.raises(BackupError, match="damaged: other is not what its manifest says"):
        open_backup(written(tmp_path / "b"), WORD)


@pytest.mark.parametrize("inside", [b"", bytes(1024), b"text" * 1000])
def test_a_sealed_file_of_something_else(tmp_path: Path, inside: bytes) -> None:
    with (tmp_path / "b").open("wb") as file, seal(file, WORD) as writer:
        writer.write(inside)
    with pytest.raises(BackupError, match="holds no backup"):
        open_backup(tmp_path / "b", WORD)


# Snapshots.


def test_a_whole_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "etcd.db"
    path.write_bytes(SNAPSHOT)
    snapshot = open_snapshot(path)
    assert (snapshot.size, snapshot.sha256) == (len(SNAPSHOT), hashlib.sha256(SNAPSHOT).hexdigest())
    assert b"".join(snapshot.chunks()) == SNAPSHOT


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "not a snapshot"),
        (b"text", "not a snapshot"),
        (DATABASE, "cut off, or is not a snapshot but a copy of a database"),
        (SNAPSHOT[:-1], "cut off"),
        (SNAPSHOT[:-512], "altered"),
        (SNAPSHOT[: len(SNAPSHOT) // 2], "cut off"),
        (SNAPSHOT[:-33] + b"X" + SNAPSHOT[-32:], "altered"),
        (SNAPSHOT[:-1] + bytes([SNAPSHOT[-1] ^ 1]), "altered"),
        (SNAPSHOT[:30] + b"X" + SNAPSHOT[31:], "altered"),
        (b"X" * 17 + SNAPSHOT[17:], "not a snapshot"),
    ],
)
def test_one_that_is_not_whole_is_refused(tmp_path: Path, data: bytes, what: str) -> None:
    path = tmp_path / "etcd.db"
    path.write_bytes(data)
    with pytest.raises(BackupError, match=what):
        open_snapshot(path)


def test_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="cannot be read: No such file"):
        open_snapshot(tmp_path / "etcd.db")
