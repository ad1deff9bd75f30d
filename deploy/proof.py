"""Proving that a cluster works: what `up` proves, and with it, when asked, all that the control plane promises."""

from __future__ import annotations

from collections.abc import Callable, Collection

from kubeup.checks import deep as deep_checks
from kubeup.checks.validation import CheckResult, titles, validate
from kubeup.deploy.certificates import held
from kubeup.deploy.run import Run

FIRST_PART = 30
"""Seconds for what `up` proves too, and"""
SECOND_PART = 52
"""for the rest, whose checks run side by side: together, with what is to be taken away, they end within 90."""


def names() -> list[str]:
    """What all checks are called."""
    return [*titles(), *deep_checks.names()]


def prove(
    run: Run,
    *,
    deep: bool = False,
    only: Collection[str] = (),
    show: Callable[[str], None] = print,
    seen: Callable[[CheckResult], None] = lambda result: None,
) -> list[CheckResult]:
    """What each check found. ``deep``: those too that `up` does without; ``only``: those of these names, of both kinds.

    ``show`` gets 2015's output, ``seen`` each result at once. Raises HostsFailed when no master can be asked.
    """
    results: list[CheckResult] = []
    limit = FIRST_PART if deep else None
    if not only or set(only) & set(titles()):
        results += validate(run.cluster, run.session, show=show, seen=seen, only=only, limit=limit)
    if deep if not only else set(only) & set(deep_checks.names()):
        results += deep_checks.run_deep(run.cluster, run.session, lambda: held(run), only, seen, SECOND_PART)
    return results
