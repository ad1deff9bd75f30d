"""Every kind of wrong inventory is refused with the line it is wrong in, what is wrong and what to write instead."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from kubeup.cluster import load
from kubeup.errors import InventoryError, Problem


def nowhere(host: str, ssh_config: Path) -> IPv4Address | None:
    return None


def problems_of(folder: Path, text: str) -> tuple[Problem, ...]:
    (folder / "cluster.yaml").write_text(text)
    with pytest.raises(InventoryError) as caught:
        load(folder / "cluster.yaml", nowhere)
    return caught.value.problems


def line(problem: Problem) -> int:
    return int(problem.where.rpartition("cluster.yaml:")[2])


NODES = "nodes:\n  - ai: root@10.0.0.1\n  - i: root@10.0.0.2\n"  # lines 1 to 3: what follows starts in line 4

# The text of an inventory, and of its only problem: the line, words of what is wrong, words of what to do.
BAD = {
    # YAML
    "syntax": ("nodes: [a, b\nname: x\n", 2, "not valid YAML", "indentation"),
    "tab": (NODES + "ssh:\n\tuser: x\n", 5, "not valid YAML", "tabs"),
    "empty": ("", 1, "not a map", "nodes:"),
    "a list": ("- ai: root@10.0.0.1\n", 1, "not a map", "nodes:"),
    "duplicate key": (NODES + "name: a\nname: b\n", 5, "name is given twice, first in line 4", "leave one"),
    "duplicate key in a node": (
        "nodes:\n  - ai: 10.0.0.1\n    name: a\n    name: b\n",
        4,
        "name is given twice, first in line 3",
        "leave one",
    ),
    "alias of itself": (NODES + "ssh: &a\n  user: *a\n", 4, "an alias contains itself", "write the values out"),
    # keys and types
    "unknown key": (NODES + "service_cdr: 10.9.0.0/16\n", 4, "unknown key service_cdr", "did you mean service_cidr?"),
    "key known elsewhere": (NODES + "pod-network-cidr: 10.9.0.0/16\n", 4, "unknown key", "did you mean flannel_net?"),
    "unknown key, nothing near": (NODES + "zzz: 1\n", 4, "unknown key zzz", "known here: name, service_cidr"),
    "unknown key of a node": ("nodes:\n  - ai: 10.0.0.1\n    adress: 10.0.0.1\n", 3, "unknown key adress", "address?"),
    "unknown nested key": (NODES + "flannel:\n  sotre: etcd\n", 5, "unknown key sotre", "did you mean store?"),
    "unknown component": (NODES + "versions:\n  kubelet: 1.36.3\n", 5, "unknown key kubelet", "kubernetes"),
    "text for a number": (NODES + "api_port: https\n", 4, "api_port is 'https'", "a whole number"),
    "port out of range": (NODES + "api_port: 70000\n", 4, "api_port is 70000", "at most 65535"),
    "list for a text": (NODES + "domain: [a]\n", 4, "domain is a list", "text"),
    "text for a map": (NODES + "flannel: etcd\n", 4, "flannel is 'etcd'", "key: value"),
    "text for a list": ("nodes:\n  - ai: 10.0.0.1\n    taints: a:NoExecute\n", 3, "taints is 'a:NoExecute'", "a list"),
    "map for nodes": ("nodes: {ai: 10.0.0.1}\n", 1, "nodes is not a list", "expected: a list"),
    "map for roles": ("nodes: [10.0.0.1]\nroles: {a: b}\n", 2, "roles is not a list", "[ai, i]"),
    "node that is a list": ("nodes:\n  - ai: 10.0.0.1\n  - [i]\n", 3, "not a node", "- ai: vcap@"),
    "kube-proxy's mode": (NODES + "kube_proxy:\n  mode: ebpf\n", 5, "unknown mode 'ebpf'", "nftables or ipvs"),
    "runtime's socket": (
        NODES + "runtime: {socket: crio.sock}\n",
        4,
        "'crio.sock' is not the path of a socket",
        "/run/",
    ),
    "runtime by TCP": (NODES + "runtime: {socket: 'tcp://x:1'}\n", 4, "is not the path of a socket", "whole path"),
    "runtime's long socket": (NODES + f"runtime: {{socket: /{'x' * 107}}}\n", 4, "has 108 characters", "at most 107"),
    "a runtime that gets into scripts": (NODES + "runtime: {socket: '/run/$(x)'}\n", 4, "not the path", "whole path"),
    "runtime without its key": (NODES + "runtime: /run/x.sock\n", 4, "runtime is '/run/x.sock'", "key: value"),
    "a node's runtime": (
        "nodes:\n  - ai: 10.0.0.1\n    runtime: {socket: run/x.sock}\n",
        3,
        "'run/x.sock' is not the path of a socket",
        "whole path",
    ),
    "the runtime of a host of etcd": (
        "nodes:\n  - ai: 10.0.0.1\n  - etcd: 10.0.0.2\n    runtime: {socket: /run/x.sock}\n",
        4,
        "which is no node of Kubernetes: it has no container runtime",
        "leave it out",
    ),
    "registries of a runtime of the user's": (
        NODES + "runtime: {socket: /run/x.sock}\nregistries: {docker.io: {mirrors: ['https://m']}}\n",
        5,
        "registries: is for kubeup's containerd, and the container runtime of 10.0.0.1, 10.0.0.2 is not kubeup's",
        "that runtime's own configuration",
    ),
    "registries where one node has a runtime of the user's": (
        "nodes:\n  - ai: 10.0.0.1\n  - {role: i, host: 10.0.0.2, runtime: {socket: /run/x.sock}}\n"
        "registries: {docker.io: {}}\n",
        4,
        "the container runtime of 10.0.0.2 is not kubeup's",
        "leave registries: out",
    ),
    "the registry with a runtime of the user's": (
        NODES + "runtime: {socket: /run/x.sock}\naddons: {registry: on}\n",
        5,
        "the addon registry tells containerd where images come from",
        "turn the addon off",
    ),
    "network": (NODES + "cni: calico\n", 4, "unknown cni 'calico'", "none to bring a network of your own"),
    "flannel's mtu": (NODES + "flannel: {mtu: 500}\n", 4, "mtu", ""),
    "flannel's store": (NODES + "flannel: {store: consul}\n", 4, "unknown store 'consul'", "kubernetes or etcd"),
    "flannel's backend": (NODES + "flannel: {backend: udp}\n", 4, "unknown backend 'udp'", "vxlan or host-gw"),
    "cluster's name": (NODES + "name: My_Cluster\n", 4, "'My_Cluster' cannot be a name", "lower-case"),
    "domain": (NODES + "domain: -local\n", 4, "not a DNS domain", "cluster.local"),
    "port range": (NODES + "node_port_range: 32767-30000\n", 4, "not a range of ports", "30000-32767"),
    "missing key file": (NODES + "ssh: {key: gone}\n", 4, "there is no file", "from the inventory's folder"),
    # nodes and roles
    "no nodes": ("name: x\n", 1, "there are no nodes", "- ai: vcap@"),
    "empty nodes": ("name: x\nnodes:\n", 2, "there are no nodes", "- ai: vcap@"),
    "no role": ("nodes:\n  - ai: 10.0.0.1\n  - root@10.0.0.2\n", 3, "node 'root@10.0.0.2' has no role", "roles:"),
    "no role in a map": ("nodes:\n  - ai: 10.0.0.1\n  - host: 10.0.0.2\n", 3, "role is missing", "- ai: vcap@"),
    "no host": ("nodes:\n  - ai: 10.0.0.1\n  - i:\n", 3, "host is missing", "- ai: vcap@"),
    "unknown role letter": (
        "nodes:\n  - ai: 10.0.0.1\n  - x: 10.0.0.2\n",
        3,
        "unknown role 'x'",
        "a (master), i (minion)",
    ),
    "unknown role value": (
        "nodes:\n  - ai: 10.0.0.1\n  - role: ia\n    host: 10.0.0.2\n",
        3,
        "unknown role 'ia'",
        "ai (both)",
    ),
    "unknown role beside": ("nodes: [10.0.0.1, 10.0.0.2]\nroles:\n  - ai\n  - m\n", 4, "unknown role 'm'", "ai (both)"),
    "fewer roles": ("nodes: [10.0.0.1, 10.0.0.2]\nroles: [ai]\n", 2, "differ in length: 2 and 1", "one role for each"),
    "fewer nodes": ("nodes: 10.0.0.1\nroles: ai i i\n", 2, "differ in length: 1 and 3", "in the same order"),
    "both forms": ("nodes:\n  - ai: 10.0.0.1\nroles: [ai]\n", 2, "a role here and another beside", "leave one"),
    "two hosts in a node": ("nodes:\n  - ai: 10.0.0.1\n    i: 10.0.0.2\n", 3, "role or its host twice", "- ai: vcap@"),
    "two users": ("nodes:\n  - ai: root@10.0.0.1\n    user: vcap\n", 3, "user is given here and in", "leave one"),
    "no master": ("nodes:\n  - i: 10.0.0.1\n  - i: 10.0.0.2\n", 1, "no node is a master", "role a (master) or ai"),
    "no master beside": ("nodes: 10.0.0.1 10.0.0.2\nroles: i i\n", 2, "no node is a master", "role a (master) or ai"),
    "two masters": ("nodes:\n  - ai: 10.0.0.1\n  - a: 10.0.0.2\n", 1, "2 masters", "three survive the loss of one"),
    "four masters": ("nodes: 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4\nroles: a a ai ai\n", 2, "4 masters", "use 3 or 5"),
    "two hosts for etcd": (
        "nodes: 10.0.0.1 10.0.0.2 10.0.0.3\nroles: a etcd etcd\n",
        2,
        "2 hosts for etcd: an even number",
        "three survive the loss of one",
    ),
    "labels of a host for etcd": (
        "nodes:\n  - a: 10.0.0.1\n  - etcd: 10.0.0.2\n    labels: {a: b}\n",
        4,
        "is no node of Kubernetes",
        "leave them out",
    ),
    "only hosts for etcd": ("nodes:\n  - etcd: 10.0.0.1\n", 1, "no node is a master", "role a (master)"),
    # an etcd that is there already
    "etcd without files": (
        NODES + "etcd:\n  endpoints: [https://10.0.0.9]\n",
        4,
        "has no ca, certificate, key",
        "files",
    ),
    "etcd without endpoints": (
        NODES + "etcd: {ca: cluster.yaml, certificate: cluster.yaml, key: cluster.yaml}\n",
        4,
        "etcd: has no endpoints",
        "a list of https URLs",
    ),
    "etcd by plain http": (
        NODES + "etcd:\n  endpoints:\n    - http://10.0.0.9:2379\n",
        6,
        "'http://10.0.0.9:2379' is not the URL",
        "https://",
    ),
    "etcd's missing file": (
        NODES + "etcd: {endpoints: [https://e], ca: gone, certificate: cluster.yaml, key: cluster.yaml}\n",
        4,
        "there is no file",
        "from the inventory's folder",
    ),
    "two kinds of etcd": (
        "nodes:\n  - a: 10.0.0.1\n  - etcd: 10.0.0.2\n"
        "etcd: {endpoints: [https://e], ca: cluster.yaml, certificate: cluster.yaml, key: cluster.yaml}\n",
        3,
        "there are hosts for etcd, and an etcd that is there already",
        "leave one",
    ),
    "flannel's leases in an etcd of others": (
        NODES + "etcd: {endpoints: [https://e], ca: cluster.yaml, certificate: cluster.yaml, key: cluster.yaml}\n"
        "flannel: {store: etcd}\n",
        5,
        "flannel cannot keep its leases in an etcd that kubeup does not run",
        "store: kubernetes",
    ),
    "same host": ("nodes:\n  - ai: root@10.0.0.1\n  - i: vcap@10.0.0.1\n", 3, "the host 10.0.0.1 is there twice", "ai"),
    "same name": (
        "nodes:\n  - ai: 10.0.0.1\n    name: n\n  - i: 10.0.0.2\n    name: n\n",
        5,
        "the name n is there",
        "name:",
    ),
    "same address": (
        "nodes:\n  - ai: 10.0.0.1\n  - i: 10.0.0.2\n    address: 10.0.0.1\n",
        4,
        "the address 10.0.0.1 is there twice: node 1",
        "say address:",
    ),
    "host's form": ("nodes:\n  - ai: root@10.0.0.1:ssh\n", 2, "not of the form [user@]host[:port]", "vcap@"),
    "host like an option": (
        "nodes:\n  - ai: -oProxyCommand=x\n    name: n\n    address: 10.0.0.1\n",
        2,
        "'-oProxy",
        "host",
    ),
    "unknown address": ("nodes:\n  - ai: web\n", 2, "no address is known for host web", "say address: for node web"),
    "not an address": ("nodes:\n  - ai: web\n    address: 10.0.0.300\n", 3, "address is '10.0.0.300'", "10.0.0.5"),
    "loopback": ("nodes:\n  - ai: 127.0.0.1\n", 2, "loopback address", "say address:"),
    "name of a node": (
        "nodes:\n  - ai: a_b\n    address: 10.0.0.1\n",
        2,
        "'a_b' cannot be a node's name",
        "name: worker-1",
    ),
    "long name": (f"nodes:\n  - ai: {'a' * 53}\n    address: 10.0.0.1\n", 2, "has 53 characters", "at most 52"),
    "label's key": ("nodes:\n  - ai: 10.0.0.1\n    labels:\n      a b: c\n", 4, "'a b' cannot be a key", "disk"),
    "label's value": (
        "nodes:\n  - ai: 10.0.0.1\n    labels:\n      a: b c\n",
        4,
        "'b c' cannot be a label's value",
        "63",
    ),
    "reserved label": (
        "nodes:\n  - ai: 10.0.0.1\n    labels:\n      node-role.kubernetes.io/x: y\n",
        4,
        "is reserved",
        "set by kubeup",
    ),
    "taint without effect": ("nodes:\n  - ai: 10.0.0.1\n    taints: [gpu]\n", 3, "has no effect", "gpu:NoSchedule"),
    "taint's effect": (
        "nodes:\n  - ai: 10.0.0.1\n    taints:\n      - gpu:Never\n",
        4,
        "unknown effect 'Never'",
        "NoSchedule, PreferNoSchedule or NoExecute",
    ),
    # networks
    "not a network": (NODES + "flannel_net: pods\n", 4, "'pods' is not an IPv4 network", "172.16.0.0/16"),
    "no prefix length": (NODES + "flannel_net: 10.9.0.0\n", 4, "does not say how large", "10.9.0.0/16"),
    "host bits": (NODES + "flannel_net: 10.9.0.1/16\n", 4, "an address within a network", "write 10.9.0.0/16"),
    "overlap": (
        NODES + "service_cidr: 172.16.5.0/24\n",
        4,
        "service_cidr 172.16.5.0/24 and flannel_net 172.16.0.0/16 overlap",
        "service_cidr: 10.96.0.0/16",
    ),
    "overlap by flannel_net": (NODES + "flannel_net: 192.168.0.0/16\n", 4, "overlap", "another network"),
    "address among services": (
        "service_cidr: 10.0.0.0/24\n" + NODES.replace("10.0.0.2", "10.1.0.2"),
        3,
        "the address 10.0.0.1, which lies in service_cidr 10.0.0.0/24",
        "10.96.0.0/16",
    ),
    "address among pods": (
        "nodes:\n  - ai: web\n    address: 172.16.9.9\n",
        3,
        "lies in flannel_net 172.16.0.0/16",
        "give flannel_net a network that no host is in",
    ),
    "services too few": (NODES + "service_cidr: 10.9.0.0/29\n", 4, "too small", "/28 or larger: its first"),
    "services too many": (NODES + "service_cidr: 11.0.0.0/8\n", 4, "too large", "no more than 20 bits"),
    "pods too few": (
        NODES + "  - i: 10.0.0.3\nflannel_net: 10.9.0.0/23\n",
        5,
        "holds 2 /24 subnets, and 3 are needed",
        "/22 or larger",
    ),
    "no subnet at all": (NODES + "flannel_net: 10.9.0.0/25\n", 4, "holds 0 /24 subnets, and 2 are needed", "/23 or"),
    "pods too few in etcd": (
        NODES + "flannel: {store: etcd}\nflannel_net: 10.9.0.0/23\n",
        5,
        "holds 2 /24 subnets, and 4 are needed (flannel with its store in etcd",
        "/22 or larger",
    ),
    "subnet's length": (NODES + "node_subnet: 31\n", 4, "node_subnet is 31", "at most 30"),
    # the API's address
    "address and balancer": (
        NODES + "api:\n  address: 10.0.0.9\n  balancer: lb\n",
        4,
        "both an address and a balancer",
        "balancer: for one that you run",
    ),
    "a node's address": (NODES + "api: {address: 10.0.0.2}\n", 4, "is that of the node 10.0.0.2", "a free address"),
    "an address of pods": (NODES + "api: {address: 172.16.0.9}\n", 4, "lies in flannel_net", "a free address"),
    "an address of services": (NODES + "api: {address: 192.168.3.9}\n", 4, "lies in service_cidr", "a free address"),
    "a loopback address": (NODES + "api: {address: 127.0.0.9}\n", 4, "none that clients can reach", "a free address"),
    "balancer's port": (NODES + "api: {balancer: 'lb:https'}\n", 4, "'lb:https' is not a balancer's host", "HOST:PORT"),
    "balancer's URL": (NODES + "api: {balancer: 'https://lb'}\n", 4, "is not a balancer's host", "HOST:PORT"),
    # how traffic gets in
    "a pool that is none": (
        NODES + "addons:\n  metallb: {addresses: [10.0.0.7-]}\n",
        5,
        "'10.0.0.7-' is not a range",
        "10.10.103.200-10.10.103.219",
    ),
    "a pool backwards": (
        NODES + "addons:\n  metallb: {addresses: [10.0.0.9-10.0.0.7]}\n",
        5,
        "ends before it begins",
        "write 10.0.0.7-10.0.0.9",
    ),
    "a network with host bits": (NODES + "addons: {metallb: {addresses: [10.0.0.9/24]}}\n", 4, "not a range", "/27"),
    "no pool": (NODES + "addons:\n  metallb: {addresses: []}\n", 5, "metallb has no addresses", "at least one"),
    "metallb without settings": (NODES + "addons:\n  metallb: on\n", 5, "addresses is missing", "addresses:"),
    "a pool with a node in it": (
        NODES + "addons:\n  metallb:\n    addresses:\n    - 10.0.0.9\n    - 10.0.0.2-10.0.0.4\n",
        8,
        "10.0.0.2-10.0.0.4 contain 10.0.0.2, that of the node 10.0.0.2",
        "nobody has",
    ),
    "a pool with the API in it": (
        NODES + "api: {address: 10.0.0.8}\naddons: {metallb: {addresses: [10.0.0.8/30]}}\n",
        5,
        "contain 10.0.0.8, the API's",
        "nobody has",
    ),
    "a pool of pods' addresses": (
        NODES + "addons: {metallb: {addresses: [172.15.255.250-172.16.0.3]}}\n",
        4,
        "overlap with flannel_net 172.16.0.0/16",
        "nodes' network",
    ),
    "a pool of loopback": (NODES + "addons: {metallb: {addresses: [127.0.0.8]}}\n", 4, "clients can reach", "network"),
    "a pool twice": (
        NODES + "addons:\n  metallb:\n    addresses:\n    - 10.0.0.8/30\n    - 10.0.0.11-10.0.0.12\n",
        8,
        "overlap with 10.0.0.8-10.0.0.11",
        "once",
    ),
    "a node that is not there": (
        NODES + "addons: {traefik: {nodes: [10.0.0.2, web]}}\n",
        4,
        "traefik names the node web, which is not there",
        "10.0.0.1, 10.0.0.2",
    ),
    "nowhere to move to": (
        NODES + "addons:\n  ingress-vip: {address: 10.0.0.9}\n",
        5,
        "ingress-vip has no nodes",
        "or have traefik:",
    ),
    "nowhere to take traffic in": (
        "nodes:\n  - a: 10.0.0.1\naddons: {traefik: on}\n",
        3,
        "traefik has no nodes",
        "nodes: [NAME",
    ),
    "an address where traefik is not": (
        NODES + "addons:\n  traefik: {nodes: [10.0.0.1]}\n  ingress-vip: {address: 10.0.0.9, nodes: [10.0.0.2]}\n",
        6,
        "ingress-vip names the node 10.0.0.2, on which traefik does not run",
        "take it out",
    ),
    "an address that is a node's": (
        NODES + "addons:\n  traefik: on\n  ingress-vip: {address: 10.0.0.2}\n",
        6,
        "is that of the node 10.0.0.2",
        "a free address",
    ),
    "an address that is the API's": (
        NODES + "api: {address: 10.0.0.9}\naddons:\n  traefik: on\n  ingress-vip: {address: 10.0.0.9}\n",
        7,
        "is the API's too",
        "a free address",
    ),
    "an address in the pool": (
        NODES + "addons:\n  traefik: on\n  metallb: {addresses: [10.0.0.8/30]}\n  ingress-vip: {address: 10.0.0.9}\n",
        6,
        "contain 10.0.0.9, ingress-vip's",
        "nobody has",
    ),
    "an address of services'": (
        NODES + "addons: {traefik: on, ingress-vip: {address: 192.168.3.9}}\n",
        4,
        "lies in service_cidr",
        "a free address",
    ),
    # ports and versions
    "port of etcd": (NODES + "api_port: 2379\n", 4, "api_port 2379 is the port of etcd", "6443"),
    "ports of services": (
        NODES + "node_port_range: 10000-10240\napi_port: 10100\n",
        4,
        "contains 10100",
        "30000-32767",
    ),
    "not a version": (NODES + "versions:\n  etcd: newest\n", 5, "'newest' is not a version", "in full"),
    "unknown version": (
        NODES + "versions:\n  etcd: 9.9.9\n",
        5,
        "etcd 9.9.9 is not in kubeup's catalogue",
        "it has 3.",
    ),
}


@pytest.mark.parametrize(("text", "at", "what", "remedy"), BAD.values(), ids=BAD)
def test_refused(tmp_path: Path, text: str, at: int, what: str, remedy: str) -> None:
    (problem,) = problems_of(tmp_path, text)
    assert (line(problem), what in problem.what, remedy in problem.remedy) == (at, True, True), problem


def test_everything_at_once(tmp_path: Path) -> None:
    text = """\
nodes:
  - i: root@10.0.0.1
    labels: {a b: c}
  - i: root@10.0.0.1
  - i: web
    nmae: w
service_cidr: 172.16.0.0/24
versions:
  ectd: 3.6.8
  runc: 0.0.1
api_port: x
name: a
name: b
"""
    expected = {
        3: "'a b' cannot be a key",
        4: "the host 10.0.0.1 is there twice",
        5: "no address is known for host web",
        6: "unknown key nmae",
        7: "overlap",
        9: "unknown key ectd",
        10: "runc 0.0.1",
        11: "api_port is 'x'",
        13: "name is given twice",
    }
    found = {line(p): p.what for p in problems_of(tmp_path, text)}
    assert {at: what for at, what in expected.items() if what not in found.get(at, "")} == {}
    assert list(found) == list(expected)  # no others, and in the order of the file


def test_nothing_is_concluded_from_what_is_wrong(tmp_path: Path) -> None:
    # A master whose role is misspelt is not also missing; the default of a misspelt network overlaps nothing.
    text = "nodes:\n  - m: 10.0.0.1\n  - i: 192.168.3.7\nservice_cidr: 10.9.0.1/24\n"
    assert [line(p) for p in problems_of(tmp_path, text)] == [2, 4]


def test_the_error_reads_well(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("nodes:\n  - x: 10.0.0.1\n")
    with pytest.raises(InventoryError) as caught:
        load(tmp_path / "cluster.yaml")
    assert str(caught.value) == (
        "The inventory cannot be used:\n"
        f"  {tmp_path}/cluster.yaml:2: unknown role 'x'\n"
        "      write a (master), i (minion), ai (both) or etcd (a member of etcd alone)"
    )
    assert caught.value.exit_code == 2


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match=r"no such file\n.*kubeup init"):
        load(tmp_path / "cluster.yaml")
    with pytest.raises(InventoryError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InventoryError, match="cannot be read"):
        load(tmp_path / "binary")
    (tmp_path / "control").write_bytes(b"name: \x07\n")
    with pytest.raises(InventoryError, match="not valid YAML"):
        load(tmp_path / "control")
