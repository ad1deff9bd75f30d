"""What ends well as long as somebody looks: etcd's health and space, clocks, certificates."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from kubeup.checks.deep.ground import Ground, Lasting
from kubeup.checks.etcdctl import Etcdctl, Member
from kubeup.checks.validation import CheckFailed
from kubeup.errors import HostsFailed

QUOTA_SHARE = 0.8
"""Of etcd's quota, at which it takes no more writes, the part from which something should be done."""

CLOCKS = 1.0
"""Seconds by which clocks may differ: etcd warns from there on (rafthttp, probing_status.go)."""


def judge_members(members: Sequence[Member]) -> list[str]:
    """What is wrong with etcd."""
    wrong = []
    for member in members:
        if not member.healthy:
            wrong.append(f"{member.name or member.id} is not healthy{member.error and f': {member.error}'}")
        wrong += [f"{member.name} has the alarm {alarm}" for alarm in member.alarms]
        if member.quota_share >= QUOTA_SHARE:
            wrong.append(
                f"{member.name}'s database takes {member.quota_share:.0%} of its quota, at which it takes no more "
                "writes (kubeup etcd defrag; or delete what need not be kept)"
            )
        if member.learner:
            wrong.append(f"{member.name} is a learner, which has no vote")
    if members and not any(member.leader for member in members):
        wrong.append("no member leads")
    return wrong


def etcd(ground: Ground) -> str:
    """etcd's members are healthy, one leads, none has an alarm, and the quota is not nearly used up."""
    if not ground.cluster.members:
        return "it is one that kubeup only uses: its health is looked at where it is run"
    try:
        members = Etcdctl(ground.cluster, ground.session).members()
    except HostsFailed as error:
        raise CheckFailed(str(error)) from None
    if wrong := judge_members(members):
        raise CheckFailed("; ".join(wrong))
    most = max(member.quota_share for member in members)
    number = f"{len(members)} members are" if len(members) > 1 else "its member is"
    return f"{number} healthy, with {most:.1%} of the quota used"


def judge_clocks(offsets: Mapping[str, tuple[float, float]]) -> list[str]:
    """What is wrong with clocks: host -> (seconds before this machine's, how far off that may be)."""
    middle = statistics.median(offset for offset, _ in offsets.values())
    wrong = []
    for name, (offset, unsure) in offsets.items():
        ahead = offset - middle
        if abs(ahead) - unsure > CLOCKS:
            way = "ahead of" if ahead > 0 else "behind"
            wrong.append(
                f"{name}'s clock is {abs(ahead):.1f} s {way} the others' (is chrony or systemd-timesyncd running?)"
            )
    return wrong


def clocks(ground: Ground) -> str:
    """The hosts' clocks agree: certificates, leases and elections go by them."""

    def ask(name: str) -> tuple[float, float]:
        before = time.time()
        output = ground.session.shell(name, "date +%s.%N", timeout=10)
        after = time.time()
        if not output.ok:
            raise CheckFailed(f"date did not run: {output.stderr}")
        return float(output.stdout) - (before + after) / 2, (after - before) / 2

    outcome = ground.session.side_by_side([host.name for host in ground.cluster.hosts], ask)
    silent = [f"{name}: {found}" for name, found in outcome.items() if isinstance(found, Exception)]
    offsets = {name: found for name, found in outcome.items() if not isinstance(found, Exception)}
    if wrong := [*silent, *judge_clocks(offsets)]:
        raise CheckFailed("; ".join(wrong))
    spread = max(o for o, _ in offsets.values()) - min(o for o, _ in offsets.values())
    return f"{len(offsets)} hosts agree to {max(spread, *(unsure for _, unsure in offsets.values())):.2f} s"


def judge_certificates(held: Iterable[Lasting], now: datetime) -> tuple[list[str], str]:
    """Which certificates end soon, and which is the first of the others to end."""
    wrong = []
    first: Lasting | None = None
    for one in held:
        days = (one.end - now).days
        if one.end <= now:
            wrong.append(f"{one.name} on {one.host} has expired")
        elif one.ends_soon(now):
            wrong.append(
                f"{one.name} on {one.host} ends in {days} days" if days else f"{one.name} on {one.host} ends today"
            )
        elif first is None or one.end < first.end:
            first = one
    return wrong, f"{first.name} on {first.host}, in {(first.end - now).days} days" if first else "none"


def certificates(ground: Ground) -> str:
    """No certificate on any host ends soon."""
    try:
        wrong, first = judge_certificates(ground.certificates(), datetime.now(UTC))
    except HostsFailed as error:
        raise CheckFailed(str(error)) from None
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise CheckFailed(f"{'; '.join(wrong[:5])}{more} (kubeup certs renew)")
    return f"the first to end is {first}"
