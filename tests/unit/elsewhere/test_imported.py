"""Inventories of 2015's kube-up and of kubespray become ours, and say what has no counterpart."""

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from kubeup.cluster import Cluster
from kubeup.elsewhere import Imported, read, write
from kubeup.errors import InventoryError

EXAMPLES = Path(__file__).parents[3] / "inventories"


def never(host: str, ssh_config: Path) -> IPv4Address | None:
    raise AssertionError(f"{host} needs no resolving")


def of(tmp_path: Path, imported: Imported) -> Cluster:
    return write(imported, tmp_path / "cluster.yaml", "demo", never)


def script(tmp_path: Path, text: str) -> Imported:
    path = tmp_path / "config-default.sh"
    path.write_text(text)
    return read(path)


def names(imported: Imported) -> str:
    return "\n".join(map(str, imported.left))


def test_the_example_of_2015_is_the_example_of_today(tmp_path: Path) -> None:
    imported = read(EXAMPLES / "config-default.sh")
    cluster = of(tmp_path, imported)
    assert [(n.role.value, n.user, n.host) for n in cluster.nodes] == [
        ("ai", "vcap", "10.10.103.250"),
        ("i", "vcap", "10.10.103.162"),
        ("i", "vcap", "10.10.103.223"),
    ]
    assert cluster.service_cidr == IPv4Network("192.168.3.0/24")
    assert cluster.flannel_net == IPv4Network("172.16.0.0/16")
    assert "ADMISSION_CONTROL" in names(imported)
    assert "ENABLE_CLUSTER_UI=true" in names(imported)
    # What was off is not missed, and what is so anyway is no difference.
    for name in ("LOGGING", "MONITORING", "NUM_MINIONS", "DNS_SERVER_IP", "roles", "Port=22"):
        assert name not in names(imported)


def test_every_setting_of_2015_gets_through(tmp_path: Path) -> None:
    imported = script(
        tmp_path,
        'nodes="a@10.0.0.1 b@10.0.0.2"\nroles="a i"\nexport roles_array=($roles)\nNUM_NODES=${NUM_NODES:-5}\n'
        "PORTAL_NET=10.1.0.0/16\nFLANNEL_NET=10.2.0.0/16\nDNS_SERVER_IP=10.1.0.99\nDNS_DOMAIN=k8s.example\n"
        "SERVICE_NODE_PORT_RANGE=31000-31999\nKUBE_PROXY_EXTRA_OPTS='--proxy-mode nftables --v=4'\n"
        'FLANNEL_OTHER_NET_CONFIG=\', "Backend": {"Type": "host-gw"}\'\n'
        'SSH_OPTS="-oPort=2222 -oStrictHostKeyChecking=no -oProxyCommand=x"\nDOCKER_OPTS="--mtu 1400"\nMY_OWN=1\n',
    )
    cluster = of(tmp_path, imported)
    assert (str(cluster.service_cidr), str(cluster.flannel_net)) == ("10.1.0.0/16", "10.2.0.0/16")
    assert (cluster.domain, cluster.node_port_range) == ("k8s.example", "31000-31999")
    assert (cluster.kube_proxy.mode, cluster.flannel.backend, cluster.ssh.port) == ("nftables", "host-gw", 2222)
    left = names(imported)
    for expected in ("NUM_NODES=5", "DNS_SERVER_IP=10.1.0.99", "--v=4", "ProxyCommand", "DOCKER_OPTS", "MY_OWN=1"):
        assert expected in left, expected
    assert "config-default.sh:4: NUM_NODES" in left


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("roles=(ai)\n", "sets no nodes"),
        ("nodes=a@10.0.0.1\n", "sets no roles"),
        ("nodes='a@10.0.0.1 a@10.0.0.2'\nroles=(ai)\n", "2 nodes and 1 roles"),
        ("nodes=a@10.0.0.1\nroles=(master)\n", "unknown role 'master'"),
        ("nodes=a@10.0.0.1\nroles=(ai)\nFLANNEL_NET=10.0.0.0/16\n", "lies in flannel_net"),
    ],
)
def test_what_cannot_be_a_cluster_is_told_and_nothing_is_written(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(InventoryError, match=what):
        of(tmp_path, script(tmp_path, text))
    assert not (tmp_path / "cluster.yaml").exists()


HOSTS = """
all:
  vars: {ansible_user: vcap}
  hosts:
    node1: {ansible_host: 95.54.0.12, ip: 10.3.0.1, access_ip: 10.3.0.1}
    node2: {ansible_host: 95.54.0.13, ip: 10.3.0.2, ansible_port: 2222}
    node3: {ansible_host: 95.54.0.14, ip: 10.3.0.3, node_labels: {disk: ssd}, node_taints: ["gpu=yes:NoSchedule"]}
    spare: {ansible_host: 95.54.0.15}
  children:
    kube_control_plane: {hosts: {node1: }}
    kube_node: {hosts: {node1: , node2: , node3: }}
    etcd: {hosts: {node1: }}
    k8s_cluster: {children: {kube_control_plane: , kube_node: }}
"""
VARS = """
kube_version: v1.35.4
kube_network_plugin: calico
kube_service_addresses: 10.233.0.0/18
kube_pods_subnet: 10.233.64.0/18
kube_network_node_prefix: 25
kube_apiserver_port: 6443
cluster_name: k8s.example
dns_domain: "{{ cluster_name }}"
kube_proxy_mode: nftables
container_manager: containerd
etcd_version: "{{ etcd_default }}"
helm_enabled: false
ingress_nginx_enabled: true
loadbalancer_apiserver: {address: 10.3.0.9, port: 8443}
"""


def spray(tmp_path: Path) -> Imported:
    (tmp_path / "hosts.yaml").write_text(HOSTS)
    folder = tmp_path / "group_vars" / "k8s_cluster"
    folder.mkdir(parents=True)
    (folder / "k8s-cluster.yml").write_text(VARS)
    return read(tmp_path)


def test_kubespray_in_yaml(tmp_path: Path) -> None:
    imported = spray(tmp_path)
    cluster = of(tmp_path, imported)
    assert [(n.name, n.role.value, n.host, str(n.address), n.user, n.port) for n in cluster.nodes] == [
        ("node1", "ai", "95.54.0.12", "10.3.0.1", "vcap", None),
        ("node2", "i", "95.54.0.13", "10.3.0.2", "vcap", 2222),
        ("node3", "i", "95.54.0.14", "10.3.0.3", "vcap", None),
    ]
    assert cluster.node("node3").labels == {"disk": "ssd"}
    assert str(cluster.node("node3").taints[0]) == "gpu=yes:NoSchedule"
    assert (str(cluster.service_cidr), str(cluster.flannel_net)) == ("10.233.0.0/18", "10.233.64.0/18")
    assert (cluster.node_subnet, cluster.domain, cluster.kube_proxy.mode) == (25, "k8s.example", "nftables")
    assert cluster.versions.kubernetes == "1.35.4"
    assert cluster.api.balancer == "10.3.0.9:8443"
    left = names(imported)
    assert "k8s-cluster.yml:3: kube_network_plugin=calico" in left
    assert "etcd_version={{ etcd_default }}: Ansible would compute" in left
    assert "ingress_nginx_enabled=true: no counterpart" in left
    assert "spare: is in none of the groups" in left
    assert "helm_enabled" not in left
    assert "dns_domain" not in left


def test_secrets_of_kubespray_are_not_shown(tmp_path: Path) -> None:
    spray(tmp_path)
    extra = "grafana_admin_password: hunter2\nregistry_token: hunter3\nmetallb_speaker_enabled: 'yes please'\n"
    (tmp_path / "group_vars" / "k8s_cluster" / "addons.yml").write_text(extra)
    told = names(read(tmp_path))
    assert "grafana_admin_password=…" in told
    assert "registry_token=…" in told
    assert "yes please" in told
    assert "hunter" not in told


def test_secrets_are_shown_of_nothing_that_is_left(tmp_path: Path) -> None:
    imported = script(
        tmp_path,
        "nodes=a@10.0.0.1\nroles=ai\nKUBE_PASSWORD=hunter1\nMY_API_KEY=hunter2\n"
        "DOCKER_OPTS='--password=hunter3 --mtu=1400'\n"
        "MIRROR=https://me:hunter4@mirror.example/x\nPROXY_SETTING='ftp_proxy=ftp://me:hunter5@proxy.example'\n",
    )
    told = names(imported)
    assert "hunter" not in told
    for shown in (
        "KUBE_PASSWORD=…",
        "MY_API_KEY=…",
        "--mtu=1400",
        "https://…@mirror.example/x",
        "ftp://…@proxy.example",
    ):
        assert shown in told, shown


def test_the_address_of_dns_is_looked_at_when_the_network_is_known(tmp_path: Path) -> None:
    text = "nodes=a@10.0.0.1\nroles=ai\nDNS_SERVER_IP={}\nPORTAL_NET=10.1.0.0/16\n"
    assert names(script(tmp_path, text.format("10.1.0.10"))) == ""
    assert "DNS_SERVER_IP=192.168.3.10" in names(script(tmp_path, text.format("192.168.3.10")))


def test_options_of_ssh_that_are_not_whole_are_left(tmp_path: Path) -> None:
    imported = script(tmp_path, "nodes=a@10.0.0.1\nroles=ai\nSSH_OPTS='-o \"User=x'\n")
    assert 'config-default.sh:3: SSH_OPTS=-o "User=x: cannot be read (No closing quotation)' in names(imported)
    assert "ssh" not in imported.settings


def test_a_value_of_another_kind_than_it_should_be_is_left(tmp_path: Path) -> None:
    spray(tmp_path)
    (tmp_path / "group_vars" / "k8s_cluster" / "odd.yml").write_text("kube_proxy_mode: [iptables]\n")
    assert "kube_proxy_mode=…" in names(read(tmp_path))


def test_kubespray_in_ini(tmp_path: Path) -> None:
    (tmp_path / "inventory.ini").write_text(
        "[all:vars]\nansible_user = vcap\n\n"
        "[kube_control_plane]\nm[1:3] ansible_port=2222  # three\n\n"
        "[etcd:children]\nkube_control_plane\n\n[kube_node]\nw1 ansible_host=10.0.0.9 ip=10.0.0.9\n"
    )
    (tmp_path / "host_vars").mkdir()
    for number in (1, 2, 3):
        (tmp_path / "host_vars" / f"m{number}.yml").write_text(f"ansible_host: 10.0.0.{number}\n")
    cluster = of(tmp_path, read(tmp_path / "inventory.ini"))
    assert [(n.name, n.role.value, n.host, n.port, n.user) for n in cluster.nodes] == [
        ("m1", "a", "10.0.0.1", 2222, "vcap"),
        ("m2", "a", "10.0.0.2", 2222, "vcap"),
        ("m3", "a", "10.0.0.3", 2222, "vcap"),
        ("w1", "i", "10.0.0.9", None, "vcap"),
    ]


def test_hosts_of_etcd_alone(tmp_path: Path) -> None:
    (tmp_path / "hosts.ini").write_text(
        "[kube_control_plane]\nm1 ansible_host=10.0.0.1\n[etcd]\ne1 ansible_host=10.0.0.2\n[kube_node]\nm1\n"
    )
    cluster = of(tmp_path, read(tmp_path / "hosts.ini"))
    assert [(n.name, n.role.value) for n in cluster.hosts] == [("m1", "ai"), ("e1", "etcd")]


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("hosts.yaml", "all: [", "not valid YAML"),
        ("hosts.yaml", "all: &a {hosts: *a}\n", "nested too deeply, or in itself"),
        ("hosts.yaml", "- a\n", "not an inventory of Ansible"),
        ("hosts.yaml", "all: {hosts: {a: }}\n", "no host in the group kube_control_plane"),
        ("hosts.ini", "[kube_node]\nw1 a='b\n", "hosts.ini:2: cannot be read"),
        ("hosts.toml", "", "files that end in .toml"),
    ],
)
def test_what_is_no_inventory_is_refused(tmp_path: Path, name: str, text: str, what: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InventoryError, match=what):
        read(tmp_path / name)


def test_the_line_of_a_fault_in_yaml_is_named_and_not_shown(tmp_path: Path) -> None:
    spray(tmp_path)
    (tmp_path / "group_vars" / "all.yml").write_text("a: 1\nadmin_password: 'hunter2\n")
    with pytest.raises(InventoryError, match=r"all\.yml:3: not valid YAML: found unexpected end of stream") as caught:
        read(tmp_path)
    assert "hunter2" not in str(caught.value)
