"""kubelet: runs the pods of its node. Masters have one too, so that they show among the nodes."""

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import Cleanup, Directory, File, Resource, unit
from kubeup.roles.common import BIN, PKI, Where, certificate, cri_socket, kubeconfig, nofile, program
from kubeup.templates import render

WHERE: Where = "nodes"

CONF = "/etc/kubernetes/kubelet.conf"
OWN = {
    f"{PKI}/kubelet.crt": "/var/lib/kubelet/pki/kubelet-client-current.pem",
    f"{PKI}/kubelet-server.crt": "/var/lib/kubelet/pki/kubelet-server-current.pem",
}
"""The certificates that a kubelet begins with, and where it keeps those that it got instead, with their keys."""
NO_UPSTREAM = "/etc/kubernetes/resolv.conf"


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    programs = program("kubernetes", cluster.versions.kubernetes, "kubelet")
    access = kubeconfig(CONF, cluster, node, trust, user=f"system:node:{node.name}", groups=("system:nodes",))
    # With the names and groups that it will ask for itself: else it would ask at once.
    serving = certificate(
        f"{PKI}/kubelet-server",
        trust,
        f"system:node:{node.name}",
        "server",
        organizations=("system:nodes",),
        node=node,
    )
    resolv_conf = host.upstream_resolv_conf()
    # A nameserver on the host's loopback is out of the pods' reach: better none than one that never answers.
    no_upstream = [] if resolv_conf else [File(NO_UPSTREAM, "# This host has no nameserver that pods could reach.\n")]
    socket = cri_socket(cluster, node)
    theirs = cluster.runtime_socket(node) is not None
    # After flannel's, and so done before it: pods that end still need their network's configuration.
    pods = [Cleanup("runtime-pods", render("runtime/pods-cleanup.sh.j2", bin=BIN, socket=socket))] if theirs else []
    config = File(
        "/etc/kubernetes/kubelet.yaml",
        render(
            "kubelet/config.yaml.j2",
            cluster=cluster,
            host=host,
            socket=socket,
            taints=node.all_taints,
            resolv_conf=resolv_conf or NO_UPSTREAM,
        ),
    )
    flags: dict[str, object] = {
        "config": config.path,
        "kubeconfig": CONF,
        "hostname-override": node.name,
        "node-ip": node.address,
    }
    if node.labels:
        flags["node-labels"] = ",".join(f"{key}={value}" for key, value in sorted(node.labels.items()))
    return [
        Directory("/var/lib/kubelet"),
        *programs,
        *access,
        serving,
        *no_upstream,
        config,
        *pods,
        unit(
            "kubelet.service",
            render(
                "kubelet/kubelet.service.j2",
                bin=BIN,
                flags=flags,
                nofile=nofile(host),
                certificates=OWN,
                runtime="" if theirs else "containerd.service",
            ),
            [*programs, *access, serving, *no_upstream, config],
        ),
    ]
