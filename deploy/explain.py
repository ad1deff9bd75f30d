"""What `up` does, written as what a person would do by hand: files and commands, in order, on each host.

It is made of the very state that `up` brings to the hosts, so it says what this version of kubeup does with this
inventory. No host is asked: what they are is assumed, and said. No secret is in it, nor any certificate.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from ipaddress import IPv4Interface
from textwrap import fill
from types import ModuleType
from typing import cast

from kubeup.cluster import Cluster, Node, Role, new_authority, new_key_pair
from kubeup.cluster.trust import ALL, AUTHORITIES, EXISTING_ETCD, SERVICE_ACCOUNTS, ExistingEtcd, Trust
from kubeup.deploy.members import Members, first_start
from kubeup.deploy.phases import Converge, Distribute
from kubeup.deploy.run import ROLES
from kubeup.deploy.up import PHASES
from kubeup.errors import InventoryError, Problem
from kubeup.host.difference import Desired
from kubeup.host.facts import HostFacts
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
from kubeup.roles import desired_state, role_name
from kubeup.roles.authorities import TRUST, key_path
from kubeup.roles.etcd import FIRST_START, peer_url

ASSUMED = HostFacts(
    os="debian",
    os_like=(),
    os_version="12",
    os_name="Debian GNU/Linux 12",
    arch="amd64",
    kernel="6.1",
    hostname="",
    cpus=4,
    memory_kib=8 * 2**20,
    cgroup=2,
    init="systemd",
    systemd=252,
    apparmor=True,
    kmsg=True,
    owns_kernel=True,
    conntrack_writable=True,
    nofile=0,
    capabilities=2**41 - 1,
    swaps=0,
    clock=0,
    commands=frozenset({"apt-get", "ip", "iptables", "modprobe", "mount", "nft"}),
    addresses=(),
    routes=(),
    nameservers=(("/etc/resolv.conf", "192.0.2.53"),),
    listening=frozenset(),
    disks=(),
    present=(),
)
"""Of every host."""

HEAD = """\
# How the cluster {name} comes up by hand: what `kubeup up` does with this inventory, in its order.
#
# Assumed of the hosts, none of which was asked: {os} on {arch}, cgroup v{cgroup}, a kernel of their own, a
# nameserver that pods can reach, the network link eth0. Where a host is otherwise, `kubeup plan` shows it.
#
# Programs and images are those in kubeup's cache (`kubeup components fetch`, `kubeup components list`), unpacked into
# the folder $FILES. Keys and certificates of the authorities lie in the folder $CA; nobody else may read it.
"""

# What new_authority and issue of kubeup.cluster.certificates do.
AUTHORITY = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days {days} -subj /CN={name} "
    "-addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign "
    '-keyout "$CA/{name}.key" -out "$CA/{name}.crt"'
)
ISSUE = """\
# issue AUTHORITY CERTIFICATE KEY SUBJECT USAGES NAMES: a new key, and a certificate for it. To be done where the key of
# the authority is, on a master; what it makes for another host is copied there.
issue() {{
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$4" -keyout "$3" |
        openssl x509 -req -CA "$CA/$1.crt" -CAkey "$CA/$1.key" -days {days} -out "$2" -extfile /dev/fd/3 3<<END
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=$5
${{6:+subjectAltName=$6}}
END
    chmod 0600 "$3"
}}
"""
END = "END-OF-FILE"


def explain(cluster: Cluster, role: str | None = None, hosts: Collection[str] = ()) -> str:
    """The text, which is also a shell script of sorts; of one role or of these hosts alone where they are given.

    Raises InventoryError when there is no such role or host.
    """
    roles = _chosen(role)
    names = [node.name for node in cluster.hosts]
    if unknown := [name for name in hosts if name not in names]:
        raise InventoryError([Problem("--host", f"no host is called {unknown[0]}", f"there are {', '.join(names)}")])
    nodes = [node for node in cluster.hosts if not hosts or node.name in hosts]
    trust = replace(
        _stand_in(), existing_etcd=ExistingEtcd("CA\n", "CERTIFICATE\n") if cluster.etcd.endpoints else None
    )
    desired = {node.name: desired_state(ROLES, cluster, node, assumed(node), trust) for node in nodes}
    known = _known_texts(trust)
    head = HEAD.format(name=cluster.name, os=ASSUMED.os_name, arch=ASSUMED.arch, cgroup=ASSUMED.cgroup)
    lines = [head, *_authorities(cluster)]
    number = 0
    for phase in PHASES:
        part = list(_phase(phase, cluster, nodes, roles, desired, known))
        if part:
            number += 1
            lines += ["", f"# ==== {number}. {phase.title}{_about(phase)}", *part]
    return "\n".join(lines) + "\n"


def role_names() -> list[str]:
    return [role_name(role) for role in ROLES]


def _chosen(role: str | None) -> list[str]:
    if role is None:
        return role_names()
    name = role.removeprefix("kube-") if role.removeprefix("kube-") in role_names() else role
    name = name.replace("-", "_")
    if name not in role_names():
        known = ", ".join(role_names())
        raise InventoryError([Problem("", f"no role is called {role}", f"there are {known}")])
    return [name]


@cache
def _stand_in() -> Trust:
    """Whom a cluster trusts that is not there yet. Nothing of it is ever shown."""
    return Trust({name: replace(new_authority(name), key_pem=None) for name in AUTHORITIES}, new_key_pair().public_pem)


def assumed(node: Node) -> HostFacts:
    """What a host is taken for."""
    own = (("lo", IPv4Interface("127.0.0.1/8")), ("eth0", IPv4Interface(f"{node.address}/24")))
    return replace(ASSUMED, hostname=node.name, addresses=own)


def _known_texts(trust: Trust) -> Mapping[str, str]:
    """Contents that are not shown, and the file that they come from."""
    known = {trust.bundle_pem(name): f"$CA/{name}.{'pub' if name == SERVICE_ACCOUNTS else 'crt'}" for name in ALL}
    if trust.existing_etcd:
        known[trust.existing_etcd.ca_pem] = "$CA/existing-etcd-ca.crt"
        known[trust.existing_etcd.certificate_pem] = "$CA/existing-etcd.crt"
    return known


def _secret_files() -> Mapping[str, str]:
    trust = _stand_in()
    return {key_path(trust.key_name(name)): name for name in ALL}


def _authorities(cluster: Cluster) -> Iterator[str]:
    certificates = cluster.certificates
    yield "# ==== Once, on a machine of yours: the authorities, and the key that signs service accounts' tokens."
    for name in AUTHORITIES:
        yield AUTHORITY.format(days=certificates.authority_lifetime.days or 1, name=name)
    yield f'openssl genrsa -out "$CA/{SERVICE_ACCOUNTS}.key" 2048'
    yield f'openssl rsa -in "$CA/{SERVICE_ACCOUNTS}.key" -pubout -out "$CA/{SERVICE_ACCOUNTS}.pub"'
    yield from ISSUE.format(days=certificates.lifetime.days or 1).splitlines()


def _about(phase: object) -> str:
    """What a phase does, where its title and the roles do not say it."""
    if isinstance(phase, Converge):
        return ""
    text = " ".join((type(phase).__doc__ or "").split())
    return f": {text.partition('. ')[0].removesuffix('.')}."


def _phase(
    phase: object,
    cluster: Cluster,
    nodes: Sequence[Node],
    roles: Collection[str],
    desired: Mapping[str, Desired],
    known: Mapping[str, str],
) -> Iterator[str]:
    """What is done on each host in a phase."""
    for node in nodes:
        wanted = [(role, resource) for role, resource in desired[node.name].values() if role in roles]
        chosen: list[tuple[str, Resource]]
        match phase:
            case Distribute():
                chosen = [(role, resource) for role, resource in wanted if isinstance(resource, Blob)]
            case Converge():
                own = {role_name(role) for role in phase.roles}
                chosen = [(role, r) for role, r in wanted if role in own and not isinstance(r, Blob)]
            case Members() if "etcd" in roles and node in cluster.members:
                peers = [(member.name, peer_url(member)) for member in cluster.members]
                text = first_start(peers, "new")
                chosen = [("etcd", File(FIRST_START, text))]
            case _:
                chosen = []
        if chosen:
            yield ""
            yield f"# ---- on {node.name} ({_what(node)}, {node.address})"
            yield from _host(chosen, known)


def _what(node: Node) -> str:
    return {Role.MASTER: "a: master", Role.MINION: "i: minion", Role.BOTH: "ai: master and minion"}.get(
        node.role, "etcd alone"
    )


PASSES: tuple[type[Resource] | tuple[type[Resource], ...], ...] = (
    Package,
    Module,
    Directory,
    Blob,
    (File, Certificate, Secret),
    Link,
    Sysctl,
)
"""The order in which things are placed that need one another; units come last."""


def _host(chosen: Sequence[tuple[str, Resource]], known: Mapping[str, str]) -> Iterator[str]:
    documents = {role_name(role): cast(ModuleType, role).__doc__ for role in ROLES}
    for role in dict.fromkeys(role for role, _ in chosen):
        own = [resource for r, resource in chosen if r == role]
        yield fill(" ".join((documents[role] or "").split("\n\n")[0].split()), 118, initial_indent="# ",
                   subsequent_indent="# ")  # fmt: skip
        for kind in PASSES:
            for resource in (r for r in own if isinstance(r, kind)):
                yield from _resource(resource, known)
        for unit in (r for r in own if isinstance(r, Unit)):
            yield from _text(unit.path, unit.content, 0o644)
    units = [resource for _, resource in chosen if isinstance(resource, Unit)]
    if units:
        yield "systemctl daemon-reload"
        yield f"systemctl enable {' '.join(unit.name for unit in units)}"
        if waited := [unit.name for unit in units if unit.wait]:
            yield f"systemctl restart {' '.join(waited)}"
        if others := [unit.name for unit in units if not unit.wait]:
            yield f"systemctl restart --no-block {' '.join(others)}   # these are ready later"


def _resource(resource: Resource, known: Mapping[str, str]) -> Iterator[str]:
    match resource:
        case Package():
            yield f"command -v {resource.command} || apt-get install -y {resource.name}   # dnf, yum on other families"
        case Module():
            yield f"[ -e {resource.evidence} ] || modprobe {resource.name}"
        case Directory():
            yield f"install -d -m {resource.mode:04o} {resource.path}"
        case Blob():
            yield f'install -D -m {resource.mode:04o} "$FILES/{resource.artifact}" {resource.path}'
        case Link():
            yield f"install -d {resource.path.rpartition('/')[0]}; ln -sfn {resource.target} {resource.path}"
        case Sysctl():
            yield f"sysctl -w {resource.name}={shlex.quote(resource.value)}"
        case Certificate():
            yield _issued(resource)
        case Secret():
            name = "existing-etcd" if resource.name == EXISTING_ETCD else _secret_files()[resource.path]
            yield f'install -D -m 0600 "$CA/{name}.key" {resource.path}'
        case File() if resource.path == TRUST:
            yield f"# ({TRUST} is kubeup's own note of whom the cluster trusts)"
        case File() if resource.content in known:
            yield f'install -D -m {resource.mode:04o} "{known[resource.content]}" {resource.path}'
        case File() if not resource.mode & 0o004:
            yield f"# ({resource.path}, mode {resource.mode:04o}, is not shown: it may hold a secret)"
        case File():
            yield from _text(resource.path, resource.content, resource.mode)
        case Cleanup() | Unit():
            pass


def _text(path: str, content: str, mode: int) -> Iterator[str]:
    yield f"install -D -m {mode:04o} /dev/stdin {path} <<'{END}'"
    yield content.removesuffix("\n")
    yield END


def _issued(certificate: Certificate) -> str:
    spec = certificate.spec
    subject = "".join(f"/O={name}" for name in spec.organizations) + f"/CN={spec.common_name}"
    usages = ",".join({"server": "serverAuth", "client": "clientAuth"}[usage] for usage in spec.usages)
    names = ",".join([*(f"DNS:{name}" for name in spec.dns_names), *(f"IP:{address}" for address in spec.addresses)])
    folder = certificate.path.rpartition("/")[0]
    words = (spec.authority, certificate.path, certificate.key_path, subject, usages, names)
    return f"install -d {folder}; issue {' '.join(shlex.quote(word) for word in words)}"
