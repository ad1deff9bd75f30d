"""The way of clients outside to the API: whether it can be had, and, once it is set up, whether it leads there."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address

from kubeup.checks.kubectl import KUBECTL
from kubeup.cluster import Cluster, api_endpoint
from kubeup.errors import PreflightError, Problem
from kubeup.host.difference import Change
from kubeup.host.reading import Reading
from kubeup.host.session import Session

KEEPALIVED = ("file", "/etc/keepalived/keepalived.conf")

# A datagram to the address makes the kernel ask the network who has it. What it was told before does not count.
_WHO_HAS = """
command -v bash >/dev/null && command -v ip >/dev/null || exit 0
ip neigh flush to "$1" 2>/dev/null
bash -c 'echo >/dev/udp/'"$1"'/9' 2>/dev/null
sleep 1
ip neigh show to "$1" | awk '{for (i = 1; i < NF; i++) if ($i == "lladdr") {print $(i + 1); exit}}'
"""

ANSWERS_WITHIN = 30
"""Seconds within which the API must answer at the outside address: keepalived decides in five where it is."""


def preflight_outside(
    cluster: Cluster, readings: Mapping[str, Reading], changes: Mapping[str, Change], session: Session
) -> None:
    """Check that the API's outside address can be had, unless it is had already. Raises PreflightError."""
    if problems := [*_balancer(cluster), *_address(cluster, readings, changes, session)]:
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
    cluster: Cluster, readings: Mapping[str, Reading], changes: Mapping[str, Change], session: Session
) -> Iterator[Problem]:
    address = cluster.api.address
    masters = [master.name for master in cluster.masters if master.name in readings]
    if address is None or not masters or _is_ours(address, masters, readings, changes):
        return
    for name, reading in readings.items():
        if reading.facts.device_of(address):
            yield Problem(
                name,
                f"api's address {address} is one of this host's own",
                "use an address that no host has: kubeup gives it to one of the masters at a time",
            )
            return
    owner = session.shell(masters[0], _WHO_HAS, str(address)).stdout.strip()
    if owner:
        yield Problem(
            masters[0],
            f"api's address {address} is already somebody's: {owner} answers for it in this host's network",
            "use an address that no host has",
        )


def _is_ours(
    address: IPv4Address, masters: list[str], readings: Mapping[str, Reading], changes: Mapping[str, Change]
) -> bool:
    """Whether keepalived of one of the masters has the address to keep."""
    for name in masters:
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
