"""The script by which masters take snapshots, with programs in etcd's place."""

import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "templates" / "snapshots" / "snapshot.sh"


@dataclass
class Master:
    """A folder with what the script calls, and where it puts snapshots."""

    root: Path

    @property
    def snapshots(self) -> Path:
        return self.root / "snapshots"

    def program(self, name: str, script: str) -> None:
        path = self.root / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def take(self, keep: int = 3) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "KUBEUP_SNAPSHOTS": str(self.snapshots), "KUBEUP_BIN": str(self.root)}
        command = ["sh", str(SCRIPT), str(keep), "n1"]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.snapshots.glob("etcd-*"))


@pytest.fixture
def master(tmp_path: Path) -> Master:
    master = Master(tmp_path)
    (tmp_path / "sent").write_bytes(b"data" * 128 + hashlib.sha256(b"data" * 128).digest())
    master.program("etcdctl", f'for file; do :; done; cp {tmp_path}/sent "$file"')
    master.program("etcdutl", """echo '{"revision":7}'""")
    return master


def test_a_snapshot_is_told_with_its_path_size_digest_and_status(master: Master) -> None:
    done = master.take()
    (path,) = master.snapshots.glob("etcd-*")
    told = done.stdout.rstrip("\n").split("\t")
    assert told == [str(path), "544", hashlib.sha256(path.read_bytes()).hexdigest(), '{"revision":7}'], done
    assert path.name.endswith("Z-n1.db")
    assert (path.stat().st_mode & 0o777, master.snapshots.stat().st_mode & 0o777) == (0o600, 0o700)


def test_the_newest_stay_by_their_names_whoever_took_them(master: Master) -> None:
    master.snapshots.mkdir()
    for name in ("20200101T000000Z-n2", "20200103T000000Z-n1", "20200102T000000Z-n3"):
        (master.snapshots / f"etcd-{name}.db").touch()
    (master.snapshots / "mine.db").touch()
    master.take(keep=2)
    old, new = master.names()
    assert old == "etcd-20200103T000000Z-n1.db"
    assert new > "etcd-2026"
    assert (master.snapshots / "mine.db").exists()


def test_what_was_not_written_as_it_was_sent_is_no_snapshot(master: Master) -> None:
    """A disk that changes a byte: the digest that etcd sent with it says so."""
    whole = (master.root / "sent").read_bytes()
    (master.root / "sent").write_bytes(b"X" + whole[1:])
    done = master.take()
    assert done.returncode == 74
    assert "not written as etcd sent it" in done.stderr
    assert [path.name for path in master.snapshots.iterdir()] == ["lock"]


@pytest.mark.parametrize("program", ["etcdctl", "etcdutl"])
def test_nothing_is_left_and_nothing_is_lost_when_it_fails(master: Master, program: str) -> None:
    master.snapshots.mkdir()
    (master.snapshots / "etcd-20200101T000000Z-n1.db").touch()
    (master.snapshots / ".new-1").touch()  # of one that was killed
    master.program(program, "echo no >&2; exit 1")
    done = master.take(keep=1)
    assert (done.returncode, "no" in done.stderr) == (1, True)
    assert sorted(path.name for path in master.snapshots.iterdir()) == ["etcd-20200101T000000Z-n1.db", "lock"]
