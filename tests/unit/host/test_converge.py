"""What a host is told to do."""

import base64
import gzip
import hashlib
import io
import tarfile
from typing import Any

import pytest
from pyinfra.api import FunctionCommand, StringCommand
from pyinfra.api.command import PyinfraCommand

from kubeup.cluster import CertificateSpec
from kubeup.host.converge import APPLY, Payload, converge, is_blob
from kubeup.host.difference import Change, Item, difference
from kubeup.host.reading import Entry, Reading
from kubeup.host.resources import (
    Blob,
    Certificate,
    Cleanup,
    Directory,
    File,
    Link,
    Module,
    Package,
    Resource,
    Secret,
    Sysctl,
    unit,
)

CONFIG = File("/etc/a.conf", "text", mode=0o640)
EVERYTHING: list[Resource] = [
    CONFIG,
    Secret("/etc/ca.key", "ca", "1"),
    Certificate("/etc/a.crt", "/etc/a.key", CertificateSpec("me", "kubernetes", ("client",)), "1"),
    Cleanup("a", "exit 0"),
    Link("/opt/l", "/opt/a"),
    Directory("/var/lib/a", mode=0o700),
    Sysctl("net.a", "1"),
    Module("overlay", "/sys/module/overlay"),
    Package("iptables", "iptables"),
    unit("a.service", "[Unit]", [CONFIG]),
    unit("b.service", "[Unit]", wait=False),
]


def unpacked(payload: Payload) -> tuple[list[list[str]], dict[str, bytes]]:
    """The actions' columns, and the other files."""
    data = base64.b64decode("".join(payload.readlines()))
    assert data == payload.packed
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        content = {name: stream.read() for name in tar.getnames() if (stream := tar.extractfile(name))}
    actions = content.pop("actions").decode()
    assert actions.endswith("\n")
    return [line.split("\t") for line in actions.splitlines()], content


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def change(world: Any) -> Change:
    """All that a bare host must be told so that it holds one of everything."""
    change = difference("n1", world.every(*EVERYTHING), Reading(world.facts))
    change.cluster = ("demo", "identity")
    return change


def test_every_kind_of_action(change: Change, world: Any) -> None:
    material = world.material()
    actions, contents = unpacked(Payload(change, material))
    want = {resource.key: resource.want for resource in EVERYTHING}
    validity = f"{world.now + 365 * 24 * 3600} {world.now}"
    secret, certificate = material.SECRET, "certificate of me"
    wanted = want["file", "/etc/a.crt"]
    combined = [item.combined for item in change.items if item.key[0] == "unit"]
    assert actions == [
        ["cluster", "demo", "identity"],
        ["file", "/etc/a.conf", want["file", "/etc/a.conf"], sha256("text"), "0640", "content.0", "?", "-"],
        ["file", "/etc/ca.key", want["file", "/etc/ca.key"], sha256(secret), "0600", "content.1", "?", "-"],
        # The key first: where a certificate lies, its key lies too, whenever a run is killed.
        ["file", "/etc/a.key", wanted, sha256(secret), "0600", "content.2", "?", "-"],
        ["file", "/etc/a.crt", wanted, sha256(certificate), "0644", "content.3", "?", validity],
        ["cleanup", "a", want["cleanup", "a"], sha256("exit 0"), "0600", "content.4", "?"],
        ["link", "/opt/l", want["link", "/opt/l"], "/opt/a", "?"],
        ["dir", "/var/lib/a", want["dir", "/var/lib/a"], "0700", "?"],
        ["sysctl", "net.a", want["sysctl", "net.a"], "1", "?"],
        ["module", "overlay", want["module", "overlay"], "/sys/module/overlay", "?"],
        ["package", "iptables", want["package", "iptables"], "iptables", "?"],
        ["unit", "a.service", want["unit", "a.service"], sha256("[Unit]"), "content.5", "?", "wait", combined[0]],
        ["unit", "b.service", want["unit", "b.service"], sha256("[Unit]"), "content.6", "?", "go on", combined[1]],
    ]
    assert contents == {
        "content.0": b"text",
        "content.1": secret.encode(),
        "content.2": secret.encode(),
        "content.3": certificate.encode(),
        "content.4": b"exit 0",
        "content.5": b"[Unit]",
        "content.6": b"[Unit]",
    }


def test_what_was_there_before_is_passed_on(world: Any) -> None:
    items = [
        Item("change", CONFIG.key, "", resource=CONFIG, entry=Entry("pending", "-", "saved")),
        Item("remove", ("file", "/etc/b"), "", entry=Entry("x", "y", "absent")),
    ]
    actions, _ = unpacked(Payload(Change("n1", items), world.material()))
    assert [(action[0], action[-2]) for action in actions[:1]] == [("file", "saved")]
    assert actions[1] == ["drop", "file", "/etc/b", "absent"]


def test_a_unit_is_marked_before_its_inputs_are_touched(world: Any) -> None:
    """So that it is restarted by the next run when this one is killed in between."""
    changed = File(CONFIG.path, "other")
    before = world.holding(world.every(CONFIG, unit("a.service", "[Unit]", [CONFIG])), world.facts)
    change = difference("n1", world.every(changed, unit("a.service", "[Unit]", [changed])), before)
    actions, _ = unpacked(Payload(change, world.material()))
    assert ["dirty", "a.service", "absent"] in actions


def test_the_first_part_marks_units_of_later_parts_and_they_no_more(world: Any) -> None:
    """An input that belongs to an earlier phase than its unit: the mark must come before the input."""
    changed = File(CONFIG.path, "other")
    before = world.holding(world.every(CONFIG, unit("a.service", "[Unit]", [CONFIG])), world.facts)
    change = difference("n1", world.every(changed, unit("a.service", "[Unit]", [changed])), before)
    first = change.part(lambda item: item.key[0] == "file")
    assert unpacked(Payload(first, world.material()))[0][0] == ["dirty", "a.service", "absent"]
    list(converge._inner(first, world.material()))  # as pyinfra runs it when every command succeeds
    later = change.part(lambda item: item.key[0] == "unit")
    assert [action[0] for action in unpacked(Payload(later, world.material()))[0]] == ["unit"]


def test_no_column_is_ever_empty(world: Any) -> None:
    """The shell's read would swallow it, and take the next one in its place."""
    cluster = world.cluster("ai i")
    for node in cluster.nodes:
        change = difference(node.name, world.desired(cluster, node), Reading(world.host(node)))
        change.cluster = ("demo", "identity")
        change.items.append(Item("remove", ("sysctl", "a"), "", entry=Entry("", "", "")))
        change.items.append(Item("add", ("sysctl", "a"), "", resource=Sysctl("a", "")))
        change.forget = True
        actions, _ = unpacked(Payload(change.part(lambda item: not is_blob(item)), world.material()))
        assert len(actions) > 20
        assert all(column.strip() for action in actions for column in action)


def test_forgetting_is_told(world: Any) -> None:
    assert unpacked(Payload(Change("n1", forget=True), world.material()))[0] == [["forget", "-"]]


def test_the_same_change_is_the_same_bytes(change: Change, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Payload(change, world.material())
    assert first.sha256 == hashlib.sha256(first.packed).hexdigest()
    monkeypatch.setattr("time.time", lambda: 1.0)
    assert first.packed == Payload(change, world.material()).packed


def test_secrets_are_asked_for_once_and_not_before_they_are_needed(change: Change, world: Any) -> None:
    material = world.material()
    payload = Payload(change, material)
    assert material.asked == []
    _ = payload.sha256, payload.readlines(), payload.readlines()
    assert material.asked == ["ca", "me"]


def commands(change: Change, material: Any) -> list[PyinfraCommand]:
    """What the operation yields."""
    return list(converge._inner(change=change, material=material))  # type: ignore[attr-defined]


def test_a_change_is_one_command(change: Change, world: Any) -> None:
    (command,) = commands(change, world.material())
    assert isinstance(command, StringCommand)
    assert isinstance(payload := command.connector_arguments["_stdin"], Payload)
    assert payload.sha256 in command.get_raw_value()
    assert gzip.decompress(payload.packed)


def test_large_files_go_first_and_by_themselves(change: Change, world: Any) -> None:
    blob = Item("add", ("blob", "/opt/a"), "", resource=Blob("/opt/a", "a", "1"))
    first, second = commands(Change("n1", [*change.items, blob]), world.material())
    assert isinstance(first, FunctionCommand)
    assert first.args[0] == [blob]
    assert isinstance(second, StringCommand)
    assert isinstance(payload := second.connector_arguments["_stdin"], Payload)
    assert "/opt/a" not in {action[1] for action in unpacked(payload)[0]}


def test_all_is_forgotten_with_the_rest(world: Any) -> None:
    drop = Item("remove", ("file", "/etc/a"), "", entry=Entry("", "", "absent"))
    for items, told in (([drop], ["drop", "forget"]), ([], ["forget"])):
        (command,) = commands(Change("n1", items, forget=True), world.material())
        assert isinstance(payload := command.connector_arguments["_stdin"], Payload)
        assert [action[0] for action in unpacked(payload)[0]] == told


def test_a_large_file_that_goes_is_dropped_like_any_other(world: Any) -> None:
    (command,) = commands(
        Change("n1", [Item("remove", ("blob", "/opt/a"), "", entry=Entry("", "", "absent"))]), world.material()
    )
    assert isinstance(payload := command.connector_arguments["_stdin"], Payload)
    assert unpacked(payload)[0] == [["drop", "blob", "/opt/a", "absent"]]


def test_only_large_files_are_one_command_too(world: Any) -> None:
    blob = Item("add", ("blob", "/opt/a"), "", resource=Blob("/opt/a", "a", "1"))
    assert [type(command) for command in commands(Change("n1", [blob]), world.material())] == [FunctionCommand]


def test_no_secret_can_be_seen(change: Change, world: Any) -> None:
    material = world.material()
    (command,) = commands(change, material)
    payload = Payload(change, material)
    assert payload.packed
    for shown in (payload, command, change, change.items, command.connector_arguments, command.get_raw_value()):
        for text in (str(shown), repr(shown)):
            assert "PRIVATE" not in text
            assert base64.b64encode(payload.packed).decode()[:40] not in text


def test_apply_knows_every_kind_of_action(change: Change, world: Any) -> None:
    kinds = {action[0] for action in unpacked(Payload(change, world.material()))[0]} | {"drop", "dirty", "forget"}
    assert {kind for kind in kinds if f"each {kind};" not in APPLY} == set()
