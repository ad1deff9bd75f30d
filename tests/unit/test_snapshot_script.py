"""The script by which masters take snapshots, with programs in etcd's place."""

import hashlib
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "templates" / "snapshots"


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
        command = ["sh", str(SCRIPTS / "snapshot.sh"), str(keep), "n1"]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.snapshots.glob("etcd-*"))


@pytest.fixture
def master(tmp_path: Path) -> Master:
    master = Master(tmp_path)
    (tmp_path / "sent").write_bytes(b"data" * 128 + hashlib.sha256(b"data" * 128).digest())
    master.program("etcdctl", f'for file; do :; done; case "$*" in *save*) cp {tmp_path}/sent "$file";; esac')
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


# When one is due.


@pytest.fixture
def scheduled(master: Master) -> Master:
    """One on which taking and sending only note what they were asked for."""
    log = master.root / "log"
    master.program("etcd-snapshot", f'echo "take $*" >>{log}; touch {master.snapshots}/etcd-20990101T000000Z-$2.db')
    master.program(
        "kubeup-snapshots", f"""for file; do case $file in *.db) echo "send ${{file##*/}}" >>{log};; esac; done"""
    )
    master.snapshots.mkdir()
    return master


def look(master: Master, *others: str, every: int = 3600) -> list[str]:
    """What is done when the timer fires."""
    (master.root / "log").write_text("")
    env = {
        **os.environ,
        "KUBEUP_SNAPSHOTS": str(master.snapshots),
        "KUBEUP_BIN": str(master.root),
        "KUBEUP_LIB": str(master.root),
    }
    command = ["sh", str(SCRIPTS / "due.sh"), str(every), "5", "n1", *others]
    subprocess.run(command, env=env, check=False, capture_output=True)
    return (master.root / "log").read_text().splitlines()


def name(seconds_ago: int, node: str) -> str:
    return time.strftime(f"etcd-%Y%m%dT%H%M%SZ-{node}.db", time.gmtime(time.time() - seconds_ago))


def test_the_first_is_taken_and_sent(scheduled: Master) -> None:
    assert look(scheduled, "n2:2382") == ["take 5 n1", "send etcd-20990101T000000Z-n1.db"]
    assert look(scheduled, "n2:2382") == []


@pytest.mark.parametrize(("age", "taken"), [(3500, False), (3700, True)])
@pytest.mark.parametrize("node", ["n1", "n2"])
def test_it_counts_how_old_the_newest_is_whoever_took_it(scheduled: Master, age: int, taken: bool, node: str) -> None:
    (scheduled.snapshots / name(age, node)).touch()
    (scheduled.snapshots / name(9999, "n3")).touch()
    assert ("take 5 n1" in look(scheduled)) is taken


def test_what_others_took_is_not_sent_back(scheduled: Master) -> None:
    (scheduled.snapshots / name(10, "n2")).touch()
    assert look(scheduled, "n2:2382") == []


def test_sending_is_tried_again_until_it_succeeds(scheduled: Master) -> None:
    mine = name(10, "n1")
    (scheduled.snapshots / mine).touch()
    program = (scheduled.root / "kubeup-snapshots").read_text()
    scheduled.program("kubeup-snapshots", program + "exit 1")
    for _ in range(2):
        assert look(scheduled, "n2:2382") == [f"send {mine}"]
    scheduled.program("kubeup-snapshots", program)
    assert look(scheduled, "n2:2382") == [f"send {mine}"]
    assert look(scheduled, "n2:2382") == []


def test_one_that_cannot_be_taken_does_not_keep_another_from_being_sent_later(scheduled: Master) -> None:
    scheduled.program("etcd-snapshot", "exit 1")
    assert look(scheduled, "n2:2382") == []
    assert not list(scheduled.snapshots.glob("etcd-*"))
