"""The files of a lab: its SSH key, its hosts' known keys, and the inventory that names both."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

INVENTORY, KEY, KNOWN_HOSTS = "cluster.yaml", "id_ed25519", "known_hosts"


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


def default_roles(hosts: int) -> list[str]:
    """Return the roles of the "ai i i" model for so many hosts: the first is master and minion, the others minions."""
    return ["ai", *["i"] * (hosts - 1)][: max(hosts, 0)]


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


def inventory_text(lab: str, nodes: Sequence[LabNode], settings: Mapping[str, Any]) -> str:
    """Return the inventory of ``nodes``.

    ``settings`` are further keys of the inventory. The nodes come last, so that one more can be appended.
    """
    head: dict[str, Any] = {"name": lab, "ssh": {"user": "root", "key": f"./{KEY}", "known_hosts": f"./{KNOWN_HOSTS}"}}
    text: str = yaml.safe_dump({**head, **settings}, sort_keys=False, default_flow_style=None)
    return text + "nodes:\n" + "".join(map(node_line, nodes))


def node_line(node: LabNode) -> str:
    """Return the inventory's line for ``node``."""
    return f"  - {{role: {node.role}, name: {node.name}, host: {node.address}, address: {node.address}}}\n"


def known_hosts_lines(address: str, public_keys: str) -> str:
    """Return the lines of a known_hosts file for the host at ``address``.

    ``public_keys`` is the text of its /etc/ssh/ssh_host_*_key.pub, one key a line.
    """
    return "".join(f"{address} {' '.join(line.split()[:2])}\n" for line in public_keys.splitlines() if line.strip())
