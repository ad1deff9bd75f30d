"""Edits inventories as a person would: every byte stays, but those of the nodes that come, go or are replaced.

The parser says where each value stands, and the text is cut and pasted there. (To load and write the file anew would
keep the comments, but not the columns, quotes and line ends.) What comes of it is read again: where it does not say
what it should, because the file uses something of YAML that is not thought of here, the edit is refused.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kubeup.cluster.addresses import Resolve, parse_host, resolve_address
from kubeup.cluster.document import parse_document, read_document
from kubeup.cluster.entries import Notes, read_entries
from kubeup.cluster.inventory import check
from kubeup.cluster.model import Cluster, Node, Role
from kubeup.cluster.writing import parse_node_argument
from kubeup.errors import InventoryError, Problem

BY_HAND = "edit nodes: (and roles:) by hand, then run kubeup up"

# Scalars that mean themselves without quotes wherever kubeup writes one.
_PLAIN = re.compile(r"[A-Za-z0-9_./][-A-Za-z0-9_./@]*(?::\d+)?")


@dataclass(frozen=True)
class NewNode:
    """A node to be added: its role, ``[user@]host[:port]``, and what else is to be said of it."""

    role: Role
    target: str
    name: str | None = None
    address: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def more(self) -> dict[str, Any]:
        """What it says besides role and host."""
        said = {"name": self.name, "address": self.address, "labels": dict(self.labels) or None}
        return {key: value for key, value in said.items() if value is not None}


@dataclass(frozen=True)
class Edited:
    """An inventory as it would be: what it describes, and what is to be written."""

    path: Path
    before: str
    text: str
    cluster: Cluster

    def write(self) -> None:
        """Put the new text in the file's place at once, with the mode and owner that the file has.

        Raises InventoryError when it cannot be written, or was changed by somebody meanwhile.
        """
        path = Path(os.path.realpath(self.path))  # a link stays one
        if self.text == self.before:
            return
        if path.read_bytes().decode() != self.before:
            what = "was changed while kubeup was at work; the change is left alone"
            raise InventoryError([Problem(str(self.path), what, "run the same command again")])
        new = path.with_name(f".{path.name}.kubeup-new")
        try:
            was = path.stat()
            with open(new, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(self.text.encode())
                file.flush()
                os.fsync(file.fileno())
            os.chmod(new, stat.S_IMODE(was.st_mode))
            if os.geteuid() == 0:
                os.chown(new, was.st_uid, was.st_gid)
            os.replace(new, path)
        except OSError as error:
            new.unlink(missing_ok=True)
            raise InventoryError([Problem(str(self.path), f"cannot be written: {error}")]) from error


def with_nodes(path: Path, nodes: Sequence[NewNode], resolve: Resolve = resolve_address) -> Edited:
    """The inventory with these nodes more, at the end of its own. Raises InventoryError with all that is wrong then."""

    def edit(text: str) -> str:
        for node in nodes:
            text = _added(text, node)
        return text

    def expected(data: dict[str, Any]) -> None:
        for node in nodes:
            _extend(data, node)

    return _edited(path, edit, expected, resolve)


def without_nodes(path: Path, names: Sequence[str], resolve: Resolve = resolve_address) -> Edited:
    """The inventory without these nodes, which it has. Raises InventoryError as ``with_nodes``."""
    entries = _names(path)
    indexes = sorted((entries.index(name) for name in names), reverse=True)

    def edit(text: str) -> str:
        for i in indexes:
            for column in _columns(text):
                text = _removed(text, [column], i)
        return text

    def expected(data: dict[str, Any]) -> None:
        for column in ("nodes", "roles"):
            if isinstance(data.get(column), str):
                data[column] = data[column].split()
            for i in indexes if data.get(column) else ():
                del data[column][i]

    return _edited(path, edit, expected, resolve)


def with_other_host(
    path: Path,
    name: str,
    target: str,
    new_name: str | None = None,
    resolve: Resolve = resolve_address,
) -> Edited:
    """The inventory with another host in the place of its node ``name``.

    The entry keeps what it says of the node (role, name, labels, taints) and loses what it says of the host (address,
    port, and user where ``target`` has one). Raises InventoryError as ``with_nodes``.
    """
    i = _names(path).index(name)
    parts = parse_host(target)
    gone = ["address", "port", *(["user"] if parts.user else [])]

    def edit(text: str) -> str:
        item = _item(text, i)
        if not isinstance(item, yaml.MappingNode):
            value = target if new_name is None else _flow({"host": target, "name": new_name})
            return (
                _replaced_word(text, i, target) if item is None else _put(text, item, value, raw=new_name is not None)
            )
        text = _put(text, _value(item, _host_key(item)), target)
        for key in gone:
            text = _without_key(text, i, key)
        return text if new_name is None else _with_key(text, ["nodes", i], "name", new_name)

    def expected(data: dict[str, Any]) -> None:
        if isinstance(data["nodes"], str):
            data["nodes"] = data["nodes"].split()
        item = data["nodes"][i]
        if isinstance(item, str):
            data["nodes"][i] = target if new_name is None else {"host": target, "name": new_name}
            return
        item[next(key for key in item if key in set(Role) or key == "host")] = target
        for key in gone:
            item.pop(key, None)
        if new_name is not None:
            item["name"] = new_name

    return _edited(path, edit, expected, resolve)


def with_versions(path: Path, versions: Mapping[str, str], resolve: Resolve = resolve_address) -> Edited:
    """The inventory that asks for these versions (key of ``versions:`` -> version).

    Raises InventoryError as ``with_nodes``.
    """

    def edit(text: str) -> str:
        for key, version in versions.items():
            root = _root(text)
            if _has(root, "versions"):
                text = _with_key(text, ["versions"], key, version)
                continue
            for name, _ in root.value:
                if name.value == "versions":  # with nothing behind it
                    raise _Unknown("versions: is empty")
            # A line of its own, above the nodes.
            line = f"versions: {_flow({key: version})}{_newline(text)}"
            at = next(name for name, _ in root.value if name.value == "nodes").start_mark.index
            text = text[:at] + line + text[at:]
        return text

    def expected(data: dict[str, Any]) -> None:
        data.setdefault("versions", {}).update(versions)

    return _edited(path, edit, expected, resolve)


def with_addon(
    path: Path, name: str, on: bool, settings: Mapping[str, str] | None = None, resolve: Resolve = resolve_address
) -> Edited:
    """The inventory with the addon of that name on, with these ``settings`` more, or off.

    Settings that it has stay where they are, also while it is off. Raises InventoryError as ``with_nodes``.
    """
    settings = settings or {}

    def change(addon: Any) -> Any:
        """What shall stand behind the name."""
        if isinstance(addon, dict):
            kept = {key: value for key, value in addon.items() if key != "enabled"} | dict(settings)
            return kept if on else {**addon, "enabled": "no"}
        return (dict(settings) or "on") if on else "off"

    def edit(text: str) -> str:
        if not _has(_root(text), "addons"):
            line = f"addons: {_flow({name: change(None)})}{_newline(text)}"
            for key, value in _root(text).value:
                if key.value == "addons":  # with nothing behind it
                    return text[: key.start_mark.index] + line.rstrip() + text[_end(text, value) :]
            at = next(key for key, _ in _root(text).value if key.value == "nodes").start_mark.index
            return text[:at] + line + text[at:]
        addons = _at(text, ["addons"])
        if not _has(addons, name) and name not in [key.value for key, _ in addons.value]:
            return _with_key(text, ["addons"], name, change(None))
        node = _at(text, ["addons", name])
        if not isinstance(node, yaml.MappingNode):
            new = _flow(change(None))
            return _put(text, node, f" {new}" if node.value == "" else new, raw=True)
        if not on:
            return _with_key(text, ["addons", name], "enabled", "no")
        keys = [key.value for key, _ in node.value]
        if "enabled" in keys:
            if len(keys) == 1:
                return _put_value(text, node, _flow(change({})))
            text = _removed(text, ["addons", name], keys.index("enabled"))
        for key, value in settings.items():
            text = _with_key(text, ["addons", name], key, value)
        return text

    def expected(data: dict[str, Any]) -> None:
        if not data.get("addons"):
            data["addons"] = {}
        data["addons"][name] = change(data["addons"].get(name))

    return _edited(path, edit, expected, resolve)


def same_host(cluster: Cluster, node: Node, target: str) -> bool:
    """Whether ``[user@]host[:port]`` is the host of this node."""
    parts = parse_host(target)
    port = parts.port or cluster.ssh.port or 22
    return node.host.lower() == parts.host.lower() and (node.port or cluster.ssh.port or 22) == port


def parse_new_nodes(
    nodes: Sequence[str], names: Sequence[str], addresses: Sequence[str], labels: Sequence[str]
) -> list[NewNode]:
    """Nodes from the options of `kubeup add-node`; raises InventoryError with all that is wrong with them.

    ``names`` and ``addresses`` are given for none or for each, in the same order; ``labels``, KEY=VALUE, are for all.
    """
    problems: list[Problem] = []
    for option, values in (("--name", names), ("--address", addresses)):
        if values and len(values) != len(nodes):
            what = f"{len(values)} times {option} and {len(nodes)} times --node"
            problems.append(Problem(f"{option} {values[0]}", what, "give one for each --node, in the same order"))
    pairs = [label.partition("=") for label in labels]
    problems += [
        Problem(f"--label {key}", "a label is KEY=VALUE", "write it like disk=ssd")
        for key, equals, _ in pairs
        if not equals
    ]
    arguments = []
    for text in nodes:
        try:
            arguments.append(parse_node_argument(text))
        except InventoryError as error:
            problems += error.problems
    if problems:
        raise InventoryError(problems)
    said = {key: value for key, _, value in pairs}
    return [
        NewNode(a.role, a.target, names[i] if names else None, addresses[i] if addresses else None, said)
        for i, a in enumerate(arguments)
    ]


# Reading what comes of it


def _names(path: Path) -> list[str]:
    """The nodes' names in the order of the file, which is a valid inventory."""
    document = read_document(path)
    entries = [entry.fields for entry in read_entries(document, Notes(document, [])) if entry]
    return [fields.get("name") or parse_host(fields["host"]).host.lower() for fields in entries]


def _edited(path: Path, edit: Any, expected: Any, resolve: Resolve) -> Edited:
    try:
        before = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InventoryError([Problem(str(path), f"cannot be read: {error}")]) from error
    data = parse_document(before, str(path)).data
    try:
        text = edit(before)
        after = parse_document(text, f"{path} as it would be")
        expected(data)
    except (_Unknown, yaml.YAMLError, IndexError, InventoryError) as error:
        what = f"is written in a way that kubeup cannot edit ({error})"
        raise InventoryError([Problem(str(path), what, BY_HAND)]) from error
    if _normal(after.data) != _normal(data):
        raise InventoryError([Problem(str(path), "is written in a way that kubeup cannot edit", BY_HAND)])
    return Edited(path, before, text, check(after, path.absolute().parent, resolve))


def _normal(data: dict[str, Any]) -> dict[str, Any]:
    """With 2015's texts of words as lists."""
    return {k: v.split() if k in ("nodes", "roles") and isinstance(v, str) else v for k, v in data.items()}


def _extend(data: dict[str, Any], node: NewNode) -> None:
    for column in ("nodes", "roles"):
        if isinstance(data.get(column), str):
            data[column] = data[column].split()
    if data.get("roles"):
        data["roles"].append(node.role.value)
        data["nodes"].append({"host": node.target, **node.more} if node.more else node.target)
    else:
        data["nodes"].append(_entry(data["nodes"][-1], node))


def _entry(last: Any, node: NewNode) -> dict[str, Any]:
    """The node in the words of the entry above it."""
    if isinstance(last, dict) and "role" in last:
        return {"role": node.role.value, "host": node.target, **node.more}
    return {node.role.value: node.target, **node.more}


# Cutting and pasting


class _Unknown(Exception):
    """Something stands where it is not expected."""


def _columns(text: str) -> list[str]:
    root = _root(text)
    return [name for name in ("nodes", "roles") if _has(root, name)]


def _root(text: str) -> yaml.MappingNode:
    root = yaml.compose(text, Loader=yaml.BaseLoader)
    if not isinstance(root, yaml.MappingNode):
        raise _Unknown("it is not a map")
    return root


def _has(node: yaml.MappingNode, key: str) -> bool:
    return any(name.value == key and value.value not in ("", "~", "null") for name, value in node.value)


def _value(node: Any, key: str) -> Any:
    return next(value for name, value in node.value if name.value == key)


def _item(text: str, i: int) -> Any:
    """The i-th node's entry; None when the nodes are words."""
    nodes = _value(_root(text), "nodes")
    return None if isinstance(nodes, yaml.ScalarNode) else nodes.value[i]


def _host_key(item: yaml.Node) -> str:
    return next(str(name.value) for name, _ in item.value if name.value in set(Role) or name.value == "host")


def _end(text: str, node: yaml.Node) -> int:
    """Where the last character of a value stands, plus one. (A block's own mark is at whatever comes after it.)"""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(text, last[1] if isinstance(last, tuple) else last)
    end: int = node.end_mark.index
    return len(text[:end].rstrip()) if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">") else end


def _line_start(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def _line_end(text: str, index: int) -> int:
    """After the line's end, or the end of the text."""
    found = text.find("\n", index)
    return len(text) if found < 0 else found + 1


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _after_block(text: str, end: int, column: int) -> int:
    """Where the line after a block's last begins: comments below it that stand further in than ``column`` are its."""
    at = _line_end(text, end)
    while match := re.compile(r"([ \t]*)#[^\n]*(\n|$)").match(text, at):
        if len(match[1]) <= column:
            break
        at = match.end()
    return at


def _children(node: Any, text: str) -> list[tuple[int, int]]:
    """Where each child of a collection begins and ends."""
    spans = [
        (child[0].start_mark.index, _end(text, child[1]))
        if isinstance(child, tuple)
        else (child.start_mark.index, _end(text, child))
        for child in node.value
    ]
    flat = [index for span in spans for index in span]
    if flat != sorted(flat) or (flat and not node.start_mark.index <= flat[0]):
        raise _Unknown("with an alias")  # whose place is where its anchor is
    return spans


def _dash(text: str, start: int) -> int:
    """Where the dash of a block sequence's item stands."""
    dash = len(text[:start].rstrip()) - 1
    if text[dash] != "-" or text[_line_start(text, dash) : dash].strip():
        raise _Unknown("a list within a line")
    return dash


def _words(text: str, node: Any) -> list[tuple[int, int]]:
    """Where each word of a scalar begins and ends."""
    start, end = node.start_mark.index, _end(text, node)
    if node.style in ("|", ">"):
        start = _line_end(text, start)
    elif node.style in ("'", '"'):
        start, end = start + 1, end - 1
    return [(start + m.start(), start + m.end()) for m in re.finditer(r"\S+", text[start:end])]


def _at(text: str, keys: Sequence[str | int]) -> Any:
    node: Any = _root(text)
    for key in keys:
        node = node.value[key] if isinstance(key, int) else _value(node, key)
    return node


def _removed(text: str, keys: Sequence[str | int], i: int) -> str:
    """The text without the i-th child of the value at ``keys``."""
    node = _at(text, keys)
    if isinstance(node, yaml.ScalarNode):
        spans = _words(text, node)
        start, end = spans[i]
        start, end = (start, spans[i + 1][0]) if i + 1 < len(spans) else (spans[i - 1][1], end)
        return text[:start] + text[end:]
    spans = _children(node, text)
    start, end = spans[i]
    if not node.flow_style:
        begin = _dash(text, start) if isinstance(node, yaml.SequenceNode) else start
        if text[_line_start(text, begin) : begin].strip():  # the first key, after the dash
            return text[:begin] + text[spans[i + 1][0] :]
        first = _line_start(text, begin)
        return text[:first] + text[_after_block(text, end, begin - first) :]
    first, last = _line_start(text, start), _line_end(text, end)
    alone = re.fullmatch(r"\s*", text[first:start]) and re.fullmatch(r"\s*,?\s*(#[^\n]*)?\n?", text[end:last])
    if alone:
        return text[:first] + text[last:]
    start, end = (start, spans[i + 1][0]) if i + 1 < len(spans) else (spans[i - 1][1], end)
    return text[:start] + text[end:]


def _appended(text: str, keys: Sequence[str | int], lines: Sequence[str]) -> str:
    """The text with a further child at the end of the value at ``keys``: the lines of an item, without its dash.

    Lines after the first are given as they stand under it; in flow style there is one alone.
    """
    node, new = _at(text, keys), _newline(text)
    if isinstance(node, yaml.ScalarNode):
        end = _words(text, node)[-1][1]
        return f"{text[:end]} {lines[0]}{text[end:]}"
    start, end = _children(node, text)[-1]
    if not node.flow_style:
        begin = _dash(text, start) if isinstance(node, yaml.SequenceNode) else start
        column = begin - _line_start(text, begin)
        at = _after_block(text, end, column)
        dash = "- " if isinstance(node, yaml.SequenceNode) else ""
        block = new.join([f"{' ' * column}{dash}{lines[0]}", *(f"{' ' * column}  {line}" for line in lines[1:])])
        gap = "" if text[:at].endswith("\n") else new
        return f"{text[:at]}{gap}{block}{new if not gap else ''}{text[at:]}"
    first = _line_start(text, start)
    closes = node.end_mark.index - 1
    if text[first:start].strip() or "\n" not in text[end:closes]:
        return f"{text[:end]}, {lines[0]}{text[end:]}"
    # One item a line: another line after the last, behind its comment.
    comma = "" if text[end:closes].lstrip().startswith(",") else ","
    at = _line_end(text, end)
    line = f"{text[first:start]}{lines[0]}{'' if comma else ','}{new}"
    return f"{text[:end]}{comma}{text[end:at]}{line}{text[at:]}"


def _added(text: str, node: NewNode) -> str:
    root = _root(text)
    nodes, beside = _value(root, "nodes"), _has(root, "roles")
    if isinstance(nodes, yaml.ScalarNode):
        if node.more:
            raise _Unknown("nodes is one text, which has no place for a name, an address or labels")
        text = _appended(text, ["nodes"], [node.target])
    else:
        last = nodes.value[-1]
        said = dict.fromkeys(name.value for name, _ in last.value) if isinstance(last, yaml.MappingNode) else None
        entry = {"host": node.target, **node.more} if beside else _entry(said, node)
        if beside and not node.more:
            lines = [_scalar(node.target)]
        elif nodes.flow_style or last.flow_style or not isinstance(last, yaml.MappingNode):
            lines = [_flow(entry)]
        else:
            lines = [f"{key}: {_flow(value)}" for key, value in entry.items()]
        text = _appended(text, ["nodes"], lines)
    return _appended(text, ["roles"], [node.role.value]) if beside else text


def _put(text: str, node: yaml.Node, value: str, *, raw: bool = False) -> str:
    """The text with another value in a scalar's place."""
    return f"{text[: node.start_mark.index]}{value if raw else _scalar(value)}{text[_end(text, node) :]}"


def _put_value(text: str, node: yaml.Node, value: str) -> str:
    """The text with another value in a flow collection's place."""
    return f"{text[: node.start_mark.index]}{value}{text[node.end_mark.index :]}"


def _replaced_word(text: str, i: int, value: str) -> str:
    start, end = _words(text, _at(text, ["nodes"]))[i]
    return text[:start] + value + text[end:]


def _key_index(text: str, i: int, key: str) -> int | None:
    names = [name.value for name, _ in _at(text, ["nodes", i]).value]
    return names.index(key) if key in names else None


def _without_key(text: str, i: int, key: str) -> str:
    """The text without a key of the i-th node."""
    j = _key_index(text, i, key)
    return text if j is None else _removed(text, ["nodes", i], j)


def _with_key(text: str, path: Sequence[str | int], key: str, value: Any) -> str:
    """The text with a key set, of the map that lies there. The value is a text, or a map of texts."""
    node = _at(text, [*path])
    if any(name.value == key for name, _ in node.value):
        return _put(text, _at(text, [*path, key]), _flow(value), raw=True)
    if not node.value:
        return _put_value(text, node, _flow({key: value}))
    if node.flow_style:
        return _appended(text, [*path], [f"{key}: {_flow(value)}"])
    # A line after the last of the entry; the first may stand after the dash, so the column is the parser's.
    at, new = _line_end(text, _end(text, node)), _newline(text)
    gap = "" if text[:at].endswith("\n") else new
    line = f"{' ' * node.start_mark.column}{key}: {_flow(value)}"
    return f"{text[:at]}{gap}{line}{'' if gap else new}{text[at:]}"


def _scalar(value: str) -> str:
    return value if _PLAIN.fullmatch(value) and value != "null" else json.dumps(value)


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(str(k))}: {_flow(v)}" for k, v in value.items()) + "}"
    return _scalar(str(value))
