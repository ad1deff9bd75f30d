"""Whether hosts can take a cluster."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network
from types import SimpleNamespace
from typing import Any

import pytest

from kubeup.checks import preflight as preflight_module
from kubeup.checks.preflight import CHECKS, SPARE_KIB, existing_etcd, preflight
from kubeup.errors import PreflightError
from kubeup.host.difference import Change, Item, difference
from kubeup.host.reading import Entry, Reading
from kubeup.host.resources import Blob, Secret

Refuses = Callable[..., list[str]]


def problems(world: Any, cluster: Any, readings: dict[str, Reading], material: Any = None) -> list[str]:
    """What preflight says of these hosts: "host: what" of each."""
    changes = {
        node.name: difference(node.name, world.desired(cluster, node), readings[node.name]) for node in cluster.hosts
    }
    try:
        preflight(cluster, readings, changes, material or world.material())
    except PreflightError as error:
        found = error.problems
    else:
        found = ()
    assert all(problem.remedy or "damaged" in problem.what for problem in found)
    return [f"{problem.where}: {problem.what}" for problem in found]


@pytest.fixture
def says(world: Any) -> Refuses:
    """What is said of one master with these facts, and these lines in its record."""

    def says(*record: tuple[str, str], **facts: Any) -> list[str]:
        cluster = world.cluster("ai")
        reading = Reading(world.host(cluster.nodes[0], **facts))
        reading.record = {key: Entry("want", "digest 1 2", "absent") for key in record}
        if ("cluster", "demo") in record:
            reading.record["cluster", "demo"] = Entry(world.trust.identity, "-", "-")
        return problems(world, cluster, {"n1": reading})

    return says


def test_a_bare_host_is_fit(says: Refuses) -> None:
    assert says() == []


def test_a_private_key_that_nobody_has_is_told(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = world.cluster("ai")
    material = world.material()
    monkeypatch.setattr(material, "lost", lambda resource: "/pki/one.key" if isinstance(resource, Secret) else "")
    found = problems(world, cluster, {"n1": Reading(world.host(cluster.nodes[0]))}, material)
    assert found == ["n1: /pki/one.key is needed, and no master holds it any more as it was placed"]


@pytest.mark.parametrize("roles", ["ai i i", "a i"])
def test_a_cluster_that_is_up_is_fit(world: Any, roles: str) -> None:
    """Its ports are taken, its devices have its networks, its files lie there: by kubeup."""
    cluster = world.cluster(roles)
    readings = {}
    for node in cluster.nodes:
        facts = world.host(
            node,
            listening=frozenset({22, 2379, 2380, 6443, 10249, 10250, 10256, 10257, 10259})
            if node.is_master
            else frozenset({10250}),
            addresses=(
                ("eth0", IPv4Interface(f"{node.address}/24")),
                ("cni0", IPv4Interface("172.16.1.1/24")),
                ("flannel.1", IPv4Interface("172.16.1.0/32")),
            ),
            routes=((IPv4Network("172.16.2.0/24"), "eth0"),),  # as flannel's host-gw has them
            present=(
                "/etc/kubernetes/kubelet.conf",
                *(("/etc/kubernetes/admin.conf", "/var/lib/etcd/member") if node.is_master else ()),
                "/run/containerd/containerd.sock",
            ),
        )
        readings[node.name] = world.holding(world.desired(cluster, node), facts)
        readings[node.name].record["cluster", "demo"] = Entry(world.trust.identity, "-", "-")
    assert problems(world, cluster, readings) == []


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"os": "ubuntu", "os_version": "22.04"}, None),
        ({"os": "ubuntu", "os_version": "18.04", "os_name": "Ubuntu 18.04"}, "Ubuntu 18.04 is too old"),
        ({"os": "debian", "os_version": "10", "os_name": "Debian 10"}, "Debian 10 is too old"),
        ({"os": "debian", "os_version": ""}, None),  # testing
        ({"os": "linuxmint", "os_like": ("ubuntu", "debian"), "os_version": "21"}, None),
        ({"os": "ol", "os_like": ("fedora", "rhel"), "os_version": "9.3"}, None),
        ({"os": "rocky", "os_version": "9.3"}, None),
        ({"os": "alpine", "os_version": "3.20", "os_name": "Alpine"}, "Alpine is not supported"),
        ({"arch": "arm64"}, None),
        ({"arch": "riscv64"}, "the architecture riscv64 is not supported"),
        ({"init": "sh"}, "process 1 is sh, not systemd"),
    ],
)
def test_the_operating_system(says: Refuses, facts: dict[str, Any], expected: str | None) -> None:
    assert says(**facts) == ([f"n1: {expected}"] if expected else [])


def test_missing_tools(says: Refuses, world: Any) -> None:
    assert says(commands=world.facts.commands - {"gzip", "flock"}) == ["n1: gzip, flock cannot be found"]


def test_an_address_that_the_host_does_not_have(says: Refuses) -> None:
    others = (("lo", IPv4Interface("127.0.0.1/8")), ("eth0", IPv4Interface("10.0.9.9/24")))
    assert says(addresses=others) == ["n1: the address 10.0.0.1 is not one of this host's (10.0.9.9)"]
    assert says(addresses=()) == []  # a host without the command ip says nothing of its addresses


OWN = ("eth0", IPv4Interface("10.0.0.1/24"))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (
            {"routes": ((IPv4Network("172.16.0.0/12"), "tun0"),)},
            "flannel_net 172.16.0.0/16 overlaps with 172.16.0.0/12",
        ),
        (
            {"routes": ((IPv4Network("192.168.0.0/16"), "wlan0"),)},
            "service_cidr 192.168.3.0/24 overlaps with 192.168.0",
        ),
        ({"addresses": (OWN, ("docker0", IPv4Interface("172.16.5.1/24")))}, "flannel_net 172.16.0.0/16 overlaps with"),
        ({"routes": ((IPv4Network("0.0.0.0/0"), "eth0"),)}, None),
        ({"routes": ((IPv4Network("10.9.0.0/16"), "eth0"),)}, None),
        ({"addresses": (OWN, ("cni0", IPv4Interface("172.16.5.1/24")))}, None),
        ({"addresses": (OWN, ("lo", IPv4Interface("192.168.3.10/32")))}, None),
    ],
)
def test_networks_that_are_taken(says: Refuses, facts: dict[str, Any], expected: str | None) -> None:
    found = says(**facts)
    assert len(found) == (expected is not None)
    assert not expected or found[0].startswith(f"n1: {expected}")


@pytest.mark.parametrize(
    ("port", "unit"),
    [
        (2379, "etcd"),
        (2380, "etcd"),
        (6443, "kube-apiserver"),
        (10250, "kubelet"),
        (10257, "kube-controller-manager"),
        (10259, "kube-scheduler"),
        (10249, "kube-proxy"),
        (10256, "kube-proxy"),
    ],
)
def test_a_port_that_is_taken(says: Refuses, port: int, unit: str) -> None:
    assert says(listening=frozenset({22, port})) == [f"n1: port {port} is taken, and {unit} needs it"]
    assert says(("unit", f"{unit}.service"), ("cluster", "demo"), listening=frozenset({port})) == []


def test_a_minion_needs_no_masters_ports(world: Any) -> None:
    cluster = world.cluster("ai i")
    taken = {"n1": frozenset({22}), "n2": frozenset({2379, 6443, 10257, 10250})}
    readings = {node.name: Reading(world.host(node, listening=taken[node.name])) for node in cluster.nodes}
    assert problems(world, cluster, readings) == ["n2: port 10250 is taken, and kubelet needs it"]


def test_another_api_port_is_the_one_that_counts(world: Any) -> None:
    cluster = world.cluster("ai", api_port=8443)
    reading = Reading(world.host(cluster.nodes[0], listening=frozenset({6443, 8443})))
    assert problems(world, cluster, {"n1": reading}) == ["n1: port 8443 is taken, and kube-apiserver needs it"]


def test_another_clusters_host(says: Refuses) -> None:
    assert says(("cluster", "other")) == ["n1: this host belongs to the cluster other"]


def test_a_host_of_another_cluster_of_the_same_name(world: Any) -> None:
    cluster = world.cluster("ai")
    reading = Reading(world.host(cluster.nodes[0]), {("cluster", "demo"): Entry("another", "-", "-")})
    (problem,) = problems(world, cluster, {"n1": reading})
    assert "another cluster that is also called demo" in problem


@pytest.mark.parametrize(
    ("path", "explained"),
    [
        ("/etc/kubernetes/manifests", None),
        ("/etc/kubernetes/admin.conf", ("file", "/etc/kubernetes/admin.conf")),
        ("/etc/kubernetes/kubelet.conf", ("file", "/etc/kubernetes/kubelet.conf")),
        ("/var/lib/kubelet/config.yaml", None),
        ("/var/lib/etcd/member", ("dir", "/var/lib/etcd")),
        ("/etc/rancher", None),
        ("/var/lib/rancher", None),
        ("/var/lib/k0s", None),
        ("/var/snap/microk8s", None),
    ],
)
def test_what_another_kubernetes_left(says: Refuses, path: str, explained: tuple[str, str] | None) -> None:
    assert says(present=(path,)) == [f"n1: {path} is there: the host holds another Kubernetes, or what one left"]
    if explained:
        assert says(explained, present=(path,)) == []


def test_containers_stay_with_the_runtime_that_made_them(world: Any) -> None:
    theirs, ours = world.cluster("ai", runtime={"socket": "/run/x.sock"}), world.cluster("ai")
    other = world.cluster("ai", runtime={"socket": "/run/y.sock"})
    for had, wanted, name in (
        (ours, theirs, "/run/x.sock"),
        (theirs, ours, "kubeup's containerd"),
        (theirs, other, "/run/y.sock"),
        (theirs, theirs, ""),
        (ours, ours, ""),
    ):
        node = had.nodes[0]
        reading = world.holding(world.desired(had, node), world.host(node))
        reading.record["cluster", "demo"] = Entry(world.trust.identity, "-", "-")
        said = f"n1: its containers are run by another runtime than the inventory says ({name})"
        assert problems(world, wanted, {"n1": reading}) == ([said] if name else [])


def test_a_file_that_somebody_has_altered_is_not_another_runtime(world: Any) -> None:
    cluster = world.cluster("ai", runtime={"socket": "/run/x.sock"})
    reading = world.holding(world.desired(cluster, cluster.nodes[0]), world.host(cluster.nodes[0]))
    reading.record["cluster", "demo"] = Entry(world.trust.identity, "-", "-")
    reading.hashes["/etc/crictl.yaml"] = "another"
    assert problems(world, cluster, {"n1": reading}) == []


def test_a_run_that_was_killed_before_there_were_containers_goes_on(world: Any) -> None:
    cluster = world.cluster("ai", runtime={"socket": "/run/x.sock"})
    reading = Reading(world.host(cluster.nodes[0]))
    reading.record["file", "/etc/crictl.yaml"] = Entry("pending", "-", "absent")
    assert problems(world, cluster, {"n1": reading}) == []


def test_a_containerd_that_the_cluster_shall_use(world: Any) -> None:
    socket = "/run/containerd/containerd.sock"
    cluster = world.cluster("ai", runtime={"socket": socket})
    reading = Reading(world.host(cluster.nodes[0], present=(socket,)))
    assert problems(world, cluster, {"n1": reading}) == []


def test_a_host_that_asks_the_clusters_own_dns(says: Refuses) -> None:
    path, found = "/etc/resolv.conf", "n1: its nameserver 192.168.3.10 is the cluster's own DNS, which asks this host's"
    assert says(nameservers=((path, "192.168.3.10"), (path, "10.0.0.53"))) == [f"{found} nameservers in turn"]
    assert says(nameservers=((path, "10.0.0.53"),)) == []


def test_another_containerd(says: Refuses) -> None:
    socket = "/run/containerd/containerd.sock"
    assert says(present=(socket,)) == [f"n1: another containerd runs here ({socket})"]
    assert says(("unit", "containerd.service"), present=(socket,)) == []


def change_of(blobs: int) -> dict[str, Change]:
    """A change that places so many large files, of 1000 bytes each."""
    placed = [Blob(f"/opt/kubeup/{number}", f"program-{number}", "1") for number in range(blobs)]
    return {"n1": Change("n1", [Item("add", blob.key, "", resource=blob) for blob in placed])}


@pytest.mark.parametrize(
    ("disks", "blobs", "fits"),
    [
        ((("/", SPARE_KIB + 98),), 100, True),
        ((("/", SPARE_KIB + 96),), 100, False),
        ((("/", 0), ("/opt", SPARE_KIB + 98)), 100, True),
        ((("/", 2**30), ("/opt", SPARE_KIB)), 100, False),
        ((("/", 0), ("/var/lib", 2**30)), 100, False),
        ((("/", 2**30), ("/op", 0)), 100, True),
        ((("/", 0),), 0, True),  # nothing is to be placed
        ((), 100, True),  # unknown
    ],
)
def test_room_for_the_components(world: Any, disks: tuple[tuple[str, int], ...], blobs: int, fits: bool) -> None:
    cluster = world.cluster("ai")
    readings = {"n1": Reading(world.host(cluster.nodes[0], disks=disks))}
    refused = pytest.raises(PreflightError, match="MiB free; the components take 0 MiB")
    with nullcontext() if fits else refused:
        preflight(cluster, readings, change_of(blobs), world.material())


def test_components_that_are_not_in_the_cache(world: Any) -> None:
    cluster = world.cluster("ai i")
    readings = {node.name: Reading(world.host(node)) for node in cluster.nodes}
    found = problems(world, cluster, readings, world.material(broken="kubelet"))
    assert found == ["n1: kubelet is damaged", "n2: kubelet is damaged"]


def test_all_problems_of_all_hosts_at_once(world: Any) -> None:
    cluster = world.cluster("ai i i")
    one, two, three = (Reading(world.host(node)) for node in cluster.nodes)
    one.facts = replace(one.facts, init="sh", arch="mips", listening=frozenset({2379, 10250}))
    three.record["cluster", "other"] = Entry("x", "-", "-")
    assert problems(world, cluster, {"n1": one, "n2": two, "n3": three}) == [
        "n1: the architecture mips is not supported",
        "n1: process 1 is sh, not systemd",
        "n1: port 2379 is taken, and etcd needs it",
        "n1: port 10250 is taken, and kubelet needs it",
        "n3: this host belongs to the cluster other",
    ]


def test_another_haproxy_is_not_taken_over(world: Any) -> None:
    path = "/etc/haproxy/haproxy.cfg"

    def said(roles: str, *record: tuple[str, str]) -> list[str]:
        cluster = world.cluster(roles)
        readings = {node.name: Reading(world.host(node)) for node in cluster.nodes}
        readings["n1"].facts = replace(readings["n1"].facts, present=(path,))
        readings["n1"].record = {key: Entry("want", "digest 1 2", "absent") for key in record}
        return problems(world, cluster, readings)

    assert said("ai i") == []  # which needs none
    assert said("ai ai ai") == [
        f"n1: haproxy is set up here for something else ({path}), and kubeup needs it for the API"
    ]
    assert said("ai ai ai", ("file", path)) == []
    assert said("ai ai ai", ("package", "haproxy")) == []  # a run that was killed had just installed it


def test_the_virtual_address_is_in_the_masters_network(world: Any) -> None:
    cluster = world.cluster("ai ai ai i", api={"address": "10.0.7.9"})
    readings = {node.name: Reading(world.host(node)) for node in cluster.nodes}
    assert problems(world, cluster, readings) == [
        f"{name}: api's address 10.0.7.9 is not in this master's network 10.0.0.0/24" for name in ("n1", "n2", "n3")
    ]


def test_what_clients_outside_use_is_in_the_network_of_its_nodes(world: Any) -> None:
    addons = {
        "metallb": {"addresses": ["10.0.0.250-10.0.1.5"], "nodes": ["n1"]},
        "ingress-vip": {"address": "10.0.7.9", "nodes": ["n2"]},
    }
    cluster = world.cluster("ai i i", addons=addons)
    readings = {node.name: Reading(world.host(node)) for node in cluster.nodes}
    assert problems(world, cluster, readings) == [
        "n1: metallb's addresses 10.0.0.250-10.0.1.5 are not all in this node's network 10.0.0.0/24",
        "n2: ingress's address 10.0.7.9 is not in this node's network 10.0.0.0/24",
    ]


def test_a_keepalived_that_is_somebodys(world: Any) -> None:
    cluster = world.cluster("ai i i", addons={"ingress-vip": {"address": "10.0.0.9", "nodes": ["n2"]}})
    path = "/etc/keepalived/keepalived.conf"
    readings = {node.name: Reading(replace(world.host(node), present=(path,))) for node in cluster.nodes}
    (problem,) = problems(world, cluster, readings)
    assert problem.startswith(f"n2: keepalived is set up here for something else ({path})")


@pytest.mark.parametrize("port", [80, 443, 7946])
def test_ports_of_addons(world: Any, port: int) -> None:
    """They are pods' on the host's network: what shows that they are ours is that their image was placed."""
    addons = {"traefik": {"nodes": ["n2"]}, "metallb": {"addresses": ["10.0.0.60"]}}
    cluster = world.cluster("ai i i", addons=addons)
    readings = {node.name: Reading(world.host(node, listening=frozenset({port}))) for node in cluster.nodes}
    user, where = ("metallb", ["n1", "n2", "n3"]) if port == 7946 else ("traefik", ["n2"])
    assert problems(world, cluster, readings) == [
        f"{name}: port {port} is taken, and {user} needs it" for name in where
    ]
    for reading in readings.values():
        for image in ("traefik", "metallb-speaker"):
            reading.record["link", f"/opt/kubeup/images/{image}.tar"] = Entry("want", "-", "absent")
    assert problems(world, cluster, readings) == []


def test_the_balancers_port(world: Any) -> None:
    for roles, expected in (("ai i", []), ("ai ai ai", ["n1: port 6444 is taken, and haproxy needs it"])):
        cluster = world.cluster(roles)
        readings = {node.name: Reading(world.host(node)) for node in cluster.nodes}
        readings["n1"].facts = replace(readings["n1"].facts, listening=frozenset({6444}))
        assert problems(world, cluster, readings) == expected


def test_a_balancer_that_was_there_before_its_apiserver(world: Any) -> None:
    """As after a run that was killed in between: it listens on the API's port of the virtual address."""
    cluster = world.cluster("ai ai ai", api={"address": "10.0.0.100"})
    readings = {node.name: Reading(world.host(node)) for node in cluster.nodes}
    readings["n1"].facts = replace(readings["n1"].facts, listening=frozenset({6443, 6444}))
    readings["n1"].record = {("unit", "haproxy.service"): Entry("want", "digest 1 2", "absent")}
    assert problems(world, cluster, readings) == []


def test_every_check_is_run() -> None:
    like_a_check = {"s": "Subject", "return": "Iterator[tuple[str, str]]"}
    functions = {
        name
        for name, value in vars(preflight_module).items()
        if getattr(value, "__annotations__", None) == like_a_check
    }
    assert functions == {check.__name__ for check in CHECKS}


# an etcd that is not kubeup's


def test_an_etcd_that_does_not_answer_is_told_before_anything_is_touched(world: Any) -> None:
    cluster = world.cluster("a a", etcd={"endpoints": ["https://10.0.0.8", "https://store:4001"]})
    asked: list[tuple[str, ...]] = []

    def shell(name: str, script: str, *arguments: str) -> Any:
        asked.append((name, *arguments))
        return SimpleNamespace(stdout="store:4001\n" if name == "n2" else "")

    session: Any = SimpleNamespace(
        shell=shell, side_by_side=lambda names, function: {name: function(name) for name in names}
    )
    with pytest.raises(PreflightError, match="n2: nothing answers at store:4001, where etcd shall be"):
        existing_etcd(cluster, session, ["n1", "n2"])
    assert asked == [("n1", "10.0.0.8:2379", "store:4001"), ("n2", "10.0.0.8:2379", "store:4001")]
    existing_etcd(cluster, session, ["n1"])


def test_the_ports_of_etcd_are_free_where_it_will_run(world: Any) -> None:
    cluster = world.cluster("a i etcd")
    readings = {host.name: Reading(world.host(host, listening=frozenset({22, 2379}))) for host in cluster.hosts}
    assert problems(world, cluster, readings) == ["n3: port 2379 is taken, and etcd needs it"]


def network_problems(world: Any, settings: dict[str, Any], roles: str = "ai i", **facts: Any) -> list[str]:
    cluster = world.cluster(roles, **settings)
    return problems(world, cluster, {node.name: Reading(world.host(node, **facts)) for node in cluster.hosts})


def test_ipvs_is_refused_on_all_hosts_whose_kernel_lacks_it(world: Any) -> None:
    ipvs = {"kube_proxy": {"mode": "ipvs"}}
    assert network_problems(world, ipvs, kernel_offers=frozenset({"ip_vs", "dummy"})) == []
    assert network_problems(world, ipvs, kernel_offers=frozenset({"dummy"}), kernel="6.18") == [
        f"{name}: kube_proxy's mode ipvs needs ip_vs, which the kernel 6.18 does not have" for name in ("n1", "n2")
    ]
    assert len(network_problems(world, ipvs, "a i etcd", kernel_offers=frozenset())) == 2
    assert network_problems(world, {}, kernel_offers=frozenset()) == []


@pytest.mark.parametrize(
    ("kernel", "fits"), [("5.12.19", False), ("3.10.0-1160.el7", False), ("5.13.0", True), ("6.1", True)]
)
def test_nftables_needs_a_kernel_that_is_not_too_old(world: Any, kernel: str, fits: bool) -> None:
    found = network_problems(world, {"kube_proxy": {"mode": "nftables"}}, "ai", kernel=kernel)
    assert found == ([] if fits else [f"n1: kube_proxy's mode nftables needs Linux 5.13, and this is {kernel}"])
    assert network_problems(world, {}, "ai", kernel=kernel) == []


def test_host_gw_is_refused_across_gateways(world: Any) -> None:
    host_gw = {"flannel": {"backend": "host-gw"}}
    own, all_of_it = IPv4Network("10.0.0.2/31"), IPv4Network("10.0.0.0/24")
    found = network_problems(world, host_gw, "ai i i", neighbours=(own,))
    says = "flannel's backend host-gw reaches only nodes of its own layer-2 network, and from here n1 can be reached"
    assert [problem.partition(" through a ")[0] for problem in found] == [f"n2: {says}", f"n3: {says}"]
    assert network_problems(world, host_gw, "ai i i", neighbours=(own, all_of_it)) == []
    assert network_problems(world, host_gw, "ai i i", neighbours=()) == []  # it is not known
    assert network_problems(world, {}, "ai i i", neighbours=(own,)) == []
    assert network_problems(world, {**host_gw, "cni": "none"}, "ai i i", neighbours=(own,)) == []


@pytest.mark.parametrize(
    ("flannel", "expected"),
    [
        ({"mtu": 1450}, []),
        ({"mtu": 1451}, ["n1: flannel's mtu 1451 is more than this host's link takes (1500, of which VXLAN needs 50)"]),
        ({"mtu": 1500, "backend": "host-gw"}, []),
        ({"mtu": 1501, "backend": "host-gw"}, ["n1: flannel's mtu 1501 is more than this host's link takes (1500)"]),
    ],
)
def test_pods_packets_fit_into_the_links(world: Any, flannel: dict[str, Any], expected: list[str]) -> None:
    assert network_problems(world, {"flannel": flannel}, "ai", mtus=(("eth0", 1500),)) == expected
    assert network_problems(world, {"flannel": flannel}, "ai", mtus=()) == []


def test_what_a_network_of_the_users_makes_on_a_node_is_not_taken_for_somebody_elses(says: Refuses) -> None:
    own = {"routes": ((IPv4Network("172.16.1.0/24"), "cali0"),)}
    assert len(says(**own)) == 1
    assert says(("unit", "kubelet.service"), ("cluster", "demo"), **own) == []


def test_nfs_is_refused_on_nodes_whose_kernel_lacks_it(world: Any) -> None:
    volumes = [{"name": "a", "size": "1Gi"}]
    nfs = {"addons": {"nfs": {"server": "files", "path": "/srv", "volumes": volumes}}}
    assert network_problems(world, nfs, kernel_offers=frozenset({"nfs"})) == []
    assert network_problems(world, nfs, "a i etcd", kernel_offers=frozenset()) == [
        f"{name}: its kernel has no NFS client, which the addon nfs needs" for name in ("n1", "n2")
    ]


def test_the_registrys_port_is_free_on_its_node(world: Any) -> None:
    registry = {"addons": {"registry": {"node": "n2"}}}
    taken = network_problems(world, registry, listening=frozenset({22, 5000}))
    assert taken == ["n2: port 5000 is taken, and kubeup-registry needs it"]
