"""Certificates on real hosts: shown, renewed, expired and brought back, their authorities replaced under load."""

import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from .conftest import NewLab
from .load import Client, Ledger, api_client, web_client
from .support import DIFFERENT, OK, PROBE_IMAGE, Deployed, deployment, eventually, starting

POD = f"""
automountServiceAccountToken: false
containers: [{{name: web, image: "{PROBE_IMAGE}", imagePullPolicy: IfNotPresent}}]
"""

WEB = f"""
{deployment("web", 2, POD)}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: default}}
spec:
  type: NodePort
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: 8080, nodePort: 30080}}]
"""


class Certified(Deployed):
    """A cluster whose certificates are looked at."""

    whole: float | None = None
    """How long it takes to replace all of its authorities, in seconds."""

    def shown(self, code: int | None = OK) -> list[dict[str, object]]:
        found: list[dict[str, object]] = self.kubeup("certs", "show", "--json", code=code).json()
        return found

    def leaves(self) -> list[dict[str, object]]:
        """Those that are not authorities'."""
        return [c for c in self.shown(code=None) if not c["authority"]]

    def generations(self) -> set[int]:
        """How many decisions about its authorities each master knows of."""
        trust = "/etc/kubernetes/pki/trust.json"
        return {int(json.loads(self.on(name, f"cat {trust}"))["generation"]) for name in self.names}

    def authorities(self) -> set[str]:
        """What `certs show` calls the authorities that are trusted anywhere."""
        return {str(c["issuer"]) for c in self.shown(code=None) if c["authority"]}


def replace_setting(cluster: Certified, old: str, new: str) -> None:
    inventory = Path(cluster.lab.inventory)
    text = inventory.read_text()
    assert old in text
    inventory.write_text(text.replace(old, new))


@pytest.mark.slow
def test_a_cluster_whose_certificates_have_all_expired_is_brought_back(new_lab: NewLab) -> None:
    lab = new_lab(roles=["ai", "ai", "ai"], settings={"certificates": {"lifetime": "4m"}})
    cluster = Certified(lab)
    cluster.kubeup("up", timeout=600)
    cluster.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    # Kubelets renew theirs, as long as there is an API that signs.
    own = "kubelet-server-current.pem"
    assert eventually(lambda: {c["host"] for c in cluster.leaves() if c["name"] == own} == set(cluster.names), 240, 5)
    assert eventually(lambda: all(c["days_left"] == -1 for c in cluster.leaves()), 400, 5), cluster.leaves()
    for name in cluster.names:  # so that nothing lives on by a connection from before
        cluster.on(name, "systemctl restart --no-block etcd kube-apiserver kubelet")
    cluster.shown(code=DIFFERENT)
    assert cluster.kubectl("get", "configmap", "kept", check=False) == ""
    replace_setting(cluster, "lifetime: 4m", "lifetime: 365d")
    cluster.kubeup("certs", "renew", timeout=600)
    assert "kept" in cluster.kubectl("get", "configmap", "kept", "-o", "name")
    cluster.shown(code=OK)
    cluster.kubeup("validate")


@pytest.fixture(scope="module")
def three(new_lab: NewLab) -> Certified:
    cluster = Certified(new_lab(roles=["ai", "ai", "ai"]))
    cluster.kubeup("up", timeout=600)
    return cluster


def reached(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@contextlib.contextmanager
def serving(cluster: Certified) -> Iterator[Client]:
    cluster.kubectl("apply", "-f", "-", stdin=WEB)
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    url = f"http://{cluster.address(cluster.names[1])}:30080/"
    assert eventually(lambda: reached(url)), f"{url} does not answer"
    with web_client(url, timeout=10) as client:
        yield client


@pytest.mark.slow
def test_authorities_are_replaced_under_load(three: Certified) -> None:
    old = three.kubeup("kubeconfig", "--print").out
    with serving(three) as web, api_client(old) as api, Ledger(api, "rotated") as ledger:
        pods = three.kubectl("get", "pods", "-l", "app=web", "-o", "name")
        three.kubeup("certs", "rotate-ca", "all", timeout=800)
        print(f"\nweb: {web.answers.told()}\nAPI: {ledger.answers.told()}")
    assert not web.answers.bad, web.answers.told()
    assert ledger.lost == []
    assert three.authorities() == {
        "etcd-ca",
        "front-proxy-ca",
        "kubernetes-ca",
        "kubernetes-ca (former)",
    }
    assert three.kubectl("get", "pods", "-l", "app=web", "-o", "name") == pods
    with api_client(old) as api:  # what those outside have is good until a person says otherwise
        assert api.get("/version").status_code == 200
    with serving(three) as web:
        three.kubeup("certs", "rotate-ca", "--finish", timeout=600)
    assert not web.answers.bad, web.answers.told()
    assert three.authorities() == {"etcd-ca", "front-proxy-ca", "kubernetes-ca"}
    three.kubeup("validate")
    with api_client(old) as api, pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        api.get("/version")
    with api_client(three.kubeup("kubeconfig", "--print").out) as api:
        assert api.get("/version").status_code == 200


# Ten moments, as parts of the time that the whole takes. In each row, one run is killed after the other; each goes on
# where the one before it was.
KILLED = [(0.04, 0.35, 0.3), (0.12, 0.22, 0.3, 0.25), (0.55, 0.2, 0.15)]


@pytest.mark.slow
@pytest.mark.parametrize("parts", KILLED)
def test_rotation_goes_on_where_it_was_killed(parts: tuple[float, ...], three: Certified) -> None:
    command = ("certs", "rotate-ca", "all", "--finish", "--force")
    if three.whole is None:
        three.whole = three.kubeup(*command, timeout=900).seconds
    for part in parts:
        killed = starting(*command, inventory=three.lab.inventory).after(three.whole * part).signal(signal.SIGKILL)
        assert killed.code in (-signal.SIGKILL, OK), killed
        if part in (0.22, 0.55):  # brings the stage that was decided last, and decides nothing
            decided = max(three.generations())
            three.kubeup("up", timeout=600)
            assert three.generations() == {decided}
    three.kubeup(*command, timeout=900)  # ends with validation
    assert three.authorities() == {"etcd-ca", "front-proxy-ca", "kubernetes-ca"}
    assert three.differences() == {}
