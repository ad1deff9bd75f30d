"""The list of deep checks, and how they are run: side by side, each within its time, and without a trace."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import gevent

from kubeup.checks.deep import access, controllers, refusals, scheduler, upkeep
from kubeup.checks.deep.ground import LABELS, ON_NODES, Ground, Lasting, Pods, Throttled
from kubeup.checks.validation import SWEEP, CheckResult, result_of
from kubeup.cluster import Cluster
from kubeup.host.session import Session

Check = Callable[[Ground], str]
"""Returns what was seen; raises CheckFailed."""


@dataclass(frozen=True)
class Deep:
    """One check. ``limit``: seconds that it may take, which is more than it waits for in all.

    ``by``: the component on masters that does what is looked at. ``space``: whether it has a namespace of its own, or
    uses that of pods which several look at, or none.
    """

    name: str
    check: Check
    limit: float
    by: str = ""
    space: Literal["own", "pods", "none"] = "own"


SCHEDULER, CONTROLLERS = "kube-scheduler", "kube-controller-manager"

CHECKS: tuple[Deep, ...] = (
    # Those that take longest come first.
    Deep("node-death", controllers.node_death, 60, CONTROLLERS),
    Deep("logs", access.logs, 50, space="pods"),
    Deep("exec", access.execute, 50, space="pods"),
    Deep("port-forward", access.port_forward, 50, space="pods"),
    Deep("proxy", access.proxy, 50, space="pods"),
    Deep("jobs", controllers.jobs, 50, CONTROLLERS),
    Deep("namespaces", controllers.namespaces, 40, CONTROLLERS),
    Deep("scheduler-places", scheduler.places, 30, SCHEDULER),
    Deep("scheduler-taints", scheduler.taints, 30, SCHEDULER),
    Deep("scheduler-affinity", scheduler.affinity, 30, SCHEDULER),
    Deep("scheduler-requests", scheduler.requests, 30, SCHEDULER),
    Deep("replication", controllers.replication, 60, CONTROLLERS),
    Deep("endpoints", controllers.endpoints, 60, CONTROLLERS),
    Deep("service-accounts", controllers.service_accounts, 40, CONTROLLERS),
    Deep("quota", controllers.quota, 40, CONTROLLERS),
    Deep("anonymous", refusals.anonymous, 30, space="none"),
    Deep("unauthorized", refusals.unauthorized, 45),
    Deep("etcd", upkeep.etcd, 40, space="none"),
    Deep("etcd-closed", refusals.etcd_closed, 35, space="none"),
    Deep("clocks", upkeep.clocks, 15, space="none"),
    Deep("certificates", upkeep.certificates, 40, space="none"),
)


def names() -> list[str]:
    """What deep checks are called."""
    return [deep.name for deep in CHECKS]


def run_deep(
    cluster: Cluster,
    session: Session,
    certificates: Callable[[], Iterable[Lasting]],
    only: Collection[str] = (),
    seen: Callable[[CheckResult], None] = lambda result: None,
    within: float = 60,
) -> list[CheckResult]:
    """Run all deep checks, or ``only`` those of these names; what each found, in the order of the list.

    ``certificates`` tells what certificates there are on the hosts. ``seen`` gets each result when it is there. No
    check may take longer than ``within`` seconds. Raises HostsFailed when no master can be asked.
    """
    chosen = [deep for deep in CHECKS if not only or deep.name in only]
    run = secrets.token_hex(3)
    base = f"kubeup-validation-{run}"
    step = max(1, -(-len(cluster.nodes) // ON_NODES))
    pods = Pods(f"{base}-pods", [node.name for node in cluster.nodes[::step]])
    kubectl = Throttled(cluster, session)
    results: dict[str, CheckResult] = {}

    def one(deep: Deep) -> None:
        ground = Ground(cluster, session, kubectl, run, f"{base}-{deep.name}", pods, certificates)
        results[deep.name] = _run(deep, ground, within)
        seen(results[deep.name])

    def one_by_one() -> None:
        # These are soon done, and the others are many.
        for deep in chosen:
            if deep.space == "none":
                one(deep)

    # A namespace for each check, so that none sees another's pods, quota or deletion.
    spaces = [f"{base}-{'pods' if deep.space == 'pods' else deep.name}" for deep in chosen if deep.space != "none"]
    with _ground(kubectl, spaces):
        jobs = [gevent.spawn(one, deep) for deep in chosen if deep.space != "none"]
        jobs.append(gevent.spawn(one_by_one))
        try:
            gevent.joinall(jobs, raise_error=True)
        finally:
            gevent.killall(jobs, block=False)
    return [results[deep.name] for deep in chosen]


def _run(deep: Deep, ground: Ground, within: float) -> CheckResult:
    result = result_of(deep.name, partial(deep.check, ground), min(deep.limit, within))
    if result.ok or not deep.by:
        return result
    return replace(result, detail="; ".join([result.detail, *_absent(deep.by, ground)]))


def _absent(component: str, ground: Ground) -> list[str]:
    """What a failed check has for its cause, where the component that does its work runs nowhere."""
    masters = [master.name for master in ground.cluster.masters]
    outcome = ground.session.side_by_side(
        masters, lambda name: ground.session.shell(name, 'systemctl is-active "$1"', component, timeout=10)
    )
    states = {name: "" if isinstance(said, Exception) else said.stdout.strip() for name, said in outcome.items()}
    if "active" in states.values() or "" in states.values():  # or a host that did not say
        return []
    told = ", ".join(f"{name}: {state}" for name, state in states.items())
    return [f"{component}, which does this, runs on no master ({told}; see journalctl -u {component} there)"]


STRAGGLERS = 3
"""Seconds that a script of a check which was interrupted may still take to make an object."""


@contextmanager
def _ground(kubectl: Throttled, namespaces: Sequence[str]) -> Iterator[None]:
    """Make the namespaces, and take away everything in the end. Where there are none, the API is not needed either."""
    if not namespaces:
        yield
        return
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": LABELS}}
        for name in dict.fromkeys(namespaces)
    ]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    try:
        kubectl.checked(f"{SWEEP}\nkubectl create -f - >&2", stdin=text)
        yield
    except BaseException:
        # What checks were at has not ended on the master, and may make some more.
        kubectl.script(f"{SWEEP}sleep {STRAGGLERS}\n{SWEEP}")
        raise
    kubectl.script(SWEEP)
