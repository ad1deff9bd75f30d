"""The state of a cluster, from what its hosts hold and what the API says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Container
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from kubeup.checks.etcdctl import Etcdctl
from kubeup.checks.kubectl import KUBECTL, ready
from kubeup.cli.display import age
from kubeup.cluster import Node, api_endpoint
from kubeup.deploy.certificates import held
from kubeup.deploy.run import Run
from kubeup.deploy.snapshots import newest
from kubeup.errors import HostsFailed
from kubeup.host.resources import Blob
from kubeup.roles.common import versions_in_use

DAY = 24 * 3600

_STATES = {"True": "Ready", "False": "NotReady", "Unknown": "NotReady"}
"""What a node's condition Ready is called by kubectl. (Unknown: its kubelet has not reported for a while.)"""


def gather(run: Run) -> dict[str, Any]:
    """Everything that `kubeup status` shows, as data."""
    members = run.cluster.members
    # All at once: what is dead costs each of them its whole time limit.
    questions: dict[str, Callable[[], Any]] = {
        "masters": lambda: _ask_masters(run),
        "unhealthy": lambda: _unhealthy(run),
        "certificates": lambda: _certificates(run),
        "snapshots": lambda: newest(run.session, [host.name for host in members if host in run.nodes]),
    }
    answers: dict[str, Any] = run.session.side_by_side(questions, lambda question: questions[question]())
    for answer in answers.values():
        if isinstance(answer, Exception):
            raise answer
    conditions: dict[str, str] = next((nodes for _, nodes in answers["masters"].values() if nodes), {})
    known = {node.name for node in run.cluster.nodes}
    return {
        "cluster": run.cluster.name,
        "api": api_endpoint(run.cluster),
        "dns": str(run.cluster.dns_ip),
        "masters": _masters(run, {name for name, (serves, _) in answers["masters"].items() if serves}),
        "etcd": {
            "members": len(members),
            "reachable": sum(member in run.nodes for member in members),
            "unhealthy": answers["unhealthy"],
        },
        "snapshots": answers["snapshots"],
        "nodes": [
            _node(run, node.name, conditions, answers["certificates"])
            if node in run.nodes
            else _silent_node(run, node, conditions)
            for node in run.cluster.hosts
        ],
        "not_in_the_inventory": sorted(conditions.keys() - known),
    }


def _unhealthy(run: Run) -> dict[str, str]:
    """The members of etcd that are not as they should be, and what etcd says of each."""
    if not run.cluster.members:  # etcd is not kubeup's
        return {}
    try:
        found = Etcdctl(run.cluster, run.session).members()
    except HostsFailed:
        return {member.name: "does not answer" for member in run.cluster.members}
    return {
        member.name or member.endpoint: ", ".join([*filter(None, [member.error]), *member.alarms])
        for member in found
        if not member.healthy or member.alarms
    }


_ASK = f"""
kubectl() {{ {KUBECTL} --request-timeout=4s "$@"; }}
kubectl get nodes -o json
kubectl get --raw /readyz >/dev/null
"""


def _ask_masters(run: Run) -> dict[str, tuple[bool, dict[str, str]]]:
    """Of each master that can be reached: whether its apiserver is ready, and what that says of each node's readiness.

    Each is asked, not the first that answers: one that hangs would be waited for before another is.
    """

    def ask(name: str) -> tuple[bool, dict[str, str]]:
        output = run.session.shell(name, _ASK, timeout=10)
        try:
            nodes = {item["metadata"]["name"]: ready(item) for item in json.loads(output.stdout)["items"]}
        except ValueError:
            nodes = {}
        return output.ok, nodes

    answers = run.session.side_by_side([master.name for master in run.masters], ask)
    return {name: answer for name, answer in answers.items() if not isinstance(answer, Exception)}


def _masters(run: Run, ready: Container[str]) -> list[dict[str, Any]]:
    """Which masters' apiservers are ready, and which of them has the address for clients outside."""
    address = run.cluster.api.address
    return [
        {
            "name": master.name,
            "ready": master.name in ready,
            "has_address": address is not None
            and master in run.masters
            and run.readings[master.name].facts.device_of(address) is not None,
        }
        for master in run.cluster.masters
    ]


def _silent_node(run: Run, node: Node, ready: dict[str, str]) -> dict[str, Any]:
    """What can be said of a host that does not answer."""
    why = next((failure.output for failure in run.silent if failure.host == node.name), "")
    return {
        "name": node.name,
        "role": str(node.role),
        "address": str(node.address),
        "ready": _STATES.get(ready.get(node.name, ""), "unknown") if node in run.cluster.nodes else "-",
        "unreachable": why,
        "differences": None,
        "units": {},
        "certificates": {},
        "components": 0,
    }


def _certificates(run: Run) -> dict[str, dict[str, str]]:
    """Until when each certificate that lies on each node is valid, by its path; those of authorities left out."""
    found: dict[str, dict[str, str]] = {}
    with suppress(HostsFailed):
        for one in held(run):
            if not one.authority:
                found.setdefault(one.host, {})[one.path] = one.end.strftime("%Y-%m-%d")
    return found


def _node(run: Run, name: str, ready: dict[str, str], certificates: dict[str, dict[str, str]]) -> dict[str, Any]:
    node, reading = run.cluster.node(name), run.readings[name]
    desired = [resource for _, resource in run.desired(name).values()]
    versions = {program: version for program, (_, version) in versions_in_use(reading.links).items()}
    return {
        "name": name,
        "role": str(node.role),
        "address": str(node.address),
        "ready": "-" if node not in run.cluster.nodes else _STATES.get(ready.get(name, ""), "unknown"),
        "differences": len(run.changes[name].items),
        "units": {
            unit.removesuffix(".service"): {
                "state": state.active,
                "version": versions.get(unit.removesuffix(".service"), ""),
            }
            for unit, state in sorted(reading.units.items())
        },
        "certificates": dict(sorted(certificates.get(name, {}).items())),
        "components": len([resource for resource in desired if isinstance(resource, Blob)]),
    }


def _about_etcd(facts: dict[str, Any]) -> list[str]:
    """One line where not all of etcd's members are well."""
    unhealthy: dict[str, str] = facts["etcd"]["unhealthy"]
    if not unhealthy:
        return []
    members = facts["etcd"]["members"]
    which = "; ".join(f"{name} is not{f' ({why})' if why else ''}" for name, why in unhealthy.items())
    return [
        f"etcd: {max(members - len(unhealthy), 0)} of {members} members are healthy; {which} (see kubeup etcd status)"
    ]


def _about_masters(facts: dict[str, Any]) -> list[str]:
    """One line about several masters, and one when they are too few."""
    masters = facts["masters"]
    if len(masters) == 1:
        return []
    holder = next((f", the address on {master['name']}" for master in masters if master["has_address"]), "")
    ready = [master["name"] for master in masters if master["ready"]]
    others = [master["name"] for master in masters if not master["ready"]]
    lines = [f"masters: {', '.join(ready) or 'none'} ready" + (f", {', '.join(others)} not" if others else "") + holder]
    members, reachable = facts["etcd"]["members"], facts["etcd"]["reachable"]
    if reachable < (quorum := members // 2 + 1 if members else 0):
        lines.append(
            f"Only {reachable} of etcd's {members} members can be reached, and it needs {quorum}: "
            "the API is down until another is back."
        )
    return lines


def as_text(facts: dict[str, Any]) -> str:
    """The same for people."""
    lines = [
        f"cluster {facts['cluster']}, API {facts['api']}, DNS {facts['dns']}",
        *_about_masters(facts),
        *_about_etcd(facts),
        "",
    ]
    lines.append(f"{'NODE':<22}{'ROLE':<6}{'ADDRESS':<17}{'STATE':<10}{'DIFFERENCES':<13}CERTIFICATES UNTIL")
    for node in facts["nodes"]:
        until = min(node["certificates"].values(), default="-")
        days = ""
        if until != "-":
            left = datetime.strptime(until, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() - time.time()
            days = f" ({int(left // DAY)} days)"
        lines.append(
            f"{node['name']:<22}{node['role']:<6}{node['address']:<17}{node['ready']:<10}"
            + (
                f"cannot be reached: {node['unreachable']}"
                if "unreachable" in node
                else f"{node['differences']:<13}{until}{days}"
            )
        )
    if strangers := facts["not_in_the_inventory"]:
        lines.append(f"Not in the inventory: {', '.join(strangers)} (kubeup remove-node takes a node away)")
    lines.append("")
    names = [node["name"] for node in facts["nodes"]]
    width = max([18, *(len(name) + 2 for name in names)])
    lines.append(f"{'SERVICE':<26}" + "".join(f"{name:<{width}}" for name in names).rstrip())
    for unit in sorted({unit for node in facts["nodes"] for unit in node["units"]}):
        cells = []
        for node in facts["nodes"]:
            state = node["units"].get(unit)
            cells.append("-" if state is None else f"{state['state']} {state['version']}".strip())
        lines.append(f"{unit:<26}" + "".join(f"{cell:<{width}}" for cell in cells).rstrip())
    taken: dict[str, str] = facts["snapshots"]
    last = max(taken.values(), default=None)
    holders = ", ".join(name for name, when in taken.items() if when == last)
    lines += [
        "",
        f"last snapshot of etcd: {age(last)} ago, on {holders}" if last else "last snapshot of etcd: none yet",
    ]
    return "\n".join(lines)
