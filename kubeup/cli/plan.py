"""A plan as text and as data."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from kubeup.deploy.run import Run
from kubeup.host.difference import Change, Item
from kubeup.host.reading import Reading
from kubeup.host.resources import File, Unit

MARKS = {"add": "+", "change": "~", "restart": "↻", "remove": "-"}


def _text_of(item: Item) -> tuple[str, str] | None:
    """(path, new text) of an item whose text may be shown, or None."""
    match item.resource:
        case File() as file if file.mode & 0o004:  # else it holds a secret
            return file.path, file.content
        case Unit() as unit if item.action == "change":
            return unit.path, unit.content
    return None


def current_texts(run: Run) -> dict[str, dict[str, str]]:
    """What the files hold now that would change, by host and path. One command on each host that has any."""
    wanted = {
        name: tuple(
            shown[0]
            for item in change.items
            if item.action == "change" and (shown := _text_of(item)) and not _secret(run.readings[name], shown[0])
        )
        for name, change in run.changes.items()
    }

    def read(name: str) -> dict[str, str]:
        return run.session.read([name], contents=wanted[name])[name].texts

    texts: dict[str, dict[str, str]] = {}
    for name, value in run.session.side_by_side([name for name, paths in wanted.items() if paths], read).items():
        if isinstance(value, Exception):
            raise value
        texts[name] = value
    return texts


def _secret(reading: Reading, path: str) -> bool:
    """Whether what lies there now is hidden from others: it may become a file that hides nothing."""
    stat = reading.stats.get(path)
    return stat is not None and not stat.mode & 0o004


def as_text(changes: Mapping[str, Change], current: Mapping[str, Mapping[str, str]]) -> str:
    """The plan for people: by host, each item, with diffs of files that change."""
    lines: list[str] = []
    for name, change in changes.items():
        if not change:
            lines.append(f"{name}: nothing to do")
            continue
        counts = {action: sum(item.action == action for item in change.items) for action in MARKS}
        lines.append(f"{name}: " + ", ".join(f"{count} to {action}" for action, count in counts.items() if count))
        for item in change.items:
            lines.append(
                f"  {MARKS[item.action]} {item.key[0]:<8} {item.name}"
                + ("" if item.action == "add" else f"  ({item.why})")
            )
            shown = _text_of(item)
            if item.action == "change" and shown and shown[0] in current.get(name, {}):
                diff = difflib.unified_diff(
                    current[name][shown[0]].splitlines(), shown[1].splitlines(), "now", "then", lineterm="", n=2
                )
                lines += [f"      {line}" for line in diff]
    total = sum(len(change.items) for change in changes.values())
    lines.append(f"{total} differences." if total else "Nothing to do: all hosts are as the inventory says.")
    return "\n".join(lines)


def as_data(changes: Mapping[str, Change]) -> dict[str, Any]:
    """The plan for machines."""
    return {
        name: [
            {"action": item.action, "kind": item.key[0], "name": item.name, "why": item.why, "role": item.role}
            for item in change.items
        ]
        for name, change in changes.items()
    }
