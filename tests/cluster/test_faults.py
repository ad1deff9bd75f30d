"""What breaks on the way: SSH in the middle of each job, the power of a node during its own upgrade, a member's disk.

(kubeup killed is with each job's own tests; killed and cut off during `up`, in test_killed.py.)
"""

import contextlib
import re
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from kubeup.host.lock import DEAD
from kubeup.host.session import SILENCE

from .conftest import NewLab
from .load import Ledger, api_client
from .support import FAILED, OK, Done, eventually, starting
from .test_nodes import Cluster
from .test_upgrade import NEW, NEW_ETCD, OLD, OLD_ETCD

pytestmark = pytest.mark.slow

ETCD = "/var/lib/etcd"


class Faulty(Cluster):
    """A master, a worker and two hosts to spare, in the older versions; what connects to them can break."""

    def working(self) -> bool:
        """Whether a kubeup has begun to change the cluster: it holds the master then."""
        return self.on(self.master, "ls /run/kubeup.lock 2>/dev/null || true").strip() != ""

    def version(self, name: str, program: str) -> str:
        """Of a program that a host uses."""
        return self.on(name, 'readlink -f "/opt/kubeup/bin/$1"', program).strip().split("/")[-2]

    def cut(self) -> None:
        """End all SSH connections, as a firewall does that forgets them: both sides are told."""
        for name in self.names:
            self.on(name, "pkill -KILL -f '^sshd: root' || true")

    @contextlib.contextmanager
    def swallowed(self) -> Iterator[None]:
        """While this lasts, no packet of SSH comes through, and nobody is told."""
        rules = ("INPUT -p tcp --dport 22", "OUTPUT -p tcp --sport 22")
        change = "; ".join(f"iptables -w -$1 {rule} -j DROP" for rule in rules)
        for name in self.names:
            self.on(name, change, "I")
        try:
            yield
        finally:
            for name in self.names:
                self.on(name, change, "D")

    def finish(self, *command: str) -> Done:
        """Run a command to its end; while a master is still held by a kubeup that is gone, try again."""
        deadline = time.monotonic() + DEAD + 30
        while True:
            done = self.kubeup(*command, code=None, timeout=900)
            if done.code == OK or "another kubeup is at work" not in done.text or time.monotonic() > deadline:
                assert done.code == OK, done
                return done
            time.sleep(3)


@pytest.fixture(scope="module")
def faulty(new_lab: NewLab) -> Faulty:
    versions = {"versions": {"kubernetes": OLD, "etcd": OLD_ETCD}}
    cluster = Faulty(new_lab(roles=["ai", "i", "i", "i"], settings=versions))
    cluster.keep(2)
    cluster.kubeup("up")
    return cluster


def _cut_and_go_on(cluster: Faulty, after: float, *command: str) -> None:
    """Cut SSH so many seconds after the job has begun to change something; the same command finishes it."""
    running = starting(*command, inventory=cluster.inventory)
    assert eventually(cluster.working, 120, every=0.05), running.signal(signal.SIGKILL)
    time.sleep(after)
    cluster.cut()
    _says_so(running.wait(300))
    cluster.finish(*command)
    cluster.works()


def _says_so(done: Done) -> None:
    """It ended, and said why in words."""
    assert done.code == FAILED, f"it had ended before SSH was cut\n{done}"
    assert "Traceback" not in done.text, done
    assert re.search(
        "connection .*broke|no longer holds|is not connected|[Cc]onnection (reset|lost|dropped)", done.text
    ), done


def test_ssh_is_cut_while_a_node_is_added(faulty: Faulty) -> None:
    name, address = faulty.host(3)
    _cut_and_go_on(faulty, 3, "add-node", "--node", f"i=root@{address}", "--name", name)
    assert name in faulty.nodes()


def test_ssh_is_cut_while_a_node_is_replaced(faulty: Faulty) -> None:
    name, address = faulty.host(3)[0], faulty.host(4)[1]
    _cut_and_go_on(faulty, 4, "replace-node", name, "--with", f"root@{address}")
    assert address in faulty.inventory.read_text()


def test_ssh_is_cut_while_a_node_is_removed(faulty: Faulty) -> None:
    name = faulty.host(3)[0]
    _cut_and_go_on(faulty, 1, "remove-node", name)
    assert name not in faulty.nodes()


def test_a_worker_loses_its_power_while_it_is_upgraded(faulty: Faulty, say: Callable[[str], None]) -> None:
    worker = faulty.host(2)[0]
    running = starting("upgrade", "--to", NEW, inventory=faulty.inventory)
    assert eventually(lambda: faulty.version(worker, "kubelet") == NEW, 300, every=0.05)
    faulty.lab.stop(worker)
    faulty.lab.start(worker)
    done = running.wait(600)
    assert "Traceback" not in done.text, done
    say(f"the upgrade ended with {done.code}:\n{done.err[-1500:] if done.code else ''}")
    faulty.finish("upgrade", "--to", NEW)
    assert faulty.version(worker, "kubelet") == NEW
    assert faulty.kubectl("get", "nodes", "--field-selector", "spec.unschedulable=true", "-o", "name") == ""
    faulty.works()


def test_the_master_loses_its_power_while_it_is_put_back(faulty: Faulty, say: Callable[[str], None]) -> None:
    master = faulty.master
    running = starting("rollback", inventory=faulty.inventory)
    assert eventually(lambda: faulty.version(master, "kube-apiserver") == OLD, 300, every=0.05)
    faulty.lab.stop(master)
    faulty.lab.start(master)
    done = running.wait(600)
    assert done.code == FAILED, done
    assert "Traceback" not in done.text, done
    say(f"the rollback ended with {done.code}:\n{done.err[-1500:]}")
    faulty.finish("rollback")
    assert faulty.version(master, "kube-apiserver") == OLD
    assert faulty.kubectl("get", "nodes", "--field-selector", "spec.unschedulable=true", "-o", "name") == ""
    faulty.works()


def test_ssh_is_cut_in_an_upgrade(faulty: Faulty) -> None:
    text = faulty.inventory.read_text()
    faulty.inventory.write_text(text.replace(f"etcd: {OLD_ETCD}", f"etcd: {NEW_ETCD}"))
    _cut_and_go_on(faulty, 15, "upgrade", "--to", NEW)
    assert faulty.version(faulty.host(2)[0], "kubelet") == NEW


def test_ssh_is_cut_in_a_restore(faulty: Faulty) -> None:
    file = faulty.inventory.with_name("etcd.db")
    faulty.kubeup("etcd", "snapshot", "--to", str(file))
    faulty.kubectl("create", "configmap", "later")
    _cut_and_go_on(faulty, 3, "etcd", "restore", "--yes", str(file))
    assert faulty.kubectl("get", "configmap", "later", "--ignore-not-found", "-o", "name") == ""


def test_ssh_is_cut_while_authorities_are_replaced(faulty: Faulty) -> None:
    _cut_and_go_on(faulty, 12, "certs", "rotate-ca", "all", "--finish", "--force")


@pytest.mark.parametrize("command", ["rotate-ca", "rollback"])
def test_ssh_goes_silent(faulty: Faulty, command: str) -> None:
    """Packets are lost without a word: kubeup ends by itself, says so, and the same command goes on afterwards."""
    words = {"rotate-ca": ("certs", "rotate-ca", "all", "--finish", "--force"), "rollback": ("rollback",)}[command]
    if command == "rollback" and faulty.version(faulty.master, "kube-apiserver") == OLD:
        faulty.kubeup("upgrade", "--to", NEW, timeout=600)
    running = starting(*words, inventory=faulty.inventory)
    assert eventually(faulty.working, 120, every=0.05), running.signal(signal.SIGKILL)
    time.sleep(8)
    with faulty.swallowed():
        _says_so(running.wait(3 * SILENCE + 60))
    faulty.finish(*words)
    faulty.works()


# A disk that is full.


@contextlib.contextmanager
def small_disk(cluster: Cluster, name: str) -> Iterator[None]:
    """Put a member's data on a disk of their own; afterwards they are where they were."""
    stop, start = "systemctl stop etcd.service", "systemctl start etcd.service"
    cluster.on(
        name,
        f"set -e; {stop}; mkdir /root/disk; mount -t tmpfs -o size=320m,mode=0700 tmpfs /root/disk; "
        f"cp -a {ETCD}/. /root/disk; mount --bind /root/disk {ETCD}; {start}",
    )
    try:
        yield
    finally:
        cluster.on(
            name,
            f"{stop}; umount {ETCD}; rm -rf {ETCD}/*; cp -a /root/disk/. {ETCD}; umount /root/disk; "
            f"rmdir /root/disk; {start}",
        )


def test_a_members_disk_is_full(new_lab: NewLab, say: Callable[[str], None]) -> None:
    cluster = Cluster(new_lab(roles=["ai", "ai", "ai"]))
    cluster.kubeup("up", timeout=600)
    full = cluster.names[2]
    kubeconfig = cluster.kubeup("kubeconfig", "--print").out

    def sick() -> list[str]:
        status = cluster.kubeup("etcd", "status", "--json", code=None)
        members = status.json()["members"]
        assert status.code == (FAILED if any(not m["healthy"] for m in members) else OK), status
        return [m["name"] for m in members if not m["healthy"]]

    with small_disk(cluster, full):
        assert eventually(lambda: sick() == [], 60, 1)
        with api_client(kubeconfig) as api:
            with Ledger(api, "kept") as ledger:
                cluster.on(full, f"cat /dev/zero >{ETCD}/filler 2>/dev/null || true")
                cluster.on(cluster.master, "head -c 700000 /dev/urandom | base64 -w0 >/run/large")
                for number in range(60):
                    cluster.kubectl("create", "configmap", f"large-{number}", "--from-file=/run/large")
                    if number % 5 == 4 and sick():
                        break
                assert eventually(lambda: sick() == [full], 60, 1), sick()
                since = ledger.answers.now()
                time.sleep(5)
                shown = cluster.kubeup("status").out
                validated = cluster.kubeup("validate", code=FAILED)
                planned = cluster.kubeup("upgrade", code=FAILED)
            ledger.finish()
        say(f"with a full disk on {full}: {ledger.answers.told()}")
        say("\n".join([*shown.splitlines()[:3], *validated.err.splitlines()[-3:], *planned.err.splitlines()[-3:]]))
        assert ledger.lost == []
        # From here on: the writes that filled the disk were more than this machine's other members take in at once.
        assert ledger.answers.longest_outage(since + 1) < 10
        assert sum(when > since for when in ledger.answers.good) > 50
        assert re.search(rf"etcd: 2 of 3 members are healthy; {full} is not", shown), shown
        assert f"{full}: etcd.service does not run" in validated.text, validated
        assert f"less than 64 MiB are free in {ETCD}" in validated.text, validated
        assert f"{full}: its etcd member is not healthy" in planned.text, planned
        # It is there again as soon as there is space.
        cluster.on(full, f"rm {ETCD}/filler")
        assert eventually(lambda: sick() == [], 60, 1), sick()
        cluster.works()
        cluster.kubectl("delete", "configmap", "--ignore-not-found", *(f"large-{number}" for number in range(60)))
    assert eventually(lambda: sick() == [], 60, 1), sick()
    cluster.works()
