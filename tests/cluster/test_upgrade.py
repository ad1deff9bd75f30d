"""To another version and back, under load: no request is lost, and nothing that goes wrong on one node spreads."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kubeup.components import COMPONENTS, Store, catalogue
from kubeup.components.store import copy_from

from .conftest import NewLab
from .load import Client, web_client
from .support import FAILED, OK, PROBE_IMAGE, Deployed, deployment, eventually, starting

OLD, NEW = "1.35.4", "1.36.3"
OLD_ETCD, NEW_ETCD = "3.6.7", "3.6.8"
NODE_PORT = 30080

# Graceful, as what is to lose no request has to be: a pod that is going still answers until nobody is sent to it.
POD = f"""
topologySpreadConstraints:
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector: {{matchLabels: {{app: web}}}}
containers:
- name: web
  image: {PROBE_IMAGE}
  readinessProbe: {{httpGet: {{path: /ready, port: 8080}}, periodSeconds: 1}}
  lifecycle: {{preStop: {{sleep: {{seconds: 5}}}}}}
"""

WEB = f"""
{deployment("web", 4, POD)}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: web}}
spec: {{minAvailable: 3, selector: {{matchLabels: {{app: web}}}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  type: NodePort
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: 8080, nodePort: {NODE_PORT}}}]
"""


class Served(Deployed):
    """A cluster in the older versions, with a Deployment that is asked all the time through every node."""

    def begin(self) -> None:
        self.kubeup("up")
        self.kubectl("apply", "-f", "-", stdin=WEB)
        self.kubectl("rollout", "status", "deployment/web", "--timeout=120s")

    @contextlib.contextmanager
    def asked(self, say: Callable[[str], None]) -> Iterator[list[Client]]:
        """Ask through the NodePort of every node, as long as this lasts; no request may be lost."""
        with contextlib.ExitStack() as stack:
            clients = [
                stack.enter_context(web_client(f"http://{self.address(name)}:{NODE_PORT}/", timeout=10))
                for name in self.names
            ]
            yield clients
            time.sleep(1)
        answered = sum(len(client.answers.good) for client in clients)
        lost = [what for client in clients for what in client.answers.bad]
        longest = max(client.answers.longest_outage() for client in clients)
        say(f"{answered} requests answered, {len(lost)} lost; the longest wait for an answer was {longest:.1f} s")
        assert lost == []
        assert answered > 20 * len(clients)

    def kubelets(self) -> dict[str, str]:
        """What each node says of its kubelet's version."""
        path = "{range .items[*]}{.metadata.name} {.status.nodeInfo.kubeletVersion}{'\\n'}{end}"
        lines = self.kubectl("get", "nodes", "-o", f"jsonpath={path}").splitlines()
        return {name: version.removeprefix("v") for name, version in (line.split() for line in lines)}

    def unschedulable(self, check: bool = True) -> str:
        only = ("--field-selector", "spec.unschedulable=true")
        return self.kubectl("get", "nodes", *only, "-o", "name", check=check).strip()

    def is_at(self, kubernetes: str, etcd: str) -> None:
        """All of the cluster runs these versions, nothing is half done, and the inventory says so."""
        assert set(self.kubelets().values()) == {kubernetes}
        assert f'"gitVersion": "v{kubernetes}"' in self.kubectl("get", "--raw", "/version")
        assert self.on(self.master, "/opt/kubeup/bin/etcd --version").splitlines()[0].split()[-1] == etcd
        assert self.unschedulable() == ""
        assert self.differences() == {}
        text = self.lab.inventory.read_text()
        assert f"kubernetes: {kubernetes}" in text
        assert f"etcd: {etcd}" in text

    def want_etcd(self, version: str) -> None:
        text = self.lab.inventory.read_text()
        self.lab.inventory.write_text(text.replace(f"etcd: {OLD_ETCD}", f"etcd: {version}"))


def _served(new_lab: NewLab, roles: str) -> Served:
    cluster = Served(new_lab(roles=roles.split(), settings={"versions": {"kubernetes": OLD, "etcd": OLD_ETCD}}))
    cluster.begin()
    return cluster


@pytest.fixture(scope="module")
def small(new_lab: NewLab) -> Served:
    """A master that runs pods too, and a worker."""
    return _served(new_lab, "ai i")


@pytest.fixture(scope="module")
def large(new_lab: NewLab) -> Served:
    """Three masters that run pods too, and two workers."""
    return _served(new_lab, "ai ai ai i i")


def test_an_upgrade_under_load(small: Served, say: Callable[[str], None]) -> None:
    small.want_etcd(NEW_ETCD)
    refused = small.kubeup("up", code=FAILED)
    assert f"runs etcd {OLD_ETCD}, and the inventory says {NEW_ETCD}" in refused.text
    with small.asked(say):
        done = small.kubeup("upgrade", "--to", NEW, timeout=600)
    assert f"kubernetes {OLD} -> {NEW}, etcd {OLD_ETCD} -> {NEW_ETCD}" in done.text
    assert "/var/lib/kubeup/snapshots/etcd-" in done.text
    small.is_at(NEW, NEW_ETCD)
    again = small.kubeup("upgrade")
    assert "Nothing had to be changed." in again.text
    assert "Drain" not in again.text


@pytest.mark.slow
def test_and_back_under_load(small: Served, say: Callable[[str], None]) -> None:
    with small.asked(say):
        small.kubeup("rollback", timeout=600)
    small.is_at(OLD, OLD_ETCD)
    assert "no earlier version to go back to" in small.kubeup("rollback", code=FAILED).text


@pytest.mark.slow
def test_a_program_that_does_not_start_stops_it_and_the_node_is_put_back(
    small: Served, say: Callable[[str], None], tmp_path: Path
) -> None:
    broken = _store_with(tmp_path, "kubelet", b"#!/bin/sh\necho this kubelet is broken >&2\nexit 1\n")
    with small.asked(say):
        done = small.kubeup("upgrade", "--to", NEW, code=FAILED, env={"KUBEUP_CACHE": str(broken)}, timeout=600)
    assert f"Stopped: {small.master} does not work as it should (node)." in done.text
    assert "this kubelet is broken" in done.text
    assert f"{small.master} was put back to kubernetes {OLD}" in done.text
    assert "run the same command again" in done.text
    assert set(small.kubelets().values()) == {OLD}
    assert small.unschedulable() == ""
    with small.asked(say):
        small.kubeup("upgrade", timeout=600)  # with the right one: the broken bytes do not stay in the way
    small.is_at(NEW, OLD_ETCD)


@pytest.mark.slow
def test_an_apiserver_that_does_not_start_is_put_back(
    small: Served, say: Callable[[str], None], tmp_path: Path
) -> None:
    small.kubeup("rollback", timeout=600)
    broken = _store_with(tmp_path, "kube-apiserver", b"#!/bin/sh\necho this apiserver is broken >&2\nexit 1\n")
    with small.asked(say):
        done = small.kubeup("upgrade", "--to", NEW, code=FAILED, env={"KUBEUP_CACHE": str(broken)}, timeout=600)
    assert f"Stopped: {small.master} does not work as it should (control plane)." in done.text
    assert f"{small.master} was put back to kubernetes {OLD}" in done.text
    assert f'"gitVersion": "v{OLD}"' in small.kubectl("get", "--raw", "/version")
    small.kubeup("rollback", timeout=600)
    small.is_at(OLD, OLD_ETCD)


@pytest.mark.slow
def test_what_a_person_has_cordoned_stays_so(small: Served) -> None:
    worker = small.workers[0]
    small.kubectl("cordon", worker)
    try:
        small.kubeup("upgrade", "--to", NEW, timeout=600)
        assert small.unschedulable() == f"node/{worker}"
    finally:
        small.kubectl("uncordon", worker)
    small.is_at(NEW, OLD_ETCD)


@pytest.mark.slow
def test_three_masters_there_and_back_under_load(large: Served, say: Callable[[str], None]) -> None:
    large.want_etcd(NEW_ETCD)
    with large.asked(say):
        done = large.kubeup("upgrade", "--to", NEW, "--canary", large.workers[-1], timeout=900)
    lines = [line.split()[2:] for line in done.err.splitlines() if " changed" in line]
    nodes = [words[1] for words in lines if words[0] == "Node"]
    controls = [words[2] for words in lines if words[:2] == ["Control", "plane"]]
    assert controls == large.names[:3]
    assert nodes == [large.names[4], *large.names[:4]]
    large.is_at(NEW, NEW_ETCD)
    with large.asked(say):
        large.kubeup("rollback", timeout=900)
    large.is_at(OLD, OLD_ETCD)


@pytest.mark.slow
def test_killed_at_every_node_it_goes_on(large: Served, say: Callable[[str], None]) -> None:
    """Killed when a node is being drained, and when it is being changed: the same command finishes."""
    with large.asked(say):
        for name in large.names:
            running = starting("upgrade", "--to", NEW, inventory=large.lab.inventory)

            def drained(name: str = name) -> bool:
                return large.unschedulable(check=False) == f"node/{name}"  # the apiserver there stops meanwhile, too

            found = eventually(drained, seconds=300, every=0.2)
            assert found, f"{name} was never drained"
            killed = running.after(0).signal(signal.SIGKILL)
            assert killed.code == -signal.SIGKILL, killed
        large.kubeup("upgrade", "--to", NEW, timeout=900)
    assert set(large.kubelets().values()) == {NEW}
    assert large.unschedulable() == ""
    assert large.differences() == {}


@pytest.mark.slow
@pytest.mark.parametrize("part", [0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95])
def test_killed_at_any_moment_it_goes_on(small: Served, part: float) -> None:
    versions = {NEW: OLD, OLD: NEW}[small.kubelets()[small.master]]
    command = ["upgrade", "--to", NEW] if versions == NEW else ["rollback"]
    whole = 80.0  # seconds, about
    running = starting(*command, inventory=small.lab.inventory).after(part * whole)
    killed = running.signal(signal.SIGKILL)
    assert killed.code in (-signal.SIGKILL, OK), killed
    if killed.code != OK:
        small.kubeup(*command, timeout=600)
    assert set(small.kubelets().values()) == {versions}
    assert small.unschedulable() == ""
    assert small.differences() == {}


@pytest.mark.slow
def test_a_host_of_etcd_alone_is_visited(new_lab: NewLab) -> None:
    """There and back, etcd with nothing else, and with Kubernetes; each member before the masters that need it."""
    cluster = Served(new_lab(roles=["etcd", "ai"], settings={"versions": {"kubernetes": OLD, "etcd": OLD_ETCD}}))
    cluster.begin()
    host = cluster.names[0]

    def runs() -> tuple[str, str]:
        """etcd's version by its program, and by what it says itself."""
        program = cluster.on(host, "/opt/kubeup/bin/etcd --version").splitlines()[0].split()[-1]
        (member,) = cluster.kubeup("etcd", "status", "--json").json()["members"]
        return program, member["version"]

    cluster.want_etcd(NEW_ETCD)
    assert f"etcd {OLD_ETCD} -> {NEW_ETCD}" in cluster.kubeup("upgrade", timeout=600).text
    assert runs() == (NEW_ETCD, NEW_ETCD)
    assert set(cluster.kubelets().values()) == {OLD}
    assert cluster.differences() == {}
    cluster.kubeup("rollback", timeout=600)
    assert runs() == (OLD_ETCD, OLD_ETCD)
    cluster.want_etcd(NEW_ETCD)
    done = cluster.kubeup("upgrade", "--to", NEW, timeout=600)
    lines = [line.split()[2:] for line in done.err.splitlines() if " changed" in line]
    assert ["etcd", host] in [words[:2] for words in lines]
    assert runs() == (NEW_ETCD, NEW_ETCD)
    assert set(cluster.kubelets().values()) == {NEW}
    assert cluster.differences() == {}


def _store_with(folder: Path, program: str, content: bytes) -> Path:
    """A component cache like the real one, in which a program of the new Kubernetes is another file."""
    real, cache = Store(), folder / "cache"
    for kind in ("blobs", "index"):
        for path in (real.root / kind).rglob("*"):
            if path.is_file():
                target = cache / path.relative_to(real.root)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.symlink(path, target)
    bad = folder / program
    bad.write_bytes(content)
    component = catalogue.get("kubernetes", NEW)
    index = cache / "index" / "kubernetes" / NEW / "amd64.json"
    text = index.read_text()
    index.unlink()
    store = Store(cache)
    with store.providing("kubernetes", NEW, "amd64"):
        store.put("kubernetes", NEW, "amd64", "broken", {program: copy_from(bad)}, component.packing)
    merged = json.loads(text)
    merged["artifacts"][program] = json.loads(index.read_text())["artifacts"][program]
    index.write_text(json.dumps(merged))
    return cache


def test_the_catalogue_has_what_is_tested() -> None:
    assert {("kubernetes", OLD), ("kubernetes", NEW), ("etcd", OLD_ETCD)} <= {(c.name, c.version) for c in COMPONENTS}
