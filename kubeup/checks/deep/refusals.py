"""The doors that are closed: who has no certificate gets nothing, and who has one no more than is his."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kubeup.checks.deep.ground import Ground, last_line
from kubeup.checks.places import KUBELET_PORT, PROBE
from kubeup.checks.validation import CheckFailed
from kubeup.cluster import Cluster, Node

CA = "/etc/kubernetes/pki/ca.crt"
ETCD_CA = "/etc/kubernetes/pki/etcd-ca.crt"
EXISTING_ETCD_CA = "/etc/kubernetes/pki/existing-etcd-ca.crt"
"""On masters, of an etcd that is not kubeup's."""
PATHS = ("/api/v1/namespaces/kube-system/secrets", "/version", "/healthz", "/metrics")
"""Of kube-apiserver: what nobody may read, and what many installations tell everybody."""
PLAIN = {8080: "kube-apiserver without TLS", 10255: "the kubelet's port without TLS"}
"""Ports of old, on which everything was answered to everybody."""


def _urls(cluster: Cluster, node: Node) -> list[str]:
    kubelet = f"https://{node.address}:{KUBELET_PORT}/pods"
    if not node.is_master:
        return [kubelet]
    return [kubelet, *(f"https://{node.address}:{cluster.api_port}{path}" for path in PATHS)]


def answered(answers: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with what was answered to one who has shown no certificate: 401 is right."""
    wrong = []
    for answer in answers:
        if answer["status"] == 403:
            wrong.append(f"{answer['url']} lets the anonymous in, though it grants them nothing there (403)")
        elif answer["status"]:
            if answer["status"] != 401:
                wrong.append(f"{answer['url']} answers {answer['status']} to the anonymous")
        else:
            wrong.append(f"{answer['url']} gave no answer: {answer['error']}")
    return wrong


def anonymous(ground: Ground) -> str:
    """kube-apiserver and the kubelets refuse who shows no certificate, and have no door without TLS."""

    def ask(node: Node) -> list[str]:
        script = f'{PROBE} get --timeout 5s --cacert {CA} "$@"; true'
        output = ground.session.shell(node.name, script, *_urls(ground.cluster, node), timeout=20)
        plain = [f"{node.address}:{port}" for port in PLAIN if port != ground.cluster.api_port]
        doors = ground.session.shell(node.name, f'{PROBE} connect --timeout 2s "$@"; true', *plain, timeout=20)
        try:
            wrong = answered(json.loads(output.stdout))
            opened = [answer["address"] for answer in json.loads(doors.stdout) if not answer["error"]]
        except ValueError:
            return [f"kubeup-probe did not run: {last_line(output.stderr or doors.stderr)}"]
        return [*wrong, *(f"{at} is open ({PLAIN[int(at.rpartition(':')[2])]})" for at in opened)]

    outcome = ground.session.side_by_side(
        [node.name for node in ground.cluster.nodes], lambda name: ask(ground.cluster.node(name))
    )
    wrong = []
    for name, found in outcome.items():
        wrong += [f"{name}: {found}"] if isinstance(found, Exception) else [f"{name}: {one}" for one in found]
    if wrong:
        raise CheckFailed("; ".join(wrong))
    masters = len(ground.cluster.masters)
    return (
        f"{masters} apiserver{'s' if masters > 1 else ''} and {len(outcome)} kubelets say 401 to who has no certificate"
    )


# What each is asked, and must be forbidden. (Changes are a dry run: were they allowed, they would still not be made.)
_FORBIDDEN = """
refused() {
    what=$1; shift
    if said=$(kubectl "$@" 2>&1 >/dev/null); then echo "$what: was allowed"
    else case $said in *Forbidden*|*forbidden*) ;; *) echo "$what: $(printf '%s' "$said" | tail -n 1)" ;; esac; fi
}
pods="--as=system:serviceaccount:$1:default"
node="--as=system:node:$2 --as-group=system:nodes"
refused "a pod's service account reads Secrets" $pods -n kube-system get secrets
refused "a pod's service account makes itself an administrator" $pods create clusterrolebinding "$1" \\
    --clusterrole=cluster-admin --serviceaccount="$1:default" --dry-run=server
refused "a kubelet reads all Secrets" $node -n kube-system get secrets
refused "a kubelet gives its node a label that is not its own to give" $node label node "$2" \\
    node-restriction.kubernetes.io/kubeup=yes --dry-run=server
"""


def unauthorized(ground: Ground) -> str:
    """Who is known to the API, and may do little, is forbidden the rest: pods' service accounts, and kubelets."""
    wrong = ground.sure(_FORBIDDEN, ground.namespace, ground.cluster.nodes[0].name, timeout=40).splitlines()
    if wrong:
        raise CheckFailed("; ".join(wrong))
    return "service accounts and kubelets are forbidden what is not theirs"


REFUSED = ("remote error: tls:", "EOF", "connection reset", "malformed HTTP response")
"""How a program words it that the other side has refused TLS, or has shut the door on who does not speak it."""


def etcd_answers(answers: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with what etcd answered to one without a certificate: any answer, or that it is not there."""
    wrong = []
    for answer in answers:
        if answer["status"] == 400 and "HTTPS" in answer["body"]:
            continue  # "Client sent an HTTP request to an HTTPS server."
        if answer["status"]:
            wrong.append(f"{answer['url']} answers to who shows no certificate ({answer['status']})")
        elif not any(words in answer["error"] for words in REFUSED):
            wrong.append(f"{answer['url']}: {answer['error']}")
    return wrong


def etcd_closed(ground: Ground) -> str:
    """etcd answers nobody who shows no certificate, at any of its ports; it holds every Secret."""
    cluster = ground.cluster
    clients = [url.removeprefix("https://") for url in cluster.etcd_endpoints]
    peers = [f"{member.address}:2380" for member in cluster.members]
    urls = [f"{scheme}://{at}/version" for at in (*clients, *peers) for scheme in ("https", "http")]
    asker = cluster.masters[0]
    output = ground.session.shell(
        asker.name,
        f'ca=$1; shift; {PROBE} get --timeout 5s --cacert "$ca" "$@"; true',
        ETCD_CA if cluster.members else EXISTING_ETCD_CA,
        *urls,
        timeout=30,
    )
    try:
        wrong = etcd_answers(json.loads(output.stdout))
    except ValueError:
        raise CheckFailed(f"kubeup-probe on {asker.name} did not run: {last_line(output.stderr)}") from None
    if wrong:
        raise CheckFailed("; ".join(wrong))
    return f"{len(urls) // 2} ports of etcd answer nobody without a certificate"
