"""etcd, which keeps the cluster's objects, and flannel's leases where the inventory wants them there."""

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import ETCD, Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import Certificate, Directory, File, Resource, unit
from kubeup.roles.common import BIN, Where, authority, certificate, nofile, program
from kubeup.roles.flannel import ETCD_PREFIX, network_config
from kubeup.templates import render

WHERE: Where = "members"

APISERVER_USER = "kube-apiserver"
"""The common name of the apiserver's client certificate, which is its user in etcd."""

ROOT_USER = "root"
"""etcd's user that may do everything: the common name of the client certificate on the members' hosts."""

DATA = "/var/lib/etcd"
WAL = f"{DATA}/member/wal"
"""Is there where a member has ever started: etcd itself goes by it."""

MEMBERS = "/etc/etcd/members"
"""The members that the inventory wants. It is placed once etcd has them, so it differs as long as it has not."""

FIRST_START = "/var/lib/kubeup/etcd-first-start"
"""What a member starts with the first time (deploy/members.py places it); the unit removes it when that has succeeded.

So where it lies the member has not been ready since, and where it does not and there are no data, data were lost.
"""

ETCDCTL = (
    f"{BIN}/etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/etcd/ca.crt "
    "--cert=/etc/etcd/root.crt --key=/etc/etcd/root.key"
)
"""etcdctl on a member's host, for that member."""

HALT = "/var/lib/kubeup/restore/halt"
"""While it is there etcd does not start: its data are being replaced (deploy/restore.py)."""


def peer_url(node: Node) -> str:
    """Where the other members find this node's."""
    return f"https://{node.address}:2380"


def shown(node: Node, trust: Trust) -> Certificate:
    """What a member's host shows to clients. etcd's own gateway connects with it: a server's alone would not do."""
    return certificate("/etc/etcd/server", trust, node.name, "server", "client", issuer=ETCD, node=node)


def root(trust: Trust) -> Certificate:
    """What opens all of etcd."""
    return certificate("/etc/etcd/root", trust, ROOT_USER, "client", issuer=ETCD)


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    version = cluster.versions.etcd
    programs = program("etcd", version, "etcd")
    members = "".join(f"{member.name} {peer_url(member)}\n" for member in cluster.members)
    serves: list[Resource] = [
        authority("/etc/etcd/ca.crt", trust, ETCD),
        shown(node, trust),
        certificate("/etc/etcd/peer", trust, node.name, "server", "client", issuer=ETCD, node=node),
        File("/etc/etcd/etcd.conf", render("etcd/etcd.conf.j2", node=node, peer_url=peer_url(node))),
    ]
    resources: list[Resource] = [
        *programs,
        *program("etcd", version, "etcdctl", on_path=True),
        *program("etcd", version, "etcdutl", on_path=True),
        Directory(DATA, mode=0o700),
        *serves,
        root(trust),
        File(MEMBERS, members),
        unit(
            "etcd.service",
            render("etcd/etcd.service.j2", bin=BIN, nofile=nofile(host), first_start=FIRST_START, halt=HALT),
            [*programs, *serves],
            rereads=True,
        ),
    ]
    if cluster.leases_in_etcd:
        users = File(
            "/etc/etcd/users.sh",
            render(
                "etcd/users.sh.j2",
                etcdctl=ETCDCTL,
                prefix=ETCD_PREFIX,
                network=network_config(cluster),
                apiserver_user=APISERVER_USER,
            ),
            mode=0o755,
        )
        resources += [users, unit("kubeup-etcd-users.service", render("etcd/users.service.j2"), [users])]
    return resources
