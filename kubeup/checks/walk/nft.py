"""nft's JSON (``nft -j list table``) as chains; see libnftables-json(5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any, get_args

from kubeup.checks.walk.rules import (
    MASQUERADE,
    MISS,
    Chain,
    Hook,
    Packet,
    Rule,
    Step,
    Verdict,
    change,
    say,
    to_one_of,
    when,
)

HOOKS = get_args(Hook)
FAMILIES = ("ip", "inet", "netdev")
"""Those whose chains see IPv4 packets on their way. (bridge: frames between pods of one node, which are not judged.)"""
OTHERS = {"tcp", "udp", "udplite", "sctp", "dccp", "icmp", "igmp", "esp", "ah", "comp", "ip6", "icmpv6", "arp"}
"""Protocols of which an IPv4 packet is at most one: of the others it has no field."""


class _Unknown(Exception):
    """Something that cannot be judged from outside."""


_SOMETHING = object()
_CANNOT_TELL = (_Unknown, TypeError, KeyError, ValueError)
"""What comes of a match that is of a kind not known here, or about another kind of packet."""


def chains_of(documents: Iterable[dict[str, Any]]) -> dict[tuple[str, str], Chain]:
    """The chains of ``nft -j list table ...``, one document a table, by (table, name)."""
    chains: dict[tuple[str, str], Chain] = {}
    sets: dict[tuple[str, str], Any] = {}
    dormant = set[str]()
    for document in documents:
        for item in document.get("nftables", ()):
            for kind, thing in item.items():
                if thing.get("family") not in FAMILIES:
                    continue
                table = f"{thing['family']} {thing.get('table', thing.get('name', ''))}"
                if kind == "table" and "dormant" in (thing.get("flags") or ()):
                    dormant.add(table)
                elif kind == "chain":
                    chains[table, thing["name"]] = _chain(table, thing)
                elif kind in ("set", "map"):
                    sets[table, thing["name"]] = thing.get("elem", [])
                elif kind == "rule" and (table, thing["chain"]) in chains:
                    chains[table, thing["chain"]].lines.append(_later(table, thing, sets))
    return {key: chain for key, chain in chains.items() if key[0] not in dormant}


def _chain(table: str, thing: dict[str, Any]) -> Chain:
    chain = Chain(table, thing["name"])
    if thing.get("hook") in HOOKS:
        chain.hook = thing["hook"]
        chain.kind = thing["type"]
        chain.priority = thing["prio"]
        chain.policy = thing.get("policy", "accept")
        device = thing.get("dev") or []
        chain.devices = (device,) if isinstance(device, str) else tuple(device)
        chain.mend_policy = f"nft chain {table} {thing['name']} '{{ policy accept ; }}'"
    return chain


def _later(table: str, thing: dict[str, Any], sets: dict[tuple[str, str], Any]) -> Callable[[], Rule]:
    def make() -> Rule:
        elements = {name: value for (of, name), value in sets.items() if of == table}
        steps = [_step(statement, elements) for statement in thing["expr"]]
        words = " ".join(filter(None, (_words(statement) for statement in thing["expr"])))
        comment = f' comment "{thing["comment"]}"' if thing.get("comment") else ""
        return Rule(
            [step for step in steps if step is not None],
            f"{words}{comment} (table {table}, chain {thing['chain']}, handle {thing['handle']})",
            f"nft delete rule {table} {thing['chain']} handle {thing['handle']}",
        )

    return make


def _step(statement: dict[str, Any] | str, sets: dict[str, Any]) -> Step | None:
    if isinstance(statement, str):  # "notrack" and the like
        return None
    try:
        return _known_step(statement, sets)
    except _CANNOT_TELL:
        return when(lambda packet: None)


def _known_step(statement: dict[str, Any], sets: dict[str, Any]) -> Step | None:
    [(kind, body)] = statement.items()
    match kind:
        case "match":
            return when(lambda packet: _judge(body, packet, sets))
        case "accept" | "drop" | "return" | "reject":
            return say(Verdict(kind))
        case "jump" | "goto":
            return say(Verdict(kind, body["target"]))
        case "vmap":
            return _vmap(body, sets)
        case "dnat":
            return _dnat(body, sets)
        case "redirect":
            return change(lambda packet: replace(packet, translated=True, to_self=True), Verdict("accept"))
        case "masquerade" | "snat":
            return MASQUERADE
        case "mangle" if body["key"] == {"meta": {"key": "mark"}}:
            return _mark(body["value"])
        case "counter" | "log" | "mangle" | "notrack" | "comment" | "set" | "map" | "flow" | "last" | "dup" | "secmark":
            return None
        case "ct helper" | "ct timeout" | "ct expectation":
            return None
        case "queue" | "tproxy" | "synproxy" | "fwd":
            return say(Verdict("goto", f"({kind})"))  # another's to decide
        case _:  # limit, xt, quota, ...
            raise _Unknown


def _judge(body: dict[str, Any], packet: Packet, sets: dict[str, Any]) -> bool | None:
    try:
        left = _value(body["left"], packet)
        right, operator = body["right"], body["op"]
        if left is None:  # there is no such field in this packet: nft looks for that first
            return False
        if operator in ("<", ">", "<=", ">="):
            return bool({"<": left < right, ">": left > right, "<=": left <= right, ">=": left >= right}[operator])
        if isinstance(left, (set, frozenset)):  # ct state, ct status: any of them
            wanted = set(right) if isinstance(right, list) else set(_elements(right, sets))
            found = bool(left & wanted)
        elif not isinstance(right, (dict, list)) and not (isinstance(right, str) and right.startswith("@")):
            found = _matches(left, right)
        else:
            found = any(_matches(left, element) for element in _elements(right, sets))
        return found is not (operator == "!=")
    except _CANNOT_TELL:
        return None


def _mark(value: Any) -> Step:
    def step(packet: Packet) -> list[tuple[Packet, Verdict | None, bool]]:
        try:
            return [(replace(packet, mark=int(_value(value, packet)) & 0xFFFFFFFF), None, True)]
        except _CANNOT_TELL:
            return [(packet, None, False)]

    return step


def _elements(right: Any, sets: dict[str, Any]) -> list[Any]:
    """What a set holds, wherever it stands."""
    if isinstance(right, str) and right.startswith("@"):
        if right[1:] not in sets:
            raise _Unknown
        right = sets[right[1:]]
    elif isinstance(right, dict) and "set" in right:
        right = right["set"]
    elif not isinstance(right, list):
        right = [right]
    return [_bare(element) for element in right]


def _bare(element: Any) -> Any:
    """An element without its comment and timeout."""
    return _bare(element["elem"]["val"]) if isinstance(element, dict) and "elem" in element else element


def _matches(value: Any, wanted: Any) -> bool:
    wanted = _bare(wanted)
    if value is None:
        return False
    if wanted == "*":
        return True
    if isinstance(value, frozenset):  # states, of which it has one
        return wanted in value
    if isinstance(wanted, dict):
        if "concat" in wanted:
            if not isinstance(value, tuple):
                return False
            parts = list(zip(value, wanted["concat"], strict=True))
            if not all(_matches(part, want) for part, want in parts if part is not _SOMETHING):
                return False
            if _SOMETHING in value:
                raise _Unknown
            return True
        if "prefix" in wanted:
            prefix = wanted["prefix"]
            return IPv4Address(value) in IPv4Network(f"{prefix['addr']}/{prefix['len']}", strict=False)
        if "range" in wanted:
            low, high = wanted["range"]
            if isinstance(low, str):
                return bool(IPv4Address(low) <= IPv4Address(value) <= IPv4Address(high))
            return bool(low <= value <= high)
        raise _Unknown
    if isinstance(wanted, str) and wanted.endswith("*") and isinstance(value, str):
        return value.startswith(wanted[:-1])
    return bool(value == wanted)


def _part(expression: Any, packet: Packet) -> Any:
    """Of what is looked for together; what cannot be told matters only where the rest is right."""
    try:
        return _value(expression, packet)
    except _CANNOT_TELL:
        return _SOMETHING


def _value(expression: Any, packet: Packet) -> Any:
    """What an expression gives for a packet. Raises _Unknown."""
    if not isinstance(expression, dict):
        return expression
    [(kind, body)] = expression.items()
    if kind == "concat":
        return tuple(_part(part, packet) for part in body)
    if kind in ("&", "|", "^"):
        left, right = (_value(part, packet) for part in body)
        return {"&": left & right, "|": left | right, "^": left ^ right}[kind]
    if kind == "payload":
        match body.get("protocol"), body.get("field"):
            case "ip", "saddr":
                return packet.source
            case "ip", "daddr":
                return packet.target
            case "ip", "protocol":
                return packet.protocol
            case "th" | packet.protocol, "dport" if packet.port:
                return packet.port
            case protocol, _ if protocol in OTHERS - {packet.protocol}:
                return None
        raise _Unknown
    if kind == "meta":
        known: dict[str, Any] = {
            "l4proto": packet.protocol, "mark": packet.mark, "nfproto": "ipv4", "protocol": "ip",
            "iifname": packet.came_in, "oifname": packet.goes_out, "iif": packet.came_in, "oif": packet.goes_out,
            "pkttype": "host",
        }  # fmt: skip
        if body["key"] in known:
            return known[body["key"]]
    if kind == "ct":
        if body["key"] == "state":
            return frozenset({packet.state})
        if body["key"] == "status":
            return frozenset({"dnat"} if packet.translated else set())
    if kind == "fib" and body.get("result") == "type":
        local = packet.to_self if "daddr" in body["flags"] else packet.from_self
        return "local" if local else "unicast"
    raise _Unknown


def _vmap(body: dict[str, Any], sets: dict[str, Any]) -> Step:
    def step(packet: Packet) -> list[tuple[Packet, Verdict | None, bool]]:
        pairs = _pairs(body["data"], sets)
        try:
            found = _found(body["key"], pairs, packet)
        except _CANNOT_TELL:
            unsure: list[tuple[Packet, Verdict | None, bool]] = [(packet, _verdict(v), False) for _, v in pairs]
            return [*unsure, (packet, MISS, False)]
        return [(packet, _verdict(verdict), True) for verdict in found] or [(packet, MISS, True)]

    return step


def _found(key: Any, pairs: list[tuple[Any, Any]], packet: Packet) -> list[Any]:
    """What a map has for a packet: one thing or nothing, or all where it is chosen by chance."""
    if "numgen" in str(key) or "jhash" in str(key):
        return [value for _, value in pairs]
    value = _value(key, packet)
    # "*" stands for all that nothing else stands for.
    return [found for wanted, found in sorted(pairs, key=lambda pair: pair[0] == "*") if _matches(value, wanted)][:1]


def _pairs(data: Any, sets: dict[str, Any]) -> list[tuple[Any, Any]]:
    """The (key, value) of a map, wherever it stands."""
    if isinstance(data, str):
        data = sets.get(data.removeprefix("@"), [])
    elif isinstance(data, dict):
        data = data["set"]
    return [(_bare(key), value) for key, value in data]


def _verdict(body: dict[str, Any]) -> Verdict:
    [(kind, more)] = body.items()
    return Verdict(kind, more["target"] if more else "")


def _dnat(body: dict[str, Any], sets: dict[str, Any]) -> Step:
    address, port = body.get("addr"), body.get("port")
    if isinstance(address, dict) and "map" in address:
        pairs = _pairs(address["map"]["data"], sets)

        def step(packet: Packet) -> list[tuple[Packet, Verdict | None, bool]]:
            try:
                found = [_bare(value) for value in _found(address["map"]["key"], pairs, packet)]
                to = [tuple(one["concat"]) if isinstance(one, dict) else (str(one), 0) for one in found]
            except _CANNOT_TELL:
                return [(packet, None, False), (packet, MISS, False)]
            return to_one_of(to)(packet) or [(packet, MISS, True)]

        return step
    if isinstance(address, str | None) and isinstance(port, int | None):
        return to_one_of([(address or "", port or 0)])
    raise _Unknown  # to an address that is made up of something else


def _words(statement: dict[str, Any] | str) -> str:
    """A statement about as nft writes it."""
    if isinstance(statement, str):
        return statement
    try:
        return _known_words(statement)
    except _CANNOT_TELL:
        return str(statement)


def _known_words(statement: dict[str, Any]) -> str:
    [(kind, body)] = statement.items()
    match kind:
        case "match":
            operator = "" if body["op"] in ("==", "in") else f"{body['op']} "
            return f"{_term(body['left'])} {operator}{_term(body['right'])}"
        case "accept" | "drop" | "return" | "reject" | "masquerade":
            return str(kind)
        case "jump" | "goto":
            return f"{kind} {body['target']}"
    return ""


def _term(term: Any) -> str:
    if isinstance(term, dict):
        [(kind, body)] = term.items()
        match kind:
            case "payload" if "field" in body:
                return f"{body['protocol']} {body['field']}"
            case "meta" | "ct":
                return f"{kind} {body['key']}" if body["key"] not in ("iifname", "oifname") else str(body["key"])
            case "prefix":
                return f"{body['addr']}/{body['len']}"
            case "set":
                return "{ " + ", ".join(map(_term, body)) + " }"
            case "range":
                return f"{body[0]}-{body[1]}"
            case "concat":
                return " . ".join(map(_term, body))
            case "&" | "|" | "^":
                return f"{_term(body[0])} {kind} {_term(body[1])}"
        return str(kind)
    return ", ".join(map(_term, term)) if isinstance(term, list) else str(term)
