"""The nodes of an inventory, from either form it can have, as values for the fields of ``Node``."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kubeup.cluster.document import Document, Key
from kubeup.cluster.model import Node, Role
from kubeup.cluster.wording import NODE_REMEDY, ROLE_REMEDY
from kubeup.errors import Problem


@dataclass
class Notes:
    """The problems of a document found so far."""

    document: Document
    problems: list[Problem]

    def add(self, what: str, remedy: str, *keys: Key) -> None:
        """Note a problem at the first of ``keys`` that stands in the document."""
        self.problems.append(Problem(self.document.where(*keys), what, remedy))


@dataclass
class Entry:
    """One node as the inventory has it: values for ``Node``'s fields, and where each of them stands.

    ``wrong`` are fields that a problem was noted for already.
    """

    key: Key
    fields: dict[str, Any] = field(default_factory=dict)
    at: dict[str, Key] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)

    def put(self, name: str, value: Any, at: Key) -> None:
        """Set a field to a value that stands at ``at``; None is no value."""
        self.at[name] = at
        if value is not None:
            self.fields[name] = value

    def key_of(self, name: str, *rest: str | int) -> Key:
        """Where a field, or a place within it, stands."""
        return (*self.at.get(name, (*self.key, name)), *rest)


def read_entries(document: Document, notes: Notes) -> Iterator[Entry | None]:
    """Every node of the document, None for one that is not understood, which is noted."""
    nodes, roles = (_Column(document, name) for name in ("nodes", "roles"))
    for column in (nodes, roles):
        if column.items is None:
            notes.add(
                f"{column.name} is not a list", f"expected: a list, e.g. {column.name}: {column.example}", column.key
            )
            return
    assert nodes.items is not None and roles.items is not None  # noqa: S101, PT018 - for mypy; see above
    if not nodes.items:
        notes.add("there are no nodes", f"add nodes: and under it a line for each host, e.g.  {NODE_REMEDY}", nodes.key)
    if roles.given and len(nodes.items) != len(roles.items):
        what = f"nodes and roles differ in length: {len(nodes.items)} and {len(roles.items)}"
        notes.add(what, "write one role for each node, in the same order", roles.key)
    for i, item in enumerate(nodes.items):
        entry = _entry(item, nodes.key_of(i), roles.given, notes)
        if entry and roles.given:
            if i >= len(roles.items):
                entry = None  # the lengths differ, which was noted
            else:
                entry.put("role", roles.items[i], roles.key_of(i))
        yield entry


class _Column:
    """``nodes:`` or ``roles:``, a list or, as in 2015, one text with spaces between. ``items`` is None for all else."""

    def __init__(self, document: Document, name: str) -> None:
        value = document.data.get(name)
        self.document, self.name, self.key = document, name, (name,)
        self.given = value is not None
        self.example = {"nodes": "[vcap@10.10.103.250, vcap@10.10.103.162]", "roles": "[ai, i]"}[name]
        self.items: list[Any] | None = [] if value is None else None
        if isinstance(value, str):
            self.items = value.split()
        elif isinstance(value, list):
            self.items = value

    def key_of(self, i: int) -> Key:
        key: Key = (self.name, i)
        return key if key in self.document.places else self.key


def _entry(item: Any, key: Key, roles_beside: bool, notes: Notes) -> Entry | None:
    entry = Entry(key)
    if isinstance(item, str) and roles_beside:
        entry.put("host", item, key)
    elif isinstance(item, str):
        notes.add(f"node {item!r} has no role", f"{NODE_REMEDY}, or put roles: beside nodes:", key)
        return None
    elif isinstance(item, dict):
        return _from_map(item, entry, roles_beside, notes)
    else:
        notes.add("this is not a node", NODE_REMEDY, key)
        return None
    return entry


def _from_map(item: dict[str, Any], entry: Entry, roles_beside: bool, notes: Notes) -> Entry | None:
    """Fill ``entry`` from a map, in which ``ai: HOST`` is short for ``role: ai`` and ``host: HOST``."""
    letters = [name for name in item if name in set(Role)]
    says_role = [*letters, *(name for name in item if name == "role")]
    unknown = [name for name in item if name not in Node.model_fields and name not in letters]
    if roles_beside and says_role:
        notes.add("this node has a role here and another beside it in roles:", "leave one", (*entry.key, says_role[0]))
        return None
    if len(says_role) > 1 or (letters and "host" in item):
        notes.add("this node says its role or its host twice", NODE_REMEDY, (*entry.key, says_role[-1]))
        return None
    if not roles_beside and not says_role and "host" not in item and unknown:
        notes.add(f"unknown role {unknown[0]!r}", ROLE_REMEDY, (*entry.key, unknown[0]))
        return None
    for name, value in item.items():
        at = (*entry.key, name)
        if name in letters:
            entry.put("role", name, at)
            entry.put("host", value, at)
        else:
            entry.put(name, value, at)
    return entry
