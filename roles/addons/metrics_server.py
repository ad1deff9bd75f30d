"""metrics-server: what nodes and pods use, for ``kubectl top`` and HorizontalPodAutoscalers.

It runs on a master: so no other node needs its image.
"""

from collections.abc import Mapping, Sequence

from kubeup.cluster import Cluster, Node
from kubeup.components import image_reference
from kubeup.host.facts import HostFacts
from kubeup.roles.addons.placement import ON_MASTERS, tolerations
from kubeup.roles.common import version_of
from kubeup.templates import render

NAME = COMPONENT = "metrics-server"


def images(cluster: Cluster) -> Mapping[str, Sequence[Node]]:
    return {COMPONENT: cluster.masters} if cluster.addons.metrics_server else {}


def manifests(cluster: Cluster, host: HostFacts) -> Mapping[str, str]:
    if not cluster.addons.metrics_server:
        return {}
    text = render(
        "metrics_server/metrics-server.yaml.j2",
        image=image_reference(COMPONENT, version_of(cluster, COMPONENT)),
        node_selector=ON_MASTERS,
        tolerations=tolerations(cluster.masters),
    )
    return {NAME: text}
