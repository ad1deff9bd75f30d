"""What hosts and the API are read for: one round trip each, side by side. Everything after that is made of these."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from importlib.resources import files
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from cryptography import x509

from kubeup.checks.kubectl import Kubectl, condition
from kubeup.checks.walk import iptables, nft
from kubeup.checks.walk.rules import Ruleset
from kubeup.errors import KubeupError
from kubeup.host.session import Output, Session

SCRIPT = files("kubeup.checks.walk").joinpath("read.sh").read_text()
TUNNEL = "flannel.1"
BRIDGE = "cni0"
SYSTEM = "kube-system"

API_SCRIPT = """set -e
kubectl get nodes,services -A -o json
kubectl -n kube-system get configmap/coredns deployment/coredns --ignore-not-found -o json
for namespace in "$@"; do kubectl -n "$namespace" get pods,endpointslices,networkpolicies -o json; done
printf '\n=== logs\n'
# A kubelet that does not answer must not hold this up, nor make it fail.
kubectl -n kube-system --request-timeout=3s logs -l k8s-app=kube-dns --tail=6 --prefix 2>/dev/null || true
"""


@dataclass(frozen=True)
class Object:
    """One object of the API."""

    data: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.data["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.data["metadata"].get("namespace", ""))

    @property
    def spec(self) -> Mapping[str, Any]:
        return self.data.get("spec") or {}

    @property
    def status(self) -> Mapping[str, Any]:
        return self.data.get("status") or {}

    @property
    def labels(self) -> Mapping[str, str]:
        return self.data["metadata"].get("labels") or {}

    @property
    def address(self) -> str:
        """Of a pod or a Service the IPv4 address, "" where it has none."""
        told = [self.status.get("podIP"), *(each.get("ip") for each in self.status.get("podIPs") or ())]
        told += [self.spec.get("clusterIP"), *(self.spec.get("clusterIPs") or ())]
        return next((str(text) for text in told if text and text != "None" and ":" not in text), "")

    @property
    def in_node(self) -> bool:
        """Whether a pod shares its node's network."""
        return bool(self.spec.get("hostNetwork"))

    @property
    def ready(self) -> bool:
        return condition(self.status, "Ready").get("status") == "True"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass
class Api:
    """What the API says. Pods, EndpointSlices and NetworkPolicies of the namespaces concerned alone."""

    objects: list[dict[str, Any]]
    log: str = ""
    """The last lines that each pod of CoreDNS has logged."""

    def of(self, kind: str) -> list[Object]:
        """All that were read of a kind."""
        return [Object(item) for item in self.objects if item.get("kind") == kind]

    @cached_property
    def nodes(self) -> dict[str, Object]:
        return {node.name: node for node in self.of("Node")}

    @cached_property
    def pods(self) -> list[Object]:
        return self.of("Pod")

    @cached_property
    def services(self) -> list[Object]:
        return self.of("Service")

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object of that name, or None."""
        return next((o for o in self.of(kind) if (o.namespace, o.name) == (namespace, name)), None)

    def slices(self, service: Object) -> list[Object]:
        """The EndpointSlices of a Service."""
        return [
            item
            for item in self.of("EndpointSlice")
            if item.namespace == service.namespace and item.labels.get("kubernetes.io/service-name") == service.name
        ]

    def logs(self, pod: str) -> list[str]:
        """The last that a pod of CoreDNS has logged."""
        start = f"[pod/{pod}/"
        return [line.partition("] ")[2] for line in self.log.splitlines() if line.startswith(start)]


def parse_api(text: str) -> Api:
    """What kubectl printed: JSON documents, one after another, as they came."""
    text, _, log = text.partition("\n=== logs\n")
    decoder, objects, at = json.JSONDecoder(), list[dict[str, Any]](), 0
    while (start := text.find("{", at)) >= 0:
        document, at = decoder.raw_decode(text, start)
        objects += document["items"] if document.get("kind") == "List" else [document]
    return Api(objects, log)


def read_api(kubectl: Kubectl, namespaces: Iterable[str]) -> Api:
    """Ask the API. Raises HostsFailed."""
    return parse_api(kubectl.checked(API_SCRIPT, *sorted({*namespaces, SYSTEM}), timeout=60))


@dataclass(frozen=True)
class Route:
    """Where packets for a network go: through ``device``, to the ``gateway`` if there is one."""

    network: IPv4Network
    device: str
    gateway: str = ""
    kind: str = "unicast"
    source: str = ""

    def __str__(self) -> str:
        network = "default" if self.network.prefixlen == 0 else str(self.network)
        via = f" via {self.gateway}" if self.gateway else ""
        return f"{'' if self.kind == 'unicast' else self.kind + ' '}{network}{via} dev {self.device}"


@dataclass(frozen=True)
class PodNetwork:
    """The inside of one pod's network, as its node has it."""

    process: str
    """The id of a process in it."""
    mtu: int
    link_index: int
    """The index of the other end of its eth0, on the node."""
    listening: frozenset[tuple[str, int]]
    """(protocol, port) that it answers at."""
    loopback_only: frozenset[tuple[str, int]]
    """Those of them that are on its loopback alone."""
    nameservers: tuple[str, ...]


@dataclass
class Host:
    """One host. ``error`` says why nothing of it is known."""

    name: str
    error: str = ""
    skew: float = 0.0
    """By how many seconds its clock is ahead of this machine's, at least (negative: behind)."""
    sections: Mapping[str, str] = field(default_factory=dict, repr=False)

    def _json(self, section: str) -> Any:
        text = self.sections.get(section, "").strip()
        return json.loads(text) if text else []

    @cached_property
    def units(self) -> dict[str, dict[str, str]]:
        """What systemd says of the node's services, by name."""
        found = {}
        for line in self.sections.get("units", "").splitlines():
            values = dict(word.split("=", 1) for word in line.split() if "=" in word)
            if "Id" in values:
                found[values["Id"].removesuffix(".service")] = values
        return found

    @cached_property
    def sysctl(self) -> dict[str, str]:
        lines = (line.partition(" = ") for line in self.sections.get("sysctl", "").splitlines())
        return {name: value for name, _, value in lines if value}

    @cached_property
    def ruleset(self) -> Ruleset:
        tables = [json.loads(line) for line in self.sections.get("nft", "").splitlines() if line.strip()]
        return Ruleset({**iptables.chains_of(self.sections.get("iptables", "")), **nft.chains_of(tables)})

    @cached_property
    def links(self) -> dict[str, dict[str, Any]]:
        """The devices by name, as ip(8) says."""
        return {link["ifname"]: link for link in self._json("links")}

    def up(self, device: str) -> bool:
        return device in self.links and "UP" in self.links[device]["flags"]

    def mtu(self, device: str) -> int:
        return int(self.links[device]["mtu"]) if device in self.links else 0

    @cached_property
    def addresses(self) -> dict[str, str]:
        """The device of each of its addresses."""
        return {
            info["local"]: link["ifname"]
            for link in self._json("addresses")
            for info in link.get("addr_info", ())
            if "local" in info  # some versions print {} for each that is not of IPv4
        }

    def address_of(self, device: str) -> str:
        return next((address for address, of in self.addresses.items() if of == device), "")

    @cached_property
    def routes(self) -> dict[str, list[Route]]:
        """The routes by table, the most exact first."""
        tables: dict[str, list[Route]] = {}
        for item in self._json("routes"):
            text = "0.0.0.0/0" if item["dst"] == "default" else item["dst"]
            hops = item.get("nexthops") or [item]
            kind = item.get("type", "unicast")
            route = Route(
                IPv4Network(text, strict=False),
                hops[0].get("dev", ""),
                hops[0].get("gateway", ""),
                kind,
                item.get("prefsrc", ""),
            )
            if "linkdown" not in item.get("flags", ()) and "dead" not in item.get("flags", ()):
                tables.setdefault(item.get("table", "main"), []).append(route)
        for routes in tables.values():
            routes.sort(key=lambda route: -route.network.prefixlen)
        return tables

    def route(self, target: str, source: str = "", mark: int = 0) -> Route | None:
        """The route that a packet takes, by the rules of policy routing that can be judged."""
        for rule in self._json("rules"):
            if not _of_rule(rule, source, target, mark):
                continue
            for route in self.routes.get(rule.get("table", ""), ()):
                if IPv4Address(target) in route.network:
                    if route.kind == "throw":
                        break
                    return route
        return None

    @cached_property
    def fdb(self) -> dict[str, str]:
        """The host behind each hardware address of the tunnel."""
        return {item["mac"]: item["dst"] for item in self._json("fdb") if "dst" in item}

    def neighbour(self, address: str, device: str) -> dict[str, Any]:
        """What is known of a neighbour; empty where nothing is."""
        found = (n for n in self._json("neighbours") if n.get("dst") == address and n.get("dev") == device)
        return next(found, {})

    @cached_property
    def subnet(self) -> IPv4Network | None:
        """The pods' subnet that flannel has for this node."""
        match = re.search(r"^FLANNEL_SUBNET=(\S+)", self.sections.get("subnet", ""), re.MULTILINE)
        return IPv4Network(match[1], strict=False) if match else None

    @cached_property
    def certificate(self) -> tuple[str, datetime, datetime] | None:
        """The file of the kubelet's certificate, and from when to when it is valid."""
        path, _, pem = self.sections.get("certificate", "").strip().partition("\n")
        if "BEGIN" not in pem:
            return None
        try:
            certificate = x509.load_pem_x509_certificate(pem.encode())
        except ValueError:
            return None
        return path, certificate.not_valid_before_utc, certificate.not_valid_after_utc

    @cached_property
    def api_answer(self) -> dict[str, Any]:
        """What came of asking the API from here, with the kubelet's own certificate; empty where that was not tried."""
        text = self.sections.get("api", "").strip()
        try:
            answers = json.loads(text) if text else []
        except ValueError:
            return {"error": text, "status": 0, "url": ""}
        return answers[0] if answers else {}

    @property
    def now(self) -> float:
        """Its clock, in seconds of the epoch."""
        return float(self.sections.get("clock", "0").strip() or 0)

    def pod(self, address: str) -> PodNetwork | None:
        """The inside of the pod with that address, if this host has it."""
        process = self.sections.get(f"pod {address} process", "").strip()
        if not process:
            return None
        mtu, index = 0, 0
        for link in self._json(f"pod {address} addresses"):
            if any(info.get("local") == address for info in link.get("addr_info", ())):
                mtu, index = int(link["mtu"]), int(link.get("link_index", 0))
        sockets = [_socket(line) for line in self.sections.get(f"pod {address} listening", "").splitlines()]
        open_to_all = {(protocol, port) for protocol, port, loopback in sockets if not loopback}
        words = [line.split() for line in self.sections.get(f"pod {address} resolv.conf", "").splitlines()]
        return PodNetwork(
            process,
            mtu,
            index,
            frozenset(open_to_all),
            frozenset((protocol, port) for protocol, port, loopback in sockets if loopback) - open_to_all,
            tuple(word[1] for word in words if word[:1] == ["nameserver"] and len(word) > 1),
        )


def _of_rule(rule: Mapping[str, Any], source: str, target: str, mark: int) -> bool:
    if "not" in rule or rule.get("iif") or rule.get("oif") or "table" not in rule:
        return False
    for key, address in (("src", source), ("dst", target)):
        if rule.get(key, "all") != "all":
            network = IPv4Network(f"{rule[key]}/{rule.get(key + 'len', 32)}", strict=False)
            if not address or IPv4Address(address) not in network:
                return False
    if "fwmark" in rule:
        mask = int(str(rule.get("fwmask", "0xffffffff")), 0)
        return mark & mask == int(str(rule["fwmark"]), 0)
    return True


def _socket(line: str) -> tuple[str, int, bool]:
    """(protocol, port, whether on loopback alone) of a line "tcp 0100007F:1F90" from /proc/net."""
    protocol, _, where = line.partition(" ")
    address, _, port = where.partition(":")
    loopback = address.endswith("7F") if len(address) == 8 else address == "0" * 24 + "01000000"
    return protocol, int(port, 16), loopback


def parse_host(name: str, text: str, asked: tuple[float, float] = (0.0, 0.0)) -> Host:
    """What read.sh printed on a host. ``asked``: when it was asked and had answered, by this machine's clock."""
    sections: dict[str, str] = {}
    for part in text.split("\n=== ")[1:]:
        title, _, body = part.partition("\n")
        sections[title.strip()] = body
    if "end" not in sections:
        return Host(name, error="its answer is not whole: " + (text.strip().splitlines() or ["it said nothing"])[-1])
    if not sections.get("links", "").lstrip().startswith("["):
        return Host(name, error="its ip(8) prints no JSON, as that of CentOS 7")
    host = Host(name, sections=sections)
    if any(asked):
        host.skew = max(0.0, host.now - asked[1]) + min(0.0, host.now - asked[0])
    return host


def read_hosts(session: Session, names: Iterable[str], pods: Iterable[str], silent: Mapping[str, str]) -> list[Host]:
    """Read the hosts side by side. ``silent``: those that do not answer, and why."""
    addresses = sorted(set(pods))

    def read(name: str) -> Host:
        if name in silent:
            return Host(name, error=silent[name])
        began = time.time()
        output = session.shell(name, SCRIPT, *addresses, timeout=30)
        if not output.ok:
            return Host(name, error=_why(output))
        return parse_host(name, "\n" + output.stdout, (began, time.time()))

    outcome = session.side_by_side(names, read)
    return [
        Host(name, error=str(host)) if isinstance(host, KubeupError) else _raise(host) for name, host in outcome.items()
    ]


def _raise(host: Host | Exception) -> Host:
    if isinstance(host, Exception):
        raise host
    return host


def _why(output: Output) -> str:
    return (output.stderr or output.stdout).strip() or f"exit code {output.exit_code}"
