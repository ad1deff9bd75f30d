"""The registry for images of one's own: CNCF Distribution on one node, and containerd's way to it on all.

It is a service of the host and not a pod, so that it is there before the first pod, and is restarted with a new
certificate like everything else. Who reads or writes must show a certificate of the cluster's authority, which nodes
have, and the cluster's admin.
"""

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import File, Resource, unit
from kubeup.roles.common import BIN, NODE_CA, PKI, Where, authority, certificate, program, version_of
from kubeup.templates import render

WHERE: Where = "nodes"

PORT = 5000
CONFIG = "/etc/kubernetes/registry.yaml"
SERVICE = "registry.kube-system.svc"
"""Its name in pods, see kubeup.roles.addons.registry."""
CLIENT = f"{PKI}/registry-client"
"""What every node shows to it, without the endings .crt and .key."""


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    settings = cluster.addons.registry
    if not settings:
        return []
    at = cluster.registry_nodes[0]
    # Its address, and not the name: nobody outside the cluster would know that.
    url = f"https://{at.address}:{PORT}"
    trusted = authority(NODE_CA, trust)
    client = certificate(CLIENT, trust, f"kubeup:registry-client:{node.name}"[:64], "client")
    # containerd reads these anew whenever it pulls.
    mirror = File(
        f"/etc/containerd/certs.d/{settings.name}/hosts.toml",
        render("registry/hosts.toml.j2", url=url, ca=NODE_CA, client=client),
    )
    clients: list[Resource] = [trusted, client, mirror]
    if node != at:
        return clients
    serving = certificate(
        f"{PKI}/registry",
        trust,
        "registry",
        "server",
        node=node,
        more_names=(settings.name, SERVICE, f"{SERVICE}.{cluster.domain}"),
    )
    programs = program("registry", version_of(cluster, "registry"), "registry")
    config = File(
        CONFIG,
        render("registry/registry.yaml.j2", path=settings.path, port=PORT, serving=serving, ca=NODE_CA),
    )
    return [
        *clients,
        *programs,
        serving,
        config,
        unit(
            "kubeup-registry.service",
            render("registry/registry.service.j2", bin=BIN, config=config.path, path=settings.path, port=PORT),
            [*programs, serving, trusted, config],
        ),
    ]
