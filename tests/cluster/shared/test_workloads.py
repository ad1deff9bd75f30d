"""What a user runs on the cluster: pods, Services, NodePorts."""

import json
import urllib.request
from collections.abc import Iterator

import pytest

from ..support import PROBE_IMAGE, deployment, eventually
from .conftest import Shared

POD = f"""
terminationGracePeriodSeconds: 1
containers:
- name: shop
  image: {PROBE_IMAGE}
  args: [--listen, ":8080"]
  env: [{{name: POD_NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}]
  readinessProbe: {{httpGet: {{path: /ready, port: 8080}}, periodSeconds: 1}}
topologySpreadConstraints:
- {{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule,
   labelSelector: {{matchLabels: {{app: shop}}}}}}
"""

SHOP = f"""
{deployment("shop", 3, POD)}
---
apiVersion: v1
kind: Service
metadata: {{name: shop}}
spec:
  type: NodePort
  selector: {{app: shop}}
  ports: [{{port: 80, targetPort: 8080}}]
"""


@pytest.fixture(scope="module")
def shop(cluster: Shared) -> Iterator[dict[str, str]]:
    """A user's own Deployment and Service: cluster IP, node port, and the pods' names, comma-separated."""
    cluster.kubectl("apply", "-f", "-", stdin=SHOP)
    cluster.kubectl("rollout", "status", "deployment/shop", "--timeout=60s")
    service = json.loads(cluster.kubectl("get", "service", "shop", "-o", "json"))["spec"]
    pods = json.loads(cluster.kubectl("get", "pods", "-l", "app=shop", "-o", "json"))["items"]
    yield {
        "ip": service["clusterIP"],
        "port": str(service["ports"][0]["nodePort"]),
        "pods": ",".join(sorted(pod["metadata"]["name"] for pod in pods)),
        "nodes": ",".join(sorted(pod["spec"]["nodeName"] for pod in pods)),
    }
    cluster.kubectl("delete", "deployment/shop", "service/shop")


def test_pods_run_on_every_node(cluster: Shared, shop: dict[str, str]) -> None:
    assert shop["nodes"].split(",") == cluster.names


def test_service_answers_on_every_node(cluster: Shared, shop: dict[str, str]) -> None:
    for name in cluster.names:
        answered = {cluster.on(name, 'curl -sS --max-time 5 "http://$1/"', shop["ip"]).strip() for _ in range(12)}
        assert answered <= set(shop["pods"].split(","))
        assert len(answered) > 1, f"always the same pod answers {name}"


def test_node_port_answers_on_every_node_from_outside(cluster: Shared, shop: dict[str, str]) -> None:
    for name in cluster.names:
        with urllib.request.urlopen(f"http://{cluster.address(name)}:{shop['port']}/", timeout=5) as answer:
            assert answer.read().decode().strip() in shop["pods"]


def test_name_resolves_in_a_pod(cluster: Shared, shop: dict[str, str]) -> None:
    pod = shop["pods"].split(",")[0]
    asked = ("exec", pod, "--", "/kubeup-probe", "get", "http://shop.default.svc.cluster.local/")
    answer = json.loads(cluster.kubectl(*asked))[0]
    assert answer.get("body", "").strip() in shop["pods"], answer


def test_logs_and_exec_reach_pods_of_all_nodes(cluster: Shared, shop: dict[str, str]) -> None:
    for pod in shop["pods"].split(","):
        cluster.kubectl("logs", pod)
        assert cluster.kubectl("exec", pod, "--", "/kubeup-probe", "get", "http://localhost:8080/").strip()


def test_killed_pod_is_replaced(cluster: Shared, shop: dict[str, str]) -> None:
    victim = shop["pods"].split(",")[-1]
    cluster.kubectl("delete", "pod", victim, "--wait=false")

    def ready() -> list[str]:
        pods = json.loads(cluster.kubectl("get", "pods", "-l", "app=shop", "-o", "json"))["items"]
        return [
            pod["metadata"]["name"]
            for pod in pods
            if all(status["ready"] for status in pod["status"].get("containerStatuses", [{"ready": False}]))
            and "deletionTimestamp" not in pod["metadata"]
        ]

    assert eventually(lambda: len(ready()) == 3 and victim not in ready()), ready()
