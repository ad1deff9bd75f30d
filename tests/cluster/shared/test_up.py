"""`kubeup up`: from bare hosts to a cluster, and again with nothing to do."""

import re

from ..snapshot import changes
from .conftest import Shared


def test_up_brings_a_cluster_up_and_validates_it(cluster: Shared) -> None:
    up = cluster.story["up"]
    assert "Found 3 node(s)." in up.text
    assert "Cluster validation succeeded" in up.text
    for phase in ("Authorities", "Components", "Hosts", "etcd", "Control plane", "Nodes", "Validation"):
        assert re.search(rf"^ *[0-9.]+ s +{phase}\b", up.err, re.MULTILINE), f"no line of the phase {phase}\n{up}"
    assert re.search(r"\(changed=[1-9][0-9]*\)", up.text), up
    ready = cluster.kubectl("get", "nodes", "--no-headers").splitlines()
    assert {line.split()[0]: line.split()[1] for line in ready} == dict.fromkeys(cluster.names, "Ready")


def test_plan_shows_what_will_be_done_and_touches_nothing(cluster: Shared) -> None:
    plan = cluster.story["plan"].out
    for name in cluster.names:
        assert re.search(rf"^{name}: [0-9]+ to add$", plan, re.MULTILINE), plan
        touched = [line for line in changes(cluster.before[name], cluster.after_plan[name]) if "/.ssh" not in line]
        assert not touched, f"plan changed {name}"
    assert "+ unit     etcd.service" in plan
    assert plan.count("+ unit     kubelet.service") == 3


def test_plan_after_up_shows_nothing(cluster: Shared) -> None:
    assert cluster.differences() == {}
    assert "Nothing to do" in cluster.kubeup("plan").out


def test_up_again_changes_nothing_and_costs_one_command_a_host(cluster: Shared) -> None:
    def commands(name: str) -> int:
        """How many commands sshd has been asked for on a host: it logs every one."""
        log = cluster.on(name, "journalctl --flush; journalctl --no-pager -o cat -u ssh")
        return sum(line.startswith("Starting session:") for line in log.splitlines())

    before = {name: commands(name) for name in cluster.names}
    started = {name: cluster.starts(name) for name in cluster.names}
    again = cluster.kubeup("up")
    assert "(changed=0)" in again.text
    assert "Nothing had to be changed" in again.text
    assert {name: commands(name) - before[name] for name in cluster.names} == dict.fromkeys(cluster.names, 1)
    assert {name: cluster.restarted(name, started[name]) for name in cluster.names} == {n: set() for n in cluster.names}


def test_up_as_json(cluster: Shared) -> None:
    told = cluster.kubeup("up", "--json").json()
    assert told["changed"] == 0
    assert told["cluster"] == cluster.lab.name
