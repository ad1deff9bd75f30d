"""Manifests, labelled as an addon's without being written anew."""

import pytest
import yaml

from kubeup.cluster.manifests import OWNER, ManifestError, Object, owned

BLOCK = """\
# why it is there
apiVersion: v1
kind: ConfigMap
metadata:
  name: one   # as it is called
  labels:
    app: one
data: {a: "1"}
---
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: two, namespace: web}
---
apiVersion: v1
kind: List
items:
- kind: Service
  apiVersion: v1
  metadata:
    labels: {}
    name: three
- {"apiVersion": "x.example.com/v1", "kind": "Thing", "metadata": {"name": "four", "labels": {"a": "b"}}}
"""


def documents(text: str) -> list[dict[str, object]]:
    return [document for document in yaml.safe_load_all(text) if document]


def labelled(document: dict) -> dict:  # type: ignore[type-arg]
    """The document as it should be."""
    if document["kind"] == "List":
        return {**document, "items": [labelled(item) for item in document["items"]]}
    metadata = document["metadata"]
    return {**document, "metadata": {**metadata, "labels": {OWNER: "web", **(metadata.get("labels") or {})}}}


@pytest.mark.parametrize("text", [BLOCK, BLOCK.replace("labels: {}", "labels:"), BLOCK.replace("\n", "\r\n")])
def test_each_object_is_labelled_and_nothing_else_changes(text: str) -> None:
    manifest = owned(text, "web")
    assert documents(manifest.text) == [labelled(document) for document in documents(text)]
    for comment in ("# why it is there", "# as it is called"):
        assert comment in manifest.text


def test_the_objects_are_told() -> None:
    assert owned(BLOCK, "web").objects == (
        Object("", "ConfigMap", "", "one"),
        Object("apps", "Deployment", "web", "two"),
        Object("", "Service", "", "three"),
        Object("x.example.com", "Thing", "", "four"),
    )
    assert [one.resource for one in owned(BLOCK, "web").objects[:2]] == ["ConfigMap", "Deployment.apps"]


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("apiVersion: v1\nkind: Pod\nmetadata: {generateName: x}\n", "has no metadata.name", 1),
        ("---\na: 1\n---\nkind: Pod\nmetadata: {name: x}\n", "has no apiVersion and no kind and no metadata.name", 2),
        ("- a\n", "no object of Kubernetes", 1),
        ("a: [\n", "not valid YAML", 2),
        ("a: \x07\n", "not valid YAML", 1),
        (f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\n  labels: {{{OWNER}: y}}\n", "is set by kubeup", 5),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: x, labels: [a]}\n", "labels is no map", 3),
    ],
)
def test_what_is_no_manifest_is_refused_with_its_line(text: str, what: str, line: int) -> None:
    with pytest.raises(ManifestError, match=what) as caught:
        owned(text, "web")
    assert caught.value.line == line


def test_a_text_without_objects_has_none() -> None:
    assert owned("# nothing yet\n---\n", "web").objects == ()
