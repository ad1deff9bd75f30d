"""kube-scheduler: decides which node runs a pod."""

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import Resource, unit
from kubeup.roles.common import BIN, NODE_CA, Where, kubeconfig, program
from kubeup.templates import render

WHERE: Where = "masters"

CONF = "/etc/kubernetes/scheduler.conf"


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    programs = program("kubernetes", cluster.versions.kubernetes, "kube-scheduler")
    config = kubeconfig(CONF, cluster, node, trust, user="system:kube-scheduler", own_apiserver=True)
    flags = {
        "kubeconfig": CONF,
        "authentication-kubeconfig": CONF,
        "authorization-kubeconfig": CONF,
        "bind-address": "127.0.0.1",
        "client-ca-file": NODE_CA,
        "leader-elect": "true",
    }
    return [
        *programs,
        *config,
        unit(
            "kube-scheduler.service",
            render("scheduler/kube-scheduler.service.j2", bin=BIN, flags=flags),
            [*programs, *config],
            rereads=True,
        ),
    ]
