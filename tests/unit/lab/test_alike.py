from pathlib import Path

import pytest

from kubeup.cluster import load
from kubeup.errors import InventoryError, LabError
from kubeup.lab.alike import alike, settings_of
from kubeup.lab.inventory import LabNode, inventory_text

INVENTORY = """
name: production
ssh: {user: admin, key: /nonexistent/key-of-the-admin}
service_cidr: 10.96.0.0/16
versions: {kubernetes: 1.35.4}
api: {address: 10.10.103.240}
nodes:
  - {role: ai, host: master-1.example.com, labels: {disk: ssd, old: "1.10"}}
  - {role: a, host: master-2.example.com, key: /nonexistent/too}
  - {role: ai, host: master-3.example.com}
  - {role: i, host: 10.10.103.223, name: worker-1, taints: ["gpu=yes:PreferNoSchedule"]}
"""


def test_roles_labels_taints_and_settings_are_taken_over(tmp_path: Path) -> None:
    source = tmp_path / "production.yaml"
    source.write_text(INVENTORY)

    found = alike(source)

    assert found.stands_for == [*(f"master-{n}.example.com" for n in (1, 2, 3)), "worker-1"]
    assert found.roles == ["ai", "a", "ai", "i"]
    assert found.left_out == ["api"]
    nodes = [LabNode(f"lab-{n}", f"10.79.0.{n + 1}", role) for n, role in enumerate(found.roles, 1)]
    copy = tmp_path / "cluster.yaml"
    more = {node.name: each for node, each in zip(nodes, found.more, strict=True)}
    copy.write_text(inventory_text("lab", nodes, found.settings, more).replace("key: ./id_ed25519, ", ""))
    cluster = load(copy)
    assert str(cluster.service_cidr) == "10.96.0.0/16"
    assert cluster.versions.kubernetes == "1.35.4"
    assert cluster.node("lab-1").labels == {"disk": "ssd", "old": "1.10"}
    assert [str(taint) for taint in cluster.node("lab-4").taints] == ["gpu=yes:PreferNoSchedule"]


def test_the_form_of_2015_can_be_rehearsed_too(tmp_path: Path) -> None:
    source = tmp_path / "cluster.yaml"
    source.write_text("nodes: vcap@10.10.103.250 vcap@10.10.103.162\nroles: ai i\n")

    assert alike(source).roles == ["ai", "i"]
    assert alike(source).settings == {}


@pytest.mark.parametrize("text", ["nodes: [", "- a list", "nodes: a b\nroles: ai\n", ""])
def test_an_inventory_that_is_wrong_is_told_before_a_host_is_made(tmp_path: Path, text: str) -> None:
    source = tmp_path / "cluster.yaml"
    source.write_text(text)

    with pytest.raises(InventoryError):
        alike(source)
    with pytest.raises(InventoryError, match="no such file"):
        alike(tmp_path / "absent.yaml")


def test_more_hosts_than_a_lab_can_have_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "cluster.yaml"
    hosts = [f"10.10.{n // 250}.{n % 250 + 1}" for n in range(201)]
    source.write_text(f"nodes: [{', '.join(hosts)}]\nroles: [ai{', i' * 200}]\n")

    with pytest.raises(LabError, match="201 hosts"):
        alike(source)


def test_addons_that_name_hosts_or_files_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n")
    source = tmp_path / "cluster.yaml"
    source.write_text(
        "nodes: [10.10.103.250, 10.10.103.162]\nroles: [ai, i]\n"
        "addons: {metrics-server: on, registry: {node: 10.10.103.162}, manifests: [own.yaml]}\n"
    )
    assert alike(source).settings == {"addons": {"metrics-server": "on"}}
    assert alike(source).left_out == ["addons: registry", "addons: manifests"]
    assert settings_of(source.read_text()) == {"addons": {"metrics-server": "on"}}
