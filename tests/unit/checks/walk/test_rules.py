"""Packets through rules, as the kernel takes them."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from kubeup.checks.walk import iptables, nft
from kubeup.checks.walk.reading import SCRIPT
from kubeup.checks.walk.rules import Outcome, Packet, Ruleset

PACKET = Packet("10.0.0.9", "192.168.3.5", "tcp", 80, came_in="cni0")

TEXT = """*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:SVC - [0:0]
:SEP-A - [0:0]
:SEP-B - [0:0]
:MASQ - [0:0]
-A PREROUTING -j SVC
-A SVC -d 192.168.3.5/32 -p tcp -m tcp --dport 80 -m statistic --mode random --probability 0.5 -j SEP-A
-A SVC -d 192.168.3.5/32 -p tcp -m tcp --dport 80 -j SEP-B
-A SEP-A ! -s 10.0.0.0/8 -j MASQ
-A SEP-A -p tcp -m tcp -j DNAT --to-destination 10.1.0.1:8080
-A SEP-B -s 10.0.0.0/8 -j MASQ
-A SEP-B -p tcp -m tcp -j DNAT --to-destination 10.1.0.2
-A MASQ -j MARK --set-xmark 0x4000/0x4000
-A POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A POSTROUTING -j MASQUERADE --random-fully
COMMIT
*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -d 10.1.0.1/32 -i cni+ -m conntrack --ctstate NEW -m comment --comment "a b" -j REJECT --reject-with icmp-x
COMMIT
"""


def ruleset(text: str = TEXT) -> Ruleset:
    return Ruleset(iptables.chains_of(text))


def targets(outcomes: list[Outcome]) -> set[tuple[str, int, int]]:
    return {(o.packet.target, o.packet.port, o.packet.mark) for o in outcomes}


def test_chance_leads_to_every_endpoint_and_negation_counts() -> None:
    found = ruleset().travel(("prerouting",), PACKET)
    assert targets(found) == {("10.1.0.1", 8080, 0), ("10.1.0.2", 80, 0x4000)}
    assert all(o.sure and o.verdict == "accept" for o in found)
    assert {o.trail for o in found} == {("PREROUTING", "SVC", "SEP-A"), ("PREROUTING", "SVC", "SEP-B", "MASQ")}


def test_what_is_marked_is_masqueraded_and_nothing_else() -> None:
    after = [
        o
        for before in ruleset().travel(("prerouting",), PACKET)
        for o in ruleset().travel(("postrouting",), before.packet)
    ]
    assert {(o.packet.target, o.packet.masqueraded) for o in after} == {("10.1.0.1", False), ("10.1.0.2", True)}


def test_a_rule_that_rejects_is_named_with_what_takes_it_away() -> None:
    lost = [o for o in ruleset().travel(("prerouting", "forward"), PACKET) if o.lost]
    assert [o.packet.target for o in lost] == ["10.1.0.1"]
    assert '--comment "a b" -j REJECT' in lost[0].words
    assert lost[0].mend.startswith("iptables -t filter -D FORWARD -d 10.1.0.1/32 -i cni+ ")


@pytest.mark.parametrize(
    "packet",
    [
        Packet("10.0.0.9", "192.168.3.5", "tcp", 80, came_in="cni0", state="established"),
        Packet("10.0.0.9", "192.168.3.5", "tcp", 80, came_in="cni0", translated=True),
        Packet("10.0.0.9", "192.168.3.5", "udp", 80, came_in="cni0"),
        Packet("10.0.0.9", "192.168.3.5", "tcp", 81, came_in="cni0"),
    ],
    ids=["connection is known", "is translated by now", "another protocol", "another port"],
)
def test_what_is_not_new_or_not_meant_keeps_its_target(packet: Packet) -> None:
    assert targets(ruleset().travel(("prerouting",), packet)) == {("192.168.3.5", packet.port, 0)}


def test_a_policy_that_drops_is_named() -> None:
    [outcome] = ruleset("*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i eth0 -j ACCEPT\nCOMMIT\n").travel(
        ("forward",), PACKET
    )
    assert outcome.lost
    assert outcome.words == "the policy of chain FORWARD in table filter is DROP"
    assert outcome.mend == "iptables -t filter -P FORWARD ACCEPT"


def test_return_and_goto_go_back_to_where_they_should() -> None:
    text = """*filter
:FORWARD ACCEPT [0:0]
:A - [0:0]
:B - [0:0]
-A FORWARD -j A
-A FORWARD -j DROP
-A A -g B
-A A -j ACCEPT
-A B -p udp -j DROP
-A B -j RETURN
-A B -j ACCEPT
COMMIT
"""
    [outcome] = ruleset(text).travel(("forward",), PACKET)
    assert outcome.lost
    assert "-A FORWARD -j DROP" in outcome.words


def nftables(*expressions: dict[str, Any]) -> Ruleset:
    """A table with one chain that takes packets to be forwarded, each expression a rule before one that drops."""
    own = {"family": "inet", "table": "own", "chain": "forward"}
    chain = {"family": "inet", "table": "own", "name": "forward", "hook": "forward", "type": "filter", "prio": 0}
    drop = {**own, "handle": 9, "expr": [{"drop": None}]}
    rules = [{**own, "handle": number, "expr": [one]} for number, one in enumerate(expressions)]
    return Ruleset(nft.chains_of([{"nftables": [{"chain": chain}, *({"rule": rule} for rule in [*rules, drop])]}]))


@pytest.mark.parametrize(
    "expression",
    [
        {"mangle": {"key": {"meta": {"key": "mark"}}, "value": {"ct": {"key": "mark"}}}},
        {"mangle": {"key": {"meta": {"key": "mark"}}, "value": "somewhere"}},
        {"match": {"op": "==", "left": {"meta": {"key": "mark"}}, "right": {"ct": {"key": "mark"}}}},
        {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": "not-an-address"}},
        {"vmap": {"key": {"ct": {"key": "mark"}}, "data": {"set": [["x", {"accept": None}]]}}},
    ],
)
def test_what_the_walk_does_not_know_is_passed_by(expression: dict[str, Any]) -> None:
    assert {o.verdict for o in nftables(expression).travel(("forward",), PACKET) if o.sure} <= {"drop"}


def test_a_pod_without_an_address_matches_no_network() -> None:
    text = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -s 10.0.0.0/8 -j DROP\nCOMMIT\n"
    without = Packet("", "192.168.3.5", "tcp", 80)
    assert all(not (o.lost and o.sure) for o in ruleset(text).travel(("forward",), without))


# What cannot be judged from outside: an ipset, an owner, another's program.

FORWARD = "*filter\n:FORWARD ACCEPT [0:0]\n:OWN - [0:0]\n{}\nCOMMIT\n"


def lost(*rules: str, packet: Packet = PACKET, text: str = FORWARD) -> list[str]:
    """The rules that surely take the packet away."""
    lines = "\n".join(f"-A {rule}" for rule in rules)
    return [o.words for o in ruleset(text.format(lines)).travel(("forward",), packet) if o.lost]


@pytest.mark.parametrize(
    "rules",
    [
        ("FORWARD -m set --match-set blocked src -j DROP",),
        ("FORWARD -m set --match-set allowed src -j ACCEPT", "FORWARD -j DROP"),
        ("FORWARD -m set --match-set allowed src -j OWN", "OWN -j ACCEPT", "FORWARD -j DROP"),
        ("FORWARD -m connmark --mark 0x1 -j ACCEPT", "FORWARD -j DROP"),
        ("FORWARD -j NFQUEUE --queue-num 0", "FORWARD -j DROP"),
        ("FORWARD -p tcp -m multiport --sports 1024:2048 -j ACCEPT", "FORWARD -j REJECT --reject-with icmp-x"),
        ("FORWARD -s 10.0.0.0/255.0.255.0 -j ACCEPT", "FORWARD -j DROP"),  # a mask with a hole
        ("FORWARD -m recent --rcheck --seconds 60 --name bad --rsource -j DROP",),
    ],
)
def test_what_hangs_on_it_is_no_evidence(rules: tuple[str, ...]) -> None:
    assert lost(*rules) == []


@pytest.mark.parametrize(
    "rules",
    [
        ("FORWARD -m set --match-set x src -j LOG", "FORWARD -j DROP"),
        ("FORWARD -m set --match-set x src -j OWN", "OWN -m limit --limit 5/min -j RETURN", "FORWARD -j DROP"),
        ("FORWARD -m set --match-set x src -j REJECT", "FORWARD -j DROP"),
        ("FORWARD -m addrtype --dst-type MULTICAST,BROADCAST -j ACCEPT", "FORWARD -j DROP"),
        ('FORWARD -m comment --comment "-j ACCEPT" -j LOG --log-prefix "! -x "', "FORWARD -j DROP"),
        ("FORWARD -p tcp -m multiport --dports 22,70:90 -m addrtype ! --dst-type LOCAL -j DROP",),
    ],
)
def test_where_both_ways_come_to_the_same_it_is(rules: tuple[str, ...]) -> None:
    [words] = lost(*rules)
    assert "-j DROP" in words


def test_of_what_goes_back_no_port_is_known() -> None:
    back = Packet("10.1.0.1", "10.0.0.9", "tcp", 0, came_in="eth0", state="established")
    assert lost("FORWARD -p tcp -m tcp --dport 32768:60999 -j ACCEPT", "FORWARD -j DROP", packet=back) == []
    assert lost("FORWARD -p udp -m udp --dport 53 -j ACCEPT", "FORWARD -j DROP", packet=back) != []


def test_a_service_with_affinity_has_all_its_endpoints() -> None:
    """As kube-proxy writes it."""
    text = """*nat
:PREROUTING ACCEPT [0:0]
:SVC - [0:0]
:SEP-A - [0:0]
:SEP-B - [0:0]
-A PREROUTING -j SVC
-A SVC -m recent --rcheck --seconds 10800 --reap --name SEP-A --rsource -j SEP-A
-A SVC -m recent --rcheck --seconds 10800 --reap --name SEP-B --rsource -j SEP-B
-A SVC -m statistic --mode random --probability 0.5 -j SEP-A
-A SVC -j SEP-B
-A SEP-A -p tcp -m recent --set --name SEP-A --rsource -m tcp -j DNAT --to-destination 10.1.0.1:80
-A SEP-B -p tcp -m recent --set --name SEP-B --rsource -m tcp -j DNAT --to-destination 10.1.0.2:80
COMMIT
"""
    found = ruleset(text).travel(("prerouting",), PACKET)
    assert targets(found) == {("10.1.0.1", 80, 0), ("10.1.0.2", 80, 0)}
    assert all(o.sure for o in found)
    without = text.replace("-A SEP-B -p", "# ")
    assert [o.packet.target for o in ruleset(without).travel(("prerouting",), PACKET) if o.sure].count("192.168.3.5")


@pytest.mark.parametrize(
    ("to", "target"),
    [("10.1.0.1-10.1.0.9:80-90", ("10.1.0.1", 80)), (":8080", ("192.168.3.5", 8080)), ("10.1.0.7", ("10.1.0.7", 80))],
)
def test_a_new_target_may_be_a_range_or_a_port_alone(to: str, target: tuple[str, int]) -> None:
    text = f"*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -j DNAT --to-destination {to} --random\nCOMMIT\n"
    [outcome] = ruleset(text).travel(("prerouting",), PACKET)
    assert (outcome.packet.target, outcome.packet.port) == target


def field(protocol: str, name: str) -> dict[str, Any]:
    return {"payload": {"protocol": protocol, "field": name}}


def matched(left: Any, right: Any, op: str = "==", packet: Packet = PACKET) -> bool | None:
    """Whether a packet is taken by such a match; None where it cannot be told."""
    expr = [{"match": {"op": op, "left": left, "right": right}}, {"drop": None}]
    chain = {"family": "inet", "table": "own", "name": "forward", "hook": "forward", "type": "filter", "prio": 0}
    rule = {"family": "inet", "table": "own", "chain": "forward", "handle": 1, "expr": expr}
    found = Ruleset(nft.chains_of([{"nftables": [{"chain": chain}, {"rule": rule}]}])).travel(("forward",), PACKET
                    if packet is PACKET else packet)  # fmt: skip
    return None if len(found) > 1 else found[0].lost


@pytest.mark.parametrize(
    ("left", "right", "op", "taken"),
    [
        (field("udp", "dport"), 53, "!=", False),  # it has no such port
        (field("tcp", "dport"), 53, "!=", True),
        (field("tcp", "dport"), 1024, "<", True),
        (field("udp", "dport"), 1024, "<", False),
        (field("tcp", "dport"), {"set": [22, {"range": [70, 90]}]}, "==", True),
        (field("tcp", "sport"), 53, "==", None),
        (field("ip6", "daddr"), "fd00::1", "!=", False),
        (field("icmpv6", "type"), {"set": ["nd-neighbor-solicit"]}, "==", False),
        (field("ip", "daddr"), {"set": [{"prefix": {"addr": "192.168.0.0", "len": 16}}]}, "==", True),
        (field("ip", "daddr"), {"set": [{"range": ["192.168.3.0", "192.168.3.4"]}]}, "!=", True),
        (field("ip", "daddr"), {"set": [{"elem": {"val": "192.168.3.5", "comment": "x"}}]}, "==", True),
        (field("ip", "daddr"), "@nowhere", "==", None),
        ({"meta": {"key": "pkttype"}}, {"set": ["broadcast", "multicast"]}, "==", False),
        ({"ct": {"key": "state"}}, ["established", "related"], "in", False),
        ({"ct": {"key": "state"}}, "new", "in", True),
        (
            {"concat": [field("ip", "saddr"), field("tcp", "sport")]},
            {"set": [{"concat": ["10.0.0.8", 1]}]},
            "==",
            False,
        ),
        ({"concat": [field("ip", "saddr"), field("tcp", "sport")]}, {"set": [{"concat": ["10.0.0.9", 1]}]}, "==", None),
        ({"&": [field("tcp", "flags"), {"|": ["fin", "syn", "rst"]}]}, "syn", "==", None),
    ],
)
def test_matches_of_nft(left: Any, right: Any, op: str, taken: bool | None) -> None:
    assert matched(left, right, op) is taken


def test_states_lead_where_a_map_says() -> None:
    states = [["established", {"accept": None}], ["related", {"accept": None}], ["invalid", {"drop": None}]]
    rules = nftables({"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": states}}})
    back = Packet("10.1.0.1", "10.0.0.9", "tcp", 0, state="established")
    assert [o.verdict for o in rules.travel(("forward",), back)] == ["accept"]
    assert [o.verdict for o in rules.travel(("forward",), PACKET)] == ["drop"]  # by the rule that follows


@pytest.mark.parametrize(
    "expression",
    [
        {"queue": {"num": 0}},
        {"xt": {"type": "match", "name": "set"}, "more": 1},
        {"dnat": {"addr": {"numgen": {}}}},
        {"dnat": {"addr": {"map": {"key": field("ip", "saddr"), "data": {"set": [["10.0.0.9", {"prefix": 1}]]}}}}},
    ],
)
def test_a_statement_that_is_not_known_is_no_evidence(expression: dict[str, Any]) -> None:
    outcomes = nftables({"match": {"op": "==", "left": field("tcp", "dport"), "right": 80}}, expression)
    assert {o.verdict for o in outcomes.travel(("forward",), PACKET) if o.sure} <= {"drop"}


def test_addresses_by_a_map_are_the_packets_own() -> None:
    pairs = [[80, {"concat": ["10.1.0.1", 8080]}], [443, {"concat": ["10.1.0.1", 8443]}], ["*", "10.1.0.3"]]
    rules = nftables({"dnat": {"addr": {"map": {"key": field("tcp", "dport"), "data": {"set": pairs}}}}})
    assert targets(rules.travel(("forward",), PACKET)) == {("10.1.0.1", 8080, 0)}
    other = Packet("10.0.0.9", "192.168.3.5", "tcp", 81)
    assert targets(rules.travel(("forward",), other)) == {("10.1.0.3", 81, 0)}


def test_a_table_that_sleeps_and_another_device_take_nothing() -> None:
    chain = {"family": "netdev", "table": "t", "name": "c", "hook": "ingress", "type": "filter", "prio": 0}
    rule = {"family": "netdev", "table": "t", "chain": "c", "handle": 1, "expr": [{"drop": None}]}
    for flags, devices, verdict in (([], ["eth1", "cni0"], "drop"), (["dormant"], ["cni0"], "accept"),
                                    ([], "eth1", "accept"), ([], [], "drop")):  # fmt: skip
        table = {"table": {"family": "netdev", "name": "t", "flags": flags}}
        found = nft.chains_of([{"nftables": [table, {"chain": {**chain, "dev": devices}}, {"rule": rule}]}])
        assert [o.verdict for o in Ruleset(found).travel(("ingress",), PACKET)] == [verdict]


UFW = """*filter
:INPUT DROP [0:0]
:after-input - [0:0]
:after-logging-input - [0:0]
:before-input - [0:0]
:logging-deny - [0:0]
:not-local - [0:0]
:skip-to-policy-input - [0:0]
:user-input - [0:0]
-A INPUT -j before-input
-A INPUT -j after-input
-A INPUT -j after-logging-input
-A after-input -p udp -m udp --dport 137 -j skip-to-policy-input
-A after-input -m addrtype --dst-type BROADCAST -j skip-to-policy-input
-A after-logging-input -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A before-input -i lo -j ACCEPT
-A before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A before-input -m conntrack --ctstate INVALID -j logging-deny
-A before-input -m conntrack --ctstate INVALID -j DROP
-A before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A before-input -j not-local
-A before-input -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT
-A before-input -j user-input
-A logging-deny -m conntrack --ctstate INVALID -m limit --limit 3/min --limit-burst 10 -j RETURN
-A logging-deny -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A not-local -m addrtype --dst-type LOCAL -j RETURN
-A not-local -m addrtype --dst-type MULTICAST -j RETURN
-A not-local -m limit --limit 3/min --limit-burst 10 -j logging-deny
-A not-local -j DROP
-A skip-to-policy-input -j DROP
-A user-input -s 10.0.0.2/32 -j ACCEPT
COMMIT
"""


def test_a_firewall_as_ufw_writes_it_is_judged_for_sure() -> None:
    vxlan = {"target": "10.0.0.1", "protocol": "udp", "port": 8472, "came_in": "eth0", "to_self": True}
    for source, verdict in (("10.0.0.2", "accept"), ("10.0.0.3", "drop")):
        [outcome] = ruleset(UFW).travel(("input",), Packet(source, **vxlan))  # type: ignore[arg-type]
        assert (outcome.verdict, outcome.sure) == (verdict, True)
    [outcome] = ruleset(UFW).travel(("input",), Packet("10.0.0.2", **{**vxlan, "to_self": False}))  # type: ignore[arg-type]
    assert outcome.words == "-A not-local -j DROP (table filter)"


@pytest.mark.parametrize(
    ("version", "saved", "read"),
    [
        ("v1.8.9 (nf_tables)", "*filter", ["inet fw", "ip nat"]),  # ip nat is not of iptables' making
        ("v1.8.9 (nf_tables)", "*filter\n*nat", ["inet fw"]),
        ("v1.8.9 (legacy)", "*filter\n*nat", ["inet fw", "ip filter", "ip nat"]),
        ("", "", ["inet fw", "ip filter", "ip nat"]),
    ],
)
def test_tables_are_read_of_nft_where_iptables_has_not_shown_them(
    tmp_path: Path, version: str, saved: str, read: list[str]
) -> None:
    programs = {
        "iptables": f"echo 'iptables {version}'",
        "iptables-save": f"printf '{saved}\\n'",
        "nft": """if [ "$1" = -j ]; then echo "$4 $5"; else
            printf 'table inet fw\\ntable ip filter\\ntable ip nat\\ntable ip6 nat\\n'; fi""",
        **dict.fromkeys(["systemctl", "ip", "bridge", "nsenter"], "exit 1"),
    }
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    said = subprocess.run(["sh", "-s"], input=SCRIPT, capture_output=True, text=True, check=True, env=path).stdout
    sections = dict(part.split("\n", 1) for part in said.split("\n=== ")[1:])
    assert sections["nft"].splitlines() == read
