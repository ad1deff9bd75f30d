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
from .support import DIFFERENT, OK, PROBE_IMAGE, Deployed, eventually, starting

WEB = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: default}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      automountServiceAccountToken: false
      containers: [{{name: web, image: "{PROBE_IMAGE}", imagePullPolicy: IfNotPresent}}]
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

    def serial(self, name: str, port: int) -> str:
        """The serial of the certificate that a server on a host shows."""
        script = (
            f"echo | timeout 5 openssl s_client -connect 127.0.0.1:{port} 2>/dev/null | openssl x509 -noout -serial"
        )
        return self.on(name, script)

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


@pytest.fixture(scope="module")
def single(new_lab: NewLab) -> Certified:
    cluster = Certified(new_lab(roles=["ai"]))
    cluster.kubeup("up")
    return cluster


def test_every_certificate_is_shown_and_a_renewed_one_restarts_nobody_who_reads_it_again(single: Certified) -> None:
    """The one for `make test`: what the exit code says, and who is restarted."""
    shown = single.shown()
    assert {"apiserver", "etcd/peer", "kubelet", "kubelet-server", "ca", "etcd-ca"} <= {str(c["name"]) for c in shown}
    assert all(c["days_left"] in (364, 365) for c in shown if not c["authority"])
    before, serials = single.starts(single.master), [single.serial(single.master, p) for p in (6443, 2379)]
    single.kubeup("certs", "renew", "apiserver", "etcd/server", "controller-manager")
    assert single.restarted(single.master, before) == set()
    after = eventually(lambda: [single.serial(single.master, p) for p in (6443, 2379)], seconds=1)
    assert all(old != new for old, new in zip(serials, after, strict=True))
    single.kubeup("certs", "renew", "kubelet-server")  # which the kubelet renews by itself, and so does not look at
    assert single.restarted(single.master, before) == {"kubelet.service"}
    assert single.differences() == {}


def ask_for_certificate(cluster: Certified, name: str, dns: str, address: str) -> None:
    """Ask for a serving certificate as the kubelet of the cluster's master."""
    script = """
cd /tmp
openssl req -new -newkey rsa:2048 -nodes -keyout k -subj "/O=system:nodes/CN=system:node:$2" \
    -addext "subjectAltName=DNS:$3,IP:$4" -out r 2>/dev/null
kubectl --kubeconfig /etc/kubernetes/kubelet.conf create -f - <<END
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: $1}
spec:
  signerName: kubernetes.io/kubelet-serving
  usages: [digital signature, server auth]
  request: $(base64 -w0 <r)
END
rm k r
"""
    cluster.on(cluster.master, script, name, cluster.master, dns, address)


def test_a_kubelet_gets_certificates_for_its_own_names_alone(single: Certified) -> None:
    own = single.address(single.master)
    ask_for_certificate(single, "own", single.master, own)
    ask_for_certificate(single, "address", single.master, "10.9.9.9")
    ask_for_certificate(single, "name", "kubernetes.default.svc", own)

    def told(name: str) -> tuple[list[str], bool]:
        status = json.loads(single.kubectl("get", "csr", name, "-o", "json"))["status"]
        return [c["type"] for c in status.get("conditions", [])], "certificate" in status

    assert eventually(lambda: told("own") == (["Approved"], True)), told("own")
    assert eventually(lambda: told("address")[0]), "nobody has decided"
    assert [told("address"), told("name")] == [(["Denied"], False), (["Denied"], False)]


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
