"""Whether hosts reach one another as the cluster needs it, and how fast their disks are: tried out beforehand.

A small program (kubeup-reach) is sent to each host, listens for some seconds on the ports that the cluster will have
there, asks all other hosts on theirs, and is gone again. Ports on which something listens are asked as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from kubeup.checks.places import KUBELET_PORT, VXLAN_PORT
from kubeup.checks.preflight import SNAPSHOTS_PORT
from kubeup.cluster import Cluster, Node
from kubeup.errors import HostsFailed, Problem
from kubeup.host.reading import Reading
from kubeup.host.session import Output, Session, failure

SLOWEST_FSYNC = 100.0
"""Milliseconds: etcd's heartbeat interval. A log that takes longer to write loses its leader again and again."""

LASTS = 120
"""Seconds after which what listens is gone at the latest. Until then the slowest link must have carried the program to
the last host, and that host must have asked."""

_START = files("kubeup.checks").joinpath("reach.sh").read_text()
_ASK = 'folder=$1 payload=$2; shift 2; "$folder/reach" ask --payload "$payload" "$@"'
_END = 'kill "$1" 2>/dev/null; rm -rf "$2"'


@dataclass(frozen=True)
class Way:
    """One host that has to reach a port of another. ``what`` is for people."""

    source: str
    target: str
    address: str
    protocol: str
    port: int
    what: str

    @property
    def listens(self) -> str:
        return f"{self.protocol}:{self.port}"

    @property
    def asked(self) -> str:
        return f"{self.protocol}:{self.address}:{self.port}"


@dataclass
class Reached:
    """What came of trying: problems, how many ways were tried, and how long etcd's log would take (ms, by host)."""

    problems: list[Problem] = field(default_factory=list)
    tried: int = 0
    fsync: dict[str, float] = field(default_factory=dict)


def ways(cluster: Cluster) -> Iterator[Way]:
    """All that the cluster needs, each pair of hosts in both directions where it is needed in both."""

    def each(
        sources: Collection[Node], targets: Collection[Node], protocol: str, port: int, what: str
    ) -> Iterator[Way]:
        for source in sources:
            for target in targets:
                if source != target:
                    yield Way(source.name, target.name, str(target.address), protocol, port, what)

    of_etcd = cluster.nodes if cluster.leases_in_etcd else cluster.masters
    yield from each(of_etcd, cluster.members, "tcp", 2379, "etcd")
    yield from each(cluster.members, cluster.members, "tcp", 2380, "etcd's other members")
    if cluster.snapshots.every:
        yield from each(cluster.members, cluster.members, "tcp", SNAPSHOTS_PORT, "snapshots of etcd")
    yield from each(cluster.nodes, cluster.masters, "tcp", cluster.api_port, "the API")
    yield from each(cluster.masters, cluster.nodes, "tcp", KUBELET_PORT, "the kubelet")
    if cluster.cni == "flannel" and cluster.flannel.backend == "vxlan":
        yield from each(cluster.nodes, cluster.nodes, "udp", VXLAN_PORT, "pods' packets (VXLAN)")


def reach(
    cluster: Cluster,
    readings: Mapping[str, Reading],
    session: Session,
    program: Callable[[str], Path],
    new: Collection[str],
) -> Reached:
    """Try all ways from or to the ``new`` hosts. ``program(host)`` is the packed kubeup-reach for it.

    Hosts with a firewall that kubeup opens itself are asked nothing: it is closed still. Raises HostsFailed.
    """
    found = Reached()
    closed = {name for name, reading in readings.items() if reading.facts.firewall}
    wanted = [
        way
        for way in ways(cluster)
        if {way.source, way.target} <= readings.keys()
        and {way.source, way.target} & set(new)
        and way.target not in closed
    ]
    members = {member.name for member in cluster.members}
    names = {way.source for way in wanted} | {way.target for way in wanted} | (members & set(new))
    if not names:
        return found
    listening = {
        name: sorted({w.listens for w in wanted if w.target == name and not _taken(w, readings[name])})
        for name in names
    }

    def begin(name: str) -> Output:
        node = cluster.node(name)
        fsync = "/var/lib" if name in members and name in new else ""
        arguments = (f"{LASTS}s", str(node.address), fsync, *listening[name])
        output = session.stream(name, _START, *arguments, source=_bytes(program(name)))
        told = _told(output)
        if told.keys() >= {"process", "folder"}:  # it may have begun although the rest has failed
            begun[name] = told
        return output

    begun: dict[str, dict[str, str]] = {}
    try:
        _all(session, names, begin)
        skipped = {(name, port) for name, told in begun.items() for port in told["listening"].split()}
        asked = {
            name: [
                w for w in wanted if w.source == name and not (w.protocol == "udp" and (w.target, w.listens) in skipped)
            ]
            for name in names
        }

        def ask(name: str) -> Output:
            if not asked[name]:
                return Output("[]", "", 0)
            payload = str(_packet(cluster, name, readings[name]) - 28)
            return session.shell(name, _ASK, begun[name]["folder"], payload, *(way.asked for way in asked[name]))

        for name, output in _all(session, names, ask).items():
            silent = {each["target"]: each["error"] for each in json.loads(output.stdout)}
            found.tried += len(asked[name])
            found.problems += _unreached(name, [(w, silent[w.asked]) for w in asked[name] if w.asked in silent])
    finally:
        session.side_by_side(
            begun, lambda name: session.shell(name, _END, begun[name]["process"], begun[name]["folder"])
        )
    for name, told in begun.items():
        if told.get("fsync"):
            median = json.loads(told["fsync"])["median"]
            found.fsync[name] = median
            if median > SLOWEST_FSYNC:
                found.problems.append(
                    Problem(
                        name,
                        f"writing a line of etcd's log to disk (/var/lib) takes {median:.0f} ms, "
                        f"and etcd's heartbeat is {SLOWEST_FSYNC:.0f} ms",
                        "give this host a faster disk (an SSD takes 1 to 10 ms), or another host to etcd",
                    )
                )
    return found


def _taken(way: Way, reading: Reading) -> bool:
    return way.protocol == "tcp" and way.port in reading.facts.listening


def _packet(cluster: Cluster, name: str, reading: Reading) -> int:
    """The largest packet that a host's link takes: what the others send comes back as large."""
    device = reading.facts.device_of(cluster.node(name).address)
    return dict(reading.facts.mtus).get(device or "", 1500)


def _bytes(path: Path) -> Iterator[bytes]:
    yield path.read_bytes()


def _all(session: Session, names: Collection[str], work: Callable[[str], Output]) -> dict[str, Output]:
    outputs: dict[str, Output] = {}
    failures = []
    for name, output in session.side_by_side(sorted(names), work).items():
        if isinstance(output, Exception):
            raise output
        if output.ok:
            outputs[name] = output
        else:
            failures.append(failure(name, "trying the network and the disk (kubeup-reach)", output))
    if failures:
        raise HostsFailed("preflight", failures)
    return outputs


def _told(output: Output) -> dict[str, str]:
    """What _START printed, by the first word of each line."""
    told = {"listening": ""}
    for line in output.stdout.splitlines():
        word, _, rest = line.partition(" ")
        told[word] = rest
    return told


def _unreached(name: str, silent: list[tuple[Way, str]]) -> Iterator[Problem]:
    """One problem for each kind: a host that is cut off from nine others has one problem, not nine."""
    kinds: dict[tuple[str, int, str, str], list[str]] = {}
    for way, error in silent:
        kinds.setdefault((way.protocol, way.port, way.what, error), []).append(way.target)
    for (protocol, port, what, error), targets in kinds.items():
        yield Problem(
            name,
            f"does not reach {protocol.upper()} port {port} ({what}) of {', '.join(targets)}: {error}",
            "open it in the firewalls and security groups between them"
            if "small packets" not in error
            else "give the network links on the way, and all hosts', the same MTU",
        )
