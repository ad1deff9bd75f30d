"""The registry's name in pods. It is itself a service of a host: see kubeup.roles.registry."""

from collections.abc import Mapping, Sequence

from kubeup.cluster import Cluster, Node
from kubeup.host.facts import HostFacts
from kubeup.roles.registry import PORT
from kubeup.templates import render

NAME = "registry"


def images(cluster: Cluster) -> Mapping[str, Sequence[Node]]:
    return {}


def manifests(cluster: Cluster, host: HostFacts) -> Mapping[str, str]:
    if not cluster.addons.registry:
        return {}
    return {NAME: render("registry/service.yaml.j2", address=cluster.registry_nodes[0].address, port=PORT)}
