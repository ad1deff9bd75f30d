"""keepalived: addresses for clients outside, each always on a node that can serve who comes there.

The API's moves among the masters and leads to their balancers (see the role balancer), and so to any apiserver that is
ready: it has to move only when its host or its balancer fails, not when one apiserver does. The one for ingress moves
among the nodes that take traffic in, and leads to what listens there on the node itself.
"""

from kubeup.cluster import Cluster, Node, VirtualAddress
from kubeup.cluster.trust import Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import File, Package, Resource, unit
from kubeup.roles.balancer import health_check
from kubeup.roles.common import BIN, INGRESS_PORTS, NODE_CA, ROOT, Where, api_url, authority
from kubeup.templates import render

WHERE: Where = "nodes"


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    own = [address for address in cluster.virtual_addresses if node in address.nodes]
    if not own:
        return []
    device = host.device_of(node.address) or "eth0"
    checks = {address.name: _check(address, cluster, node, trust) for address in own}
    scripts = [check[0] for check in checks.values()]
    config = File(
        "/etc/keepalived/keepalived.conf",
        render(
            "virtual_ip/keepalived.conf.j2",
            node=node,
            addresses=own,
            checks={name: check[0].path for name, check in checks.items()},
            device=device,
            # Never the same on two nodes.
            priority={a.name: 100 + len(a.nodes) - a.nodes.index(node) for a in own},
        ),
    )
    return [
        Package(host.package("keepalived"), "keepalived"),
        *(resource for check in checks.values() for resource in check),
        config,
        unit(
            "keepalived.service",
            render("virtual_ip/keepalived.service.j2", addresses=own, device=device),
            [*scripts, config],
        ),
    ]


def _check(address: VirtualAddress, cluster: Cluster, node: Node, trust: Trust) -> tuple[File, *tuple[Resource, ...]]:
    """The script that says whether this node may have the address, and what it needs."""
    if address.name == "ingress":
        script = render("virtual_ip/ingress-ready.sh.j2", bin=BIN, at=f"{node.address}:{INGRESS_PORTS[0]}")
        return (File(f"{ROOT}/lib/ingress-ready", script, mode=0o755),)
    certificate = health_check("/etc/keepalived/kubeup", trust)
    script = render(
        "virtual_ip/apiserver-ready.sh.j2", bin=BIN, ca=NODE_CA, certificate=certificate, url=api_url(cluster, node)
    )
    return File(f"{ROOT}/lib/apiserver-ready", script, mode=0o755), authority(NODE_CA, trust), certificate
