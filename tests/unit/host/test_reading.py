"""From what read.sh prints to a Reading. reading.txt is what it printed on a lab host."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from kubeup.host.reading import HostReading, parse

LINES = (Path(__file__).parent / "reading.txt").read_text().splitlines()


def test_what_the_host_is() -> None:
    facts = parse(LINES).facts

    assert (facts.os, facts.os_version, facts.arch, facts.cgroup, facts.init) == ("debian", "12", "amd64", 1, "systemd")
    assert (facts.systemd, facts.cpus, facts.nofile, facts.memory_kib) == (252, 2, 20000, 24684084)
    assert facts.kmsg
    rights = (facts.owns_kernel, facts.apparmor, facts.conntrack_writable, facts.can_lower_oom_score)
    assert rights == (False, False, False, False)
    assert {"tar", "flock", "iptables"} <= facts.commands
    assert ("cni0", IPv4Interface("172.16.0.1/24")) in facts.addresses
    assert facts.device_of(IPv4Address("10.79.1.3")) == "eth0"
    assert facts.device_of(IPv4Address("10.79.1.4")) is None
    assert ("10.79.1.0/24", "eth0") in [(str(network), device) for network, device in facts.routes]
    assert len(facts.routes) == 3  # without the default route
    assert {22, 10250} <= facts.listening
    assert facts.disks == (("/", 67139408),)
    assert "/etc/kubernetes/kubelet.conf" in facts.present
    assert facts.upstream_resolv_conf() is None  # Docker's nameserver is on loopback


def test_what_the_host_holds() -> None:
    reading = parse(LINES)

    assert reading.cluster is not None
    assert reading.cluster[0] == "unitfix"
    kinds = {kind for kind, _ in reading.record}
    assert kinds == {
        "blob",
        "cleanup",
        "cluster",
        "dir",
        "file",
        "link",
        "module",
        "package",
        "parent",
        "sysctl",
        "unit",
    }
    unit = reading.units["kubelet.service"]
    assert (unit.active, unit.sub, unit.enabled, unit.needs_reload) == ("active", "running", "enabled", False)
    key = reading.stats["/etc/kubernetes/pki/kubelet.key"]
    assert (key.mode, key.owner, key.kind) == (0o600, "0:0", "regular file")
    assert (
        reading.hashes[key_path := "/etc/kubernetes/pki/kubelet.key"]
        == (reading.record["file", key_path].have.split()[0])
    )
    assert reading.links["/opt/kubeup/bin/kubelet"].endswith("/kubelet")
    assert reading.sysctls["net.ipv4.ip_forward"] == "1"
    assert reading.modules == {"overlay", "br_netfilter"}
    assert reading.packages == {"iptables"}
    assert reading.texts == {"/etc/crictl.yaml": "runtime-endpoint: unix:///run/containerd/containerd.sock\n"}


def test_no_large_file_is_hashed_by_a_quick_reading() -> None:
    reading = parse(LINES)
    assert not {name for kind, name in reading.record if kind == "blob"} & set(reading.hashes)


@pytest.mark.parametrize("kept", [0, 1, 40, len(LINES) - 1])
def test_an_answer_that_was_cut_off_is_no_answer(kept: int) -> None:
    with pytest.raises(ValueError, match="cut off"):
        parse(LINES[:kept])


def test_an_answer_that_was_cut_off_within_a_line_is_no_answer() -> None:
    with pytest.raises(ValueError, match="cut off"):
        parse([*LINES[:-1], "en"])


def test_a_limit_that_is_none() -> None:
    lines = [line.replace("nofile\t20000", "nofile\tunlimited") for line in LINES]
    assert parse(lines).facts.nofile == 0


def test_a_bare_host_holds_nothing() -> None:
    bare = [line for line in LINES if line.split("\t")[0] not in ("record", "hash", "stat", "unit", "link", "sysctl")]
    reading = parse(bare)
    assert (reading.record, reading.cluster) == ({}, None)


@pytest.mark.parametrize(
    ("nameservers", "expected"),
    [
        ((), None),
        ((("/a", "127.0.0.53"),), None),
        ((("/a", "127.0.0.53"), ("/b", "10.0.0.1")), "/b"),
        ((("/a", "10.0.0.1"), ("/a", "127.0.0.1"), ("/b", "10.0.0.1")), "/b"),
        ((("/a", "::1"), ("/a", "10.0.0.1")), None),
        ((("/a", "10.0.0.1"), ("/b", "10.0.0.2")), "/a"),
    ],
)
def test_a_nameserver_on_loopback_is_none_for_pods(
    nameservers: tuple[tuple[str, str], ...], expected: str | None
) -> None:
    lines = [line for line in LINES if not line.startswith("nameserver")]
    extra = [f"nameserver\t{path}\t{server}" for path, server in nameservers]
    assert parse([*extra, *lines]).facts.upstream_resolv_conf() == expected


def test_the_command_asks_for_depth_and_contents() -> None:
    quick, deep = HostReading().command(("/a b",)).get_raw_value(), HostReading().command(deep=True).get_raw_value()
    assert quick.endswith("kubeup quick any '/a b'")
    assert deep.endswith("kubeup deep any")


def test_links_ways_and_the_kernel() -> None:
    more = ("mtu\teth0\t1500", "neighbours\t10.79.1.0/24", "beyond\t10.79.1.9", "offers\tip_vs", "fact\tpath_mtu\t1400")
    facts = parse([*LINES[:-1], *more, "end"]).facts
    assert (facts.mtu_of(IPv4Address("10.79.1.3")), facts.mtu_of(IPv4Address("10.79.1.4"))) == (1500, 0)
    assert facts.neighbours == (IPv4Network("10.79.1.0/24"),)
    found = [facts.is_neighbour(IPv4Address(address)) for address in ("10.79.1.4", "10.79.1.9", "10.79.2.1")]
    assert found == [True, False, False]
    assert facts.kernel_offers == {"ip_vs"}
    assert facts.path_mtu == 1400
    assert parse([*LINES[:-1], "fact\tpath_mtu\tx", "end"]).facts.path_mtu == parse(LINES).facts.path_mtu == 0
