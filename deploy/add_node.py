"""Add nodes to a cluster: its inventory is edited, and what is affected is brought to what it then says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kubeup.cluster import load
from kubeup.cluster.editing import Edited, NewNode, same_host, with_nodes
from kubeup.deploy import up
from kubeup.deploy.leaving import reach_affected, tell_left_out
from kubeup.deploy.phases import Phase, execute
from kubeup.deploy.run import Run
from kubeup.errors import InventoryError, Problem
from kubeup.host.session import Session


@dataclass(frozen=True)
class Inventory:
    """Writes the inventory. The hosts are fit by now, and nothing was changed yet."""

    edited: Edited
    title: str = "Inventory"

    def run(self, run: Run) -> None:
        run.hold()
        self.edited.write()


def phases(edited: Edited) -> list[Phase]:
    """Of adding nodes. Before the hosts are touched the inventory has them: `kubeup up` too goes on after a kill."""
    preflight, *converge = up.PHASES
    return [preflight, Inventory(edited), *converge]


def edit(path: Path, nodes: Sequence[NewNode]) -> tuple[Edited, list[str]]:
    """The inventory with these nodes, of which it may have some from an earlier run, and their names.

    Raises InventoryError with all that would be wrong; nothing is written.
    """
    cluster = load(path)
    problems = []
    missing = []
    for new in nodes:
        there = next((node for node in cluster.hosts if same_host(cluster, node, new.target)), None)
        if there is None:
            missing.append(new)
        elif there.role != new.role or (new.name and there.name != new.name):
            what = f"is there already, as {there.role.value} with the name {there.name}"
            remedy = "to give it another role, write that into the inventory and run kubeup up"
            problems.append(Problem(f"--node {new.role.value}={new.target}", what, remedy))
    if problems:
        raise InventoryError(problems)
    edited = with_nodes(path, missing)
    names = [
        node.name for node in edited.cluster.hosts if any(same_host(edited.cluster, node, new.target) for new in nodes)
    ]
    return edited, names


def add_nodes(edited: Edited, names: Sequence[str], session: Session, job: str) -> Run:
    """Bring the nodes of these names into the cluster. ``session`` is on the edited cluster, and connects here.

    Only they are spoken to, and those others that have to know (see affected).
    """
    run, left_out = reach_affected(edited.cluster, session, names, job)
    execute(phases(edited), run)
    tell_left_out(session, list(left_out))
    return run
