"""What each component needs on a host: one module a component, each a pure function of what is known.

A role is a module with ``WHERE`` ("masters", "nodes", "members" of etcd, or "hosts", which are all) and
``desired(cluster, node, host, trust)``, which returns the resources that the host shall hold for it. It does no I/O.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Protocol, cast

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import Resource, union
from kubeup.roles.common import Where


class Role(Protocol):
    """What a module of this package is."""

    WHERE: Where

    def desired(self, cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]: ...


def role_name(role: Role | ModuleType) -> str:
    """kube_proxy for the module kubeup.roles.kube_proxy."""
    return cast(ModuleType, role).__name__.rpartition(".")[2]


def applies(role: Role, cluster: Cluster, node: Node) -> bool:
    """Whether the node has the role."""
    hosts: tuple[Node, ...] = getattr(cluster, role.WHERE)
    return node in hosts


def desired_state(
    roles: Iterable[Role], cluster: Cluster, node: Node, host: HostFacts, trust: Trust
) -> Mapping[tuple[str, str], tuple[str, Resource]]:
    """All that a node shall hold, by key, each with the role that asked for it. Raises RoleConflict."""
    groups: Sequence[tuple[str, list[Resource]]] = [
        (role_name(role), role.desired(cluster, node, host, trust)) for role in roles if applies(role, cluster, node)
    ]
    return union(groups)
