"""The whole of what a walk judges: both ends, the ways between them, what was read, and what was tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv4Address
from typing import Any

from kubeup.checks.kubectl import condition
from kubeup.checks.places import KUBELET_PORT, VXLAN_PORT
from kubeup.checks.pods import why_not_ready
from kubeup.checks.walk.ends import End, find_pod, find_service
from kubeup.checks.walk.reading import BRIDGE, TUNNEL, Api, Host, Object, Route
from kubeup.checks.walk.rules import Hook, Outcome, Packet
from kubeup.cluster import Cluster
from kubeup.errors import WalkRefused

PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}
VXLAN_HEADERS = 50
"""Bytes that VXLAN puts around a packet: Ethernet, IPv4, UDP and its own."""


@dataclass(frozen=True)
class Endpoint:
    """One address of an EndpointSlice."""

    address: str
    port: int
    node: str
    pod: str
    ready: bool
    nodes: frozenset[str] = frozenset()
    """The nodes that it is meant for, and the zones: hints of a Service's trafficDistribution."""
    zones: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Leg:
    """The way from the node where a Service's address is replaced to one address behind it.

    ``start`` and ``node`` are nodes' names; ``node`` is empty for an address outside. ``pod`` is empty where the
    address is a node's. ``dns``: whether it is CoreDNS that is gone to.
    """

    start: str
    node: str
    address: str
    port: int
    protocol: str
    pod: Object | None = None
    dns: bool = False

    @property
    def to(self) -> str:
        """What it leads to, for people."""
        port = f":{self.port}" if self.port else ""
        if self.pod is not None:
            return f"pod {self.pod} ({self.address}{port}) on {self.node}"
        return f"{self.node or 'the address'} ({self.address}{port})" if self.node else f"{self.address}{port}"


@dataclass(frozen=True)
class Stage:
    """A packet filter that a packet of a leg passes, on the way there or back."""

    hop: str
    host: str
    packet: Packet
    hooks: tuple[Hook, ...]
    what: str


@dataclass
class Situation:
    """Everything that checks look at. They change nothing, and ask nobody."""

    cluster: Cluster
    api: Api
    client: End
    target: End
    hosts: Mapping[str, Host] = field(default_factory=dict)
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What came of each question (see questions.py) by its name."""

    # The two ends.

    @cached_property
    def client_pod(self) -> Object | None:
        return find_pod(self.api, self.client) if self.client.kind == "pod" else None

    @property
    def in_pod(self) -> bool:
        """Whether the client has a network of its own, as pods do that do not share their node's."""
        return self.client_pod is not None and not self.client_pod.in_node

    @property
    def on_node(self) -> bool:
        """Whether the client is a process in its node's network, be it a pod's."""
        return self.client.kind == "node" or (self.client_pod is not None and self.client_pod.in_node)

    @cached_property
    def start(self) -> str:
        """The node where the way begins; for a client outside, the one that it asks."""
        if self.client_pod is not None:
            return str(self.client_pod.spec.get("nodeName", ""))
        if self.client.kind == "node":
            return self.client.name
        if self.target.kind == "node":
            return self.target.name
        ready = [name for name in self._names if name in self.api.nodes and self.api.nodes[name].ready]
        return self.target.entry or next(iter(ready), self._names[0])

    @property
    def _names(self) -> list[str]:
        return [node.name for node in self.cluster.nodes]

    @cached_property
    def service(self) -> tuple[Object, dict[str, Any]] | None:
        """The Service that is asked, and its port."""
        return find_service(self.api, self.target) if self.target.kind in ("service", "nodeport") else None

    @property
    def protocol(self) -> str:
        if self.service is not None:
            return PROTOCOLS[str(self.service[1].get("protocol", "TCP"))]
        return "tcp" if self.port else "icmp"

    @cached_property
    def port(self) -> int:
        """The port that the client asks, 0 for none."""
        if self.service is not None:
            return int(self.service[1]["nodePort" if self.target.kind == "nodeport" else "port"])
        if self.target.kind == "pod" and not self.target.port:
            containers = find_pod(self.api, self.target).spec["containers"]
            ports = [p for c in containers for p in c.get("ports", ()) if p.get("protocol", "TCP") == "TCP"]
            return int(ports[0]["containerPort"]) if ports else 0
        if self.target.kind == "node" and not self.target.port:
            return KUBELET_PORT  # it answers there at all of its addresses, the tunnel's too
        return int(self.target.port or 0)

    @cached_property
    def asked(self) -> str:
        """The address that the client asks."""
        match self.target.kind:
            case "service":
                return self.service[0].address if self.service else ""
            case "nodeport":
                entry = self.target.entry or self.start
                return str(self.cluster.node(entry).address)
            case "pod":
                return find_pod(self.api, self.target).address
            case "node":
                return str(self.cluster.node(self.target.name).address)
        return self.target.name

    @cached_property
    def gate(self) -> str:
        """The node whose kube-proxy replaces the Service's address: for a NodePort, the node that is asked."""
        return self.target.entry or self.start if self.target.kind == "nodeport" else self.start

    @property
    def source(self) -> str:
        """The client's address. A process on a node has the one of the device that leads to what it asks."""
        if self.client_pod is not None and self.in_pod:
            return self.client_pod.address
        if self.client.kind == "outside":
            return self.client.name
        return self.source_for(self.asked)

    def source_for(self, target: str) -> str:
        """The address that a process on the client's node has towards a target."""
        host = self.hosts.get(self.start)
        route = host.route(target) if host and target else None
        device = route.device if route else ""
        found = (route.source if route else "") or (host.address_of(device) if host else "")
        return found or str(self.cluster.node(self.start).address)

    # DNS.

    @property
    def dns(self) -> Object | None:
        """The Service that answers for names."""
        address = str(self.cluster.dns_ip)
        return next((service for service in self.api.services if service.address == address), None)

    @property
    def dns_port(self) -> Mapping[str, Any] | None:
        """Its port that pods ask at."""
        ports = (self.dns.spec.get("ports") or ()) if self.dns is not None else ()
        return next((port for port in ports if port.get("protocol") == "UDP"), None)

    @property
    def asks_dns(self) -> bool:
        """Whether the client is a pod that asks a Service: it knows its name alone."""
        return self.in_pod and self.target.kind == "service" and self.cluster.addons.coredns is not None

    @property
    def name(self) -> str:
        """The Service's whole name in DNS."""
        service = self.service[0] if self.service else None
        return f"{service.name}.{service.namespace}.svc.{self.cluster.domain}" if service else ""

    # The endpoints, and the ways to them.

    def endpoints(self, service: Object, port: Mapping[str, Any]) -> list[Endpoint]:
        """What is behind a Service's port, by its EndpointSlices."""
        found = []
        for item in self.api.slices(service):
            name = port.get("name") or ""
            number = next((p.get("port") for p in item.data.get("ports") or () if (p.get("name") or "") == name), None)
            if number is None or item.data.get("addressType", "IPv4") != "IPv4":
                continue
            for endpoint in item.data.get("endpoints") or ():
                hints = endpoint.get("hints") or {}
                nodes, zones = (
                    frozenset(hint["name"] for hint in hints.get(f) or ()) for f in ("forNodes", "forZones")
                )
                ready = (endpoint.get("conditions") or {}).get("ready", True) is not False
                pod = (endpoint.get("targetRef") or {}).get("name", "")
                node = endpoint.get("nodeName") or ""
                found += [Endpoint(a, int(number), node, pod, ready, nodes, zones) for a in endpoint["addresses"]]
        return sorted(found, key=lambda endpoint: IPv4Address(endpoint.address))

    @property
    def policy(self) -> str:
        """The field of a Service that may keep to the gate what it is asked; "" where none counts.

        That for traffic from outside does not count for what begins on the very node whose NodePort is asked.
        """
        if self.target.kind != "nodeport":
            return "internalTrafficPolicy"
        return "externalTrafficPolicy" if self.client.kind == "outside" or self.gate != self.start else ""

    def usable(self, service: Object, port: Mapping[str, Any]) -> list[Endpoint]:
        """Those that kube-proxy sends to: the ready ones, on the gate alone where the Service says so."""
        ready = [endpoint for endpoint in self.endpoints(service, port) if endpoint.ready]
        if service.spec.get(self.policy) == "Local":
            return [endpoint for endpoint in ready if endpoint.node == self.gate]
        # Where all have hints, and some are meant for this node, or its zone (pkg/proxy/topology.go).
        node = self.api.nodes.get(self.gate)
        zone = node.labels.get("topology.kubernetes.io/zone", "") if node else ""
        for here, hints in ((self.gate, "nodes"), (zone, "zones")):
            near = [endpoint for endpoint in ready if here in getattr(endpoint, hints)]
            if near and all(getattr(endpoint, hints) for endpoint in ready):
                return near
        return ready

    @cached_property
    def legs(self) -> list[Leg]:
        """The ways from the gate to what answers; first those to CoreDNS, where names are asked for."""
        legs = []
        if self.asks_dns and self.dns is not None and self.dns_port is not None:
            legs += self._legs_of(self.dns, self.dns_port, dns=True)
        if self.service is not None:
            legs += self._legs_of(*self.service)
        elif self.target.kind == "pod":
            pod = find_pod(self.api, self.target)
            if pod.address:
                node = str(pod.spec.get("nodeName", ""))
                inside = None if pod.in_node else pod
                legs.append(Leg(self.gate, node, self.asked, self.port, self.protocol, inside))
        elif self.target.kind == "node":
            legs.append(Leg(self.gate, self.target.name, self.asked, self.port, self.protocol))
        else:
            legs.append(Leg(self.gate, "", self.asked, self.port, self.protocol))
        return legs

    def _legs_of(self, service: Object, port: Mapping[str, Any], dns: bool = False) -> list[Leg]:
        protocol = PROTOCOLS[str(port.get("protocol", "TCP"))]
        legs = []
        for endpoint in self.usable(service, port):
            # Those that a user has written name no pod, but may have the address of one.
            pod = self.api.get("Pod", service.namespace, endpoint.pod) or next(
                (pod for pod in self.api.pods if pod.address == endpoint.address and not pod.in_node), None
            )
            of_pod = str(pod.spec.get("nodeName", "")) if pod is not None else ""
            node = endpoint.node or of_pod or self.node_of(endpoint.address)
            if pod is not None and pod.in_node:
                pod = None
            legs.append(
                Leg(self.start if dns else self.gate, node, endpoint.address, endpoint.port, protocol, pod, dns)
            )
        return legs

    def node_of(self, address: str) -> str:
        """The node that has an address of its own, "" where none has."""
        return next((node.name for node in self.cluster.nodes if str(node.address) == address), "")

    @cached_property
    def concerned(self) -> list[str]:
        """The nodes that are read: where the way begins, and where it may lead."""
        names = [self.start, self.gate]
        names += [leg.node for leg in self.legs]
        # Where there is no way: the nodes of the pods that could have been one.
        if self.service is not None:
            names += [str(pod.spec.get("nodeName", "")) for pod in self.selected(self.service[0])]
        if self.asks_dns and self.dns is not None:
            names += [str(pod.spec.get("nodeName", "")) for pod in self.selected(self.dns)]
        known = set(self._names)
        return [name for name in dict.fromkeys(names) if name in known]

    def selected(self, service: Object) -> list[Object]:
        """The pods that a Service's selector matches."""
        selector: dict[str, str] = service.spec.get("selector") or {}
        return [
            pod
            for pod in self.api.pods
            if selector and pod.namespace == service.namespace and selector.items() <= pod.labels.items()
            and "deletionTimestamp" not in pod.data["metadata"]
        ]  # fmt: skip

    @property
    def looked_into(self) -> list[str]:
        """The addresses of the pods whose inside is read."""
        pods = [leg.pod for leg in self.legs if leg.pod is not None] + [self.client_pod]
        if self.service is not None:
            pods += self.selected(self.service[0])
        found = [pod.address for pod in pods if pod is not None and not pod.in_node]
        return [address for address in dict.fromkeys(found) if address]

    # How packets go.

    def host(self, name: str) -> Host:
        """What was read of a host; one of which nothing is known where it was not."""
        return self.hosts.get(name) or Host(name, error="it was not read")

    @property
    def flannel(self) -> bool:
        """Whether the pods' network is flannel's. Of another one, its own links are not known."""
        return self.cluster.cni == "flannel"

    def remote(self, leg: Leg) -> bool:
        """Whether a leg leads to a pod of another node."""
        return leg.pod is not None and leg.node != leg.start

    def tunnelled(self, leg: Leg) -> bool:
        """Whether it goes through flannel's tunnel."""
        vxlan = self.flannel and self.cluster.flannel.backend == "vxlan"
        return vxlan and self.remote(leg) and leg.node in self._names

    def route(self, leg: Leg) -> Route | None:
        """The route of a leg on the node where it begins."""
        return self.host(leg.start).route(leg.address, self.source)

    def begins_here(self, leg: Leg) -> bool:
        """Whether packets of a leg are made on its first node, and do not come through it."""
        return self.on_node and leg.start == self.start

    def came_in(self, name: str) -> str:
        """The device by which the client's packets reach the gate."""
        if self.in_pod and name == self.start:
            return BRIDGE
        if self.on_node and name == self.start:
            return ""
        host = self.host(name)
        return host.addresses.get(str(self.cluster.node(name).address), "")

    def request(self, target: str, port: int, protocol: str, gate: str) -> Packet:
        """The client's first packet, as it reaches the gate."""
        host = self.host(gate)
        source = self.source_for(target) if self.on_node else self.source
        if self.in_pod and self.flannel and gate != self.start:
            source = str(self.cluster.node(self.start).address)  # flannel masquerades what leaves the pods' network
        return Packet(
            source,
            target,
            protocol,
            port,
            came_in=self.came_in(gate),
            to_self=target in host.addresses,
            from_self=self.on_node and gate == self.start,
        )

    def proxied(self, target: str, port: int, protocol: str, gate: str) -> list[Outcome]:
        """What the gate makes of that packet before it is routed."""
        packet = self.request(target, port, protocol, gate)
        first: Hook = "prerouting" if packet.came_in else "output"
        return self.host(gate).ruleset.travel((first,), packet)

    def address_asked(self, leg: Leg) -> tuple[str, int]:
        """(address, port) that the client asks to get this leg."""
        if leg.dns and self.dns is not None:
            return self.dns.address, 53
        # Of a headless Service it knows this very address.
        return (self.asked, self.port) if self.asked else (leg.address, leg.port)

    def sent(self, leg: Leg) -> Packet:
        """The packet of a leg as it leaves the chains before routing: translated and marked, if they do so."""
        address, port = self.address_asked(leg)
        for outcome in self.proxied(address, port, leg.protocol, leg.start):
            if outcome.verdict == "accept" and (outcome.packet.target, outcome.packet.port) == (leg.address, leg.port):
                return outcome.packet
        packet = self.request(leg.address, leg.port, leg.protocol, leg.start)
        return replace(packet, translated=leg.dns or (self.service is not None and self.asked != ""))

    def stages(self, leg: Leg) -> list[Stage]:
        """The packet filters on a leg, there and back, in the order in which they are passed."""
        last = self.host(leg.node) if leg.node in self._names else None
        route = self.route(leg)
        out = route.device if route else ""
        packet = replace(self.sent(leg), goes_out=out)
        source = packet.source
        stages = []
        if leg.node == leg.start and leg.pod is None:
            stages.append(Stage("route", leg.start, replace(packet, goes_out=""), ("input",), "into the node itself"))
        else:
            hooks: tuple[Hook, ...] = ("output",) if self.begins_here(leg) else ("forward",)
            what = "out of the node" if self.begins_here(leg) else "through the node"
            # Its address is replaced in the same chains of OUTPUT that may drop it.
            packet = replace(packet, came_in="") if self.begins_here(leg) else packet
            stages.append(Stage("route", leg.start, packet, hooks, what))
        if last is None or leg.node == leg.start:
            return stages
        uplink = last.addresses.get(str(self.cluster.node(leg.node).address), "")
        if self.tunnelled(leg):
            stages += self._outer(leg.start, leg.node, "VXLAN packets")
        inner = Packet(source, leg.address, leg.protocol, leg.port, translated=False)
        if leg.pod is None:
            arriving = replace(inner, came_in=uplink, to_self=True)
            stages.append(Stage("bridge", leg.node, arriving, ("prerouting", "input"), "into the node"))
            return stages
        arriving = replace(inner, came_in=TUNNEL if self.tunnelled(leg) else uplink, goes_out=BRIDGE)
        stages.append(Stage("bridge", leg.node, arriving, ("prerouting", "forward"), "through the node to its pod"))
        back = Packet(leg.address, source, leg.protocol, 0, came_in=BRIDGE, goes_out=arriving.came_in,
                      state="established")  # fmt: skip
        stages.append(Stage("bridge", leg.node, back, ("prerouting", "forward"), "back out of the pod"))
        if self.tunnelled(leg):
            stages += self._outer(leg.node, leg.start, "VXLAN packets on their way back")
        return stages

    def _outer(self, start: str, end: str, what: str) -> Sequence[Stage]:
        """What the tunnel's own packets pass."""
        first, last = str(self.cluster.node(start).address), str(self.cluster.node(end).address)
        devices = [self.host(name).addresses.get(address, "") for name, address in ((start, first), (end, last))]
        outer = Packet(first, last, "udp", VXLAN_PORT)
        return (
            Stage("vxlan", start, replace(outer, goes_out=devices[0], from_self=True), ("output",), f"{what}, leaving"),
            Stage(
                "vxlan",
                end,
                replace(outer, came_in=devices[1], to_self=True),
                ("ingress", "prerouting", "input"),
                f"{what}, arriving",
            ),
        )

    def lost(self, leg: Leg, hop: str) -> list[tuple[Stage, Outcome]]:
        """The stages of a hop at which packets of a leg are dropped or rejected."""
        found = []
        for stage in self.stages(leg):
            if stage.hop == hop and not self.host(stage.host).error:
                outcomes = self.host(stage.host).ruleset.travel(stage.hooks, stage.packet)
                found += [(stage, outcome) for outcome in outcomes if outcome.lost]
        return found

    def masqueraded(self, leg: Leg) -> list[Outcome]:
        """What the gate's chains after routing make of a leg's packets."""
        route = self.route(leg)
        packet = replace(self.sent(leg), goes_out=route.device if route else "")
        return self.host(leg.start).ruleset.travel(("postrouting",), packet)


def refuse_without_address(situation: Situation) -> None:
    """Refuse ends that no way is between: without an IPv4 address, without a known node, a client that sends nothing.

    Raises WalkRefused.
    """
    for end in (situation.client, situation.target):
        if end.kind == "pod":
            pod = find_pod(situation.api, end)
            if not pod.spec.get("nodeName"):
                why = condition(pod.status, "PodScheduled").get("message", "no node was found for it yet")
                raise WalkRefused(f"the pod {pod} has no node: {why}")
            if not pod.address and pod.status.get("podIP"):
                raise WalkRefused(f"the pod {pod} has no IPv4 address, which alone are walked to")
            if not pod.address and end is situation.target:
                why = why_not_ready(dict(pod.data)) or f"its phase is {pod.status.get('phase')}"
                raise WalkRefused(f"the pod {pod} has no address: {why}")
    if situation.start not in [node.name for node in situation.cluster.nodes]:
        where = f"is on the node {situation.start}, which the inventory does not have"
        raise WalkRefused(f"{situation.client.text!r} {where}")
    service = situation.service[0] if situation.service is not None else None
    if service is not None and not service.address and service.spec.get("clusterIP") not in (None, "", "None"):
        raise WalkRefused(f"the Service {service} has no IPv4 address, which alone are walked to")
    if situation.client.kind in ("service", "nodeport"):
        raise WalkRefused(f"{situation.client.text!r} is no client: FROM is a node, a pod or an outside address")
