"""The one fact: what a host is and what it holds, read in one round trip."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.resources import files
from ipaddress import IPv4Interface, IPv4Network

from pyinfra.api import FactBase, StringCommand

from kubeup.components import architecture
from kubeup.host.facts import HostFacts
from kubeup.host.shell import privileged


@dataclass(frozen=True)
class Entry:
    """One line of a host's record. ``have`` and ``before`` mean what the kind of resource needs, see apply.sh."""

    want: str
    have: str
    before: str


@dataclass(frozen=True)
class Stat:
    mode: int
    owner: str
    size: int
    mtime: int
    kind: str


@dataclass(frozen=True)
class UnitState:
    active: str
    sub: str
    enabled: str
    needs_reload: bool


Key = tuple[str, str]


@dataclass
class Reading:
    """What one host is and holds."""

    facts: HostFacts
    record: dict[Key, Entry] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    stats: dict[str, Stat] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)
    modules: frozenset[str] = frozenset()
    packages: frozenset[str] = frozenset()
    units: dict[str, UnitState] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    mark: str = ""
    """A checksum of the record as it was read, see kubeup.host.lock."""

    @property
    def cluster(self) -> tuple[str, str] | None:
        """(name, identity) of the cluster that this host belongs to, or None."""
        for (kind, name), entry in self.record.items():
            if kind == "cluster":
                return name, entry.want
        return None


def parse(lines: Iterable[str]) -> Reading:
    """A Reading from what read.sh printed. Raises ValueError when it was cut off."""
    rows = [line.split("\t") for line in lines]
    if not rows or rows[-1] != ["end"]:
        raise ValueError("the host's answer was cut off")
    table: dict[str, list[list[str]]] = {}
    for tag, *values in rows:
        table.setdefault(tag, []).append(values)

    def of(tag: str) -> list[list[str]]:
        return table.get(tag, [])

    fact = {name: "\t".join(value) for name, *value in of("fact")}
    facts = HostFacts(
        os=fact["os"],
        os_like=tuple(fact["os_like"].split()),
        os_version=fact["os_version"],
        os_name=fact["os_name"],
        arch=architecture(fact["arch"]),
        kernel=fact["kernel"],
        hostname=fact["hostname"],
        cpus=int(fact["cpus"]),
        memory_kib=int(fact.get("memory_kib", 0)),
        cgroup=int(fact["cgroup"]),
        init=fact["init"],
        systemd=int(fact["systemd"] or 0),
        apparmor=fact.get("apparmor") == "yes",
        kmsg=fact.get("kmsg") == "yes",
        owns_kernel=fact.get("owns_kernel") == "yes",
        conntrack_writable=fact.get("conntrack_writable") == "yes",
        nofile=int(fact["nofile"]) if fact["nofile"].isdigit() else 0,
        capabilities=int(fact.get("capabilities", "0"), 16),
        swaps=int(fact.get("swaps", 0)),
        clock=int(fact["clock"]),
        commands=frozenset(name for (name,) in of("command")),
        addresses=tuple((device, IPv4Interface(address)) for device, address in of("address")),
        routes=tuple((IPv4Network(network), device) for network, device in of("route") if network[:1].isdigit()),
        nameservers=tuple((path, server) for path, server in of("nameserver")),
        listening=frozenset(int(port, 16) for (port,) in of("listen")),
        disks=tuple((mount, int(free)) for mount, free in of("disk")),
        present=tuple(path for (path,) in of("present")),
        mtus=tuple((device, int(mtu)) for device, mtu in of("mtu")),
        neighbours=tuple(IPv4Network(network) for (network,) in of("neighbours")),
        beyond=tuple(IPv4Network(network) for (network,) in of("beyond")),
        kernel_offers=frozenset(name for (name,) in of("offers")),
        path_mtu=int(fact["path_mtu"]) if fact.get("path_mtu", "").isdigit() else 0,
        selinux=fact.get("selinux") == "yes",
        firewall=fact.get("firewall", ""),
        network_manager=fact.get("network_manager") == "yes",
        time_service=fact.get("time_service", ""),
        machine_id=fact.get("machine_id", ""),
        macs=tuple((device, mac) for device, mac in of("mac")),
        controllers=frozenset(fact.get("controllers", "").split()),
        modules_missing=tuple(fact.get("modules_missing", "").split()),
    )
    return Reading(
        facts=facts,
        record={(kind, key): Entry(want, have, before) for kind, key, want, have, before in of("record")},
        hashes=dict(of("hash")),
        stats={
            path: Stat(int(mode, 8), owner, int(size), int(mtime), kind)
            for path, mode, owner, size, mtime, kind in of("stat")
        },
        links=dict(of("link")),
        sysctls=dict(of("sysctl")),
        modules=frozenset(name for (name,) in of("module")),
        packages=frozenset(name for (name,) in of("package")),
        units={
            name: UnitState(active, sub, enabled, needs_reload == "yes")
            for name, active, sub, enabled, needs_reload in of("unit")
        },
        texts={path: base64.b64decode(content).decode() for path, content in of("text")},
        mark="".join(mark for (mark,) in of("mark")),
    )


READ = files("kubeup.host").joinpath("read.sh").read_text()


class HostReading(FactBase[Reading | None]):
    """A Reading of the host, or None when it could not be had."""

    def command(self, contents: tuple[str, ...] = (), deep: bool = False, alone: bool = False) -> StringCommand:
        """``contents``: paths of files whose text is wanted too. ``deep``: hash large files as well.

        ``alone``: read nothing when another kubeup holds the host, but say who.
        """
        return privileged(READ, "deep" if deep else "quick", "alone" if alone else "any", *contents)

    def process(self, output: list[str]) -> Reading:
        return parse(output)
