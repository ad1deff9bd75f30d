"""What must hold between the parts of a cluster, one rule a function."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from kubeup.cluster.document import Key
from kubeup.cluster.model import Node, Role, Settings
from kubeup.components.catalogue import COMPONENTS

# kube-apiserver: service CIDRs of at most 20 bits (cmd/kube-apiserver/app/options/validation.go, maxCIDRBits).
LARGEST_SERVICE_PREFIX = 12
# The tenth address is DNS's, and services need some of their own.
SMALLEST_SERVICE_PREFIX = 28

# What the components of kubeup listen on, on some or all hosts.
FIXED_PORTS = {
    22: "SSH",
    2379: "etcd",
    6444: "the balancer of each node",
    2380: "etcd's peers",
    2382: "what takes snapshots from other masters",
    10248: "the kubelet's health check",
    10249: "kube-proxy's metrics",
    10250: "the kubelet",
    10256: "kube-proxy's health check",
    10257: "kube-controller-manager",
    10259: "kube-scheduler",
}


@dataclass(frozen=True)
class Finding:
    """A broken rule.

    ``keys`` are the places that have a part in it, the one to change first; nodes are ("nodes", index, field).
    ``concerns`` are the settings it was concluded from: where one of them is itself wrong, so may the finding be.
    "nodes" among them means that it was concluded from the number of nodes.
    """

    keys: tuple[Key, ...]
    what: str
    remedy: str
    concerns: frozenset[str] = frozenset()


Rule = Callable[[Settings, Sequence[Node]], Iterator[Finding]]


def masters(settings: Settings, nodes: Sequence[Node]) -> Iterator[Finding]:
    """There is one."""
    if not any(n.is_master for n in nodes):
        yield Finding(
            (("roles",), ("nodes",)),
            "no node is a master",
            "give one node (or three) the role a (master) or ai (master and minion)",
            frozenset({"nodes"}),
        )


def members(settings: Settings, nodes: Sequence[Node]) -> Iterator[Finding]:
    """etcd has one member or an odd number of them: they decide by majority."""
    hosts = [i for i, n in enumerate(nodes) if n.role == Role.ETCD]
    for i in hosts:
        if nodes[i].labels or nodes[i].taints:
            yield Finding(
                (("nodes", i, "labels" if nodes[i].labels else "taints"),),
                f"{nodes[i].name} is a host of etcd alone, which is no node of Kubernetes: it has no labels and taints",
                "leave them out",
            )
    if settings.etcd.endpoints:
        if hosts:
            yield Finding(
                (("nodes", hosts[0], "role"), ("etcd",)),
                "there are hosts for etcd, and an etcd that is there already (etcd: endpoints:)",
                "leave one: hosts with the role etcd for one that kubeup runs, endpoints: for one that it only uses",
                frozenset({"etcd"}),
            )
        return
    number = len(hosts) or sum(n.is_master for n in nodes)
    if number and number % 2 == 0:
        what, each = ("hosts for etcd", "host for etcd") if hosts else ("masters", "master")
        yield Finding(
            (("roles",), ("nodes",)),
            f"{number} {what}: an even number",
            f"use {number - 1} or {number + 1}. Each {each} has an etcd member, and etcd needs more than half of them: "
            f"{number} survive the loss of no more members than {number - 1} do, and have one more that can fail"
            + ("; three survive the loss of one" if number == 2 else ""),
            frozenset({"nodes", "etcd"}),
        )


def existing_etcd(settings: Settings, nodes: Sequence[Node]) -> Iterator[Finding]:
    """What is said of an etcd that is there already is enough to use it."""
    etcd = settings.etcd
    parts = {"endpoints": etcd.endpoints, "ca": etcd.ca, "certificate": etcd.certificate, "key": etcd.key}
    missing = [name for name, value in parts.items() if not value]
    if missing and len(missing) < len(parts):
        yield Finding(
            (("etcd",),),
            f"etcd: has no {', '.join(missing)}",
            "an etcd that is there already needs endpoints: (a list of https URLs), ca:, certificate: and key: (files)",
            frozenset({"etcd"}),
        )
    if etcd.endpoints and settings.leases_in_etcd:
        yield Finding(
            (("flannel", "store"), ("flannel",)),
            "flannel cannot keep its leases in an etcd that kubeup does not run: "
            "the certificate for it would open every Secret to every node",
            "write store: kubernetes",
            frozenset({"etcd", "flannel"}),
        )


def runtimes(settings: Settings, nodes: Sequence[Node]) -> Iterator[Finding]:
    """Where the user runs the container runtime, nothing is asked for that only kubeup's could do."""
    for i, node in enumerate(nodes):
        if node.role == Role.ETCD and node.runtime:
            yield Finding(
                (("nodes", i, "runtime"),),
                f"{node.name} is a host of etcd alone, which is no node of Kubernetes: it has no container runtime",
                "leave it out",
            )
    theirs = [n.name for n in nodes if n.role != Role.ETCD and (n.runtime or settings.runtime).socket]
    if not theirs:
        return
    whose = f"the container runtime of {', '.join(theirs)} is not kubeup's (runtime:), which leaves its settings alone"
    if settings.registries:
        yield Finding(
            (("registries",),),
            f"registries: is for kubeup's containerd, and {whose}",
            "leave registries: out, and say mirrors and authorities in that runtime's own configuration",
            frozenset({"registries", "runtime", "nodes"}),
        )
    if settings.addons.registry:
        yield Finding(
            (("addons", "registry"), ("addons",)),
            f"the addon registry tells containerd where images come from, and {whose}",
            "turn the addon off, and use a registry that the runtime is set up for",
            frozenset({"addons", "runtime", "nodes"}),
        )


def no_doubles(settings: Settings, nodes: Sequence[Node]) -> Iterator[Finding]:
    """No two nodes have a host, a name or an address in common. Of one pair, only the first of these is told."""
    told: set[tuple[int, int]] = set()
    aspects: Mapping[str, Callable[[Node], object]] = {
        # Ports tell hosts behind one forwarding address apart.
        "host": lambda n: (n.host.lower(), n.port or settings.ssh.port or 22),
        "name": lambda n: n.name,
        "address": lambda n: n.address,
    }
    remedies = {
        "host": "name each host once; one that is master and minion has the role ai",
        "name": "say name: for one of them",
        "address": "say address: with the one that other nodes reach this host by",
    }
    for aspect, value_of in aspects.items():
        first: dict[object, int] = {}
        for i, node in enumerate(nodes):
            j = first.setdefault(value_of(node), i)
            if j == i or (j, i) in told:
                continue
            told.add((j, i))
            what = f"the {aspect} {getattr(node, aspect)} is there twice: node {j + 1} has it too"
            yield Finding((("nodes", i, aspect),), what, remedies[aspect])


def api_address(settings: Settings, nodes: Sequence[Node]) -> Iterator[Finding]:
    """The API has one address for clients, and it is nobody else's."""
    api = settings.api
    if api.address and api.balancer:
        yield Finding(
            (("api",),),
            "api has both an address and a balancer",
            "keep address: for one that kubeup moves among the masters, or balancer: for one that you run",
            frozenset({"api"}),
        )
    if api.address and (api.address.is_loopback or api.address.is_multicast or api.address.is_unspecified):
        yield Finding(
            (("api", "address"),),
            f"api's address {api.address} is none that clients can reach",
            "use a free address of the masters' network",
            frozenset({"api"}),
        )
    for index, node in enumerate(nodes):
        if node.address == api.address:
            yield Finding(
                (("api", "address"), ("nodes", index, "address")),
                f"api's address {api.address} is that of the node {node.name}",
                "use a free address of the masters' network: it moves to another master when one fails",
                frozenset({"api", "nodes"}),
            )
    for setting, network in (("service_cidr", settings.service_cidr), ("flannel_net", settings.flannel_net)):
        if api.address and api.address in network:
            yield Finding(
                (("api", "address"), (setting,)),
                f"api's address {api.address} lies in {setting} {network}",
                "use a free address of the masters' network",
                frozenset({"api", setting}),
            )


def addon_nodes(settings: Settings, nodes: Sequence[Node]) -> Iterator[Finding]:
    """The nodes that addons name are there, and ingress' address has some to move among."""
    names = {n.name: n for n in nodes if n.role != Role.ETCD}
    for addon in ("metallb", "traefik", "ingress-vip"):
        chosen = getattr(getattr(settings.addons, addon.replace("-", "_")), "nodes", ())
        for index, name in enumerate(chosen):
            if name not in names:
                yield Finding(
                    (("addons", addon, "nodes", index), ("addons", addon, "nodes")),
                    f"{addon} names the node {name}, which is not there",
                    f"there are: {', '.join(names)}",
                    frozenset({"addons", "nodes"}),
                )
    registry = settings.addons.registry
    if registry and registry.node and registry.node not in names:
        yield Finding(
            (("addons", "registry", "node"),),
            f"registry names the node {registry.node}, which is not there",
            f"there are: {', '.join(names)}",
            frozenset({"addons", "nodes"}),
        )
    vip, traefik = settings.addons.ingress_vip, settings.addons.traefik
    if traefik and not traefik.nodes and nodes and not any(n.is_minion for n in nodes):
        yield Finding(
            (("addons", "traefik"), ("addons",)),
            "traefik has no nodes: none runs users' pods",
            "say nodes: [NAME, NAME] with those that shall take traffic in, or give a node the role i or ai",
            frozenset({"addons", "nodes"}),
        )
    if vip and not vip.nodes and not traefik:
        yield Finding(
            (("addons", "ingress-vip"), ("addons",)),
            "ingress-vip has no nodes to move among",
            "say nodes: [NAME, NAME] with those where your ingress controller listens on port 80, or have traefik:",
            frozenset({"addons"}),
        )
    if vip and vip.nodes and traefik and traefik.nodes:
        for index, name in enumerate(vip.nodes):
            if name in names and name not in traefik.nodes:
                yield Finding(
                    (("addons", "ingress-vip", "nodes", index), ("addons", "ingress-vip", "nodes")),
                    f"ingress-vip names the node {name}, on which traefik does not run",
                    "take it out, or name it under traefik: nodes: too",
                    frozenset({"addons"}),
                )


def outside_addresses(settings: Settings, nodes: Sequence[Node]) -> Iterator[Finding]:
    """Every address that clients outside use is one that they can reach, and for one thing."""
    addons = settings.addons
    networks = (("service_cidr", settings.service_cidr), ("flannel_net", settings.flannel_net))
    if vip := addons.ingress_vip:
        at: tuple[Key, ...] = (("addons", "ingress-vip", "address"), ("addons", "ingress-vip"))
        said = f"ingress-vip's address {vip.address}"
        remedy = "use a free address of its nodes' network"
        if vip.address.is_loopback or vip.address.is_multicast or vip.address.is_unspecified:
            yield Finding(at, f"{said} is none that clients can reach", remedy, frozenset({"addons"}))
        for index, node in enumerate(nodes):
            if node.address == vip.address:
                what = f"{said} is that of the node {node.name}"
                yield Finding((*at, ("nodes", index, "address")), what, remedy, frozenset({"addons", "nodes"}))
        if vip.address == settings.api.address:
            yield Finding((*at, ("api", "address")), f"{said} is the API's too", remedy, frozenset({"addons", "api"}))
        for setting, network in networks:
            if vip.address in network:
                what = f"{said} lies in {setting} {network}"
                yield Finding((*at, (setting,)), what, remedy, frozenset({"addons", setting}))
    if not addons.metallb:
        return
    ranges = addons.metallb.addresses
    for i, addresses in enumerate(ranges):
        at = (("addons", "metallb", "addresses", i), ("addons", "metallb", "addresses"), ("addons", "metallb"))
        said, remedy = f"metallb's addresses {addresses}", "use addresses of the nodes' network that nobody has"
        if addresses.overlaps(IPv4Network("127.0.0.0/8")) or addresses.overlaps(IPv4Network("224.0.0.0/3")):
            yield Finding(at, f"{said} are not all some that clients can reach", remedy, frozenset({"addons"}))
        taken: list[tuple[str, IPv4Address, Key, str]] = [
            (f"that of the node {n.name}", n.address, ("nodes", index, "address"), "nodes")
            for index, n in enumerate(nodes)
        ]
        if settings.api.address:
            taken.append(("the API's", settings.api.address, ("api", "address"), "api"))
        if vip:
            taken.append(("ingress-vip's", vip.address, ("addons", "ingress-vip", "address"), "addons"))
        for whose, address, key, setting in taken:
            if address in addresses:
                what = f"{said} contain {address}, {whose}"
                yield Finding((*at, key), what, remedy, frozenset({"addons", setting}))
        for setting, network in networks:
            if addresses.overlaps(network):
                what = f"{said} overlap with {setting} {network}"
                yield Finding((*at, (setting,)), what, remedy, frozenset({"addons", setting}))
        for other in ranges[:i]:
            if addresses.first <= other.last and other.first <= addresses.last:
                yield Finding(at, f"{said} overlap with {other}", "write each address once", frozenset({"addons"}))


def network_sizes(settings: Settings, nodes: Sequence[Node]) -> Iterator[Finding]:
    """The service network is of a size that kube-apiserver takes; flannel's has a subnet for each node."""
    services = settings.service_cidr
    at: tuple[Key, ...] = (("service_cidr",),)
    if services.prefixlen < LARGEST_SERVICE_PREFIX:
        what = f"the service network {services} is too large"
        remedy = f"write /{LARGEST_SERVICE_PREFIX} or smaller: kube-apiserver takes no more than 20 bits of addresses"
        yield Finding(at, what, remedy, frozenset({"service_cidr"}))
    if services.prefixlen > SMALLEST_SERVICE_PREFIX:
        what = f"the service network {services} is too small"
        remedy = (
            f"write /{SMALLEST_SERVICE_PREFIX} or larger: its first address is the API's, its tenth DNS's, "
            "and each service needs one"
        )
        yield Finding(at, what, remedy, frozenset({"service_cidr"}))

    pods, subnet = settings.flannel_net, settings.node_subnet
    # With its own store flannel leaves the first subnet unused and wants four (flannel, subnet.CheckNetworkConfig).
    own_store = settings.leases_in_etcd
    count = sum(n.role != Role.ETCD for n in nodes)
    has = (1 << max(0, subnet - pods.prefixlen)) if subnet >= pods.prefixlen else 0
    needs = max(4, count + 1) if own_store else count
    if has < needs:
        prefix = subnet - (needs - 1).bit_length()
        yield Finding(
            (("flannel_net",), ("node_subnet",), ("nodes",)),
            f"the pod network {pods} is too small: it holds {has} /{subnet} subnets, and {needs} are needed"
            + (" (flannel with its store in etcd leaves the first unused and wants four)" if own_store else ""),
            f"write flannel_net with /{prefix} or larger, or smaller subnets with node_subnet:",
            frozenset({"flannel_net", "node_subnet", "flannel", *(() if own_store and has < 4 else ("nodes",))}),
        )


def no_overlaps(settings: Settings, nodes: Sequence[Node]) -> Iterator[Finding]:
    """Services, pods and hosts have addresses of their own: a packet's destination must say which it is for."""
    services, pods = settings.service_cidr, settings.flannel_net
    addresses = [n.address for n in nodes]
    if services.overlaps(pods):
        yield Finding(
            (("service_cidr",), ("flannel_net",)),
            f"service_cidr {services} and flannel_net {pods} overlap",
            f"give one of them another network, e.g. service_cidr: {_free_network([pods], addresses)}",
            frozenset({"service_cidr", "flannel_net"}),
        )
    for setting, network, other in (("service_cidr", services, pods), ("flannel_net", pods, services)):
        for i, node in enumerate(nodes):
            if node.address in network:
                yield Finding(
                    (("nodes", i, "address"),),
                    f"node {node.name} has the address {node.address}, which lies in {setting} {network}",
                    f"give {setting} a network that no host is in, e.g. {_free_network([other], addresses)}",
                    frozenset({setting}),
                )


def _free_network(taken: Sequence[IPv4Network], addresses: Sequence[IPv4Address]) -> IPv4Network:
    """A private /16 without the networks and addresses given."""
    candidates = (IPv4Network(f"10.{i % 256}.0.0/16") for i in range(96, 96 + 256))
    free = (c for c in candidates if not any(c.overlaps(t) for t in taken) and not any(a in c for a in addresses))
    return next(free, IPv4Network("172.30.0.0/16"))


def usable_addresses(settings: Settings, nodes: Sequence[Node]) -> Iterator[Finding]:
    """A node's address is one that other hosts can reach it by."""
    for i, node in enumerate(nodes):
        a = node.address
        kinds = {"loopback": a.is_loopback, "multicast": a.is_multicast, "unspecified": a.is_unspecified}
        for kind in (k for k, applies in kinds.items() if applies):
            yield Finding(
                (("nodes", i, "address"),),
                f"node {node.name} has the {kind} address {a}, which other nodes cannot reach it by",
                f"say address: for node {node.name}, with the one it has in the cluster's network",
            )


def ports(settings: Settings, nodes: Sequence[Node]) -> Iterator[Finding]:
    """No port is for two things on one host."""
    if taken := FIXED_PORTS.get(settings.api_port):
        what = f"api_port {settings.api_port} is the port of {taken}"
        yield Finding((("api_port",),), what, "use another, e.g. 6443", frozenset({"api_port"}))
    low, high = map(int, settings.node_port_range.split("-"))
    for port, user in {**FIXED_PORTS, settings.api_port: "the API (api_port)"}.items():
        if low <= port <= high:
            yield Finding(
                (("node_port_range",), ("api_port",)),
                f"node_port_range {settings.node_port_range} contains {port}, the port of {user}",
                "use a range without it, e.g. 30000-32767",
                frozenset({"node_port_range", "api_port"}),
            )


def addon_names(settings: Settings, nodes: Sequence[Node]) -> Iterator[Finding]:
    """No two entries of an addon's list have a name in common."""
    for of, key in (("manifests", "path"), ("helm", "chart")):
        seen: set[str] = set()
        for i, entry in enumerate(getattr(settings.addons, of)):
            if entry.name in seen:
                yield Finding(
                    (("addons", of, i),),
                    f"there is another entry with the name {entry.name}",
                    f"give one of them another: {{name: {entry.name}-2, {key}: ...}}",
                    frozenset({"addons"}),
                )
            seen.add(entry.name)


def known_versions(settings: Settings, nodes: Sequence[Node]) -> Iterator[Finding]:
    """Every version is one that the catalogue has."""
    for key, version in settings.versions:
        name = key.replace("_", "-")
        known = [c.version for c in COMPONENTS if c.name == name]
        if version not in known:
            what = f"{name} {version} is not in kubeup's catalogue"
            yield Finding((("versions", key),), what, f"it has {', '.join(known)}")


RULES: tuple[Rule, ...] = (
    masters,
    members,
    existing_etcd,
    runtimes,
    no_doubles,
    api_address,
    addon_nodes,
    outside_addresses,
    network_sizes,
    no_overlaps,
    usable_addresses,
    ports,
    addon_names,
    known_versions,
)
