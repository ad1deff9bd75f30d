"""A kubeup inventory as hosts for pyinfra's own command, see inventories/demo.py."""

from pathlib import Path
from typing import Any

from kubeup.cluster import load
from kubeup.host.session import ssh_data

INVENTORY = "kubeup_inventory"
"""Name of the host data that says which kubeup inventory a host is from; deploy/under_pyinfra looks for it."""


def hosts(path: str | Path) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """pyinfra's groups, with the SSH data of each host, from the inventory at ``path``.

    They are "masters", "nodes" and "members" (the hosts that have one of etcd).
    """
    path = Path(path).resolve()
    cluster = load(path)

    def entry(name: str) -> tuple[str, dict[str, Any]]:
        return name, {**ssh_data(cluster, cluster.node(name)), INVENTORY: str(path)}

    return {
        "masters": [entry(node.name) for node in cluster.masters],
        "nodes": [entry(node.name) for node in cluster.nodes],
        "members": [entry(node.name) for node in cluster.members],
    }
