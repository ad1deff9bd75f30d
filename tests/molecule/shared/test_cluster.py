"""What a host of a cluster must be after `kubeup up`, seen from outside by testinfra over SSH."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from kubeup.lab import Lab, find

LAB: Lab = find(os.environ["LAB"])
SEVERAL = sum("a" in node.role for node in LAB.nodes) > 1

# For testinfra, which takes an SSH configuration by its path.
_CONFIG = Path(os.environ.get("MOLECULE_EPHEMERAL_DIRECTORY", str(LAB.folder))) / "ssh_config"
_CONFIG.write_text(
    f"Host *\n  User root\n  IdentityFile {LAB.key}\n  UserKnownHostsFile {LAB.known_hosts}\n"
    "  StrictHostKeyChecking yes\n  BatchMode yes\n"
)
testinfra_hosts = [f"ssh://root@{node.address}?ssh_config={_CONFIG}" for node in LAB.nodes]

EVERYWHERE = {"containerd", "kubelet", "kube-proxy", "flanneld"}
MASTERS = {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}
PORTS = {"10250": EVERYWHERE, "2379": MASTERS, "2380": MASTERS, "6443": MASTERS, "10257": MASTERS, "10259": MASTERS}


@pytest.fixture
def is_master(host: Any) -> bool:
    address = host.backend.host.name
    return next("a" in node.role for node in LAB.nodes if node.address == address)


def test_services_run_and_come_back_after_a_reboot(host: Any, is_master: bool) -> None:
    for name in EVERYWHERE | (MASTERS if is_master else set()) | ({"haproxy"} if SEVERAL else set()):
        service = host.service(name)
        assert service.is_running, name
        assert service.is_enabled, name


def test_ports_are_listened_on(host: Any, is_master: bool) -> None:
    listening = {socket.rpartition(":")[2] for socket in host.socket.get_listening_sockets()}
    wanted = {port for port, whose in PORTS.items() if whose is EVERYWHERE or is_master}
    assert wanted <= listening
    assert not {"8080", "10255"} & listening  # of 2015: the API and the kubelet without authentication


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("/etc/kubernetes/pki/ca.crt", 0o644),
        ("/etc/kubernetes/kubelet.conf", 0o644),  # points to a key, holds none
        ("/etc/containerd/config.toml", 0o644),
        ("/etc/systemd/system/kubelet.service", 0o644),
        ("/var/lib/kubeup/record", 0o600),
    ],
)
def test_files_are_roots_and_have_their_modes(host: Any, path: str, mode: int) -> None:
    file = host.file(path)
    assert (file.user, file.group) == ("root", "root")
    assert file.mode == mode


def test_no_private_key_can_be_read_by_others(host: Any) -> None:
    folders = "/etc/kubernetes /etc/etcd /etc/flannel /var/lib/kubelet"
    found = host.check_output(f"grep -rlZ 'PRIVATE KEY' {folders} 2>/dev/null | xargs -0 stat -c '%a %n'")
    modes = {path: int(mode, 8) for mode, path in (line.split(" ", 1) for line in found.splitlines())}
    assert "/etc/kubernetes/pki/kubelet.key" in modes
    assert [path for path, mode in modes.items() if mode & 0o077] == []


def test_programs_are_where_their_versions_say(host: Any) -> None:
    kubelet = host.file("/opt/kubeup/bin/kubelet")
    assert kubelet.is_symlink
    version = kubelet.linked_to.split("/")[-2]
    assert host.check_output("/opt/kubeup/bin/kubelet --version") == f"Kubernetes v{version}"


def test_the_packets_way_is_open(host: Any) -> None:
    assert host.sysctl("net.ipv4.ip_forward") == 1
    assert host.interface("cni0").exists or host.interface("flannel.1").exists


def test_all_nodes_are_ready(host: Any, is_master: bool) -> None:
    if not is_master:
        pytest.skip("kubectl is on masters")
    nodes = json.loads(
        host.check_output("/opt/kubeup/bin/kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes -o json")
    )
    ready = {
        node["metadata"]["name"]
        for node in nodes["items"]
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready" and condition["status"] == "True"
    }
    assert ready == {node.name for node in LAB.nodes}
