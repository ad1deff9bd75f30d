"""Ingress by Traefik behind the address that moves, and the tutorial docs/first-app.md, on one cluster.

All of it is slow: building Traefik takes seven minutes on two idle cores, which `make test` does not have.
"""

from __future__ import annotations

import os
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from kubeup.lab.hosts import container

from .conftest import NewLab
from .load import Client
from .nginx import import_nginx
from .support import CHECKOUT, Deployed, eventually, kubeup
from .test_outside import LONGEST_OUTAGE, OBJECTS, kinds
from .tutorial import follow

pytestmark = pytest.mark.slow

INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  tls: [{hosts: [site.example.com], secretName: web-tls}]
  rules:
  - host: site.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: inside, port: {number: 80}}}}]}
  - host: plain.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: inside, port: {number: 80}}}}]}
"""


CERTIFIED = """
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=site.example.com \\
    -addext subjectAltName=DNS:site.example.com -keyout key -out crt 2>/dev/null
kubectl create secret tls web-tls --dry-run=client -o yaml --cert crt --key key
"""


class WithIngress(Deployed):
    """A cluster with Traefik on two nodes, an address that moves between them, MetalLB and metrics-server."""

    vip: str
    environment: dict[str, str]
    """That of commands: kubectl, and the access to the cluster."""

    def holder(self) -> str:
        have = [name for name in self.names if f" {self.vip}/32 " in self.on(name, "ip -o -4 addr", check=False)]
        return have[0] if len(have) == 1 else ""


@pytest.fixture(scope="module")
def cluster(new_lab: NewLab, say: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> WithIngress:
    lab = new_lab(roles=["ai", "i", "i"])
    cluster = WithIngress(lab)
    network = lab.nodes[0].address.rpartition(".")[0]
    cluster.vip = f"{network}.240"
    addons = (
        f"addons:\n  metrics-server: on\n  metallb: {{addresses: [{network}.200-{network}.219]}}\n"
        f"  traefik: {{nodes: [{', '.join(cluster.workers)}]}}\n  ingress-vip: {{address: {cluster.vip}}}\n"
    )
    lab.inventory.write_text(f"{lab.inventory.read_text()}{addons}")
    kubeup("components", "fetch", inventory=lab.inventory, timeout=3000)
    cluster.story["up"] = cluster.kubeup("up")
    import_nginx(lab, say)
    folder = tmp_path_factory.mktemp("admin")
    kubectl = f"{container(cluster.master)}:/opt/kubeup/bin/kubectl"
    subprocess.run(["docker", "cp", "--follow-link", kubectl, str(folder)], check=True, capture_output=True)
    (folder / "config").write_text(cluster.kubeup("kubeconfig", "--print").out)
    (folder / "config").chmod(0o600)
    cluster.environment = {"PATH": f"{folder}:{os.environ['PATH']}", "KUBECONFIG": str(folder / "config")}
    return cluster


def answer(url: str, host: str, trust: ssl.SSLContext | None = None) -> httpx.Response:
    """What a URL answers to who asks for the name ``host``, by which the certificate is checked too."""
    with httpx.Client(verify=trust or ssl.create_default_context(), timeout=1, trust_env=False) as client:
        return client.get(url, headers={"Host": host}, extensions={"sni_hostname": host})


@pytest.fixture(scope="module")
def site(cluster: WithIngress, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ssl.SSLContext]:
    """A web site behind an Ingress, in a namespace of its own; what its certificate is checked by."""
    folder = tmp_path_factory.mktemp("tls")
    secret = subprocess.run(
        ["sh", "-ec", CERTIFIED],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, **cluster.environment},
    ).stdout
    web = "---".join(text for text in OBJECTS.split("---") if "name: door" not in text)
    cluster.kubectl("create", "namespace", "site")
    cluster.kubectl("apply", "-n", "site", "-f", "-", stdin=f"{web}\n---\n{secret}\n---\n{INGRESS}")
    cluster.kubectl("rollout", "status", "-n", "site", "daemonset/web", "--timeout=60s")
    trust = ssl.create_default_context(cafile=str(folder / "crt"))
    assert eventually(lambda: served(f"http://{cluster.vip}/", "plain.example.com"), 30)
    yield trust
    cluster.kubectl("delete", "namespace", "site")


def served(url: str, host: str, trust: ssl.SSLContext | None = None) -> bool:
    try:
        return answer(url, host, trust).status_code == 200
    except httpx.HTTPError:
        return False


def test_ingress_by_host_name_with_and_without_tls(cluster: WithIngress, site: ssl.SSLContext) -> None:
    for address in (cluster.vip, *(cluster.address(name) for name in cluster.workers)):
        for host in ("plain.example.com", "site.example.com"):
            assert answer(f"http://{address}/", host).text.startswith("web-"), (address, host)
        assert answer(f"https://{address}/", "site.example.com", site).text.startswith("web-"), address
        assert answer(f"http://{address}/", "other.example.com").status_code == 404
        with pytest.raises(httpx.ConnectError, match="certificate"):
            answer(f"https://{address}/", "other.example.com", site)  # one that Traefik made up
    with pytest.raises(httpx.ConnectError):
        answer(f"http://{cluster.address(cluster.master)}/", "plain.example.com")  # which is not one of its nodes
    shown = cluster.kubectl(
        "get", "-n", "site", "ingress", "web", "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}"
    )
    assert shown == cluster.vip
    assert cluster.differences() == {}


def test_the_address_moves_with_what_works(
    cluster: WithIngress, site: ssl.SSLContext, say: Callable[[str], None]
) -> None:
    """Clients that ask for the site by its name every 100 ms, while Traefik and then its node die."""

    def ask(number: int) -> str:
        got = answer(f"https://{cluster.vip}/", "site.example.com", site)
        return "" if got.status_code == 200 else str(got.status_code)

    with Client(ask) as client:

        def watch(what: str, seconds: float, change: Callable[[str], object], node: str) -> None:
            time.sleep(2)
            since, bad = client.answers.now(), len(client.answers.bad)
            change(node)
            time.sleep(seconds)
            outage, missed = client.answers.longest_outage(since), client.answers.bad[bad:]
            say(f"{what}: longest outage {outage:.1f} s, {len(missed)} requests failed: {kinds(missed)}")
            assert outage < LONGEST_OUTAGE, (what, missed)

        holder = str(eventually(cluster.holder, 30))
        watch("kill -9 of Traefik on the holder", 12, lambda node: cluster.on(node, "pkill -9 -x traefik"), holder)
        holder = str(eventually(cluster.holder, 30))
        watch("power-off of the holder", 30, cluster.lab.stop, holder)
        watch("it comes back", 20, cluster.lab.start, holder)
    cluster.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=90s")


def test_the_tutorial(cluster: WithIngress, tmp_path: Path, say: Callable[[str], None]) -> None:
    follow(CHECKOUT / "docs" / "first-app.md", tmp_path, cluster.environment, say)
