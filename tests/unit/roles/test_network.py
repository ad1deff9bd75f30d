"""What the roles of the network ask for, and their scripts, on a host whose commands write down how they are called."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kubeup.host.resources import Package

SAVED = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:FLANNEL-FWD - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-PROXY-CANARY - [0:0]
-A INPUT -j KUBE-FIREWALL
-A INPUT -p tcp -m tcp --dport 4444 -m comment --comment "not KUBE-FORWARD" -j DROP
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A FLANNEL-FWD -s 172.16.0.0/16 -j ACCEPT
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
COMMIT
*nat
:POSTROUTING ACCEPT [0:0]
:CNI-HOSTPORT-MASQ - [0:0]
:FLANNEL-POSTRTG - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SEP-BVRXDXYQMD4GTJ6G - [0:0]
:KUBE-SVC-ERIFXISQEP7F7OF4 - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -j CNI-HOSTPORT-MASQ
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A KUBE-SERVICES -d 192.168.3.10/32 -j KUBE-SVC-ERIFXISQEP7F7OF4
-A KUBE-SVC-ERIFXISQEP7F7OF4 -j KUBE-SEP-BVRXDXYQMD4GTJ6G
COMMIT
"""

PROXYS = """\
*filter
:KUBE-FORWARD - [0:0]
:KUBE-PROXY-CANARY - [0:0]
-D FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-X KUBE-FORWARD
-X KUBE-PROXY-CANARY
COMMIT
*nat
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SEP-BVRXDXYQMD4GTJ6G - [0:0]
:KUBE-SVC-ERIFXISQEP7F7OF4 - [0:0]
-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-X KUBE-POSTROUTING
-X KUBE-SERVICES
-X KUBE-SEP-BVRXDXYQMD4GTJ6G
-X KUBE-SVC-ERIFXISQEP7F7OF4
COMMIT
"""

FLANNELS = """\
*filter
:FLANNEL-FWD - [0:0]
-D FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-X FLANNEL-FWD
COMMIT
*nat
:FLANNEL-POSTRTG - [0:0]
-D POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-X FLANNEL-POSTRTG
COMMIT
"""

ROUTES = """\
172.16.0.0/24 dev cni0 proto kernel scope link src 172.16.0.1
172.16.1.0/24 via 172.16.1.0 dev flannel.1 onlink
172.16.2.0/24 via 10.0.0.3 dev eth0
"""


class Host:
    """A PATH with commands that answer what they are told, and write down what they get."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "bin"
        self.path.mkdir()
        for name, script in {
            "iptables-save": '[ "$1 $2" = "-t nat" ] && from=nat; sed -n "/^.$from/,\\$p" $HOME/saved',
            "iptables-restore": '[ "$*" = "--noflush --wait=5" ] && cat >>$HOME/restored',
            "ip6tables-save": "",
            "nft": '[ "$1" = list ] && echo "table ip flannel-ipv4" && exit; echo "nft $*" >>$HOME/did',
            "rm": "",
            "ip6tables-restore": "cat >/dev/null",
            "ip": 'case "$*" in "link show "*) grep -qxF "$3" $HOME/links ;; *"route show"*) cat $HOME/routes ;;'
            ' *) echo "ip $*" >>$HOME/did ;; esac',
        }.items():
            (self.path / name).write_text(f"#!/bin/sh\n{script}\n")
            (self.path / name).chmod(0o755)
        for name in ("restored", "did", "links", "routes"):
            (folder / name).touch()
        (folder / "saved").write_text(SAVED)

    def run(self, script: str) -> tuple[str, str]:
        """What the packet filter was told, and what else was done."""
        env = {"PATH": f"{self.path}:{os.environ['PATH']}", "HOME": str(self.folder)}
        subprocess.run(["sh", "-eu"], input=script, text=True, env=env, check=True)
        return (self.folder / "restored").read_text(), (self.folder / "did").read_text()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def script(world: Any, name: str, **settings: Any) -> str:
    cluster = world.cluster("ai i", **settings)
    content: str = world.desired(cluster, cluster.nodes[0])["file", f"/opt/kubeup/lib/{name}"][1].content
    return content


@pytest.mark.parametrize(("mode", "told"), [("iptables", ""), ("nftables", PROXYS), ("ipvs", PROXYS)])
def test_rules_of_another_mode_go_and_no_others(world: Any, host: Host, mode: str, told: str) -> None:
    leftovers = script(world, "kube-proxy-leftovers", kube_proxy={"mode": mode})
    assert host.run(leftovers) == (told, "")


@pytest.mark.parametrize("mode", ["iptables", "nftables", "ipvs"])
def test_a_mode_leaves_its_own_rules_alone(world: Any, host: Host, mode: str) -> None:
    own = ":KUBE-SERVICES - [0:0]\n:KUBE-POSTROUTING - [0:0]\n" if mode == "ipvs" else ":KUBE-KUBELET-CANARY - [0:0]\n"
    (host.folder / "saved").write_text(f"*nat\n{own}COMMIT\n")
    assert host.run(script(world, "kube-proxy-leftovers", kube_proxy={"mode": mode})) == ("", "")


def test_flannel_clears_the_other_packet_filter(world: Any, host: Host) -> None:
    assert host.run(script(world, "flannel-leftovers", kube_proxy={"mode": "nftables"})) == (FLANNELS, "")
    assert host.run(script(world, "flannel-leftovers"))[0] == FLANNELS  # not once more


def test_flannel_clears_the_other_backend(world: Any, host: Host) -> None:
    (host.folder / "routes").write_text(ROUTES)
    (host.folder / "links").write_text("flannel.1\n")
    vxlan, host_gw = (script(world, "flannel-leftovers", flannel={"backend": b}) for b in ("vxlan", "host-gw"))
    assert host.run(vxlan)[1] == "ip -4 route delete 172.16.2.0/24\n"
    assert host.run(host_gw)[1].splitlines()[1:] == ["ip link delete flannel.1"]
    (host.folder / "links").write_text("eth0\n")
    assert len(host.run(host_gw)[1].splitlines()) == 2


def test_flannel_goes_with_its_rules_and_no_others(world: Any, host: Host) -> None:
    cluster = world.cluster("ai i")
    cleanup = world.desired(cluster, cluster.nodes[0])["cleanup", "flannel"][1].script
    restored, did = host.run(f"set -- remove\n{cleanup}")
    assert restored == FLANNELS
    assert {"ip route flush root 172.16.0.0/16", "nft delete table ip flannel-ipv4"} <= set(did.splitlines())


def test_without_flannel_there_is_no_network_of_kubeups(world: Any) -> None:
    cluster = world.cluster("ai i", cni="none", flannel={"store": "etcd"})
    for node in cluster.nodes:
        names = {name for _, name in world.desired(cluster, node)}
        assert not [name for name in names if "flannel" in name or "cni-config" in name]
        assert {"/etc/cni/net.d", "kube-proxy.service", "kubelet.service"} <= names
    manager = world.desired(cluster, cluster.nodes[0])["unit", "kube-controller-manager.service"][1].content
    assert "--allocate-node-cidrs=true" in manager
    assert "kubeup-etcd-users.service" not in {name for _, name in world.desired(cluster, cluster.nodes[0])}


@pytest.mark.parametrize(
    ("flannel", "path_mtu", "expected"),
    [
        ({}, 0, "mtu=$FLANNEL_MTU\n"),
        ({}, 1400, "mtu=1350 # what the way to the other nodes takes\n"),
        ({"backend": "host-gw"}, 1400, "mtu=1400 # what the way to the other nodes takes\n"),
        ({"mtu": 1300}, 0, "mtu=1300 # as the inventory says\n"),
        ({"mtu": 1300}, 1400, "mtu=1300 # as the inventory says\n"),
    ],
)
def test_pods_packets_fit_the_way(world: Any, flannel: dict[str, Any], path_mtu: int, expected: str) -> None:
    cluster = world.cluster("ai i", flannel=flannel)
    desired = world.desired(cluster, cluster.nodes[1], path_mtu=path_mtu)
    assert expected in desired["file", "/opt/kubeup/lib/cni-config"][1].content
    noted = desired.get(("file", "/var/lib/kubeup/path-mtu"))
    assert (noted[1].content if noted else "") == (f"{path_mtu}\n" if path_mtu else "")


@pytest.mark.parametrize(
    ("mode", "packages"),
    [("iptables", {"iptables"}), ("nftables", {"nftables", "iptables"}), ("ipvs", {"iptables", "ipset"})],
)
def test_each_mode_has_its_programs(world: Any, mode: str, packages: set[str]) -> None:
    cluster = world.cluster("ai i", kube_proxy={"mode": mode})
    desired = world.desired(cluster, cluster.nodes[1])
    assert {r.name for _, r in desired.values() if isinstance(r, Package)} == packages
    assert (("module", "ip_vs") in desired) is (mode == "ipvs")
