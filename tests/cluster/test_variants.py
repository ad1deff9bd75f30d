"""Clusters that differ from the default: nftables, flannel's leases in etcd, a master without pods, a single host."""

from collections.abc import Iterator

import pytest

from .conftest import NewLab
from .snapshot import Snapshot, assert_as_before, take_all
from .support import Deployed


class Variant(Deployed):
    before: dict[str, Snapshot]


@pytest.fixture(scope="module")
def variant(new_lab: NewLab) -> Iterator[Variant]:
    """A master that runs no pods, and two workers; Services by nftables, flannel's leases in etcd; as root."""
    lab = new_lab(roles=["a", "i", "i"], settings={"kube_proxy": {"mode": "nftables"}, "flannel": {"store": "etcd"}})
    cluster = Variant(lab)
    cluster.before = take_all(lab)
    cluster.story["up"] = cluster.kubeup("up")
    return cluster


def test_variant_is_up_and_validated(variant: Variant) -> None:
    assert "Found 3 node(s)." in variant.story["up"].text
    assert "Cluster validation succeeded" in variant.story["up"].text
    assert variant.differences() == {}


def test_nftables_holds_the_services_and_iptables_does_not(variant: Variant) -> None:
    for name in variant.names:
        assert "service-" in variant.on(name, "nft list table ip kube-proxy")
        # (The kubelet has a few of its own there, KUBE-FIREWALL.)
        assert "KUBE-S" not in variant.on(name, "iptables-save 2>/dev/null")


def test_ordinary_pods_stay_off_the_master(variant: Variant) -> None:
    taints = variant.kubectl("get", "node", variant.master, "-o", "jsonpath={.spec.taints}")
    assert "node-role.kubernetes.io/control-plane" in taints
    variant.kubectl("create", "deployment", "tainted", "--image=kubeup.local/probe:1.1.0", "--replicas=4")
    variant.kubectl("rollout", "status", "deployment/tainted", "--timeout=60s")
    where = variant.kubectl("get", "pods", "-l", "app=tainted", "-o", "jsonpath={.items[*].spec.nodeName}").split()
    variant.kubectl("delete", "deployment/tainted")
    assert set(where) == set(variant.workers)


def test_flannels_certificate_opens_flannels_keys_alone(variant: Variant) -> None:
    worker, master = variant.workers[0], variant.master
    for file in ("etcd.crt", "etcd.key", "etcd-ca.crt"):
        text = variant.on(worker, 'cat "/etc/flannel/$1"', file)
        variant.lab.exec(master, "sh", "-c", 'umask 077; mkdir -p /run/test-flannel; cat >"/run/test-flannel/$1"',
                         "sh", file, stdin=text + "\n")  # fmt: skip
    etcdctl = (
        f"etcdctl --endpoints=https://{variant.address(master)}:2379 --cacert=/run/test-flannel/etcd-ca.crt "
        "--cert=/run/test-flannel/etcd.crt --key=/run/test-flannel/etcd.key"
    )
    leases = variant.on(master, f"{etcdctl} get --prefix --keys-only /coreos.com/network/subnets/")
    assert len(leases.split()) == 3
    for command in (
        "get --prefix --keys-only /registry",
        "get /registry/secrets/x",
        "put /registry/x y",
        "del /registry/x",
        "get --prefix /",
        "user list",
        "put /coreos.com/other x",
    ):
        said = variant.on(master, f"{etcdctl} {command} 2>&1 || true")
        assert "permission denied" in said, f"{command}: {said}"
    # And nobody without a certificate. (How curl words it depends on when the connection is closed.)
    url = f"https://{variant.address(master)}:2379/v3/kv/range"
    said = variant.on(master, f'curl -sSk {url} -d \'{{"key": "AA=="}}\' 2>&1 && echo answered || true')
    assert "curl: (" in said, said
    assert "answered" not in said


def test_variant_is_destroyed_without_a_trace(variant: Variant) -> None:
    variant.kubeup("destroy", "--yes")
    assert_as_before(variant.lab, variant.before)


@pytest.mark.slow
@pytest.mark.parametrize("roles", [["a", "i"], ["ai", "ai", "ai"]], ids=" ".join)
@pytest.mark.parametrize("store", ["kubernetes", "etcd"])
def test_other_models(new_lab: NewLab, roles: list[str], store: str) -> None:
    cluster = Deployed(new_lab(roles=roles, settings={"flannel": {"store": store, "backend": "host-gw"}}))
    cluster.kubeup("up")
    assert cluster.differences() == {}
    cluster.kubeup("destroy", "--yes")
