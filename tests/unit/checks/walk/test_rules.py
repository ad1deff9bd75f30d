"""Packets through rules, as the kernel takes them."""

from typing import Any

import pytest

from kubeup.checks.walk import iptables, nft
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
