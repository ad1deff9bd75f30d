"""Turn an addon on or off: the inventory is edited, and the cluster brought to what it then says. And what there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kubeup.checks.addons import Part, not_applied, parts, why
from kubeup.checks.kubectl import Kubectl
from kubeup.cluster import Cluster
from kubeup.cluster.addons import Addons
from kubeup.cluster.editing import Edited, with_addon
from kubeup.cluster.wording import did_you_mean
from kubeup.deploy import up
from kubeup.deploy.add_node import Inventory
from kubeup.deploy.phases import execute
from kubeup.deploy.run import Run
from kubeup.errors import HostsFailed, InventoryError, Problem
from kubeup.host.session import Session
from kubeup.roles.addons import entries, version


@dataclass(frozen=True)
class Row:
    """One addon: whether the inventory has it on, the version, and how it is in the cluster."""

    name: str
    on: bool
    version: str
    state: str


def edit(path: Path, name: str, on: bool, settings: Mapping[str, str]) -> Edited:
    """The inventory with the addon on or off. Raises InventoryError with all that is wrong; nothing is written."""
    if name not in Addons.switches():
        remedy = did_you_mean(name, list(Addons.switches()))
        raise InventoryError([Problem(str(path), f"no addon is called {name!r}", remedy)])
    return with_addon(path, name, on, settings)


def switch(edited: Edited, session: Session, job: str) -> Run:
    """Bring the cluster to what the edited inventory says. It is written once the hosts are found to be fit."""
    session.connect()
    run = Run(edited.cluster, session, alone=True, job=job)
    preflight, *converge = up.PHASES
    execute([preflight, Inventory(edited), *converge], run)
    return run


def rows(cluster: Cluster, session: Session) -> list[Row]:
    """All addons: kubeup's own, on or off, and the user's; and what the cluster has that the inventory has not."""
    kubectl = Kubectl(cluster, session)
    found: dict[str, list[Part]] = {}
    on = {name: version(cluster, name) for name in cluster.addons.names} | entries(cluster)
    names = [*Addons.switches(), *entries(cluster)]
    wrong: dict[str, str] = {}
    try:
        for part in parts(kubectl):
            found.setdefault(part.addon, []).append(part)
        wrong = not_applied(kubectl)
        states = {name: _state(kubectl, name in on, found.get(name, []), wrong.get(name, "")) for name in names}
    except HostsFailed:
        found, states = {}, dict.fromkeys(on, "the API does not answer")
    listed = [Row(name, name in on, on.get(name) or version(cluster, name), states.get(name, "")) for name in names]
    strangers = [
        Row(name, False, "", wrong.get(name) or "in the cluster, and not in the inventory: kubeup up takes it away")
        for name in dict.fromkeys([*found, *wrong])
        if name not in names
    ]
    return listed + strangers


def _state(kubectl: Kubectl, on: bool, found: list[Part], wrong: str) -> str:
    if wrong:
        return f"not applied: {wrong}" if on else f"not taken away: {wrong}"
    if not on:
        return "in the cluster, and off in the inventory: kubeup up takes it away" if found else ""
    if not found:
        return ""
    waiting = [why(kubectl, part) for part in found if not part.works]
    pods = ", ".join(f"{part.name} {part.pods}" for part in found if part.pods)
    return "; ".join(waiting) or f"ready ({pods})"
