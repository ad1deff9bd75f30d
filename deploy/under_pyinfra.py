"""Jobs run by pyinfra's own command: `pyinfra inventories/demo.py deploy/up.py`.

pyinfra executes a deploy file once for each host, side by side, and lets it declare operations, which it then runs one
after another on all hosts. So each phase is one operation, declared on every host, whether it has anything to do there
or not: all hosts then have the same operations in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyinfra
from pyinfra.api import FunctionCommand, Host, State, operation
from pyinfra.api.command import PyinfraCommand

from kubeup.errors import KubeupError

if TYPE_CHECKING:
    from kubeup.deploy.phases import Phase
    from kubeup.deploy.run import Run

INVENTORY = "kubeup_inventory"
"""Name of the host data that says which kubeup inventory a host is from; see kubeup.host.inventory."""

_runs: dict[str, Run] = {}


def declare(phases: Sequence[Phase], deploy_file: str) -> None:
    """Declare the phases as operations on the current host, when pyinfra's command is executing ``deploy_file``."""
    if not pyinfra.is_cli or pyinfra.state.current_exec_filename != deploy_file:
        return
    from kubeup.deploy.phases import Preflight

    run = _run(pyinfra.host.data.get(INVENTORY))
    first = run.cluster.nodes[0].name == pyinfra.host.name
    for phase in phases:
        if hasattr(phase, "changes"):
            from kubeup.host.converge import converge

            converge(name=phase.title, change=_of(phase, run, pyinfra.host.name), material=run.vault)
        elif isinstance(phase, Preflight) or phase.title == "Preflight":
            if first:  # before anything is done, while pyinfra still prepares
                phase.run(run)
        else:
            _whole_cluster(name=phase.title, phase=phase, run=run, first=first)


def _of(phase: Any, run: Run, name: str) -> Any:
    from kubeup.host.difference import Change

    return phase.changes(run).get(name) or Change(name)


def _run(path: str | None) -> Run:
    """The one Run of this process, shared by all hosts' greenlets."""
    from kubeup.deploy.run import Run

    from kubeup.cluster import load
    from kubeup.host.session import Session

    if path is None:
        raise KubeupError("use an inventory made by kubeup.host.inventory.hosts, such as inventories/demo.py")
    if path not in _runs:
        cluster = load(path)
        _runs[path] = Run(cluster, Session.within(cluster, pyinfra.state))
    return _runs[path]


@operation(is_idempotent=False)
def _whole_cluster(phase: Phase, run: Run, first: bool) -> Iterator[PyinfraCommand]:
    """A phase that is about the cluster as a whole: done from the first host, while the others wait."""

    def go(state: State, host: Host) -> bool:
        phase.run(run)
        return True

    if first:
        yield FunctionCommand(go, (), {})
