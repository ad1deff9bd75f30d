"""A cluster is changed while it serves: one node after another, each proven to work before the next is touched.

What is to change is the same difference that `up` applies. Here it is applied in parts, in the order of `plan_of`, so
there is no state but what lies on the hosts: the same command again finds less to do, and goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kubeup.checks.addons import addons_ready
from kubeup.checks.etcdctl import Etcdctl
from kubeup.checks.kubectl import KUBECTL, Kubectl, cordoned
from kubeup.cluster import Cluster, Node
from kubeup.cluster.model import Versions
from kubeup.deploy.drain import DRAIN_TIMEOUT, drain, uncordon, unready_pods, wait_ready
from kubeup.deploy.gates import GATE, wait_until
from kubeup.deploy.run import ROLES, Run
from kubeup.errors import HostsFailed, KubeupError, NodeError, UpgradeError
from kubeup.host.converge import is_blob
from kubeup.host.difference import Change, Item
from kubeup.host.reading import Key
from kubeup.host.resources import Blob, Link, Unit
from kubeup.roles import Role, addons, role_name
from kubeup.templates import text

Part = Literal["etcd", "control plane", "node", "addons"]


def part_of(role: Role) -> Part:
    """Which part of a node a role belongs to."""
    if role.WHERE == "members":  # by themselves: stopped at once with etcd, an apiserver waits for it for half a minute
        return "etcd"
    if role is addons:  # last of all: they use images that all nodes must have
        return "addons"
    return "control plane" if role.WHERE == "masters" else "node"


PARTS: Mapping[str, Part] = {role_name(role): part_of(role) for role in ROLES}

TITLES: Mapping[Part, str] = {"etcd": "etcd", "control plane": "Control plane", "node": "Node", "addons": "Addons"}

PODS_NEED = ("containerd.service", "flanneld.service", "kubelet.service", "kube-proxy.service")
"""A node is drained before one of these is restarted."""

ZONE = "topology.kubernetes.io/zone"
"""Workers are grouped by this label: no batch has nodes of two zones, so no two zones are weakened at once."""

STEADY = 3
"""Seconds without a restart after which a service counts as running: one that fails is started again after 1."""


@dataclass(frozen=True)
class Step:
    """Nodes of which a part is changed, side by side."""

    part: Part
    nodes: tuple[str, ...]


def plan_of(
    cluster: Cluster, *, max_unavailable: int = 1, canary: str = "", kubelets_wait: bool = True, back: bool = False
) -> list[Step]:
    """The steps in which a cluster is changed.

    Args:
        cluster: with all its nodes.
        max_unavailable: how many workers may be out of service at once.
        canary: the node that goes first of its kind.
        kubelets_wait: apiservers are to become newer in their minor version. Kubelets may not be newer than any of
            them, so all come before the first kubelet; otherwise a canary may come before everything.
        back: in the reverse order, because apiservers may not be older than kubelets.
    """
    ordered = sorted(cluster.nodes, key=lambda node: node.name != canary)  # stable: the others stay in their order
    etcd_alone = [Step("etcd", (host.name,)) for host in cluster.etcd_hosts]
    controls: list[Step] = []
    for node in (node for node in ordered if node.is_master):
        if node in cluster.members:
            controls.append(Step("etcd", (node.name,)))
        controls.append(Step("control plane", (node.name,)))
    controls = [*etcd_alone, *controls]
    masters = [Step("node", (node.name,)) for node in ordered if node.is_master]
    workers = [node for node in ordered if not node.is_master]
    first = [node for node in workers if node.name == canary]
    rest = [Step("node", batch) for batch in batches([n for n in workers if n not in first], max_unavailable)]
    canaries = [Step("node", (node.name,)) for node in first]
    if back:
        steps = [*canaries, *reversed(rest), *reversed(masters), *reversed(controls)]
    elif kubelets_wait:
        steps = [*controls, *canaries, *masters, *rest]
    else:
        steps = [*canaries, *controls, *masters, *rest]
    return [*steps, Step("addons", tuple(master.name for master in cluster.masters))]


def batches(workers: Sequence[Node], size: int) -> list[tuple[str, ...]]:
    """Workers' names in batches of at most ``size``, none with nodes of two zones."""
    zones: dict[str, list[str]] = {}
    for worker in workers:
        zones.setdefault(worker.labels.get(ZONE, ""), []).append(worker.name)
    return [tuple(names[i : i + size]) for names in zones.values() for i in range(0, len(names), size)]


def unavailable(text: str, workers: int) -> int:
    """How many workers "2" or "20%" are, at least 1. Raises ValueError when it is neither."""
    if text.endswith("%") and text[:-1].isdigit() and 0 < int(text[:-1]) <= 100:
        return max(1, workers * int(text[:-1]) // 100)
    if text.isdigit() and int(text) > 0:
        return int(text)
    raise ValueError(f"{text!r} is neither a number of nodes nor a percentage; write it like 2 or 20%")


@dataclass
class Rolling:
    """The steps' execution. ``versions``: what a node is put back to when it does not work with the new ones."""

    run: Run
    versions: Versions
    drain_timeout: float = DRAIN_TIMEOUT
    force: bool = False
    """Whether pods without a controller are deleted too."""
    done: list[str] = field(default_factory=list)
    """What was changed, for the report."""
    _sent: set[tuple[str, Key]] = field(default_factory=set)

    # What is to be done

    def distribute(self) -> None:
        """Send programs and images that are not in use yet: harmless, as each version has a folder of its own."""
        changes = {}
        for node in self.run.nodes:
            change = self.run.changes[node.name]
            items = [*self._new_blobs(node.name, change), *self._other_bytes(node.name, change)]
            # No unit has to be marked for what it does not use yet.
            changes[node.name] = Change(node.name, items, change.cluster)
            self._sent |= {(node.name, item.key) for item in items}
        self.run.session.apply("Components", changes, self.run.vault)

    def _new_blobs(self, name: str, change: Change) -> list[Item]:
        used = set(self.run.readings[name].links.values())
        return [item for item in change.items if is_blob(item) and item.name not in used]

    def _other_bytes(self, name: str, change: Change) -> list[Item]:
        """Of programs that lie ready from an earlier run, those that are not what is in the cache.

        What is in use is left alone: two builds of one version must not replace each other. But a build that did not
        start must not stay in the way of the one that shall.
        """
        linked = {item.resource.target for item in change.items if isinstance(item.resource, Link)}
        record = self.run.readings[name].record
        changed = {item.key for item in change.items}
        found = []
        for key, (role, resource) in self.run.desired(name).items():
            if isinstance(resource, Blob) and resource.path in linked and key in record and key not in changed:
                wanted = self.run.vault.artifact(resource.artifact, resource.version, name).sha256
                if record[key].have.split()[0] != wanted:
                    found.append(Item("change", key, "is another build", role, resource, record[key]))
        return found

    def part(self, name: str, part: Part) -> Change:
        """What is to change of a part of a node. A host of etcd alone has no other parts."""
        whole = self.run.changes[name]
        alone = name in [host.name for host in self.run.cluster.etcd_hosts]

        def chosen(item: Item) -> bool:
            mine = alone or PARTS.get(item.role) == part
            return mine and item.action != "remove" and (name, item.key) not in self._sent

        change = whole.part(chosen)
        # A mark of their own: other parts' units are not restarted in this step.
        units = _units(change)
        change.dirty = [mark for mark in whole.dirty if mark[0] in units]
        return change

    def tidy(self) -> None:
        """Remove what was placed once and is no longer wanted."""
        changes = {
            name: Change(name, [item for item in change.items if item.action == "remove"], change.cluster)
            for name, change in self.run.changes.items()
        }
        self.run.session.apply("Tidy", changes, self.run.vault)

    # Doing it

    def execute(self, steps: Sequence[Step]) -> None:
        """Run the steps one after another. Raises UpgradeError at the first that fails, KubeupError when none could
        be asked how it went."""
        for number, step in enumerate(steps):
            ahead = [name for later in steps[number + 1 :] for name in later.nodes]
            self._step(step, list(dict.fromkeys(ahead)))

    def _step(self, step: Step, ahead: Sequence[str]) -> None:
        parts = {name: self.part(name, step.part) for name in step.nodes}
        cordoned = self._cordoned() if step.part == "node" else set()
        names = [name for name in step.nodes if parts[name] or name in cordoned]
        if not names:
            return
        ignoring: dict[str, set[str]] = {name: set() for name in names}
        if step.part == "node":
            ignoring = {name: set(unready_pods(self.run, name)) for name in names}
            self._drain([name for name in names if _units(parts[name]).intersection(PODS_NEED)], names)
        wrong: dict[str, str] = {}
        try:
            self.run.session.apply(TITLES[step.part], {name: parts[name] for name in names}, self.run.vault)
        except HostsFailed as error:
            wrong = {failed.host: str(failed) for failed in error.failures}
            lost = [failed.host for failed in error.failures if failed.exit_code is None]
            if lost:
                raise UpgradeError(
                    f"The connection to {', '.join(lost)} broke while {'it was' if len(lost) == 1 else 'they were'} "
                    f"being changed, so how that went is not known.\n    {error}\n    {_GO_ON}"
                ) from error
        gates = self.run.each(
            "Ready",
            [name for name in names if name not in wrong],
            lambda name: self._gate(name, step.part, self.run.cluster.versions, ignoring[name]),
        )
        wrong |= {name: str(error) for name, error in gates.items()}
        fine = [name for name in names if name not in wrong]
        if step.part == "node":
            for name in fine:
                uncordon(self.run, name)
        self.done += [f"{name} ({step.part})" for name in fine]
        if wrong:
            self._fail(step, wrong, ignoring, ahead)

    def _cordoned(self) -> set[str]:
        """The nodes that kubeup has cordoned, now or in a run that was killed."""
        nodes = Kubectl(self.run.cluster, self.run.session).get("nodes")
        return {node["metadata"]["name"] for node in nodes if cordoned(node)}

    def _drain(self, names: Sequence[str], batch: Sequence[str]) -> None:
        """Empty the nodes of pods, where others could take them."""
        others = [
            node["metadata"]["name"]
            for node in Kubectl(self.run.cluster, self.run.session).get("nodes")
            if node["metadata"]["name"] not in batch and not node["spec"].get("unschedulable")
        ]
        if not others:
            if names:
                self.run.session.observer.say(
                    f"{', '.join(names)}: not drained, as there is no other node for its pods; they run on meanwhile."
                )
            return
        if names:
            try:
                self._controllers_work()
            except NodeError as error:
                raise UpgradeError(f"{error}\n    {_GO_ON}") from error
        wrong = self.run.each(
            "Drain", names, lambda name: drain(self.run, name, timeout=self.drain_timeout, force=self.force)
        )
        if wrong:
            for name in names:
                if name not in wrong:
                    uncordon(self.run, name)
            raise UpgradeError("\n".join([*map(str, wrong.values()), f"    {_GO_ON}"]))

    # Whether it works

    def _gate(self, name: str, part: Part, versions: Versions, ignoring: Iterable[str] = ()) -> None:
        """Return once a part of a node works, in these versions. Raises NodeError, ValidationError or
        HostsFailed with what does not.
        """
        self._units_run(name, part)
        if part == "etcd":
            self._member_is_healthy(name)
        if part == "control plane" and self.run.cluster.node(name).is_master:
            self._control_plane_works(name, versions.kubernetes)
            self._controllers_work()
        if part == "node":
            wait_ready(self.run, name, timeout=GATE, version=versions.kubernetes, ignoring=tuple(ignoring))
        if part == "addons" and name == self.run.cluster.masters[0].name:
            # Of the user's own nothing was changed: what is wrong with them is for validation to say.
            addons_ready(Kubectl(self.run.cluster, self.run.session), own=True)

    def _units_run(self, name: str, part: Part) -> None:
        units = [
            resource.name
            for role, resource in self.run.desired(name).values()
            if isinstance(resource, Unit) and PARTS[role] == part
        ]
        output = self.run.session.shell(
            name, text("upgrade/steady.sh"), str(GATE), str(STEADY), *units, timeout=GATE + 2 * STEADY + 15
        )
        if not output.ok:
            raise NodeError(f"{name}: {output.stderr.strip() or 'its services could not be looked at'}")

    def _member_is_healthy(self, name: str) -> None:
        etcdctl = Etcdctl(self.run.cluster, self.run.session)

        def lacks() -> str:
            output = etcdctl.on(name, "endpoint", "health")
            return "" if output.ok else output.stderr.strip() or "it does not answer"

        wait_until(f"{name}: its etcd member is not healthy", lacks)

    def _control_plane_works(self, name: str, version: str) -> None:
        wait_until(f"{name}: its control plane does not work", lambda: self._control_plane_lacks(name, version))

    def _controllers_work(self) -> None:
        """Endpoints must follow pods before any is evicted: a new leader of the controllers takes over after 15 s."""
        kubectl = Kubectl(self.run.cluster, self.run.session)
        output = kubectl.script(text("upgrade/controllers.sh"), str(GATE), timeout=GATE + 30)
        if not output.ok:
            raise NodeError(output.stderr.strip() or "the controllers could not be asked whether they work")

    def _control_plane_lacks(self, name: str, version: str) -> str:
        output = self.run.session.shell(
            name, f"{KUBECTL} get --raw /version && {KUBECTL} get componentstatuses -o json 2>/dev/null", timeout=40
        )
        try:
            decoder = json.JSONDecoder()
            runs, end = decoder.raw_decode(output.stdout.strip())
            statuses = decoder.decode(output.stdout.strip()[end:].strip())["items"]
        except (ValueError, KeyError):
            return output.stderr.strip() or "its apiserver does not answer"
        if runs["gitVersion"] != f"v{version}":
            return f"its apiserver is {runs['gitVersion']}, not v{version}"
        return "; ".join(
            f"{status['metadata']['name']}: {condition.get('error') or condition.get('message', '')}"
            for status in statuses
            for condition in status.get("conditions", [])
            if condition["type"] == "Healthy" and condition["status"] != "True"
        )

    # Where it does not

    def _fail(
        self, step: Step, wrong: Mapping[str, str], ignoring: Mapping[str, set[str]], ahead: Sequence[str]
    ) -> None:
        lines = [f"Stopped: {_and(wrong)} {'does' if len(wrong) == 1 else 'do'} not work as it should ({step.part})."]
        for name, why in wrong.items():
            lines += [f"    {line}" for line in why.splitlines()]
            lines.append(f"    {self._put_back(name, step.part, ignoring[name])}")
        if self.done:
            lines.append(f"    Changed and working: {', '.join(self.done)}.")
        if ahead:
            lines.append(f"    Not reached: {', '.join(ahead)}.")
        lines.append(f"    {_GO_ON}")
        raise UpgradeError("\n".join(lines))

    def _put_back(self, name: str, part: Part, ignoring: set[str]) -> str:
        """Give a part of a node the versions that it had; what came of it, as a sentence."""
        older = self.run.in_versions(self.versions)
        if self.versions == self.run.cluster.versions:
            return f"{name} is left as it is: what changed was not a version."
        try:
            reading = self.run.session.read([name], contents=self.run.contents)[name]
            older.readings = {**self.run.readings, name: reading}
            again = Rolling(older, self.versions)
            self.run.session.apply("Put back", {name: again.part(name, part)}, self.run.vault)
            again._gate(name, part, self.versions, ignoring)
            if part == "node":
                uncordon(self.run, name)
        except KubeupError as error:
            return f"{name} could not be put back to {_short(self.versions, self.run.cluster.versions)} either: {error}"
        return f"{name} was put back to {_short(self.versions, self.run.cluster.versions)}, and works."


_GO_ON = "Mend that and run the same command again: it goes on from here. Or go back: kubeup rollback."


def _units(change: Change) -> set[str]:
    return {item.name for item in change.items if item.key[0] == "unit"}


def _and(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _short(versions: Versions, other: Versions) -> str:
    """kubernetes 1.35.4, etcd 3.6.7: those of ``versions`` that are not the same in ``other``."""
    return ", ".join(
        f"{key.replace('_', '-')} {version}" for key, version in versions if getattr(other, key) != version
    )
