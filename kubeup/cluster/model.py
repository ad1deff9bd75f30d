"""What a cluster is: the values that an inventory becomes and that every role is a function of.

All models are frozen. A field's validator says what is wrong with that field alone; what no field can know by
itself (overlaps, counts, doubles) is in ``kubeup.cluster.rules`` and checked by ``load``.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from kubeup.cluster.addons import Addons
from kubeup.cluster.certificates import AUTHORITY_LIFETIME, LEAF_LIFETIME
from kubeup.cluster.runtimes import Runtime
from kubeup.cluster.sources import PackageMirrors, Proxy, Registry, RegistryName
from kubeup.cluster.values import DnsLabel, LocalPath, Value, is_dns_name, refuse
from kubeup.components.catalogue import DEFAULT_VERSIONS

# "system:node:" + name is the common name of a kubelet's certificate, and X.509 allows 64 characters there
# (RFC 5280, ub-common-name). It also keeps the name within the 63 that the kubernetes.io/hostname label may have.
LONGEST_NODE_NAME = 64 - len("system:node:")

CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
WORKER = "node-role.kubernetes.io/worker"

# A label's value, and the name in Kubernetes' [prefix/]name (apimachinery, validation.IsQualifiedName).
_LABEL_TEXT = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_VERSION = re.compile(r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?")

# A kubelet refuses to start when --node-labels has a label of these namespaces that is not listed below
# (k8s.io/kubelet/pkg/apis/well_known_labels.go).
_KUBERNETES_NAMESPACES = ("kubernetes.io", "k8s.io")
_KUBELET_NAMESPACES = ("kubelet.kubernetes.io", "node.kubernetes.io")
_KUBELET_LABELS = (  # without those that a kubelet finds out by itself
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
)


def _dns_domain(text: str) -> str:
    if not is_dns_name(text):
        refuse(f"{text!r} is not a DNS domain", "write it like cluster.local")
    return text


def _node_name(text: str) -> str:
    if not is_dns_name(text):
        refuse(f"{text!r} cannot be a node's name", "use lower-case letters, digits, '-' and '.', e.g. name: worker-1")
    if len(text) > LONGEST_NODE_NAME:
        refuse(
            f"the node name {text!r} has {len(text)} characters",
            f"say name: with at most {LONGEST_NODE_NAME}: the node's certificate is for system:node:NAME, "
            "and X.509 allows 64 characters there",
        )
    return text


def _label_key(key: str) -> str:
    prefix, slash, name = key.rpartition("/")
    if not _LABEL_TEXT.fullmatch(name) or (slash and not is_dns_name(prefix)):
        refuse(f"{key!r} cannot be a key in Kubernetes", "write it like disk or example.com/disk, up to 63 characters")
    return key


def _within(domain: str, namespaces: tuple[str, ...]) -> bool:
    return any(domain == n or domain.endswith(f".{n}") for n in namespaces)


def _node_label_key(key: str) -> str:
    prefix = _label_key(key).rpartition("/")[0]
    reserved = _within(prefix, _KUBERNETES_NAMESPACES) and not _within(prefix, _KUBELET_NAMESPACES)
    if reserved and key not in _KUBELET_LABELS:
        refuse(
            f"the label {key} is reserved: a kubelet refuses to start with it",
            "use a key of your own, e.g. example.com/..., or one of node.kubernetes.io/...; "
            "the node-role labels are set by kubeup",
        )
    return key


def _empty_is_text(value: Any) -> Any:
    return "" if value is None else value  # "disk:" in YAML is a label without a value


def _label_value(value: str) -> str:
    if value and not _LABEL_TEXT.fullmatch(value):
        refuse(f"{value!r} cannot be a label's value", "use up to 63 letters, digits, '-', '_' and '.'")
    return value


def _version(text: str) -> str:
    text = text.removeprefix("v")
    if not _VERSION.fullmatch(text):
        refuse(f"{text!r} is not a version", "write it in full, e.g. 1.36.3")
    return text


def _network(value: Any) -> Any:
    try:
        network = IPv4Network(value, strict=False)
    except ValueError:
        refuse(f"{str(value)!r} is not an IPv4 network", "write it like 172.16.0.0/16")
    if "/" not in str(value):
        refuse(f"{str(value)!r} does not say how large the network is", f"write it like {value}/16")
    if str(network.network_address) != str(value).partition("/")[0]:
        refuse(f"{value} is an address within a network, not a network", f"write {network}")
    return network


def _connectable(text: str) -> str:
    # A leading "-" would be an option to every command line that it gets into.
    if not re.fullmatch(r"[^\s@/-][^\s@/]*", text):
        refuse(f"{text!r} is not something to connect to", "write [user@]host[:port], e.g. vcap@10.10.103.250")
    return text


def _balancer(text: str) -> str:
    host, colon, port = text.partition(":")
    if not host or (colon and not (port.isdigit() and 0 < int(port) < 65536)) or not is_dns_name(host.lower()):
        refuse(f"{text!r} is not a balancer's host", "write HOST or HOST:PORT, e.g. api.example.com:6443")
    return text


def _etcd_url(text: str) -> str:
    if not re.fullmatch(r"https://[^\s/@,:]+(:\d{1,5})?/?", text):
        refuse(f"{text!r} is not the URL of an etcd member", "write it like https://10.10.103.250:2379")
    text = text.removesuffix("/")
    return text if text.count(":") > 1 else f"{text}:2379"


def _port_range(text: str) -> str:
    match = re.fullmatch(r"(\d{1,5})-(\d{1,5})", text)
    if not match or not 0 < int(match[1]) <= int(match[2]) < 65536:
        refuse(f"{text!r} is not a range of ports", "write it like 30000-32767")
    return text


def _lifetime(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"([1-9]\d{0,5})([dhm])", str(value))
    if not match:
        refuse(f"{str(value)!r} is not a length of time", "write it in days, hours or minutes: 365d, 12h, 30m")
    return int(match[1]) * {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}[match[2]]


def _interval(value: Any) -> Any:
    if str(value) in ("off", "no", "false"):  # as YAML has "off", and as people mean it
        return timedelta(0)
    interval = _lifetime(value)
    if timedelta(0) < interval < timedelta(minutes=5):
        refuse(f"{value} is too often for snapshots", "write 5m or more, or off")
    return interval


NodeName = Annotated[str, AfterValidator(_node_name)]
LabelKey = Annotated[str, AfterValidator(_label_key)]
NodeLabelKey = Annotated[str, AfterValidator(_node_label_key)]
LabelValue = Annotated[str, BeforeValidator(_empty_is_text), AfterValidator(_label_value)]
Version = Annotated[str, AfterValidator(_version)]
Connectable = Annotated[str, AfterValidator(_connectable)]
Network = Annotated[IPv4Network, BeforeValidator(_network)]
EtcdUrl = Annotated[str, AfterValidator(_etcd_url)]
Lifetime = Annotated[timedelta, BeforeValidator(_lifetime)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Role(StrEnum):
    """What a node is for, in the letters of 2015: ``a`` runs the control plane, ``i`` runs pods, ``ai`` does both.

    ``etcd`` is a host that has a member of etcd and nothing else: it is no node of Kubernetes. Where there are such
    hosts the masters have no members.
    """

    MASTER = "a"
    MINION = "i"
    BOTH = "ai"
    ETCD = "etcd"


class Taint(Value):
    """Keeps pods off a node. Written as a map of the fields below, or as kubectl does: ``key[=value]:effect``."""

    key: LabelKey
    value: LabelValue = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        what, colon, effect = data.rpartition(":")
        if not colon:
            refuse(f"the taint {data!r} has no effect", f"write it like {data}:NoSchedule")
        key, _, value = what.partition("=")
        return {"key": key, "value": value, "effect": effect}

    def __str__(self) -> str:
        """As kubectl and ``kubelet --register-with-taints`` write it."""
        return f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"


# What keeps user pods off a node that is a master alone.
CONTROL_PLANE_TAINT = Taint(key=CONTROL_PLANE, effect="NoSchedule")


class SshDefaults(Value):
    """How to connect to every node that does not say otherwise. None leaves it to OpenSSH's config and defaults.

    Paths: ``~`` is expanded, a relative one is meant from the inventory's folder.
    """

    user: Connectable | None = None
    port: Port | None = None
    key: LocalPath | None = None
    known_hosts: LocalPath | None = None
    config: LocalPath | None = None


class SshTarget(SshDefaults):
    """Where and how SSH connects to one node."""

    host: Connectable


class Node(Value):
    """One host of the cluster.

    ``host`` is what SSH connects to (an address, a name, or an alias of OpenSSH's config); ``address`` is where the
    other nodes find this one. ``name`` is the node's name in Kubernetes. ``runtime``: where it is not the cluster's.
    """

    name: NodeName
    role: Role
    host: Connectable
    address: IPv4Address
    user: Connectable | None = None
    port: Port | None = None
    key: LocalPath | None = None
    labels: dict[NodeLabelKey, LabelValue] = {}  # noqa: RUF012 - pydantic copies it
    taints: tuple[Taint, ...] = ()
    runtime: Runtime | None = None

    def __hash__(self) -> int:
        # Equal nodes have equal names, and a dict of labels has no hash of its own.
        return hash(self.name)

    @property
    def is_master(self) -> bool:
        """Runs the control plane."""
        return self.role in (Role.MASTER, Role.BOTH)

    @property
    def is_minion(self) -> bool:
        """Runs users' pods. A master that is not a minion has a kubelet too, and a taint that keeps them off."""
        return self.role in (Role.MINION, Role.BOTH)

    @property
    def all_taints(self) -> tuple[Taint, ...]:
        """The inventory's taints, and the control plane's on a node that is a master alone."""
        if self.is_minion or CONTROL_PLANE_TAINT in self.taints:
            return self.taints
        return (CONTROL_PLANE_TAINT, *self.taints)

    @property
    def role_labels(self) -> dict[str, str]:
        """Labels that show the roles in ``kubectl get nodes``.

        Apart from ``labels``, because the NodeRestriction admission plugin lets no kubelet set these on itself:
        an admin client applies them.
        """
        wanted = {CONTROL_PLANE: self.is_master, WORKER: self.is_minion}
        return {label: "" for label, has in wanted.items() if has}


class Versions(Value):
    """The version of each component, without a leading "v". A component's key here has "_" where its name has "-"."""

    kubernetes: Version = DEFAULT_VERSIONS["kubernetes"]
    etcd: Version = DEFAULT_VERSIONS["etcd"]
    containerd: Version = DEFAULT_VERSIONS["containerd"]
    runc: Version = DEFAULT_VERSIONS["runc"]
    cni_plugins: Version = DEFAULT_VERSIONS["cni-plugins"]
    flannel: Version = DEFAULT_VERSIONS["flannel"]
    coredns: Version = DEFAULT_VERSIONS["coredns"]
    cri_tools: Version = DEFAULT_VERSIONS["cri-tools"]


VXLAN_OVERHEAD = 50  # outer IPv4, UDP and VXLAN headers, and the inner Ethernet header: 20 + 8 + 8 + 14


class KubeProxy(Value):
    """``mode``: how kube-proxy programs the kernel."""

    mode: Literal["iptables", "nftables", "ipvs"] = "iptables"


class Flannel(Value):
    """``store``: where flannel keeps who has which subnet; ``backend``: how packets get from node to node.

    ``mtu``: the largest packet of pods, in bytes; found out where it is not given. (1280 is the least that IPv6 needs.)
    """

    store: Literal["kubernetes", "etcd"] = "kubernetes"
    backend: Literal["vxlan", "host-gw"] = "vxlan"
    mtu: int | None = Field(None, ge=1280, le=65535)

    @property
    def overhead(self) -> int:
        """By how many bytes a packet between nodes is larger than the pod's in it."""
        return VXLAN_OVERHEAD if self.backend == "vxlan" else 0


class Api(Value):
    """How clients reach the API of several masters: a virtual ``address`` that keepalived moves among them, or the
    ``balancer`` (HOST or HOST:PORT) that the user has. With neither, it is the first master's address.
    """

    address: IPv4Address | None = None
    balancer: Annotated[str, AfterValidator(_balancer)] | None = None

    @property
    def balancer_host(self) -> str:
        """The balancer's name or address, without its port; "" without a balancer."""
        return (self.balancer or "").partition(":")[0]


class Etcd(Value):
    """An etcd that is there already and is not kubeup's: its members' client URLs, its authority's certificate, and the
    client certificate and key for kube-apiserver; files on this machine. Empty where kubeup runs etcd itself.
    """

    endpoints: tuple[EtcdUrl, ...] = ()
    ca: LocalPath | None = None
    certificate: LocalPath | None = None
    key: LocalPath | None = None


class Certificates(Value):
    """How long certificates are valid from when they are issued. Another value counts for those issued from then on."""

    lifetime: Lifetime = LEAF_LIFETIME
    authority_lifetime: Lifetime = AUTHORITY_LIFETIME


class Snapshots(Value):
    """Scheduled snapshots of etcd: how old the newest may be (``off``: none are taken), and how many are kept."""

    every: Annotated[timedelta, BeforeValidator(_interval)] = timedelta(hours=6)
    keep: int = Field(12, ge=1, le=1000)


class Settings(Value):
    """All that an inventory says of a cluster apart from its nodes. Every setting has a default."""

    name: DnsLabel = "kubeup"
    service_cidr: Network = IPv4Network("192.168.3.0/24")  # this and flannel_net as in 2015
    flannel_net: Network = IPv4Network("172.16.0.0/16")
    node_subnet: int = Field(24, ge=1, le=30)  # prefix length; flannel needs a bridge and a tunnel address in each
    domain: Annotated[str, AfterValidator(_dns_domain)] = "cluster.local"
    versions: Versions = Versions()
    kube_proxy: KubeProxy = KubeProxy()
    cni: Literal["flannel", "none"] = "flannel"
    flannel: Flannel = Flannel()
    api: Api = Api()
    etcd: Etcd = Etcd()
    certificates: Certificates = Certificates()
    snapshots: Snapshots = Snapshots()
    addons: Addons = Addons()
    runtime: Runtime = Runtime()
    proxy: Proxy = Proxy()
    registries: dict[RegistryName, Registry] = Field(default_factory=dict)
    packages: PackageMirrors = PackageMirrors()
    api_port: Port = 6443
    node_port_range: Annotated[str, AfterValidator(_port_range)] = "30000-32767"
    ssh: SshDefaults = SshDefaults()

    @property
    def leases_in_etcd(self) -> bool:
        """Whether flannel keeps its leases in etcd, and so divides the pod network itself."""
        return self.cni == "flannel" and self.flannel.store == "etcd"


@dataclass(frozen=True)
class VirtualAddress:
    """An address that keepalived keeps on one of ``nodes``, one on which what it leads to works. ``name`` says whose.

    ``router`` tells its group from others on the same network (VRRP's virtual router identifier): 1 to 255.
    """

    name: Literal["api", "ingress"]
    address: IPv4Address
    nodes: tuple[Node, ...]
    router: int


class Cluster(Settings):
    """A whole cluster. ``load`` makes one from an inventory, with everything checked."""

    nodes: tuple[Node, ...] = Field(min_length=1)
    """The nodes of Kubernetes."""
    etcd_hosts: tuple[Node, ...] = ()
    """Hosts that have a member of etcd and nothing else."""

    def __hash__(self) -> int:
        # A dict of registries has no hash of its own.
        return hash((self.name, self.hosts))

    @property
    def hosts(self) -> tuple[Node, ...]:
        """All hosts: the nodes, and those of etcd alone."""
        return self.nodes + self.etcd_hosts

    @property
    def masters(self) -> tuple[Node, ...]:
        """The nodes that run the control plane, in the inventory's order."""
        return tuple(n for n in self.nodes if n.is_master)

    @property
    def members(self) -> tuple[Node, ...]:
        """The hosts that have a member of etcd, in the inventory's order."""
        if self.etcd.endpoints:
            return ()
        return self.etcd_hosts or self.masters

    @property
    def minions(self) -> tuple[Node, ...]:
        """The nodes that run users' pods, in the inventory's order."""
        return tuple(n for n in self.nodes if n.is_minion)

    def node(self, name: str) -> Node:
        """The host of that name.

        Raises:
            KeyError: no host has it.
        """
        for node in self.hosts:
            if node.name == name:
                return node
        raise KeyError(name)

    def ssh_target(self, node: Node) -> SshTarget:
        """Where and how to connect to ``node``: what it says itself, else what ``ssh`` says for all."""
        own = {k: v for k in ("user", "port", "key") if (v := getattr(node, k)) is not None}
        # The paths are absolute or from the current folder by now, so validating them once more changes nothing.
        return SshTarget.model_validate({**self.ssh.model_dump(), **own, "host": node.host})

    def runtime_socket(self, node: Node) -> str | None:
        """The socket of the container runtime that the user runs on a node; None where kubeup runs containerd."""
        return (node.runtime or self.runtime).socket

    @property
    def speakers(self) -> tuple[Node, ...]:
        """The nodes that have a speaker of MetalLB."""
        return self.nodes if self.addons.metallb else ()

    @property
    def announcing_nodes(self) -> tuple[Node, ...]:
        """Those of them that answer for the addresses of LoadBalancers."""
        metallb = self.addons.metallb
        return self._chosen(metallb.nodes, self.nodes) if metallb else ()

    @property
    def traefik_nodes(self) -> tuple[Node, ...]:
        """The nodes on which Traefik takes traffic in."""
        traefik = self.addons.traefik
        return self._chosen(traefik.nodes, self.minions) if traefik else ()

    @property
    def ingress_nodes(self) -> tuple[Node, ...]:
        """The nodes among which ingress' address moves."""
        return tuple(node for node in self.nodes if self.takes_traffic_in(node))

    def takes_traffic_in(self, node: Node) -> bool:
        """Whether ingress' address moves to this node too, or would if it were one of the cluster's."""
        vip, traefik = self.addons.ingress_vip, self.addons.traefik
        names = (vip.nodes if vip else ()) or (traefik.nodes if traefik else ())
        return vip is not None and (node.name in names if names else node.is_minion)

    @property
    def registry_nodes(self) -> tuple[Node, ...]:
        """The node that has the registry, where there is one."""
        registry = self.addons.registry
        if not registry:
            return ()
        return self._chosen((registry.node,) if registry.node else (), (self.minions or self.nodes)[:1])

    def _chosen(self, names: tuple[str, ...], otherwise: tuple[Node, ...]) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.name in names) if names else otherwise

    @property
    def virtual_addresses(self) -> tuple[VirtualAddress, ...]:
        """The addresses that move among nodes: the API's among the masters, the one for ingress among its nodes."""
        ingress = self.addons.ingress_vip
        wanted: list[tuple[Literal["api", "ingress"], IPv4Address, tuple[Node, ...]]] = []
        if self.api.address:
            wanted.append(("api", self.api.address, self.masters))
        if ingress:
            wanted.append(("ingress", ingress.address, self.ingress_nodes))
        found: list[VirtualAddress] = []
        for name, address, nodes in wanted:
            router = int(address) % 255 + 1
            if router in {other.router for other in found}:
                router = router % 255 + 1
            found.append(VirtualAddress(name, address, nodes, router))
        return tuple(found)

    @property
    def kubernetes_service_ip(self) -> IPv4Address:
        """Where pods find the API: kube-apiserver takes the service network's first address for itself."""
        return self.service_cidr[1]

    @property
    def dns_ip(self) -> IPv4Address:
        """Where pods find DNS: the service network's tenth address, as kubeadm has it."""
        return self.service_cidr[10]

    @property
    def api_server_url(self) -> str:
        """Where clients outside the cluster's network, and kubelets, find the API."""
        return api_endpoint(self)

    @property
    def etcd_endpoints(self) -> tuple[str, ...]:
        """The client URL of each etcd member."""
        return self.etcd.endpoints or tuple(f"https://{n.address}:2379" for n in self.members)


def api_endpoint(cluster: Cluster) -> str:
    """The URL of the Kubernetes API for clients outside: the masters' virtual address, a balancer's, or the first's."""
    if cluster.api.balancer:
        host, _, port = cluster.api.balancer.partition(":")
        return f"https://{host}:{port or cluster.api_port}"
    return f"https://{cluster.api.address or cluster.masters[0].address}:{cluster.api_port}"
