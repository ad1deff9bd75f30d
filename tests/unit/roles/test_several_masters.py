"""The balancer of each node, and the virtual address."""

import re
from ipaddress import IPv4Address
from typing import Any

import pytest

from kubeup.checks.preflight import BALANCER_PORT as CHECKED_PORT
from kubeup.cluster.rules import FIXED_PORTS
from kubeup.host.resources import Certificate, File, Package, Unit
from kubeup.roles.common import BALANCER_PORT

VIP = "10.0.0.100"


def held(world: Any, cluster: Any, node: Any, kind: type, **facts: Any) -> dict[str, Any]:
    resources = [r for _, r in world.desired(cluster, node, **facts).values() if isinstance(r, kind)]
    return {r.key[1]: r for r in resources}


def haproxy(world: Any, cluster: Any, node: Any, **facts: Any) -> str:
    config: File = held(world, cluster, node, File, **facts)["/etc/haproxy/haproxy.cfg"]
    return config.content


def keepalived(world: Any, cluster: Any, node: Any) -> str:
    config: File = held(world, cluster, node, File)["/etc/keepalived/keepalived.conf"]
    return config.content


def test_one_master_needs_no_balancer(world: Any) -> None:
    cluster = world.cluster("ai i")
    for node in cluster.nodes:
        assert not {"haproxy", "keepalived"} & set(held(world, cluster, node, Package))


def test_every_node_asks_all_masters(world: Any) -> None:
    cluster = world.cluster("a a a i")
    for node in cluster.nodes:
        config = haproxy(world, cluster, node)
        assert re.findall(r"^ +server (\S+) (\S+)", config, re.MULTILINE) == [
            (f"n{i}", f"10.0.0.{i}:6443") for i in (1, 2, 3)
        ]
        assert "bind 127.0.0.1:6444\n" in config
        for conf in ("kubelet", "kube-proxy"):
            text = held(world, cluster, node, File)[f"/etc/kubernetes/{conf}.conf"].content
            assert f"server: https://127.0.0.1:{BALANCER_PORT}" in text


def test_the_port_of_the_balancer_is_one(world: Any) -> None:
    assert CHECKED_PORT == BALANCER_PORT
    assert "balancer" in FIXED_PORTS[BALANCER_PORT]


def test_another_api_port(world: Any) -> None:
    cluster = world.cluster("ai ai ai", api_port=8443, api={"address": VIP})
    config = haproxy(world, cluster, cluster.nodes[0])
    assert f"bind {VIP}:8443 transparent" in config
    assert "10.0.0.2:8443" in config


def test_masters_alone_serve_the_virtual_address(world: Any) -> None:
    cluster = world.cluster("ai a ai i", api={"address": VIP})
    for node in cluster.nodes:
        assert (VIP in haproxy(world, cluster, node)) is node.is_master
        assert ("keepalived" in held(world, cluster, node, Package)) is node.is_master


def test_without_a_virtual_address_there_is_no_keepalived(world: Any) -> None:
    for api in ({}, {"balancer": "lb.example.com"}):
        cluster = world.cluster("ai ai ai", api=api)
        assert "keepalived" not in held(world, cluster, cluster.nodes[0], Package)
        assert "transparent" not in haproxy(world, cluster, cluster.nodes[0])


def test_the_apiservers_certificate_is_for_what_clients_call_it(world: Any) -> None:
    def names(api: dict[str, str]) -> tuple[set[str], set[IPv4Address]]:
        cluster = world.cluster("ai ai ai", api=api)
        certificate: Certificate = held(world, cluster, cluster.nodes[1], Certificate)[
            "/etc/kubernetes/pki/apiserver.crt"
        ]
        return set(certificate.spec.dns_names), set(certificate.spec.addresses)

    assert IPv4Address(VIP) in names({"address": VIP})[1]
    assert "lb.example.com" in names({"balancer": "lb.example.com:443"})[0]
    assert IPv4Address("10.0.9.9") in names({"balancer": "10.0.9.9"})[1]


def test_keepalived_of_each_master_knows_the_others(world: Any) -> None:
    cluster = world.cluster("ai ai ai", api={"address": VIP})
    configs = [keepalived(world, cluster, node) for node in cluster.masters]
    for node, config in zip(cluster.masters, configs, strict=True):
        peers = re.search(r"unicast_peer \{\n([^}]*)\}", config)
        assert peers
        assert set(peers[1].split()) == {str(m.address) for m in cluster.masters} - {str(node.address)}
        assert f"unicast_src_ip {node.address}" in config
        assert f"{VIP}/32" in config
        assert "interface eth0" in config
        assert "nopreempt" in config
        assert "state BACKUP" in config
    # The masters agree on which group it is, and never on their priority.
    assert len({re.search(r"virtual_router_id (\d+)", c)[1] for c in configs}) == 1  # type: ignore[index]
    assert len({re.search(r"priority (\d+)", c)[1] for c in configs}) == 3  # type: ignore[index]


@pytest.mark.parametrize("address", ["10.0.0.0", "10.0.0.255", "10.0.1.254", "10.255.255.255"])
def test_the_groups_number_is_one_that_vrrp_has(world: Any, address: str) -> None:
    cluster = world.cluster("ai ai ai", api={"address": address})
    found = re.search(r"virtual_router_id (\d+)", keepalived(world, cluster, cluster.nodes[0]))
    assert found
    assert 1 <= int(found[1]) <= 255


def test_a_single_master_can_have_the_address_too(world: Any) -> None:
    """So that kubeconfigs need not change when more masters come."""
    cluster = world.cluster("ai i", api={"address": VIP})
    master = cluster.masters[0]
    assert "unicast_peer" not in keepalived(world, cluster, master)
    check: File = held(world, cluster, master, File)["/opt/kubeup/lib/apiserver-ready"]
    assert "https://127.0.0.1:6443/readyz" in check.content


def test_the_address_moves_when_the_api_cannot_be_reached_through_its_holder(world: Any) -> None:
    cluster = world.cluster("ai ai ai", api={"address": VIP})
    check: File = held(world, cluster, cluster.nodes[0], File)["/opt/kubeup/lib/apiserver-ready"]
    assert f"https://127.0.0.1:{BALANCER_PORT}/readyz" in check.content
    assert f'script "{check.path}"' in keepalived(world, cluster, cluster.nodes[0])
    assert check.mode == 0o755  # keepalived runs no script that others may write


def test_the_health_checks_certificate_opens_nothing(world: Any) -> None:
    cluster = world.cluster("ai ai ai", api={"address": VIP})
    certificates = held(world, cluster, cluster.nodes[0], Certificate)
    for path in ("/etc/haproxy/kubeup.crt", "/etc/keepalived/kubeup.crt"):
        spec = certificates[path].spec
        assert (spec.common_name, spec.organizations, spec.usages) == ("kubeup:health-check", (), ("client",))


@pytest.mark.parametrize(
    ("os", "version", "drains"),
    [
        ("debian", "12", True),
        ("debian", "", True),  # testing
        ("ubuntu", "20.04", False),
        ("ubuntu", "22.04", True),
        ("rocky", "8.9", False),
        ("rocky", "9.3", True),
        ("centos", "7", False),
        ("linuxmint", "21", True),
    ],
)
def test_an_older_haproxy_is_not_told_what_it_does_not_know(world: Any, os: str, version: str, drains: bool) -> None:
    cluster = world.cluster("ai ai ai")
    config = haproxy(world, cluster, cluster.nodes[0], os=os, os_version=version)
    assert ("error-status" in config) is drains


@pytest.mark.parametrize(("minions", "expected"), [(1, 1), (95, 1), (150, 2), (220, 3)])
def test_many_nodes_ask_less_often(world: Any, minions: int, expected: int) -> None:
    cluster = world.cluster("ai ai ai" + " i" * minions, flannel_net="172.16.0.0/12")
    assert " inter 1s " in haproxy(world, cluster, cluster.nodes[0])
    assert f" inter {expected}s " in haproxy(world, cluster, cluster.nodes[3])


def test_an_apiserver_says_that_it_will_stop_where_others_can_take_over(world: Any) -> None:
    def stops(roles: str) -> bool:
        cluster = world.cluster(roles)
        unit: Unit = held(world, cluster, cluster.nodes[0], Unit)["kube-apiserver.service"]
        assert "--permit-port-sharing=true" in unit.content  # else the balancer could not have the virtual address
        return "--shutdown-delay-duration=" in unit.content

    assert stops("ai ai ai")
    assert not stops("ai i")


def test_haproxy_is_restarted_for_a_new_certificate(world: Any) -> None:
    cluster = world.cluster("ai ai ai")
    unit: Unit = held(world, cluster, cluster.nodes[0], Unit)["haproxy.service"]
    assert ("file", "/etc/haproxy/kubeup.crt") in unit.inputs
    assert ("file", "/etc/haproxy/haproxy.cfg") in unit.inputs


INGRESS = {"traefik": {"nodes": ["n2", "n3"]}, "ingress-vip": {"address": "10.0.0.101"}}


def test_the_address_for_ingress_moves_among_its_nodes(world: Any) -> None:
    cluster = world.cluster("ai i i i", addons=INGRESS)
    for node in cluster.nodes:
        files = held(world, cluster, node, File)
        if node.name not in ("n2", "n3"):
            assert "/etc/keepalived/keepalived.conf" not in files
            assert "keepalived" not in held(world, cluster, node, Package)
            continue
        config = keepalived(world, cluster, node)
        peers = re.search(r"unicast_peer \{\n([^}]*)\}", config)
        assert peers
        assert peers[1].split() == ["10.0.0.3" if node.name == "n2" else "10.0.0.2"]
        assert "10.0.0.101/32" in config
        assert "vrrp_instance api" not in config
        check = files["/opt/kubeup/lib/ingress-ready"]
        assert f'script "{check.path}"' in config
        assert f"connect --timeout 2s {node.address}:80" in check.content
        # Nothing of the API's is needed for it.
        assert "/etc/keepalived/kubeup.crt" not in held(world, cluster, node, Certificate)


def test_without_nodes_of_its_own_it_moves_among_traefiks(world: Any) -> None:
    addons = {"traefik": "on", "ingress-vip": {"address": "10.0.0.101"}}
    assert [n.name for n in world.cluster("a i i", addons=addons).ingress_nodes] == ["n2", "n3"]
    addons["ingress-vip"] = {"address": "10.0.0.101", "nodes": ["n3"]}
    assert [n.name for n in world.cluster("a i i", addons=addons).ingress_nodes] == ["n3"]


def test_one_keepalived_keeps_both_addresses(world: Any) -> None:
    # The two addresses would get the same number in a /16: 10.0.1.99 and 10.0.0.100 differ by 255.
    cluster = world.cluster(
        "ai ai ai", api={"address": "10.0.0.100"}, addons={"traefik": "on", "ingress-vip": {"address": "10.0.1.99"}}
    )
    config = keepalived(world, cluster, cluster.nodes[0])
    assert re.findall(r"vrrp_instance (\w+)", config) == ["api", "ingress"]
    assert len(set(re.findall(r"virtual_router_id (\d+)", config))) == 2
    unit: Unit = held(world, cluster, cluster.nodes[0], Unit)["keepalived.service"]
    for address in ("10.0.0.100", "10.0.1.99"):
        assert f"ip address delete {address}/32" in unit.content
    for path in ("/opt/kubeup/lib/apiserver-ready", "/opt/kubeup/lib/ingress-ready"):
        assert ("file", path) in unit.inputs
