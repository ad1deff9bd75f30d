"""Traefik: HTTP and HTTPS from outside to Services, by host name, as Ingresses say.

It listens on its nodes' own ports 80 and 443.
"""

from collections.abc import Mapping, Sequence

from kubeup.cluster import Cluster, Node
from kubeup.components import image_reference
from kubeup.host.facts import HostFacts
from kubeup.roles.addons.placement import tolerations
from kubeup.roles.common import version_of
from kubeup.templates import render

NAME = "traefik"
LABEL = "kubeup.dev/traefik"
"""On nodes that have it. Were their names in its pods' template, all would be restarted when one comes."""
HEALTH_PORT = 9180
"""On loopback, for the kubelet."""


def labels(cluster: Cluster, node: Node) -> Mapping[str, str]:
    """What a node must be labelled with for it."""
    return {LABEL: ""} if node in cluster.traefik_nodes else {}


def images(cluster: Cluster) -> Mapping[str, Sequence[Node]]:
    return {NAME: cluster.traefik_nodes} if cluster.addons.traefik else {}


def manifests(cluster: Cluster, host: HostFacts) -> Mapping[str, str]:
    if not cluster.addons.traefik:
        return {}
    vip = cluster.addons.ingress_vip
    text = render(
        "traefik/traefik.yaml.j2",
        image=image_reference(NAME, version_of(cluster, NAME)),
        label=LABEL,
        tolerations=tolerations(cluster.traefik_nodes),
        health_port=HEALTH_PORT,
        address=vip.address if vip else cluster.traefik_nodes[0].address,
    )
    return {NAME: text}
