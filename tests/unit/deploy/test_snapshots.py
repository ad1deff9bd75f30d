"""Snapshots on their way to the admin's machine."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from kubeup.deploy.snapshots import Taken, fetch, take
from kubeup.errors import HostsFailed, KubeupError
from kubeup.host.session import Output, Session

DATA = b"snapshot" * 1000
TAKEN = Taken("n1", "/var/lib/kubeup/snapshots/etcd-1.db", len(DATA), hashlib.sha256(DATA).hexdigest(), 7, 3)


class Streaming:
    """A session of which a host sends ``data`` and then ends with ``code``."""

    def __init__(self, data: bytes, code: int | None = 0) -> None:
        self.data, self.code = data, code

    def stream(self, node: str, script: str, *arguments: str, sink: Callable[[bytes], object]) -> Output:
        sink(self.data[:100])
        sink(self.data[100:])
        return Output("", "", self.code)


def fetched(to: Path, data: bytes = DATA, code: int | None = 0) -> Path:
    return fetch(cast(Session, Streaming(data, code)), TAKEN, to)


def test_into_a_folder_by_its_name_and_to_a_file_in_its_place(tmp_path: Path) -> None:
    assert fetched(tmp_path) == tmp_path / "etcd-1.db"
    (tmp_path / "mine").write_text("older")
    path = fetched(tmp_path / "mine")
    assert path.read_bytes() == DATA
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["etcd-1.db", "mine"]


@pytest.mark.parametrize(("data", "code"), [(DATA[:-1], 0), (DATA[:-1] + b"X", 0), (DATA, None), (DATA, 1)])
def test_what_did_not_arrive_whole_leaves_what_was_there(tmp_path: Path, data: bytes, code: int | None) -> None:
    (tmp_path / "mine").write_text("older")
    with pytest.raises(HostsFailed, match="fetching the snapshot"):
        fetched(tmp_path / "mine", data, code)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("mine", "older")]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(KubeupError, match="cannot be written: No such file"):
        fetched(tmp_path / "nowhere" / "file")


class Masters:
    def __init__(self, **outputs: Output) -> None:
        self.outputs = outputs
        self.asked: list[str] = []

    def shell(self, node: str, *_: Any, **__: Any) -> Output:
        self.asked.append(node)
        return self.outputs[node]


GOOD = Output('warning\n/a/etcd-1.db\t544\tabc\t{"revision":7,"totalKey":3}\n', "", 0)
DEAD = Output("", "not connected", None)


def test_the_first_master_that_can_takes_it(world: Any) -> None:
    masters = Masters(n1=DEAD, n2=GOOD, n3=GOOD)
    taken = take(world.cluster("a a a"), cast(Session, masters))
    assert taken == Taken("n2", "/a/etcd-1.db", 544, "abc", 7, 3)
    assert masters.asked == ["n1", "n2"]


def test_when_none_can_all_are_told(world: Any) -> None:
    with pytest.raises(HostsFailed, match="failed on n1, n2, n3"):
        take(world.cluster("a a a"), cast(Session, Masters(n1=DEAD, n2=DEAD, n3=DEAD)))
