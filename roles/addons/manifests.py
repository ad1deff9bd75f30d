"""The user's own objects: entries of ``manifests:``, each an addon called manifests.NAME."""

from collections.abc import Mapping, Sequence

from kubeup.cluster import Cluster, Node
from kubeup.host.facts import HostFacts


def images(cluster: Cluster) -> Mapping[str, Sequence[Node]]:
    return {}


def manifests(cluster: Cluster, host: HostFacts) -> Mapping[str, str]:
    return {f"manifests.{entry.name}": entry.text for entry in cluster.addons.manifests}
