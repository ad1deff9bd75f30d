"""Addons come with the inventory and go with it: metrics-server, local-path, and objects of the user's own."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..nginx import IMAGE, import_nginx
from ..support import DIFFERENT, Deployed, eventually
from .conftest import Shared

OWN = """\
# The CRD comes after what is of it.
apiVersion: kubeup.dev/v1
kind: Widget
metadata: {name: first, namespace: own}
spec: {size: 3}
---
apiVersion: v1
kind: Namespace
metadata: {name: own}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: taken-over, namespace: default}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.kubeup.dev}
spec:
  group: kubeup.dev
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""

# $1 of each: what the container does. The claim's node is chosen when its first pod is.
CLAIM = """\
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Mi}}}
"""
POD = """\
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  restartPolicy: Never
  containers:
  - name: shell
    image: {image}
    command: [/bin/sh, -c, '{script}']
    volumeMounts: [{{name: data, mountPath: /data}}]
  volumes: [{{name: data, persistentVolumeClaim: {{claimName: data}}}}]
"""


@pytest.fixture(scope="module")
def addons(cluster: Shared, say: Callable[[str], None]) -> Iterator[Shared]:
    """The cluster with addons; all of them are turned off again."""
    inventory: Path = cluster.lab.inventory
    before = inventory.read_text()
    (inventory.parent / "own").mkdir(exist_ok=True)
    (inventory.parent / "own" / "objects.yaml").write_text(OWN)
    inventory.write_text("addons: {local-path: on, manifests: [./own]}\n" + before)
    cluster.story["enable"] = cluster.kubeup("addon", "enable", "metrics-server", timeout=400)
    say(f"addons are there after {cluster.story['enable'].seconds:.0f} s")
    yield cluster
    inventory.write_text(before)
    cluster.kubeup("up")


def objects(cluster: Deployed) -> set[str]:
    """All that is noted of addons in the cluster."""
    return set(cluster.kubectl("-n", "kube-system", "get", "configmap", "kubeup-addons",
                               "-o", "jsonpath={.data.objects}").splitlines())  # fmt: skip


def test_they_are_listed_as_ready(addons: Shared) -> None:
    assert addons.lab.inventory.read_text().startswith(
        "addons: {local-path: on, manifests: [./own], metrics-server: on}\n"
    )
    rows = {row["name"]: row for row in addons.kubeup("addon", "list", "--json").json()}
    assert {name for name, row in rows.items() if row["on"]} == {
        "coredns", "local-path", "metrics-server", "manifests.own",
    }  # fmt: skip
    assert rows["metrics-server"]["state"] == "ready (metrics-server 1/1)"
    assert rows["metrics-server"]["version"] == "0.9.0"
    assert rows["local-path"]["state"] == "ready (local-path-provisioner 1/1)"
    assert addons.differences() == {}


def test_what_nodes_and_pods_use_is_known(addons: Shared) -> None:
    top = eventually(lambda: addons.kubectl("top", "nodes", "--no-headers", check=False).splitlines(), 60)
    assert {line.split()[0] for line in top} == set(addons.names)
    assert "coredns-" in addons.kubectl("top", "pods", "-n", "kube-system")


def test_objects_of_ones_own_are_there_and_labelled(addons: Shared) -> None:
    widget = json.loads(addons.kubectl("get", "widget", "first", "-n", "own", "-o", "json"))
    assert widget["spec"] == {"size": 3}
    assert widget["metadata"]["labels"] == {"kubeup.dev/addon": "manifests.own"}


def test_a_volume_outlives_its_pod(addons: Shared, say: Callable[[str], None]) -> None:
    import_nginx(addons.lab, say)

    def run(name: str, script: str) -> str:
        addons.kubectl("apply", "-f", "-", stdin=POD.format(name=name, image=IMAGE, script=script))
        addons.kubectl("wait", "pod", name, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
        said = addons.kubectl("logs", name)
        addons.kubectl("delete", "pod", name, "--timeout=60s")
        return said

    addons.kubectl("apply", "-f", "-", stdin=CLAIM)
    run("writer", "echo kept >/data/file")
    assert run("reader", "read line </data/file; echo $line").strip() == "kept"
    volume = addons.kubectl("get", "pvc", "data", "-o", "jsonpath={.spec.volumeName}")
    addons.kubectl("delete", "pvc", "data", "--timeout=60s")
    folders = "ls /var/lib/kubeup/volumes 2>/dev/null || true"
    assert eventually(lambda: not any(volume in addons.on(name, folders) for name in addons.names), 60)


def test_what_is_taken_out_of_the_inventory_is_taken_out_of_the_cluster(addons: Shared) -> None:
    before = objects(addons)
    assert {line.split()[0] for line in before} == {
        "access",
        "coredns",
        "local-path",
        "manifests.own",
        "metrics-server",
    }
    # Somebody's own object of a kind that addons have too, and one that somebody has taken over.
    addons.kubectl("create", "deployment", "theirs", "--image=kubeup.local/probe:1.1.0", "-n", "kube-system")
    addons.kubectl("label", "configmap", "taken-over", "kubeup.dev/addon-")
    for name in ("metrics-server", "local-path"):
        inventory = addons.lab.inventory
        inventory.write_text(inventory.read_text().replace(f"{name}: on", f"{name}: off"))
    inventory.write_text(inventory.read_text().replace("manifests: [./own], ", ""))
    plan = addons.kubeup("plan", code=DIFFERENT).text
    assert "-metrics-server Deployment.apps kube-system metrics-server" in plan
    assert f"- file     {'/etc/kubernetes/addons/manifests.own.yaml'}" in plan
    addons.kubeup("up")
    assert {line.split()[0] for line in objects(addons)} == {"access", "coredns"}
    kinds = (
        "apiservices,deployments,namespaces,clusterroles,clusterrolebindings,storageclasses,customresourcedefinitions"
    )
    labelled = addons.kubectl("get", kinds, "-A", "-l", "kubeup.dev/addon notin (access, coredns)", "-o", "name")
    assert labelled.split() == []
    for gone in (
        "apiservice/v1beta1.metrics.k8s.io",
        "namespace/own",
        "crd/widgets.kubeup.dev",
        "storageclass/local-path",
    ):
        assert addons.kubectl("get", gone, "--ignore-not-found", "-o", "name") == "", gone
    assert addons.kubectl("get", "deployment", "theirs", "-n", "kube-system", "-o", "name").strip()
    assert addons.kubectl("get", "configmap", "taken-over", "-o", "name").strip()
    addons.kubectl("delete", "deployment/theirs", "-n", "kube-system")
    addons.kubectl("delete", "configmap/taken-over")
    for name in addons.names:
        assert addons.on(name, "ls /opt/kubeup/images").split() == ["coredns.tar", "pause.tar", "probe.tar"]
    assert addons.differences() == {}
