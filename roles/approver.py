"""kubeup-approver on the masters: lets kubelets renew their serving certificates, for the names the inventory gives."""

import json

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import File, Resource, unit
from kubeup.roles.common import (
    BIN,
    NODE_CA,
    PKI,
    Where,
    authority,
    certificate,
    own_apiserver_url,
    own_version,
    program,
)
from kubeup.templates import render

WHERE: Where = "masters"

USER = "kubeup:approver"


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    programs = program("approver", own_version("approver"), "kubeup-approver")
    trusted = authority(NODE_CA, trust)
    client = certificate(f"{PKI}/approver", trust, USER, "client")
    nodes = {n.name: {"names": [n.name], "addresses": [str(n.address)]} for n in cluster.nodes}
    allowed = File("/etc/kubernetes/approver.json", json.dumps(nodes, indent=1) + "\n")
    flags = {
        "server": own_apiserver_url(cluster),
        "cacert": trusted.path,
        "cert": client.path,
        "key": client.key_path,
        "nodes": allowed.path,
    }
    return [
        *programs,
        trusted,
        client,
        allowed,
        unit(
            "kubeup-approver.service",
            render("approver/kubeup-approver.service.j2", bin=BIN, flags=flags),
            [*programs, trusted, client, allowed],
            rereads=True,
        ),
    ]
