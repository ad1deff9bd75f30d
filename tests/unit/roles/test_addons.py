"""What addons bring into the cluster, and onto hosts."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeup.cluster.manifests import OWNER
from kubeup.components import COMPONENTS
from kubeup.host.resources import Blob, Certificate, File, Package
from kubeup.roles.addons import FOLDER, OBJECTS, components, images, version

EVERY = {
    "metrics-server": "on",
    "local-path": "on",
    "registry": {"node": "n3"},
    "nfs": {"server": "10.0.0.9", "path": "/srv", "volumes": [{"name": "data", "size": "1Gi"}]},
}


def objects(world: Any, cluster: Any, name: str) -> list[dict[str, Any]]:
    """An addon's objects, as they lie on the first master."""
    text = world.desired(cluster, cluster.nodes[0])["file", f"{FOLDER}/{name}.yaml"][1].content
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (document for document in documents if document["kind"] == kind)
    return found


@pytest.fixture
def cluster(world: Any) -> Any:
    return world.cluster("a ai i", addons=EVERY)


@pytest.mark.parametrize("name", ["coredns", "metrics-server", "local-path", "registry", "nfs", "access"])
def test_all_objects_are_the_addons(name: str, cluster: Any, world: Any) -> None:
    found = objects(world, cluster, name)
    assert found
    assert all(one["metadata"]["labels"][OWNER] == name for one in found)
    listed = world.desired(cluster, cluster.nodes[1])["file", OBJECTS][1].content.splitlines()
    assert len([line for line in listed if line.split()[0] == name]) == len(found)


def test_the_list_of_objects_says_kind_group_namespace_and_name(cluster: Any, world: Any) -> None:
    lines = world.desired(cluster, cluster.nodes[0])["file", OBJECTS][1].content.splitlines()
    assert "metrics-server Deployment.apps kube-system metrics-server" in lines
    assert "metrics-server APIService.apiregistration.k8s.io default v1beta1.metrics.k8s.io" in lines
    assert "local-path ConfigMap local-path-storage local-path-config" in lines
    assert not [line for line in lines if " Node " in line]  # they are never taken away with it


def test_what_is_off_leaves_nothing(world: Any) -> None:
    plain = world.cluster("a ai i", addons={"coredns": "off"})
    words = ("metrics", "local-path", "registry", "nfs", "coredns", "helm", "volume-helper")
    for node in plain.nodes:
        names = [name for _, name in world.desired(plain, node)]
        assert not [name for name in names if any(word in name for word in words)]


def test_images_are_where_their_pods_may_run(cluster: Any, world: Any) -> None:
    master, both, worker = cluster.nodes
    assert images(cluster, worker) == ("coredns", "volume-helper")
    for node in (master, both):
        assert images(cluster, node) == ("coredns", "metrics-server", "local-path-provisioner", "volume-helper")
    for name in ("metrics-server", "local-path"):
        pod = of_kind(objects(world, cluster, name), "Deployment")["spec"]["template"]["spec"]
        assert pod["nodeSelector"] == {"node-role.kubernetes.io/control-plane": ""}
        taint = {"key": "node-role.kubernetes.io/control-plane", "operator": "Equal", "value": ""}
        assert {**taint, "effect": "NoSchedule"} in pod["tolerations"]


def test_components_of_addons_are_optional_and_known(cluster: Any, world: Any) -> None:
    optional = {component.name for component in COMPONENTS if component.optional}
    wanted = set(components(cluster)) - {"coredns"}
    assert wanted == {"metrics-server", "local-path-provisioner", "volume-helper", "registry"}
    assert wanted <= optional
    assert components(world.cluster("ai")) == ("coredns",)
    assert version(cluster, "local-path") == "0.0.30"
    assert version(cluster, "nfs") == ""


def test_local_path_takes_its_helper_and_folder(world: Any) -> None:
    cluster = world.cluster("ai i", addons={"local-path": {"path": "/data/volumes", "default": "no"}})
    found = objects(world, cluster, "local-path")
    data = of_kind(found, "ConfigMap")["data"]
    config = json.loads(data["config.json"])
    assert config["nodePathMap"][0]["paths"] == ["/data/volumes"]
    (helper,) = (component for component in COMPONENTS if component.name == "volume-helper")
    assert config["setupCommand"] == config["teardownCommand"] == f"/{helper.programs[0].name}"
    image = yaml.safe_load(data["helperPod.yaml"])["spec"]["containers"][0]["image"]
    assert image == f"kubeup.local/volume-helper:{helper.version}"
    annotations = of_kind(found, "StorageClass")["metadata"]["annotations"]
    assert annotations == {"storageclass.kubernetes.io/is-default-class": "false"}


def test_the_registry_is_on_its_node_and_all_know_the_way(cluster: Any, world: Any) -> None:
    for node in cluster.nodes:
        desired = world.desired(cluster, node)
        text = desired["file", "/etc/containerd/certs.d/registry.local/hosts.toml"][1].content
        assert 'server = "https://10.0.0.3:5000"' in text
        client = desired["file", "/etc/kubernetes/pki/registry-client.crt"][1]
        assert isinstance(client, Certificate)
        assert client.path in text
        assert (("unit", "kubeup-registry.service") in desired) == (node.name == "n3")
    desired = world.desired(cluster, cluster.nodes[2])
    serving = desired["file", "/etc/kubernetes/pki/registry.crt"][1]
    assert {"registry.local", "registry.kube-system.svc", "n3"} <= set(serving.spec.dns_names)
    service = desired["unit", "kubeup-registry.service"][1]
    assert {serving.key, ("file", "/etc/kubernetes/pki/ca.crt")} <= set(service.inputs)  # else it would show an old one
    config = yaml.safe_load(desired["file", "/etc/kubernetes/registry.yaml"][1].content)
    assert config["http"]["tls"]["clientauth"] == "require-and-verify-client-cert"
    endpoint = of_kind(objects(world, cluster, "registry"), "EndpointSlice")["endpoints"][0]
    assert endpoint["addresses"] == ["10.0.0.3"]


def test_the_registry_is_with_users_pods_where_no_node_is_said(world: Any) -> None:
    assert [n.name for n in world.cluster("a i i", addons={"registry": "on"}).registry_nodes] == ["n2"]
    assert [n.name for n in world.cluster("a", addons={"registry": "on"}).registry_nodes] == ["n1"]


def test_nfs_volumes_and_the_package_that_mounts_them(world: Any) -> None:
    volumes = [{"name": n, "size": "2Gi", "path": p} for n, p in (("a", None), ("b", "deep/b"), ("c", "/other"))]
    cluster = world.cluster("ai i", addons={"nfs": {"server": "files", "path": "/srv/", "volumes": volumes}})
    found = [one for one in objects(world, cluster, "nfs") if one["kind"] == "PersistentVolume"]
    assert [one["spec"]["nfs"]["path"] for one in found] == ["/srv/a", "/srv/deep/b", "/other"]
    assert {one["spec"]["storageClassName"] for one in found} == {"nfs"}
    families: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, "nfs-common"),
        ({"os": "rocky", "os_like": ("rhel", "centos")}, "nfs-utils"),
    )
    for facts, package in families:
        desired = world.desired(cluster, cluster.nodes[1], **facts)
        assert isinstance(desired["package", package][1], Package)


def test_charts_are_placed_with_their_values(world: Any, tmp_path: Path) -> None:
    (tmp_path / "web" / "templates").mkdir(parents=True)
    (tmp_path / "web" / "Chart.yaml").write_text("apiVersion: v2\nname: web\nversion: 1.2.3\n")
    (tmp_path / "web" / "templates" / "a.yaml").write_text("kind: {{ .Values.kind }}\n")
    address = "oci://registry.example.com/charts/far"
    entries = [
        {"chart": str(tmp_path / "web"), "namespace": "shop", "values": {"password": "secret"}},
        {"name": "far", "chart": address, "version": "2.0.0", "hooks": "ignore"},
    ]
    cluster = world.cluster("ai i", addons={"helm": entries})
    desired = world.desired(cluster, cluster.nodes[0])
    folder = f"{FOLDER}/helm.web"
    assert desired["file", f"{folder}/chart/templates/a.yaml"][1].content == "kind: {{ .Values.kind }}\n"
    values = desired["file", f"{folder}/values.yaml"][1]
    assert isinstance(values, File)
    assert values.mode == 0o600
    assert yaml.safe_load(values.content) == {"password": "secret"}
    arguments = [desired["file", f"{FOLDER}/helm.{name}/arguments"][1].content.splitlines() for name in ("web", "far")]
    assert arguments[0] == ["web", f"{folder}/chart", "--namespace=shop"]
    assert arguments[1] == ["far", address, "--namespace=default", "--version=2.0.0", "--no-hooks"]
    assert isinstance(desired["blob", "/opt/kubeup/helm/4.3.1/helm"][1], Blob)
    assert not [name for _, name in world.desired(cluster, cluster.nodes[1]) if "helm" in name]
    inputs = desired["unit", "kubeup-addons.service"][1].inputs
    assert {("file", f"{folder}/values.yaml"), ("file", f"{folder}/chart/Chart.yaml")} <= set(inputs)
    assert "helm" in components(cluster)


def test_charts_of_the_clusters_own_registry_are_had_with_the_masters_certificate(world: Any) -> None:
    entry = {"name": "far", "chart": "oci://registry.local/charts/far", "version": "2.0.0"}
    cluster = world.cluster("ai i", addons={"helm": [entry], "registry": True})
    desired = world.desired(cluster, cluster.nodes[0])
    arguments = desired["file", f"{FOLDER}/helm.far/arguments"][1].content.splitlines()
    assert arguments[:2] == ["far", "oci://10.0.0.1:5000/charts/far"]
    [shown] = [one for _, one in desired.values() if isinstance(one, Certificate) and "registry-client" in one.path]
    assert {f"--cert-file={shown.path}", f"--key-file={shown.key_path}"} < set(arguments)


def test_manifests_with_secrets_are_roots_alone(world: Any, tmp_path: Path) -> None:
    for kind in ("Secret", "ConfigMap"):
        (tmp_path / f"{kind}.yaml").write_text(f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: x}}\n")
    entries = [str(tmp_path / f"{kind}.yaml") for kind in ("Secret", "ConfigMap")]
    cluster = world.cluster("ai", addons={"manifests": entries})
    desired = world.desired(cluster, cluster.nodes[0])
    modes = {name: desired["file", f"{FOLDER}/manifests.{name}.yaml"][1].mode for name in ("secret", "configmap")}
    assert modes == {"secret": 0o600, "configmap": 0o644}
