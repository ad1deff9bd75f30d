"""Take a cluster to other versions, and back, while it serves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kubeup.checks import apis
from kubeup.checks.etcdctl import Etcdctl
from kubeup.checks.kubectl import Kubectl, cordoned, ready
from kubeup.checks.preflight import preflight
from kubeup.cluster import skew
from kubeup.cluster.model import Versions
from kubeup.deploy import snapshots
from kubeup.deploy.drain import DRAIN_TIMEOUT
from kubeup.deploy.phases import Validate
from kubeup.deploy.rolling import Rolling, plan_of, unavailable
from kubeup.deploy.run import PREVIOUS, Previous, Run
from kubeup.errors import HostsFailed, Problem, UpgradeRefused

Note = Callable[[Versions], None]
"""Writes versions into the inventory."""


@dataclass(frozen=True)
class Options:
    """How an upgrade is to go. ``max_unavailable``: so many workers at once, "2" or "20%"; ``canary``: the node that
    goes first; ``force``: go on although objects or pods will be lost; ``drain_timeout`` in seconds.
    """

    max_unavailable: str = "1"
    canary: str = ""
    force: bool = False
    drain_timeout: float = DRAIN_TIMEOUT


def upgrade(run: Run, options: Options, note: Note) -> bool:
    """Take the cluster to the versions of ``run.cluster``; whether there was anything to do.

    Raises UpgradeRefused when it cannot be, with nothing changed; UpgradeError when it has stopped at a node; and what
    a phase of `up` raises.
    """
    target = run.cluster.versions
    before = _before(run)
    begun = _begun(run, before)
    _refuse([*_options(run, options), *_strangers(run), *skew.problems(run.running, _by_component(target))])
    emptied = _refuse_unhealthy(run, begun)
    minor_changes = skew.minor_of(before.kubernetes) != skew.minor_of(target.kubernetes)
    if minor_changes and not begun:
        _refuse(_deprecated(run, options.force))
    if run.previous is None or run.previous.to != target:
        # Before the difference is asked for: these programs stay on the hosts.
        run.previous = Previous(before, target, tuple(apis.served(run.cluster, run.session)))
    preflight(run.cluster, run.readings, run.changes, run.vault)
    if not emptied and not any(run.changes.values()) and run.validated:
        return False
    run.session.observer.say(_headline(run, before, target))
    rolling = Rolling(run, before, options.drain_timeout, options.force)
    _prepare(rolling, note, snapshot=not begun)
    workers = len(run.cluster.nodes) - len(run.cluster.masters)
    rolling.execute(
        plan_of(
            run.cluster,
            max_unavailable=unavailable(options.max_unavailable, workers),
            canary=options.canary,
            kubelets_wait=skew.kubelets_wait(run.running, target.kubernetes),
        )
    )
    rolling.tidy()
    Validate().run(run)
    return True


def rollback(newer: Run, options: Options, note: Note) -> None:
    """Take the cluster back to what it ran before its last upgrade. Raises as `upgrade` does."""
    previous = newer.previous
    if previous is None:
        remedy = "only what an upgrade has replaced is known, and its programs are kept"
        raise UpgradeRefused([Problem("", "there is no earlier version to go back to", remedy)])
    running, target = previous.to, previous.versions
    why = skew.cannot_go_back("etcd", running.etcd, target.etcd)
    if why and target.etcd not in _in_use(newer)["etcd"]:
        _say(newer, why)
        target = target.model_copy(update={"etcd": running.etcd})
    run = newer.in_versions(target)
    run.previous = previous
    begun = _begun(run, running)
    _refuse([*_options(run, options), *_strangers(run)])
    _refuse_unhealthy(run, begun)
    try:
        if not options.force:
            _refuse(_unreadable(run, previous))
    except HostsFailed:
        if not begun:
            raise
        _say(run, "etcd does not answer, so it is not known whether it has objects that the older version cannot read.")
    preflight(run.cluster, run.readings, run.changes, run.vault)
    _say(run, _headline(run, running, target))
    rolling = Rolling(run, running, options.drain_timeout, options.force)
    _prepare(rolling, note, snapshot=not begun)
    workers = len(run.cluster.nodes) - len(run.cluster.masters)
    size = unavailable(options.max_unavailable, workers)
    rolling.execute(plan_of(run.cluster, max_unavailable=size, canary=options.canary, back=True))
    rolling.tidy()
    run.on_masters('rm -f -- "$1"', PREVIOUS)
    Validate().run(run)


def _prepare(rolling: Rolling, note: Note, *, snapshot: bool) -> None:
    """What comes before the first node: a way back for the data, all bytes, and what is to be known on a killed run."""
    run = rolling.run
    run.hold()
    if not run.cluster.members:
        _say(run, "This etcd is not kubeup's: a snapshot of it is yours to take.")
    elif snapshot:
        taken = snapshots.take(run.cluster, run.session)
        _say(run, f"etcd's data up to now is in {taken.path} on {taken.node}.")
    rolling.distribute()
    if run.previous:
        run.on_masters('umask 077; printf "%s\\n" "$2" >"$1"', PREVIOUS, run.previous.text)
    note(run.cluster.versions)


def _say(run: Run, text: str) -> bool:
    run.session.observer.say(text)
    return True


def _by_component(versions: Versions) -> dict[str, str]:
    return {key.replace("_", "-"): version for key, version in versions}


def _in_use(run: Run) -> dict[str, set[str]]:
    """component -> the versions of it that run anywhere in the cluster."""
    found: dict[str, set[str]] = {}
    for programs in run.running.values():
        for component, version in programs.values():
            found.setdefault(component, set()).add(version)
    return found


def _before(run: Run) -> Versions:
    """What the cluster ran before this upgrade: as the masters have noted when it was begun, else what runs now."""
    target = run.cluster.versions
    if run.previous and run.previous.to == target:
        return run.previous.versions
    in_use = _in_use(run)
    others = {key: in_use.get(key.replace("_", "-"), set()) - {version} for key, version in target}
    return target.model_copy(update={key: min(found, key=skew.parts) for key, found in others.items() if found})


def _begun(run: Run, before: Versions) -> set[str]:
    """The nodes that a run before this one has already worked on: they may be in any state."""
    old, new = _by_component(before), _by_component(run.cluster.versions)
    found = set()
    for name, reading in run.readings.items():
        in_use = run.running[name].values()
        if any(version == new.get(component) != old.get(component) for component, version in in_use) or any(
            kind == "unit" and entry.want == "pending" for (kind, _), entry in reading.record.items()
        ):
            found.add(name)
    return found


def _headline(run: Run, before: Versions, target: Versions) -> str:
    old, new = _by_component(before), _by_component(target)
    changes = [
        f"{component} {old[component]} -> {new[component]}" for component in new if old[component] != new[component]
    ]
    return (
        f"{run.cluster.name}: {', '.join(changes) or 'no other versions, but what differs is brought, node by node'}."
    )


# What forbids it


def _refuse(problems: Iterable[Problem]) -> None:
    if problems := list(problems):
        raise UpgradeRefused(problems)


def _options(run: Run, options: Options) -> list[Problem]:
    found = []
    names = [node.name for node in run.cluster.nodes]
    if options.canary and options.canary not in names:
        found.append(Problem("--canary", f"there is no node {options.canary}", f"there are: {', '.join(names)}"))
    try:
        unavailable(options.max_unavailable, 1)
    except ValueError as error:
        found.append(Problem("--max-unavailable", str(error)))
    return found


def _strangers(run: Run) -> list[Problem]:
    """Hosts of the inventory that are not part of the cluster yet."""
    return [
        Problem(name, "is not part of the cluster yet", "`kubeup up` brings a new cluster up, `kubeup add-node` a node")
        for name, reading in run.readings.items()
        if not reading.cluster
    ]


def _refuse_unhealthy(run: Run, begun: set[str]) -> set[str]:
    """Refuse a cluster that is not whole, but for what an earlier run was at; the nodes that kubeup has cordoned.

    Where the API does not answer because an earlier run was stopped at a master, that master comes first anyway.
    """
    masters_begun = begun & {master.name for master in run.cluster.masters}
    try:
        nodes = Kubectl(run.cluster, run.session).get("nodes")
        members = Etcdctl(run.cluster, run.session).members() if run.cluster.members else []
    except HostsFailed:
        if not masters_begun:
            raise
        _say(
            run, f"The API does not answer; going on where an earlier run was, with {', '.join(sorted(masters_begun))}."
        )
        return set()
    emptied = {node["metadata"]["name"] for node in nodes if cordoned(node)}
    fine = {node["metadata"]["name"] for node in nodes if ready(node) == "True"}
    problems = [
        Problem(node.name, "is not Ready", f"see: kubectl describe node {node.name}")
        for node in run.cluster.nodes
        if node.name not in fine | begun | emptied
    ]
    problems += [
        Problem(
            member.name or member.endpoint,
            f"its etcd member is not healthy {member.error}".strip(),
            "kubeup etcd status",
        )
        for member in members
        if not member.healthy and member.name not in begun
    ]
    _refuse(problems)
    return emptied


def _deprecated(run: Run, force: bool) -> list[Problem]:
    """APIs in use, and objects in etcd, that the new version of Kubernetes no longer has. What goes later is told."""
    version = run.cluster.versions.kubernetes
    asked = apis.asked_for(run.cluster, run.session)
    gone = {api: release for api, release in asked.items() if apis.removed_in(release, version)}
    later = [f"{api} (until {release})" for api, release in sorted(asked.items()) if api not in gone]
    if later:
        _say(run, f"Deprecated, still there in {version}, and in use since the apiservers started: {', '.join(later)}.")
    lost = apis.lost_in(apis.stored(run.cluster, run.session), version)
    found = [
        Problem(
            "the API",
            f"{api} is removed in Kubernetes {release}, and clients have asked for it since the apiserver started",
            "see which in the apiserver's audit log or metrics, and move them to its successor; or say --force",
        )
        for api, release in sorted(gone.items())
    ]
    found += [
        Problem(
            "etcd",
            f"{number} objects are stored as {kind}, which Kubernetes {version} cannot read",
            "write them anew in their present version (kubectl get … -o json | kubectl replace -f -); or say --force",
        )
        for kind, number in sorted(lost.items())
    ]
    if force:
        for problem in found:
            _say(run, f"{problem.where}: {problem.what} (going on, as --force was said)")
        return []
    return found


def _unreadable(run: Run, previous: Previous) -> list[Problem]:
    """Objects that only the newer version of Kubernetes can read."""
    custom = apis.custom_groups(run.cluster, run.session)
    kinds = apis.unknown_to(apis.stored(run.cluster, run.session), previous.apis, custom)
    return [
        Problem(
            "etcd",
            f"{number} objects are stored as {kind}, which Kubernetes {previous.versions.kubernetes} cannot read",
            "delete them, or say --force: they are then out of reach until the next upgrade",
        )
        for kind, number in sorted(kinds.items())
    ]
