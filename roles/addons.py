"""The objects that the cluster itself needs, applied by the masters: nodes' labels, access rights, CoreDNS.

They are files on the masters like any other, so a plan shows their differences, and a unit applies them, so that it
needs no way from the admin's machine to the API. Every master does so; server-side apply makes that harmless.
"""

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import Trust
from kubeup.components import image_reference
from kubeup.host.facts import HostFacts
from kubeup.host.resources import File, Resource, unit
from kubeup.roles.apiserver import ADMIN_CONF
from kubeup.roles.common import BIN, Where
from kubeup.templates import render

WHERE: Where = "masters"

FOLDER = "/etc/kubernetes/addons"


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    manifests = [
        File(
            f"{FOLDER}/nodes.yaml",
            render(
                "addons/nodes.yaml.j2",
                nodes=cluster.nodes,
                labels={n.name: {**n.labels, **n.role_labels} for n in cluster.nodes},
            ),
        ),
        File(f"{FOLDER}/access.yaml", render("addons/access.yaml.j2")),
        File(
            f"{FOLDER}/coredns.yaml",
            render(
                "coredns/coredns.yaml.j2",
                cluster=cluster,
                image=image_reference("coredns", cluster.versions.coredns),
                replicas=min(2, len(cluster.nodes)),
                forward=host.upstream_resolv_conf() is not None,
            ),
        ),
    ]
    return [
        *manifests,
        # Not waited for: nothing on this host needs it, and it ends when validation can begin.
        unit(
            "kubeup-addons.service",
            render("addons/addons.service.j2", bin=BIN, kubeconfig=ADMIN_CONF, folder=FOLDER),
            manifests,
            wait=False,
        ),
    ]
