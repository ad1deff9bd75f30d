"""The walk itself: read, try, look at every hop, and say which link is the first broken one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubeup.checks.kubectl import Kubectl
from kubeup.checks.walk.checks import Fault
from kubeup.checks.walk.ends import End, find_service, parse_end
from kubeup.checks.walk.hops import LAST, LEG, TRUNK, Check, Hop
from kubeup.checks.walk.questions import WHOLE, ask_all
from kubeup.checks.walk.reading import Api, read_api, read_hosts
from kubeup.checks.walk.situation import Leg, Situation, refuse_without_address
from kubeup.cluster import Cluster
from kubeup.host.session import Session


@dataclass(frozen=True)
class Finding:
    """A fault at a hop, and the check that saw it."""

    hop: Hop
    check: Check
    leg: Leg | None
    fault: Fault

    @property
    def where(self) -> str:
        """The hop, for people."""
        to = f" to {self.leg.to}" if self.leg else ""
        return f"{self.hop.title}{' of DNS,' if self.leg and self.leg.dns else ''}{to}"


@dataclass(frozen=True)
class Passed:
    """A hop as it was found."""

    hop: Hop
    leg: Leg | None
    lines: tuple[str, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Walk:
    """A way that was walked, and what is wrong on it."""

    situation: Situation
    passed: tuple[Passed, ...]

    @property
    def findings(self) -> list[Finding]:
        """All that is wrong, in the order of the way."""
        return [finding for step in self.passed for finding in step.findings]

    @property
    def broken(self) -> Finding | None:
        """The first broken link: the first that nothing else that is wrong explains."""
        found = self.findings
        explained = {name for finding in found for name in finding.check.explains}
        own = [finding for finding in found if finding.check.name not in explained]
        # What was tried and failed is the last word, where nothing else is one.
        return next(iter(sorted(own, key=lambda finding: finding.hop in LAST)), found[0] if found else None)

    @property
    def arrives(self) -> bool | None:
        """Whether it answered when it was tried; None where it was not."""
        answer = self.situation.answers.get(WHOLE)
        return None if answer is None else not answer.get("error")


def judge(situation: Situation) -> Walk:
    """Look at every hop of a situation."""
    passed = [_pass(hop, situation, None) for hop in TRUNK[:2]]
    legs = {dns: [leg for leg in situation.legs if leg.dns is dns] for dns in (True, False)}
    passed += [_pass(hop, situation, leg) for leg in legs[True] for hop in LEG]
    passed += [_pass(hop, situation, None) for hop in TRUNK[2:]]
    passed += [_pass(hop, situation, leg) for leg in legs[False] for hop in LEG]
    passed += [_pass(hop, situation, None) for hop in LAST]
    return Walk(situation, tuple(step for step in passed if step.lines or step.findings))


def _pass(hop: Hop, situation: Situation, leg: Leg | None) -> Passed:
    findings = []
    for check in hop.checks:
        if fault := check.look(situation, leg):
            findings.append(Finding(hop, check, leg, fault))
    return Passed(hop, leg, tuple(hop.show(situation, leg)), tuple(findings))


def trace(
    cluster: Cluster,
    session: Session,
    client: str,
    target: str,
    namespace: str = "default",
    silent: Mapping[str, str] | None = None,
) -> Walk:
    """Walk the way from ``client`` to ``target`` (see ends.FORMS). ``silent``: the hosts that do not answer, and why.

    Raises WalkRefused where an end is not there, HostsFailed where no master can be asked.
    """
    ends = parse_end(client, namespace, cluster), parse_end(target, namespace, cluster)
    situation = gather(cluster, session, *ends, silent or {})
    walk = judge(situation)
    if walk.broken is None:
        return walk
    # What was being changed just then, as endpoints are, looks wrong for a moment: what counts is seen twice.
    return judge(gather(cluster, session, *ends, silent or {}))


def gather(cluster: Cluster, session: Session, client: End, target: End, silent: Mapping[str, str]) -> Situation:
    """Read and try all that a situation is made of, whatever the cluster's size in three steps: the API, the hosts side
    by side, and then what is tried. (The API is read twice for a NodePort, whose Service says in which namespace.)
    """
    api = read_api(Kubectl(cluster, session), _namespaces(client, target))
    if target.kind == "nodeport":
        api = _with_namespace_of(target, api, cluster, session)
    situation = Situation(cluster, api, client, target)
    refuse_without_address(situation)
    hosts = read_hosts(session, situation.concerned, situation.looked_into, silent)
    situation = Situation(cluster, api, client, target, {host.name: host for host in hosts})
    answers = ask_all(session, situation)
    return Situation(cluster, api, client, target, situation.hosts, answers)


def _namespaces(client: End, target: End) -> set[str]:
    return {end.namespace for end in (client, target) if end.namespace}


def _with_namespace_of(target: End, api: Api, cluster: Cluster, session: Session) -> Api:
    """Read once more, with the namespace of the Service that has a NodePort: only now it is known."""
    service, _ = find_service(api, target)
    more = {item.namespace for item in api.pods} | {service.namespace}
    return read_api(Kubectl(cluster, session), more)


def as_data(walk: Walk) -> dict[str, Any]:
    """For machines."""
    broken = walk.broken
    return {
        "from": walk.situation.client.text,
        "to": walk.situation.target.text,
        "ok": broken is None,
        "arrives": walk.arrives,
        "broken": _finding(broken) if broken else None,
        "findings": [_finding(finding) for finding in walk.findings],
        "hops": [
            {
                "hop": step.hop.name,
                "to": step.leg.to if step.leg else "",
                "dns": bool(step.leg and step.leg.dns),
                "ok": not step.findings,
                "lines": list(step.lines),
            }
            for step in walk.passed
        ],
    }


def _finding(finding: Finding) -> dict[str, str]:
    return {
        "fault": finding.check.name,
        "about": finding.check.about,
        "hop": finding.hop.name,
        "to": finding.leg.to if finding.leg else "",
        "evidence": finding.fault.evidence,
        "host": finding.fault.host,
        "mend": finding.fault.mend,
    }
