"""MetalLB: addresses for Services of type LoadBalancer, and one node that answers for each, in layer 2.

Its controller, which gives addresses out, runs on a master; its speakers, which answer, on every node.
"""

from collections.abc import Mapping, Sequence

from kubeup.cluster import Cluster, Node
from kubeup.components import image_reference
from kubeup.host.facts import HostFacts
from kubeup.roles.addons.placement import ON_MASTERS, tolerations
from kubeup.roles.common import version_of
from kubeup.templates import render

NAME = "metallb"
CONTROLLER, SPEAKER = "metallb-controller", "metallb-speaker"


def images(cluster: Cluster) -> Mapping[str, Sequence[Node]]:
    return {CONTROLLER: cluster.masters, SPEAKER: cluster.speakers} if cluster.addons.metallb else {}


def manifests(cluster: Cluster, host: HostFacts) -> Mapping[str, str]:
    if not cluster.addons.metallb:
        return {}
    version = version_of(cluster, NAME)
    text = render(
        "metallb/metallb.yaml.j2",
        controller=image_reference(CONTROLLER, version),
        speaker=image_reference(SPEAKER, version),
        pool=cluster.addons.metallb.addresses,
        nodes=cluster.addons.metallb.nodes,
        node_selector=ON_MASTERS,
        controller_tolerations=tolerations(cluster.masters),
        speaker_tolerations=tolerations(cluster.speakers),
    )
    return {NAME: text}
