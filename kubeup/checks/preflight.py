"""Whether hosts can take a cluster. Every check is a function of what was read; all problems are told at once.

None of them is a matter of taste: each would make the cluster fail, or would destroy something of somebody else's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kubeup.checks.places import KUBELET_PORT
from kubeup.cluster import Cluster, Node, VirtualAddress
from kubeup.cluster.trust import Trust
from kubeup.components import Artifact
from kubeup.errors import ComponentError, PreflightError, Problem
from kubeup.host.difference import Change
from kubeup.host.families import family_of, known
from kubeup.host.reading import Reading
from kubeup.host.resources import Blob, Certificate, Secret
from kubeup.host.session import Session

APISERVER = "kube-apiserver.service"

TOOLS = ("tar", "gzip", "flock", "sha256sum", "base64", "mount")
"""What kubeup's own scripts use beyond a shell and coreutils' simplest, and the kubelet (mount)."""

PORTS: Mapping[int, tuple[str, str]] = {
    # port: (which hosts, as the cluster has them, unit that listens there)
    2379: ("members", "etcd.service"),
    2380: ("members", "etcd.service"),
    10257: ("masters", "kube-controller-manager.service"),
    10259: ("masters", "kube-scheduler.service"),
    KUBELET_PORT: ("nodes", "kubelet.service"),
    10249: ("nodes", "kube-proxy.service"),
    10256: ("nodes", "kube-proxy.service"),
    5000: ("registry_nodes", "kubeup-registry.service"),
}

ADDON_PORTS: Mapping[int, tuple[str, str]] = {
    # port: (which nodes, as the cluster has them, image of the pods that listen there on their host's network)
    80: ("traefik_nodes", "traefik"),
    443: ("traefik_nodes", "traefik"),
    9180: ("traefik_nodes", "traefik"),
    7472: ("speakers", "metallb-speaker"),
    7946: ("speakers", "metallb-speaker"),
}

LEFTOVERS = {
    # path that another way to install Kubernetes leaves: what placed by kubeup would explain it
    "/etc/kubernetes/manifests": None,
    "/etc/kubernetes/admin.conf": ("file", "/etc/kubernetes/admin.conf"),
    "/etc/kubernetes/kubelet.conf": ("file", "/etc/kubernetes/kubelet.conf"),
    "/var/lib/kubelet/config.yaml": None,
    "/var/lib/etcd/member": ("dir", "/var/lib/etcd"),
    "/etc/rancher": None,
    "/var/lib/rancher": None,
    "/var/lib/k0s": None,
    "/var/snap/microk8s": None,
}

BALANCERS = {"haproxy": "/etc/haproxy/haproxy.cfg", "keepalived": "/etc/keepalived/keepalived.conf"}
"""Package and configuration of what several masters need."""

SNAPSHOTS_PORT = 2382

LEAST_MEMORY_KIB = {True: 700 * 1024, False: 300 * 1024}
"""What a master and a minion need to start at all: the sum of their processes, as measured with nothing to do."""

SKEW = 60
"""Seconds by which hosts' clocks may differ: leases, events and tokens are compared by them."""

SPARE_KIB = 512 * 1024
"""What has to be left on the disk besides components: logs, images' layers, etcd's first writes."""

RESTORING = "/var/lib/kubeup/restore/job"
"""On masters and members of etcd: a restore was begun, and which. It is gone when the restore has ended."""
BALANCER = "haproxy.service"
BALANCER_PORT = 6444

OUR_DEVICES = ("cni0", "flannel.1")

NFTABLES_KERNEL = (5, 13)
"""The oldest Linux for kube-proxy's nftables mode (Kubernetes' reference on virtual IPs)."""


class Artifacts(Protocol):
    trust: Trust

    def artifact(self, name: str, version: str, host: str) -> Artifact: ...

    def lost(self, resource: Secret | Certificate) -> str: ...


@dataclass(frozen=True)
class Subject:
    """One host, as the checks look at it."""

    cluster: Cluster
    node: Node
    reading: Reading
    change: Change
    artifacts: Artifacts

    def has_unit(self, name: str) -> bool:
        """Whether kubeup placed this unit here before."""
        return ("unit", name) in self.reading.record


Check = Callable[[Subject], Iterator[tuple[str, str]]]
"""Yields (what is wrong, what to do about it)."""


def operating_system(s: Subject) -> Iterator[tuple[str, str]]:
    facts = s.reading.facts
    family = family_of(facts.os, facts.os_like)
    if family is None:
        yield f"{facts.os_name} is not supported", f"use one of {known()}"
    elif facts.os_major and facts.os_major < family.oldest.get(facts.os, 0):
        yield f"{facts.os_name} is too old", f"use one of {known()}"
    if facts.arch not in ("amd64", "arm64"):
        yield f"the architecture {facts.arch} is not supported", "use an amd64 or arm64 host"
    if facts.init != "systemd":
        yield f"process 1 is {facts.init}, not systemd", "kubeup runs the cluster's parts as systemd services"


def tools(s: Subject) -> Iterator[tuple[str, str]]:
    missing = [tool for tool in TOOLS if tool not in s.reading.facts.commands]
    if missing:
        yield f"{', '.join(missing)} cannot be found", "install the packages tar, gzip, coreutils and util-linux"


def address(s: Subject) -> Iterator[tuple[str, str]]:
    facts = s.reading.facts
    if facts.addresses and facts.device_of(s.node.address) is None:
        own = ", ".join(str(i.ip) for device, i in facts.addresses if device not in ("lo", *OUR_DEVICES))
        yield (
            f"the address {s.node.address} is not one of this host's ({own})",
            f"set address: of {s.node.name} to the one by which the other nodes reach it",
        )


def networks(s: Subject) -> Iterator[tuple[str, str]]:
    taken = {
        **{interface.network: device for device, interface in s.reading.facts.addresses},
        **{network: device for network, device in s.reading.facts.routes if network.prefixlen > 0},
    }
    for setting, network in (("service_cidr", s.cluster.service_cidr), ("flannel_net", s.cluster.flannel_net)):
        for other, device in taken.items():
            # On a node, what leads into pods' network is pods': with host-gw through the device of the host's own
            # address, with a network of the user's through whatever that makes.
            ours = device in OUR_DEVICES or (setting == "flannel_net" and s.has_unit("kubelet.service"))
            if network.overlaps(other) and not ours and device != "lo":
                yield (
                    f"{setting} {network} overlaps with {other}, which this host reaches through {device}",
                    f"choose another {setting}",
                )


def proxy_mode(s: Subject) -> Iterator[tuple[str, str]]:
    facts, mode = s.reading.facts, s.cluster.kube_proxy.mode
    if s.node not in s.cluster.nodes:
        return
    # Services' addresses are those of a link of the kind "dummy".
    missing = [module for module in ("ip_vs", "dummy") if module not in facts.kernel_offers]
    if mode == "ipvs" and missing:
        yield (
            f"kube_proxy's mode ipvs needs {' and '.join(missing)}, which the kernel {facts.kernel} does not have",
            "use mode: nftables, which is as good for many Services (Kubernetes gives ipvs up), or install the rest of "
            "the kernel's modules (Ubuntu: linux-modules-extra-$(uname -r))",
        )
    version = re.match(r"(\d+)\.(\d+)", facts.kernel)
    if mode == "nftables" and version and (int(version[1]), int(version[2])) < NFTABLES_KERNEL:
        yield (
            f"kube_proxy's mode nftables needs Linux {'.'.join(map(str, NFTABLES_KERNEL))}, and this is {facts.kernel}",
            "use mode: iptables, or a newer kernel",
        )


def one_link(s: Subject) -> Iterator[tuple[str, str]]:
    """host-gw hands pods' packets to the other host itself, so no gateway may be in between."""
    facts, cluster = s.reading.facts, s.cluster
    flannel = cluster.flannel if cluster.cni == "flannel" and s.node in cluster.nodes else None
    if flannel and flannel.backend == "host-gw" and facts.neighbours:
        others = [node for node in cluster.nodes if node != s.node]
        far = [n.name for n in others if not facts.is_neighbour(n.address)]
        if far:
            yield (
                f"flannel's backend host-gw reaches only nodes of its own layer-2 network, and from here "
                f"{', '.join(far)} can be reached through a gateway alone",
                "use backend: vxlan, or put all nodes into one network",
            )
    own = facts.mtu_of(s.node.address)
    if flannel and flannel.mtu and own and flannel.mtu > own - flannel.overhead:
        yield (
            f"flannel's mtu {flannel.mtu} is more than this host's link takes ({own}"
            + (f", of which VXLAN needs {flannel.overhead})" if flannel.overhead else ")"),
            f"write mtu: {own - flannel.overhead} or less, or leave it out: it is then found out",
        )


def ports(s: Subject) -> Iterator[tuple[str, str]]:
    wanted = {s.cluster.api_port: ("masters", APISERVER), **PORTS}
    if len(s.cluster.masters) > 1:
        wanted[BALANCER_PORT] = ("nodes", BALANCER)
    for port, (where, unit) in sorted(wanted.items()):
        if port == s.cluster.api_port and s.has_unit(BALANCER):
            continue  # it has the same port on the virtual address, and may have been there first
        if s.node in getattr(s.cluster, where) and port in s.reading.facts.listening and not s.has_unit(unit):
            yield (
                f"port {port} is taken, and {unit.removesuffix('.service')} needs it",
                f"see what listens there: ss -ltnp 'sport = :{port}'",
            )


def addon_ports(s: Subject) -> Iterator[tuple[str, str]]:
    for port, (where, image) in ADDON_PORTS.items():
        ours = ("link", f"/opt/kubeup/images/{image}.tar") in s.reading.record
        if s.node in getattr(s.cluster, where) and port in s.reading.facts.listening and not ours:
            yield (
                f"port {port} is taken, and {image.partition('-')[0]} needs it",
                f"see what listens there: ss -ltnp 'sport = :{port}'",
            )


def nfs(s: Subject) -> Iterator[tuple[str, str]]:
    if s.cluster.addons.nfs and s.node in s.cluster.nodes and "nfs" not in s.reading.facts.kernel_offers:
        yield (
            "its kernel has no NFS client, which the addon nfs needs",
            "install the kernel's modules (nfs, nfsv4), use another kernel, or turn the addon off",
        )


def balancers(s: Subject) -> Iterator[tuple[str, str]]:
    several = len(s.cluster.masters) > 1 and s.node in s.cluster.nodes
    if several and s.reading.facts.os == "centos" and s.reading.facts.os_version.startswith("7"):
        yield "the haproxy of CentOS 7 is too old for several masters (1.5; it needs 1.8)", "use a newer system"
    has_address = any(s.node in virtual.nodes for virtual in s.cluster.virtual_addresses)
    ours = {"haproxy": several, "keepalived": has_address}
    what_for = {"haproxy": "the API", "keepalived": "addresses that move among nodes"}
    for name, path in BALANCERS.items():
        known = ("file", path) in s.reading.record or ("package", name) in s.reading.record
        if ours[name] and path in s.reading.facts.present and not known:
            yield (
                f"{name} is set up here for something else ({path}), and kubeup needs it for {what_for[name]}",
                f"remove it (apt purge {name}, dnf remove {name}) where it is not needed, or use another host",
            )


def virtual_address(s: Subject) -> Iterator[tuple[str, str]]:
    own = next((i for _, i in s.reading.facts.addresses if i.ip == s.node.address), None)
    for virtual in s.cluster.virtual_addresses:
        if own and s.node in virtual.nodes and virtual.address not in own.network:
            which = "all masters are in" if virtual.name == "api" else "all its nodes are in"
            yield (
                f"{virtual.name}'s address {virtual.address} is not in this {_kind(virtual)}'s network {own.network}",
                f"use a free address of the network that {which}; where they are in several, put a balancer of your "
                + ("own before them (api: {balancer: HOST})" if virtual.name == "api" else "own before them"),
            )


def _kind(virtual: VirtualAddress) -> str:
    return "master" if virtual.name == "api" else "node"


def pool(s: Subject) -> Iterator[tuple[str, str]]:
    """MetalLB answers in the network of the nodes alone: an address of another would reach nobody."""
    own = next((i for _, i in s.reading.facts.addresses if i.ip == s.node.address), None)
    if own is None or s.node not in s.cluster.announcing_nodes or s.cluster.addons.metallb is None:
        return
    for addresses in s.cluster.addons.metallb.addresses:
        if addresses.first not in own.network or addresses.last not in own.network:
            yield (
                f"metallb's addresses {addresses} are not all in this node's network {own.network}",
                "use free addresses of the network that the nodes are in, or say which nodes are (metallb: nodes:)",
            )


def other_cluster(s: Subject) -> Iterator[tuple[str, str]]:
    own = s.reading.cluster
    if own and own[0] != s.cluster.name:
        yield (
            f"this host belongs to the cluster {own[0]}",
            f"destroy that first, or take the host out of {s.cluster.name}'s inventory",
        )
    elif own and own[1] != s.artifacts.trust.identity:
        yield (
            f"this host belongs to another cluster that is also called {own[0]}, or to this one, and none of its "
            "masters is a master in the inventory any more",
            "keep one of them a master until the new ones are up; or destroy that cluster first with its own "
            "inventory; or give this one another name (name:)",
        )
    else:
        for path in s.reading.facts.present:
            if path in LEFTOVERS and LEFTOVERS[path] not in s.reading.record:
                yield (
                    f"{path} is there: the host holds another Kubernetes, or what one left",
                    "remove that with the tool that installed it (kubeadm reset, k3s-uninstall.sh, k0s reset …)",
                )


def half_restored(s: Subject) -> Iterator[tuple[str, str]]:
    if noted := s.reading.texts.get(RESTORING):
        job = json.loads(noted)
        yield (
            f"a restore was begun at {job['begun']} and has not ended",
            f"go on with it: the same `{job['command']} FILE` again",
        )


CRICTL_CONFIG = ("file", "/etc/crictl.yaml")
"""It has nothing but the socket of the runtime that runs a node's containers."""


def runtime_stays(s: Subject) -> Iterator[tuple[str, str]]:
    """Containers stay with the runtime that made them: with another, all of a node's would be there twice."""
    for item in s.change.items:
        had = item.entry.want if item.entry else ""
        if item.key == CRICTL_CONFIG and item.resource and had not in ("", "pending", item.resource.want):
            wanted = s.cluster.runtime_socket(s.node) or "kubeup's containerd"
            yield (
                f"its containers are run by another runtime than the inventory says ({wanted})",
                f"put runtime: back as it was, or take the node out and in again (kubeup remove-node {s.node.name}, "
                "kubeup add-node)",
            )


def nameservers(s: Subject) -> Iterator[tuple[str, str]]:
    """CoreDNS hands on to the host's nameservers what is not the cluster's: not to itself."""
    for server in s.reading.facts.upstream_nameservers():
        if s.node in s.cluster.nodes and server == str(s.cluster.dns_ip):
            yield (
                f"its nameserver {server} is the cluster's own DNS, which asks this host's nameservers in turn",
                f"write the nameservers of your network into {s.reading.facts.upstream_resolv_conf()}",
            )


def container_runtime(s: Subject) -> Iterator[tuple[str, str]]:
    if s.cluster.runtime_socket(s.node):  # it is asked, see kubeup.checks.runtime
        return
    taken = "/run/containerd/containerd.sock" in s.reading.facts.present and not s.has_unit("containerd.service")
    if taken and s.node in s.cluster.nodes:
        yield (
            "another containerd runs here (/run/containerd/containerd.sock)",
            "stop and remove it (packages containerd, containerd.io; Docker brings one), have it used by the cluster "
            "(runtime: {socket: ...}, docs/runtimes.md), or use another host",
        )


def disk(s: Subject) -> Iterator[tuple[str, str]]:
    blobs = [item.resource for item in s.change.items if isinstance(item.resource, Blob) and item.action != "remove"]
    needed = sum(s.artifacts.artifact(b.artifact, b.version, s.node.name).size for b in blobs) // 1024
    if not needed:
        return
    mounts = dict(s.reading.facts.disks)
    mount = max((m for m in mounts if "/opt/kubeup".startswith(m.rstrip("/") + "/")), key=len, default=None)
    if mount is not None and mounts[mount] < needed + SPARE_KIB:
        yield (
            f"{mount} has {mounts[mount] // 1024} MiB free; "
            f"the components take {needed // 1024} MiB and {SPARE_KIB // 1024} more should stay free",
            "free some space, or mount a larger disk at /opt",
        )


def keys(s: Subject) -> Iterator[tuple[str, str]]:
    needing = [item.resource for item in s.change.items if item.action != "remove"]
    lost = {s.artifacts.lost(resource) for resource in needing if isinstance(resource, Secret | Certificate)}
    for path in sorted(lost - {""}):
        yield (
            f"{path} is needed, and no master holds it any more as it was placed",
            "put it back from a backup of that host, or bring the cluster back from one of kubeup's (kubeup restore)",
        )


def kernel(s: Subject) -> Iterator[tuple[str, str]]:
    facts = s.reading.facts
    if s.node not in s.cluster.nodes:
        return
    if facts.modules_missing:
        yield (
            f"the kernel {facts.kernel} has no {', '.join(facts.modules_missing)}, and pods need it",
            "install the rest of the kernel's modules (linux-modules-extra-$(uname -r), kernel-modules-extra)",
        )
    if facts.controllers and (missing := {"cpu", "memory", "pids"} - facts.controllers):
        yield (
            f"the cgroup controllers {', '.join(sorted(missing))} are off, and the kubelet does not start without",
            "boot with cgroup_enable=memory (and no cgroup_disable=) on the kernel's command line",
        )


def memory(s: Subject) -> Iterator[tuple[str, str]]:
    has, needs = s.reading.facts.memory_kib, LEAST_MEMORY_KIB[s.node.is_master]
    if has and has < needs and s.node in s.cluster.nodes:
        what = "a master" if s.node.is_master else "a minion"
        yield f"{has // 1024} MiB of memory: {what} needs {needs // 1024} at least", "give the host more memory"


CHECKS: tuple[Check, ...] = (
    kernel,
    memory,
    operating_system,
    tools,
    address,
    networks,
    proxy_mode,
    one_link,
    ports,
    addon_ports,
    nfs,
    other_cluster,
    half_restored,
    container_runtime,
    runtime_stays,
    nameservers,
    balancers,
    virtual_address,
    pool,
    disk,
    keys,
)


def preflight(
    cluster: Cluster,
    readings: Mapping[str, Reading],
    changes: Mapping[str, Change],
    artifacts: Artifacts,
    more: Iterable[Problem] = (),
) -> None:
    """Check every host that is to be changed. Raises PreflightError with all problems of all hosts, and ``more``."""
    problems: list[Problem] = [*more, *_together(readings, new_hosts(readings, changes))]
    for name, change in changes.items():
        subject = Subject(cluster, cluster.node(name), readings[name], change, artifacts)
        problems += _problems(subject, CHECKS)
    if problems:
        raise PreflightError(problems)


def new_hosts(readings: Mapping[str, Reading], changes: Mapping[str, Change]) -> list[str]:
    """The hosts that are to be changed and of which nothing is this cluster's yet."""
    return [name for name, change in changes.items() if change and not readings[name].record]


def _together(readings: Mapping[str, Reading], new: Sequence[str]) -> Iterator[Problem]:
    """What must differ between hosts, or must not. Told of new ones alone: the others were fit."""
    facts = {name: reading.facts for name, reading in readings.items()}

    def twins(what: str, values: Mapping[str, Iterable[str]], remedy: str) -> Iterator[Problem]:
        having: dict[str, list[str]] = {}
        for name, own in values.items():
            for value in own:
                having.setdefault(value, []).append(name)
        for value, names in having.items():
            if len(names) > 1 and set(names) & set(new):
                yield Problem(", ".join(names), f"have the same {what}, {value}", remedy)

    yield from twins(
        "hostname",
        {name: [f.hostname] for name, f in facts.items()},
        "give each a name of its own: hostnamectl set-hostname NAME",
    )
    yield from twins(
        "machine-id",
        {name: [f.machine_id] for name, f in facts.items() if f.machine_id},
        "one was copied from another: rm /etc/machine-id && systemd-machine-id-setup on all but one, and reboot",
    )
    yield from twins(
        "MAC address",
        {name: sorted({mac for _, mac in f.macs if mac.strip("0:")}) for name, f in facts.items()},
        "give each virtual machine a network card of its own",
    )
    # They were read side by side, so their clocks should say the same, give or take how long that took.
    clocks = {name: f.clock for name, f in facts.items()}
    if clocks and max(clocks.values()) - min(clocks.values()) > SKEW and new:
        slow, fast = min(clocks, key=clocks.__getitem__), max(clocks, key=clocks.__getitem__)
        yield Problem(
            slow,
            f"its clock is {clocks[fast] - clocks[slow]} s behind that of {fast}",
            "set both right, and let chrony or systemd-timesyncd keep them so (timedatectl)",
        )


# A bare host has nothing that speaks TLS for sure; whether etcd takes the certificate is seen when that is there.
_CONNECT = 'for at in "$@"; do timeout 5 bash -c "exec 3<>/dev/tcp/${at%:*}/${at##*:}" 2>/dev/null || echo "$at"; done'


def existing_etcd(cluster: Cluster, session: Session, masters: Sequence[str]) -> None:
    """Check that an etcd which is not kubeup's can be reached from these masters. Raises PreflightError."""
    at = [url.removeprefix("https://") for url in cluster.etcd.endpoints]
    problems = []
    for name, output in session.side_by_side(masters, lambda name: session.shell(name, _CONNECT, *at)).items():
        if isinstance(output, Exception):
            raise output
        problems += [
            Problem(name, f"nothing answers at {silent}, where etcd shall be", "is this URL of etcd: endpoints: right?")
            for silent in output.stdout.split()
        ]
    if problems:
        raise PreflightError(problems)


def _problems(subject: Subject, checks: Sequence[Check]) -> Iterable[Problem]:
    try:
        for check in checks:
            for what, remedy in check(subject):
                yield Problem(subject.node.name, what, remedy)
    except ComponentError as error:  # components that are to be placed are not in the cache
        yield Problem(subject.node.name, str(error))
