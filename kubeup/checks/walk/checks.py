"""What can be wrong on a way, one function each: it returns the evidence and the command that mends it, or None.

Each looks at a Situation and at one of its legs (None where the hop has none), and at nothing else. hops.py is the
table in which they stand.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from ipaddress import IPv4Address
from typing import Any
from urllib.parse import urlsplit

from kubeup.checks.kubectl import condition
from kubeup.checks.places import VXLAN_PORT
from kubeup.checks.pods import why_not_ready
from kubeup.checks.walk.policies import forbids
from kubeup.checks.walk.questions import NAME, WHOLE, came_back, of_host, of_leg, of_tunnel
from kubeup.checks.walk.reading import BRIDGE, SYSTEM, TUNNEL, Host, Object
from kubeup.checks.walk.rules import Outcome, Packet
from kubeup.checks.walk.situation import VXLAN_HEADERS, Leg, Situation, Stage


@dataclass(frozen=True)
class Fault:
    """What is wrong, as it was seen, and the ``mend`` command; ``host`` is where to run it, "" for where kubeup is."""

    evidence: str
    mend: str
    host: str = ""


Look = Callable[[Situation, "Leg | None"], "Fault | None"]

READ = ("iptables", "nftables")
"""The modes of kube-proxy whose rules are read. (ipvs keeps its own tables.)"""
MAX_SKEW = 5.0
"""Seconds by which clocks may differ: leases and tokens bear that, certificates just issued do."""

Where = Callable[[Situation, "Leg | None"], Iterable[str]]


def start(situation: Situation, leg: Leg | None) -> Iterable[str]:
    """The node where the way begins, and the one that a NodePort is asked of."""
    return dict.fromkeys((situation.start, situation.gate))


def end(situation: Situation, leg: Leg | None) -> Iterable[str]:
    """The node where a leg ends, where that is another."""
    return [leg.node] if leg and leg.node and leg.node not in start(situation, leg) else []


def behind(situation: Situation, leg: Leg | None) -> Iterable[str]:
    """The nodes of pods that belong to the Service, and that no leg leads to."""
    reached = {leg.node for leg in situation.legs} | set(start(situation, leg))
    return [name for name in situation.concerned if name not in reached]


def on(where: Where, look: Callable[[Situation, Host], Fault | None], silent: bool = False) -> Look:
    """A check of hosts, at that place of the way. ``silent``: also of those that do not answer."""

    def look_at(situation: Situation, leg: Leg | None) -> Fault | None:
        for name in where(situation, leg):
            host = situation.host(name)
            if (silent or not host.error) and (fault := look(situation, host)):
                return fault
        return None

    return look_at


# Hosts and their services.


def host_silent(situation: Situation, host: Host) -> Fault | None:
    if not host.error or host.name not in {node.name for node in situation.cluster.nodes}:
        return None
    return Fault(f"{host.name} cannot be read: {host.error}", f"ssh {situation.cluster.node(host.name).host}")


def clock_skew(situation: Situation, host: Host) -> Fault | None:
    skews = [other.skew for other in situation.hosts.values() if not other.error]
    # The one that stands apart from most is wrong; of two, the one that differs from this machine's clock.
    middle = statistics.median_high([*skews, 0.0])
    apart = host.skew - middle
    if abs(apart) <= MAX_SKEW:
        return None
    where = "ahead of" if apart > 0 else "behind"
    return Fault(
        f"the clock of {host.name} is {abs(apart):.0f} s {where} the others: certificates, tokens and leases are "
        "judged by it",
        "systemctl restart systemd-timesyncd chrony 2>/dev/null; timedatectl",
        host.name,
    )


def unit_down(unit: str) -> Callable[[Situation, Host], Fault | None]:
    """A service of a node that does not run."""

    def look(situation: Situation, host: Host) -> Fault | None:
        state = host.units.get(unit)
        if not state or state["ActiveState"] == "active" or state["LoadState"] == "not-found":
            return None
        ended = (
            f", its last run ended with {state['ExecMainStatus']}" if state.get("ExecMainStatus", "0") != "0" else ""
        )
        return Fault(
            f"{unit}.service on {host.name} is {state['ActiveState']} ({state['SubState']}){ended}",
            f"systemctl restart {unit}",
            host.name,
        )

    return look


def containerd_down(situation: Situation, host: Host) -> Fault | None:
    """The containerd that is kubeup's. Another that lies on a host has no part in the cluster."""
    theirs = situation.cluster.runtime_socket(situation.cluster.node(host.name))
    return None if theirs else unit_down("containerd")(situation, host)


def runtime_down(situation: Situation, host: Host) -> Fault | None:
    """A container runtime that the user runs and that does not answer. Its unit is not known."""
    said = host.sections.get("runtime", "").strip()
    socket = situation.cluster.runtime_socket(situation.cluster.node(host.name))
    if not socket or not said:
        return None
    return Fault(
        f"the container runtime of {host.name} ({socket}) does not answer: {said}",
        "crictl version  # and start it: it is one that you run (runtime: in the inventory)",
        host.name,
    )


def kubelet_certificate(situation: Situation, host: Host) -> Fault | None:
    if host.certificate is None:
        return None
    path, begins, ends = host.certificate
    now = datetime.fromtimestamp(host.now, UTC)
    if begins <= now <= ends:
        return None
    word = (
        f"expired at {ends:%Y-%m-%d %H:%M:%S} UTC" if now > ends else f"is not valid before {begins:%Y-%m-%d %H:%M:%S}"
    )
    return Fault(
        f"the kubelet's certificate {path} on {host.name} {word}; it is {now:%Y-%m-%d %H:%M:%S} there",
        "kubeup certs renew",
    )


def apiserver_unreachable(situation: Situation, host: Host) -> Fault | None:
    answer = host.api_answer
    if not answer or answer.get("status") == 200:
        return None
    url = str(answer.get("url", ""))
    said = answer.get("error") or f"it says {answer.get('status')} {answer.get('body', '').strip()[:80]}"
    said = said.removeprefix(f'Get "{url}": ')
    evidence = f"the API does not answer on {host.name} at {url.removesuffix('/readyz')}: {said}"
    if rule := _in_the_way_of_api(situation, host, url):
        return Fault(f"{evidence}. On {rule[0]}: {rule[1].words}", rule[1].mend, rule[0])
    where = urlsplit(url).hostname or ""
    master = situation.node_of(where)
    return Fault(evidence, "systemctl status kube-apiserver", master or host.name)


def _in_the_way_of_api(situation: Situation, host: Host, url: str) -> tuple[str, Outcome] | None:
    """The rule that drops what a node asks of the API: its own, or the master's."""
    where, port = urlsplit(url).hostname or "", urlsplit(url).port or 443
    own = str(situation.cluster.node(host.name).address)
    packet = Packet(own, where, "tcp", port)
    route = host.route(where)
    leaving = replace(packet, goes_out=route.device if route else "", from_self=True)
    for outcome in host.ruleset.travel(("output",), leaving):
        if outcome.lost:
            return host.name, outcome
    master = situation.hosts.get(situation.node_of(where))
    if master is not None and not master.error and master.name != host.name:
        arriving = replace(packet, came_in=master.addresses.get(where, ""), to_self=True)
        for outcome in master.ruleset.travel(("prerouting", "input"), arriving):
            if outcome.lost:
                return master.name, outcome
    return None


def node_not_ready(situation: Situation, host: Host) -> Fault | None:
    node = situation.api.nodes.get(host.name)
    if node is None:
        return Fault(f"the API has no node {host.name}", "kubeup up")
    if node.ready:
        return None
    ready = condition(node.status, "Ready")
    return Fault(
        f"the node {host.name} is not Ready: {ready.get('message', 'its kubelet has never reported')}",
        "journalctl -u kubelet -n 30 --no-pager",
        host.name,
    )


def forward_off(situation: Situation, host: Host) -> Fault | None:
    return _sysctl(host, "net.ipv4.ip_forward", "so it passes no packet on from one network to another")


def _sysctl(host: Host, name: str, so: str) -> Fault | None:
    if host.sysctl.get(name, "1") != "0":
        return None
    return Fault(f"{name} is 0 on {host.name}, {so}", f"sysctl -w {name}=1", host.name)


def forwards(situation: Situation, leg: Leg | None) -> Iterable[str]:
    """The nodes that pass a leg's packets on. (A process of a node needs none to reach a pod of the same.)"""
    if leg is None:
        return []
    return [] if situation.begins_here(leg) or (leg.pod is None and leg.node == leg.start) else [leg.start]


def receives(situation: Situation, leg: Leg | None) -> Iterable[str]:
    """The other node, where its pod's packets come out of the tunnel."""
    return [leg.node] if leg and situation.remote(leg) else []


# Pods.


def _why_not_ready(pod: Object) -> str:
    why = why_not_ready(dict(pod.data)).removeprefix(f"{pod.name}: ")
    if "unready status" in why and pod.status.get("phase") == "Running":
        why += ", whose readiness probe fails"
    return why or f"its phase is {pod.status.get('phase')}"


def client_not_running(situation: Situation, leg: Leg | None) -> Fault | None:
    pod = situation.client_pod
    if pod is None or pod.status.get("phase") == "Running":
        return None
    return Fault(
        f"the pod {pod} does not run: {_why_not_ready(pod)}", f"kubectl -n {pod.namespace} describe pod {pod.name}"
    )


def client_cable(situation: Situation, leg: Leg | None) -> Fault | None:
    return _cable(situation, situation.start, situation.client_pod) if situation.in_pod else None


def cable_behind(situation: Situation, leg: Leg | None) -> Fault | None:
    """Of a pod that is not ready because of it: its kubelet does not reach it either."""
    pods = situation.selected(situation.service[0]) if situation.service is not None else []
    faults = (_cable(situation, str(pod.spec.get("nodeName", "")), pod) for pod in pods if not pod.ready)
    return next((fault for fault in faults if fault), None)


def pod_cable(situation: Situation, leg: Leg | None) -> Fault | None:
    return _cable(situation, leg.node, leg.pod) if leg and leg.pod is not None and leg.node else None


def _cable(situation: Situation, name: str, pod: Object | None) -> Fault | None:
    """Whether the pod's device hangs on the bridge, and the bridge is up."""
    host = situation.host(name)
    if pod is None or host.error or pod.status.get("phase") != "Running" or not situation.flannel:
        return None
    address = pod.address
    if not host.up(BRIDGE):
        state = "is down" if BRIDGE in host.links else "is not there"
        return Fault(
            f"the bridge {BRIDGE} on {name}, on which its pods hang, {state}", f"ip link set {BRIDGE} up", name
        )
    inside = host.pod(address)
    if inside is None:
        return None
    device = next((n for n, link in host.links.items() if link["ifindex"] == inside.link_index), "")
    again = f"kubectl -n {pod.namespace} delete pod {pod.name}"
    if not device:
        return Fault(f"{name} has no device for the pod {pod} ({address}): its cable is gone", again)
    if not host.up(device):
        return Fault(f"{device} on {name}, the cable of the pod {pod}, is down", f"ip link set {device} up", name)
    if host.links[device].get("master") != BRIDGE:
        mend = f"ip link set {device} master {BRIDGE}"
        return Fault(f"{device} on {name}, the cable of the pod {pod}, does not hang on {BRIDGE}", mend, name)
    if not host.address_of(BRIDGE):
        return Fault(f"the bridge {BRIDGE} on {name} has no address, which its pods send to", again)
    return None


def pod_not_running(situation: Situation, leg: Leg | None) -> Fault | None:
    if leg is None or leg.pod is None or leg.pod.status.get("phase") == "Running":
        return None
    return Fault(
        f"the pod {leg.pod} does not run: {_why_not_ready(leg.pod)}",
        f"kubectl -n {leg.pod.namespace} describe pod {leg.pod.name}",
    )


def pod_not_ready(situation: Situation, leg: Leg | None) -> Fault | None:
    """The pod of a leg; or, where there is no leg because of it, those that the Service selects."""
    if leg is not None:
        pods = [leg.pod] if leg.pod is not None else []
    elif situation.service is not None and not situation.usable(*situation.service):
        pods = situation.selected(situation.service[0])
    else:
        return None
    for pod in pods:
        if not pod.ready:
            return Fault(
                f"the pod {pod} is not Ready: {_why_not_ready(pod)}",
                f"kubectl -n {pod.namespace} describe pod {pod.name}",
            )
    return None


def port_closed(situation: Situation, leg: Leg | None) -> Fault | None:
    """Nothing in the pod listens where it is sent to."""
    if leg is None or leg.pod is None or not leg.port or leg.protocol not in ("tcp", "udp"):
        return None
    inside = situation.host(leg.node).pod(leg.address)
    if inside is None or (leg.protocol, leg.port) in inside.listening or _answered(situation, leg):
        return None
    if (leg.protocol, leg.port) in inside.loopback_only:
        return Fault(
            f"the pod {leg.pod} listens at port {leg.port} on its loopback alone, out of everybody's reach",
            f"kubectl -n {leg.pod.namespace} edit pod {leg.pod.name}  # let it listen on 0.0.0.0",
        )
    there = sorted(port for protocol, port in inside.listening if protocol == leg.protocol)
    found = f"it listens at {', '.join(map(str, there))}" if there else "it listens at no port"
    service = situation.dns if leg.dns else situation.service[0] if situation.service else None
    if service is None or not there:
        return Fault(
            f"nothing in the pod {leg.pod} listens at port {leg.port}/{leg.protocol}: {found}",
            f"kubectl -n {leg.pod.namespace} logs {leg.pod.name}",
        )
    port = situation.dns_port if leg.dns else situation.service[1] if situation.service else None
    index = service.spec["ports"].index(port)
    patch = f'[{{"op":"replace","path":"/spec/ports/{index}/targetPort","value":{there[0]}}}]'
    return Fault(
        f"the Service {service} sends to port {leg.port}/{leg.protocol} (its targetPort), where nothing in the pod "
        f"{leg.pod} listens: {found}",
        f"kubectl -n {service.namespace} patch service {service.name} --type json -p '{patch}'",
    )


def network_policy(situation: Situation, leg: Leg | None) -> Fault | None:
    """A policy forbids it; told only where it does not arrive, since flannel alone lets everything through."""
    if leg is None or leg.pod is None or _answered(situation, leg) is not False:
        return None
    policy = forbids(situation, leg)
    if policy is None:
        return None
    return Fault(
        f"the NetworkPolicy {policy} selects the pod {leg.pod} and allows nothing from {situation.source} to port "
        f"{leg.port}/{leg.protocol}",
        f"kubectl -n {policy.namespace} edit networkpolicy {policy.name}",
    )


# DNS.


def nameserver(situation: Situation, leg: Leg | None) -> Fault | None:
    pod = situation.client_pod
    if not situation.asks_dns or pod is None or pod.spec.get("dnsPolicy", "ClusterFirst") != "ClusterFirst":
        return None
    inside = situation.host(situation.start).pod(situation.source)
    wanted = str(situation.cluster.dns_ip)
    if inside is None or not inside.nameservers or wanted in inside.nameservers:
        return None
    return Fault(
        f"the pod {pod} asks {', '.join(inside.nameservers)} for names (its resolv.conf), not the cluster's DNS "
        f"at {wanted}",
        f"kubectl -n {pod.namespace} delete pod {pod.name}",
    )


def dns_service(situation: Situation, leg: Leg | None) -> Fault | None:
    if not situation.asks_dns or situation.dns is not None:
        return None
    return Fault(f"no Service has the address of the cluster's DNS, {situation.cluster.dns_ip}", "kubeup up")


_APPLY_ADDONS = "systemctl restart kubeup-addons"


def corefile(situation: Situation, leg: Leg | None) -> Fault | None:
    """The Corefile cannot be read, or does not answer for the cluster's names."""
    if not situation.asks_dns or situation.dns is None:
        return None
    config = situation.api.get("ConfigMap", SYSTEM, "coredns")
    master = situation.cluster.masters[0].name
    if config is None:
        return Fault("CoreDNS' ConfigMap kube-system/coredns is gone", _APPLY_ADDONS, master)
    text = re.sub(r"#.*", "", (config.data.get("data") or {}).get("Corefile", ""))
    depth = text.count("{") - text.count("}")
    if depth:
        return Fault(
            f"the Corefile (ConfigMap kube-system/coredns) has {abs(depth)} brace(s) too "
            f"{'few' if depth > 0 else 'many'} that close",
            _APPLY_ADDONS,
            master,
        )
    if not re.search(rf"\bkubernetes\b[^\n{{]*\b{re.escape(situation.cluster.domain)}\b", text):
        return Fault(
            f"the Corefile (ConfigMap kube-system/coredns) does not answer for {situation.cluster.domain}: its "
            "plugin kubernetes is missing there",
            _APPLY_ADDONS,
            master,
        )
    for pod in situation.selected(situation.dns):
        for line in situation.api.logs(pod.name):
            if not pod.ready and re.search(r"Corefile|unknown directive|Unknown directive|parse|plugin/", line):
                return Fault(
                    f"CoreDNS does not take its Corefile (ConfigMap kube-system/coredns): {line.strip()}",
                    f"{_APPLY_ADDONS} && kubectl -n kube-system rollout restart deployment coredns",
                    master,
                )
    return None


def dns_endpoints(situation: Situation, leg: Leg | None) -> Fault | None:
    service = situation.dns
    if not situation.asks_dns or service is None:
        return None
    if situation.dns_port is not None and situation.usable(service, situation.dns_port):
        return None
    deployment = situation.api.get("Deployment", SYSTEM, "coredns")
    if deployment is None:
        return Fault(
            "the Deployment kube-system/coredns is gone, so nobody answers for names",
            _APPLY_ADDONS,
            situation.cluster.masters[0].name,
        )
    if deployment.spec.get("replicas") == 0:
        return Fault(
            "the Deployment kube-system/coredns is scaled to 0, so nobody answers for names",
            f"kubectl -n kube-system scale deployment coredns --replicas={min(2, len(situation.cluster.nodes))}",
        )
    pods = situation.selected(service)
    states = "; ".join(f"{pod.name}: {_why_not_ready(pod)}" for pod in pods if not pod.ready)
    return Fault(
        f"no pod of CoreDNS is ready, so nobody answers for names: {states or 'there is none'}",
        "kubectl -n kube-system describe pods -l k8s-app=kube-dns",
    )


def dns_answer(situation: Situation, leg: Leg | None) -> Fault | None:
    answer = situation.answers.get(NAME)
    if answer is None or not situation.asks_dns:
        return None
    wanted = situation.asked
    found = answer.get("addresses") or []
    if answer.get("error") or (wanted and wanted not in found):
        said = answer.get("error") or f"it is told {', '.join(found)}"
        return Fault(
            f"{situation.name} does not resolve to {wanted} in the client's network: {said}",
            "kubectl -n kube-system logs -l k8s-app=kube-dns --tail=20",
        )
    return None


# The Service and what is behind it.


def selector_matches_nothing(situation: Situation, leg: Leg | None) -> Fault | None:
    if situation.service is None:
        return None
    service = situation.service[0]
    selector = service.spec.get("selector") or {}
    if not selector or situation.selected(service):
        return None
    words = ",".join(f"{key}={value}" for key, value in selector.items())
    # Those that differ in a value alone are what was meant, most likely.
    near = sorted(
        {
            ",".join(f"{key}={pod.labels[key]}" for key in selector)
            for pod in situation.api.pods
            if pod.namespace == service.namespace and selector.keys() <= pod.labels.keys()
        }
    )
    there = f"; pods there have {' or '.join(near[:5])}" if near else ""
    mend = f"kubectl -n {service.namespace} get pods --show-labels"
    for meant in get_close_matches(words, near, 1):
        mend = f"kubectl -n {service.namespace} set selector service {service.name} '{meant}'"
    return Fault(f"the selector of the Service {service} ({words}) matches no pod in {service.namespace}{there}", mend)


def target_port_unknown(situation: Situation, leg: Leg | None) -> Fault | None:
    """targetPort is a name that no container has: such pods get no endpoint."""
    if situation.service is None or situation.usable(*situation.service):
        return None
    service, port = situation.service
    name = port.get("targetPort")
    pods = situation.selected(service)
    if not isinstance(name, str) or not pods:
        return None
    there = {
        p.get("name", ""): p["containerPort"]
        for pod in pods
        for c in (*pod.spec["containers"], *(pod.spec.get("initContainers") or ()))
        for p in c.get("ports") or ()
    }
    if name in there:
        return None
    words = ", ".join(f"{n or 'one without a name'} ({number})" for n, number in there.items()) or "none"
    index = service.spec["ports"].index(port)
    value = next(iter(there.values()), 80)
    patch = f'[{{"op":"replace","path":"/spec/ports/{index}/targetPort","value":{value}}}]'
    return Fault(
        f"the Service {service} sends to the port {name!r} (its targetPort), which no container of its pods has; "
        f"their ports: {words}",
        f"kubectl -n {service.namespace} patch service {service.name} --type json -p '{patch}'",
    )


def no_endpoints(situation: Situation, leg: Leg | None) -> Fault | None:
    if situation.service is None:
        return None
    service, port = situation.service
    if situation.usable(service, port):
        return None
    every = situation.endpoints(service, port)
    if every and any(endpoint.ready for endpoint in every):
        policy = situation.policy
        return Fault(
            f"the Service {service} has {policy} Local, and none of its endpoints is on {situation.gate}",
            f'kubectl -n {service.namespace} patch service {service.name} -p \'{{"spec":{{"{policy}":"Cluster"}}}}\'',
        )
    state = f"{len(every)}, and none of them is ready" if every else "none"
    return Fault(
        f"the Service {service} has no endpoint that is ready (in its EndpointSlices: {state})",
        f"kubectl -n {service.namespace} get endpointslices -l kubernetes.io/service-name={service.name}",
    )


# What kube-proxy made of it.


def conntrack_full(situation: Situation, host: Host) -> Fault | None:
    count, most = (int(host.sysctl.get(f"net.netfilter.nf_conntrack_{n}", "0") or 0) for n in ("count", "max"))
    if not most or count < most * 0.98:
        return None
    return Fault(
        f"{host.name} keeps {count} connections of {most} that it may keep: new ones are dropped",
        f"sysctl -w net.netfilter.nf_conntrack_max={2 * most}",
        host.name,
    )


def bridge_netfilter_off(situation: Situation, leg: Leg | None) -> Fault | None:
    """Only packets from pods are bridged; those that go on to another pod of the same node never see the rules."""
    if not situation.in_pod or situation.service is None:
        return None
    host = situation.host(situation.start)
    if host.error:
        return None
    return _sysctl(
        host,
        "net.bridge.bridge-nf-call-iptables",
        "so what goes from a pod to another of the same node passes no rule of a Service: its answer comes "
        "from an address that was not asked",
    )


@dataclass(frozen=True)
class _Proxied:
    """What the gate makes of a Service's address."""

    gate: str
    service: Object
    address: str
    port: int
    protocol: str
    wanted: set[tuple[str, int]]
    outcomes: list[Outcome]

    @property
    def chosen(self) -> set[tuple[str, int]]:
        return {(o.packet.target, o.packet.port) for o in self.outcomes if o.packet.translated}

    @property
    def trail(self) -> list[str]:
        """The longest of the trails that end without a new address."""
        trails = [list(o.trail) for o in self.outcomes if not o.packet.translated]
        return max(trails, key=lambda trail: (any(map(_endpoint_chain, trail)), len(trail)), default=[])


def _endpoint_chain(name: str) -> bool:
    return name.startswith(("KUBE-SEP-", "endpoint-"))


def _service_chain(name: str) -> bool:
    return name.startswith(("KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "service-", "external-"))


def proxies(situation: Situation, dns: bool) -> _Proxied | None:
    """None where there is nothing to be replaced, or where it cannot be told."""
    if dns:
        service = situation.dns if situation.asks_dns else None
        port: Mapping[str, Any] | None = situation.dns_port
        if service is None or port is None:
            return None
        address, number, protocol, gate = service.address, 53, "udp", situation.start
    else:
        if situation.service is None or not situation.asked:
            return None
        service, port = situation.service
        address, number, protocol, gate = situation.asked, situation.port, situation.protocol, situation.gate
    wanted = situation.usable(service, port)
    if situation.host(gate).error or not wanted or situation.cluster.kube_proxy.mode not in READ:
        return None
    if "service.kubernetes.io/service-proxy-name" in service.labels:  # another's to see to
        return None
    outcomes = situation.proxied(address, number, protocol, gate)
    pairs = {(endpoint.address, endpoint.port) for endpoint in wanted}
    return _Proxied(gate, service, address, number, protocol, pairs, outcomes)


_RESTART_PROXY = "systemctl restart kube-proxy"


def chain_gone(dns: bool, of_endpoint: bool) -> Look:
    """A Service's rules end without a new address: at the Service's own chain, or at an endpoint's."""

    def look(situation: Situation, leg: Leg | None) -> Fault | None:
        done = proxies(situation, dns)
        if done is None or all(o.packet.translated or o.lost for o in done.outcomes if o.sure):
            return None
        ends_at = next((name for name in reversed(done.trail) if _endpoint_chain(name) or _service_chain(name)), "")
        if _endpoint_chain(ends_at) is not of_endpoint:
            return None
        where = f"{done.address}:{done.port}/{done.protocol}"
        kind = "endpoint" if of_endpoint else "Service"
        at = f"chain {ends_at}, and it is empty" if ends_at else f"no chain of the Service {done.service}"
        return Fault(
            f"the rules of kube-proxy on {done.gate} lead {where} to {at}: the {kind}'s rules are gone",
            _RESTART_PROXY,
            done.gate,
        )

    return look


def stale_rules(dns: bool) -> Look:
    """The rules send to other addresses than the EndpointSlices have."""

    def look(situation: Situation, leg: Leg | None) -> Fault | None:
        done = proxies(situation, dns)
        if done is None or not done.chosen or done.chosen == done.wanted:
            return None
        more, less = (
            [f"{a}:{p}" for a, p in sorted(s)] for s in (done.chosen - done.wanted, done.wanted - done.chosen)
        )
        words = [f"they still send to {', '.join(more)}"] * bool(more) + [f"they lack {', '.join(less)}"] * bool(less)
        return Fault(
            f"the rules of kube-proxy on {done.gate} for {done.service} are stale: {' and '.join(words)}",
            _RESTART_PROXY,
            done.gate,
        )

    return look


def proxy_stopped(situation: Situation, leg: Leg | None) -> Fault | None:
    """kube-proxy does not run; with what its rules lack by now, if they do."""
    host = situation.host(situation.gate)
    if situation.service is None or host.error:
        return None
    fault = unit_down("kube-proxy")(situation, host)
    if fault is None:
        return None
    stale = stale_rules(dns=False)(situation, leg)
    so = f"; {stale.evidence}" if stale else ", and its rules follow no change any more"
    return replace(fault, evidence=fault.evidence + so, mend="systemctl restart kube-proxy")


def proxy_rule(situation: Situation, leg: Leg | None) -> Fault | None:
    """A rule drops the packet before its address is even replaced."""
    done = proxies(situation, dns=False)
    lost = next((o for o in done.outcomes if o.lost), None) if done else None
    if done is None or lost is None:
        return None
    return Fault(
        f"on {done.gate} a rule drops what is for {done.address}:{done.port}: {lost.words}", lost.mend, done.gate
    )


def masquerade_missing(situation: Situation, leg: Leg | None) -> Fault | None:
    """Answers would not come back through the node that replaced the address, or not come back at all."""
    for way in situation.legs:
        host = situation.host(way.start)
        if way.dns or host.error or situation.route(way) is None:
            continue
        if way.node == "":
            within = IPv4Address(way.address) in situation.cluster.flannel_net
            needs, who = situation.in_pod and situation.flannel and not within, "flanneld"
            why = f"packets of pods leave {way.start} with the pod's own address, which nobody outside can answer"
        else:
            needs = not situation.in_pod and situation.remote(way)
            needs = needs or way.address == situation.source
            # What is headless is not kube-proxy's.
            proxied = situation.service is not None and situation.asked != ""
            needs = needs and proxied and situation.cluster.kube_proxy.mode in READ
            who = "kube-proxy"
            why = f"what {way.start} sends on to {way.to} keeps the client's address, and its answer does not come back"
        outcomes = situation.masqueraded(way)
        if needs and not situation.lost(way, "route") and not any(o.packet.masqueraded for o in outcomes):
            return Fault(f"no rule of {who} on {way.start} masquerades: {why}", f"systemctl restart {who}", way.start)
    return None


# The network between the nodes.


def subnet_conflict(situation: Situation, leg: Leg | None) -> Fault | None:
    """Two nodes have the same subnet for their pods."""
    owners: dict[str, str] = {}
    for name in (node.name for node in situation.cluster.nodes):
        host, node = situation.hosts.get(name), situation.api.nodes.get(name)
        of_node = str(node.spec.get("podCIDR", "")) if node else ""
        of_host = str(host.subnet) if host and host.subnet else ""
        for subnet in {of_node, of_host} - {""}:
            other = owners.setdefault(subnet, name)
            if other != name:
                return Fault(
                    f"{other} and {name} have the same subnet for their pods, {subnet}: packets for one's pods "
                    "reach the other's",
                    f"kubeup remove-node {name}  # then: kubeup add-node, which gives it another subnet",
                )
    return None


def _expected(situation: Situation, first: Host, node: str) -> tuple[str, str] | None:
    """(device, gateway) by which a host must reach another node's pods."""
    other = situation.host(node)
    if first.name == node:
        return BRIDGE, ""
    if situation.cluster.flannel.backend == "host-gw":
        known = node in {each.name for each in situation.cluster.nodes}
        if not known:
            return None
        address = str(situation.cluster.node(node).address)
        return (route.device if (route := first.route(address)) else ""), address
    subnet = other.subnet
    if subnet is None:
        return None
    return TUNNEL, str(subnet.network_address)


def route_missing(situation: Situation, leg: Leg | None) -> Fault | None:
    if leg is None or situation.host(leg.start).error:
        return None
    host = situation.host(leg.start)
    if leg.pod is None:
        route = situation.route(leg)
        if route is None or route.kind in ("unreachable", "blackhole", "prohibit"):
            found = f": the one that it takes is {route}" if route else ""
            return Fault(f"{host.name} has no route to {leg.address}{found}", "ip route", host.name)
        return None
    return _route_of(situation, host, leg.node, leg.address, situation.source)


def route_back_missing(situation: Situation, leg: Leg | None) -> Fault | None:
    """On the other node: the way back to the client's."""
    if leg is None or not situation.remote(leg):
        return None
    host, first = situation.host(leg.node), situation.host(leg.start)
    if host.error or first.error or first.subnet is None:
        return None
    # A process on a node has the tunnel's address, and what is masqueraded gets it.
    back = situation.source if situation.in_pod else str(first.subnet.network_address)
    return _route_of(situation, host, leg.start, back, leg.address)


def _route_of(situation: Situation, host: Host, node: str, address: str, source: str) -> Fault | None:
    wanted = _expected(situation, host, node) if situation.flannel else None
    route = host.route(address, source)
    if wanted is None or (route and route.device == wanted[0] and route.gateway == wanted[1]):
        return None
    device, gateway = wanted
    subnet = situation.host(node).subnet
    via = f" via {gateway}" if gateway else ""
    onlink = " onlink" if device == TUNNEL else ""
    found = f"the route that it takes is {route}" if route else "it has no route at all"
    mend = (
        f"ip route replace {subnet}{via} dev {device}{onlink}" if subnet and gateway else "systemctl restart flanneld"
    )
    return Fault(
        f"{host.name} has no route to the pods of {node} ({subnet}{via} dev {device}): {found}", mend, host.name
    )


def tunnel_down(situation: Situation, leg: Leg | None) -> Fault | None:
    if leg is None or not situation.tunnelled(leg):
        return None
    for name in (leg.start, leg.node):
        host = situation.host(name)
        if not host.error and not host.up(TUNNEL):
            state = "is down" if TUNNEL in host.links else "is not there"
            # Its routes and neighbours went with it.
            return Fault(
                f"{TUNNEL} on {name}, the tunnel to the other nodes, {state}", "systemctl restart flanneld", name
            )
    return None


def _both_ways(
    situation: Situation, leg: Leg | None, look: Callable[[Situation, Host, Host], Fault | None]
) -> Fault | None:
    """A look at what the first node knows of the other, and at what the other knows of the first."""
    if leg is None or not situation.tunnelled(leg):
        return None
    first, last = situation.host(leg.start), situation.host(leg.node)
    if first.error or last.error or TUNNEL not in first.links or TUNNEL not in last.links:
        return None
    return look(situation, first, last) or look(situation, last, first)


def neighbour_missing(situation: Situation, leg: Leg | None) -> Fault | None:
    def look(situation: Situation, host: Host, other: Host) -> Fault | None:
        if other.subnet is None:
            return None
        address, wanted = str(other.subnet.network_address), other.links[TUNNEL]["address"]
        found = host.neighbour(address, TUNNEL).get("lladdr", "")
        if found == wanted:
            return None
        state = f"knows it by {found}" if found else "has no entry for it"
        return Fault(
            f"{host.name} {state} among its neighbours: {address} on {TUNNEL} is {other.name}, and has {wanted}",
            f"ip neighbour replace {address} lladdr {wanted} dev {TUNNEL} nud permanent",
            host.name,
        )

    return _both_ways(situation, leg, look)


def fdb_missing(situation: Situation, leg: Leg | None) -> Fault | None:
    def look(situation: Situation, host: Host, other: Host) -> Fault | None:
        hardware, wanted = other.links[TUNNEL]["address"], str(situation.cluster.node(other.name).address)
        found = host.fdb.get(hardware, "")
        if found == wanted:
            return None
        state = f"leads to {found}" if found else "is not there"
        return Fault(
            f"the entry for {other.name} ({hardware}, at {wanted}) in the forwarding database of {TUNNEL} on "
            f"{host.name} {state}",
            f"bridge fdb replace {hardware} dev {TUNNEL} dst {wanted}",
            host.name,
        )

    return _both_ways(situation, leg, look)


def mtu_too_large(situation: Situation, leg: Leg | None) -> Fault | None:
    """Small packets come through, and large ones do not, or in pieces."""
    if leg is None or not situation.tunnelled(leg):
        return None
    for name in (leg.start, leg.node):
        host = situation.host(name)
        uplink = host.addresses.get(str(situation.cluster.node(name).address), "") if not host.error else ""
        room = host.mtu(uplink) - VXLAN_HEADERS
        if uplink and host.mtu(TUNNEL) > room:
            return Fault(
                f"the MTU of {TUNNEL} on {name} is {host.mtu(TUNNEL)}, and {uplink} ({host.mtu(uplink)}) has room for "
                f"{room} within VXLAN",
                f"ip link set {TUNNEL} mtu {room}",
                name,
            )
    ends = [(leg.node, leg.pod)] + ([(leg.start, situation.client_pod)] if situation.in_pod else [])
    for name, pod in ends:
        host = situation.host(name)
        inside = host.pod(pod.address) if pod is not None and not host.error else None
        if inside and host.mtu(TUNNEL) and inside.mtu > host.mtu(TUNNEL) and pod is not None:
            return Fault(
                f"the MTU of the pod {pod} is {inside.mtu}, and that of {TUNNEL} on {name} is {host.mtu(TUNNEL)}",
                f"kubectl -n {pod.namespace} delete pod {pod.name}",
            )
    small, full = (situation.answers.get(of_tunnel(leg, size), {}) for size in ("small", "full"))
    if came_back(small) and came_back(full) is False:
        return Fault(
            f"between {leg.start} and {leg.node} small packets come through the tunnel and those of "
            f"{situation.host(leg.start).mtu(TUNNEL)} bytes, which its MTU allows, do not: something on the way has a "
            "smaller MTU",
            f"ip link set {TUNNEL} mtu 1400  # on every node; for good: a smaller MTU of the nodes' devices",
            leg.start,
        )
    return None


def tunnel_blocked(situation: Situation, leg: Leg | None) -> Fault | None:
    """VXLAN's own packets do not get from node to node."""
    if leg is None or not situation.tunnelled(leg):
        return None
    for stage, outcome in situation.lost(leg, "vxlan"):
        packet = stage.packet
        return Fault(
            f"UDP {VXLAN_PORT} from {packet.source} to {packet.target} is dropped on {stage.host}: {outcome.words}",
            outcome.mend,
            stage.host,
        )
    small, host = situation.answers.get(of_tunnel(leg, "small"), {}), situation.answers.get(of_host(leg), {})
    # Where the pod answers, it is an echo alone that is not let through.
    if came_back(small) is False and came_back(host) and _answered(situation, leg) is not True:
        addresses = [str(situation.cluster.node(name).address) for name in (leg.start, leg.node)]
        return Fault(
            f"{leg.node} answers {leg.start} at its own address, and not through the tunnel, whose devices, routes "
            f"and rules are right on both: UDP {VXLAN_PORT} is blocked between {' and '.join(addresses)}",
            f"let UDP {VXLAN_PORT} pass between {' and '.join(addresses)}, in the firewall between them",
        )
    return None


def node_unreachable(situation: Situation, leg: Leg | None) -> Fault | None:
    if leg is None or not situation.tunnelled(leg):
        return None
    small, host = situation.answers.get(of_tunnel(leg, "small"), {}), situation.answers.get(of_host(leg), {})
    if came_back(small) is not False or came_back(host) is not False or _answered(situation, leg) is True:
        return None
    address = situation.cluster.node(leg.node).address
    return Fault(
        f"{leg.start} does not reach {leg.node} at all ({address}: {host['error']})",
        f"ip route get {address}",
        leg.start,
    )


def subnet_moved(situation: Situation, leg: Leg | None) -> Fault | None:
    """A pod has an address of a subnet that is not its node's any more."""
    ends: list[tuple[str, Object | None]] = [(leg.node, leg.pod)] if leg else [(situation.start, situation.client_pod)]
    for name, pod in ends:
        host = situation.host(name)
        if pod is None or pod.in_node or host.error or host.subnet is None or not situation.flannel:
            continue
        address = pod.address
        if address and IPv4Address(address) not in host.subnet:
            return Fault(
                f"the pod {pod} has the address {address}, and flannel's subnet on {name} is {host.subnet} by now",
                f"kubectl -n {pod.namespace} delete pod {pod.name}",
            )
    return None


def dropped(hop: str, forwarding: bool) -> Look:
    """A rule, or a policy, drops or rejects the packet; ``forwarding``: while it is passed on."""

    def look(situation: Situation, leg: Leg | None) -> Fault | None:
        if leg is None:
            return None
        for stage, outcome in situation.lost(leg, hop):
            by_forward = outcome.verdict == "drop" and outcome.where is not None and "forward" in stage.hooks
            if by_forward is forwarding:
                word = "rejected" if outcome.verdict == "reject" else "dropped"
                return Fault(
                    f"{_words(stage)} is {word} on {stage.host}, {stage.what}: {outcome.words}",
                    outcome.mend,
                    stage.host,
                )
        return None

    return look


def _words(stage: Stage) -> str:
    packet = stage.packet
    port = f":{packet.port}" if packet.port else ""
    return f"what goes from {packet.source} to {packet.target}{port}/{packet.protocol}"


# What was tried.


def _answered(situation: Situation, leg: Leg) -> bool | None:
    """Whether a leg's address answered; None where it was not asked."""
    answer = situation.answers.get(of_leg(leg))
    return None if answer is None else not answer.get("error")


def no_answer(situation: Situation, leg: Leg | None) -> Fault | None:
    """The last word: it was asked, and does not answer, whatever else is wrong."""
    tried: list[tuple[str, Any]] = [(situation.asked, situation.answers.get(WHOLE, {}))]
    tried += [
        (f"{way.address}:{way.port}", situation.answers.get(of_leg(way), {})) for way in situation.legs if not way.dns
    ]
    for what, answer in tried:
        if answer.get("error"):
            evidence = f"{what} does not answer {situation.client.text}: {answer['error']}"
            return Fault(evidence, "conntrack -S; dmesg | tail -20", situation.start)
    return None
