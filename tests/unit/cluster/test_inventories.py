"""Good inventories: both forms, what follows from what is left out, the examples."""

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from kubeup.cluster import Cluster, Role, Taint, api_endpoint, load
from kubeup.cluster.addresses import parse_host, resolve_address
from kubeup.errors import InventoryError

EXAMPLES = Path(__file__).parents[3] / "inventories"


def never(host: str, ssh_config: Path) -> IPv4Address | None:
    raise AssertionError(f"{host} needs no resolving")


def read(folder: Path, text: str) -> Cluster:
    (folder / "cluster.yaml").write_text(text)
    return load(folder / "cluster.yaml", never)


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    forms = [
        "nodes:\n  - ai: vcap@10.0.0.1:2222\n  - i: vcap@10.0.0.2\n",
        "nodes:\n  - {role: ai, host: vcap@10.0.0.1:2222}\n  - {role: i, host: 10.0.0.2, user: vcap}\n",
        "nodes: [vcap@10.0.0.1:2222, vcap@10.0.0.2]\nroles: [ai, i]\n",
        "nodes: vcap@10.0.0.1:2222 vcap@10.0.0.2\nroles: ai i\n",
        "nodes: [{host: 10.0.0.1, user: vcap, port: 2222}, vcap@10.0.0.2]\nroles: ai i\n",
    ]
    first, *others = [read(tmp_path, form) for form in forms]
    assert [(n.role, n.user, n.host, n.port, n.name, str(n.address)) for n in first.nodes] == [
        (Role.BOTH, "vcap", "10.0.0.1", 2222, "10.0.0.1", "10.0.0.1"),
        (Role.MINION, "vcap", "10.0.0.2", None, "10.0.0.2", "10.0.0.2"),
    ]
    assert others == [first] * 4
    assert len({first, *others}) == 1


def test_scalars_are_the_texts_that_stand_there(tmp_path: Path) -> None:
    cluster = read(
        tmp_path,
        "name: no\n"
        "nodes:\n"
        "  - ai: 10.0.0.1\n"
        "    labels: {ssd: yes, zone: 1, build: 1.10, spare: }\n"
        "    taints: [gpu=yes:NoSchedule, {key: old, effect: NoExecute}]\n"
        "ssh:\n"
        "versions: {etcd: v3.6.8}\n",
    )
    assert cluster.name == "no"
    assert cluster.nodes[0].labels == {"ssd": "yes", "zone": "1", "build": "1.10", "spare": ""}
    assert cluster.nodes[0].taints == (
        Taint(key="gpu", value="yes", effect="NoSchedule"),
        Taint(key="old", effect="NoExecute"),
    )
    assert cluster.versions.etcd == "3.6.8"


def test_paths_start_at_the_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    for file in ("id", "home/id"):
        (tmp_path / file).touch()
    cluster = read(
        tmp_path,
        "nodes:\n  - ai: 10.0.0.1\n  - i: u@10.0.0.2:23\n    key: ~/id\n"
        "ssh: {key: id, user: root, known_hosts: hosts}\n",
    )
    first, second = (cluster.ssh_target(node) for node in cluster.nodes)
    assert (first.user, first.host, first.port, first.key) == ("root", "10.0.0.1", None, tmp_path / "id")
    assert (second.user, second.host, second.port, second.key) == ("u", "10.0.0.2", 23, tmp_path / "home" / "id")
    assert second.known_hosts == tmp_path / "hosts"


def test_forwarded_ports_are_different_hosts(tmp_path: Path) -> None:
    node = "  - {role: %s, host: '127.0.0.1:%s', name: %s, address: 10.0.0.%s}\n"
    cluster = read(tmp_path, "nodes:\n" + node % ("ai", 2201, "n1", 1) + node % ("i", 2202, "n2", 2))
    assert [n.port for n in cluster.nodes] == [2201, 2202]


def test_a_name_is_resolved_with_the_inventorys_ssh_config(tmp_path: Path) -> None:
    asked = []

    def resolve(host: str, ssh_config: Path) -> IPv4Address | None:
        asked.append((host, ssh_config))
        return IPv4Address("10.0.0.7")

    (tmp_path / "conf").touch()
    (tmp_path / "cluster.yaml").write_text("ssh: {config: conf}\nnodes:\n  - ai: Web.Example.com\n  - i: 10.0.0.2\n")
    node = load(tmp_path / "cluster.yaml", resolve).nodes[0]
    assert (node.name, node.host, node.address) == ("web.example.com", "Web.Example.com", IPv4Address("10.0.0.7"))
    assert asked == [("Web.Example.com", tmp_path / "conf")]


def test_resolving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config"
    config.write_text("Host web\n  HostName 10.0.0.9\nHost db\n  HostName db.example.com\n")

    def dns(name: str, *_: object, **__: object) -> list[object]:
        if name != "db.example.com":
            raise OSError("no such name")
        return [(2, 1, 6, "", ("10.0.0.8", 0))]

    monkeypatch.setattr("socket.getaddrinfo", dns)
    found = {host: resolve_address(host, config) for host in ("web", "db", "gone")}
    assert found == {"web": IPv4Address("10.0.0.9"), "db": IPv4Address("10.0.0.8"), "gone": None}
    assert resolve_address("web", tmp_path / "none") is None
    config.write_text("Match nonsense\n")
    with pytest.raises(InventoryError, match="cannot be read as an OpenSSH config"):
        resolve_address("web", config)


@pytest.mark.parametrize(
    "setting",
    [
        "service_cidr: 10.9.0.0/28",
        "service_cidr: 11.0.0.0/12",
        "flannel_net: 10.9.0.0/23",  # as many subnets as nodes
        "{flannel_net: 10.9.0.0/22, flannel: {store: etcd}}",
        "node_subnet: 30",
        "node_port_range: 11000-11000",
    ],
)
def test_what_just_fits_is_taken(tmp_path: Path, setting: str) -> None:
    nodes = f"nodes: [{{ai: 10.0.0.1, name: {'n' * 52}}}, {{i: 10.0.0.2}}]"
    text = f"{{{nodes}, {setting[1:]}" if setting.startswith("{") else f"{nodes}\n{setting}\n"
    assert len(read(tmp_path, text).nodes) == 2


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("host", (None, "host", None)),
        ("vcap@10.0.0.1:2222", ("vcap", "10.0.0.1", 2222)),
        ("root@[fe80::1]:22", ("root", "fe80::1", 22)),
    ],
)
def test_parse_host(text: str, parts: tuple[str | None, str, int | None]) -> None:
    assert parse_host(text) == parts


@pytest.mark.parametrize("text", ["", "@", "a b", "a:", "a:b", "fe80::1", "a@b@c", "a@"])
def test_parse_host_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"not of the form \[user@\]host\[:port\]"):
        parse_host(text)


@pytest.mark.parametrize(
    ("name", "roles"), [("demo", ["ai", "i", "i"]), ("ha", ["ai", "ai", "ai"]), ("side-by-side", ["ai", "i", "i"])]
)
def test_examples(name: str, roles: list[str]) -> None:
    cluster = load(EXAMPLES / f"{name}.yaml", never)
    assert [n.role for n in cluster.nodes] == roles
    assert [str(n.address) for n in cluster.nodes] == ["10.10.103.250", "10.10.103.162", "10.10.103.223"]
    assert cluster.service_cidr == IPv4Network("192.168.3.0/24")


def test_the_example_with_several_masters_has_an_address_for_clients() -> None:
    cluster = load(EXAMPLES / "ha.yaml", never)
    assert api_endpoint(cluster) == "https://10.10.103.240:6443"


def test_the_example_with_addons() -> None:
    cluster = load(EXAMPLES / "addons.yaml", never)
    assert cluster.addons.names == ("coredns", "metrics-server", "local-path", "nfs", "registry")
    assert [node.name for node in cluster.registry_nodes] == ["worker-1"]
    assert [entry.name for entry in cluster.addons.manifests] == ["namespace"]


def test_the_example_that_takes_traffic_in() -> None:
    cluster = load(EXAMPLES / "services.yaml", never)
    assert cluster.addons.metallb
    (pool,) = cluster.addons.metallb.addresses
    assert (str(pool), len(list(pool))) == ("10.10.103.200-10.10.103.219", 20)
    assert [node.name for node in cluster.ingress_nodes] == ["worker-1", "worker-2"]
    (virtual,) = cluster.virtual_addresses
    assert (virtual.name, str(virtual.address)) == ("ingress", "10.10.103.199")


@pytest.mark.parametrize(
    ("written", "first", "last"),
    [
        ("10.0.0.5", "10.0.0.5", "10.0.0.5"),
        ("10.0.0.8/30", "10.0.0.8", "10.0.0.11"),
        ("10.0.0.8-10.0.1.3", "10.0.0.8", "10.0.1.3"),
        ("10.0.0.8 - 10.0.0.9", "10.0.0.8", "10.0.0.9"),
    ],
)
def test_ranges_of_addresses(tmp_path: Path, written: str, first: str, last: str) -> None:
    addons = f"addons: {{metallb: {{addresses: ['{written}']}}}}"
    metallb = read(tmp_path, f"nodes: [{{ai: 10.0.0.1}}]\n{addons}\n").addons.metallb
    assert metallb
    (pool,) = metallb.addresses
    assert (str(pool.first), str(pool.last)) == (first, last)
    assert pool.first in pool
    assert pool.last + 1 not in pool


@pytest.mark.parametrize(
    ("api", "endpoint"),
    [
        ("", "https://10.0.0.1:6443"),
        ("api: {address: 10.0.0.100}", "https://10.0.0.100:6443"),
        ("api: {balancer: lb.example.com}", "https://lb.example.com:6443"),
        ("api: {balancer: 10.0.9.9:443}", "https://10.0.9.9:443"),
    ],
)
def test_where_clients_outside_find_the_api(tmp_path: Path, api: str, endpoint: str) -> None:
    assert api_endpoint(read(tmp_path, f"nodes: [{{ai: 10.0.0.1}}]\n{api}\n")) == endpoint


def test_every_example_is_tested() -> None:
    assert {p.stem for p in EXAMPLES.glob("*.yaml")} == {
        *("addons", "demo", "etcd-hosts", "ha", "own-network", "own-runtime", "services", "side-by-side")
    }


def test_the_example_with_a_runtime_of_ones_own() -> None:
    cluster = load(EXAMPLES / "own-runtime.yaml", never)
    assert [cluster.runtime_socket(node) for node in cluster.nodes] == ["/run/crio/crio.sock"] * 2 + [None]


def test_the_example_with_a_network_of_ones_own() -> None:
    cluster = load(EXAMPLES / "own-network.yaml", never)
    assert cluster.cni == "none"
    assert not cluster.leases_in_etcd
    assert [entry.name for entry in cluster.addons.helm] == ["cilium"]


def test_the_example_with_hosts_for_etcd() -> None:
    cluster = load(EXAMPLES / "etcd-hosts.yaml", never)
    assert [host.name for host in cluster.members] == ["10.10.103.11", "10.10.103.12", "10.10.103.13"]
    assert (len(cluster.masters), len(cluster.minions)) == (2, 2)


def test_hosts_for_etcd_are_no_nodes(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(
        "nodes:\n  - etcd: vcap@10.0.0.9\n    name: store\n  - a: 10.0.0.1\n  - a: 10.0.0.2\n  - i: 10.0.0.3\n"
    )
    cluster = load(path)
    assert [node.name for node in cluster.nodes] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert [host.name for host in cluster.members] == ["store"]
    assert [host.name for host in cluster.hosts] == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "store"]
    assert cluster.etcd_endpoints == ("https://10.0.0.9:2379",)
    assert cluster.node("store").role == Role.ETCD


def test_an_etcd_that_is_there_already(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    files = "ca: cluster.yaml\n  certificate: cluster.yaml\n  key: cluster.yaml\n"
    path.write_text(
        f"nodes:\n  - a: 10.0.0.1\n  - ai: 10.0.0.2\netcd:\n  endpoints: [https://e1/, 'https://e2:4001']\n  {files}"
    )
    cluster = load(path)
    assert cluster.etcd_endpoints == ("https://e1:2379", "https://e2:4001")
    assert cluster.members == ()
    assert cluster.etcd.key == path
