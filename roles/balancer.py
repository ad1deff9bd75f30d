"""haproxy on every node: the node's own way to the API, over all masters, so that it depends on no single one.

On masters it also serves the virtual address, where there is one (see the role virtual_ip).
"""

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import Certificate, Cleanup, File, Package, Resource, unit
from kubeup.roles.common import BALANCER_PORT, NODE_CA, Where, authority, certificate, nofile
from kubeup.templates import render, text

WHERE: Where = "nodes"

PEM = "/run/kubeup-balancer/health-check.pem"

# The first major version of a distribution whose haproxy (2.2) knows "error-status", by ID in /etc/os-release.
DRAINS = {"debian": 11, "ubuntu": 22, "rhel": 9, "centos": 9, "rocky": 9, "almalinux": 9}


def health_check(stem: str, trust: Trust) -> Certificate:
    """A client certificate whose user has no rights but those of every authenticated one: the apiserver's health."""
    return certificate(stem, trust, "kubeup:health-check", "client")


def drains(host: HostFacts) -> bool:
    """Whether the distribution's haproxy can spare a server new connections while those that it has go on."""
    major = host.os_version.partition(".")[0]
    return not major.isdigit() or int(major) >= DRAINS.get(host.os, 0)


def interval(cluster: Cluster, node: Node) -> int:
    """Seconds between a node's questions whether an apiserver is ready: one, and more for minions of large clusters.

    Each is a TLS handshake, and every node asks every apiserver: this keeps them at about a hundred a second.
    """
    return 1 if node.is_master else min(10, 1 + len(cluster.nodes) // 100)


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    if len(cluster.masters) == 1:
        return []
    check = health_check("/etc/haproxy/kubeup", trust)
    trusted = authority(NODE_CA, trust)
    outside = f"{cluster.api.address}:{cluster.api_port}" if cluster.api.address and node.is_master else None
    config = File(
        "/etc/haproxy/haproxy.cfg",
        render(
            "balancer/haproxy.cfg.j2",
            port=BALANCER_PORT,
            outside=outside,
            drains=drains(host),
            interval=interval(cluster, node),
            ca=NODE_CA,
            certificate=PEM,
            masters=cluster.masters,
            api_port=cluster.api_port,
        ),
    )
    return [
        Package(host.package("haproxy"), "haproxy"),
        Cleanup("haproxy", text("balancer/cleanup.sh")),
        trusted,
        check,
        config,
        *([unit("kubeup-selinux.service", text("balancer/selinux.service"))] if host.selinux else []),
        # In place of the package's own unit of that name, which comes back when ours goes.
        unit(
            "haproxy.service",
            render("balancer/haproxy.service.j2", certificate=check, pem=PEM, nofile=nofile(host)),
            [trusted, check, config],
        ),
    ]
