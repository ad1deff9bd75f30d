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

_WORDS = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_END = {"ACCEPT": Verdict("accept"), "DROP": Verdict("drop"), "REJECT": Verdict("reject"), "RETURN": Verdict("return")}
_AFTER_THE_TARGET = {"--to-destination", "--to-source", "--to-ports", "--set-xmark", "--set-mark", "--or-mark",
                     "--and-mark", "--xor-mark"}  # fmt: skip


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
    words = [quoted or plain for quoted, plain in _WORDS.findall(line)]
    steps: list[Step] = []
    target, options = "", dict[str, str]()
    jumps = False
    negated = False
    index = 2
    while index < len(words):
        word = words[index]
        index += 1
        if word == "!":
            negated = True
            continue
        arguments: list[str] = []
        while index < len(words) and not (words[index] == "!" or re.match(r"--?[a-z]", words[index])):
            arguments.append(words[index])
            index += 1
        if word in ("-j", "-g"):
            target, jumps = arguments[0], word == "-j"
        elif target or word in _AFTER_THE_TARGET:
            options[word] = " ".join(arguments)
        elif word in ("-m", "--comment", "--nfacct-name", "--mode"):
            pass  # says how to read what follows, or nothing about the packet
        elif word in ("--probability", "--every", "--packet"):
            if word != "--packet":
                steps.append(by_chance)
        else:
            steps.append(when(_test(word, arguments, negated)))
        negated = False
    steps += _ending(target, options, jumps)
    return Rule(steps, f"{line} (table {table})", f"iptables -t {table} -D {line.removeprefix('-A ')}")


def _test(word: str, arguments: list[str], negated: bool) -> Callable[[Packet], bool | None]:
    make = _TESTS.get(word)
    if make is None or not arguments:
        return lambda packet: None
    test = make(arguments[0])

    def answer(packet: Packet) -> bool | None:
        found = test(packet)
        return found if found is None else found is not negated

    return answer


def _ending(target: str, options: dict[str, str], jumps: bool) -> list[Step]:
    if target in _END:
        return [say(_END[target])]
    if target == "DNAT":
        address, _, port = options.get("--to-destination", "").partition(":")
        return [to_one_of([(address, int(port) if port.isdigit() else 0)])]
    if target in ("MASQUERADE", "SNAT"):
        return [MASQUERADE]
    if target == "MARK":
        return [change(_marking(options))]
    if not target or re.fullmatch(r"LOG|NFLOG|NOTRACK|CT|CONNMARK|TCPMSS|TRACE|TOS|DSCP|SET|AUDIT|CHECKSUM", target):
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
    return lambda packet: any(low <= packet.port <= high for low, high in spans)


def _states(text: str) -> Callable[[Packet], bool | None]:
    wanted = set(text.upper().split(","))
    return lambda packet: packet.state.upper() in wanted or ("DNAT" in wanted and packet.translated)


def _marked(text: str) -> Callable[[Packet], bool | None]:
    value, mask = _mark(text)
    return lambda packet: packet.mark & mask == value


def _of_type(is_local: Callable[[Packet], bool]) -> Callable[[str], Callable[[Packet], bool | None]]:
    return lambda text: lambda packet: is_local(packet) if text == "LOCAL" else None


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
