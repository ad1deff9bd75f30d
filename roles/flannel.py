"""flannel: a network between the pods of different nodes."""

import json

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import ETCD, Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import Cleanup, Directory, File, Resource, unit
from kubeup.roles.common import BIN, ROOT, Where, api_url, authority, certificate, kubeconfig, program
from kubeup.templates import render

WHERE: Where = "nodes"

CONF = "/etc/kubernetes/flannel.conf"
ETCD_PREFIX = "/coreos.com/network"
"""flannel's default, see its --etcd-prefix."""
PATH_MTU = "/var/lib/kubeup/path-mtu"
"""What was measured of the way to the other nodes, from where it is read again, see HostFacts.path_mtu."""


def network_config(cluster: Cluster) -> str:
    """flannel's network configuration, JSON."""
    config: dict[str, object] = {
        "Network": str(cluster.flannel_net),
        "Backend": {"Type": cluster.flannel.backend},
        "EnableNFTables": cluster.kube_proxy.mode == "nftables",
    }
    if cluster.flannel.store == "etcd":
        config["SubnetLen"] = cluster.node_subnet
    return json.dumps(config)


def pods_mtu(cluster: Cluster, host: HostFacts) -> int:
    """The largest packet of pods on a host, in bytes; 0 where nothing is known but by flanneld itself."""
    measured = host.path_mtu - cluster.flannel.overhead if host.path_mtu else 0
    return cluster.flannel.mtu or measured


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    if cluster.cni == "none":
        return []
    nftables = cluster.kube_proxy.mode == "nftables"
    programs = program("flannel", cluster.versions.flannel, "flanneld")
    network = File("/etc/flannel/net-conf.json", render("flannel/net-conf.json.j2", network=network_config(cluster)))
    cni_config = File(
        f"{ROOT}/lib/cni-config",
        render("flannel/cni-config.sh.j2", mtu=pods_mtu(cluster, host), fixed=cluster.flannel.mtu is not None),
        mode=0o755,
    )
    leftovers = File(
        f"{ROOT}/lib/flannel-leftovers",
        render(
            "flannel/leftovers.sh.j2", backend=cluster.flannel.backend, network=cluster.flannel_net, nftables=nftables
        ),
        mode=0o755,
    )
    measured = [File(PATH_MTU, f"{host.path_mtu}\n")] if host.path_mtu else []
    flags: dict[str, object] = {"iface": node.address, "ip-masq": "true"}
    access: list[Resource]
    if cluster.flannel.store == "kubernetes":
        access = kubeconfig(CONF, cluster, node, trust, user="flannel")
        # Straight to an apiserver: through the Service's address it would race kube-proxy at start.
        flags |= {
            "kube-subnet-mgr": "true",
            "kubeconfig-file": CONF,
            "kube-api-url": api_url(cluster, node),
            "net-config-path": network.path,
        }
    else:
        client = certificate("/etc/flannel/etcd", trust, "flannel", "client", issuer=ETCD)
        trusted = authority("/etc/flannel/etcd-ca.crt", trust, ETCD)
        access = [trusted, client]
        flags |= {
            "etcd-endpoints": ",".join(cluster.etcd_endpoints),
            "etcd-prefix": ETCD_PREFIX,
            "etcd-cafile": trusted.path,
            "etcd-certfile": client.path,
            "etcd-keyfile": client.key_path,
        }
    return [
        *programs,
        *access,
        network,
        cni_config,
        leftovers,
        *measured,
        Directory("/etc/cni/net.d"),
        Cleanup(
            "flannel",
            render(
                "flannel/cleanup.sh.j2",
                network=cluster.flannel_net,
                shared=cluster.runtime_socket(node) is not None,
            ),
        ),
        # Not waited for: it is ready once the API knows this node and has a subnet for it.
        unit(
            "flanneld.service",
            render(
                "flannel/flanneld.service.j2",
                bin=BIN,
                node=node,
                flags=flags,
                cni_config=cni_config.path,
                leftovers=leftovers.path,
            ),
            [*programs, *access, network, cni_config, leftovers],
            wait=False,
            rereads=cluster.flannel.store == "kubernetes",
        ),
    ]
