"""Writes inventories: what ``kubeup init`` and the lab leave for a person to go on with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from kubeup.cluster.addresses import HostPort, Resolve, parse_host, resolve_address
from kubeup.cluster.document import Document, Key
from kubeup.cluster.inventory import check, load
from kubeup.cluster.model import Cluster, Role
from kubeup.cluster.wording import ROLE_REMEDY
from kubeup.errors import InventoryError, Problem

HEAD = """\
# A Kubernetes cluster, for kubeup. What would change: kubeup plan. Bring it up: kubeup up.

"""

NODES_HEAD = """
# One entry a host: its role, then [user@]host[:port] as SSH connects to it (aliases of ~/.ssh/config work).
#   a   master: the control plane and etcd; one, or three to survive the loss of one
#   i   minion: runs pods
#   ai  both
#   etcd  a member of etcd and nothing else (one, three or five; the masters then have none)
# Under it, where needed: name, address (where the other nodes find it), key, labels, taints, e.g.
#   - i: vcap@worker-2
#     address: 10.10.103.223
#     labels: {disk: ssd}
#     taints: ["gpu=yes:NoSchedule"]
"""

# Each line that is one "#" and a setting shows a default; a test holds them to the model.
TAIL = """
# What follows are the defaults. Networks must not overlap each other or contain a host's address.
#service_cidr: 192.168.3.0/24     # addresses of services
#flannel_net: 172.16.0.0/16       # addresses of pods,
#node_subnet: 24                  # of which each node gets a network of this prefix length
#domain: cluster.local
#kube_proxy: {mode: iptables}     # or nftables, or ipvs where the kernel has it
#cni: flannel                     # or none: you bring a network of your own, see docs/network.md
#flannel: {store: kubernetes, backend: vxlan}   # store: or etcd; backend: or host-gw, where nodes share a link; mtu:
#api: {}                          # several masters: {address: a free one, moved among them} or {balancer: HOST:PORT}
#etcd: {}                         # one that is there: {endpoints: [https://HOST:2379], ca: , certificate: , key: FILE}
#addons: {coredns: on}            # more: kubeup addon list, docs/addons.md
#runtime: {}                       # {socket: /run/crio/crio.sock}: one that you run, see docs/runtimes.md
#api_port: 6443
#certificates: {lifetime: 365d, authority_lifetime: 3650d}   # of those issued from then on; also 12h, 30m
#snapshots: {every: 6h, keep: 12}   # of etcd, on every master; every: off for none
#node_port_range: 30000-32767
#proxy: {}                         # {http: http://HOST:3128, https: http://HOST:3128, no_proxy: [.example.com]}
#registries: {}                    # {docker.io: {mirrors: [https://HOST], ca: FILE}}
#packages: {}                      # mirrors: {apt: ["deb URL SUITE main"], dnf: [URL]}

# For all nodes; what is not said is left to OpenSSH's config:
#   ssh: {user: vcap, port: 22, key: ~/.ssh/id_ed25519}
# To hold a component at a version (kubeup components list):
#   versions: {kubernetes: 1.36.3}
"""


class NodeArgument(NamedTuple):
    """A node as given on the command line: ``ROLE=[user@]host[:port]``."""

    role: Role
    target: str
    parts: HostPort


def parse_node_argument(text: str) -> NodeArgument:
    """Read what follows ``--node``, e.g. ``ai=vcap@10.10.103.250:2222``.

    Raises:
        InventoryError: the role is unknown, or there is no host.
    """
    letters, _, target = text.partition("=")
    where = f"--node {text}"
    if letters not in set(Role):
        remedy = f"{ROLE_REMEDY}, then = and the host, e.g. ai=vcap@10.10.103.250"
        raise InventoryError([Problem(where, f"unknown role {letters!r}", remedy)])
    try:
        return NodeArgument(Role(letters), target, parse_host(target))
    except ValueError as error:
        raise InventoryError([Problem(where, str(error), "write it like ai=vcap@10.10.103.250:2222")]) from error


def write_inventory(
    path: str | Path,
    name: str,
    nodes: Sequence[str | Mapping[str, Any]],
    settings: Mapping[str, Any] | None = None,
    resolve: Resolve = resolve_address,
) -> Cluster:
    """Write an inventory with comments that say what else can be set, and return the cluster it describes.

    Args:
        path: the file to write; one that is there is left alone.
        name: the cluster's.
        nodes: each as ``parse_node_argument`` takes it, or a map as it would stand in the inventory's ``nodes``.
        settings: further settings as they would stand in the inventory.
        resolve: as in ``load``.

    Raises:
        InventoryError: the file is there already, or the inventory would not be valid; nothing was written.
    """
    path = Path(path)
    text = inventory_text(path.absolute().parent, name, nodes, settings, resolve)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        remedy = "edit it, or name another file with -i"
        raise InventoryError([Problem(str(path), "is there already and is left alone", remedy)]) from error
    return load(path, resolve)


def inventory_text(
    folder: Path,
    name: str,
    nodes: Sequence[str | Mapping[str, Any]],
    settings: Mapping[str, Any] | None = None,
    resolve: Resolve = resolve_address,
) -> str:
    """The text that ``write_inventory`` writes into ``folder``; parameters and errors as there."""
    entries = [_entry(node) for node in nodes]
    data = _plain({"name": name, "nodes": entries, **(settings or {})})
    # No file to name a line of yet: problems name the arguments.
    places: dict[Key, str] = {("name",): f"name {name}"} | {
        ("nodes", i): f"--node {node}" if isinstance(node, str) else f"node {i + 1}" for i, node in enumerate(nodes)
    }
    check(Document(data, places), folder, resolve)
    parts = [HEAD, _yaml({"name": data["name"]}), NODES_HEAD, _yaml({"nodes": data["nodes"]})]
    if settings:
        parts += ["\n", _yaml({key: data[key] for key in settings})]
    return "".join([*parts, TAIL])


def _entry(node: str | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(node, str):
        return node
    argument = parse_node_argument(node)
    return {argument.role.value: argument.target}


def _plain(value: Any) -> Any:
    """As YAML has it: maps, lists, texts and numbers."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if isinstance(value, int) else str(value)


def _yaml(data: Mapping[str, Any]) -> str:
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Indents lists under their key, as people do."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)
