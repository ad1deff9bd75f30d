"""The cluster's own registry, and charts: of a folder, and from that registry."""

from collections.abc import Callable

import pytest

from .conftest import NewLab
from .nginx import IMAGE, import_nginx
from .support import Deployed, eventually

pytestmark = pytest.mark.slow

CHART = """\
apiVersion: v2
name: shop
version: 1.2.0
"""
# An image that only the cluster's registry has, as many pods as the values say, and what the API can do.
TEMPLATE = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}, labels: {apps: "{{ .Capabilities.APIVersions.Has "apps/v1" }}"}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: shop
        image: registry.local/shop/web:1.0
        readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}
"""
FOLDER = "{name: shop, chart: ./shop, namespace: shop, values: {replicas: %d}}"
FROM_REGISTRY = "{name: far, chart: 'oci://registry.local/charts/shop', version: 1.2.0, namespace: far}"


class WithRegistry(Deployed):
    """A master, and a worker with the registry."""

    def with_charts(self, *entries: str) -> None:
        """Bring the cluster to where it has these charts, and the registry."""
        before = self.lab.inventory.read_text().rpartition("addons:")[0] or self.lab.inventory.read_text()
        charts = f", helm: [{', '.join(entries)}]" if entries else ""
        self.lab.inventory.write_text(f"{before.rstrip()}\naddons: {{registry: {{node: {self.workers[0]}}}{charts}}}\n")
        self.kubeup("up")
        assert self.differences() == {}

    @property
    def registry(self) -> str:
        return f"{self.address(self.workers[0])}:5000"

    def pods(self, namespace: str) -> list[str]:
        """The nodes of a namespace's pods that are ready."""
        path = "{range .items[?(@.status.containerStatuses[0].ready==true)]}{.spec.nodeName} {end}"
        return self.kubectl("get", "pods", "-n", namespace, "-o", f"jsonpath={path}").split()


@pytest.fixture(scope="module")
def cluster(new_lab: NewLab, say: Callable[[str], None]) -> WithRegistry:
    cluster = WithRegistry(new_lab(roles=["ai", "i"]))
    shop = cluster.lab.inventory.parent / "shop"
    (shop / "templates").mkdir(parents=True)
    (shop / "Chart.yaml").write_text(CHART)
    (shop / "values.yaml").write_text("replicas: 1\n")
    (shop / "templates" / "shop.yaml").write_text(TEMPLATE)
    cluster.with_charts()
    # Not an image of kubeup's own: what the kubelet has once pulled under another name it would want to pull again.
    import_nginx(cluster.lab, say)
    return cluster


def test_images_are_pushed_with_the_admins_certificate_and_by_nobody_without(cluster: WithRegistry) -> None:
    pki = "/etc/kubernetes/pki"
    known = f"--tlscacert {pki}/ca.crt --tlscert {pki}/admin.crt --tlskey {pki}/admin.key"
    to = f"{cluster.registry}/shop/web:1.0"
    cluster.on(cluster.master, f"ctr -n k8s.io images tag docker.io/library/{IMAGE} {to}")
    refused = f"ctr -n k8s.io images push --local --tlscacert {pki}/ca.crt {to} 2>&1"
    assert "certificate required" in cluster.on(cluster.master, refused, check=False)
    cluster.on(cluster.master, f"ctr -n k8s.io images push --local {known} {to}; ctr -n k8s.io images rm {to}")
    everybody = f"curl -sS --cacert {pki}/ca.crt https://{cluster.registry}/v2/_catalog 2>&1"
    assert "shop" not in cluster.on(cluster.master, everybody, check=False)  # curl's words for it vary
    admin = f"curl -sSf --cacert {pki}/ca.crt --cert {pki}/admin.crt --key {pki}/admin.key"
    assert (
        cluster.on(cluster.master, f"{admin} https://{cluster.registry}/v2/_catalog") == '{"repositories":["shop/web"]}'
    )


def test_a_chart_of_a_folder_runs_what_the_registry_has(cluster: WithRegistry) -> None:
    cluster.with_charts(FOLDER % 2)
    assert set(cluster.pods("shop")) == set(cluster.names)
    assert (
        cluster.kubectl("get", "deployment", "shop", "-n", "shop", "-o", "jsonpath={.metadata.labels.apps}") == "true"
    )
    rows = {row["name"]: row for row in cluster.kubeup("addon", "list", "--json").json()}
    assert (rows["helm.shop"]["state"], rows["helm.shop"]["version"]) == ("ready (shop 2/2)", "1.2.0")
    cluster.with_charts(FOLDER % 1)
    assert eventually(lambda: len(cluster.pods("shop")) == 1, 30)


def test_a_chart_comes_from_the_registry(cluster: WithRegistry) -> None:
    pki, folder = "/etc/kubernetes/pki", "/run/test-chart"
    known = f"--ca-file {pki}/ca.crt --cert-file {pki}/admin.crt --key-file {pki}/admin.key"
    cluster.on(
        cluster.master,
        f"export HOME={folder}; mkdir {folder}; cd {folder}; cp -r /etc/kubernetes/addons/helm.shop/chart shop; "
        f"helm package shop >&2; helm push {known} shop-1.2.0.tgz oci://{cluster.registry}/charts; rm -rf {folder}",
    )
    cluster.with_charts(FOLDER % 1, FROM_REGISTRY)
    assert len(cluster.pods("far")) == 1


def test_charts_go_and_leave_nothing(cluster: WithRegistry) -> None:
    cluster.with_charts()
    for name in ("shop", "far"):
        assert eventually(lambda name=name: not cluster.pods(name), 60), name
        assert cluster.kubectl("get", "deployments", "-n", name, "-o", "name") == "", name
    assert "helm" not in cluster.on(cluster.master, "ls /opt/kubeup/bin /etc/kubernetes/addons")
