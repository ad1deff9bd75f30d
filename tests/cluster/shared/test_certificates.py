"""Certificates of a cluster that serves: shown, renewed, and those that kubelets ask for."""

import json

from ..support import eventually
from .conftest import Shared


def serial(cluster: Shared, port: int) -> str:
    """The serial of the certificate that a server on the master shows."""
    script = f"echo | timeout 5 openssl s_client -connect 127.0.0.1:{port} 2>/dev/null | openssl x509 -noout -serial"
    return cluster.on(cluster.master, script)


def test_every_certificate_is_shown_and_a_renewed_one_restarts_nobody_who_reads_it_again(cluster: Shared) -> None:
    """What the exit code says, and who is restarted."""
    shown = cluster.kubeup("certs", "show", "--json").json()
    assert {"apiserver", "etcd/peer", "kubelet", "kubelet-server", "ca", "etcd-ca"} <= {str(c["name"]) for c in shown}
    assert all(c["days_left"] in (364, 365) for c in shown if not c["authority"])
    before, serials = cluster.starts(cluster.master), [serial(cluster, p) for p in (6443, 2379)]
    cluster.kubeup("certs", "renew", "apiserver", "etcd/server", "controller-manager")
    assert cluster.restarted(cluster.master, before) == set()
    after = eventually(lambda: [serial(cluster, p) for p in (6443, 2379)], seconds=1)
    assert all(old != new for old, new in zip(serials, after, strict=True))
    cluster.kubeup("certs", "renew", "kubelet-server")  # which the kubelet renews by itself, and so does not look at
    assert cluster.restarted(cluster.master, before) == {"kubelet.service"}
    assert cluster.differences() == {}


def ask_for_certificate(cluster: Shared, name: str, dns: str, address: str) -> None:
    """Ask for a serving certificate as the kubelet of the cluster's master."""
    script = """
cd /tmp
openssl req -new -newkey rsa:2048 -nodes -keyout k -subj "/O=system:nodes/CN=system:node:$2" \
    -addext "subjectAltName=DNS:$3,IP:$4" -out r 2>/dev/null
KUBECACHEDIR=/var/lib/kubeup/kubectl kubectl --kubeconfig /etc/kubernetes/kubelet.conf create -f - <<END
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


def test_a_kubelet_gets_certificates_for_its_own_names_alone(cluster: Shared) -> None:
    own = cluster.address(cluster.master)
    ask_for_certificate(cluster, "own", cluster.master, own)
    ask_for_certificate(cluster, "address", cluster.master, "10.9.9.9")
    ask_for_certificate(cluster, "name", "kubernetes.default.svc", own)

    def told(name: str) -> tuple[list[str], bool]:
        status = json.loads(cluster.kubectl("get", "csr", name, "-o", "json"))["status"]
        return [c["type"] for c in status.get("conditions", [])], "certificate" in status

    assert eventually(lambda: told("own") == (["Approved"], True)), told("own")
    assert eventually(lambda: told("address")[0]), "nobody has decided"
    assert [told("address"), told("name")] == [(["Denied"], False), (["Denied"], False)]
    cluster.kubectl("delete", "csr", "own", "address", "name")
