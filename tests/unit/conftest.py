"""Hosts and clusters that exist in memory alone."""

from dataclasses import dataclass, replace
from hashlib import sha256
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import pytest

from kubeup.cluster import Cluster, Node, new_authority, new_key_pair
from kubeup.cluster.trust import AUTHORITIES, Trust
from kubeup.components import Artifact
from kubeup.deploy.run import ROLES
from kubeup.errors import ComponentError
from kubeup.host.difference import Desired, combined_inputs
from kubeup.host.facts import HostFacts
from kubeup.host.reading import Entry, Reading, Stat, UnitState, parse
from kubeup.host.resources import (
    Blob,
    Certificate,
    Cleanup,
    Directory,
    File,
    Link,
    Module,
    Package,
    Resource,
    Secret,
    Sysctl,
    Unit,
)
from kubeup.roles import desired_state

RECORDED = Path(__file__).parent / "host" / "reading.txt"
"""What read.sh printed on a lab host, a minion of a cluster that was up."""

NOW = 1_800_000_000
YEAR = 365 * 24 * 3600


def artifact(name: str, version: str, host: str = "") -> Artifact:
    """An artifact whose content is its name; there is no file."""
    content = sha256(f"{name} {version}".encode()).hexdigest()
    return Artifact(
        name=name,
        component=name,
        version=version,
        arch="amd64",
        sha256=content,
        size=1000,
        path=Path("/nonexistent"),
        packed_sha256=content,
        packed_size=10,
        packing="gzip" if name == "kubeup-unpack" else "zstd",
    )


def holding(desired: Desired, facts: HostFacts) -> Reading:
    """What a host is and holds after ``desired`` was applied to it: apply.sh and read.sh in a few lines."""
    reading = Reading(replace(facts, clock=NOW))

    def lies(key: tuple[str, str], path: str, want: str, mode: int, more: str = "-") -> None:
        content = sha256(path.encode()).hexdigest()
        reading.record[key] = Entry(want, f"{content} {more}", "absent")
        reading.hashes[path] = content
        reading.stats[path] = Stat(mode, "0:0", 1, 1, "regular file")

    for key, (_, resource) in desired.items():
        entry = Entry(resource.want, "-", "absent")
        match resource:
            case File():
                lies(key, resource.path, resource.want, resource.mode)
            case Secret():
                lies(key, resource.path, resource.want, 0o600)
            case Cleanup():
                lies(key, f"/var/lib/kubeup/cleanup/{resource.name}", resource.want, 0o600)
            case Certificate():
                lies(key, resource.path, resource.want, 0o644, f"{NOW + YEAR} {NOW}")
                lies(("file", resource.key_path), resource.key_path, resource.want, 0o600)
            case Unit():
                lies(key, resource.path, resource.want, 0o644, combined_inputs(resource, desired))
                reading.units[resource.name] = UnitState("active", "running", "enabled", False)
            case Blob():
                content = artifact(resource.artifact, resource.version)
                reading.record[key] = Entry(resource.want, f"{content.sha256} {content.size} 7", "absent")
                reading.stats[resource.path] = Stat(resource.mode, "0:0", content.size, 7, "regular file")
            case Link():
                reading.record[key] = entry
                reading.links[resource.path] = resource.target
            case Directory():
                reading.record[key] = entry
                reading.stats[resource.path] = Stat(0o700, "0:0", 1, 1, "directory")
            case Sysctl():
                reading.record[key] = entry
                reading.sysctls[resource.name] = resource.value
            case Module():
                reading.record[key] = entry
                reading.modules |= {resource.name}
            case Package():
                reading.record[key] = entry
                reading.packages |= {resource.name}
    return reading


def every(*resources: Resource) -> Desired:
    """A desired state of these, all asked for by one role."""
    return {resource.key: ("role", resource) for resource in resources}


def make_cluster(roles: str = "ai i i", **settings: Any) -> Cluster:
    """A cluster named demo whose nodes n1, n2, ... have these roles and the addresses 10.0.0.1, 10.0.0.2, ..."""
    nodes = [
        {"name": f"n{number}", "role": role, "host": f"10.0.0.{number}", "address": f"10.0.0.{number}"}
        for number, role in enumerate(roles.split(), start=1)
    ]
    of_etcd = [node for node in nodes if node["role"] == "etcd"]
    others = [node for node in nodes if node not in of_etcd]
    return Cluster.model_validate({"name": "demo", "nodes": others, "etcd_hosts": of_etcd, **settings})


class FakeMaterial:
    """Makes up whatever is asked for; ``asked`` are the names of what was."""

    SECRET = "-----BEGIN PRIVATE KEY----- never shown"  # noqa: S105  not one
    unpacker = "/opt/kubeup/unpack"

    def __init__(self, trust: Trust, broken: str = "") -> None:
        self.trust = trust
        self.asked: list[str] = []
        self._broken = broken

    def issue(self, spec: Any, authority_fingerprint: str = "") -> tuple[str, str, int, int]:
        self.asked.append(spec.common_name)
        return f"certificate of {spec.common_name}", self.SECRET, NOW, NOW + YEAR

    def secret(self, name: str) -> str:
        self.asked.append(name)
        return self.SECRET

    def lost(self, resource: Secret | Certificate) -> str:
        return ""

    def artifact(self, name: str, version: str, host: str) -> Artifact:
        self.asked.append(name)
        if name == self._broken:
            raise ComponentError(f"{name} is damaged")
        return artifact(name, version)


@dataclass(frozen=True)
class World:
    """The helpers of this file, for tests to ask for as one fixture."""

    facts: HostFacts
    trust: Trust

    holding = staticmethod(holding)
    every = staticmethod(every)
    cluster = staticmethod(make_cluster)
    artifact = staticmethod(artifact)
    now = NOW

    def material(self, broken: str = "") -> FakeMaterial:
        return FakeMaterial(self.trust, broken)

    def host(self, node: Node, **facts: Any) -> HostFacts:
        """The facts of the node's host."""
        own = (("lo", IPv4Interface("127.0.0.1/8")), ("eth0", IPv4Interface(f"{node.address}/24")))
        return replace(self.facts, **{"addresses": own, "hostname": node.name, **facts})

    def desired(self, cluster: Cluster, node: Node, **facts: Any) -> Desired:
        """All that the node shall hold."""
        return desired_state(ROLES, cluster, node, self.host(node, **facts), self.trust)


@pytest.fixture(scope="session")
def world() -> World:
    trust = Trust({name: replace(new_authority(name), key_pem=None) for name in AUTHORITIES}, new_key_pair().public_pem)
    facts = parse(RECORDED.read_text().splitlines()).facts
    bare = replace(facts, present=(), listening=frozenset({22}), routes=(), disks=(("/", 50 * 2**20),), clock=NOW)
    return World(bare, trust)
