"""kube-controller-manager: runs the control loops, and signs what the cluster issues itself."""

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import KUBERNETES, SERVICE_ACCOUNTS, Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import Directory, Resource, unit
from kubeup.roles.authorities import ISSUER, KEYS, issuer, key
from kubeup.roles.common import BIN, NODE_CA, Where, kubeconfig, program
from kubeup.templates import render

WHERE: Where = "masters"

CONF = "/etc/kubernetes/controller-manager.conf"


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    programs = program("kubernetes", cluster.versions.kubernetes, "kube-controller-manager")
    config = kubeconfig(CONF, cluster, node, trust, user="system:kube-controller-manager", own_apiserver=True)
    # With its leases in etcd, flannel divides the pod network itself.
    pod_network = (
        {
            "allocate-node-cidrs": "true",
            "cluster-cidr": cluster.flannel_net,
            "node-cidr-mask-size": cluster.node_subnet,
            "service-cluster-ip-range": cluster.service_cidr,
        }
        if not cluster.leases_in_etcd
        else {"allocate-node-cidrs": "false"}
    )
    flags = {
        "kubeconfig": CONF,
        "authentication-kubeconfig": CONF,
        "authorization-kubeconfig": CONF,
        "bind-address": "127.0.0.1",
        "client-ca-file": NODE_CA,
        "root-ca-file": NODE_CA,
        "cluster-signing-cert-file": ISSUER,
        "cluster-signing-key-file": KEYS[KUBERNETES],
        "cluster-signing-duration": f"{int(cluster.certificates.lifetime.total_seconds())}s",
        "service-account-private-key-file": KEYS[SERVICE_ACCOUNTS],
        "use-service-account-credentials": "true",
        "controllers": "*,bootstrapsigner,tokencleaner",
        "leader-elect": "true",
        # Each controller asks for a token when it starts: with the default of 20 a second that alone takes 5 s.
        "kube-api-qps": 200,
        "kube-api-burst": 300,
        # Made at start whether used or not; the default lies in /usr.
        "flex-volume-plugin-dir": "/var/lib/kubelet/volume-plugins",
        **pod_network,
    }
    return [
        *programs,
        *config,
        # It makes its folder for plugins there, which may be before this host's kubelet is set up: so that kubeup knows
        # that there was nothing before.
        Directory("/var/lib/kubelet"),
        unit(
            "kube-controller-manager.service",
            render("controller_manager/kube-controller-manager.service.j2", bin=BIN, flags=flags),
            [*programs, *config, issuer(trust), key(KUBERNETES, trust), key(SERVICE_ACCOUNTS, trust)],
            rereads=True,
        ),
    ]
