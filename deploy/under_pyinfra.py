"""Jobs run by pyinfra's own command: `pyinfra inventories/demo.py deploy/up.py`.

pyinfra executes a deploy file once for each host, side by side, and lets it declare operations, which it then runs one
after another on all hosts. So each phase is one operation, declared on every host, whether it has anything to do there
or not: all hosts then have the same operations in the same order.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import pyinfra
from gevent.lock import RLock
from pyinfra import logger
from pyinfra.api import FunctionCommand, Host, State, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import PyinfraError

from kubeup.cluster import load
from kubeup.deploy.path import measure
from kubeup.deploy.phases import Changing, Phase, Preflight
from kubeup.deploy.run import Run
from kubeup.errors import KubeupError
from kubeup.host.converge import converge
from kubeup.host.difference import Change
from kubeup.host.inventory import INVENTORY
from kubeup.host.session import Session

_runs: dict[str, Run] = {}
_preparing = RLock()
"""Hosts' greenlets come here side by side, and all must find the same readings and, above all, the same authorities."""


def declare(phases: Sequence[Phase], deploy_file: str) -> None:
    """Declare the phases as operations on the current host, when pyinfra's command is executing ``deploy_file``."""
    if not pyinfra.is_cli or pyinfra.state.current_exec_filename != deploy_file:
        return
    try:
        with _preparing:
            run = _run(pyinfra.host.data.get(INVENTORY))
            measure(run)  # what is found out of the hosts must be known before any of them declares its changes
            _ = run.changes  # reads the hosts and makes the vault, which are then kept
            run.hold()  # pyinfra applies the changes by itself, past the session
        _declare(phases, run)
    except KubeupError as error:  # pyinfra would show a traceback
        raise PyinfraError(str(error)) from None


def _declare(phases: Sequence[Phase], run: Run) -> None:
    if pyinfra.state.config.FAIL_PERCENT is None:
        # No phase begins before the one before it has succeeded everywhere. Locked: else it held in this file alone.
        pyinfra.state.config.FAIL_PERCENT = 0
        pyinfra.state.config.lock_current_state()
    first = run.cluster.hosts[0].name == pyinfra.host.name
    for phase in phases:
        if isinstance(phase, Changing):
            change = phase.changes(run).get(pyinfra.host.name) or Change(pyinfra.host.name)
            converge(name=phase.title, change=change, material=run.vault)
        elif isinstance(phase, Preflight):
            if first:  # before anything is done, while pyinfra still prepares
                phase.run(run)
        else:
            _whole_cluster(name=phase.title, phase=phase, run=run, first=first)


def _run(path: str | None) -> Run:
    """The one Run of this process, shared by all hosts' greenlets."""
    if path is None:
        raise KubeupError("use an inventory made by kubeup.host.inventory.hosts, such as inventories/demo.py")
    if path not in _runs:
        cluster = load(path)
        _runs[path] = Run(
            cluster, Session.within(cluster, pyinfra.state), job=f"pyinfra {pyinfra.state.current_exec_filename}"
        )
    return _runs[path]


@operation(is_idempotent=False)
def _whole_cluster(phase: Phase, run: Run, first: bool) -> Generator[PyinfraCommand]:
    """A phase that is about the cluster as a whole: done from the first host, while the others wait."""

    def go(state: State, host: Host) -> bool:
        try:
            phase.run(run)
        except KubeupError as error:
            logger.error(f"{host.print_prefix}{error}")
            return False
        return True

    if first:
        yield FunctionCommand(go, (), {})
