"""Whether hosts get at what is not ours by the ways that the inventory says: the proxy."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from urllib.parse import urlsplit

from kubeup.cluster import Cluster
from kubeup.errors import PreflightError, Problem
from kubeup.host.session import Session

# What a proxy says when it is asked for a way to somewhere. A bare host has no curl for sure.
_ASK = r"""
for at in "$@"; do
    answer=$(timeout 5 bash -c 'exec 3<>/dev/tcp/${0%:*}/${0##*:} || exit 9
        printf "CONNECT registry-1.docker.io:443 HTTP/1.1\r\nHost: registry-1.docker.io:443\r\n\r\n" >&3
        IFS= read -r -t 4 line <&3; printf "%s" "$line"' "$at" 2>/dev/null) || answer="no connection"
    printf '%s\t%s\n' "$at" "$(printf %s "${answer:-no answer}" | tr -d '\r\t')"
done
"""


def preflight_proxy(cluster: Cluster, session: Session, hosts: Collection[str]) -> None:
    """Ask the inventory's proxies from these hosts. Raises PreflightError where one cannot be reached or refuses.

    A proxy that takes the question and cannot get there itself is told so by what needs it.
    """
    ports = {"http": 80, "https": 443}
    at = [f"{url.hostname}:{url.port or ports[url.scheme]}" for url in map(urlsplit, cluster.proxy.urls)]
    if not at or not hosts:
        return
    problems: list[Problem] = []
    for name, output in session.side_by_side(hosts, lambda name: session.shell(name, _ASK, *at)).items():
        if isinstance(output, Exception):
            raise output
        problems += _problems(name, output.stdout)
    if problems:
        raise PreflightError(problems)


def _problems(name: str, told: str) -> Iterator[Problem]:
    for line in told.splitlines():
        at, _, answer = line.partition("\t")
        if answer in ("no connection", "no answer"):
            yield Problem(
                name, f"the proxy {at} gives {answer}", "is this URL of proxy: right, and may this host use it?"
            )
        elif answer.startswith("HTTP/") and answer.split()[1:2] and answer.split()[1] in ("401", "403", "405", "407"):
            yield Problem(
                name,
                f"the proxy {at} refuses: {answer}",
                "allow this host, and what it needs, in the proxy's rules (passwords are not supported)",
            )
