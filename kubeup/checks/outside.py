"""The ways of clients outside: whether the addresses can be had, and, once they are set up, whether they lead there."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address

from kubeup.checks.kubectl import KUBECTL
from kubeup.cluster import Cluster, VirtualAddress, api_endpoint
from kubeup.errors import PreflightError, Problem
from kubeup.host.difference import Change
from kubeup.host.reading import Reading
from kubeup.host.session import Session

KEEPALIVED = ("file", "/etc/keepalived/keepalived.conf")

SPEAKER = ("link", "/opt/kubeup/images/metallb-speaker.tar")

# A datagram to an address makes the kernel ask the network who has it. What it was told before does not count.
_WHO_HAS = """
command -v bash >/dev/null && command -v ip >/dev/null || exit 0
for address in "$@"; do
    ip neigh flush to "$address" 2>/dev/null
    bash -c 'echo >/dev/udp/'"$address"'/9' 2>/dev/null
done
sleep 1
for address in "$@"; do
    ip neigh show to "$address" |
        awk -v a="$address" '{for (i = 1; i < NF; i++) if ($i == "lladdr") {print a, $(i + 1); exit}}'
done
"""

LOOKED_AT = 256
"""How many addresses of each range are looked at before MetalLB gets them."""

ANSWERS_WITHIN = 30
"""Seconds within which the API must answer at the outside address: keepalived decides in five where it is."""


def preflight_outside(
    cluster: Cluster, readings: Mapping[str, Reading], changes: Mapping[str, Change], session: Session
) -> None:
    """Check that the addresses for clients outside can be had, unless they are had already. Raises PreflightError."""
    problems = [*_balancer(cluster)]
    for virtual in cluster.virtual_addresses:
        problems += _address(virtual, readings, changes, session)
    problems += _pools(cluster, readings, session)
    if problems:
        raise PreflightError(problems)


def _balancer(cluster: Cluster) -> Iterator[Problem]:
    host = cluster.api.balancer_host
    try:
        if host:
            socket.getaddrinfo(host, None)
    except OSError as error:
        yield Problem(
            "",
            f"api's balancer {host} cannot be found from this machine: {error}",
            "mend the name in DNS or in balancer:; the admin's kubeconfig will lead there",
        )


def _address(
    virtual: VirtualAddress, readings: Mapping[str, Reading], changes: Mapping[str, Change], session: Session
) -> Iterator[Problem]:
    what, nodes = f"{virtual.name}'s address {virtual.address}", [n.name for n in virtual.nodes if n.name in readings]
    if not nodes or _is_ours(virtual.address, nodes, readings, changes):
        return
    for name, reading in readings.items():
        if reading.facts.device_of(virtual.address):
            yield Problem(
                name,
                f"{what} is one of this host's own",
                "use an address that no host has: kubeup gives it to one of the nodes at a time",
            )
            return
    # It may have moved since the hosts were read: to another of the nodes that have it to keep.
    keepers = {mac for name in nodes if KEEPALIVED in readings[name].record for _, mac in readings[name].facts.macs}
    for owner in _owners(nodes[0], [virtual.address], session).values():
        if owner in keepers:
            continue
        yield Problem(
            nodes[0],
            f"{what} is already somebody's: {owner} answers for it in this host's network",
            "use an address that no host has",
        )


def _pools(cluster: Cluster, readings: Mapping[str, Reading], session: Session) -> Iterator[Problem]:
    """Before MetalLB comes: no address of its pool has an owner. Later ones are Services'."""
    metallb = cluster.addons.metallb
    names = [node.name for node in cluster.announcing_nodes if node.name in readings]
    if metallb is None or not names or any(SPEAKER in readings[name].record for name in names):
        return
    inside = {ip for r in metallb.addresses for ip in itertools.islice(r, LOOKED_AT)}
    for name, reading in readings.items():
        for device, interface in reading.facts.addresses:
            if interface.ip in inside:
                yield Problem(
                    name,
                    f"metallb's address {interface.ip} is one of this host's own ({device})",
                    "take it out of addresses:, which are given to Services",
                )
                inside.discard(interface.ip)
    for address, owner in _owners(names[0], sorted(inside), session).items():
        yield Problem(
            names[0],
            f"metallb's address {address} is already somebody's: {owner} answers for it in this host's network",
            "take it out of addresses:, which are given to Services",
        )


def _owners(name: str, addresses: Sequence[IPv4Address], session: Session) -> dict[str, str]:
    """Who answers for these addresses in a host's network: hardware address by address."""
    if not addresses:
        return {}
    output = session.shell(name, _WHO_HAS, *map(str, addresses)).stdout
    return dict(line.split(maxsplit=1) for line in output.splitlines() if " " in line)


def _is_ours(
    address: IPv4Address, nodes: list[str], readings: Mapping[str, Reading], changes: Mapping[str, Change]
) -> bool:
    """Whether keepalived of one of the nodes has the address to keep."""
    for name in nodes:
        has_keepalived = KEEPALIVED in readings[name].record
        as_wanted = KEEPALIVED not in {item.key for item in changes[name].items}
        if has_keepalived and (as_wanted or readings[name].facts.device_of(address)):
            return True
    return False


# On each master: a balancer may be unable to lead a host back to itself, so that one of them has to succeed.
_ANSWERS = f"""
for i in $(seq {ANSWERS_WITHIN * 2}); do
    said=$({KUBECTL} --request-timeout=3s --server "$1" get --raw /readyz 2>&1) && exit 0
    sleep 0.5
done
printf '%s\\n' "$said" | tail -n 1
exit 1
"""


def answers_outside(cluster: Cluster, session: Session) -> str:
    """Why the API does not answer at the address for clients outside, or "". Asked from the masters, by TLS."""
    url = api_endpoint(cluster)
    masters = [master.name for master in cluster.masters]
    outcome = session.side_by_side(
        masters, lambda name: session.shell(name, _ANSWERS, url, timeout=ANSWERS_WITHIN * 4 + 20)
    )
    wrong = [
        f"{name}: {output if isinstance(output, Exception) else output.stdout.strip() or output.stderr}"
        for name, output in outcome.items()
        if isinstance(output, Exception) or not output.ok
    ]
    enough = len(wrong) < len(masters) if cluster.api.balancer else not wrong
    return "" if enough else "; ".join(wrong)
