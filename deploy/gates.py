"""Waiting until what was changed works, before anything else is touched."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent

from kubeup.errors import NodeError

GATE = 180
"""Seconds within which what was changed must work again."""


def wait_until(what: str, lacks: Callable[[], str]) -> None:
    """Return once ``lacks`` says "". Raises NodeError with what it says when it still does after GATE seconds.

    ``what``: who does not do what then, such as "n1 does not work".
    """
    deadline = time.monotonic() + GATE
    while wrong := lacks():
        if time.monotonic() > deadline:
            raise NodeError(f"{what} within {GATE} s: {wrong}")
        gevent.sleep(0.5)
