"""Snapshots of etcd: taken when one is due, read back, kept for a while, and brought to the other members' hosts.

Every host of a member looks by itself, every few minutes, whether the newest that lies there is too old. Whoever finds
that first takes one and sends it to all others: so there is one at a time, on all hosts, and no host is special.
"""

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import ETCD, Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import File, Resource, unit
from kubeup.roles.common import BIN, ROOT, Where, authority, own_version, program
from kubeup.roles.etcd import ROOT_USER, root, shown
from kubeup.templates import render, text

WHERE: Where = "members"

FOLDER = "/var/lib/kubeup/snapshots"
"""Where they lie. It is no resource: they stay when the schedule is switched off, and go with the cluster."""

SNAPSHOTS_PORT = 2382
LIB = f"{ROOT}/lib"
LOOK = 600
"""Seconds between two looks, at most."""
FIRST = 300
"""Seconds until the first."""


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    every = int(cluster.snapshots.every.total_seconds())
    if not every:
        return []
    others = [f"{member.address}:{SNAPSHOTS_PORT}" for member in cluster.members if member != node]
    scripts = [
        File(f"{LIB}/etcd-snapshot", text("snapshots/snapshot.sh"), mode=0o755),
        File(f"{LIB}/etcd-snapshot-due", text("snapshots/due.sh"), mode=0o755),
    ]
    service = File(
        "/etc/systemd/system/kubeup-snapshots.service",
        render("snapshots/due.service.j2", lib=LIB, every=every, keep=cluster.snapshots.keep, node=node, others=others),
    )
    look = min(LOOK, max(60, every // 2))
    # One after another, so that the first is done when the next one looks.
    first = FIRST + 60 * cluster.members.index(node)
    resources: list[Resource] = [
        *scripts,
        service,
        # The service is among its inputs so that systemd reads it again.
        unit("kubeup-snapshots.timer", render("snapshots/due.timer.j2", first=first, look=look), [service]),
    ]
    if others:
        programs = program("snapshots", own_version("snapshots"), "kubeup-snapshots")
        trusted, own, opens = authority("/etc/etcd/ca.crt", trust, ETCD), shown(node, trust), root(trust)
        flags = {
            "listen": f"{node.address}:{SNAPSHOTS_PORT}",
            "folder": FOLDER,
            "keep": cluster.snapshots.keep,
            "cacert": trusted.path,
            "cert": own.path,
            "key": own.key_path,
            "client": ROOT_USER,
        }
        receiver = render("snapshots/receiver.service.j2", bin=BIN, flags=flags)
        resources += [
            *programs,
            trusted,
            own,
            opens,
            unit("kubeup-snapshots-receiver.service", receiver, [*programs, trusted, own], wait=False, rereads=True),
        ]
    return resources
