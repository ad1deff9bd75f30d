"""Whether NetworkPolicies let a client through to a pod, as far as their words go. flannel itself enforces none."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from kubeup.checks.walk.reading import Object
from kubeup.checks.walk.situation import Leg, Situation


def forbids(situation: Situation, leg: Leg) -> Object | None:
    """A policy that selects the leg's pod, where none that does allows the client. (Policies add up.)"""
    if leg.pod is None:
        return None
    policies = [
        policy
        for policy in situation.api.of("NetworkPolicy")
        if policy.namespace == leg.pod.namespace
        and "Ingress" in (policy.spec.get("policyTypes") or ["Ingress"])
        and selects(policy.spec.get("podSelector") or {}, leg.pod.labels)
    ]
    if any(_allows(rule, situation, leg) for policy in policies for rule in policy.spec.get("ingress") or ()):
        return None
    return policies[0] if policies else None


def _allows(rule: Mapping[str, Any], situation: Situation, leg: Leg) -> bool:
    ports = rule.get("ports") or []
    if ports and not any(_is_port(port, leg) for port in ports):
        return False
    peers = rule.get("from") or []
    return not peers or any(_is_peer(peer, situation, leg) for peer in peers)


def _is_port(port: Mapping[str, Any], leg: Leg) -> bool:
    if port.get("protocol", "TCP").lower() != leg.protocol:
        return False
    wanted = port.get("port")
    if isinstance(wanted, str):
        containers = leg.pod.spec["containers"] if leg.pod else ()
        named = [p for c in containers for p in c.get("ports", ()) if p.get("name") == wanted]
        return any(p["containerPort"] == leg.port for p in named)
    return wanted is None or wanted <= leg.port <= port.get("endPort", wanted)


def _is_peer(peer: Mapping[str, Any], situation: Situation, leg: Leg) -> bool:
    if block := peer.get("ipBlock"):
        if not situation.source:
            return False
        address = IPv4Address(situation.source)
        without = any(
            address in IPv4Network(cidr, strict=False) for cidr in block.get("except") or () if ":" not in cidr
        )
        return ":" not in block["cidr"] and address in IPv4Network(block["cidr"], strict=False) and not without
    client = situation.client_pod
    if client is None or client.in_node or leg.pod is None:
        return False
    if "namespaceSelector" in peer:
        # The one label that every namespace has; others are not read.
        labels = {"kubernetes.io/metadata.name": client.namespace}
        if not selects(peer["namespaceSelector"] or {}, labels):
            return False
    elif client.namespace != leg.pod.namespace:
        return False
    return selects(peer.get("podSelector") or {}, client.labels)


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects what has these labels."""
    if not (selector.get("matchLabels") or {}).items() <= labels.items():
        return False
    for term in selector.get("matchExpressions") or ():
        value, values = labels.get(term["key"]), term.get("values") or []
        if not {"In": value in values, "NotIn": value not in values, "Exists": value is not None,
                "DoesNotExist": value is None}[term["operator"]]:  # fmt: skip
            return False
    return True
