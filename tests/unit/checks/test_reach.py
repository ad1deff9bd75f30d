"""Which ways between hosts a cluster needs, and what is told of those that are closed."""

import gzip
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kubeup.checks.reach
from kubeup.checks.reach import Way, reach, ways
from kubeup.errors import HostsFailed
from kubeup.host.reading import Reading
from kubeup.host.session import Output


def needed(cluster: Any) -> set[tuple[str, str, str]]:
    return {(way.source, way.target, way.listens) for way in ways(cluster)}


def test_one_master(world: Any) -> None:
    assert needed(world.cluster("ai i")) == {
        ("n2", "n1", "tcp:6443"),
        ("n1", "n2", "tcp:10250"),
        ("n1", "n2", "udp:8472"),
        ("n2", "n1", "udp:8472"),
    }


def test_members_need_one_another_in_both_directions(world: Any) -> None:
    both = needed(world.cluster("ai ai ai"))
    for port in (2379, 2380, 2382):
        assert {(a, b) for a, b, p in both if p == f"tcp:{port}"} == {
            (f"n{a}", f"n{b}") for a in (1, 2, 3) for b in (1, 2, 3) if a != b
        }


def test_what_is_not_used_is_not_needed(world: Any) -> None:
    without = needed(world.cluster("ai i", flannel={"backend": "host-gw"}, snapshots={"every": "off"}))
    assert not [port for _, _, port in without if port.startswith("udp") or port == "tcp:2382"]
    apart = needed(world.cluster("a i etcd", flannel={"store": "etcd"}))
    assert {("n1", "n3", "tcp:2379"), ("n2", "n3", "tcp:2379")} <= apart  # flannel on the minion asks etcd itself
    assert ("n3", "n1", "udp:8472") not in apart


class FakeSession:
    """Hosts on which kubeup-reach prints what it is told to."""

    def __init__(self, silent: dict[str, dict[str, str]], fsync: float = 2.0) -> None:
        self.silent, self.fsync = silent, fsync
        self.listening: dict[str, tuple[str, ...]] = {}
        self.asked: dict[str, tuple[str, ...]] = {}
        self.ended: list[str] = []

    def side_by_side(self, names: Any, work: Any) -> dict[str, Any]:
        return {name: work(name) for name in names}

    def stream(self, name: str, script: str, *arguments: str, source: Iterator[bytes]) -> Output:
        assert b"".join(source) == b"packed"
        _, _, fsync, *ports = arguments
        self.listening[name] = tuple(ports)
        told = f'fsync {{"median": {self.fsync}, "worst": 9}}\n' if fsync else ""
        return Output(f"process 7\nfolder /var/lib/.x\nlistening \n{told}", "", 0)

    def shell(self, name: str, script: str, *arguments: str) -> Output:
        if "ask" not in script:
            self.ended.append(name)
            return Output("", "", 0)
        self.asked[name] = arguments[2:]
        found = [{"target": target, "error": error} for target, error in self.silent.get(name, {}).items()]
        return Output(json.dumps(found), "", 0)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "reach.gz"
    path.write_bytes(b"packed")
    return path


def tried(world: Any, program: Path, session: FakeSession, new: list[str] | None = None, **facts: Any) -> Any:
    cluster = world.cluster("ai i i")
    readings = {node.name: Reading(replace(world.host(node), **facts)) for node in cluster.nodes}
    return reach(cluster, readings, session, lambda _: program, new or list(readings))  # type: ignore[arg-type]


def test_closed_ways_are_told_once_a_kind(world: Any, program: Path) -> None:
    closed = {"n1": {"tcp:10.0.0.2:10250": "i/o timeout", "tcp:10.0.0.3:10250": "i/o timeout"}}
    session = FakeSession(closed)
    found = tried(world, program, session)
    assert [str(problem).splitlines()[0] for problem in found.problems] == [
        "n1: does not reach TCP port 10250 (the kubelet) of n2, n3: i/o timeout"
    ]
    assert session.listening["n2"] == ("tcp:10250", "udp:8472")
    assert session.ended == ["n1", "n2", "n3"]
    assert found.fsync == {"n1": 2.0}


def test_the_mtu_is_told(world: Any, program: Path) -> None:
    closed = {"n2": {"udp:10.0.0.3:8472": "small packets arrive, those of 1500 bytes do not"}}
    (problem,) = tried(world, program, FakeSession(closed)).problems
    assert "MTU" in problem.remedy


def test_ports_that_are_taken_are_asked_as_they_are(world: Any, program: Path) -> None:
    session = FakeSession({})
    tried(world, program, session, listening=frozenset({22, 10250, 6443}))
    assert session.listening["n2"] == ("udp:8472",)
    assert "tcp:10.0.0.2:10250" in session.asked["n1"]


def test_only_ways_of_new_hosts_are_tried(world: Any, program: Path) -> None:
    session = FakeSession({})
    found = tried(world, program, session, new=["n3"])
    assert set(session.asked["n2"]) == {"udp:10.0.0.3:8472"}
    assert not found.fsync  # n1, the member, is not new


def test_a_firewall_that_kubeup_opens_is_not_asked(world: Any, program: Path) -> None:
    session = FakeSession({})
    assert tried(world, program, session, firewall="firewalld").tried == 0
    assert session.asked == {}


def test_a_slow_disk_is_told(world: Any, program: Path) -> None:
    (problem,) = tried(world, program, FakeSession({}, fsync=140.0)).problems
    assert "takes 140 ms" in problem.what


def test_the_ends_are_told_even_when_asking_fails(world: Any, program: Path) -> None:
    session = FakeSession({})
    session.shell = lambda name, script, *a: (
        (  # type: ignore[method-assign]
            session.ended.append(name) if "ask" not in script else None
        )
        or Output("no json", "", 0)
    )
    with pytest.raises(ValueError, match="Expecting value"):
        tried(world, program, session)
    assert session.ended == ["n1", "n2", "n3"]


def test_those_that_have_begun_end_when_others_do_not_begin(world: Any, program: Path) -> None:
    session = FakeSession({})
    stream = session.stream

    def some(name: str, *arguments: str, source: Iterator[bytes]) -> Output:
        output = stream(name, *arguments, source=source)
        return {"n2": Output("", "no space left on device", 1), "n3": replace(output, exit_code=1)}.get(name, output)

    session.stream = some  # type: ignore[method-assign]
    with pytest.raises(HostsFailed, match="no space left on device"):
        tried(world, program, session)
    assert session.ended == ["n1", "n3"]


START = Path(kubeup.checks.reach.__file__).with_name("reach.sh").read_text()
PROGRAM = """#!/bin/sh
[ "$1" = listen ] || exit 1
folder=$7
end() { rm -rf "$folder"; exit; }
trap end TERM
echo listening
for i in $(seq 100); do sleep 0.1; done
end
"""


def test_what_listens_ends_with_the_connection(tmp_path: Path) -> None:
    connection = tmp_path / "sshd"
    shutil.copy(shutil.which("sh") or "", connection)
    script = START.replace("/var/lib/", f"{tmp_path}/")
    command = [connection, "-c", 'sh -c "$1" sh 10s 127.0.0.1 "" tcp:1; exec 1>&-; sleep 10', "sshd", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as session:
        assert session.stdin
        assert session.stdout
        session.stdin.write(gzip.compress(PROGRAM.encode()))
        session.stdin.close()
        told = dict(line.split(" ", 1) for line in session.stdout.read().decode().splitlines() if " " in line)
        folder = Path(told["folder"])
        assert (folder / "reach").exists()
        session.kill()
    for _ in range(40):
        if not folder.exists():
            return
        time.sleep(0.1)
    pytest.fail("it still listens")


def test_a_way_is_written_as_it_is_asked() -> None:
    way = Way("a", "b", "10.0.0.2", "udp", 8472, "x")
    assert (way.listens, way.asked) == ("udp:8472", "udp:10.0.0.2:8472")
