"""How large files travel."""

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kubeup.components import Artifact
from kubeup.errors import ComponentError
from kubeup.host import transfer
from kubeup.host.difference import Item
from kubeup.host.reading import Entry
from kubeup.host.resources import Blob
from kubeup.host.transfer import CHUNK, OUTPUT, send

CONTENTS = {"large": b"x" * (2 * CHUNK + 1), "small": b"s", "kubeup-unpack": b"u"}


class Channel:
    """An SSH channel to a host that takes what it gets, or ends after ``limit`` bytes."""

    def __init__(self, limit: int | None = None) -> None:
        self.command = ""
        self.received = b""
        self.largest = 0
        self.shut = False
        self._limit = limit

    def exec_command(self, command: str) -> None:
        self.command = command

    def sendall(self, data: bytes) -> None:
        if self._limit is not None and len(self.received) >= self._limit:
            raise OSError("Socket is closed")
        self.largest = max(self.largest, len(data))
        self.received += data

    def shutdown_write(self) -> None:
        self.shut = True

    def makefile_stderr(self, mode: str) -> Any:
        said = b"" if self._limit is None else b"no space\nkubeup-exit-code 1\n"
        return SimpleNamespace(read=lambda: said)

    def recv_exit_status(self) -> int:
        return 0 if self._limit is None else 1


class Material:
    unpacker = "/opt/kubeup/unpack"

    def __init__(self, artifacts: dict[str, Artifact]) -> None:
        self._artifacts = artifacts

    def artifact(self, name: str, version: str, host: str) -> Artifact:
        if name not in self._artifacts:
            raise ComponentError(f"{name} is damaged")
        return self._artifacts[name]


@pytest.fixture
def material(world: Any, tmp_path: Path) -> Material:
    artifacts = {}
    for name, content in CONTENTS.items():
        packed = tmp_path / name
        packed.write_bytes(content)  # whatever it is packed with, it travels as it is
        artifacts[name] = replace(
            world.artifact(name, "1"),
            sha256=hashlib.sha256(gzip.compress(content)).hexdigest(),
            path=packed,
            packed_size=len(content),
        )
    return Material(artifacts)


def over(channel: Channel) -> Any:
    """A host at the other end of the channel."""
    transport = SimpleNamespace(open_session=lambda: channel)
    connector = SimpleNamespace(client=SimpleNamespace(get_transport=lambda: transport))
    return SimpleNamespace(name="n1", connector=connector, connector_data={}, print_prefix="")


def item(name: str, entry: Entry | None = None) -> Item:
    blob = Blob(f"/opt/{name}", name, "1", mode=0o644 if name == "small" else 0o755)
    return Item("add", blob.key, "", "role", blob, entry)


def line(name: str, material: Material, mode: str, packing: str, before: str) -> bytes:
    artifact = material.artifact(name, "1", "n1")
    want = Blob(f"/opt/{name}", name, "1", mode=int(mode, 8)).want
    columns = (f"/opt/{name}", want, artifact.sha256, mode, packing, str(len(CONTENTS[name])), before)
    return "\t".join(columns).encode() + b"\n"


def test_the_stream(material: Material) -> None:
    """A line, the packed bytes as they are, and so on, what unpacks the others first; then a line that says so."""
    channel = Channel()
    host = over(channel)
    items = [item("large"), item("small", Entry("old", "-", "saved")), item("kubeup-unpack")]
    assert send(None, host, items, [], material)  # type: ignore[arg-type]
    assert channel.received == (
        line("kubeup-unpack", material, "0755", "gzip", "?")
        + CONTENTS["kubeup-unpack"]
        + line("large", material, "0755", "zstd", "?")
        + CONTENTS["large"]
        + line("small", material, "0644", "zstd", "saved")
        + CONTENTS["small"]
        + b"end\n"
    )
    assert channel.shut
    assert channel.command.endswith(" kubeup-receive /opt/kubeup/unpack")
    assert host.connector_data[OUTPUT] == []


def test_no_file_is_whole_in_memory(material: Material) -> None:
    channel = Channel()
    send(None, over(channel), [item("large")], [], material)  # type: ignore[arg-type]
    assert channel.largest == CHUNK


def test_a_host_that_ends_early_is_heard(material: Material) -> None:
    host = over(Channel(limit=CHUNK))
    assert not send(None, host, [item("large")], [], material)  # type: ignore[arg-type]
    assert host.connector_data[OUTPUT] == ["no space", "kubeup-exit-code 1"]


def test_a_connection_that_is_gone_is_told_as_such(material: Material, monkeypatch: Any) -> None:
    """paramiko raises EOFError until it has noticed."""

    def gone(*_: Any) -> None:
        raise EOFError

    channel = Channel(limit=0)
    monkeypatch.setattr(channel, "sendall", gone)
    host = over(channel)
    assert not send(None, host, [item("large")], [], material)  # type: ignore[arg-type]
    assert host.connector_data[OUTPUT] == ["no space", "kubeup-exit-code 1"]  # what the host said counts more
    monkeypatch.setattr(channel, "shutdown_write", gone)
    assert not send(None, host, [item("large")], [], material)  # type: ignore[arg-type]
    assert host.connector_data[OUTPUT] == ["the connection broke: the other side closed it"]


def test_of_a_damaged_component_nothing_is_sent(material: Material) -> None:
    channel = Channel()
    host = over(channel)
    assert not send(None, host, [item("small"), item("damaged")], [], material)  # type: ignore[arg-type]
    assert (channel.received, channel.command) == (b"", "")
    assert host.connector_data[OUTPUT] == ["damaged is damaged"]


def test_units_are_marked_before_anything_is_placed() -> None:
    """Across phases: the units that are restarted in a later one are marked when their programs are sent."""
    parts = b"".join(transfer._stream([], [("kubelet.service", "absent"), ("etcd.service", "saved")])).split(b"\n")
    assert parts == [b"dirty\tkubelet.service\tabsent", b"dirty\tetcd.service\tsaved", b"end", b""]
