"""kube-proxy's mode is changed while the cluster runs: nothing of the old one stays."""

import re

from ..support import DIFFERENT, FAILED
from .conftest import Shared

THE_KUBELETS = {"KUBE-FIREWALL", "KUBE-KUBELET-CANARY", "KUBE-IPTABLES-HINT"}


def chains(cluster: Shared, name: str) -> set[str]:
    """The chains of Kubernetes' parts in iptables on a host, of both families, and the rules that lead to one."""
    saved = cluster.on(name, "iptables-save; ip6tables-save")
    found = re.findall(r"^:((?:KUBE|FLANNEL)-\S+)|-[jg] ((?:KUBE|FLANNEL)-\S+)", saved, re.MULTILINE)
    return {chain for pair in found for chain in pair if chain} - THE_KUBELETS


def tables(cluster: Shared, name: str) -> set[str]:
    """The same in nftables."""
    return set(re.findall(r"^table \S+ (kube-proxy|flannel-\S+)$", cluster.on(name, "nft list tables"), re.MULTILINE))


def kinds(found: set[str]) -> set[str]:
    """Chains, those of single Services without their hashes; they come and go with Services."""
    return {re.sub(r"^(KUBE-(SVC|SEP|EXT|FW|SVL)-).*", r"\1", chain) for chain in found} - {"KUBE-EXT-"}


def test_another_mode_leaves_nothing_of_the_old_one(cluster: Shared) -> None:
    inventory = cluster.lab.inventory
    was = inventory.read_text()
    before = {name: (kinds(chains(cluster, name)), tables(cluster, name)) for name in cluster.names}
    assert all("KUBE-SVC-" in there and "FLANNEL-POSTRTG" in there and not nft for there, nft in before.values())
    try:
        inventory.write_text(was + "kube_proxy: {mode: nftables}\n")
        cluster.kubeup("up")  # which proves Services too
        for name in cluster.names:
            assert chains(cluster, name) == set(), name
            assert tables(cluster, name) == {"kube-proxy", "flannel-ipv4", "flannel-ipv6"}
    finally:
        inventory.write_text(was)
        cluster.kubeup("up")
    assert {name: (kinds(chains(cluster, name)), tables(cluster, name)) for name in cluster.names} == before
    assert cluster.differences() == {}


def test_ipvs_is_refused_on_all_hosts_where_the_kernel_lacks_it(cluster: Shared) -> None:
    inventory = cluster.lab.inventory
    was = inventory.read_text()
    inventory.write_text(was + "kube_proxy: {mode: ipvs}\n")
    try:
        told = cluster.kubeup("up", code=FAILED).err
        assert cluster.kubeup("plan", code=None).code != DIFFERENT
    finally:
        inventory.write_text(was)
    for name in cluster.names:
        assert re.search(
            rf"^  {name}: kube_proxy's mode ipvs needs ip_vs and dummy, which the kernel", told, re.MULTILINE
        )
    assert "use mode: nftables" in told
    assert cluster.differences() == {}
