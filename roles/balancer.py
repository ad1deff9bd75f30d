"""haproxy on every node: the node's own way to the API, over all masters, so that it depends on no single one."""

from kubeup.cluster import Cluster, Node
from kubeup.cluster.certificates import CertificateSpec
from kubeup.cluster.trust import KUBERNETES, Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import Certificate, File, Package, Resource, unit
from kubeup.roles.common import BALANCER_PORT, NODE_CA, Where, authority, nofile
from kubeup.templates import render

WHERE: Where = "nodes"


def health_check(stem: str, trust: Trust) -> Certificate:
    """A client certificate that opens nothing but the apiserver's health, named as haproxy looks for its key."""
    spec = CertificateSpec(common_name="kubeup:health-check", authority=KUBERNETES, usages=("client",))
    return Certificate(f"{stem}.crt", f"{stem}.crt.key", spec, trust.fingerprint(KUBERNETES))


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    if len(cluster.masters) == 1:
        return []
    certificate = health_check("/etc/haproxy/kubeup", trust)
    trusted = authority(NODE_CA, trust)
    config = File(
        "/etc/haproxy/haproxy.cfg",
        render(
            "balancer/haproxy.cfg.j2",
            port=BALANCER_PORT,
            ca=NODE_CA,
            certificate=certificate.path,
            masters=cluster.masters,
            api_port=cluster.api_port,
        ),
    )
    return [
        Package("haproxy", "haproxy"),
        trusted,
        certificate,
        config,
        # In place of the package's own unit of that name, which comes back when ours goes.
        unit(
            "haproxy.service",
            render("balancer/haproxy.service.j2", nofile=nofile(host)),
            [trusted, certificate, config],
        ),
    ]
