"""`kubeup validate`: proves that a cluster works, says why one does not, and leaves nothing."""

import pytest

from ..support import FAILED
from .conftest import Shared

CHECKS = (
    "nodes-ready",
    "services-run",
    "addons",
    "classic",
    "pod-on-every-node",
    "pods-reach-pods",
    "cluster-ip",
    "node-port",
    "names-resolve",
    "pod-is-replaced",
)


def test_validate_prints_what_2015_did_and_the_proof(cluster: Shared) -> None:
    done = cluster.kubeup("validate")
    lines = done.text.splitlines()
    assert "Found 3 node(s)." in lines
    assert "Cluster validation succeeded" in lines
    assert "Done, listing cluster services:" in lines
    # The address by which it can be used from elsewhere, not the one by which the master asked.
    assert f"Kubernetes control plane is running at https://{cluster.address(cluster.master)}:6443" in done.text
    for check in CHECKS:
        assert any(f" {check} " in line and " ok " in line for line in lines), f"no {check}\n{done}"
    assert cluster.leftovers_of_validation() == []


@pytest.mark.slow
def test_validate_finds_a_node_without_its_services_rules(cluster: Shared) -> None:
    worker = cluster.workers[-1]
    # kube-proxy runs, as far as systemd can say, but does nothing, and its rules are gone.
    cluster.on(worker, "systemctl kill --signal=STOP kube-proxy; iptables -t nat -F KUBE-SERVICES")
    try:
        done = cluster.kubeup("validate", code=FAILED)
    finally:
        cluster.on(worker, "systemctl kill --signal=CONT kube-proxy; systemctl restart kube-proxy")
    wrong = [line for line in done.err.splitlines() if "FAILED" in line]
    assert any("cluster-ip" in line and worker in line for line in wrong), done
    assert not any(cluster.workers[0] in line for line in wrong if "cluster-ip" in line), done
    assert f"first broken link from {worker} to svc/" in done.err, done
    assert "mend it:  systemctl restart kube-proxy" in done.err, done
    assert cluster.leftovers_of_validation() == []


def test_validate_finds_that_names_do_not_resolve(cluster: Shared) -> None:
    cluster.kubectl("-n", "kube-system", "scale", "deployment/coredns", "--replicas=0")
    try:
        done = cluster.kubeup("validate", "--json", code=FAILED)
    finally:
        cluster.kubectl("-n", "kube-system", "scale", "deployment/coredns", "--replicas=2")
        cluster.kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=60s")
    wrong = {result["name"]: result["detail"] for result in done.json() if not result["ok"]}
    assert set(wrong) == {"names-resolve"}, done
    assert "kubernetes.default does not resolve" in wrong["names-resolve"]
    # And why: the walk says it, with what mends it.
    assert "first broken link" in wrong["names-resolve"]
    assert "coredns is scaled to 0" in wrong["names-resolve"]
    assert "scale deployment coredns --replicas=2" in wrong["names-resolve"]
    assert cluster.leftovers_of_validation() == []


def test_validate_finds_a_service_that_does_not_run(cluster: Shared) -> None:
    worker = cluster.workers[0]
    cluster.on(worker, "systemctl stop kube-proxy")
    try:
        done = cluster.kubeup("validate", code=FAILED)
    finally:
        cluster.on(worker, "systemctl start kube-proxy")
    assert f"{worker}: kube-proxy.service does not run (see journalctl -u kube-proxy.service)" in done.err, done


def test_validate_as_json_and_without_what_a_killed_one_left(cluster: Shared) -> None:
    left = "kubeup-validation-000000"
    cluster.kubectl("create", "namespace", left)
    cluster.kubectl("label", "namespace", left, "kubeup.dev/validation=true")
    results = cluster.kubeup("validate", "--json").json()
    assert sorted(result["name"] for result in results) == sorted(CHECKS)
    assert all(result["ok"] and result["detail"] and result["seconds"] >= 0 for result in results)
    assert cluster.leftovers_of_validation() == []
