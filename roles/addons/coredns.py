"""CoreDNS, the cluster's name service."""

from collections.abc import Mapping, Sequence

from kubeup.cluster import Cluster, Node
from kubeup.components import image_reference
from kubeup.host.facts import HostFacts
from kubeup.roles.common import version_of
from kubeup.templates import render

NAME = COMPONENT = "coredns"


def images(cluster: Cluster) -> Mapping[str, Sequence[Node]]:
    return {COMPONENT: cluster.nodes} if cluster.addons.coredns else {}


def manifests(cluster: Cluster, host: HostFacts) -> Mapping[str, str]:
    if not cluster.addons.coredns:
        return {}
    text = render(
        "coredns/coredns.yaml.j2",
        cluster=cluster,
        image=image_reference(COMPONENT, version_of(cluster, COMPONENT)),
        replicas=min(2, len(cluster.nodes)),
        forward=host.upstream_resolv_conf() is not None,
    )
    return {NAME: text}
