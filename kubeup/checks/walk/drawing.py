"""A walk as a picture: each hop with a mark, then the first broken link, the evidence, and what mends it."""

from __future__ import annotations

from kubeup.checks.walk.hops import LAST
from kubeup.checks.walk.walk import Finding, Passed, Walk

Line = tuple[str, str]
"""A line's text, and how it is to look: ok, broken, follows, head or plain."""

WIDTH = 14
MARKS = {"ok": "✓", "broken": "✗", "follows": "!"}


def draw(walk: Walk) -> list[Line]:
    """The picture, line by line."""
    lines: list[Line] = [(f"{walk.situation.client.text} → {walk.situation.target.text}", "head"), ("", "plain")]
    leg = None
    for step in walk.passed:
        if step.leg is not None and step.leg.dns and not step.findings:
            continue  # the way to CoreDNS is as any other: it is shown where it is broken
        if step.leg is not leg and step.leg is not None:
            lines.append((f"  ├─ to {step.leg.to}{', for the name' if step.leg.dns else ''}", "plain"))
        leg = step.leg
        lines += _hop(walk, step)
    return [*lines, ("", "plain"), *_verdict(walk)]


def _hop(walk: Walk, step: Passed) -> list[Line]:
    look = "ok"
    if step.findings:
        look = "broken" if any(finding is walk.broken for finding in step.findings) else "follows"
    before = "  │ " if step.leg is not None else "  "
    title = f"{before}{MARKS[look]} {step.hop.title:<{WIDTH}}"
    space = " " * len(title) if step.leg is None else before + " " * (len(title) - len(before))
    texts = [*step.lines, *(finding.fault.evidence for finding in step.findings)] or [""]
    return [(f"{title if number == 0 else space} {text}".rstrip(), look) for number, text in enumerate(texts)]


def _verdict(walk: Walk) -> list[Line]:
    broken = walk.broken
    if broken is None:
        said = {True: "and it answers", False: "", None: "(it was not tried: nothing can be run at its beginning)"}
        return [(f"The way is whole, {said[walk.arrives]}.".replace(", (", " ("), "ok")]
    lines: list[Line] = [
        (f"First broken link: {broken.where}: {broken.check.about}", "broken"),
        (f"  Evidence: {evidence(broken)}", "plain"),
        (f"  Mend it:  {mend(broken)}", "plain"),
    ]
    others = {f.check.about for f in walk.findings if f.check.name != broken.check.name}
    if others:
        lines.append((f"  Also seen, as a consequence or next in line: {'; '.join(sorted(others))}", "plain"))
    if walk.arrives:
        words = "  (A connection was answered all the same: what is broken does not stop every packet, or not yet.)"
        lines.append((words, "plain"))
    return lines


def evidence(broken: Finding) -> str:
    """What was seen of the first broken link; and where that is what was tried alone, that nothing says why."""
    return f"{broken.fault.evidence}{' (nothing that was read says why)' if broken.hop in LAST else ''}"


def mend(finding: Finding) -> str:
    """The command that mends it, and where to run it."""
    host = f"  (on {finding.fault.host})" if finding.fault.host else ""
    return f"{finding.fault.mend}{host}"


def as_text(walk: Walk) -> str:
    """The picture without colours."""
    return "\n".join(text for text, _ in draw(walk)) + "\n"


def in_short(walk: Walk) -> str:
    """The answer alone, for the error of a check that failed; "" where nothing was found to be broken."""
    broken = walk.broken
    if broken is None:
        return ""
    return (
        f"\n      first broken link from {walk.situation.client.text} to {walk.situation.target.text}: {broken.where}: "
        f"{broken.check.about}\n      evidence: {evidence(broken)}\n      mend it:  {mend(broken)}"
    )
