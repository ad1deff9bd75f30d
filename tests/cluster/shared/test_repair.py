"""What was altered on hosts: `kubeup plan` shows it, `kubeup up` mends it, and only what is concerned restarts."""

import json
import re

import pytest

from ..support import DIFFERENT
from .conftest import Shared

PROXY_CONFIG = "/etc/kubernetes/kube-proxy.yaml"


def test_altered_file_is_shown_with_its_difference_and_restored(cluster: Shared) -> None:
    worker = cluster.workers[0]
    started = {name: cluster.starts(name) for name in cluster.names}
    text = cluster.on(worker, f"cat {PROXY_CONFIG}")
    cluster.on(worker, f"sed -i 's/^mode: .*/mode: nftables/' {PROXY_CONFIG}")

    plan = cluster.kubeup("plan", code=DIFFERENT).out
    assert "      -mode: nftables\n      +mode: iptables\n" in plan
    assert cluster.differences() == {
        worker: [("change", "file", PROXY_CONFIG), ("restart", "unit", "kube-proxy.service")]
    }

    assert "(changed=2)" in cluster.kubeup("up").text
    assert cluster.on(worker, f"cat {PROXY_CONFIG}") == text
    assert {name: cluster.restarted(name, started[name]) for name in cluster.names} == {
        name: {"kube-proxy.service"} if name == worker else set() for name in cluster.names
    }
    assert cluster.differences() == {}


ALTERED = [
    # what is done to a worker, what plan then shows, what is restarted
    pytest.param(
        "rm /etc/kubernetes/kubelet.yaml",
        {("change", "file", "/etc/kubernetes/kubelet.yaml"), ("restart", "unit", "kubelet.service")},
        id="file-removed",
    ),
    pytest.param("systemctl stop flanneld", {("restart", "unit", "flanneld.service")}, id="unit-stopped"),
    pytest.param("systemctl disable kube-proxy", {("restart", "unit", "kube-proxy.service")}, id="unit-disabled"),
    pytest.param(
        "chmod 0644 /etc/kubernetes/pki/kubelet.key",
        {("change", "file", "/etc/kubernetes/pki/kubelet.crt"), ("restart", "unit", "kubelet.service")},
        id="mode-changed",
    ),
    pytest.param(
        "touch /opt/kubeup/cri-tools/*/crictl; chmod 0700 /opt/kubeup/probe/*/kubeup-probe",
        {("change", "blob", "crictl"), ("change", "blob", "kubeup-probe")},
        id="program-altered",
    ),
    pytest.param(
        "rm /opt/kubeup/bin/runc",
        {("change", "link", "/opt/kubeup/bin/runc"), ("restart", "unit", "containerd.service")},
        id="link-removed",
    ),
    pytest.param(
        "ln -sfn /bin/true /usr/local/bin/crictl", {("change", "link", "/usr/local/bin/crictl")}, id="link-bent"
    ),
    pytest.param(
        "sysctl -q net.ipv4.ip_forward=0", {("change", "sysctl", "net.ipv4.ip_forward")}, id="sysctl-set-back"
    ),
    pytest.param(
        "sed -i 's/^RestartSec=.*/RestartSec=7/' /etc/systemd/system/kube-proxy.service",
        {("change", "unit", "kube-proxy.service")},
        id="unit-file-altered",
    ),
    pytest.param("rm -r /var/log/containers", {("change", "dir", "/var/log/containers")}, id="folder-removed"),
]


def test_all_that_can_be_altered_is_shown_and_mended(cluster: Shared) -> None:
    """All at once: one look and one repair instead of ten, on two hosts."""
    worker, other = cluster.workers
    started = {name: cluster.starts(name) for name in cluster.names}
    for alteration in ALTERED:
        cluster.on(worker, str(alteration.values[0]))
    found = cluster.differences()
    assert set(found) == {worker}
    shown = {(action, kind, re.sub(r".*/(crictl|kubeup-probe)$", r"\1", name) if kind == "blob" else name)
             for action, kind, name in found[worker]}  # fmt: skip
    for alteration in ALTERED:
        assert alteration.values[1] <= shown | {  # type: ignore[operator]  # of two reasons to restart, one is told
            ("restart", kind, name) for action, kind, name in shown if action == "change" and kind == "unit"
        }, f"{alteration.id} is not shown: {sorted(shown)}"

    cluster.kubeup("up")
    assert cluster.differences() == {}
    assert cluster.on(worker, "stat -c %a /etc/kubernetes/pki/kubelet.key") == "600"
    assert cluster.on(worker, "cat /proc/sys/net/ipv4/ip_forward") == "1"
    assert cluster.on(worker, "systemctl is-enabled kube-proxy") == "enabled"
    assert cluster.on(worker, "systemctl is-active flanneld") == "active"
    assert cluster.restarted(other, started[other]) == set()
    assert cluster.restarted(cluster.master, started[cluster.master]) == set()


def test_pods_live_on_while_their_hosts_services_restart(cluster: Shared) -> None:
    """A repair that restarts containerd and the kubelet does not end the user's pods."""
    worker = cluster.workers[0]
    cluster.kubectl("run", "lives-on", "--image=kubeup.local/probe:1.1.0", "--restart=Never",
                    "--overrides", f'{{"spec": {{"nodeName": "{worker}"}}}}', "--", "--listen", ":9099")  # fmt: skip
    cluster.kubectl("wait", "--for=condition=Ready", "pod/lives-on", "--timeout=30s")
    process = "pgrep -f '^/kubeup-probe serve --listen :9099$'"
    before = cluster.on(worker, process)
    started = cluster.starts(worker)
    cluster.on(worker, "sed -i '$a # altered' /etc/containerd/config.toml /etc/kubernetes/kubelet.yaml")
    cluster.kubeup("up")
    assert cluster.restarted(worker, started) >= {"containerd.service", "kubelet.service"}
    try:
        assert before
        assert cluster.on(worker, process) == before
    finally:
        cluster.kubectl("delete", "pod/lives-on", "--wait=false")


def test_images_that_are_in_no_registry_are_not_cleared_away(cluster: Shared) -> None:
    """As the kubelet does where a disk is nearly full: it deletes what no pod uses just now."""
    for name in cluster.names:
        cluster.on(name, "crictl rmi --prune >/dev/null")
        images = json.loads(cluster.on(name, "crictl images -o json"))["images"]
        pinned = {tag.split(":")[0]: image["pinned"] for image in images for tag in image["repoTags"]}
        own = {f"kubeup.local/{image}": True for image in ("coredns", "pause", "probe")}
        assert {tag: pinned.get(tag) for tag in own} == own
