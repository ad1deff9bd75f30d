"""The way, as data: its hops in order, what each looks like when all is well, and what can be wrong there.

A new fault is a new row here, and its function in checks.py. ``explains`` names the checks that fail as a consequence:
of all that is found, the first in the order of the way that nothing else explains is the first broken link.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kubeup.checks.places import VXLAN_PORT
from kubeup.checks.walk import checks
from kubeup.checks.walk.checks import Look, behind, end, on, start
from kubeup.checks.walk.questions import NAME, WHOLE, of_leg
from kubeup.checks.walk.reading import BRIDGE, TUNNEL
from kubeup.checks.walk.situation import Leg, Situation


@dataclass(frozen=True)
class Check:
    """A row of the table of faults. ``about``: what is wrong, in a few words."""

    name: str
    about: str
    look: Look
    explains: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hop:
    """A hop of the way. ``show`` says what is there, and is empty where a way has no such hop."""

    name: str
    title: str
    show: Callable[[Situation, Leg | None], list[str]]
    checks: tuple[Check, ...]


# What follows from what.

NOT_READY = ("pod-not-ready", "no-endpoints", "dns-endpoints")
CHAINS = ("service-chain", "endpoint-chain", "stale-rules")
UNANSWERED = ("tunnel-blocked", "node-unreachable", "dns-answer")
TUNNEL_STATE = ("route-missing", "fdb-missing", "neighbour-missing", *UNANSWERED)
NODE = ("node-not-ready", *NOT_READY, "stale-rules")


def node_checks(where: checks.Where) -> tuple[Check, ...]:
    """What a node must be and run, whatever part it has in the way."""
    return (
        Check("host-silent", "a host does not answer", on(where, checks.host_silent, silent=True), NODE),
        Check("clock-skew", "a host's clock is wrong", on(where, checks.clock_skew),
              ("kubelet-certificate", "apiserver-unreachable", *NODE)),
        Check("containerd-down", "containerd is down", on(where, checks.containerd_down),
              ("kubelet-down", *NODE)),
        Check("runtime-down", "a container runtime that you run does not answer", on(where, checks.runtime_down),
              ("kubelet-down", *NODE)),
        Check("kubelet-certificate", "the kubelet's certificate has expired", on(where, checks.kubelet_certificate),
              ("kubelet-down", "apiserver-unreachable", *NODE)),
        Check("apiserver-unreachable", "a node does not reach the API", on(where, checks.apiserver_unreachable),
              ("kubelet-down", "flanneld-down", *CHAINS, *NODE)),
        Check("kubelet-down", "the kubelet is down", on(where, checks.unit_down("kubelet")), NODE),
        Check("flanneld-down", "flanneld is down", on(where, checks.unit_down("flanneld")),
              ("tunnel-down", *TUNNEL_STATE, "subnet-moved")),
        Check("node-not-ready", "a node is not Ready", on(where, checks.node_not_ready), NOT_READY),
    )  # fmt: skip


def packet_filter(hop: str) -> tuple[Check, ...]:
    """A packet filter on the way."""
    return (
        Check("forward-dropped", "FORWARD drops", checks.dropped(hop, forwarding=True)),
        Check("rule-rejects", "a rule of somebody else's rejects or drops", checks.dropped(hop, forwarding=False)),
    )


def chains(dns: bool) -> tuple[Check, ...]:
    """The rules by which kube-proxy replaces a Service's address."""
    return (
        Check("service-chain", "a Service's chain is gone", checks.chain_gone(dns, of_endpoint=False), ("dns-answer",)),
        Check("endpoint-chain", "an endpoint's chain is gone", checks.chain_gone(dns, of_endpoint=True),
              ("dns-answer",)),
        Check("stale-rules", "rules of a Service are stale", checks.stale_rules(dns), ("dns-answer",)),
    )  # fmt: skip


# What each hop looks like.


def show_client(situation: Situation, leg: Leg | None) -> list[str]:
    if situation.client_pod is not None:
        how = "" if situation.in_pod else ", in its node's network"
        return [f"pod {situation.client_pod} ({situation.source}) on {situation.start}{how}"]
    if situation.client.kind == "node":
        return [f"a process on {situation.start} ({situation.source})"]
    return [f"{situation.client.name}, outside the cluster, asks {situation.gate}"]


def show_dns(situation: Situation, leg: Leg | None) -> list[str]:
    if not situation.asks_dns or situation.dns is None:
        return []
    legs = [way.to for way in situation.legs if way.dns]
    answer = situation.answers.get(NAME, {})
    lines = [f"{situation.name} is asked of {situation.dns} ({situation.dns.address}:53/udp)"]
    lines += [f"answered by {' or '.join(legs)}"] if legs else []
    if answer and not answer.get("error"):
        lines.append(f"it is {', '.join(answer['addresses'])} (tried, {answer['ms']} ms)")
    return lines


def show_service(situation: Situation, leg: Leg | None) -> list[str]:
    if situation.service is None:
        return []
    service, port = situation.service
    name = f" ({port['name']})" if port.get("name") else ""
    node_port = f", NodePort {port['nodePort']}" if port.get("nodePort") else ""
    address = service.address
    kind = "headless" if not address else f"{service.spec.get('type', 'ClusterIP')} {address}:{port['port']}"
    selector = ",".join(f"{k}={v}" for k, v in (service.spec.get("selector") or {}).items()) or "none"
    return [
        f"{service}: {kind}/{port.get('protocol', 'TCP')}{name}{node_port} → targetPort "
        f"{port.get('targetPort', port['port'])}, selector {selector}"
    ]


def show_slice(situation: Situation, leg: Leg | None) -> list[str]:
    if situation.service is None:
        return []
    names = ", ".join(item.name for item in situation.api.slices(situation.service[0])) or "no EndpointSlice"
    found = situation.endpoints(*situation.service)
    return [
        f"{names}: {len(found)} endpoint{'' if len(found) == 1 else 's'}",
        *(
            f"{e.address}:{e.port}  {e.pod or 'no pod'} on {e.node or '?'}{'' if e.ready else ', not ready'}"
            for e in found[:6]
        ),
        *([f"and {len(found) - 6} more"] if len(found) > 6 else []),
    ]


def show_proxy(situation: Situation, leg: Leg | None) -> list[str]:
    done = checks.proxies(situation, dns=False)
    if done is None:
        if situation.service is not None and not situation.asked:
            return ["none: a headless Service's name is its pods' addresses"]
        return []
    mode = situation.cluster.kube_proxy.mode
    lines = [f"on {done.gate} ({mode}) {done.address}:{done.port}/{done.protocol} becomes:"]
    trails: dict[tuple[str, ...], list[str]] = {}
    for outcome in done.outcomes:
        if outcome.packet.translated:
            trail = tuple(_own(list(outcome.trail)))
            marked = ", to be masqueraded" if outcome.packet.mark & 0x4000 else ""
            trails.setdefault(trail, []).append(f"{outcome.packet.target}:{outcome.packet.port}{marked}")
    lines += [f"{' → '.join(trail)} → {' or '.join(sorted(targets))}" for trail, targets in sorted(trails.items())[:6]]
    return lines


def _own(trail: list[str]) -> list[str]:
    """The part of a trail from the hook whose chains end at the new address, without helpers that came back."""
    return [name for name in trail if name not in ("KUBE-MARK-MASQ", "firewall-check", "filter-prerouting-pre-dnat",
                                                   "filter-output-pre-dnat")]  # fmt: skip


def show_route(situation: Situation, leg: Leg | None) -> list[str]:
    if leg is None:
        return []
    route = situation.route(leg)
    masquerade = " (masqueraded)" if any(o.packet.masqueraded for o in situation.masqueraded(leg)) else ""
    return [f"on {leg.start}: {route}{masquerade}" if route else f"on {leg.start}: none"]


def show_vxlan(situation: Situation, leg: Leg | None) -> list[str]:
    if leg is None or not situation.tunnelled(leg):
        return []
    first, last = situation.host(leg.start), situation.host(leg.node)
    if TUNNEL not in last.links or last.subnet is None:
        return [f"from {leg.start} to {leg.node}"]
    hardware, address = last.links[TUNNEL]["address"], str(last.subnet.network_address)
    return [
        f"{TUNNEL} (MTU {first.mtu(TUNNEL)}): neighbour {address} is {hardware}, which the FDB has at "
        f"{first.fdb.get(hardware, 'nowhere')}; UDP {VXLAN_PORT} to {leg.node}"
    ]


def show_bridge(situation: Situation, leg: Leg | None) -> list[str]:
    if leg is None or leg.pod is None:
        return []
    host = situation.host(leg.node)
    inside = host.pod(leg.address)
    device = next((n for n, link in host.links.items() if inside and link["ifindex"] == inside.link_index), "?")
    return [f"on {leg.node}: {BRIDGE} ({host.address_of(BRIDGE) or 'no address'}) → {device} → eth0 of the pod"]


def show_pod(situation: Situation, leg: Leg | None) -> list[str]:
    if leg is None:
        return []
    if leg.pod is None:
        return [f"the node {leg.node} itself ({leg.address})" if leg.node else f"{leg.address}, outside the cluster"]
    return [f"{leg.pod} ({leg.address}), {leg.pod.status.get('phase')}"]


def show_readiness(situation: Situation, leg: Leg | None) -> list[str]:
    if leg is None:
        return []
    words = []
    if leg.pod is not None:
        words.append("Ready" if leg.pod.ready else "not Ready")
        inside = situation.host(leg.node).pod(leg.address)
        if inside is not None and (leg.protocol, leg.port) in inside.listening:
            words.append(f"listens at {leg.port}/{leg.protocol}")
    answer = situation.answers.get(of_leg(leg), {})
    if answer:
        words.append(f"answers in {answer['ms']} ms" if not answer.get("error") else "does not answer")
    return [", ".join(words)] if words else []


def show_answer(situation: Situation, leg: Leg | None) -> list[str]:
    answer = situation.answers.get(WHOLE, {})
    if not answer:
        return []
    what = f"{situation.asked}:{situation.port}" if situation.port else situation.asked
    return [f"{what} {'does not answer: ' + answer['error'] if answer.get('error') else 'answers'} ({answer['ms']} ms)"]


TRUNK: tuple[Hop, ...] = (
    Hop("client", "client", show_client, (
        *node_checks(start),
        Check("client-not-running", "the client's pod does not run", checks.client_not_running),
        Check("pod-cable", "a pod's cable or its bridge is gone", checks.client_cable),
        Check("subnet-moved", "a pod has an address of another subnet", checks.subnet_moved),
    )),
    Hop("dns", "DNS", show_dns, (
        Check("nameserver", "the pod asks another nameserver", checks.nameserver, ("dns-answer",)),
        Check("dns-service", "the DNS Service is gone", checks.dns_service, ("dns-answer",)),
        Check("corefile", "the Corefile is broken", checks.corefile, ("dns-endpoints", "dns-answer")),
        Check("dns-endpoints", "CoreDNS has no endpoint", checks.dns_endpoints, ("dns-answer", *CHAINS)),
        *chains(dns=True),
    )),
    Hop("service", "Service", show_service, (
        Check("selector", "the selector matches nothing", checks.selector_matches_nothing, ("no-endpoints",)),
    )),
    Hop("slice", "EndpointSlice", show_slice, (
        *node_checks(behind),
        Check("pod-cable", "a pod's cable or its bridge is gone", checks.cable_behind, NOT_READY),
        Check("target-port", "targetPort is wrong", checks.target_port_unknown, NOT_READY),
        Check("pod-not-ready", "a pod is not Ready", checks.pod_not_ready, ("no-endpoints",)),
        Check("no-endpoints", "the Service has no endpoint", checks.no_endpoints),
    )),
    Hop("proxy", "proxy chain", show_proxy, (
        Check("kube-proxy-stopped", "kube-proxy does not run", checks.proxy_stopped, (*CHAINS, "masquerade-missing")),
        Check("conntrack-full", "the table of connections is full", on(start, checks.conntrack_full)),
        Check("bridge-netfilter-off", "bridge-nf-call-iptables is off", checks.bridge_netfilter_off, ("dns-answer",)),
        Check("rule-rejects", "a rule of somebody else's rejects or drops", checks.proxy_rule, CHAINS),
        *chains(dns=False),
        Check("masquerade-missing", "nothing masquerades", checks.masquerade_missing),
    )),
)  # fmt: skip
"""From the client to where its way divides."""

LEG: tuple[Hop, ...] = (
    Hop("route", "route", show_route, (
        Check("subnet-conflict", "two nodes have the same pod subnet", checks.subnet_conflict,
              ("subnet-moved", *TUNNEL_STATE)),
        Check("ip-forward-off", "ip_forward is off", on(checks.forwards, checks.forward_off), ("dns-answer",)),
        Check("route-missing", "a route is gone", checks.route_missing, ("masquerade-missing", *UNANSWERED)),
        *packet_filter("route"),
    )),
    Hop("vxlan", "VXLAN", show_vxlan, (
        Check("tunnel-down", "flannel.1 is down", checks.tunnel_down,
              ("masquerade-missing", *TUNNEL_STATE)),
        Check("neighbour-missing", "a neighbour's entry is gone", checks.neighbour_missing, UNANSWERED),
        Check("fdb-missing", "an FDB entry is gone", checks.fdb_missing, UNANSWERED),
        Check("mtu-too-large", "the MTU is too large", checks.mtu_too_large),
        Check("tunnel-blocked", f"UDP {VXLAN_PORT} is blocked", checks.tunnel_blocked, ("dns-answer",)),
        Check("node-unreachable", "a node does not reach another", checks.node_unreachable, ("dns-answer",)),
    )),
    Hop("bridge", "bridge", show_bridge, (
        Check("ip-forward-off", "ip_forward is off", on(checks.receives, checks.forward_off), ("dns-answer",)),
        Check("route-missing", "a route is gone", checks.route_back_missing, UNANSWERED),
        *packet_filter("bridge"),
        Check("subnet-moved", "a pod has an address of another subnet", checks.subnet_moved, ("dns-answer",)),
        Check("pod-cable", "a pod's cable or its bridge is gone", checks.pod_cable, ("dns-answer",)),
    )),
    Hop("pod", "pod", show_pod, (
        *node_checks(end),
        Check("pod-not-running", "the pod does not run", checks.pod_not_running, ("pod-not-ready",)),
    )),
    Hop("readiness", "readiness", show_readiness, (
        Check("pod-not-ready", "a pod is not Ready", checks.pod_not_ready),
        Check("target-port", "targetPort is wrong", checks.port_closed, ("pod-not-ready",)),
        Check("network-policy", "a NetworkPolicy forbids it", checks.network_policy),
    )),
)  # fmt: skip
"""From there to one address behind a Service; also the way to CoreDNS."""

LAST: tuple[Hop, ...] = (
    Hop("answer", "answer", show_answer, (
        Check("dns-answer", "the name does not resolve", checks.dns_answer),
        Check("no-answer", "it does not answer", checks.no_answer),
    )),
)  # fmt: skip
"""What was tried, from one end to the other: it has the last word where nothing else says anything."""
