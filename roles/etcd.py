"""etcd, which keeps the cluster's objects, and flannel's leases where the inventory wants them there."""

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import ETCD, Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import Directory, File, Resource, unit
from kubeup.roles.common import BIN, Where, authority, certificate, nofile, program
from kubeup.roles.flannel import ETCD_PREFIX, network_config
from kubeup.templates import render

WHERE: Where = "masters"

APISERVER_USER = "kube-apiserver"
"""The common name of the apiserver's client certificate, which is its user in etcd."""

HALT = "/var/lib/kubeup/restore/halt"
"""While it is there etcd does not start: its data are being replaced (deploy/restore.py)."""


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    version = cluster.versions.etcd
    programs = program("etcd", version, "etcd")
    members = ",".join(f"{master.name}=https://{master.address}:2380" for master in cluster.masters)
    serves: list[Resource] = [
        authority("/etc/etcd/ca.crt", trust, ETCD),
        # etcd's own gateway connects to it with this certificate: a server's alone would not do.
        certificate("/etc/etcd/server", trust, node.name, "server", "client", issuer=ETCD, node=node),
        certificate("/etc/etcd/peer", trust, node.name, "server", "client", issuer=ETCD, node=node),
        File("/etc/etcd/etcd.yaml", render("etcd/etcd.yaml.j2", node=node, members=members)),
    ]
    root = certificate("/etc/etcd/root", trust, "root", "client", issuer=ETCD)
    resources: list[Resource] = [
        *programs,
        *program("etcd", version, "etcdctl", on_path=True),
        *program("etcd", version, "etcdutl", on_path=True),
        Directory("/var/lib/etcd", mode=0o700),
        *serves,
        root,
        unit(
            "etcd.service",
            render("etcd/etcd.service.j2", bin=BIN, nofile=nofile(host), halt=HALT),
            [*programs, *serves],
            rereads=True,
        ),
    ]
    if cluster.flannel.store == "etcd":
        users = File(
            "/etc/etcd/users.sh",
            render(
                "etcd/users.sh.j2",
                bin=BIN,
                prefix=ETCD_PREFIX,
                network=network_config(cluster),
                apiserver_user=APISERVER_USER,
            ),
            mode=0o755,
        )
        resources += [users, unit("kubeup-etcd-users.service", render("etcd/users.service.j2"), [users])]
    return resources
