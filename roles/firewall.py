"""The host's own firewall, where one runs: opened for the other hosts, the pods, and clients outside.

Other hosts of the cluster (keepalived's too) and pods may send anything; everybody may reach the API, Services' ports
on nodes, HTTP and HTTPS on nodes that take them in, and the registry, which asks for a certificate. What was open
before stays open when kubeup leaves, and nothing else does.
"""

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import File, Resource, unit
from kubeup.roles.common import INGRESS_PORTS, ROOT, Where
from kubeup.roles.registry import PORT as REGISTRY_PORT
from kubeup.templates import render, text

WHERE: Where = "hosts"


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    if not host.firewall:
        return []
    script = File(f"{ROOT}/lib/firewall", text("firewall/firewall.sh"), mode=0o755)
    others = sorted(other.address for other in cluster.hosts if other != node)
    api = [f"{cluster.api_port}/tcp"] if node.is_master else []
    services = [f"{cluster.node_port_range}/{protocol}" for protocol in ("tcp", "udp")] if node in cluster.nodes else []
    takes_in = node in cluster.traefik_nodes or node in cluster.ingress_nodes
    ingress = [f"{port}/tcp" for port in INGRESS_PORTS] if takes_in else []
    registry = [f"{REGISTRY_PORT}/tcp"] if node in cluster.registry_nodes else []
    service = render(
        "firewall/firewall.service.j2",
        kind=host.firewall,
        script=script.path,
        sources=[*others, cluster.flannel_net],
        ports=[*api, *ingress, *registry, *services],
        pods=cluster.flannel_net,
    )
    return [script, unit("kubeup-firewall.service", service, [script])]
