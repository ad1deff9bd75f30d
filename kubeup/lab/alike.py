"""A lab like an inventory: as many hosts, the same roles, labels, taints and settings, to try something there first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from kubeup.cluster.document import parse_document, read_document
from kubeup.cluster.inventory import check
from kubeup.errors import LabError

OF_ITS_HOSTS = ("name", "nodes", "roles", "ssh", "api", "etcd")
"""Settings of an inventory that are about its own hosts and their network: a lab has its own, or none."""

ADDONS_OF_ITS_HOSTS = ("metallb", "traefik", "ingress-vip", "nfs", "registry", "manifests", "helm")
"""Addons that name an inventory's hosts, addresses of their network, or files beside it."""


@dataclass(frozen=True)
class Alike:
    """What a lab like an inventory consists of, host by host in the inventory's order.

    ``stands_for`` are the names of the inventory's hosts, ``more`` the further keys of each (labels, taints), and
    ``left_out`` the settings that a lab cannot have.
    """

    stands_for: Sequence[str]
    roles: Sequence[str]
    more: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any]
    left_out: Sequence[str]


def settings_of(inventory: str) -> dict[str, Any]:
    """The settings in an inventory's text that a lab can have too."""
    return _of_a_lab(parse_document(inventory, "the inventory").data)


def _of_a_lab(data: Mapping[str, Any]) -> dict[str, Any]:
    settings = {key: value for key, value in data.items() if key not in OF_ITS_HOSTS}
    if isinstance(addons := settings.get("addons"), dict):
        settings["addons"] = {name: value for name, value in addons.items() if name not in ADDONS_OF_ITS_HOSTS}
    return settings


def alike(path: Path) -> Alike:
    """Read the inventory at ``path``. Connects to nothing, resolves no name, and needs none of its SSH keys.

    Raises InventoryError with every problem of it, and LabError when it has more hosts than a lab can have.
    """
    document = read_document(path)
    if isinstance(document.data, dict):  # what it is otherwise, is told by the check
        document = replace(document, data=_without_ssh(document.data))
    cluster = check(document, path.absolute().parent, _made_up_addresses())
    hosts = cluster.hosts
    if len(hosts) > 200:
        raise LabError(f"{path} has {len(hosts)} hosts, and a lab has at most 200")
    more = []
    for host in hosts:
        given: dict[str, Any] = {"labels": dict(host.labels), "taints": [str(taint) for taint in host.taints]}
        more.append({key: value for key, value in given.items() if value})
    left_out = [key for key in ("api", "etcd") if key in document.data]
    left_out += [f"addons: {name}" for name in document.data.get("addons") or () if name in ADDONS_OF_ITS_HOSTS]
    names, roles = [host.name for host in hosts], [str(host.role) for host in hosts]
    return Alike(names, roles, more, _of_a_lab(document.data), left_out)


def _without_ssh(data: dict[Any, Any]) -> dict[Any, Any]:
    """The same without how to connect: those keys lie on the machines that manage the real hosts."""
    nodes = data.get("nodes")
    if isinstance(nodes, list):
        nodes = [
            {key: value for key, value in node.items() if key != "key"} if isinstance(node, dict) else node
            for node in nodes
        ]
    return {key: value for key, value in {**data, "nodes": nodes}.items() if key != "ssh" and value is not None}


def _made_up_addresses() -> Callable[[str, Path], IPv4Address | None]:
    """Gives every host that is a name an address of its own, of those that are nobody's (198.18.0.0/15, RFC 2544)."""
    known: dict[str, IPv4Address] = {}

    def resolve(host: str, _: Path) -> IPv4Address | None:
        try:
            return IPv4Address(host)
        except ValueError:
            return known.setdefault(host, IPv4Address("198.18.0.1") + len(known))

    return resolve
