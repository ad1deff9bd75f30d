"""What an inventory of another tool says in our words, and what it says that we have no words for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubeup.cluster import Cluster, write_inventory
from kubeup.cluster.addresses import Resolve, resolve_address
from kubeup.cluster.writing import inventory_text
from kubeup.errors import InventoryError, Problem


@dataclass(frozen=True)
class Left:
    """Something that was read and is not, or not quite, in the new inventory: where it stands, what, and why."""

    where: str
    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.name}: {self.why}"


@dataclass
class Imported:
    """The nodes and settings of an inventory of ours, in its own form, and what is not in them."""

    source: str
    nodes: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)

    def put(self, value: Any, *place: str) -> None:
        """Set a setting, e.g. put("flannel", "..."), or one within a map: put("iptables", "kube_proxy", "mode")."""
        at = self.settings
        for name in place[:-1]:
            at = at.setdefault(name, {})
        at[place[-1]] = value

    def leave(self, where: str, name: str, why: str) -> None:
        """Note what has no counterpart: a name, or NAME=VALUE, of which no secret is kept."""
        self.left.append(Left(where, _shown(name), why))


_SECRET = re.compile(r"pass|secret|token|credential|(?:^|_|api)key", re.IGNORECASE)
_SECRET_IN_VALUE = re.compile(
    r"(://)[^/@\s]+(?=@)|((?:password|passwd|secret|token)\s*[=:]\s*)[^\s'\",]+", re.IGNORECASE
)


def _shown(text: str) -> str:
    """NAME=VALUE for people's eyes, and for the logs that they may get into."""
    name, equals, _ = text.partition("=")
    if equals and _SECRET.search(name):
        return f"{name}=…"
    return _SECRET_IN_VALUE.sub(lambda found: f"{found[1] or found[2]}…", text)


def read(path: Path, given: Mapping[str, str] | None = None) -> Imported:
    """Read an inventory of another tool.

    Args:
        path: 2015's config-default.sh, or kubespray's hosts.yaml or inventory.ini (or the folder it is in).
        given: variables that were set by the environment, as in ``NUM_MINIONS=3 kube-up.sh``; for config-default.sh.

    Raises:
        InventoryError: it cannot be read, is of no kind that is known, or would have to be run to be understood.
    """
    from kubeup.elsewhere import kube_up, kubespray

    if path.is_dir():
        names = ("hosts.yaml", "hosts.yml", "inventory.ini", "hosts.ini", "config-default.sh")
        found = next((path / name for name in names if (path / name).is_file()), None)
        if found is None:
            raise InventoryError([Problem(str(path), f"holds none of {', '.join(names)}", "name the file itself")])
        path = found
    if not path.is_file():
        raise InventoryError([Problem(str(path), "there is no such file", "name a config-default.sh or a hosts.yaml")])
    if path.suffix in (".yaml", ".yml", ".ini", ".cfg") or path.name in ("hosts", "inventory"):
        return kubespray.read(path)
    if path.suffix in (".sh", ".bash", ""):
        return kube_up.read(path, given or {})
    remedy = "name 2015's config-default.sh (.sh), or an inventory of kubespray (.yaml, .yml, .ini)"
    raise InventoryError([Problem(str(path), f"nothing is known of files that end in {path.suffix}", remedy)])


def text(imported: Imported, name: str, folder: Path, resolve: Resolve = resolve_address) -> str:
    """The inventory, as it would be written into ``folder``. Raises InventoryError when it would not be valid."""
    return inventory_text(folder, name, imported.nodes, imported.settings, resolve)


def write(imported: Imported, path: Path, name: str, resolve: Resolve = resolve_address) -> Cluster:
    """Write the inventory; a file that is there is left alone. Raises InventoryError, and then writes nothing."""
    return write_inventory(path, name, imported.nodes, imported.settings, resolve)
