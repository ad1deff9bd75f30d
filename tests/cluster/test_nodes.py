"""Nodes come and go, change their roles, and are replaced, also when they are dead."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from kubeup.cli.display import Display
from kubeup.cluster import load
from kubeup.cluster.editing import NewNode, without_nodes
from kubeup.cluster.model import Role
from kubeup.deploy.add_node import add_nodes, edit
from kubeup.host.session import Session

from .conftest import NewLab
from .snapshot import Snapshot, changes, take
from .support import FAILED, OK, PROBE_IMAGE, USAGE, Deployed, deployment, eventually, starting


class Cluster(Deployed):
    """A cluster on some of a lab's hosts; the others are spare."""

    @property
    def inventory(self) -> Path:
        return self.lab.inventory

    def keep(self, hosts: int) -> None:
        """Leave the first of the hosts in the inventory."""
        without_nodes(self.inventory, [node.name for node in self.lab.nodes[hosts:]]).write()

    def host(self, number: int) -> tuple[str, str]:
        """Name and address of the lab's host of that number, from 1."""
        node = self.lab.nodes[number - 1]
        return node.name, node.address

    @property
    def master(self) -> str:
        """A master that is alive."""
        for node in load(self.inventory).masters:
            if self.alive(node.name):
                return node.name
        raise AssertionError("no master is alive")

    def alive(self, name: str) -> bool:
        command = ["docker", "inspect", "-f", "{{.State.Running}}", f"kubeup-lab-{name}"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "true"

    def nodes(self) -> dict[str, str]:
        """What the API has: roles by name."""
        items = json.loads(self.kubectl("get", "nodes", "-o", "json"))["items"]
        mark = "node-role.kubernetes.io/"
        return {
            item["metadata"]["name"]: ",".join(
                sorted(label.removeprefix(mark) for label in item["metadata"]["labels"] if label.startswith(mark))
            )
            for item in items
        }

    def members(self) -> set[str]:
        """The names of etcd's members that decide."""
        script = (
            "etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/etcd/ca.crt --cert=/etc/etcd/root.crt "
            "--key=/etc/etcd/root.key member list -w json"
        )
        listed = json.loads(self.on(self.master, script))["members"]
        return {each.get("name", "") for each in listed if not each.get("isLearner")}

    def works(self) -> None:
        """Everything is as the inventory says, and validation passes."""
        assert self.differences() == {}
        validated = self.kubeup("validate")
        assert "not in the inventory" not in validated.text, validated


def assert_bare(cluster: Cluster, name: str, before: Snapshot) -> None:
    """The host holds nothing of the cluster any more."""
    found = changes(before, take(cluster.lab, name))
    assert not found, "\n".join(found)


def docker(*arguments: str) -> None:
    subprocess.run(["docker", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def workers(new_lab: NewLab) -> Cluster:
    """A master, a worker, and a host to spare."""
    cluster = Cluster(new_lab(roles=["ai", "i", "i"]))
    cluster.keep(2)
    cluster.kubeup("up")
    return cluster


@pytest.mark.slow
def test_a_worker_comes_and_goes(workers: Cluster) -> None:
    text = workers.inventory.read_text()
    (other, _), (name, address) = workers.host(2), workers.host(3)
    before = take(workers.lab, name)

    # Not by the command: what is counted is in the session.
    edited, names = edit(workers.inventory, [NewNode(Role.MINION, f"root@{address}", name, None, {"disk": "ssd"})])
    with Session(edited.cluster, observer=Display()) as session:
        add_nodes(edited, names, session, "test")
        assert session.commands[other] == 0
        assert session.commands[name] > 0
    assert workers.inventory.read_text().startswith(text)
    assert workers.nodes()[name] == "worker"
    workers.works()

    # A budget of two of two allows none to go, and the error says so.
    workers.kubectl("apply", "-f", "-", stdin=ON_SSD)
    workers.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    workers.kubectl("create", "poddisruptionbudget", "web", "--selector=app=web", "--min-available=2")
    refused = workers.kubeup("remove-node", name, "--timeout", "3", code=FAILED)
    assert f"{name} could not be drained within 3 s" in refused.err
    assert "the PodDisruptionBudget web allows 0 disruptions: 2 of 2 pods are healthy, and 2 must be" in refused.err
    assert name in workers.inventory.read_text()
    workers.kubectl("delete", "poddisruptionbudget", "web")

    workers.kubeup("remove-node", name)
    assert workers.inventory.read_text() == text
    assert name not in workers.nodes()
    assert_bare(workers, name, before)
    workers.works()
    workers.kubectl("delete", "deployment", "web")
    # Once more: it says that there is nothing to do.
    assert "Traceback" not in workers.kubeup("remove-node", name).text


POD = f"""
nodeSelector: {{disk: ssd}}
containers: [{{name: probe, image: "{PROBE_IMAGE}"}}]
"""

ON_SSD = deployment("web", 2, POD)


@pytest.mark.slow
def test_roles_change_there_and_back(new_lab: NewLab) -> None:
    cluster = Cluster(new_lab(roles=["ai", "i", "i"]))
    names = [node.name for node in cluster.lab.nodes]
    cluster.kubeup("up")
    text = cluster.inventory.read_text()
    cluster.inventory.write_text(text.replace("role: i,", "role: ai,"))
    cluster.kubeup("up")
    assert cluster.members() == set(names)
    assert set(cluster.nodes().values()) == {"control-plane,worker"}
    cluster.works()
    cluster.inventory.write_text(text.replace("role: i,", "role: a,").replace("role: ai,", "role: i,", 1))
    assert "2 masters" in cluster.kubeup("up", code=USAGE).err
    cluster.inventory.write_text(text)
    cluster.kubeup("up")
    assert cluster.members() == {names[0]}
    assert cluster.nodes() == {names[0]: "control-plane,worker", names[1]: "worker", names[2]: "worker"}
    units = cluster.on(names[2], "systemctl list-units --all --plain --no-legend 'kube-*' 'etcd*' haproxy.service")
    assert "kube-proxy.service" in units
    assert "apiserver" not in units
    assert "etcd" not in units
    cluster.works()


@pytest.mark.slow
def test_a_living_master_is_replaced_under_another_name(new_lab: NewLab) -> None:
    """The only one: the new member gets the data before the old one goes."""
    cluster = Cluster(new_lab(roles=["ai", "i", "ai"]))
    cluster.keep(2)
    before = take(cluster.lab, cluster.host(1)[0])
    cluster.kubeup("up")
    cluster.kubectl("create", "configmap", "kept", "--from-literal=is=here")
    (old, _), (worker, _), (new, address) = (cluster.host(number) for number in (1, 2, 3))
    refused = cluster.kubeup("replace-node", old, "--with", f"root@{address}", code=FAILED)
    assert "has the only member of etcd" in refused.err
    cluster.kubeup("replace-node", old, "--with", f"root@{address}", "--name", new)
    assert cluster.nodes() == {worker: "worker", new: "control-plane,worker"}
    assert cluster.members() == {new}
    assert cluster.kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.is}") == "here"
    cluster.works()
    assert_bare(cluster, old, before)


MOMENTS = (0.04, 0.12, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.92)


@pytest.mark.slow
def test_adding_and_removing_go_on_where_one_was_killed(workers: Cluster) -> None:
    """Each is killed at ten moments: what was added is removed, and so the next can be added."""
    name, address = workers.host(3)
    before = take(workers.lab, name)
    add = ("add-node", "--node", f"i=root@{address}", "--name", name)
    remove = ("remove-node", name)
    whole = {command: workers.kubeup(*command).seconds for command in (add, remove)}
    for part in MOMENTS:
        for command in (add, remove):
            killed = starting(*command, inventory=workers.inventory).after(whole[command] * part).signal(signal.SIGKILL)
            assert killed.code in (-signal.SIGKILL, OK), killed
            workers.kubeup(*command)
            assert (name in workers.nodes()) == (command == add)
            workers.works()
    assert_bare(workers, name, before)


@pytest.mark.slow
def test_replacing_goes_on_where_one_was_killed(new_lab: NewLab) -> None:
    """A living master of three, under its name: its place goes to and fro between two hosts."""
    cluster = Cluster(new_lab(roles=["ai", "ai", "ai", "ai"]))
    cluster.keep(3)
    cluster.kubeup("up")
    name, address = cluster.host(2)
    spare = cluster.host(4)[1]
    whole = cluster.kubeup("replace-node", name, "--with", f"root@{spare}").seconds
    for part, target in zip(MOMENTS, [address, spare] * 5, strict=True):
        command = ("replace-node", name, "--with", f"root@{target}")
        starting(*command, inventory=cluster.inventory).after(whole * part).signal(signal.SIGKILL)
        cluster.kubeup(*command)
        assert len(cluster.members()) == 3
        cluster.works()


@pytest.mark.slow
def test_a_dead_worker_is_removed_also_when_the_inventory_has_lost_it(workers: Cluster) -> None:
    name, address = workers.host(3)
    workers.kubeup("add-node", "--node", f"i=root@{address}", "--name", name)
    text = workers.inventory.read_text()
    without_nodes(workers.inventory, [name]).write()
    assert f"{name}: not in the inventory (kubeup remove-node takes a node away)" in workers.kubeup("up").text
    assert f"kubeup remove-node {name}" in workers.kubeup("plan").text
    alive = workers.kubeup("remove-node", name, code=FAILED)
    assert f"{name} is not in the inventory, but it is not dead: its kubelet answers" in alive.err

    docker("kill", f"kubeup-lab-{name}")
    try:
        workers.kubeup("remove-node", name)
        assert name not in workers.nodes()
        # In the inventory again, without a trace in the cluster.
        workers.inventory.write_text(text)
        assert "Is that host dead" in workers.kubeup("remove-node", name, code=FAILED).text
        workers.kubeup("remove-node", name, "--yes")
        assert name not in workers.inventory.read_text()
    finally:
        docker("start", f"kubeup-lab-{name}")
    # It comes back, and takes itself for a node: put into the inventory, it can be cleaned.
    eventually(lambda: workers.on(name, "systemctl is-system-running --wait", check=False), seconds=60)
    workers.inventory.write_text(text)
    eventually(lambda: workers.kubeup("remove-node", name, code=None).code == OK, seconds=60)
    assert name not in workers.inventory.read_text()
    workers.works()
