"""kube-proxy: makes Services reachable on its node."""

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import File, Resource, Sysctl, unit
from kubeup.roles.common import BIN, ROOT, Where, kubeconfig, nofile, program
from kubeup.templates import render

WHERE: Where = "nodes"

CONF = "/etc/kubernetes/kube-proxy.conf"


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    programs = program("kubernetes", cluster.versions.kubernetes, "kube-proxy")
    access = kubeconfig(CONF, cluster, node, trust, user="system:kube-proxy")
    config = File(
        "/etc/kubernetes/kube-proxy.yaml",
        render("kube_proxy/config.yaml.j2", cluster=cluster, node=node, host=host),
    )
    leftovers = File(
        f"{ROOT}/lib/kube-proxy-leftovers",
        render("kube_proxy/leftovers.sh.j2", bin=BIN, mode=cluster.kube_proxy.mode),
        mode=0o755,
    )
    # kube-proxy sets this in iptables mode, so that NodePorts answer on localhost; named here, it is set back later.
    localhost = [Sysctl("net.ipv4.conf.all.route_localnet", "1")] if cluster.kube_proxy.mode == "iptables" else []
    return [
        *programs,
        *access,
        config,
        leftovers,
        *localhost,
        unit(
            "kube-proxy.service",
            render("kube_proxy/kube-proxy.service.j2", bin=BIN, nofile=nofile(host), leftovers=leftovers.path),
            [*programs, *access, config, leftovers],
            rereads=True,
        ),
    ]
