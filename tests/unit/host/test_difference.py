"""The difference between what a host holds and what it shall hold."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kubeup.cluster import CertificateSpec
from kubeup.host.difference import Change, Item, difference
from kubeup.host.reading import Entry, Reading, UnitState
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

SPEC = CertificateSpec("me", "kubernetes", ("client",))
CONFIG = File("/etc/a.conf", "a")
SERVICE = unit("a.service", "[Unit]", [CONFIG])

OF_EACH_KIND: list[tuple[Resource, Resource]] = [
    # a resource, and another want under the same key
    (CONFIG, File("/etc/a.conf", "b")),
    (Secret("/etc/ca.key", "ca", "1"), Secret("/etc/ca.key", "ca", "2")),
    (Certificate("/etc/a.crt", "/etc/a.key", SPEC, "1"), Certificate("/etc/a.crt", "/etc/a.key", SPEC, "2")),
    (Blob("/opt/a", "a", "1"), Blob("/opt/a", "a", "2")),
    (Link("/opt/l", "/opt/a"), Link("/opt/l", "/opt/b")),
    (Directory("/var/lib/a"), Directory("/var/lib/a", mode=0o700)),
    (Sysctl("net.a", "1"), Sysctl("net.a", "0")),
    (Module("overlay", "/sys/module/overlay"), Module("overlay", "/sys/other")),
    (Package("iptables", "iptables"), Package("iptables", "nft")),
    (Cleanup("a", "exit 0"), Cleanup("a", "exit 1")),
    (unit("b.service", "[Unit]"), unit("b.service", "[Service]")),
]
each_kind = pytest.mark.parametrize(
    ("resource", "other"), OF_EACH_KIND, ids=[type(r).__name__.lower() for r, _ in OF_EACH_KIND]
)


def found(change: Change) -> list[tuple[str, str]]:
    return [(item.action, item.name) for item in change.items]


@pytest.fixture
def bare(world: Any) -> Reading:
    return Reading(world.facts)


@pytest.fixture
def host(world: Any) -> Callable[..., Reading]:
    """Makes the reading of a host that holds these resources."""
    return lambda *resources: world.holding(world.every(*resources), world.facts)


@each_kind
def test_what_is_absent_is_added(resource: Resource, other: Resource, world: Any, bare: Reading) -> None:
    change = difference("n1", world.every(resource), bare)
    (item,) = change.items
    assert (item.action, item.key, item.why, item.role, item.entry) == (
        *("add", resource.key, "is not there", "role"),
        None,
    )
    assert change


@each_kind
def test_what_is_as_placed_is_left_alone(resource: Resource, other: Resource, world: Any, host: Any) -> None:
    change = difference("n1", world.every(resource), host(resource))
    assert change.items == []
    assert not change


@each_kind
def test_another_want_is_a_change(resource: Resource, other: Resource, world: Any, host: Any) -> None:
    (item,) = difference("n1", world.every(other), host(resource)).items
    assert (item.action, item.why, item.resource) == ("change", "shall be another", other)
    assert item.entry is not None
    assert item.entry.before == "absent"


@each_kind
def test_what_a_killed_run_left_pending_is_finished(resource: Resource, other: Resource, world: Any, host: Any) -> None:
    reading = host(resource)
    reading.record[resource.key] = Entry("pending", "-", "saved")
    (item,) = difference("n1", world.every(resource), reading).items
    assert item.action == "change"
    assert item.entry == Entry("pending", "-", "saved")


@each_kind
def test_what_is_no_longer_wanted_is_removed(resource: Resource, other: Resource, host: Any) -> None:
    reading = host(resource)
    change = difference("n1", {}, reading)
    assert {(item.action, item.key) for item in change.items} == {("remove", key) for key in reading.record}
    assert all(item.entry == reading.record[item.key] for item in change.items)


def test_both_halves_of_a_certificate_go_the_last_placed_first() -> None:
    resource = Certificate("/etc/a.crt", "/etc/a.key", SPEC, "1")
    reading = Reading(None, {("file", "/etc/a.crt"): Entry("", "", ""), ("file", "/etc/a.key"): Entry("", "", "")})  # type: ignore[arg-type]
    assert resource.key == ("file", "/etc/a.crt")
    assert found(difference("n1", {}, reading, now=0)) == [("remove", "/etc/a.key"), ("remove", "/etc/a.crt")]


def altered(reading: Reading, resource: Resource) -> None:
    """What somebody could do to the resource on the host."""
    match resource:
        case Blob():
            stat = reading.stats[resource.path]
            reading.stats[resource.path] = replace(stat, mtime=stat.mtime + 1)
        case Link():
            reading.links[resource.path] = "/elsewhere"
        case Directory():
            del reading.stats[resource.path]
        case Sysctl():
            reading.sysctls[resource.name] = "7"
        case Module():
            reading.modules = frozenset()
        case Package():
            reading.packages = frozenset()
        case _:
            path = next(iter(reading.hashes))
            reading.hashes[path] = "another"


@each_kind
def test_what_was_altered_on_the_host_is_put_right(resource: Resource, other: Resource, world: Any, host: Any) -> None:
    reading = host(resource)
    altered(reading, resource)
    (item,) = difference("n1", world.every(resource), reading).items
    assert (item.action, item.why) == ("change", "was altered on the host")


WITH_A_FILE = [resource for resource, _ in OF_EACH_KIND[:4]] + [Cleanup("a", "exit 0")]


@pytest.mark.parametrize("resource", WITH_A_FILE, ids=lambda r: type(r).__name__.lower())
def test_what_has_gone_is_put_back(resource: Resource, world: Any, host: Any) -> None:
    reading = host(resource)
    path = next(iter(reading.stats))
    del reading.stats[path]
    reading.hashes.pop(path, None)
    (item,) = difference("n1", world.every(resource), reading).items
    assert (item.action, item.why) == ("change", "has gone")


@pytest.mark.parametrize("resource", WITH_A_FILE, ids=lambda r: type(r).__name__.lower())
def test_a_mode_that_was_changed_is_put_right(resource: Resource, world: Any, host: Any) -> None:
    reading = host(resource)
    for path in reading.stats:
        reading.stats[path] = replace(reading.stats[path], mode=0o666)
    (item,) = difference("n1", world.every(resource), reading).items
    assert item.action == "change"
    if not isinstance(resource, Blob):
        assert "has mode 0666, not 06" in item.why


def test_a_directory_in_whose_place_there_is_a_file(world: Any, host: Any) -> None:
    directory = Directory("/var/lib/a")
    reading = host(directory)
    reading.stats[directory.path] = replace(reading.stats[directory.path], kind="regular file")
    assert found(difference("n1", world.every(directory), reading)) == [("change", "/var/lib/a")]


def test_a_file_that_belongs_to_somebody_else_is_taken_back(world: Any, host: Any) -> None:
    reading = host(CONFIG)
    reading.stats[CONFIG.path] = replace(reading.stats[CONFIG.path], owner="1000:0")
    (item,) = difference("n1", world.every(CONFIG), reading).items
    assert item.why == "belongs to 1000:0, not to root"


def test_the_key_of_a_certificate_counts_too(world: Any, host: Any) -> None:
    certificate = Certificate("/etc/a.crt", "/etc/a.key", SPEC, "1")
    for spoil in ("hashes", "stats", "record"):
        reading = host(certificate)
        table = getattr(reading, spoil)
        del table[("file", "/etc/a.key") if spoil == "record" else "/etc/a.key"]
        assert found(difference("n1", world.every(certificate), reading)) == [("change", "/etc/a.crt")], spoil


def test_a_large_file_is_hashed_only_by_a_deep_reading(world: Any, host: Any) -> None:
    blob = Blob("/opt/a", "a", "1")
    reading = host(blob)
    reading.hashes[blob.path] = world.artifact("a", "1").sha256
    assert not difference("n1", world.every(blob), reading)
    reading.hashes[blob.path] = "another"
    assert found(difference("n1", world.every(blob), reading)) == [("change", "/opt/a")]


MONTH = 30 * 24 * 3600


@pytest.mark.parametrize(("left", "expected"), [(MONTH - 1, "ends soon"), (MONTH + 1, None), (0, "has expired")])
def test_a_certificate_near_its_end_is_issued_anew(left: int, expected: str | None, world: Any, host: Any) -> None:
    certificate = Certificate("/etc/a.crt", "/etc/a.key", SPEC, "1")
    reading = host(certificate)
    end = float(reading.record[certificate.key].have.split()[1])
    items = difference("n1", world.every(certificate), reading, now=end - left).items
    assert [item.why for item in items] == ([expected] if expected else [])


def test_time_is_the_hosts_own(world: Any, host: Any) -> None:
    certificate = Certificate("/etc/a.crt", "/etc/a.key", SPEC, "1")
    reading = host(certificate)
    end = int(reading.record[certificate.key].have.split()[1])
    reading.facts = replace(reading.facts, clock=end)
    assert [item.why for item in difference("n1", world.every(certificate), reading).items] == ["has expired"]


def test_a_short_lived_certificate_is_renewed_after_two_thirds_of_its_life(world: Any, host: Any) -> None:
    certificate = Certificate("/etc/a.crt", "/etc/a.key", SPEC, "1")
    reading = host(certificate)
    reading.record[certificate.key] = replace(reading.record[certificate.key], have="a 900 0")
    reading.hashes[certificate.path] = "a"
    whys = [difference("n1", world.every(certificate), reading, now=now).items for now in (599, 601)]
    assert [[item.why for item in items] for items in whys] == [[], ["ends soon"]]


@pytest.mark.parametrize(
    ("rereads", "left", "restarted"), [(True, 1, False), (False, 1, True), (True, 0, True), (True, -5, True)]
)
def test_who_reads_a_renewed_certificate_by_itself_is_restarted_only_when_it_is_too_late(
    rereads: bool, left: int, restarted: bool, world: Any, host: Any
) -> None:
    certificate = Certificate("/etc/a.crt", "/etc/a.key", SPEC, "1")
    service = unit("a.service", "[Unit]", [certificate], rereads=rereads)
    reading = host(certificate, service)
    end = float(reading.record[certificate.key].have.split()[1])
    names = [item.name for item in difference("n1", world.every(certificate, service), reading, now=end - left).items]
    assert names == ["/etc/a.crt", *(["a.service"] if restarted else [])]


def test_another_authority_restarts_who_reads_renewed_certificates_by_itself_too(world: Any, host: Any) -> None:
    before, after = (Certificate("/etc/a.crt", "/etc/a.key", SPEC, authority) for authority in "12")
    reading = host(before, unit("a.service", "[Unit]", [before], rereads=True))
    change = difference("n1", world.every(after, unit("a.service", "[Unit]", [after], rereads=True)), reading)
    assert found(change) == [("change", "/etc/a.crt"), ("restart", "a.service")]


def test_which_certificates_are_renewed_can_be_chosen(world: Any, host: Any) -> None:
    one, two = (Certificate(f"/etc/{name}.crt", f"/etc/{name}.key", SPEC, "1") for name in "ab")
    change = difference(
        "n1", world.every(one, two), host(one, two), renewal=lambda c, *_: "is wanted" if c is two else ""
    )
    assert [(item.name, item.why) for item in change.items] == [("/etc/b.crt", "is wanted")]


# Units


def test_a_unit_is_restarted_when_its_input_changes(world: Any, host: Any) -> None:
    changed = File(CONFIG.path, "b")
    after = unit("a.service", "[Unit]", [changed])
    change = difference("n1", world.every(changed, after), host(CONFIG, SERVICE))
    assert found(change) == [("change", "/etc/a.conf"), ("restart", "a.service")]
    assert change.items[1].why == "uses /etc/a.conf"


def test_a_unit_is_left_alone_when_something_else_changes(world: Any, host: Any) -> None:
    other = File("/etc/other", "b")
    change = difference("n1", world.every(CONFIG, other, SERVICE), host(CONFIG, SERVICE))
    assert found(change) == [("add", "/etc/other")]


def test_a_unit_comes_after_its_inputs_however_they_are_given(world: Any, bare: Reading) -> None:
    assert [item.name for item in difference("n1", world.every(SERVICE, CONFIG), bare).items] == [
        "/etc/a.conf",
        "a.service",
    ]


def test_a_unit_that_runs_with_older_inputs_is_restarted(world: Any, host: Any) -> None:
    """As after a kill between placing the input and restarting the unit."""
    reading = host(CONFIG, SERVICE)
    entry = reading.record[SERVICE.key]
    reading.record[SERVICE.key] = replace(entry, have=entry.have.split()[0] + " older")
    (item,) = difference("n1", world.every(CONFIG, SERVICE), reading).items
    assert (item.action, item.why) == ("restart", "runs with older inputs")


def test_a_unit_with_another_file_is_changed_and_not_only_restarted(world: Any, host: Any) -> None:
    after = unit("a.service", "[Service]", [CONFIG])
    (item,) = difference("n1", world.every(CONFIG, after), host(CONFIG, SERVICE)).items
    assert (item.action, item.resource) == ("change", after)


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (UnitState("active", "running", "enabled", False), None),
        (UnitState("active", "exited", "enabled", False), None),
        (UnitState("activating", "start", "enabled", False), None),
        (UnitState("activating", "start-post", "enabled", False), None),
        (UnitState("activating", "auto-restart", "enabled", False), "is activating (auto-restart)"),
        (UnitState("inactive", "dead", "enabled", False), "is inactive (dead)"),
        (UnitState("failed", "failed", "enabled", False), "is failed (failed)"),
        (UnitState("active", "running", "disabled", False), "is disabled"),
        (UnitState("active", "running", "", False), "is not enabled"),
        (UnitState("active", "running", "enabled", True), "was loaded before its file changed"),
        (None, "is unknown to systemd"),
    ],
)
def test_a_unit_that_does_not_run_as_it_should(state: UnitState | None, why: str | None, world: Any, host: Any) -> None:
    reading = host(CONFIG, SERVICE)
    if state is None:
        del reading.units[SERVICE.name]
    else:
        reading.units[SERVICE.name] = state
    items = difference("n1", world.every(CONFIG, SERVICE), reading).items
    assert [(item.action, item.why) for item in items] == ([("restart", why)] if why else [])


def test_an_input_that_nobody_asks_for_is_a_fault(world: Any, bare: Reading) -> None:
    with pytest.raises(KeyError):
        difference("n1", world.every(SERVICE), bare)


# The record


def test_what_belongs_to_the_record_itself_is_never_removed(bare: Reading) -> None:
    bare.record = {("parent", "/etc/a"): Entry("-", "-", "-"), ("cluster", "demo"): Entry("1", "-", "-")}
    assert not difference("n1", {}, bare)


def test_a_change_can_be_taken_in_parts() -> None:
    items = [Item("add", ("file", "/a"), ""), Item("remove", ("file", "/b"), "")]
    change = Change("n1", items, cluster=("demo", "1"), forget=True)
    part = change.part(lambda item: item.action == "remove")
    assert (part.host, part.items, part.cluster, part.forget) == ("n1", items[1:], ("demo", "1"), False)


def test_a_change_of_nothing_is_false_unless_all_is_to_be_forgotten() -> None:
    assert not Change("n1", cluster=("demo", "1"))
    assert Change("n1", forget=True)


@pytest.mark.parametrize("roles", ["ai i i", "ai ai ai", "a i"])
def test_up_twice_is_up_once(roles: str, world: Any) -> None:
    cluster = world.cluster(roles)
    for node in cluster.nodes:
        desired = world.desired(cluster, node)
        first = difference(node.name, desired, Reading(world.host(node)))
        assert len(first.items) == len(desired)
        assert {item.action for item in first.items} == {"add"}
        assert difference(node.name, desired, world.holding(desired, world.host(node))).items == []


def test_a_path_that_changes_its_kind_is_taken_over(world: Any) -> None:
    """A file where a link was: the link's record goes, the file stays, and what was there before both is not lost."""
    reading = world.holding(world.every(Link("/usr/bin/a", "/opt/a")), world.facts)
    reading.record[("link", "/usr/bin/a")] = Entry("want", "/opt/a", "saved")
    change = difference("n1", world.every(File("/usr/bin/a", "#!")), reading)
    assert [(item.key, item.entry.before) for item in change.items if item.entry] == [
        (("file", "/usr/bin/a"), "saved"),
        (("link", "/usr/bin/a"), "superseded"),
    ]
