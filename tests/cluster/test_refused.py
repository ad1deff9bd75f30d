"""Hosts that cannot be reached or cannot take a cluster, and components that are not what they should be.

Each is refused with a clear error before anything is changed.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeup.components import DEFAULT_VERSIONS, Store

from .conftest import NewLab
from .support import DIFFERENT, FAILED, Deployed, Done, kubeup

Inventory = Callable[..., Path]


@pytest.fixture(scope="module")
def hosts(new_lab: NewLab) -> Deployed:
    """Two bare hosts, which stay bare."""
    return Deployed(new_lab(roles=["ai", "i"]))


@pytest.fixture
def inventory(hosts: Deployed, tmp_path: Path) -> Inventory:
    """Writes an inventory of the hosts with other SSH settings, or with other settings for one of them."""

    def write(ssh: dict[str, Any] | None = None, second: dict[str, Any] | None = None, **settings: Any) -> Path:
        lab = hosts.lab
        data = yaml.safe_load(lab.inventory.read_text())
        data["ssh"] = {"user": "root", "key": str(lab.key), "known_hosts": str(lab.known_hosts), **(ssh or {})}
        data["nodes"][1] |= second or {}
        path = tmp_path / "cluster.yaml"
        path.write_text(yaml.safe_dump({**data, **settings}))
        return path

    return write


@pytest.fixture(autouse=True)
def nothing_is_changed(hosts: Deployed) -> Iterator[None]:
    """Whatever is refused, no trace of kubeup is on any host afterwards."""
    yield
    for name in hosts.names:
        hosts.on(name, "test ! -e /var/lib/kubeup -a ! -e /opt/kubeup -a ! -e /etc/kubernetes/pki")
        assert "kube" not in hosts.on(name, "systemctl list-unit-files --no-legend; ps -eo comm")


def refused(inventory: Path, *arguments: str, **options: Any) -> Done:
    return kubeup("up", *arguments, inventory=inventory, code=FAILED, **options)


# -- SSH


def test_unreachable_host_is_told_and_does_not_hide_the_others(hosts: Deployed, inventory: Inventory) -> None:
    path = inventory(second={"host": "127.0.0.1", "port": 1})
    done = refused(path)
    assert "connecting failed on" in done.err
    assert hosts.workers[0] in done.err
    assert "ssh root@127.0.0.1:1" in done.err
    assert f"{hosts.master}:" not in done.err, "the host that can be reached is not to blame"


def test_two_hosts_that_fail_are_both_told(hosts: Deployed, inventory: Inventory) -> None:
    done = refused(inventory(ssh={"user": "nobody-here"}))
    for name in hosts.names:
        assert f"{name}: ssh nobody-here@{hosts.address(name)}" in done.err
    assert done.err.count("does not let nobody-here in") == 2


def test_wrong_key(hosts: Deployed, inventory: Inventory, tmp_path: Path) -> None:
    key = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    done = refused(inventory(second={"key": str(key)}))
    assert f"does not let root in with the key {key}" in done.err
    assert hosts.workers[0] in done.err
    assert f"{hosts.master}:" not in done.err


def test_unknown_host_key_is_refused_unless_accepted_and_then_noted(
    hosts: Deployed, inventory: Inventory, tmp_path: Path
) -> None:
    known = tmp_path / "known" / "hosts"
    path = inventory(ssh={"known_hosts": str(known)})
    done = refused(path)
    for name in hosts.names:
        assert f"the host key of {hosts.address(name)} is not known" in done.err
    assert "--accept-new-host-keys" in done.err
    assert not known.exists() or known.read_text() == ""

    kubeup("plan", "--accept-new-host-keys", inventory=path, code=DIFFERENT)
    noted = known.read_text()
    assert all(hosts.address(name) in noted for name in hosts.names)
    kubeup("plan", inventory=path, code=DIFFERENT)  # now they are known


def test_changed_host_key_is_refused_even_where_new_ones_are_accepted(
    hosts: Deployed, inventory: Inventory, tmp_path: Path
) -> None:
    worker = hosts.workers[0]
    keys = hosts.lab.known_hosts.read_text().splitlines()
    swapped = tmp_path / "known_hosts"
    of_master = [line.split(" ", 1)[1] for line in keys if line.startswith(hosts.address(hosts.master) + " ")]
    swapped.write_text(
        "".join(f"{line}\n" for line in keys if not line.startswith(hosts.address(worker) + " "))
        + "".join(f"{hosts.address(worker)} {key}\n" for key in of_master)
    )
    path = inventory(ssh={"known_hosts": str(swapped)})
    for flags in ([], ["--accept-new-host-keys"]):
        done = refused(path, *flags)
        assert f"the host key of {hosts.address(worker)} is not the one in known_hosts" in done.err
        assert f"{hosts.master}:" not in done.err


def test_user_without_sudo(hosts: Deployed, inventory: Inventory) -> None:
    done = refused(inventory(second={"user": "nosudo"}))
    assert f"{hosts.workers[0]}: reading what the host holds: exit code 77" in done.err
    assert "user nosudo may not become root" in done.err
    assert "NOPASSWD" in done.err
    assert f"{hosts.master}:" not in done.err


# -- Preflight: (what is done to the worker, what undoes it, what is told)

UNFIT = {
    "operating system": (
        "cp -a /etc/os-release /run/test-os; ln -sfn /run/test-other /etc/os-release; "
        "printf 'ID=plan9\\nPRETTY_NAME=\"Plan 9\"\\nVERSION_ID=4\\n' >/run/test-other",
        "cp -a --remove-destination /run/test-os /etc/os-release",
        "Plan 9 is not supported",
    ),
    "too old": (
        "cp -a /etc/os-release /run/test-os; ln -sfn /run/test-other /etc/os-release; "
        "printf 'ID=debian\\nPRETTY_NAME=\"Debian 9\"\\nVERSION_ID=9\\n' >/run/test-other",
        "cp -a --remove-destination /run/test-os /etc/os-release",
        "Debian 9 is too old",
    ),
    "port": (
        "systemd-run -q --unit test-port socat TCP-LISTEN:10250,fork,reuseaddr SYSTEM:cat",
        "systemctl stop test-port",
        "port 10250 is taken, and kubelet needs it",
    ),
    "disk": (
        "mkdir -p /opt; mount -t tmpfs -o size=100M tmpfs /opt",
        "umount /opt",
        "/opt has 100 MiB free; the components take",
    ),
    "leftovers": (
        "mkdir -p /etc/kubernetes/manifests",
        "rm -r /etc/kubernetes",
        "/etc/kubernetes/manifests is there: the host holds another Kubernetes",
    ),
    "containerd": (
        "mkdir -p /run/containerd; touch /run/containerd/containerd.sock",
        "rm -r /run/containerd",
        "another containerd runs here",
    ),
    "network": (
        "ip route add 172.16.8.0/24 dev eth0",
        "ip route del 172.16.8.0/24 dev eth0",
        "flannel_net 172.16.0.0/16 overlaps with 172.16.8.0/24, which this host reaches through eth0",
    ),
    "other cluster": (
        "mkdir -p /var/lib/kubeup; printf 'cluster\\tother\\tabc\\t-\\t-\\n' >/var/lib/kubeup/record",
        "rm -r /var/lib/kubeup",
        "this host belongs to the cluster other",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", ["operating system", "too old"])
def test_operating_system_that_is_not_supported(hosts: Deployed, what: str) -> None:
    worker = hosts.workers[0]
    spoil, undo, told = UNFIT[what]
    hosts.on(worker, spoil)
    try:
        done = refused(hosts.lab.inventory)
    finally:
        hosts.on(worker, undo)
    assert f"{worker}: {told}" in done.err
    assert "The hosts cannot take this cluster (nothing was changed)" in done.err
    assert "ubuntu 20+" in done.err


def test_all_that_makes_a_host_unfit_is_told_at_once(hosts: Deployed) -> None:
    worker = hosts.workers[0]
    what = [name for name in UNFIT if name not in ("too old", "other cluster")]
    undo = []
    try:
        for name in what:
            undo.append(UNFIT[name][1])
            hosts.on(worker, UNFIT[name][0])
        undo.append("systemctl stop test-api")
        hosts.on(hosts.master, "systemd-run -q --unit test-api socat TCP-LISTEN:6443,fork,reuseaddr SYSTEM:cat")
        planned = kubeup("plan", inventory=hosts.lab.inventory, code=FAILED)
        done = refused(hosts.lab.inventory)
    finally:
        for script in undo:
            hosts.on(hosts.master if "test-api" in script else worker, script, check=False)
    for name in what:
        assert f"{worker}: {UNFIT[name][2]}" in done.err, name
    assert f"{hosts.master}: port 6443 is taken, and kube-apiserver needs it" in done.err
    assert planned.err == done.err
    kubeup("plan", inventory=hosts.lab.inventory, code=DIFFERENT)  # nothing is wrong any more


def test_ways_between_hosts_that_are_closed_are_told_before_anything_is_placed(hosts: Deployed) -> None:
    master, worker = hosts.names
    rules = {
        worker: ("-p tcp --dport 10250 -j DROP", "-p udp --dport 8472 -m length --length 1400:65535 -j DROP"),
        master: ("-p tcp --dport 6443 -j REJECT",),
    }
    for name, own in rules.items():
        hosts.on(name, "".join(f"iptables -I INPUT {rule}\n" for rule in own))
    try:
        told = refused(hosts.lab.inventory).err
        assert f"{master}: does not reach TCP port 10250 (the kubelet) of {worker}" in told
        assert f"{worker}: does not reach TCP port 6443 (the API) of {master}" in told
        assert f"UDP port 8472 (pods' packets (VXLAN)) of {worker}: small packets arrive" in told
        found = hosts.kubeup("preflight", "--json", code=FAILED).json()
        assert {problem["where"] for problem in found["problems"]} == {master, worker}
    finally:
        for name, own in rules.items():
            hosts.on(name, "".join(f"iptables -D INPUT {rule}\n" for rule in own))
    found = hosts.kubeup("preflight", "--json").json()
    assert (found["ok"], found["ways_tried"]) == (True, 4)
    assert found["hosts"][master]["fsync_ms"] > 0
    for name in hosts.names:
        assert "kubeup" not in hosts.on(name, "ls -A /var/lib; ps -eo comm")


def test_host_of_another_cluster_is_neither_taken_nor_destroyed(hosts: Deployed) -> None:
    worker = hosts.workers[0]
    spoil, undo, told = UNFIT["other cluster"]
    hosts.on(worker, spoil)
    try:
        done = refused(hosts.lab.inventory)
        kept = kubeup("destroy", "--yes", inventory=hosts.lab.inventory, code=FAILED)
        assert hosts.on(worker, "cat /var/lib/kubeup/record") == "cluster\tother\tabc\t-\t-"
    finally:
        hosts.on(worker, undo)
    assert f"{worker}: {told}" in done.err
    assert f"{worker}: belongs to the cluster other, not to {hosts.lab.name}" in kept.err


def test_disk_that_is_full_when_it_comes_to_it(hosts: Deployed) -> None:
    """Preflight found enough space, and then somebody filled the disk."""
    worker = hosts.workers[0]
    hosts.on(worker, "mkdir -p /opt; mount -t tmpfs -o size=2G tmpfs /opt")
    filling = subprocess.Popen(
        ["docker", "exec", f"kubeup-lab-{worker}", "sh", "-c",
         "until [ -d /opt/kubeup ]; do sleep 0.05; done; dd if=/dev/zero of=/opt/fill bs=1M 2>/dev/null"],
    )  # fmt: skip
    try:
        done = kubeup("up", inventory=hosts.lab.inventory, code=FAILED)
    finally:
        filling.wait(60)
        hosts.on(worker, "rm -f /opt/fill")
        kubeup("destroy", "--yes", inventory=hosts.lab.inventory)
        hosts.on(worker, "umount /opt")
    assert f"{worker}: Components: sending components (kubeup-receive): exit code" in done.err
    assert "no space left on device" in done.err.lower()
    assert "free some space on this host" in done.err


# -- Components


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A copy of the component cache that may be damaged: what is written to it is the copy alone."""
    real, copy = Store().root, tmp_path / "cache"
    shutil.copytree(real / "index", copy / "index")
    same_disk = real.stat().st_dev == tmp_path.stat().st_dev
    shutil.copytree(real / "blobs", copy / "blobs", copy_function=os.link if same_disk else shutil.copy)
    return copy


def _damage(file: Path) -> None:
    """Change one byte in the middle, in a new file: the old one may be the real cache's."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.unlink()
    file.write_bytes(data)


def test_component_that_is_damaged_in_the_cache_is_not_sent(hosts: Deployed, cache: Path) -> None:
    damaged = Store(cache).find("kubelet", "1.36.3")
    _damage(damaged.path)
    env = {"KUBEUP_CACHE": str(cache)}
    done = refused(hosts.lab.inventory, env=env)
    assert str(damaged.path) in done.err
    assert f"expected sha256 {damaged.packed_sha256}" in done.err
    assert "kubeup components fetch" in done.err


def test_component_that_is_not_in_the_cache(hosts: Deployed, tmp_path: Path) -> None:
    done = refused(hosts.lab.inventory, env={"KUBEUP_CACHE": str(tmp_path / "empty")})
    for name in hosts.names:
        assert f"{name}: " in done.err
    assert "run `kubeup components fetch`" in done.err


SEND = """
from gevent import monkey
monkey.patch_all()
import dataclasses, pathlib, sys
from kubeup.cluster import load
from kubeup.components import Store
from kubeup.deploy.run import Run
from kubeup.host.session import Session

inventory, node, program, how, damaged = sys.argv[1:]
cluster = load(inventory)

class Damaged:
    '''The run's material, with one artifact that is not what it says.'''
    def __init__(self, vault): self.vault = vault
    def __getattr__(self, name): return getattr(self.vault, name)
    def artifact(self, name, version, host):
        found = self.vault.artifact(name, version, host)
        if name != program: return found
        if how == "digest": return dataclasses.replace(found, sha256="0" * 64, packed_sha256="0" * 64)
        return dataclasses.replace(found, path=pathlib.Path(damaged))

with Session(cluster) as session:
    session.connect()
    run = Run(cluster, session)
    change = run.changes[node].part(lambda item: item.key[0] == "blob" and item.key[1].endswith("/" + program))
    assert change.items
    session.apply("Components", {node: change}, Damaged(run.vault))
"""


@pytest.mark.parametrize("how", ["digest", "content", "cut short"])
def test_component_that_arrives_damaged_is_not_placed(hosts: Deployed, tmp_path: Path, how: str) -> None:
    worker = hosts.workers[0]
    real = Store().find("runc", DEFAULT_VERSIONS["runc"])
    copy = tmp_path / "damaged"
    shutil.copy(real.path, copy)
    if how == "content":
        _damage(copy)
    if how == "cut short":
        copy.write_bytes(copy.read_bytes()[:-1000])
    script = [sys.executable, "-c", SEND, str(hosts.lab.inventory), worker, "runc", how, str(copy)]
    try:
        sent = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
        placed = hosts.on(worker, "find /opt/kubeup -type f")
    finally:
        kubeup("destroy", "--yes", inventory=hosts.lab.inventory)
    assert sent.returncode != 0
    assert f"Components failed on {worker}" in sent.stderr, sent.stderr
    assert "exit code 74" in sent.stderr
    assert "failed while receiving /opt/kubeup/runc/" in sent.stderr
    assert "runc" not in placed
