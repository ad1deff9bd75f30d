"""Manifests of Kubernetes as texts: which objects they have, and marking those as an addon's.

The text stays as it is, comments and all, but for the label that is put in.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import yaml

# libyaml's, where PyYAML has it: a tenth of the time.
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

OWNER = "kubeup.dev/addon"
"""The label that says to which addon an object belongs. Objects without it are somebody else's."""


class ManifestError(ValueError):
    """A text is no manifest. ``line`` is where, from 1."""

    def __init__(self, what: str, line: int) -> None:
        super().__init__(what)
        self.line = line


class Object(NamedTuple):
    """An object of Kubernetes, without its content. ``namespace`` is "" where the manifest says none."""

    group: str
    kind: str
    namespace: str
    name: str

    @property
    def resource(self) -> str:
        """Its kind as kubectl takes it, whatever the version: Deployment.apps, ConfigMap."""
        return f"{self.kind}.{self.group}" if self.group else self.kind


class Manifest(NamedTuple):
    """Marked as an addon's: the text, and the objects in their order."""

    text: str
    objects: tuple[Object, ...]


@lru_cache(maxsize=256)
def owned(text: str, addon: str) -> Manifest:
    """The manifest ``text`` with each of its objects labelled as the addon's. Raises ManifestError."""
    objects = []
    edits: set[tuple[int, int, str]] = set()
    try:
        for document in yaml.compose_all(text, Loader=_LOADER):
            for node in _items(document):
                objects.append(_object(node))
                edits.add(_labelling(node, addon))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ManifestError(f"not valid YAML: {error.problem or error}", line) from error
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise ManifestError(f"not valid YAML: {str(error).splitlines()[0]}", 1) from error
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return Manifest(text, tuple(objects))


def _items(document: yaml.Node | None) -> Iterator[yaml.MappingNode]:
    """The objects of a document: itself, or a List's items."""
    if document is None or (isinstance(document, yaml.ScalarNode) and document.value in ("", "~", "null")):
        return
    if not isinstance(document, yaml.MappingNode):
        raise ManifestError("this is no object of Kubernetes", _line(document))
    items = _value(document, "items")
    if _text(document, "kind").endswith("List") and isinstance(items, yaml.SequenceNode):
        for item in items.value:
            yield from _items(item)
    else:
        yield document


def _object(node: yaml.MappingNode) -> Object:
    metadata = _value(node, "metadata")
    found = {key: _text(node, key) for key in ("apiVersion", "kind")}
    found["metadata.name"] = _text(metadata, "name") if isinstance(metadata, yaml.MappingNode) else ""
    if missing := [key for key, value in found.items() if not value]:
        raise ManifestError(f"this object has no {' and no '.join(missing)}", _line(node))
    group = found["apiVersion"].rpartition("/")[0]
    return Object(group, found["kind"], _text(metadata, "namespace"), found["metadata.name"])


def _labelling(node: yaml.MappingNode, addon: str) -> tuple[int, int, str]:
    """What has to be put where in the text (from, to, what) so that the object has the label."""
    metadata = _value(node, "metadata")
    labels = _value(metadata, "labels")
    pair = f'"{OWNER}": "{addon}"'
    if labels is None:
        return _first(metadata, f'"labels": {{{pair}}}')
    if isinstance(labels, yaml.MappingNode):
        if _value(labels, OWNER) is not None:
            raise ManifestError(f"the label {OWNER} is set by kubeup", _line(labels))
        return _first(labels, pair)
    if isinstance(labels, yaml.ScalarNode) and labels.value in ("", "~", "null"):
        return labels.start_mark.index, labels.end_mark.index, f" {{{pair}}}"
    raise ManifestError("labels is no map", _line(labels))


def _first(node: yaml.Node | None, pair: str) -> tuple[int, int, str]:
    """How a pair is put before the others of a map."""
    assert isinstance(node, yaml.MappingNode)  # noqa: S101 - looked at before
    if node.flow_style or not node.value:
        at = node.start_mark.index + 1
        return at, at, f"{pair}, " if node.value else pair
    mark = node.value[0][0].start_mark
    return mark.index, mark.index, f"{pair}\n{' ' * mark.column}"


def _value(node: yaml.Node | None, key: str) -> yaml.Node | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((value for name, value in pairs if name.value == key), None)


def _text(node: yaml.Node | None, key: str) -> str:
    value = _value(node, key)
    return str(value.value) if isinstance(value, yaml.ScalarNode) else ""


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
