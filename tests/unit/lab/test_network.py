from ipaddress import IPv4Network
from itertools import islice

import pytest

from kubeup.lab import network
from kubeup.lab.network import POOL, free_subnets, parse_docker_networks, parse_routes

ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""

NETWORKS = """[
  {"Name": "bridge", "IPAM": {"Config": [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]}},
  {"Name": "host", "IPAM": {"Config": []}},
  {"Name": "none", "IPAM": {"Config": null}},
  {"Name": "both", "IPAM": {"Config": [{"Subnet": "fd00:1::/64"}, {"Subnet": "10.79.4.0/24"}]}}
]"""


def nets(*texts: str) -> list[IPv4Network]:
    return [IPv4Network(text) for text in texts]


def test_the_lowest_free_subnets_come_first() -> None:
    taken = nets("10.79.0.0/24", "10.79.2.128/25", "192.168.0.0/16")

    assert list(islice(free_subnets(taken), 3)) == nets("10.79.1.0/24", "10.79.3.0/24", "10.79.4.0/24")


def test_a_machine_that_uses_all_of_the_pool_leaves_nothing() -> None:
    assert list(free_subnets(nets("10.0.0.0/8"))) == []


def test_the_pool_overlaps_no_default_network_of_a_cluster() -> None:
    assert not any(map(POOL.overlaps, nets("192.168.3.0/24", "172.16.0.0/16")))


def test_routes_are_read_without_the_default_route() -> None:
    assert parse_routes(ROUTES) == nets("172.17.0.0/16", "192.0.2.0/24")


def test_docker_networks_are_read_without_ipv6() -> None:
    assert parse_docker_networks(NETWORKS) == nets("172.17.0.0/16", "10.79.4.0/24")


@pytest.mark.parametrize("outside", [True, False])
def test_a_network_without_a_way_out_is_internal(monkeypatch: pytest.MonkeyPatch, outside: bool) -> None:
    called: list[tuple[str, ...]] = []
    monkeypatch.setattr(network, "docker_lines", lambda *_: [])
    monkeypatch.setattr(network, "docker", lambda *words, **_: called.append(words))

    subnet = network.make_network("kubeup-lab-demo", ["kubeup.lab=demo"], outside=outside)

    assert str(subnet) in called[-1]
    assert ("--internal" in called[-1]) is not outside
