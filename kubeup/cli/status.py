"""The state of a cluster, from what its hosts hold and what the API says."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from kubeup.checks.kubectl import Kubectl
from kubeup.cli.display import age
from kubeup.cluster import api_endpoint
from kubeup.deploy.certificates import Held, held
from kubeup.deploy.run import Run
from kubeup.deploy.snapshots import newest
from kubeup.errors import HostsFailed
from kubeup.host.resources import Blob

DAY = 24 * 3600


def gather(run: Run) -> dict[str, Any]:
    """Everything that `kubeup status` shows, as data."""
    kubectl = Kubectl(run.cluster, run.session)
    try:
        ready = {
            item["metadata"]["name"]: next(
                (c["status"] for c in item["status"].get("conditions", []) if c["type"] == "Ready"), "Unknown"
            )
            for item in kubectl.get("nodes")
        }
    except HostsFailed:
        ready = {}
    known = {node.name for node in run.cluster.nodes}
    certificates = held(run)
    return {
        "cluster": run.cluster.name,
        "api": api_endpoint(run.cluster),
        "dns": str(run.cluster.dns_ip),
        "snapshots": newest(run.session, [host.name for host in run.cluster.members]),
        "nodes": [_node(run, node.name, ready, certificates) for node in run.cluster.hosts],
        "not_in_the_inventory": sorted(ready.keys() - known),
    }


def _node(run: Run, name: str, ready: dict[str, str], certificates: Sequence[Held]) -> dict[str, Any]:
    node, reading = run.cluster.node(name), run.readings[name]
    desired = [resource for _, resource in run.desired(name).values()]
    # The folder of the version in use is where its link points to: /opt/kubeup/<component>/<version>/<program>
    versions = {
        path.rpartition("/")[2]: target.split("/")[4]
        for path, target in reading.links.items()
        if path.startswith("/opt/kubeup/bin/") and target.count("/") == 5
    }
    return {
        "name": name,
        "role": str(node.role),
        "address": str(node.address),
        "ready": "-"
        if node not in run.cluster.nodes
        else {"True": "Ready", "False": "NotReady"}.get(ready.get(name, ""), "unknown"),
        "differences": len(run.changes[name].items),
        "units": {
            unit.removesuffix(".service"): {
                "state": state.active,
                "version": versions.get(unit.removesuffix(".service"), ""),
            }
            for unit, state in sorted(reading.units.items())
        },
        "certificates": {
            c.path: f"{c.end:%Y-%m-%d}"
            for c in sorted(certificates, key=lambda c: c.path)
            if c.host == name and not c.authority
        },
        "components": len([resource for resource in desired if isinstance(resource, Blob)]),
    }


def as_text(facts: dict[str, Any]) -> str:
    """The same for people."""
    lines = [f"cluster {facts['cluster']}, API {facts['api']}, DNS {facts['dns']}", ""]
    lines.append(f"{'NODE':<22}{'ROLE':<6}{'ADDRESS':<17}{'STATE':<10}{'DIFFERENCES':<13}CERTIFICATES UNTIL")
    for node in facts["nodes"]:
        until = min(node["certificates"].values(), default="-")
        days = ""
        if until != "-":
            left = datetime.strptime(until, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() - time.time()
            days = f" ({int(left // DAY)} days)"
        lines.append(
            f"{node['name']:<22}{node['role']:<6}{node['address']:<17}{node['ready']:<10}{node['differences']:<13}{until}{days}"
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
