"""etcd's members come and go; etcd on hosts of its own; an etcd that is there already."""

import contextlib
import json
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import zstandard

from kubeup.cluster import CertificateSpec, issue, new_authority
from kubeup.components import DEFAULT_VERSIONS, Store
from kubeup.lab.command import docker_command
from kubeup.lab.hosts import container

from .conftest import NewLab
from .snapshot import assert_as_before, take_all
from .support import FAILED, Deployed, Running, eventually, starting

ETCDCTL = (
    "/opt/kubeup/bin/etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/etcd/ca.crt --cert=/etc/etcd/root.crt "
    "--key=/etc/etcd/root.key"
)


class Changing(Deployed):
    """A cluster whose hosts change their roles."""

    def roles(self, roles: str) -> None:
        """Write these roles into the inventory; "-" is a host that is not in it. Then `up` makes them so."""
        wanted = dict(zip(self.names, roles.split(), strict=True))
        kept = [line for line in self.lab.inventory.read_text().splitlines() if not line.startswith("  - {role:")]
        for name, role in wanted.items():
            if role != "-":
                address = self.address(name)
                kept.append(f"  - {{role: {role}, name: {name}, host: {address}, address: {address}}}")
        self.lab.inventory.write_text("\n".join(kept) + "\n")

    def become(self, roles: str) -> None:
        """Give the hosts these roles."""
        self.roles(roles)
        self.kubeup("up")

    def members(self, asked: str) -> dict[str, str]:
        """The members of etcd as one of them says: "voter" or "learner" by name, "" for one that has not started."""
        said = self.on(asked, f"{ETCDCTL} member list -w json 2>/dev/null || true")
        listed = json.loads(said)["members"] if said.strip() else []
        return {m.get("name", ""): "learner" if m.get("isLearner") else "voter" for m in listed}

    def etcd(self, name: str) -> str:
        """The process of etcd on a host, and since when it runs."""
        return self.on(name, "systemctl show -p MainPID,ExecMainStartTimestampMonotonic etcd.service")

    def note(self, name: str, master: str) -> None:
        """Put an object into the cluster, to look for it later."""
        self.lab.exec(master, "kubectl", "create", "configmap", name, "--from-literal=a=b")

    def has(self, name: str, master: str) -> bool:
        asking = ("kubectl", "get", "configmap", name, "-o", "jsonpath={.data.a}")
        return "b" in self.lab.exec(master, *asking, check=False)


@pytest.fixture(scope="module")
def changing(new_lab: NewLab) -> Changing:
    """Four hosts: one master, three minions."""
    cluster = Changing(new_lab(roles=["ai", "i", "i", "i"]))
    cluster.kubeup("up")
    cluster.note("before", cluster.names[0])
    return cluster


@pytest.mark.slow
def test_one_master_becomes_three_and_the_first_is_not_restarted(changing: Changing) -> None:
    one, two, three, four = changing.names
    before, worker = changing.etcd(one), changing.starts(four)
    changing.become("ai ai ai i")
    assert changing.etcd(one) == before
    assert changing.members(two) == {one: "voter", two: "voter", three: "voter"}
    assert changing.has("before", three)
    # A worker has a way to several masters now; nothing else of it is touched.
    clients = {"haproxy.service", "kubelet.service", "kube-proxy.service", "flanneld.service"}
    assert changing.restarted(four, worker) <= clients
    assert changing.differences() == {}


@pytest.mark.slow
def test_what_would_lose_the_majority_is_refused_and_nothing_changed(changing: Changing) -> None:
    one, two, three, _ = changing.names
    changing.become("ai ai ai i")
    broken = "/run/systemd/system/etcd.service.d/broken.conf"
    script = 'mkdir -p "${1%/*}"; printf "[Service]\nExecStartPre=/bin/false\n" >"$1"; systemctl daemon-reload; '
    changing.on(three, script + "systemctl stop etcd.service", broken)
    changing.roles("i i ai i")
    try:
        done = changing.kubeup("up", code=FAILED)
        assert re.search(rf"({one}|{two}) cannot be taken out of etcd: .*{three} does not", done.text), done
        assert set(changing.members(one)) == {one, two, three}
        assert changing.has("before", one)
    finally:
        changing.on(three, 'rm "$1"; systemctl daemon-reload; systemctl start etcd.service', broken)
        changing.roles("ai ai ai i")
    changing.kubeup("up")


@pytest.mark.slow
def test_the_first_master_is_replaced_and_kubeup_killed_while_a_member_joins(changing: Changing) -> None:
    one, two, three, four = changing.names
    changing.become("ai ai ai i")
    changing.roles("i ai ai ai")
    running = starting("up", inventory=changing.lab.inventory)
    killed = _kill_when(running, lambda: {"", four} & changing.members(two).keys() or None)
    assert killed.code == -signal.SIGKILL, killed
    changing.kubeup("up")
    assert changing.members(two) == {two: "voter", three: "voter", four: "voter"}
    assert changing.on(one, "pidof etcd || echo none").strip() == "none"
    assert changing.on(one, "ls -A /var/lib/etcd 2>/dev/null || true").strip() == ""
    assert changing.has("before", four)
    assert changing.differences() == {}


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["added", "learner", "member"])
def test_a_master_comes_back_and_kubeup_is_killed_meanwhile(changing: Changing, moment: str) -> None:
    """ai becomes i and then ai again, with what its member left; killed at each stage of joining."""
    one, two, _, four = changing.names
    changing.become("i ai ai ai")
    changing.become("i i i ai")
    assert changing.members(four) == {four: "voter"}
    changing.roles("ai ai i ai")
    running = starting("up", inventory=changing.lab.inventory)
    seen: dict[str, Any] = {
        "added": lambda: len(changing.members(four)) > 1,
        "learner": lambda: changing.members(four).get(one) == "learner",
        "member": lambda: changing.members(four).get(one) == "voter",
    }
    _kill_when(running, seen[moment])
    changing.kubeup("up")
    assert changing.members(four) == {one: "voter", two: "voter", four: "voter"}
    assert changing.has("before", one)
    assert changing.differences() == {}


@pytest.mark.slow
def test_a_member_whose_data_are_lost_joins_anew(changing: Changing) -> None:
    two, three, four = changing.names[1:]
    changing.become("i ai ai ai")
    changing.on(three, "systemctl stop etcd.service; rm -rf /var/lib/etcd")
    changing.kubeup("up")
    assert changing.members(two) == {two: "voter", three: "voter", four: "voter"}
    assert changing.differences() == {}


@pytest.mark.slow
def test_a_dead_master_is_replaced_by_a_host_that_was_never_one(changing: Changing) -> None:
    one, two, three, four = changing.names
    changing.become("i ai ai ai")
    changing.lab.stop(two)
    changing.become("ai - ai ai")
    assert changing.members(three) == {one: "voter", three: "voter", four: "voter"}
    assert changing.has("before", one)


def _kill_when(running: Running, seen: Any) -> Any:
    """Kill -9 a command as soon as ``seen`` is true, and return what it did."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not seen():
        running.after(time.monotonic() - running.started + 0.05)
    return running.signal(signal.SIGKILL)


@pytest.mark.slow
def test_etcd_on_a_host_of_its_own(new_lab: NewLab) -> None:
    lab = new_lab(roles=["etcd", "ai"])
    cluster = Deployed(lab)
    store, master = cluster.names
    before = take_all(lab)
    done = cluster.kubeup("up")
    assert "Found 1 node(s)." in done.text
    assert cluster.differences() == {}
    units = "systemctl list-units --plain --no-legend --state=active 'etcd*' 'kube*' 'containerd*' | cut -d' ' -f1"
    assert cluster.on(store, units).split() == ["etcd.service", "kubeup-snapshots.timer"]
    assert "etcd.service" not in cluster.on(master, units).split()
    assert cluster.kubectl("get", "nodes", "-o", "name").split() == [f"node/{master}"]
    # Killed, and switched off and on again: it is a member as before.
    cluster.on(store, "systemctl kill -s KILL etcd.service")
    assert eventually(lambda: "created" in cluster.kubectl("create", "configmap", "a", check=False))
    lab.reboot(store)
    assert eventually(lambda: "configmap/a" in cluster.kubectl("get", "configmap", "a", "-o", "name", check=False))
    cluster.kubeup("destroy", "--yes")
    assert_as_before(lab, before)


@pytest.mark.slow
def test_three_hosts_for_etcd_take_over_from_the_master(new_lab: NewLab) -> None:
    cluster = Changing(new_lab(roles=["ai", "i", "i", "i"], settings={"flannel": {"store": "etcd"}}))
    cluster.become("ai - - -")
    one, two, three, four = cluster.names
    cluster.note("before", one)
    cluster.become("ai etcd etcd etcd")
    assert cluster.members(two) == {two: "voter", three: "voter", four: "voter"}
    assert cluster.on(one, "pidof etcd || echo none").strip() == "none"
    assert cluster.has("before", one)
    assert cluster.differences() == {}
    cluster.lab.stop(three)
    assert cluster.has("before", one)


@contextlib.contextmanager
def _their_etcd(cluster: Deployed, host: str, folder: Path) -> Iterator[str]:
    """An etcd of somebody else's on a host, with certificates in ``folder``; its URL."""
    address = cluster.address(host)
    ca = new_authority("theirs")
    (folder / "ca.crt").write_text(ca.certificate_pem)
    for name, usages in (("server", ("server", "client")), ("client", ("client",))):
        spec = CertificateSpec(name, "theirs", usages, addresses=(IPv4Address(address),))  # type: ignore[arg-type]
        issued = issue(ca, spec)
        (folder / f"{name}.crt").write_text(issued.certificate_pem)
        (folder / f"{name}.key").write_text(issued.key_pem)
    packed = Store().find("etcd", DEFAULT_VERSIONS["etcd"]).path
    with packed.open("rb") as source, (folder / "etcd").open("wb") as target:
        zstandard.ZstdDecompressor().copy_stream(source, target)
    for name in ("ca.crt", "server.crt", "server.key", "etcd"):
        subprocess.run([*docker_command(), "cp", str(folder / name), f"{container(host)}:/root/{name}"], check=True)
    url = f"https://{address}:2379"
    cluster.on(
        host,
        "chmod 755 /root/etcd; systemd-run --unit=theirs /root/etcd --data-dir=/root/data --listen-client-urls=$1 "
        "--advertise-client-urls=$1 --trusted-ca-file=/root/ca.crt --cert-file=/root/server.crt "
        "--key-file=/root/server.key --client-cert-auth",
        url,
    )
    yield url
    cluster.on(host, "systemctl stop theirs.service", check=False)


@pytest.mark.slow
def test_an_etcd_that_is_there_already(new_lab: NewLab) -> None:
    cluster = Changing(new_lab(roles=["ai", "i"]))
    master, other = cluster.names
    cluster.roles("ai -")
    before = take_all(cluster.lab)[master]
    nodes = cluster.lab.inventory.read_text()
    with tempfile.TemporaryDirectory() as folder:

        def inventory(port: int, client: str) -> None:
            files = f"ca: {folder}/ca.crt, certificate: {folder}/{client}.crt, key: {folder}/{client}.key"
            etcd = f"etcd: {{endpoints: ['https://{cluster.address(other)}:{port}'], {files}}}\n"
            cluster.lab.inventory.write_text(etcd + nodes)

        with _their_etcd(cluster, other, Path(folder)):
            inventory(2399, "client")
            refused = cluster.kubeup("up", code=FAILED)
            assert f"nothing answers at {cluster.address(other)}:2399" in refused.text
            assert cluster.on(master, "ls /opt /var/lib | grep kubeup || true") == ""
            stranger = issue(new_authority("x"), CertificateSpec("client", "x", ("client",)))
            (Path(folder) / "stranger.crt").write_text(stranger.certificate_pem)
            (Path(folder) / "stranger.key").write_text(stranger.key_pem)
            inventory(2379, "stranger")
            refused = cluster.kubeup("up", code=FAILED)
            assert "do ca:, certificate: and key: under etcd: in the inventory belong to this etcd?" in refused.text
            inventory(2379, "client")
            done = cluster.kubeup("up")
            assert re.search(r"^etcd-0 +Healthy", done.text, re.MULTILINE)
            assert cluster.on(master, "pidof etcd || echo none").strip() == "none"
            key = (Path(folder) / "client.key").read_text().splitlines()[1]
            assert key not in done.text + cluster.kubeup("plan", "--json").text
            assert cluster.on(master, "stat -c %a /etc/kubernetes/pki/existing-etcd.key").strip() == "600"
            cluster.kubeup("destroy", "--yes")
    cluster.lab.exec(master, "true")
    after = take_all(cluster.lab)[master]
    assert after == before
