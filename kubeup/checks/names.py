"""Whether hosts can look names up: those that they need themselves, and by nameservers that pods will ask too."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from kubeup.cluster import Cluster, Node
from kubeup.errors import HostsFailed, PreflightError, Problem
from kubeup.host.facts import HostFacts
from kubeup.host.reading import Reading
from kubeup.host.session import Session, failure

SLOW = 2.0
"""Seconds that a host may take to look its own name up, which sudo does each time."""

# A bare host has nothing that asks a nameserver of one's choice for sure. The question is for the root nameservers, to
# which everyone that is one has an answer, be it a refusal. Asked twice, as a packet may be lost.
_ASK = r"""
answers() {
    for try in 1 2; do
        timeout 2 bash -c 'exec 3<>"/dev/udp/$0/53" &&
            printf "ku\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01" >&3 &&
            head -c 2 <&3' "$1" 2>/dev/null | grep -q ku && return 0
    done
    return 1
}
if [ "$1" = own ]; then
    began=$(date +%s%N)
    timeout 10 getent hosts "$(uname -n)" >/dev/null
    echo "own $((($(date +%s%N) - began) / 1000000)) $(uname -n)"
fi
shift
while [ $# != 0 ]; do
    case $1 in
    server:*) { answers "${1#*:}" || echo "server ${1#*:}"; } & ;;
    name:*) { timeout 10 getent ahosts "${1#*:}" >/dev/null || echo "name ${1#*:}"; } & ;;
    esac
    shift
done
wait
"""


def needed(cluster: Cluster, node: Node, facts: HostFacts) -> dict[str, str]:
    """The names, as opposed to addresses, that a host itself has to look up, each with what it is for.

    Not the nodes' own: they find one another by address. Not those of a proxy and of an etcd that is there already:
    these are connected to. Where there is a proxy, that looks up the rest.
    """
    found: dict[str, str] = {}

    def add(host: str | None, what: str) -> None:
        if host and not _is_address(host):
            found.setdefault(host, what)

    if node in cluster.nodes and cluster.addons.nfs:
        add(cluster.addons.nfs.server, "addons: nfs: server")
    if cluster.proxy.urls:
        return found
    if node in cluster.nodes:
        for name, registry in cluster.registries.items():
            for mirror in registry.mirrors:
                add(urlsplit(mirror).hostname, f"registries: {name}: mirrors")
            if not registry.mirrors:
                add(name.partition(":")[0], "registries:")
    if facts.family.name == "debian":
        for line in cluster.packages.apt:
            url = re.search(r"https?://\S+", line)
            add(urlsplit(url[0]).hostname if url else None, "packages: apt")
    if facts.family.name == "el":
        for mirror in cluster.packages.dnf:
            add(urlsplit(mirror).hostname, "packages: dnf")
    return found


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def look_up(cluster: Cluster, readings: Mapping[str, Reading], session: Session, hosts: Collection[str]) -> None:
    """Have these hosts look up what they need, and ask the nameservers that pods will ask.

    Raises PreflightError with what is wrong, HostsFailed where that could not be found out. A host without a nameserver
    has no problem: the cluster's own names need none.
    """
    names: dict[str, dict[str, str]] = {}
    questions: dict[str, list[str]] = {}
    for name in hosts:
        node, facts = cluster.node(name), readings[name].facts
        names[name] = needed(cluster, node, facts)
        servers = facts.upstream_nameservers() if node in cluster.nodes else ()
        # As root there is no sudo, and without nameservers nothing to wait for.
        own = bool(facts.nameservers) and cluster.ssh_target(node).user != "root"
        asked = [*(f"server:{server}" for server in servers), *(f"name:{each}" for each in names[name])]
        if own or asked:
            questions[name] = ["own" if own else "-", *asked]
    problems = []
    outputs = session.side_by_side(questions, lambda name: session.shell(name, _ASK, *questions[name], timeout=60))
    for name, output in outputs.items():
        if isinstance(output, Exception):
            raise output
        if not output.ok:
            raise HostsFailed("preflight", [failure(name, "looking names up", output)])
        servers = readings[name].facts.upstream_nameservers() if cluster.node(name) in cluster.nodes else ()
        path = readings[name].facts.upstream_resolv_conf() or ""
        for what, remedy in judge(output.stdout, names[name], servers, path):
            problems.append(Problem(name, what, remedy))
    if problems:
        raise PreflightError(problems)


def judge(told: str, names: Mapping[str, str], servers: Collection[str], path: str) -> Iterator[tuple[str, str]]:
    """What is wrong by what _ASK printed. ``servers`` are those of the file ``path``."""
    lines = [line.split() for line in told.splitlines()]
    for took, own in ((int(line[1]) / 1000, line[2]) for line in lines if line[0] == "own"):
        if took > SLOW:
            yield (
                f"looking up its own name {own} takes {took:.0f} s, and so does every sudo",
                f"write it into /etc/hosts: 127.0.1.1 {own}",
            )
    silent = [line[1] for line in lines if line[0] == "server"]
    if servers and set(silent) >= set(servers):
        yield (
            f"no nameserver of {path} answers ({', '.join(servers)}), and pods would wait for them with every name "
            "that is not the cluster's",
            "write nameservers that answer there (resolvectl, nmcli); where there is no DNS, take them out: "
            "the cluster's own names need none",
        )
    for name in sorted(line[1] for line in lines if line[0] == "name"):
        yield f"cannot look up {name} ({names[name]})", "add it to DNS or to /etc/hosts, or write its address"
