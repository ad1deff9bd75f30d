"""Addons come with the inventory and go with it: metrics-server, local-path, and objects of the user's own."""

import contextlib
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


def objects(cluster: Deployed) -> set[str]:
    """All that is noted of addons in the cluster."""
    return set(cluster.kubectl("-n", "kube-system", "get", "configmap", "kubeup-addons",
                               "-o", "jsonpath={.data.objects}").splitlines())  # fmt: skip


def addons_of(cluster: Deployed) -> set[str]:
    """The addons that the cluster has objects of."""
    return {line.split()[0] for line in objects(cluster)}


@contextlib.contextmanager
def inventory_with(cluster: Shared, addons: str) -> Iterator[Path]:
    """The inventory with these addons; as it was before, and so the cluster, when that is over."""
    inventory: Path = cluster.lab.inventory
    before = inventory.read_text()
    inventory.write_text(f"addons: {addons}\n{before}")
    try:
        yield inventory
    finally:
        inventory.write_text(before)
        cluster.kubeup("up")


def test_objects_of_ones_own_come_and_go(cluster: Shared) -> None:
    folder = cluster.lab.inventory.parent / "own"
    folder.mkdir(exist_ok=True)
    (folder / "objects.yaml").write_text(OWN)
    with inventory_with(cluster, "{manifests: [./own]}"):
        cluster.kubeup("up")
        widget = json.loads(cluster.kubectl("get", "widget", "first", "-n", "own", "-o", "json"))
        assert widget["spec"] == {"size": 3}
        assert widget["metadata"]["labels"] == {"kubeup.dev/addon": "manifests.own"}
        assert addons_of(cluster) == {"access", "coredns", "manifests.own"}
        rows = {row["name"]: row for row in cluster.kubeup("addon", "list", "--json").json()}
        assert {name for name, row in rows.items() if row["on"]} == {"coredns", "manifests.own"}
        assert cluster.differences() == {}
        # Somebody's own object of a kind that the addon has too, and one that somebody has taken over.
        cluster.kubectl("create", "configmap", "theirs")
        cluster.kubectl("label", "configmap", "taken-over", "kubeup.dev/addon-")
    assert addons_of(cluster) == {"access", "coredns"}
    for gone in ("namespace/own", "crd/widgets.kubeup.dev"):
        assert cluster.kubectl("get", gone, "--ignore-not-found", "-o", "name") == "", gone
    cluster.kubectl("delete", "configmap", "theirs", "taken-over")  # they are both there
    assert cluster.differences() == {}


@pytest.fixture(scope="module")
def addons(cluster: Shared, say: Callable[[str], None]) -> Iterator[Shared]:
    """The cluster with addons; all of them are turned off again."""
    with inventory_with(cluster, "{local-path: on}"):
        cluster.story["enable"] = cluster.kubeup("addon", "enable", "metrics-server", timeout=400)
        say(f"addons are there after {cluster.story['enable'].seconds:.0f} s")
        yield cluster


@pytest.mark.slow
def test_they_are_listed_as_ready(addons: Shared) -> None:
    assert addons.lab.inventory.read_text().startswith("addons: {local-path: on, metrics-server: on}\n")
    rows = {row["name"]: row for row in addons.kubeup("addon", "list", "--json").json()}
    assert {name for name, row in rows.items() if row["on"]} == {"coredns", "local-path", "metrics-server"}
    assert rows["metrics-server"]["state"] == "ready (metrics-server 1/1)"
    assert rows["metrics-server"]["version"] == "0.9.0"
    assert rows["local-path"]["state"] == "ready (local-path-provisioner 1/1)"
    assert addons.differences() == {}


@pytest.mark.slow
def test_what_nodes_and_pods_use_is_known(addons: Shared) -> None:
    def known() -> set[str]:
        return {line.split()[0] for line in addons.kubectl("top", "nodes", "--no-headers", check=False).splitlines()}

    assert eventually(lambda: known() == set(addons.names), 60), known()
    assert "coredns-" in addons.kubectl("top", "pods", "-n", "kube-system")


@pytest.mark.slow
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


@pytest.mark.slow
def test_what_is_turned_off_is_taken_out_of_the_cluster(addons: Shared) -> None:
    assert addons_of(addons) == {"access", "coredns", "local-path", "metrics-server"}
    addons.kubectl("create", "deployment", "theirs", "--image=kubeup.local/probe:1.1.0", "-n", "kube-system")
    inventory = addons.lab.inventory
    inventory.write_text(inventory.read_text().replace("local-path: on", "local-path: off"))
    plan = addons.kubeup("plan", code=DIFFERENT).text
    assert "-local-path Deployment.apps local-path-storage local-path-provisioner" in plan
    addons.kubeup("addon", "disable", "metrics-server")
    assert addons_of(addons) == {"access", "coredns"}
    kinds = "apiservices,deployments,namespaces,clusterroles,clusterrolebindings,storageclasses"
    labelled = addons.kubectl("get", kinds, "-A", "-l", "kubeup.dev/addon,kubeup.dev/addon notin (access, coredns)",
                              "-o", "name")  # fmt: skip
    assert labelled.split() == []
    for gone in ("apiservice/v1beta1.metrics.k8s.io", "namespace/local-path-storage", "storageclass/local-path"):
        assert addons.kubectl("get", gone, "--ignore-not-found", "-o", "name") == "", gone
    addons.kubectl("delete", "deployment/theirs", "-n", "kube-system")  # which is there
    for name in addons.names:
        assert addons.on(name, "ls /opt/kubeup/images").split() == ["coredns.tar", "pause.tar", "probe.tar"]
    assert addons.differences() == {}
