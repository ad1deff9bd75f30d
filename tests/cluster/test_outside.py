"""How clients outside reach what runs in a cluster: each type of Service, and addresses that survive their node.

Two clients' addresses are looked at: one that MetalLB gives to a LoadBalancer, and the one that keepalived keeps for
ingress. What listens on the ingress nodes' port 80 is a stand-in here, a pod on the host's network; see test_ingress.py
for Traefik.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import quote

import httpx
import pytest

from .conftest import NewLab
from .load import web_client
from .support import PROBE_IMAGE, Deployed, eventually

LONGEST_OUTAGE = 10.0
"""Seconds, from the issue that asked for this: the longest that an address may stay unanswered when its node dies."""

OBJECTS = f"""
# One on each node, so that every node can answer by itself.
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: web}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
      - name: web
        image: "{PROBE_IMAGE}"
        readinessProbe: {{httpGet: {{path: /ready, port: 8080}}, periodSeconds: 1}}
---
# In an ingress controller's place.
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: door}}
spec:
  selector: {{matchLabels: {{app: door}}}}
  template:
    metadata: {{labels: {{app: door}}}}
    spec:
      hostNetwork: true
      terminationGracePeriodSeconds: 1
      containers:
      - {{name: door, image: "{PROBE_IMAGE}", args: [--listen, ":80"], securityContext: {{runAsUser: 0}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: inside}}
spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: headless}}
spec: {{clusterIP: None, selector: {{app: web}}, ports: [{{port: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: elsewhere}}
spec: {{type: ExternalName, externalName: inside.default.svc.cluster.local}}
---
apiVersion: v1
kind: Service
metadata: {{name: port}}
spec: {{type: NodePort, selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
"""
BALANCED = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, annotations: {{metallb.io/loadBalancerIPs: "{address}"}}}}
spec:
  type: LoadBalancer
  externalTrafficPolicy: {policy}
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: 8080}}]
"""


class Outside(Deployed):
    """A cluster with a pool of addresses and one for ingress."""

    vip: str
    pool: list[str]

    def service(self, name: str) -> dict[str, object]:
        return dict(json.loads(self.kubectl("get", "service", name, "-o", "json")))

    def holder(self) -> str:
        """The host that has the address for ingress, "" when none or more than one."""
        have = [name for name in self.names if f" {self.vip}/32 " in self.on(name, "ip -o -4 addr", check=False)]
        return have[0] if len(have) == 1 else ""

    def announcer(self, service: str) -> str:
        """The node that answers for a Service's address, as MetalLB says."""
        items = json.loads(self.kubectl("-n", "metallb-system", "get", "servicel2statuses", "-o", "json"))["items"]
        found = [item["status"]["node"] for item in items if item.get("status", {}).get("serviceName") == service]
        return found[0] if len(found) == 1 else ""

    def balance(self, name: str, policy: str, address: str) -> str:
        """Make a LoadBalancer with this address; the node that answers for it."""
        text = BALANCED.format(name=name, policy=policy, address=address)
        self.kubectl("apply", "-f", "-", stdin=text)
        return str(eventually(lambda: self.announcer(name), 30))


@pytest.fixture(scope="module")
def outside(new_lab: NewLab) -> Outside:
    lab = new_lab(roles=["ai", "i", "i"])
    cluster = Outside(lab)
    network = lab.nodes[0].address.rpartition(".")[0]
    cluster.vip, cluster.pool = f"{network}.240", [f"{network}.{number}" for number in range(200, 220)]
    addons = (
        f"addons:\n  metallb: {{addresses: [{cluster.pool[0]}-{cluster.pool[-1]}]}}\n"
        f"  ingress-vip: {{address: {cluster.vip}, nodes: [{', '.join(cluster.workers)}]}}\n"
    )
    lab.inventory.write_text(f"{lab.inventory.read_text()}{addons}")
    cluster.story["up"] = cluster.kubeup("up")
    cluster.kubectl("apply", "-f", "-", stdin=OBJECTS)
    for name in ("web", "door"):
        cluster.kubectl("rollout", "status", f"daemonset/{name}", "--timeout=60s")
    return cluster


def answers(url: str) -> bool:
    """Whether a URL answers from this machine, which is no part of the cluster."""
    try:
        return httpx.get(url, timeout=1, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def test_each_service_type_answers(outside: Outside) -> None:
    """From every node, from a pod on every node, and from outside, where that type is for clients outside."""
    assert outside.balance("balanced", "Cluster", outside.pool[0]) in outside.names
    inside, port = (json.loads(outside.kubectl("get", "service", s, "-o", "json"))["spec"] for s in ("inside", "port"))
    ports = [f"http://{outside.address(name)}:{port['ports'][0]['nodePort']}/" for name in outside.names]
    pods = json.loads(outside.kubectl("get", "pods", "-l", "app=web", "-o", "json"))["items"]
    for_all = [f"http://{inside['clusterIP']}/", *ports, f"http://{outside.pool[0]}/"]
    by_name = [f"http://{name}/" for name in ("inside", "port", "balanced", "headless:8080", "elsewhere")]
    for name in outside.names:
        told = json.loads(outside.on(name, 'exec /opt/kubeup/bin/kubeup-probe get --until 5s "$@"', *for_all))
        assert [answer["status"] for answer in told] == [200] * len(for_all), (name, told)
    for pod in pods:
        for url in for_all + by_name:
            asked = f"http://{pod['status']['podIP']}:8080/get?timeout=5s&url={quote(url, safe='')}"
            answer = json.loads(json.loads(outside.on(outside.master, PROBE, asked))[0]["body"])
            assert answer["status"] == 200, (pod["spec"]["nodeName"], answer)
    for url in for_all[1:]:
        assert eventually(lambda url=url: answers(url), 10), url  # type: ignore[misc]
    assert not answers(for_all[0])  # which is for clients inside


PROBE = 'exec /opt/kubeup/bin/kubeup-probe get --timeout 8s "$@"'


def test_addresses_survive_the_death_of_their_node(outside: Outside, say: Callable[[str], None]) -> None:
    """One node holds both; what clients that ask every 100 ms see when its power fails, and when it comes back."""
    holder = str(eventually(outside.holder, 30))
    free = iter(outside.pool[1:])
    addresses = {policy: on_node(outside, policy, holder, free) for policy in ("Local", "Cluster")}
    addresses["ingress"] = outside.vip
    with ExitStack() as stack:
        clients = {
            what: stack.enter_context(web_client(f"http://{address}/", timeout=1))
            for what, address in addresses.items()
        }
        time.sleep(3)
        assert all(client.answers.good for client in clients.values())
        for what, seconds, change in (
            (f"power-off of {holder}, which holds all addresses", 25, outside.lab.stop),
            (f"{holder} comes back", 20, outside.lab.start),
        ):
            since = {name: (client.answers.now(), len(client.answers.bad)) for name, client in clients.items()}
            change(holder)
            time.sleep(seconds)
            for name, client in clients.items():
                began, bad = since[name]
                outage, missed = client.answers.longest_outage(began), client.answers.bad[bad:]
                say(f"{what}: {name}: longest outage {outage:.1f} s, {len(missed)} requests failed: {kinds(missed)}")
                assert outage < LONGEST_OUTAGE, (what, name, missed)
    assert outside.holder() not in ("", holder)  # it does not go back by itself


def on_node(outside: Outside, policy: str, node: str, free: Iterator[str]) -> str:
    """The address of a LoadBalancer for which this node answers: which does is decided by the address."""
    for address in free:
        if outside.balance(policy.lower(), policy, address) == node:
            return address
        outside.kubectl("delete", "service", policy.lower())
    raise AssertionError(f"no address of the pool is {node}'s")


def kinds(missed: list[tuple[float, str]]) -> str:
    """What came instead of answers, and how often."""
    count: dict[str, int] = {}
    for _, what in missed:
        count[what] = count.get(what, 0) + 1
    return ", ".join(f"{number} {what}" for what, number in count.items()) or "-"


def test_addons_go_without_a_trace(outside: Outside) -> None:
    """Taken out of the inventory, they are taken out of the cluster and from the hosts."""
    text = outside.lab.inventory.read_text()
    outside.lab.inventory.write_text(text[: text.index("addons:")])
    outside.kubeup("up")
    assert outside.differences() == {}
    kinds_left = outside.kubectl("get", "crd", "-o", "name")
    assert "metallb" not in kinds_left
    assert eventually(lambda: "metallb-system" not in outside.kubectl("get", "namespaces", "-o", "name"), 60)
    for name in outside.names:
        left = outside.on(
            name, "ls -d /opt/kubeup/metallb /etc/keepalived/keepalived.conf 2>/dev/null; ip -o -4 addr", check=False
        )
        assert "/opt/kubeup/metallb" not in left
        assert "keepalived" not in left
        assert outside.vip not in left
