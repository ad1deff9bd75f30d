"""What follows from a cluster's values."""

from ipaddress import IPv4Address

import pytest
from pydantic import ValidationError

from kubeup.cluster import CONTROL_PLANE_TAINT, Cluster, Node, Role, Settings, Taint, Versions, api_endpoint
from kubeup.components.catalogue import DEFAULT_VERSIONS


def node(number: int, role: Role, **fields: object) -> Node:
    return Node.model_validate(
        {"name": f"n{number}", "role": role, "host": f"h{number}", "address": f"10.0.0.{number}", **fields}
    )


CLUSTER = Cluster(nodes=(node(1, Role.MINION), node(2, Role.MASTER), node(3, Role.BOTH)))


def test_nodes() -> None:
    assert [n.name for n in CLUSTER.masters] == ["n2", "n3"]
    assert [n.name for n in CLUSTER.minions] == ["n1", "n3"]
    assert CLUSTER.node("n2") is CLUSTER.nodes[1]
    with pytest.raises(KeyError):
        CLUSTER.node("n4")


def test_addresses() -> None:
    assert CLUSTER.kubernetes_service_ip == IPv4Address("192.168.3.1")
    assert CLUSTER.dns_ip == IPv4Address("192.168.3.10")
    assert api_endpoint(CLUSTER) == CLUSTER.api_server_url == "https://10.0.0.2:6443"
    assert CLUSTER.etcd_endpoints == ("https://10.0.0.2:2379", "https://10.0.0.3:2379")


def test_only_a_master_alone_is_tainted() -> None:
    mine = Taint(key="gpu", effect="NoExecute")
    taints = {role: node(1, role, taints=[mine]).all_taints for role in Role if role != Role.ETCD}
    assert taints == {Role.MASTER: (CONTROL_PLANE_TAINT, mine), Role.MINION: (mine,), Role.BOTH: (mine,)}
    assert node(1, Role.MASTER, taints=[CONTROL_PLANE_TAINT]).all_taints == (CONTROL_PLANE_TAINT,)


def test_role_labels() -> None:
    control_plane, worker = "node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/worker"
    labels = {role: set(node(1, role).role_labels) for role in Role if role != Role.ETCD}
    assert labels == {Role.MASTER: {control_plane}, Role.MINION: {worker}, Role.BOTH: {control_plane, worker}}


@pytest.mark.parametrize("text", ["gpu=yes:NoSchedule", "gpu:NoExecute", "example.com/gpu=a.b:PreferNoSchedule"])
def test_a_taint_is_written_as_it_is_read(text: str) -> None:
    assert str(Taint.model_validate(text)) == text


def test_a_cluster_is_a_value() -> None:
    same = Cluster(nodes=(node(1, Role.MINION), node(2, Role.MASTER), node(3, Role.BOTH)))
    assert same == CLUSTER
    assert hash(same) == hash(CLUSTER)
    with pytest.raises(ValidationError, match="frozen"):
        CLUSTER.api_port = 1  # type: ignore[misc]


def test_every_version_is_the_catalogues_default() -> None:
    assert {k.replace("_", "-"): v for k, v in Versions()}.items() <= DEFAULT_VERSIONS.items()


def test_defaults_of_2015() -> None:
    assert (str(Settings().service_cidr), str(Settings().flannel_net)) == ("192.168.3.0/24", "172.16.0.0/16")


@pytest.mark.parametrize(("every", "seconds"), [("6h", 21600), ("5m", 300), ("2d", 172800), ("off", 0), ("no", 0)])
def test_how_often_snapshots_are_taken(every: str, seconds: int) -> None:
    assert Settings.model_validate({"snapshots": {"every": every}}).snapshots.every.total_seconds() == seconds


@pytest.mark.parametrize(("snapshots", "what"), [({"every": "1m"}, "too often"), ({"keep": "0"}, "greater than")])
def test_snapshots_that_make_no_sense(snapshots: dict[str, str], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        Settings.model_validate({"snapshots": snapshots})
