"""What differs between distributions."""

import re
from dataclasses import replace
from typing import Any

import pytest

from kubeup.host.families import DEBIAN, EL, family_of
from kubeup.host.resources import File, Package, Unit


@pytest.mark.parametrize(
    ("os", "like", "version", "family", "iptables"),
    [
        ("debian", "", "12", DEBIAN, "iptables"),
        ("debian", "", "", DEBIAN, "iptables"),
        ("ubuntu", "debian", "24.04", DEBIAN, "iptables"),
        ("linuxmint", "ubuntu debian", "21", DEBIAN, "iptables"),
        ("centos", "rhel fedora", "7", EL, "iptables"),
        ("rhel", "fedora", "8.10", EL, "iptables"),
        ("rocky", "rhel centos fedora", "9.4", EL, "iptables-nft"),
        ("almalinux", "rhel centos fedora", "10.0", EL, "iptables-nft"),
    ],
)
def test_families(world: Any, os: str, like: str, version: str, family: Any, iptables: str) -> None:
    facts = replace(world.facts, os=os, os_like=tuple(like.split()), os_version=version)
    assert facts.family is family
    assert facts.package("iptables") == iptables
    assert facts.package("haproxy") == "haproxy"


@pytest.mark.parametrize(("os", "like"), [("arch", ""), ("fedora", ""), ("opensuse-leap", "suse opensuse"), ("", "")])
def test_an_unknown_family_is_none(os: str, like: str) -> None:
    assert family_of(os, tuple(like.split())) is None


def resources(world: Any, **facts: Any) -> dict[tuple[str, str], Any]:
    cluster = world.cluster("ai i")
    return {key: value for key, (_, value) in world.desired(cluster, cluster.nodes[0], **facts).items()}


def test_a_plain_host_gets_nothing_for_firewalls_and_the_like(world: Any) -> None:
    own = resources(world)
    assert not [
        key for key in own if "firewall" in key[1] or "networkmanager" in key[1].lower() or "kubeup-time" in key[1]
    ]


@pytest.mark.parametrize("kind", ["firewalld", "ufw"])
def test_a_firewall_is_opened_for_the_others_pods_and_clients(world: Any, kind: str) -> None:
    unit = resources(world, firewall=kind)["unit", "kubeup-firewall.service"]
    assert isinstance(unit, Unit)
    assert f'open {kind} "10.0.0.2 172.16.0.0/16" "6443/tcp 30000-32767/tcp 30000-32767/udp"' in unit.content
    cluster = world.cluster("ai i")
    minion = world.desired(cluster, cluster.nodes[1], firewall=kind)["unit", "kubeup-firewall.service"][1]
    assert "6443" not in minion.content


@pytest.mark.parametrize(
    ("addons", "nodes"),
    [
        ({"traefik": "on"}, ["n1", "n3"]),
        ({"traefik": {"nodes": ["n2", "n3"]}}, ["n2", "n3"]),
        ({"traefik": {"nodes": ["n2", "n3"]}, "ingress-vip": {"address": "10.0.0.99", "nodes": ["n3"]}}, ["n2", "n3"]),
        ({"ingress-vip": {"address": "10.0.0.99", "nodes": ["n2"]}}, ["n2"]),  # before an ingress of the user's own
        ({}, []),
    ],
)
def test_a_firewall_is_opened_for_http_where_it_is_taken_in(world: Any, addons: Any, nodes: list[str]) -> None:
    cluster = world.cluster("ai a i etcd", addons=addons)
    services = "30000-32767/tcp 30000-32767/udp"
    ports = {}
    for host in cluster.hosts:
        unit = world.desired(cluster, host, firewall="ufw")["unit", "kubeup-firewall.service"][1]
        ports[host.name] = re.findall(r'"([^"]*)"', unit.content)[1]
    http = {name: "80/tcp 443/tcp " if name in nodes else "" for name in ports}
    assert ports == {
        "n1": f"6443/tcp {http['n1']}{services}",
        "n2": f"6443/tcp {http['n2']}{services}",
        "n3": f"{http['n3']}{services}",
        "n4": "",
    }


def test_a_firewall_is_opened_for_who_pushes_images(world: Any) -> None:
    cluster = world.cluster("a i i", addons={"registry": {"node": "n3"}})
    units = {
        n.name: world.desired(cluster, n, firewall="ufw")["unit", "kubeup-firewall.service"][1] for n in cluster.hosts
    }
    assert [name for name, unit in units.items() if " 5000/tcp" in f" {unit.content}".replace('"', " ")] == ["n3"]


def test_network_manager_is_told(world: Any) -> None:
    config = resources(world, network_manager=True)["file", "/etc/NetworkManager/conf.d/kubeup.conf"]
    assert isinstance(config, File)
    assert "interface-name:cni0;interface-name:flannel.1" in config.content


@pytest.mark.parametrize(("os", "package", "unit"), [("debian", "systemd-timesyncd", "systemd-timesyncd"),
                                                     ("rocky", "chrony", "chronyd")])  # fmt: skip
def test_a_host_whose_clock_nobody_keeps_gets_who_does(world: Any, os: str, package: str, unit: str) -> None:
    own = resources(world, os=os, os_version="12", owns_kernel=True, time_service="")
    assert isinstance(own["package", package], Package)
    assert f"systemctl start {unit}.service" in own["unit", "kubeup-time.service"].content
    # One that does it already stays alone, and a container has the clock of its machine.
    for facts in ({"owns_kernel": True, "time_service": "ntpd"}, {"owns_kernel": False}):
        assert ("package", package) not in resources(world, os=os, os_version="12", **facts)
