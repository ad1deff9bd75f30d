"""The walk on recorded readings: whole where all is well, and the right link where something is changed in them.

Recorded on lab hosts (see record.py): the client on trace-1, the Service's pod on trace-3, a pod of CoreDNS on trace-2
and one on trace-3. tests/cluster/test_trace_faults.py breaks real clusters.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubeup.checks.walk import Walk, as_data, as_text, in_short, judge
from kubeup.checks.walk.ends import parse_end
from kubeup.checks.walk.hops import LAST, LEG, TRUNK
from kubeup.checks.walk.questions import MOST, questions
from kubeup.checks.walk.reading import Api, Host, parse_host
from kubeup.checks.walk.situation import Situation, refuse_without_address
from kubeup.cluster import Cluster
from kubeup.errors import WalkRefused

RECORDED = Path(__file__).parent / "recorded"
MODES = ("iptables", "nftables")
OUTSIDE = "203.0.113.9"
HERE, BETWEEN, THERE = "trace-1", "trace-2", "trace-3"
ADDRESSES = {HERE: "10.79.1.2", BETWEEN: "10.79.1.3", THERE: "10.79.1.4"}


class Recorded:
    """A recorded reading that can be changed."""

    def __init__(self, mode: str) -> None:
        data = json.loads((RECORDED / f"{mode}.json").read_text())
        self.mode = mode
        self.client: str = data["from"]
        self.target: str = data["to"]
        self.log: str = data["log"]
        self.api: list[dict[str, Any]] = data["api"]
        self.hosts: dict[str, dict[str, str]] = data["hosts"]
        self.answers: dict[str, dict[str, Any]] = data["answers"]
        self.skew: dict[str, float] = {}
        self.errors: dict[str, str] = {}
        self.flannel = "vxlan"
        self.runtime: dict[str, str] = {}
        self.pod = next(o for o in self.api if o["kind"] == "Pod" and o["metadata"]["name"].startswith("web-"))
        self.service = next(o for o in self.api if o["kind"] == "Service" and o["metadata"]["name"] == "web")
        self.node = {o["metadata"]["name"]: o for o in self.api if o["kind"] == "Node"}
        self.net = {name: re.search(r"FLANNEL_SUBNET=([\d.]+)\.1/24", sections["subnet"])[1]  # type: ignore[index]
                    for name, sections in self.hosts.items()}  # fmt: skip
        self.mac = {name: next(i["address"] for i in json.loads(sections["links"]) if i["ifname"] == "flannel.1")
                    for name, sections in self.hosts.items()}  # fmt: skip

    @property
    def address(self) -> str:
        return str(self.pod["status"]["podIP"])

    def json(self, host: str, section: str, change: Callable[[list[Any]], list[Any]]) -> None:
        """Change a section that is JSON."""
        self.hosts[host][section] = json.dumps(change(json.loads(self.hosts[host][section])))

    def text(self, host: str, section: str, old: str, new: str) -> None:
        """Change a section that is text. It must have the old words."""
        assert re.search(old, self.hosts[host][section], re.MULTILINE), f"{old} is not in {section}"
        self.hosts[host][section] = re.sub(old, new, self.hosts[host][section], flags=re.MULTILINE)

    def rule(self, host: str, table: str, line: str) -> None:
        """Put an iptables rule first."""
        text = self.hosts[host]["iptables"]
        start = text.index(f"*{table}")
        at = (
            text.index("COMMIT", start)
            if "-A" not in text[start : text.index("COMMIT", start)]
            else text.index("-A", start)
        )
        self.hosts[host]["iptables"] = f"{text[:at]}{line}\n{text[at:]}"

    def fails(self, question: str, error: str = "i/o timeout") -> None:
        """Let a question have failed."""
        self.answers[question] = {"error": error, "ms": 1500, "size": 1450}

    def situation(self, client: str = "", target: str = "") -> Situation:
        cluster = Cluster.model_validate({
            "name": "trace",
            "kube_proxy": {"mode": self.mode},
            "flannel": {"backend": self.flannel},
            "runtime": self.runtime,
            "nodes": [{"name": name, "role": "ai" if name == HERE else "i", "host": address, "address": address}
                      for name, address in ADDRESSES.items()],
        })  # fmt: skip
        ends = [parse_end(text, "default", cluster) for text in (client or self.client, target or self.target)]
        hosts = {}
        for name, sections in self.hosts.items():
            text = "".join(f"\n=== {title}\n{body}" for title, body in sections.items())
            hosts[name] = parse_host(name, text) if name not in self.errors else Host(name, self.errors[name])
            hosts[name].skew = self.skew.get(name, 0.0)
        answers = {} if client or target else self.answers  # what was tried is of the recorded way
        return Situation(cluster, Api(self.api, self.log), ends[0], ends[1], hosts, answers)

    def walk(self, client: str = "", target: str = "") -> Walk:
        return judge(self.situation(client, target))


@pytest.fixture(params=MODES)
def recorded(request: pytest.FixtureRequest) -> Recorded:
    return Recorded(request.param)


def names(walk: Walk) -> list[str]:
    return [finding.check.name for finding in walk.findings]


WAYS = [("", ""), (HERE, ""), (THERE, ""), (OUTSIDE, "nodeport:30080"), (OUTSIDE, f"nodeport:30080@{THERE}"),
        (HERE, "svc/default/kubernetes"), ("", "svc/default/kubernetes"), ("", THERE), (HERE, f"{THERE}:10250"),
        ("", OUTSIDE)]  # fmt: skip


@pytest.mark.parametrize(("client", "target"), WAYS)
def test_healthy_way_is_whole(recorded: Recorded, client: str, target: str) -> None:
    walk = recorded.walk(client, target)
    assert [(f.check.name, f.fault.evidence) for f in walk.findings] == []
    assert "The way is whole" in as_text(walk)
    assert in_short(walk) == ""


def test_the_way_names_what_is_really_there(recorded: Recorded) -> None:
    text = as_text(recorded.walk())
    titles = (
        "client",
        "DNS",
        "Service",
        "EndpointSlice",
        "proxy chain",
        "route",
        "VXLAN",
        "bridge",
        "pod",
        "readiness",
    )
    places = [text.index(f"✓ {title}") for title in titles]
    assert places == sorted(places)
    chains = {
        "iptables": r"KUBE-SERVICES → KUBE-SVC-\w+ → KUBE-SEP-\w+ → ",
        "nftables": r"services → service-\w+-default/web/tcp/http → ",
    }
    assert re.search(chains[recorded.mode] + re.escape(f"{recorded.address}:80"), text)
    assert f"{recorded.net[THERE]}.0/24 via {recorded.net[THERE]}.0 dev flannel.1" in text
    assert f"is {recorded.mac[THERE]}, which the FDB has at {ADDRESSES[THERE]}" in text


# Faults: what is changed in the reading, which fault must be named, and words of its evidence.

Change = Callable[[Recorded], None]
FAULTS: dict[str, tuple[Change, str, str]] = {}


def nothing_comes_back(r: Recorded) -> None:
    """The other node answers at its own address, and neither through the tunnel nor do its pods."""
    r.answers |= {"host trace-3": {"error": "", "ms": 1}}
    r.fails("tunnel trace-3 small")
    for question in [name for name in r.answers if name.startswith(f"connect {r.net[THERE]}.") or name == "target"]:
        r.fails(question)


def fault(name: str, words: str) -> Callable[[Change], Change]:
    def note(change: Change) -> Change:
        FAULTS[change.__name__] = (change, name, words)
        return change

    return note


@fault("forward-dropped", "-A FORWARD -j DROP")
def forward_dropped_here(r: Recorded) -> None:
    r.rule(HERE, "filter", "-A FORWARD -j DROP")


@fault("forward-dropped", "-A FORWARD -s 172.16.0.0/16 -j DROP")
def forward_dropped_there(r: Recorded) -> None:
    r.rule(THERE, "filter", "-A FORWARD -s 172.16.0.0/16 -j DROP")


@fault("rule-rejects", "REJECT")
def foreign_rule_rejects(r: Recorded) -> None:
    r.rule(THERE, "filter", '-A FORWARD -p tcp -m multiport --dports 80,443 -m comment --comment "not here" -j REJECT')


@fault("rule-rejects", "ip daddr 172.16.0.0/12 tcp dport { 79-81 } reject")
def foreign_table_rejects(r: Recorded) -> None:
    chain = {
        "family": "inet",
        "table": "fw",
        "name": "way",
        "hook": "forward",
        "prio": 5,
        "type": "filter",
        "handle": 1,
    }
    expr = [
        {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}},
                   "right": {"prefix": {"addr": "172.16.0.0", "len": 12}}}},
        {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}},
                   "right": {"set": [{"range": [79, 81]}]}}},
        {"counter": {"packets": 0, "bytes": 0}},
        {"reject": None},
    ]  # fmt: skip
    rule = {"family": "inet", "table": "fw", "chain": "way", "handle": 2, "expr": expr}
    document = {"nftables": [{"table": {"family": "inet", "name": "fw"}}, {"chain": chain}, {"rule": rule}]}
    r.hosts[HERE]["nft"] = (r.hosts[HERE]["nft"] + "\n" + json.dumps(document)).strip()


@fault("service-chain", "no chain of the Service")
def service_rule_gone(r: Recorded) -> None:
    if r.mode == "iptables":
        r.text(HERE, "iptables", r"^-A KUBE-SERVICES .*default/web:http cluster IP.*\n", "")
    else:
        r.text(HERE, "nft", r'\[\{"concat": \["[\d.]+", "tcp", 8001\]\}, \{"goto": \{"target": "[^"]*"\}\}\], ', "")


@fault("service-chain", "rules are gone")
def service_chain_empty(r: Recorded) -> None:
    if r.mode == "iptables":
        r.text(HERE, "iptables", r"^-A KUBE-SVC-\w+ .*default/web:http.*\n", "")
    else:
        r.text(
            HERE,
            "nft",
            r'("chain": "service-\w+-default/web/tcp/http", "handle": \d+, "expr": \[).*?\]\}\}(?=,? ?(\{"rule"|\]))',
            r"\1]}}",
        )


@fault("kube-proxy-stopped", "they still send to 172.16.9.9:80")
def kube_proxy_stopped_with_stale_rules(r: Recorded) -> None:
    r.text(HERE, "units", "ActiveState=active(.*Id=kube-proxy.service)?", r"ActiveState=inactive\1")
    stop(r, HERE, "kube-proxy")
    stale_rules(r)


@fault("stale-rules", "they lack")
def stale_rules(r: Recorded) -> None:
    section = "iptables" if r.mode == "iptables" else "nft"
    r.text(HERE, section, re.escape(r.address), "172.16.9.9")


def stop(r: Recorded, host: str, unit: str) -> None:
    lines = r.hosts[host]["units"].replace("ActiveState=inactive", "ActiveState=active").splitlines()
    r.hosts[host]["units"] = "\n".join(
        line.replace("ActiveState=active SubState=running", "ActiveState=inactive SubState=dead")
        if f"Id={unit}.service" in line else line for line in lines
    )  # fmt: skip
    assert "inactive" in r.hosts[host]["units"]


@fault("kubelet-down", "kubelet.service on trace-3 is inactive (dead)")
def kubelet_down(r: Recorded) -> None:
    stop(r, THERE, "kubelet")


@fault("containerd-down", "containerd.service on trace-3 is inactive")
def containerd_down_and_so_the_node_is_not_ready(r: Recorded) -> None:
    stop(r, THERE, "containerd")
    not_ready(r)


@fault("runtime-down", "the container runtime of trace-3 (/run/crio.sock) does not answer: connection refused")
def a_runtime_of_the_users_is_down_and_so_the_node_is_not_ready(r: Recorded) -> None:
    r.runtime = {"socket": "/run/crio.sock"}
    r.hosts[HERE]["runtime"] = ""
    r.hosts[THERE]["runtime"] = "connection refused"
    stop(r, THERE, "containerd")  # which has no part in this cluster
    not_ready(r)


@fault("flanneld-down", "flanneld.service")
def flanneld_down_and_so_a_route_is_missing(r: Recorded) -> None:
    stop(r, HERE, "flanneld")
    route_gone(r)


def not_ready(r: Recorded) -> None:
    """A node that is not Ready, and so its pod, and so the endpoint."""
    for item in (r.node[THERE], r.pod):
        for condition in item["status"]["conditions"]:
            if condition["type"] == "Ready":
                condition |= {"status": "False", "message": "somebody said so"}
    for item in r.api:
        if item["kind"] == "EndpointSlice" and item["metadata"]["labels"]["kubernetes.io/service-name"] == "web":
            item["endpoints"][0]["conditions"] = {"ready": False, "serving": False, "terminating": False}


@fault("node-not-ready", "somebody said so")
def node_not_ready(r: Recorded) -> None:
    not_ready(r)


@fault("kubelet-certificate", "expired at 2027-")
def certificate_expired_and_so_the_kubelet_is_down(r: Recorded) -> None:
    r.hosts[THERE]["clock"] = str(float(r.hosts[THERE]["clock"]) + 400 * 86400)
    stop(r, THERE, "kubelet")
    r.hosts[THERE]["api"] = json.dumps([{"url": "https://10.79.1.2:6443/readyz", "status": 401, "error": ""}])


@fault("clock-skew", "trace-3 is 90 s ahead")
def clock_ahead(r: Recorded) -> None:
    r.skew[THERE] = 90.0


@fault("clock-skew", "trace-1 is 30 s behind")
def clock_behind(r: Recorded) -> None:
    r.skew[HERE] = -30.0


@fault("apiserver-unreachable", "On trace-1: -A INPUT -s 10.79.1.4/32")
def apiserver_unreachable(r: Recorded) -> None:
    r.hosts[THERE]["api"] = json.dumps([{"url": "https://10.79.1.2:6443/readyz", "status": 0, "error": "i/o timeout"}])
    r.rule(HERE, "filter", "-A INPUT -s 10.79.1.4/32 -p tcp -m tcp --dport 6443 -j DROP")


@fault("host-silent", "trace-3 cannot be read: no route to host")
def host_silent(r: Recorded) -> None:
    r.errors[THERE] = "no route to host"


@fault("tunnel-down", "flannel.1 on trace-1, the tunnel to the other nodes, is down")
def tunnel_down_and_so_its_routes_are_gone(r: Recorded) -> None:
    r.json(HERE, "links", lambda links: [
        link | {"flags": ["BROADCAST"]} if link["ifname"] == "flannel.1" else link for link in links])  # fmt: skip
    for section in ("routes", "neighbours"):
        r.json(HERE, section, lambda items: [item for item in items if item.get("dev") != "flannel.1"])


@fault("route-missing", "trace-1 has no route to the pods of trace-3")
def route_gone(r: Recorded) -> None:
    r.json(HERE, "routes", lambda routes: [route for route in routes if route["dst"] != f"{r.net[THERE]}.0/24"])
    nothing_comes_back(r)


@fault("route-missing", "trace-3 has no route to the pods of trace-1")
def route_back_gone(r: Recorded) -> None:
    r.json(THERE, "routes", lambda routes: [route for route in routes if route["dst"] != f"{r.net[HERE]}.0/24"])
    nothing_comes_back(r)


@fault("route-missing", "the route that it takes is default via 10.79.1.1 dev eth0")
def policy_routing_leads_elsewhere(r: Recorded) -> None:
    r.json(
        HERE,
        "rules",
        lambda rules: [rules[0], {"priority": 100, "src": "172.16.0.0", "srclen": 16, "table": "99"}, *rules[1:]],
    )
    r.json(
        HERE,
        "routes",
        lambda routes: [*routes, {"dst": "default", "gateway": "10.79.1.1", "dev": "eth0", "table": "99"}],
    )


@fault("neighbour-missing", "has no entry for it")
def neighbour_gone(r: Recorded) -> None:
    r.json(HERE, "neighbours", lambda items: [item for item in items if item["dst"] != f"{r.net[THERE]}.0"])
    nothing_comes_back(r)


@fault("fdb-missing", "is not there")
def fdb_gone_on_the_way_back(r: Recorded) -> None:
    r.json(THERE, "fdb", lambda items: [item for item in items if item["mac"] != r.mac[HERE]])
    nothing_comes_back(r)


@fault("fdb-missing", "leads to 10.79.1.3")
def fdb_wrong(r: Recorded) -> None:
    r.json(HERE, "fdb", lambda items: [item | {"dst": "10.79.1.3"} for item in items])
    nothing_comes_back(r)


@fault("tunnel-blocked", "UDP 8472 from 10.79.1.2 to 10.79.1.4 is dropped on trace-3: -A INPUT")
def tunnel_blocked_by_a_rule(r: Recorded) -> None:
    r.rule(THERE, "filter", "-A INPUT -s 10.79.1.2/32 -p udp -m udp --dport 8472 -j DROP")


@fault("tunnel-blocked", "UDP 8472 is blocked between 10.79.1.2 and 10.79.1.4")
def tunnel_blocked_between(r: Recorded) -> None:
    nothing_comes_back(r)


@fault("node-unreachable", "trace-1 does not reach trace-3 at all")
def node_unreachable(r: Recorded) -> None:
    tunnel_blocked_between(r)
    r.fails("host trace-3")


@fault("mtu-too-large", "the MTU of flannel.1 on trace-1 is 1500, and eth0 (1500) has room for 1450")
def mtu_too_large(r: Recorded) -> None:
    r.json(HERE, "links", lambda links: [
        link | {"mtu": 1500} if link["ifname"] == "flannel.1" else link for link in links])  # fmt: skip


@fault("mtu-too-large", "something on the way has a smaller MTU")
def mtu_too_large_for_what_is_between(r: Recorded) -> None:
    r.answers |= {"host trace-3": {"error": "", "ms": 1}, "tunnel trace-3 small": {"error": "", "ms": 1}}
    r.fails("tunnel trace-3 full")


@fault("ip-forward-off", "net.ipv4.ip_forward is 0 on trace-1")
def forwarding_off_here(r: Recorded) -> None:
    r.text(HERE, "sysctl", "ip_forward = 1", "ip_forward = 0")


@fault("ip-forward-off", "net.ipv4.ip_forward is 0 on trace-3")
def forwarding_off_there(r: Recorded) -> None:
    r.text(THERE, "sysctl", "ip_forward = 1", "ip_forward = 0")


@fault("bridge-netfilter-off", "bridge-nf-call-iptables is 0 on trace-1")
def bridge_netfilter_off(r: Recorded) -> None:
    r.text(HERE, "sysctl", "bridge-nf-call-iptables = 1", "bridge-nf-call-iptables = 0")


@fault("conntrack-full", "trace-1 keeps 262144 connections of 262144")
def conntrack_full(r: Recorded) -> None:
    r.text(HERE, "sysctl", r"conntrack_count = \d+", "conntrack_count = 262144")


@fault("subnet-conflict", "trace-1 and trace-3 have the same subnet")
def same_subnet(r: Recorded) -> None:
    r.node[THERE]["spec"]["podCIDR"] = r.node[HERE]["spec"]["podCIDR"]


@fault("dns-endpoints", "scaled to 0")
def coredns_scaled_to_nothing(r: Recorded) -> None:
    for item in r.api:
        if item["kind"] == "EndpointSlice" and item["metadata"]["labels"]["kubernetes.io/service-name"] == "kube-dns":
            item["endpoints"] = []
        if item["kind"] == "Deployment":
            item["spec"]["replicas"] = 0
    r.fails("name", "connection refused")


@fault("corefile", "1 brace(s) too few")
def corefile_brace(r: Recorded) -> None:
    config = next(o for o in r.api if o["kind"] == "ConfigMap")
    config["data"]["Corefile"] = config["data"]["Corefile"].rstrip().removesuffix("}")
    r.fails("name")


@fault("corefile", "does not answer for cluster.local")
def corefile_of_another_domain(r: Recorded) -> None:
    config = next(o for o in r.api if o["kind"] == "ConfigMap")
    config["data"]["Corefile"] = config["data"]["Corefile"].replace("cluster.local", "other.local")
    r.fails("name", "no such host")


@fault("corefile", "Unknown directive 'nosuch'")
def corefile_with_an_unknown_word(r: Recorded) -> None:
    for item in r.api:
        if item["kind"] == "Pod" and item["metadata"]["name"].startswith("coredns"):
            item["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
            said = "/etc/coredns/Corefile:18 - Error during parsing: Unknown directive 'nosuch'"
            r.log = f"[pod/{item['metadata']['name']}/coredns] {said}"
    for item in r.api:
        if item["kind"] == "EndpointSlice" and item["metadata"]["labels"]["kubernetes.io/service-name"] == "kube-dns":
            item["endpoints"] = []
    r.fails("name")


@fault("nameserver", "asks 8.8.8.8 for names")
def pod_asks_elsewhere(r: Recorded) -> None:
    address = next(o["status"]["podIP"] for o in r.api if o["metadata"]["name"] == r.client.removeprefix("pod/"))
    r.text(HERE, f"pod {address} resolv.conf", r"nameserver .*", "nameserver 8.8.8.8")


@fault("dns-answer", "does not resolve")
def name_does_not_resolve(r: Recorded) -> None:
    r.fails("name")


@fault("selector", "(app=wbe) matches no pod in default; pods there have app=client or app=web")
def selector_matches_nothing(r: Recorded) -> None:
    r.service["spec"]["selector"] = {"app": "wbe"}
    for item in r.api:
        if item["kind"] == "EndpointSlice" and item["metadata"]["labels"]["kubernetes.io/service-name"] == "web":
            item["endpoints"] = None


@fault("target-port", "sends to port 81/tcp (its targetPort), where nothing in the pod default/web-")
def target_port_closed(r: Recorded) -> None:
    r.service["spec"]["ports"][0]["targetPort"] = 81
    for item in r.api:
        if item["kind"] == "EndpointSlice" and item["metadata"]["labels"]["kubernetes.io/service-name"] == "web":
            item["ports"][0]["port"] = 81
    section = "iptables" if r.mode == "iptables" else "nft"
    old, new = (":80$", ":81") if r.mode == "iptables" else (f'"{re.escape(r.address)}", 80', f'"{r.address}", 81')
    for host in r.hosts:
        r.text(host, section, old, new)


@fault("target-port", "'htpp'")
def target_port_name_unknown(r: Recorded) -> None:
    r.service["spec"]["ports"][0]["targetPort"] = "htpp"
    for item in r.api:
        if item["kind"] == "EndpointSlice" and item["metadata"]["labels"]["kubernetes.io/service-name"] == "web":
            item["endpoints"] = []


@fault("pod-not-ready", "is not Ready: CrashLoopBackOff again")
def pod_not_ready(r: Recorded) -> None:
    not_ready(r)
    for condition in r.node[THERE]["status"]["conditions"]:
        condition["status"] = "True" if condition["type"] == "Ready" else "False"
    r.pod["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "CrashLoopBackOff", "message": "again"}}


@fault("network-policy", "the NetworkPolicy default/nobody selects the pod")
def network_policy(r: Recorded) -> None:
    policy = {"kind": "NetworkPolicy", "metadata": {"name": "nobody", "namespace": "default"},
              "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"],
                       "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "other"}}}]}]}}  # fmt: skip
    r.api.append(policy)
    r.fails(f"connect {r.address}:80")
    r.fails("target")


@fault("pod-cable", "the cable of the pod default/web-")
def cable_pulled(r: Recorded) -> None:
    inside = json.loads(r.hosts[THERE][f"pod {r.address} addresses"])
    index = next(link["link_index"] for link in inside if link["ifname"] == "eth0")
    r.json(THERE, "links", lambda links: [
        {key: value for key, value in link.items() if key != "master"} if link["ifindex"] == index else link
        for link in links])  # fmt: skip


@fault("pod-cable", "the cable of the pod default/web-")
def cable_pulled_and_so_the_pod_is_not_ready(r: Recorded) -> None:
    cable_pulled(r)
    pod_not_ready(r)


@fault("subnet-moved", "flannel's subnet on trace-3 is 172.16.77.0/24 by now")
def subnet_moved(r: Recorded) -> None:
    r.text(THERE, "subnet", r"FLANNEL_SUBNET=.*", "FLANNEL_SUBNET=172.16.77.1/24")
    for host in (HERE, BETWEEN):
        for section in ("routes", "neighbours"):
            r.hosts[host][section] = r.hosts[host][section].replace(f'"{r.net[THERE]}.0', '"172.16.77.0')
    r.json(
        HERE,
        "routes",
        lambda routes: [*routes, {"dst": f"{r.net[THERE]}.0/24", "gateway": "172.16.77.0", "dev": "flannel.1"}],
    )


@fault("no-answer", "does not answer pod/client-")
def nobody_knows_why(r: Recorded) -> None:
    r.fails("target")


@pytest.mark.parametrize("change", FAULTS)
def test_fault_is_the_first_broken_link(recorded: Recorded, change: str) -> None:
    alter, name, words = FAULTS[change]
    alter(recorded)
    walk = recorded.walk()
    assert walk.broken is not None
    assert walk.broken.check.name == name, names(walk)
    assert words in walk.broken.fault.evidence, walk.broken.fault.evidence
    assert walk.broken.fault.mend
    text = as_text(walk)
    assert f"Evidence: {walk.broken.fault.evidence}" in text
    assert walk.broken.fault.mend in in_short(walk)
    data = json.loads(json.dumps(as_data(walk)))
    assert data["ok"] is False
    assert data["broken"]["fault"] == name


def test_masquerade_is_missed_where_answers_would_not_come_back() -> None:
    recorded = Recorded("iptables")
    recorded.text(HERE, "iptables", r"^-A KUBE-POSTROUTING .*\n", "")
    assert names(recorded.walk(OUTSIDE, f"nodeport:30080@{HERE}")) == ["masquerade-missing"]
    assert names(recorded.walk(OUTSIDE, f"nodeport:30080@{THERE}")) == []  # its pod is on that very node
    assert names(recorded.walk()) == []  # from pods nothing is masqueraded
    recorded = Recorded("iptables")
    recorded.text(HERE, "iptables", r"^-A FLANNEL-POSTRTG -s .* ! -d .* -j MASQUERADE.*\n", "")
    assert names(recorded.walk("", OUTSIDE)) == ["masquerade-missing"]


def test_that_nothing_says_why_is_told_only_where_nothing_does(recorded: Recorded) -> None:
    nobody_knows_why(recorded)
    for text in (as_text(recorded.walk()), in_short(recorded.walk())):
        assert f"does not answer {recorded.client}: i/o timeout (nothing that was read says why)" in text
    foreign_rule_rejects(recorded)
    for text in (as_text(recorded.walk()), in_short(recorded.walk())):
        assert "nothing that was read" not in text
        assert "REJECT" in text


def test_an_empty_chain_of_one_endpoint_is_told_from_the_services() -> None:
    recorded = Recorded("iptables")
    recorded.text(HERE, "iptables", rf"^-A KUBE-SEP-\w+ .*--to-destination {re.escape(recorded.address)}:80\n", "")
    walk = recorded.walk()
    assert walk.broken is not None
    assert walk.broken.check.name == "endpoint-chain"
    assert "chain KUBE-SEP-" in walk.broken.fault.evidence


def test_host_gw_has_no_tunnel_and_routes_by_the_nodes() -> None:
    recorded = Recorded("iptables")
    recorded.flannel = "host-gw"
    walk = recorded.walk()
    assert walk.broken is not None
    assert walk.broken.check.name == "route-missing"
    assert f"via {ADDRESSES[THERE]} dev eth0" in walk.broken.fault.evidence
    assert "VXLAN" not in as_text(walk)


def test_a_policy_that_allows_the_client_is_no_fault(recorded: Recorded) -> None:
    network_policy(recorded)
    policy = recorded.api[-1]
    policy["spec"]["ingress"][0]["from"].append(
        {"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["client"]}]}}
    )
    assert names(recorded.walk()) == ["no-answer"]


def test_what_cannot_be_judged_is_no_evidence(recorded: Recorded) -> None:
    """A rule with a limit, or an ipset, may take the packet or not."""
    recorded.rule(HERE, "filter", "-A FORWARD -m set --match-set blocked dst -j DROP")
    recorded.rule(HERE, "filter", '-A FORWARD -m limit --limit 5/min -j LOG --log-prefix "x "')
    assert names(recorded.walk()) == []


# What is not as in most clusters.


def the_slice(r: Recorded) -> dict[str, Any]:
    return next(o for o in r.api if o["kind"] == "EndpointSlice"
                and o["metadata"]["labels"]["kubernetes.io/service-name"] == "web")  # fmt: skip


def make_pod_of_node(r: Recorded, pod: dict[str, Any]) -> None:
    """Let a pod share its node's network."""
    pod["spec"]["hostNetwork"] = True
    address = ADDRESSES[pod["spec"]["nodeName"]]
    pod["status"] |= {"podIP": address, "podIPs": [{"ip": address}]}


def the_client(r: Recorded) -> dict[str, Any]:
    return next(o for o in r.api if o["kind"] == "Pod" and o["metadata"]["name"] == r.client.partition("/")[2])


def healthy(walk: Walk) -> str:
    """The picture of a way on which nothing is wrong."""
    assert [(f.check.name, f.fault.evidence) for f in walk.findings] == []
    return as_text(walk)


@pytest.mark.parametrize(
    "target", ["svc/web:8001", "svc/default/kubernetes", f"{THERE}:10250", "nodeport:30080", "pod"]
)
def test_a_client_in_its_nodes_network_is_as_a_process_there(recorded: Recorded, target: str) -> None:
    target = f"pod/{recorded.pod['metadata']['name']}" if target == "pod" else target
    make_pod_of_node(recorded, the_client(recorded))
    own = healthy(recorded.walk(recorded.client, target)).splitlines()
    of_node = healthy(recorded.walk(HERE, target)).splitlines()
    assert "in its node's network" in own[2]
    assert own[3:] == of_node[3:]
    assert re.findall(r"\([\d.]+\)", own[2])[:1] == re.findall(r"\([\d.]+\)", of_node[2])


def test_a_pod_in_its_nodes_network_is_reached_as_the_node(recorded: Recorded) -> None:
    make_pod_of_node(recorded, recorded.pod)
    text = healthy(recorded.walk("", f"pod/{recorded.pod['metadata']['name']}:80"))
    assert f"the node {THERE} itself ({ADDRESSES[THERE]})" in text
    assert "VXLAN" not in text


def test_a_second_address_of_ipv6_is_passed_by(recorded: Recorded) -> None:
    web = recorded.service["spec"]
    web["clusterIPs"] = ["fd00::1", web["clusterIP"]]
    web["clusterIP"] = "fd00::1"
    for item in (recorded.pod, the_client(recorded)):
        item["status"] |= {"podIP": "fd00::2", "podIPs": [{"ip": "fd00::2"}, {"ip": item["status"]["podIP"]}]}
    other = json.loads(json.dumps(the_slice(recorded))) | {"addressType": "IPv6"}
    other["endpoints"][0]["addresses"] = ["fd00::2"]
    recorded.api.append(other)
    recorded.api.append(other | {"addressType": "FQDN", "endpoints": [{"addresses": ["web.example.com"]}]})
    assert "1 endpoint" in healthy(recorded.walk())


@pytest.mark.parametrize("client", ["", HERE])
def test_a_headless_service_is_no_matter_of_kube_proxys(recorded: Recorded, client: str) -> None:
    recorded.service["spec"] |= {"clusterIP": "None", "clusterIPs": ["None"]}
    text = healthy(recorded.walk(client, "svc/web:8001"))
    assert "a headless Service's name is its pods' addresses" in text
    assert "(masqueraded)" not in text


@pytest.mark.parametrize("client", ["", HERE])
def test_a_service_without_a_selector_may_lead_to_a_pod_or_outside(recorded: Recorded, client: str) -> None:
    del recorded.service["spec"]["selector"]
    item = the_slice(recorded)
    item["endpoints"] = [{"addresses": [recorded.address]}]
    text = healthy(recorded.walk(client, "svc/web:8001"))
    assert f"├─ to pod default/{recorded.pod['metadata']['name']} ({recorded.address}:80) on {THERE}" in text
    item["endpoints"] = [{"addresses": [OUTSIDE]}]
    walk = recorded.walk(client, "svc/web:8001")
    assert names(walk) == ["stale-rules"]  # the rules that were recorded lead to the pod
    assert f"{OUTSIDE}, outside the cluster" in as_text(walk)


def test_of_hundreds_of_endpoints_some_are_tried(recorded: Recorded) -> None:
    [endpoint] = the_slice(recorded)["endpoints"]
    before = questions(recorded.situation())
    assert f"connect {recorded.address}:80" in {question.name for question in before}
    more = [{"addresses": [f"{recorded.net[THERE]}.{number}"], "nodeName": THERE} for number in range(20, 220)]
    the_slice(recorded)["endpoints"] = [endpoint, *more]
    situation = recorded.situation()
    assert len(situation.legs) > 200
    tried = [question for question in questions(situation) if question.name.startswith("connect ")]
    assert len(tried) == MOST


def test_hints_of_a_service_are_followed_as_kube_proxy_does(recorded: Recorded) -> None:
    item = the_slice(recorded)
    item["endpoints"][0]["hints"] = {"forZones": [{"name": "a"}]}
    other = {"addresses": [f"{recorded.net[BETWEEN]}.77"], "nodeName": BETWEEN, "hints": {"forZones": [{"name": "b"}]}}
    item["endpoints"].append(other)
    assert names(recorded.walk("", "svc/web:8001")) == ["stale-rules"]  # this node has no zone: all count
    recorded.node[HERE]["metadata"].setdefault("labels", {})["topology.kubernetes.io/zone"] = "a"
    healthy(recorded.walk("", "svc/web:8001"))
    item["endpoints"][0]["hints"]["forNodes"], other["hints"]["forNodes"] = [{"name": BETWEEN}], [{"name": HERE}]  # type: ignore[index]
    assert names(recorded.walk("", "svc/web:8001"))[:1] == ["stale-rules"]
    del other["hints"]
    assert names(recorded.walk("", "svc/web:8001")) == ["stale-rules"]  # one without any: all count


def test_a_policy_for_traffic_from_outside_is_for_that_alone(recorded: Recorded) -> None:
    recorded.service["spec"]["externalTrafficPolicy"] = "Local"
    healthy(recorded.walk("", "nodeport:30080"))
    healthy(recorded.walk(HERE, "nodeport:30080"))
    walk = recorded.walk(OUTSIDE, f"nodeport:30080@{HERE}")
    assert names(walk) == ["no-endpoints"]
    assert "externalTrafficPolicy Local, and none of its endpoints is on trace-1" in as_text(walk)


def test_a_node_that_the_inventory_does_not_have_is_not_judged(recorded: Recorded) -> None:
    for item in (the_slice(recorded)["endpoints"][0], recorded.pod["spec"]):
        item["nodeName"] = "stranger"
    healthy(recorded.walk("", "svc/web:8001"))
    recorded.flannel = "host-gw"
    recorded.walk("", "svc/web:8001")


def test_a_service_that_another_proxy_sees_to_has_no_rules_of_kube_proxys() -> None:
    recorded = Recorded("iptables")
    recorded.text(HERE, "iptables", r"^-A KUBE-SERVICES .*default/web.*\n", "")
    assert names(recorded.walk("", "svc/web:8001")) == ["service-chain"]
    recorded.service["metadata"].setdefault("labels", {})["service.kubernetes.io/service-proxy-name"] = "mine"
    healthy(recorded.walk("", "svc/web:8001"))


def test_a_route_into_nowhere_is_none(recorded: Recorded) -> None:
    recorded.json(HERE, "routes", lambda routes: [*routes, {"type": "blackhole", "dst": OUTSIDE, "dev": "lo"}])
    walk = recorded.walk("", OUTSIDE)
    assert names(walk)[:1] == ["route-missing"]
    assert f"the one that it takes is blackhole {OUTSIDE}/32" in as_text(walk)


def test_an_ip_without_json_is_told_and_not_taken_for_a_host_without_links(recorded: Recorded) -> None:
    recorded.hosts[THERE]["links"] = ""
    walk = recorded.walk()
    assert walk.broken is not None
    assert walk.broken.check.name == "host-silent"
    assert "its ip(8) prints no JSON" in walk.broken.fault.evidence


def refused(recorded: Recorded, client: str = "", target: str = "") -> str:
    with pytest.raises(WalkRefused) as caught:
        refuse_without_address(recorded.situation(client, target))
    return str(caught.value)


def test_ends_that_no_way_is_between_are_refused() -> None:
    recorded = Recorded("iptables")
    refuse_without_address(recorded.situation())
    target = f"pod/{recorded.pod['metadata']['name']}"
    recorded.pod["status"] = {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "Creating"}}}]}
    assert f"the pod default/{recorded.pod['metadata']['name']} has no address: " in refused(recorded, "", target)
    recorded.pod["status"]["podIP"] = "fd00::2"
    assert "has no IPv4 address" in refused(recorded, "", target)
    recorded.service["spec"] |= {"clusterIP": "fd00::1", "clusterIPs": ["fd00::1"]}
    assert "the Service default/web has no IPv4 address" in refused(recorded)
    recorded.service["spec"] = {"type": "ExternalName", "externalName": "example.com"}
    assert "a name for an outside host, example.com (ExternalName)" in refused(recorded)
    recorded.service["spec"] = {"clusterIP": "None"}
    assert "the Service default/web has no port" in refused(recorded)
    the_client(recorded)["spec"]["nodeName"] = "stranger"
    assert "on the node stranger, which the inventory does not have" in refused(recorded, "", HERE)


@pytest.mark.parametrize(
    ("client", "target", "said"),
    [
        ("nosuch", "", "there is no node nosuch. Nodes are trace-1, trace-2, trace-3"),
        ("pod/nosuch", "", "Pods there: client-"),
        ("a/b/c/d", "", "is no end of a way"),
        ("", "svc/nosuch:80", "Services there: kubernetes, sick, web"),
        ("", "svc/web:81", "has no port 81. Its ports: 8001/TCP http"),
        ("", "svc/kube-system/kube-dns", "has several ports: say which. Its ports: 53/TCP dns-tcp, 53/UDP dns"),
        ("", "nodeport:1", "NodePorts: 30080 (default/web)"),
    ],
)
def test_ends_that_are_not_there_are_refused_with_what_there_is(client: str, target: str, said: str) -> None:
    with pytest.raises(WalkRefused, match=re.escape(said)):
        Recorded("iptables").walk(client, target)


def test_every_check_of_the_table_has_a_test() -> None:
    in_table = {check.name for hop in (*TRUNK, *LEG, *LAST) for check in hop.checks}
    tested = {name for _, name, _ in FAULTS.values()} | {"masquerade-missing", "endpoint-chain"}
    assert in_table - tested == {"client-not-running", "pod-not-running", "no-endpoints", "dns-service"}


def test_what_explains_is_in_the_table() -> None:
    checks = [check for hop in (*TRUNK, *LEG, *LAST) for check in hop.checks]
    known = {check.name for check in checks}
    assert {name for check in checks for name in check.explains} <= known


def test_the_manual_has_every_check() -> None:
    text = (Path(__file__).parents[4] / "docs" / "trace.md").read_text()
    for check in (check for hop in (*TRUNK, *LEG, *LAST) for check in hop.checks):
        assert f"| `{check.name}` | {check.about} |" in text


def test_recordings_hold_no_key() -> None:
    for file in RECORDED.iterdir():
        assert "PRIVATE" not in file.read_text()
