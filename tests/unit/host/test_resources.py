"""What a host can hold."""

from dataclasses import replace

import pytest

from kubeup.cluster import CertificateSpec
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
    RoleConflict,
    Secret,
    Sysctl,
    Unit,
    digest,
    union,
    unit,
)

SPEC = CertificateSpec("me", "kubernetes", ("client",))


def test_a_digest_knows_the_borders_of_its_parts() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("ab", "c") != digest("abc")
    assert digest("a", 1) == digest(b"a", "1")


@pytest.mark.parametrize(
    ("resource", "other"),
    [
        (File("/f", "a"), File("/f", "b")),
        (File("/f", "a"), File("/f", "a", mode=0o600)),
        (Secret("/s", "ca", "1"), Secret("/s", "ca", "2")),
        (Blob("/b", "etcd", "1"), Blob("/b", "etcd", "2")),
        (Blob("/b", "etcd", "1"), Blob("/b", "etcdctl", "1")),
        (Link("/l", "/a"), Link("/l", "/b")),
        (Directory("/d"), Directory("/d", mode=0o700)),
        (Sysctl("a", "1"), Sysctl("a", "2")),
        (Module("m", "/a"), Module("m", "/b")),
        (Package("p", "a"), Package("p", "b")),
        (Cleanup("c", "a"), Cleanup("c", "b")),
        (Unit("u", "a"), Unit("u", "b")),
        (Certificate("/c", "/k", SPEC, "1"), Certificate("/c", "/k", SPEC, "2")),
        (Certificate("/c", "/k", SPEC, "1"), Certificate("/c", "/k", replace(SPEC, common_name="you"), "1")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_another_want_is_wanted_under_the_same_key(resource: Resource, other: Resource) -> None:
    assert resource.key == other.key
    assert resource.want != other.want


def test_roles_may_ask_for_the_same_thing() -> None:
    directory = Directory("/d")
    assert union([("a", [directory]), ("b", [Directory("/d"), File("/f", "")])]) == {
        ("dir", "/d"): ("a", directory),
        ("file", "/f"): ("b", File("/f", "")),
    }


def test_roles_that_ask_for_different_things_are_a_fault() -> None:
    with pytest.raises(RoleConflict, match="roles a and b both claim the file /f"):
        union([("a", [File("/f", "a")]), ("b", [File("/f", "b")])])


def test_a_certificate_and_a_file_cannot_share_a_path() -> None:
    with pytest.raises(RoleConflict):
        union([("a", [Certificate("/f", "/k", SPEC, "1")]), ("b", [File("/f", "b")])])


def test_a_units_inputs_are_in_no_particular_order() -> None:
    a, b = File("/a", ""), Link("/b", "")
    assert unit("u", "", [b, a, b]) == unit("u", "", [a, b]) == Unit("u", "", (("file", "/a"), ("link", "/b")))
