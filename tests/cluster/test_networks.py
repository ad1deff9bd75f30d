"""The pods' network in its variants: flannel's backends, a narrow way between hosts, a network of the user's own."""

import json
import re

import pytest

from .conftest import NewLab
from .support import Deployed, kubeup

pytestmark = pytest.mark.slow


def routes(cluster: Deployed, name: str) -> list[str]:
    """A host's routes to other nodes' pods: through which address and link."""
    return re.findall(r"^172\.16\.\d+\.0/24 via (\S+ dev \S+)", cluster.on(name, "ip -4 route"), re.MULTILINE)


def links(cluster: Deployed, name: str) -> set[str]:
    return set(re.findall(r"^\d+: ([\w.]+)", cluster.on(name, "ip -o link"), re.MULTILINE))


def pod_mtus(cluster: Deployed, name: str) -> set[int]:
    """The sizes of packets in a host's pods, and of its bridge."""
    script = "ip -o link show cni0; for n in /run/netns/cni-*; do nsenter --net=$n ip -o link show eth0; done"
    return {int(mtu) for mtu in re.findall(r" mtu (\d+)", cluster.on(name, script, check=False))}


def set_inventory(cluster: Deployed, was: str, *lines: str) -> None:
    cluster.lab.inventory.write_text(was + "".join(f"{line}\n" for line in lines))
    cluster.kubeup("up")


def test_another_backend_leaves_nothing_of_the_old_one(new_lab: NewLab) -> None:
    cluster = Deployed(new_lab(roles=["ai", "i"]))
    first, second = cluster.names
    was = cluster.lab.inventory.read_text()
    cluster.kubeup("up")
    vxlan = {name: (len(routes(cluster, name)), links(cluster, name) & {"flannel.1", "cni0"}) for name in cluster.names}
    assert all(number == 1 and "flannel.1" in there for number, there in vxlan.values())
    set_inventory(cluster, was, "flannel: {backend: host-gw}")
    assert routes(cluster, first) == [f"{cluster.address(second)} dev eth0"]
    for name in cluster.names:
        assert "flannel.1" not in links(cluster, name)
        assert pod_mtus(cluster, name) == {1500}  # of pods that run, CoreDNS, too
    set_inventory(cluster, was, "flannel: {mtu: 1300}")
    assert re.fullmatch(r"172\.16\.\d\.0 dev flannel\.1", routes(cluster, first)[0])
    for name in cluster.names:
        assert pod_mtus(cluster, name) == {1300}
    set_inventory(cluster, was)
    for name in cluster.names:
        assert pod_mtus(cluster, name) == {1450}
    assert cluster.differences() == {}


def test_pods_packets_fit_a_way_that_is_narrower_than_its_ends(new_lab: NewLab) -> None:
    """Between two nodes there is a router, the third host, that passes on less than their links take."""
    cluster = Deployed(new_lab(roles=["ai", "i", "i"]))
    first, second, router = cluster.names
    was = cluster.lab.inventory.read_text().splitlines(keepends=True)
    cluster.lab.inventory.write_text("".join(line for line in was if f"name: {router}," not in line))
    cluster.on(
        router,
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0; "
        'for to in "$@"; do ip route add "$to/32" dev eth0 mtu lock 1400; done',
        cluster.address(first),
        cluster.address(second),
    )
    for name, other in ((first, second), (second, first)):
        cluster.on(
            name,
            "sysctl -qw net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.eth0.accept_redirects=0; "
            'ip route add "$1/32" via "$2"',
            cluster.address(other),
            cluster.address(router),
        )
    cluster.kubeup("up")
    for name in (first, second):
        assert cluster.on(name, "cat /var/lib/kubeup/path-mtu") == "1400"
        assert pod_mtus(cluster, name) <= {1350}
    assert kubeup("plan", inventory=cluster.lab.inventory).code == 0
    set_up = cluster.lab.inventory.read_text()
    cluster.lab.inventory.write_text(set_up + "flannel: {backend: host-gw}\n")
    told = cluster.kubeup("up", code=1).err
    cluster.lab.inventory.write_text(set_up)
    assert told.count("flannel's backend host-gw reaches only nodes of its own layer-2 network") == 2, told


OWN_NETWORK = """
{{"cniVersion": "1.0.0", "name": "own", "plugins": [
  {{"type": "bridge", "bridge": "own0", "isGateway": true, "isDefaultGateway": true, "ipMasq": true,
   "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{subnet}"}}]]}}}},
  {{"type": "portmap", "capabilities": {{"portMappings": true}}}}]}}
"""


def test_a_network_of_the_users_own(new_lab: NewLab) -> None:
    cluster = Deployed(new_lab(roles=["ai", "i"], settings={"cni": "none"}))
    told = cluster.kubeup("up").text
    assert "not Ready until the network of pods has come that you bring" in told, told
    for name in cluster.names:
        assert not {"cni0", "flannel.1"} & links(cluster, name)
        assert cluster.on(name, "ls /etc/cni/net.d") == ""
    told = cluster.kubeup("validate", code=1).err
    assert "NetworkPluginNotReady" in told, told
    assert "the network of pods is yours to bring" in told

    nodes = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    subnets = {node["metadata"]["name"]: node["spec"]["podCIDR"] for node in nodes}
    for name, subnet in subnets.items():
        conf = OWN_NETWORK.format(subnet=subnet)
        cluster.on(name, 'printf %s "$1" >/etc/cni/net.d/10-own.conflist', conf)
        for other in set(subnets) - {name}:
            cluster.on(name, 'ip route add "$1" via "$2"', subnets[other], cluster.address(other))
    cluster.kubeup("validate")
    assert cluster.differences() == {}
    cluster.kubeup("up")
    for name in cluster.names:
        assert {"own0"} <= links(cluster, name)
