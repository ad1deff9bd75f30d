"""What reading alone cannot tell is tried: connections, names and packets, from where the client is. All at once."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubeup.checks.places import KUBELET_PORT, PROBE
from kubeup.checks.walk.reading import TUNNEL
from kubeup.checks.walk.situation import Leg, Situation
from kubeup.host.session import Session

WHOLE = "target"
"""The name of the question that is the client's own."""
NAME = "name"
"""The name of the question whether the Service's name resolves."""


MOST = 40
"""How many ways are tried at most, all at once: of a Service with hundreds of endpoints the others are only read."""


@dataclass(frozen=True)
class Question:
    """A call of kubeup-probe on ``host``, in the network of the pod with the address ``pod`` if that is given."""

    name: str
    host: str
    arguments: tuple[str, ...]
    pod: str = ""


def of_leg(leg: Leg) -> str:
    """The name of the question whether a leg's address answers."""
    return f"connect {leg.address}:{leg.port}"


def of_tunnel(leg: Leg, size: str) -> str:
    """The name of the question whether a packet (small or full) comes through the tunnel to a leg's node."""
    return f"tunnel {leg.node} {size}"


def came_back(answer: Mapping[str, Any]) -> bool | None:
    """Whether packets went there and back, whatever was said; None where it was not tried."""
    if not answer:
        return None
    return not answer.get("error") or "refused" in answer["error"] or bool(answer.get("status"))


def of_host(leg: Leg) -> str:
    """The name of the question whether a leg's node answers at its own address."""
    return f"host {leg.node}"


def questions(situation: Situation) -> list[Question]:
    """What is to be tried in this situation. From an outside client nothing can be: its node asks in its place."""
    start = situation.start
    if situation.host(start).error:
        return []
    pod = situation.source if situation.in_pod and situation.host(start).pod(situation.source) else ""
    if situation.in_pod and not pod:
        return []  # the client has no network that one could ask from
    found: dict[str, Question] = {}

    def ask(name: str, *arguments: str, within: str = "") -> None:
        found.setdefault(name, Question(name, start, arguments, within))

    def connect(name: str, address: str, port: int) -> None:
        ask(name, "connect", "--timeout", "1500ms", "--until", "1700ms", f"{address}:{port}", within=pod)

    if situation.client.kind != "outside" and situation.asked and situation.protocol == "tcp" and situation.port:
        connect(WHOLE, situation.asked, situation.port)
    if situation.asks_dns and situation.dns is not None:
        server = f"{situation.dns.address}:53"
        ask(NAME, "resolve", "--timeout", "3s", "--server", server, f"{situation.name}.", within=pod)
    for leg in situation.legs[:MOST]:
        # CoreDNS answers by TCP too, at the same port; the client of a leg to it is the same.
        if leg.port and (leg.protocol == "tcp" or leg.dns):
            connect(of_leg(leg), leg.address, leg.port)
        if not situation.tunnelled(leg):
            continue
        first, last = situation.host(leg.start), situation.host(leg.node)
        tunnel = last.address_of(TUNNEL)
        size = first.mtu(TUNNEL)
        if tunnel and size and leg.start == start:
            address = f"{situation.cluster.node(leg.node).address}:{KUBELET_PORT}"
            ask(of_tunnel(leg, "small"), "connect", "--timeout", "1500ms", f"{tunnel}:{KUBELET_PORT}")
            # So long a request that its first packet is as large as packets may be, and may not be split; the kubelet
            # says no to it at once, since it wants TLS.
            long = f"http://{tunnel}:{KUBELET_PORT}/{'x' * size}"
            ask(of_tunnel(leg, "full"), "get", "--timeout", "1500ms", long)
            ask(of_host(leg), "connect", "--timeout", "1500ms", address)
    return list(found.values())


def ask_all(session: Session, situation: Situation) -> dict[str, Mapping[str, Any]]:
    """Ask, each host once, and return the answers by the questions' names."""
    asked = questions(situation)
    by_host: dict[str, list[Question]] = {}
    for question in asked:
        by_host.setdefault(question.host, []).append(question)

    def on_host(name: str) -> dict[str, Mapping[str, Any]]:
        lines = []
        for number, question in enumerate(by_host[name]):
            inside = situation.host(name).pod(question.pod) if question.pod else None
            enter = ["nsenter", "-t", inside.process, "-n"] if inside else []
            command = shlex.join([*enter, PROBE, *question.arguments])
            lines.append(f'(said=$({command} 2>/dev/null); printf "%s %s\\n" {number} "$said") &')
        output = session.shell(name, "\n".join([*lines, "wait"]), timeout=20)
        answers: dict[str, Mapping[str, Any]] = {}
        for line in output.stdout.splitlines():
            number_text, _, text = line.partition(" ")
            try:
                answers[by_host[name][int(number_text)].name] = json.loads(text)[0]
            except (ValueError, IndexError):
                continue  # an older probe that does not know the question, or one that could not run
        return answers

    found: dict[str, Mapping[str, Any]] = {}
    for outcome in session.side_by_side(by_host, on_host).values():
        if isinstance(outcome, Exception):
            raise outcome
        found.update(outcome)
    return found
