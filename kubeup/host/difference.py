"""The difference between what a host holds and what it shall hold. Pure: nothing here touches a host."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from kubeup.cluster.certificates import ends_soon
from kubeup.host.reading import Entry, Key, Reading
from kubeup.host.resources import (
    Blob,
    Certificate,
    Cleanup,
    Directory,
    File,
    Link,
    Module,
    Package,
    Resource,
    Secret,
    Sysctl,
    Unit,
    digest,
)

Action = Literal["add", "change", "restart", "remove"]
Desired = Mapping[Key, tuple[str, Resource]]

AT_A_PATH = ("file", "blob", "link")
"""Kinds whose key is a path, of which there can be but one at a time."""

SUPERSEDED = "superseded"
"""In place of what was there before: another kind has taken the path over, so nothing is to be removed there."""

Renewal = Callable[[Certificate, float, float, float], str]
"""Decides whether a certificate is issued anew: of it, its begin, its end and now, why, or ""."""


EXPIRED = "has expired"
"""Why a certificate is issued anew that is no longer valid."""


def nearly_over(certificate: Certificate, begin: float, end: float, now: float) -> str:
    """The Renewal that everything does."""
    if end <= now:
        return EXPIRED
    return "ends soon" if ends_soon(begin, end, now) else ""


@dataclass(frozen=True)
class Item:
    """One difference. ``why`` is for people; ``entry`` is what the record says of it, if anything."""

    action: Action
    key: Key
    why: str
    role: str = ""
    resource: Resource | None = None
    entry: Entry | None = None
    combined: str = "-"

    @property
    def name(self) -> str:
        return self.key[1]


@dataclass
class Change:
    """All that differs on one host."""

    host: str
    items: list[Item] = field(default_factory=list)
    cluster: tuple[str, str] | None = None
    """(name, identity) when the host is not yet marked as this cluster's."""
    forget: bool = False
    """Whether nothing of kubeup shall be left, not even the record."""
    dirty: list[tuple[str, str]] = field(default_factory=list)
    """Units (name, what was there before) that run and will be restarted.

    They are marked on the host before the first thing is placed, and this list, which all parts of a change share, is
    emptied. So a run killed between placing an input and the restart is made good by the next, across phases too.
    """

    def __bool__(self) -> bool:
        return bool(self.items) or self.forget

    def part(self, choose: Callable[[Item], bool]) -> Change:
        """The items for which ``choose`` is true, as a change of its own."""
        return Change(self.host, [item for item in self.items if choose(item)], self.cluster, dirty=self.dirty)


def combined_inputs(unit: Unit, desired: Desired) -> str:
    """A digest of all that a unit is restarted for besides its own file."""
    return digest(*(part for key in unit.inputs for part in (*key, desired[key][1].want)))


def difference(
    host: str, desired: Desired, reading: Reading, *, now: float | None = None, renewal: Renewal = nearly_over
) -> Change:
    """What has to change so that the host holds ``desired`` and nothing else that kubeup placed.

    ``now``: seconds since the epoch, the host's own clock when not given. Certificates that ``renewal`` chooses then
    count as different; units that read them again by themselves are not restarted for it, unless it is too late.
    Raises KeyError when a unit names an input that is not desired.
    """
    time = reading.facts.clock if now is None else now
    change = Change(host)
    changed: set[Key] = set()
    renewed: set[Key] = set()
    units: list[tuple[Key, str, Unit]] = []
    held: set[Key] = set()
    for key, (role, resource) in desired.items():
        held.add(key)
        if isinstance(resource, Certificate):
            held.add(("file", resource.key_path))
        if isinstance(resource, Unit):
            units.append((key, role, resource))
            continue
        why = _differs(resource, reading)
        if why:
            changed.add(key)
        elif isinstance(resource, Certificate):
            begin, end = validity(reading.record[key])
            why = renewal(resource, begin, end, time)
            if why:
                (renewed if time < end else changed).add(key)
        if why:
            entry = reading.record.get(key) or _predecessor(key, reading)
            change.items.append(Item("change" if entry else "add", key, why, role, resource, entry))
    for key, role, unit in units:
        entry = reading.record.get(key)
        combined = combined_inputs(unit, desired)
        why = _unit_differs(unit, combined, reading, changed if unit.rereads else changed | renewed)
        if why:
            same_file = entry is not None and entry.want == unit.want and _placed(key, unit, unit.path, reading)
            action: Action = "add" if entry is None else "restart" if same_file else "change"
            change.items.append(Item(action, key, why, role, unit, entry, combined))
            if entry:
                change.dirty.append((unit.name, entry.before))
    paths = {name for kind, name in held if kind in AT_A_PATH}
    # The last placed goes first: pods' parts before the runtime, links before what made them.
    for key, entry in reversed(reading.record.items()):
        if key in held or key[0] in ("parent", "cluster"):
            continue
        if key[0] in AT_A_PATH and key[1] in paths:  # a link, say, whose place a file takes: only the record forgets it
            entry = replace(entry, before=SUPERSEDED)
        change.items.append(Item("remove", key, "no longer wanted", entry=entry))
    return change


def validity(entry: Entry) -> tuple[float, float]:
    """When the certificate of this entry was issued and when it ends, in seconds since the epoch."""
    _, end, begin = entry.have.split()
    return float(begin), float(end)


def _predecessor(key: Key, reading: Reading) -> Entry | None:
    """What the record says of the same path under another kind: what was there before both is in it."""
    kind, path = key
    others = (reading.record.get((other, path)) for other in AT_A_PATH if kind in AT_A_PATH and other != kind)
    return next((entry for entry in others if entry), None)


def _placed(key: Key, resource: Resource, path: str, reading: Reading) -> bool:
    """Whether the file lies on the host as it was placed."""
    entry = reading.record.get(key)
    return entry is not None and reading.hashes.get(path) == entry.have.split()[0]


def _file_differs(resource: Resource, path: str, mode: int, reading: Reading, key: Key | None = None) -> str:
    key = key or resource.key
    entry = reading.record.get(key)
    if entry is None:
        return "is not there"
    if entry.want != resource.want:
        return "shall be another"
    stat = reading.stats.get(path)
    if stat is None:
        return "has gone"
    if not _placed(key, resource, path, reading):
        return "was altered on the host"
    if stat.mode != mode:
        return f"has mode {stat.mode:04o}, not {mode:04o}"
    return "" if stat.owner == "0:0" else f"belongs to {stat.owner}, not to root"


def _differs(resource: Resource, reading: Reading) -> str:
    """Why the resource is not up to date, or "" when it is."""
    entry = reading.record.get(resource.key)
    match resource:
        case File():
            return _file_differs(resource, resource.path, resource.mode, reading)
        case Secret():
            return _file_differs(resource, resource.path, 0o600, reading)
        case Cleanup():
            return _file_differs(resource, f"/var/lib/kubeup/cleanup/{resource.name}", 0o600, reading)
        case Certificate():
            return _file_differs(resource, resource.path, 0o644, reading) or _file_differs(
                resource, resource.key_path, 0o600, reading, ("file", resource.key_path)
            )
        case Blob():
            return _blob_differs(resource, entry, reading)
    if entry is None:
        return "is not there"
    if entry.want != resource.want:
        return "shall be another"
    ok = True
    match resource:
        case Link():
            ok = reading.links.get(resource.path) == resource.target
        case Directory():
            stat = reading.stats.get(resource.path)
            ok = stat is not None and stat.kind == "directory"
        case Sysctl():
            ok = reading.sysctls.get(resource.name) == resource.value
        case Module():
            ok = resource.name in reading.modules
        case Package():
            ok = resource.name in reading.packages
    return "" if ok else "was altered on the host"


def _blob_differs(resource: Blob, entry: Entry | None, reading: Reading) -> str:
    if entry is None:
        return "is not there"
    if entry.want != resource.want:
        return "shall be another"
    stat = reading.stats.get(resource.path)
    if stat is None:
        return "has gone"
    sha256, size, mtime = entry.have.split()
    as_placed = (stat.size, stat.mtime, stat.mode) == (int(size), int(mtime), resource.mode)
    # Hashed only on a deep reading.
    return "" if as_placed and reading.hashes.get(resource.path, sha256) == sha256 else "was altered on the host"


def _unit_differs(unit: Unit, combined: str, reading: Reading, changed: Container[Key]) -> str:
    entry = reading.record.get(unit.key)
    if entry is None:
        return "is not there"
    if entry.want == "pending":
        return "was not finished by an earlier run"
    if entry.want != unit.want:
        return "shall be another"
    if not _placed(unit.key, unit, unit.path, reading):
        return "was altered on the host"
    inputs = [name for kind, name in unit.inputs if (kind, name) in changed]
    if inputs:
        return f"uses {', '.join(inputs[:3])}{' …' if len(inputs) > 3 else ''}"
    if entry.have.split()[1] != combined:
        return "runs with older inputs"
    state = reading.units.get(unit.name)
    if state is None:
        return "is unknown to systemd"
    if state.enabled != "enabled":
        return f"is {state.enabled or 'not enabled'}"
    if state.needs_reload:
        return "was loaded before its file changed"
    starting = state.active == "activating" and state.sub.startswith("start")
    return "" if state.active == "active" or starting else f"is {state.active} ({state.sub})"
