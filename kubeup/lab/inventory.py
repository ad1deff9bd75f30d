"""The files of a lab: its SSH key, its hosts' known keys, and the inventory that names both."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from kubeup.errors import LabError

INVENTORY, KEY, KNOWN_HOSTS, KUBECONFIG = "cluster.yaml", "id_ed25519", "known_hosts", "kubeconfig"


@dataclass(frozen=True)
class LabNode:
    """A throwaway host: its name, its IPv4 address in the lab's network, and its role in the cluster (a, i or ai)."""

    name: str
    address: str
    role: str


def folder_of(lab: str) -> Path:
    """Return where the files of ``lab`` are: $XDG_STATE_HOME/kubeup/labs/NAME, else under ~/.local/state."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "kubeup" / "labs" / lab


def default_roles(hosts: int, masters: int = 1) -> list[str]:
    """Return the roles of the "ai i i" model for so many hosts: the first are master and minion, the others minions.

    Raises LabError when there are not so many hosts as masters, or no master.
    """
    if not 1 <= masters <= max(hosts, 1):
        raise LabError(f"{masters} masters of {hosts} hosts cannot be: use --masters 1 to {max(hosts, 1)}")
    return ["ai"] * min(masters, hosts) + ["i"] * (hosts - masters)


def make_key(path: Path) -> None:
    """Write a new SSH key to ``path`` (0600) and its public half beside it, unless there is one."""
    if path.exists():
        return
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    path.with_suffix(".pub").write_bytes(public + b" kubeup-lab\n")
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(private)


def inventory_text(
    lab: str,
    nodes: Sequence[LabNode],
    settings: Mapping[str, Any],
    more: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """Return the inventory of ``nodes``.

    ``settings`` are further keys of the inventory, ``more`` further keys of a node by its name. The nodes come last, so
    that one more can be appended.
    """
    head: dict[str, Any] = {"name": lab, "ssh": {"user": "root", "key": f"./{KEY}", "known_hosts": f"./{KNOWN_HOSTS}"}}
    text: str = yaml.safe_dump({**head, **settings}, sort_keys=False, default_flow_style=None)
    return text + "nodes:\n" + "".join(node_line(node, (more or {}).get(node.name, {})) for node in nodes)


def node_line(node: LabNode, more: Mapping[str, Any] = MappingProxyType({})) -> str:
    """Return the inventory's line for ``node``. ``more`` are further keys: its labels and taints."""
    # JSON is YAML, on one line.
    rest = "".join(f", {key}: {json.dumps(value)}" for key, value in more.items())
    return f"  - {{role: {node.role}, name: {node.name}, host: {node.address}, address: {node.address}{rest}}}\n"


def known_hosts_lines(address: str, public_keys: str) -> str:
    """Return the lines of a known_hosts file for the host at ``address``.

    ``public_keys`` is the text of its /etc/ssh/ssh_host_*_key.pub, one key a line.
    """
    return "".join(f"{address} {' '.join(line.split()[:2])}\n" for line in public_keys.splitlines() if line.strip())
