"""What every host must have, and what the kernel must have and do before there can be pods."""

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import Blob, Cleanup, File, Module, Package, Resource, Sysctl, unit
from kubeup.roles.common import ROOT, Where, own_version, program
from kubeup.templates import render, text

WHERE: Where = "hosts"

UNPACKER = f"{ROOT}/unpack/{own_version('unpack')}/kubeup-unpack"
"""The program by which a host unpacks what is sent to it; it is sent first."""

# overlay: containerd's snapshots. br_netfilter: bridged packets pass the rules that Services are made of.
MODULES = {"overlay": "/sys/module/overlay", "br_netfilter": "/proc/sys/net/bridge"}

NETWORK = {
    "net.ipv4.ip_forward": "1",
    "net.bridge.bridge-nf-call-iptables": "1",
}
# What each mode of kube-proxy is done with: the package, and the command that it brings. flanneld, which follows the
# mode, ends where there is no iptables, also when it uses nftables itself.
FILTERS = {
    "iptables": {"iptables": "iptables"},
    "nftables": {"nftables": "nft", "iptables": "iptables"},
    "ipvs": {"iptables": "iptables", "ipset": "ipset"},
}

KERNEL = {
    # The kubelet sets these itself (pkg/kubelet/cm/container_manager_linux.go, setupKernelTunables). Set here, they
    # are there after a reboot, and their former values come back when kubeup leaves.
    "vm.overcommit_memory": "1",
    "vm.panic_on_oom": "0",
    "kernel.panic": "10",
    "kernel.panic_on_oops": "1",
    "kernel.keys.root_maxkeys": "1000000",
    "kernel.keys.root_maxbytes": "25000000",
}


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    everywhere = [
        Blob(UNPACKER, "kubeup-unpack", own_version("unpack")),
        # Validation and preflight look at the network from every host with it.
        *program("probe", own_version("probe"), "kubeup-probe"),
        *_clock(host),
    ]
    if node not in cluster.nodes:
        return everywhere
    sysctls = {**NETWORK, **(KERNEL if host.owns_kernel else {})}
    mode = cluster.kube_proxy.mode
    modules = {**MODULES, **({"ip_vs": "/proc/net/ip_vs"} if mode == "ipvs" else {})}
    return [
        *(Package(host.package(name), command) for name, command in FILTERS[mode].items()),
        Cleanup("packet-filter", text("base/netfilter-cleanup.sh")),
        File("/etc/modules-load.d/kubeup.conf", render("base/modules.conf.j2", modules=modules)),
        *(Module(name, evidence) for name, evidence in modules.items()),
        File("/etc/sysctl.d/99-kubeup.conf", render("base/sysctl.conf.j2", sysctls=sysctls)),
        *(Sysctl(name, value) for name, value in sysctls.items()),
        unit("kubeup-swapoff.service", render("base/swapoff.service.j2")),
        *_links(host),
        *everywhere,
        # By it the kubelet mounts NFS.
        *([Package(host.package("nfs-common"), "mount.nfs")] if cluster.addons.nfs else []),
    ]


def _links(host: HostFacts) -> list[Resource]:
    """NetworkManager, where it runs, leaves the pods' links alone."""
    if not host.network_manager:
        return []
    config = File("/etc/NetworkManager/conf.d/kubeup.conf", text("base/networkmanager.conf"))
    return [config, unit("kubeup-networkmanager.service", text("base/networkmanager.service"), [config])]


def _clock(host: HostFacts) -> list[Resource]:
    """What keeps the clock right, where nothing else does. (A container's clock is its machine's.)"""
    own = host.family.time
    if not host.owns_kernel or host.time_service:
        return []
    service = render("base/time.service.j2", service=own.unit)
    return [Package(host.package(own.package), own.command), unit("kubeup-time.service", service)]
