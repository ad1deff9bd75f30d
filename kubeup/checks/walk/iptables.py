"""iptables-save's text as chains."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network

from kubeup.checks.walk.rules import (
    MASQUERADE,
    Chain,
    Hook,
    Packet,
    Rule,
    Step,
    Verdict,
    by_chance,
    change,
    say,
    to_one_of,
    when,
)

HOOKS: dict[str, Hook] = {
    "PREROUTING": "prerouting",
    "INPUT": "input",
    "FORWARD": "forward",
    "OUTPUT": "output",
    "POSTROUTING": "postrouting",
}
PRIORITIES = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
"""From linux/netfilter_ipv4.h. nat is at 100 after routing."""

_QUOTED = "\0"
_WORDS = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_END = {"ACCEPT": Verdict("accept"), "DROP": Verdict("drop"), "REJECT": Verdict("reject"), "RETURN": Verdict("return")}
_SILENT = {"-m", "--comment", "--nfacct-name", "--mode", "--packet",
           "--set", "--name", "--rsource", "--mask", "--seconds", "--reap"}  # fmt: skip
"""Options that say how to read what follows, or nothing about the packet. (The last are of "recent".)"""
_CHANCE = {"--probability", "--every"}
_AFFINITY = {"--rcheck", "--update"}
"""Of "recent" too: by them kube-proxy sends a client to the same endpoint again (sessionAffinity)."""
_WITHOUT_EFFECT = re.compile(
    "LOG|NFLOG|ULOG|NOTRACK|CT|CONNMARK|CONNSECMARK|SECMARK|CLASSIFY|TCPMSS|TCPOPTSTRIP|TRACE|TOS|DSCP|ECN|TTL|SET|"
    "AUDIT|CHECKSUM|TEE|LED|IDLETIMER|RATEEST|HMARK"
)
"""Targets after which a packet goes on as it was, as far as the walk is concerned."""


def chains_of(text: str) -> dict[tuple[str, str], Chain]:
    """The chains of iptables-save's output by (table, name)."""
    chains: dict[tuple[str, str], Chain] = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            chain = chains[table, name] = Chain(table, name)
            if policy != "-":
                chain.hook = HOOKS[name]
                chain.kind = "nat" if table == "nat" else "filter"
                chain.priority = 100 if (table, name) == ("nat", "POSTROUTING") else PRIORITIES.get(table, 0)
                chain.policy = policy.lower()
                chain.mend_policy = f"iptables -t {table} -P {name} ACCEPT"
        elif line.startswith("-A "):
            name = line.split(" ", 2)[1]
            if (table, name) in chains:
                chains[table, name].lines.append(_later(table, line))
    return chains


def _later(table: str, line: str) -> Callable[[], Rule]:
    return lambda: rule_of(table, line)


def rule_of(table: str, line: str) -> Rule:
    """One line that begins with -A."""
    # What is quoted is no option, whatever it begins with.
    words = [plain or f"{_QUOTED}{quoted}" for quoted, plain in _WORDS.findall(line)]
    steps: list[Step] = []
    target, options = "", dict[str, str]()
    jumps = False
    negated = False
    module = ""
    index = 2
    while index < len(words):
        word = words[index]
        index += 1
        if word == "!":
            negated = True
            continue
        arguments: list[str] = []
        while index < len(words) and not (words[index] == "!" or re.match(r"--?[a-z]", words[index])):
            arguments.append(words[index].removeprefix(_QUOTED))
            index += 1
        if word in ("-j", "-g"):
            target, jumps = arguments[0], word == "-j"
        elif target:
            options[word] = " ".join(arguments)
        elif word in _CHANCE or (word in _AFFINITY and table == "nat"):
            steps.append(by_chance)
        elif word == "--mark" and module == "connmark":
            steps.append(when(lambda packet: None))
        elif word not in _SILENT:
            steps.append(when(_test(word, arguments, negated)))
        module = arguments[0] if word == "-m" else module
        negated = False
    steps += _ending(target, options, jumps)
    return Rule(steps, f"{line} (table {table})", f"iptables -t {table} -D {line.removeprefix('-A ')}")


def _test(word: str, arguments: list[str], negated: bool) -> Callable[[Packet], bool | None]:
    make = _TESTS.get(word)
    try:
        test = make(arguments[0]) if make is not None and arguments else lambda packet: None
    except ValueError:  # a mask with holes, a name in the place of a number
        return lambda packet: None

    def answer(packet: Packet) -> bool | None:
        found = test(packet)
        return found if found is None else found is not negated

    return answer


def _ending(target: str, options: dict[str, str], jumps: bool) -> list[Step]:
    if target in _END:
        return [say(_END[target])]
    if target == "DNAT":
        address, _, port = options.get("--to-destination", "").partition(":")
        # Of ranges, the first: which it is, nobody can tell.
        number = port.partition("-")[0]
        return [to_one_of([(address.partition("-")[0], int(number) if number.isdigit() else 0)])]
    if target == "REDIRECT":
        return [change(lambda packet: replace(packet, translated=True, to_self=True), Verdict("accept"))]
    if target in ("MASQUERADE", "SNAT"):
        return [MASQUERADE]
    if target == "MARK":
        return [change(_marking(options))]
    if not target or _WITHOUT_EFFECT.fullmatch(target):
        return []
    return [say(Verdict("jump" if jumps else "goto", target))]


def _marking(options: dict[str, str]) -> Callable[[Packet], Packet]:
    word, text = next(iter(options.items()), ("--or-mark", "0"))
    value, mask = _mark(text)

    def alter(packet: Packet) -> Packet:
        match word:
            case "--set-mark":
                mark = packet.mark & ~mask | value
            case "--or-mark":
                mark = packet.mark | value
            case "--and-mark":
                mark = packet.mark & value
            case _:  # --set-xmark
                mark = packet.mark & ~mask ^ value
        return replace(packet, mark=mark & 0xFFFFFFFF)

    return alter


def _mark(text: str) -> tuple[int, int]:
    value, _, mask = text.partition("/")
    return int(value, 0), int(mask, 0) if mask else 0xFFFFFFFF


@lru_cache(maxsize=1024)
def _address(text: str) -> IPv4Address:
    return IPv4Address(text)


def _network(address: Callable[[Packet], str]) -> Callable[[str], Callable[[Packet], bool | None]]:
    def make(text: str) -> Callable[[Packet], bool | None]:
        network = IPv4Network(text, strict=False)
        # A pod that has no address yet sends nothing that could be judged.
        return lambda packet: _address(address(packet)) in network if address(packet) else None

    return make


def _device(device: Callable[[Packet], str]) -> Callable[[str], Callable[[Packet], bool | None]]:
    def make(text: str) -> Callable[[Packet], bool | None]:
        if text.endswith("+"):
            return lambda packet: device(packet).startswith(text[:-1]) and device(packet) != ""
        return lambda packet: device(packet) == text

    return make


def _ports(text: str) -> Callable[[Packet], bool | None]:
    ranges = [part.partition(":") for part in text.split(",")]
    spans = [(int(low or 0), int(high or 65535) if colon else int(low)) for low, colon, high in ranges]
    return lambda packet: any(low <= packet.port <= high for low, high in spans) if packet.port else None


def _states(text: str) -> Callable[[Packet], bool | None]:
    wanted = set(text.upper().split(","))
    return lambda packet: packet.state.upper() in wanted or ("DNAT" in wanted and packet.translated)


def _marked(text: str) -> Callable[[Packet], bool | None]:
    value, mask = _mark(text)
    return lambda packet: packet.mark & mask == value


def _of_type(is_local: Callable[[Packet], bool]) -> Callable[[str], Callable[[Packet], bool | None]]:
    # No packet of a walk is for many, or for nobody.
    return lambda text: lambda packet: ("LOCAL" if is_local(packet) else "UNICAST") in text.split(",")


def _protocol(text: str) -> Callable[[Packet], bool | None]:
    return lambda packet: text in (packet.protocol, "all")


_TESTS: dict[str, Callable[[str], Callable[[Packet], bool | None]]] = {
    "-s": _network(lambda packet: packet.source),
    "-d": _network(lambda packet: packet.target),
    "-p": _protocol,
    "-i": _device(lambda packet: packet.came_in),
    "-o": _device(lambda packet: packet.goes_out),
    "--dport": _ports,
    "--dports": _ports,
    "--ctstate": _states,
    "--state": _states,
    "--mark": _marked,
    "--dst-type": _of_type(lambda packet: packet.to_self),
    "--src-type": _of_type(lambda packet: packet.from_self),
}
"""What can be judged of a packet; any other match cannot."""
