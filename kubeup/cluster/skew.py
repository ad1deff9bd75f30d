"""Which version may follow which, and which may run beside which: the projects' own rules, as functions of versions.

Kubernetes: https://kubernetes.io/releases/version-skew-policy. etcd: its upgrade guides, one minor at a time.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kubeup.components.catalogue import COMPONENTS
from kubeup.errors import Problem

Running = Mapping[str, Mapping[str, tuple[str, str]]]
"""What runs: node -> program -> (component, version)."""


@dataclass(frozen=True)
class Rule:
    """How far a program may be taken at once: ``minors`` is the most that its minor version may rise."""

    component: str
    minors: int


RULES: Mapping[str, Rule] = {
    # kube-apiserver "may not skip minor versions", which the next two may be one older than, and no newer
    "kube-apiserver": Rule("kubernetes", 1),
    "kube-controller-manager": Rule("kubernetes", 1),
    "kube-scheduler": Rule("kubernetes", 1),
    # "may be up to three minor versions older than kube-apiserver", and are emptied of pods first
    "kubelet": Rule("kubernetes", 3),
    "kube-proxy": Rule("kubernetes", 3),
    # its storage is migrated by each minor version for the next
    "etcd": Rule("etcd", 1),
}
"""Programs that nothing is said of (containerd, flannel, CoreDNS …) may go from any version to any other."""


def parts(version: str) -> tuple[int, int, int, bool, str]:
    """A version such as 1.36.3 or 1.37.0-rc.1 as something that compares as versions do."""
    match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)(?:-(.*))?", version)
    if match is None:
        raise ValueError(f"{version!r} is not a version")
    major, minor, patch, pre = match.groups()
    return int(major), int(minor), int(patch), pre is None, pre or ""


def minor_of(version: str) -> tuple[int, int]:
    """1.36.3 -> (1, 36)"""
    return parts(version)[:2]


def problems(running: Running, target: Mapping[str, str]) -> list[Problem]:
    """What forbids to take what runs to the versions in ``target`` (component -> version)."""
    nodes: dict[tuple[str, str], list[str]] = {}
    for node, programs in running.items():
        for program, (_, version) in programs.items():
            if program in RULES:
                nodes.setdefault((program, version), []).append(node)
    found = []
    for (program, version), where in nodes.items():
        rule = RULES[program]
        wanted = target[rule.component]
        now, then = minor_of(version), minor_of(wanted)
        if parts(wanted) < parts(version):
            what = f"{program} {version} runs, and {wanted} is older"
            remedy = "`kubeup rollback` goes back to what ran before the last upgrade; nothing older than that"
        elif then[0] != now[0] or then[1] - now[1] > rule.minors:
            what = f"{program} {version} runs, and {wanted} skips {_skipped(version, wanted)}"
            between = [c.version for c in COMPONENTS if c.name == rule.component and minor_of(c.version) > now]
            between = [v for v in between if minor_of(v) < then]
            remedy = (
                f"upgrade to {between[0]} first"
                if between
                else f"one minor version at a time; kubeup's catalogue has no {rule.component} in between"
            )
        else:
            continue
        found.append(Problem(", ".join(where), what, remedy))
    return found


def _skipped(version: str, wanted: str) -> str:
    (major, now), (_, then) = minor_of(version), minor_of(wanted)
    return ", ".join(f"{major}.{minor}" for minor in range(now + 1, then)) or "a major version"


def kubelets_wait(running: Running, kubernetes: str) -> bool:
    """Whether kubelets of this version have to wait for apiservers, which they may not be newer than."""
    return any(
        minor_of(programs["kube-apiserver"][1]) < minor_of(kubernetes)
        for programs in running.values()
        if "kube-apiserver" in programs
    )


def cannot_go_back(component: str, version: str, older: str) -> str:
    """Why a component in this version cannot be followed by an older one, or ""."""
    if component == "etcd" and minor_of(version) != minor_of(older):
        return (
            f"etcd stays at {version}: it has migrated its storage, which {older} cannot read. To have etcd {older} "
            "again, restore the snapshot that was taken before the upgrade"
        )
    return ""
