"""flannel: a network between the pods of different nodes."""

import json

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import ETCD, Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import Cleanup, Directory, File, Resource, unit
from kubeup.roles.common import BIN, ROOT, Where, api_url, authority, certificate, kubeconfig, program
from kubeup.templates import render, text

WHERE: Where = "nodes"

CONF = "/etc/kubernetes/flannel.conf"
ETCD_PREFIX = "/coreos.com/network"
"""flannel's default, see its --etcd-prefix."""


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


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    programs = program("flannel", cluster.versions.flannel, "flanneld")
    network = File("/etc/flannel/net-conf.json", render("flannel/net-conf.json.j2", network=network_config(cluster)))
    cni_config = File(f"{ROOT}/lib/cni-config", text("flannel/cni-config.sh"), mode=0o755)
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
        Directory("/etc/cni/net.d"),
        Cleanup("flannel", render("flannel/cleanup.sh.j2", network=cluster.flannel_net)),
        # Not waited for: it is ready once the API knows this node and has a subnet for it.
        unit(
            "flanneld.service",
            render("flannel/flanneld.service.j2", bin=BIN, node=node, flags=flags, cni_config=cni_config.path),
            [*programs, *access, network, cni_config],
            wait=False,
            rereads=cluster.flannel.store == "kubernetes",
        ),
    ]
