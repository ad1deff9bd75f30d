"""A YAML file read so that every problem can be told with its line."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kubeup.errors import InventoryError, Problem

Key = tuple[str | int, ...]
"""Where a value stands in a document: the keys and indexes that lead to it."""


class Quoted(str):
    """A scalar that is a text whatever it looks like, because it stands in quotes or in a block."""


@dataclass(frozen=True)
class Document:
    """What a file holds.

    Every scalar in ``data`` is the text that stands in the file (an empty one is None), so that a label ``yes`` or a
    version ``1.10`` is not taken for a truth value or a number: the model alone says what a value means.
    ``places`` has for each key where it stands, e.g. "cluster.yaml:12". ``problems`` do not keep the rest from being
    looked at.
    """

    data: Any
    places: Mapping[Key, str]
    problems: tuple[Problem, ...] = ()

    def where(self, *keys: Key) -> str:
        """The place of the first of ``keys`` that stands in the document, else the nearest above the last."""
        for key in keys:
            if key in self.places:
                return self.places[key]
        key = keys[-1]
        while key and key not in self.places:
            key = key[:-1]
        return self.places.get(key, "")


def read_document(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        InventoryError: it cannot be read, or is not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        remedy = "write one with kubeup init, or say where it is with -i FILE"
        raise InventoryError([Problem(str(path), "there is no such file", remedy)]) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InventoryError([Problem(str(path), f"cannot be read: {error}")]) from error
    return parse_document(text, str(path))


def parse_document(text: str, file: str) -> Document:
    """Read YAML that is (or would be) in ``file``. Raises InventoryError when it is not YAML."""
    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise InventoryError([syntax_problem(file, error)]) from error
    reader = _Reader(file)
    if root is None:
        return Document(None, {(): f"{file}:1"})
    data = reader.value(root, ())
    return Document(data, reader.places, tuple(reader.problems))


def syntax_problem(file: str, error: yaml.YAMLError) -> Problem:
    """Where and what is wrong. The error's own text has the line in it, and so perhaps a password."""
    mark = getattr(error, "problem_mark", None)
    where = f"{file}:{mark.line + 1}" if mark else file
    what = getattr(error, "problem", None) or str(error).splitlines()[0]
    context = getattr(error, "context", None)
    return Problem(
        where,
        f"not valid YAML: {what}" + (f" {context}" if context else ""),
        "look at this line and the one above: indentation (spaces, no tabs), quotes, brackets, a space after each ':'",
    )


@dataclass
class _Reader:
    """Walks PyYAML's nodes, which know their lines, once."""

    file: str
    places: dict[Key, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def value(self, node: yaml.Node, key: Key, above: tuple[yaml.Node, ...] = ()) -> Any:
        self.places.setdefault(key, self._place(node))
        if node in above:
            self.problems.append(Problem(self._place(node), "an alias contains itself", "write the values out"))
            return None
        above = (*above, node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key, above)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*key, i), above) for i, item in enumerate(node.value)]
        empty = getattr(node, "style", None) is None and node.value in ("", "~", "null")
        if empty:
            return None
        return node.value if getattr(node, "style", None) is None else Quoted(node.value)

    def _mapping(self, node: yaml.MappingNode, key: Key, above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode):
                self.problems.append(Problem(self._place(name), "a key must be a word", "write key: value"))
                continue
            at = (*key, name.value)
            if name.value in result:
                first = self.places[at].rpartition(":")[2]
                what = f"{name.value} is given twice, first in line {first}"
                self.problems.append(Problem(self._place(name), what, "leave one of them"))
                continue
            self.places[at] = self._place(name)
            result[name.value] = self.value(value, at, above)
        return result

    def _place(self, node: yaml.Node) -> str:
        return f"{self.file}:{node.start_mark.line + 1}"
