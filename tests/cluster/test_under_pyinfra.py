"""The same jobs without the command: `pyinfra inventories/demo.py deploy/up.py`."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import NewLab
from .snapshot import Snapshot, assert_as_before, take_all
from .support import CHECKOUT, OK, Deployed, Done, Running

PYINFRA = str(Path(sys.executable).with_name("pyinfra"))


class ByPyinfra(Deployed):
    """A cluster that pyinfra's own command brings up, and takes away."""

    before: dict[str, Snapshot]

    def pyinfra(self, *arguments: str, code: int = OK) -> Done:
        env = {"KUBEUP_INVENTORY": str(self.lab.inventory)}
        done = Running(PYINFRA, "-y", "inventories/demo.py", *arguments, env=env, cwd=CHECKOUT).wait(240)
        assert done.code == code, done
        assert "Traceback" not in done.text, done
        return done


@pytest.fixture(scope="module")
def cluster(new_lab: NewLab) -> Iterator[ByPyinfra]:
    cluster = ByPyinfra(new_lab(roles=["ai", "i"]))
    cluster.before = take_all(cluster.lab)
    cluster.story["up"] = cluster.pyinfra("deploy/up.py")
    return cluster


def test_up(cluster: ByPyinfra) -> None:
    told = cluster.story["up"].text
    for phase in ("Authorities", "Components", "Hosts", "etcd", "Control plane", "Nodes", "Validation"):
        assert phase in told, cluster.story["up"]
    assert cluster.differences() == {}
    ready = cluster.kubectl("get", "nodes", "--no-headers").splitlines()
    assert [line.split()[1] for line in ready] == ["Ready", "Ready"]


def test_up_again_restarts_nothing(cluster: ByPyinfra) -> None:
    started = {name: cluster.starts(name) for name in cluster.names}
    cluster.pyinfra("deploy/up.py")
    assert all(cluster.restarted(name, started[name]) == set() for name in cluster.names)


def test_preflight_refuses(cluster: ByPyinfra) -> None:
    worker = cluster.workers[0]
    other = "cluster\\tother\\tx\\t-\\t-\\n"
    cluster.on(worker, f"cp /var/lib/kubeup/record /run/test-record; printf '{other}' >/var/lib/kubeup/record")
    try:
        done = cluster.pyinfra("deploy/up.py", code=1)
    finally:
        cluster.on(worker, "mv /run/test-record /var/lib/kubeup/record")
    assert f"{worker}: this host belongs to the cluster other" in done.text


def test_nothing_goes_on_where_a_phase_fails(cluster: ByPyinfra) -> None:
    """A component cannot be placed on one host: no later phase runs on any, and the reason is told."""
    worker = cluster.workers[0]
    cluster.on(worker, "rm /opt/kubeup/bin/runc; rm -r /opt/kubeup/runc; touch /opt/kubeup/runc")
    cluster.on(cluster.master, "rm /etc/kubernetes/kube-proxy.yaml")
    try:
        done = cluster.pyinfra("deploy/up.py", code=1)
    finally:
        cluster.on(worker, "rm /opt/kubeup/runc")
    assert "failed while receiving /opt/kubeup/runc/" in done.text, done
    cluster.on(cluster.master, "test ! -e /etc/kubernetes/kube-proxy.yaml")
    cluster.pyinfra("deploy/up.py")
    assert cluster.differences() == {}


def test_destroy(cluster: ByPyinfra) -> None:
    cluster.pyinfra("deploy/destroy.py")
    assert_as_before(cluster.lab, cluster.before)
