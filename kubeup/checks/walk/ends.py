"""FROM and TO of a walk, in the words of a user, and what they are in a cluster."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Literal

from kubeup.checks.walk.reading import Api, Object
from kubeup.cluster import Cluster
from kubeup.errors import WalkRefused

Kind = Literal["node", "pod", "service", "nodeport", "outside"]

FORMS = (
    "a node's name, pod/NAME or NAMESPACE/NAME, svc/NAME[:PORT] or svc/NAMESPACE/NAME[:PORT], nodeport:PORT[@NODE], "
    "or an IPv4 address[:PORT]"
)
_WORDS = re.compile(
    r"nodeport:(?P<nodeport>\d+)(@(?P<entry>[^:/@]+))?"
    r"|(svc|service)/((?P<svc_ns>[^/:]+)/)?(?P<svc>[^/:]+)(:(?P<svc_port>[^/:]+))?"
    r"|(pod/((?P<pod_ns>[^/:]+)/)?(?P<pod>[^/:]+)|(?P<ns>[^/:]+)/(?P<pod2>[^/:]+))(:(?P<pod_port>\d+))?"
    r"|(?P<name>[^/:]+)(:(?P<port>\d+))?"
)


@dataclass(frozen=True)
class End:
    """One end of a walk, as it was written: nothing of it need exist."""

    text: str
    kind: Kind
    name: str = ""
    """Of the node, pod or Service; an address for one outside."""
    namespace: str = ""
    port: str = ""
    """A number, or the name of a Service's port; "" where none was given."""
    entry: str = ""
    """Of a NodePort: the node that is asked."""


def parse_end(text: str, namespace: str, cluster: Cluster) -> End:
    """What the user wrote. Raises WalkRefused."""
    match = _WORDS.fullmatch(text)
    if not match:
        raise WalkRefused(f"{text!r} is no end of a way. Write {FORMS}")
    part = match.groupdict()
    if part["nodeport"]:
        if part["entry"]:
            _known(part["entry"], cluster, text)
        return End(text, "nodeport", port=part["nodeport"], entry=part["entry"] or "")
    if part["svc"]:
        return End(text, "service", part["svc"], part["svc_ns"] or namespace, part["svc_port"] or "")
    if part["pod"] or part["pod2"]:
        name = part["pod"] or part["pod2"]
        return End(text, "pod", name, part["pod_ns"] or part["ns"] or namespace, part["pod_port"] or "")
    name, port = part["name"], part["port"] or ""
    try:
        IPv4Address(name)
    except AddressValueError:
        _known(name, cluster, text)
        return End(text, "node", name, port=port)
    node = next((node.name for node in cluster.nodes if str(node.address) == name), "")
    return End(text, "node", node, port=port) if node else End(text, "outside", name, port=port)


def _known(name: str, cluster: Cluster, text: str) -> None:
    names = [node.name for node in cluster.nodes]
    if name not in names:
        raise WalkRefused(
            f"{text!r}: there is no node {name}. Nodes are {_list(names)}. A pod is pod/NAME or NAMESPACE/NAME, "
            "a Service svc/NAME:PORT"
        )


def find_pod(api: Api, end: End) -> Object:
    """The pod of that name. Raises WalkRefused with what there is."""
    pods = [pod for pod in api.pods if pod.namespace == end.namespace]
    for pod in pods:
        if pod.name == end.name:
            return pod
    raise WalkRefused(
        f"{end.text!r}: there is no pod {end.name} in the namespace {end.namespace}. Pods there: "
        f"{_list(pod.name for pod in pods)}"
    )


def find_service(api: Api, end: End) -> tuple[Object, dict[str, object]]:
    """The Service that is meant, and its port. Raises WalkRefused with what there is."""
    if end.kind == "nodeport":
        for service in api.services:
            for port in service.spec.get("ports") or ():
                if str(port.get("nodePort", "")) == end.port:
                    return service, port
        there = [f"{p['nodePort']} ({s})" for s in api.services for p in s.spec.get("ports") or () if p.get("nodePort")]
        raise WalkRefused(f"no Service has the NodePort {end.port}. NodePorts: {_list(there)}")
    found = api.get("Service", end.namespace, end.name)
    if found is None:
        there = [service.name for service in api.services if service.namespace == end.namespace]
        raise WalkRefused(
            f"{end.text!r}: there is no Service {end.name} in the namespace {end.namespace}. "
            f"Services there: {_list(there)}"
        )
    if found.spec.get("type") == "ExternalName":
        name = found.spec.get("externalName", "")
        raise WalkRefused(f"the Service {found} is a name for an outside host, {name} (ExternalName): trace that")
    ports: list[dict[str, object]] = list(found.spec.get("ports") or ())
    if not ports:
        raise WalkRefused(f"the Service {found} has no port: trace its pods")
    if not end.port and len(ports) == 1:
        return found, ports[0]
    for port in ports:
        if end.port and end.port in (str(port["port"]), port.get("name")):
            return found, port
    words = [f"{port['port']}/{port.get('protocol', 'TCP')} {port.get('name', '')}".strip() for port in ports]
    asked = f"has no port {end.port}" if end.port else "has several ports: say which"
    raise WalkRefused(f"the Service {found} {asked}. Its ports: {_list(words)}")


def _list(names: Iterable[str]) -> str:
    found = sorted(names)
    if len(found) > 20:
        return ", ".join(found[:20]) + f" and {len(found) - 20} more"
    return ", ".join(found) or "none"
