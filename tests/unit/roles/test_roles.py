"""What the roles ask for, over the clusters that one can have."""

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment, meta

from kubeup.cluster.trust import ExistingEtcd
from kubeup.components import COMPONENTS
from kubeup.components.catalogue import DEFAULT_VERSIONS
from kubeup.deploy.run import ROLES
from kubeup.deploy.up import PHASES
from kubeup.host.resources import Blob, Certificate, Cleanup, File, Link, Resource, Secret, Sysctl, Unit
from kubeup.roles import applies, role_name
from kubeup.roles.etcd import MEMBERS

ROOT = Path(__file__).parents[3]
TEMPLATES = sorted((ROOT / "templates").glob("**/*.j2"))

KINDS = {
    f"{roles}, flannel in {store}, {mode}": {
        "roles": roles,
        "flannel": {"store": store},
        "kube_proxy": {"mode": mode},
    }
    for roles in ("ai i i", "ai ai ai", "a i", "etcd ai i", "etcd etcd etcd a a i")
    for store in ("kubernetes", "etcd")
    for mode in ("iptables", "nftables")
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def cluster(request: pytest.FixtureRequest, world: Any) -> Any:
    return world.cluster(**request.param)


@pytest.fixture
def hosts(cluster: Any, world: Any) -> dict[str, list[Resource]]:
    """What each node shall hold. (That this raises nothing says that no two roles claim one path.)"""
    return {node.name: [resource for _, resource in world.desired(cluster, node).values()] for node in cluster.hosts}


def of_kind(kind: type, hosts: dict[str, list[Resource]]) -> Iterator[Any]:
    return (resource for resources in hosts.values() for resource in resources if isinstance(resource, kind))


def programs(unit: Unit) -> list[str]:
    return re.findall(r"^Exec\w+=[-+!@:]*(\S+)", unit.content, re.MULTILINE)


def flags(unit: Unit) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+)=(\S+)", unit.content))


def test_units_know_their_inputs(hosts: dict[str, list[Resource]]) -> None:
    for resources in hosts.values():
        keys = {resource.key for resource in resources}
        assert [key for r in resources if isinstance(r, Unit) for key in r.inputs if key not in keys] == []


def test_what_units_start_is_there(hosts: dict[str, list[Resource]]) -> None:
    for resources in hosts.values():
        links = {r.path: r.target for r in resources if isinstance(r, Link)}
        files = {r.path for r in resources if isinstance(r, Blob | File)}
        for unit in (r for r in resources if isinstance(r, Unit)):
            for program in programs(unit):
                target = links.get(program, program)
                assert target in files or program.startswith(("/bin/", "/sbin/", "/usr/")), (unit.name, program)


def test_links_lead_somewhere(hosts: dict[str, list[Resource]]) -> None:
    for resources in hosts.values():
        paths = {r.path for r in resources if isinstance(r, Blob | File | Link | Secret)}
        assert {r.target for r in resources if isinstance(r, Link)} <= paths


def test_files_that_units_are_given_are_there(hosts: dict[str, list[Resource]]) -> None:
    """And that they are among its inputs: else it would go on with the old ones."""
    for resources in hosts.values():
        paths = {r.path for r in resources if isinstance(r, File | Secret | Certificate | Link)}
        paths |= {r.key_path for r in resources if isinstance(r, Certificate)}
        for unit in (r for r in resources if isinstance(r, Unit)):
            inputs = {path for kind, path in unit.inputs if kind in ("file", "link")}
            for name, value in flags(unit).items():
                if value.startswith("/etc/"):
                    assert value in paths, (unit.name, name)
                    assert value.replace(".key", ".crt") in inputs or value in inputs, (unit.name, name, value)


def test_what_configuration_refers_to_is_there(hosts: dict[str, list[Resource]]) -> None:
    for resources in hosts.values():
        there = {r.path for r in resources if isinstance(r, File | Certificate | Secret)}
        there |= {r.key_path for r in resources if isinstance(r, Certificate)}
        for file in (r for r in resources if isinstance(r, File)):
            for path in re.findall(r"(/etc/(?:kubernetes|etcd|flannel)/[\w./-]+\.(?:crt|key|conf))\b", file.content):
                assert path in there, (file.path, path)


def test_nothing_is_open_wider_than_it_must_be(hosts: dict[str, list[Resource]]) -> None:
    for file in of_kind(File, hosts):
        assert "PRIVATE KEY" not in file.content, file.path
        assert file.mode == (0o755 if file.content.startswith("#!") else 0o644), file.path
    for blob in of_kind(Blob, hosts):
        assert blob.mode == (0o644 if blob.artifact.startswith("image-") else 0o755), blob.path
    # Keys are 0600 by their kind: see test_converge. Nothing else has a path that says it is one.
    assert not [r.path for r in of_kind(File, hosts) if r.path.endswith(".key")]


def test_components_are_in_the_catalogue(hosts: dict[str, list[Resource]]) -> None:
    names = {program.name for component in COMPONENTS for program in component.programs}
    names |= {f"image-{image.name}" for component in COMPONENTS for image in component.images}
    for blob in of_kind(Blob, hosts):
        assert blob.artifact in names
        assert blob.version in DEFAULT_VERSIONS.values()


def test_configuration_in_yaml_is_yaml(hosts: dict[str, list[Resource]]) -> None:
    for file in of_kind(File, hosts):
        if file.path.endswith((".yaml", ".conf")) and "/kubernetes/" in file.path:
            assert all(document is not None for document in yaml.safe_load_all(file.content)) or "resolv" in file.path


def test_units_have_the_parts_of_one(hosts: dict[str, list[Resource]]) -> None:
    for unit in of_kind(Unit, hosts):
        if unit.name.endswith(".timer"):
            continue
        for line in ("[Unit]", "[Service]", "[Install]", "WantedBy=multi-user.target"):
            assert line in unit.content.splitlines(), unit.name
        assert len(programs(unit)) >= 1, unit.name


def test_masters_alone_hold_the_authorities(cluster: Any, hosts: dict[str, list[Resource]]) -> None:
    holders = {name for name, resources in hosts.items() if any(isinstance(r, Secret) for r in resources)}
    assert holders == {node.name for node in cluster.masters}


def units(world: Any, cluster: Any, node: Any, **facts: Any) -> dict[str, Unit]:
    return {r.name: r for _, r in world.desired(cluster, node, **facts).values() if isinstance(r, Unit)}


def test_the_api_has_no_door_without_a_lock(cluster: Any, world: Any) -> None:
    for node in cluster.masters:
        apiserver = flags(units(world, cluster, node)["kube-apiserver.service"])
        assert apiserver["anonymous-auth"] == "false"
        assert apiserver["authorization-mode"] == "Node,RBAC"
        assert "NodeRestriction" in apiserver["enable-admission-plugins"]
        assert "insecure-port" not in apiserver
        for name in ("kube-scheduler.service", "kube-controller-manager.service"):
            assert flags(units(world, cluster, node)[name])["bind-address"] == "127.0.0.1"


def text_of(world: Any, cluster: Any, node: Any, path: str, **facts: Any) -> str:
    _, file = world.desired(cluster, node, **facts)["file", path]
    content: str = file.content
    return content


KUBELET = "/etc/kubernetes/kubelet.yaml"


def kubelet(world: Any, roles: str = "ai i", **facts: Any) -> dict[str, Any]:
    """The kubelet's configuration on the first node."""
    cluster = world.cluster(roles)
    config: dict[str, Any] = yaml.safe_load(text_of(world, cluster, cluster.nodes[0], KUBELET, **facts))
    return config


def test_the_kubelet_lets_nobody_in_unasked(world: Any) -> None:
    config = kubelet(world)
    assert config["authentication"]["anonymous"] == {"enabled": False}
    assert config["authorization"] == {"mode": "Webhook"}
    assert (config["readOnlyPort"], config["healthzPort"]) == (0, 0)


def test_the_kubelet_suits_the_hosts_cgroups(world: Any) -> None:
    one, two = kubelet(world, cgroup=1), kubelet(world, cgroup=2)
    assert (one["cgroupDriver"], one["failCgroupV1"]) == ("cgroupfs", False)
    assert two["cgroupDriver"] == "systemd"
    assert "failCgroupV1" not in two


@pytest.mark.parametrize(
    ("owns_kernel", "capabilities", "gated"),
    [(True, 1 << 24, False), (False, 1 << 24, True), (True, 0, True), (False, 0, True)],
)
def test_the_kubelet_knows_when_its_host_is_a_container(
    world: Any, owns_kernel: bool, capabilities: int, gated: bool
) -> None:
    config = kubelet(world, owns_kernel=owns_kernel, capabilities=capabilities)
    assert ("featureGates" in config) is gated


def test_kernel_settings_are_left_to_the_machine_where_the_host_is_a_container(world: Any) -> None:
    cluster = world.cluster("ai")

    def sysctls(owns_kernel: bool) -> set[str]:
        desired = world.desired(cluster, cluster.nodes[0], owns_kernel=owns_kernel).values()
        return {r.name for _, r in desired if isinstance(r, Sysctl)}

    assert sysctls(True) - sysctls(False) >= {"vm.overcommit_memory", "kernel.panic"}
    assert "net.ipv4.ip_forward" in sysctls(False)


def test_a_master_alone_keeps_pods_away(world: Any) -> None:
    assert [taint["key"] for taint in kubelet(world, "a i")["registerWithTaints"]] == [
        "node-role.kubernetes.io/control-plane"
    ]
    assert "registerWithTaints" not in kubelet(world, "ai i")


def test_pods_are_given_a_nameserver_that_they_can_reach(world: Any) -> None:
    usable = {"nameservers": (("/etc/resolv.conf", "10.0.0.1"),)}
    assert kubelet(world, **usable)["resolvConf"] == "/etc/resolv.conf"
    assert kubelet(world, nameservers=())["resolvConf"] == "/etc/kubernetes/resolv.conf"
    cluster = world.cluster("ai")
    corefile = "/etc/kubernetes/addons/coredns.yaml"
    assert "forward . " in text_of(world, cluster, cluster.nodes[0], corefile, **usable)
    assert "forward . " not in text_of(world, cluster, cluster.nodes[0], corefile, nameservers=())


@pytest.mark.parametrize(("limit", "expected"), [(0, 1048576), (20000, 20000), (10**9, 1048576)])
def test_the_limit_of_open_files_is_one_that_the_host_allows(world: Any, limit: int, expected: int) -> None:
    cluster = world.cluster("ai")
    unit = units(world, cluster, cluster.nodes[0], nofile=limit)["etcd.service"]
    assert f"LimitNOFILE={expected}" in unit.content.splitlines()


def test_flannels_store(world: Any) -> None:
    for store in ("kubernetes", "etcd"):
        cluster = world.cluster("ai i", flannel={"store": store})
        flannel = flags(units(world, cluster, cluster.nodes[1])["flanneld.service"])
        manager = flags(units(world, cluster, cluster.nodes[0])["kube-controller-manager.service"])
        assert ("kube-subnet-mgr" in flannel) is (store == "kubernetes")
        assert ("etcd-endpoints" in flannel) is (store == "etcd")
        assert manager["allocate-node-cidrs"] == ("true" if store == "kubernetes" else "false")
        assert ("kubeup-etcd-users.service" in units(world, cluster, cluster.nodes[0])) is (store == "etcd")


def test_another_node_changes_nothing_on_a_minion_that_was_there(world: Any) -> None:
    before, after = world.cluster("ai i"), world.cluster("ai i i")
    assert world.desired(before, before.nodes[1]) == world.desired(after, after.nodes[1])


def test_apiservers_have_a_way_to_etcd(world: Any) -> None:
    def servers(cluster: Any, trust: Any = None) -> str:
        there = replace(world, trust=trust or world.trust)
        return flags(units(there, cluster, cluster.masters[0])["kube-apiserver.service"])["etcd-servers"]

    assert servers(world.cluster("ai ai ai")) == "https://127.0.0.1:2379"
    assert servers(world.cluster("a etcd")) == "https://10.0.0.2:2379"
    assert (
        servers(world.cluster("etcd a etcd etcd"))
        == "https://10.0.0.1:2379,https://10.0.0.3:2379,https://10.0.0.4:2379"
    )
    theirs = replace(world.trust, existing_etcd=ExistingEtcd("ca", "certificate"))
    assert servers(world.cluster("a", etcd={"endpoints": ["https://e1", "https://e2"]}), theirs) == (
        "https://e1:2379,https://e2:2379"
    )


def test_an_etcd_of_others_needs_none_of_ours(world: Any) -> None:
    there = replace(world, trust=replace(world.trust, existing_etcd=ExistingEtcd("the ca", "the certificate")))
    cluster = world.cluster("a i", etcd={"endpoints": ["https://e1"]})
    desired = there.desired(cluster, cluster.nodes[0])
    assert ("unit", "etcd.service") not in desired
    assert ("blob", f"/opt/kubeup/etcd/{cluster.versions.etcd}/etcd") not in desired
    folder = "/etc/kubernetes/pki/existing-etcd"
    assert desired["file", f"{folder}.crt"][1].content == "the certificate"
    assert isinstance(desired["file", f"{folder}.key"][1], Secret)
    assert ("file", f"{folder}.key") in desired["unit", "kube-apiserver.service"][1].inputs
    other = replace(world.trust, existing_etcd=ExistingEtcd("the ca", "another"))
    again = replace(world, trust=other).desired(cluster, cluster.nodes[0])
    assert again["file", f"{folder}.key"][1].want != desired["file", f"{folder}.key"][1].want


def test_a_host_of_etcd_alone_holds_etcd_alone(world: Any) -> None:
    cluster = world.cluster("a i etcd")
    desired = world.desired(cluster, cluster.etcd_hosts[0])
    assert [name for kind, name in desired if kind == "unit"] == ["etcd.service", "kubeup-snapshots.timer"]
    assert not [key for key in desired if key[0] in ("sysctl", "module", "package", "cleanup")]
    assert not [name for kind, name in desired if "kubernetes" in name]


def test_another_member_changes_nothing_that_a_running_one_uses(world: Any) -> None:
    before, after = world.cluster("ai i i"), world.cluster("ai ai ai")
    old, new = (world.desired(cluster, cluster.nodes[0]) for cluster in (before, after))
    assert old["unit", "etcd.service"] == new["unit", "etcd.service"]
    inputs = old["unit", "etcd.service"][1].inputs
    assert {key: old[key] for key in inputs} == {key: new[key] for key in inputs}
    assert old["file", MEMBERS] != new["file", MEMBERS]


def test_where_roles_apply(world: Any) -> None:
    where = {"masters": "a ai", "nodes": "a i ai", "members": "a ai", "hosts": "a i ai"}
    apart = {"masters": "a ai", "nodes": "a i ai", "members": "etcd", "hosts": "a i ai etcd"}
    for roles, expected in (("a i ai", where), ("a i ai etcd", apart)):
        cluster = world.cluster(roles)
        for role in ROLES:
            having = [str(host.role) for host in cluster.hosts if applies(role, cluster, host)]
            assert having == expected[role.WHERE].split(), role


def test_every_role_has_its_phase() -> None:
    """Else its resources would be planned and never applied."""
    phased = [role for phase in PHASES for role in getattr(phase, "roles", ())]
    assert sorted(map(role_name, phased)) == sorted(map(role_name, ROLES))


def test_cleanups_can_capture_and_remove(hosts: dict[str, list[Resource]]) -> None:
    assert all("capture" in cleanup.script for cleanup in of_kind(Cleanup, hosts))


# Templates


def render_calls() -> Iterator[tuple[str, set[str]]]:
    """Every call of render: the template's name, and the names of the values that it is given."""
    for path in (path for folder in ("roles", "deploy", "kubeup/checks") for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name("render"), args=[ast.Constant(str(name))], keywords=keywords):
                    yield name, {keyword.arg for keyword in keywords if keyword.arg}


CALLS = list(render_calls())


@pytest.mark.parametrize(("name", "given"), CALLS, ids=[name for name, _ in CALLS])
def test_every_value_that_a_template_is_given_is_used(name: str, given: set[str]) -> None:
    """(That every one it uses is given, StrictUndefined sees to.)"""
    environment = Environment()  # noqa: S701  it renders nothing
    environment.globals.clear()  # "namespace" is one
    sources = [(ROOT / "templates" / name).read_text(), (ROOT / "templates" / "unit.j2").read_text()]
    assert given == meta.find_undeclared_variables(environment.parse(sources[0]))
    assert not meta.find_undeclared_variables(environment.parse(sources[1]))


def test_no_template_lies_about() -> None:
    parts = {part for path in TEMPLATES for part in re.findall(r'{% (?:extends|include) "(.+?)" %}', path.read_text())}
    used = {name for name, _ in CALLS} | parts
    assert {str(path.relative_to(ROOT / "templates")) for path in TEMPLATES} == used


def test_members_look_for_snapshots_and_send_them_to_the_others(world: Any) -> None:
    cluster = world.cluster("ai ai ai i", snapshots={"every": "12h", "keep": "7"})
    own = world.desired(cluster, cluster.nodes[1])
    service = own["file", "/etc/systemd/system/kubeup-snapshots.service"][1].content
    assert "/opt/kubeup/lib/etcd-snapshot-due 43200 7 n2 10.0.0.1:2382 10.0.0.3:2382\n" in service
    assert "WantedBy=timers.target" in own["unit", "kubeup-snapshots.timer"][1].content
    receiver = flags(own["unit", "kubeup-snapshots-receiver.service"][1])
    assert (receiver["listen"], receiver["client"], receiver["keep"]) == ("10.0.0.2:2382", "root", "7")
    assert not [name for _, name in world.desired(cluster, cluster.nodes[3]) if "snapshot" in name]


def test_a_single_member_has_nobody_to_send_to(world: Any) -> None:
    names = [name for _, name in world.desired(world.cluster("ai i"), world.cluster("ai i").nodes[0])]
    assert "kubeup-snapshots.timer" in names
    assert not [name for name in names if "receiver" in name or "kubeup-snapshots/" in name]


def test_scheduled_snapshots_can_be_switched_off(world: Any) -> None:
    cluster = world.cluster("ai ai ai", snapshots={"every": "off"})
    assert not [name for _, name in world.desired(cluster, cluster.nodes[0]) if "snapshot" in name]
