"""keepalived on the masters: an address for clients outside that is always on a master through which the API answers.

The address leads to that master's balancer (see the role balancer), and so to any apiserver that is ready: it has to
move only when its host or its balancer fails, not when one apiserver does.
"""

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import File, Package, Resource, unit
from kubeup.roles.balancer import health_check
from kubeup.roles.common import BIN, NODE_CA, ROOT, Where, api_url, authority
from kubeup.templates import render

WHERE: Where = "masters"


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    address = cluster.api.address
    if address is None:
        return []
    certificate = health_check("/etc/keepalived/kubeup", trust)
    trusted = authority(NODE_CA, trust)
    device = host.device_of(node.address) or "eth0"
    check = File(
        f"{ROOT}/lib/apiserver-ready",
        render(
            "virtual_ip/apiserver-ready.sh.j2",
            bin=BIN,
            ca=NODE_CA,
            certificate=certificate,
            url=api_url(cluster, node),
        ),
        mode=0o755,
    )
    config = File(
        "/etc/keepalived/keepalived.conf",
        render(
            "virtual_ip/keepalived.conf.j2",
            node=node,
            address=address,
            check=check.path,
            device=device,
            # Tells it from other VRRP groups on the same network: 1 to 255, and the same on all masters.
            router=int(address) % 255 + 1,
            priority=100 + len(cluster.masters) - cluster.masters.index(node),
            peers=[master for master in cluster.masters if master != node],
        ),
    )
    return [
        Package(host.package("keepalived"), "keepalived"),
        trusted,
        certificate,
        check,
        config,
        unit(
            "keepalived.service",
            render("virtual_ip/keepalived.service.j2", address=address, device=device),
            [check, config],
        ),
    ]
