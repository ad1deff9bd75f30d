from collections.abc import Iterable
from pathlib import Path

import pytest

from kubeup.components import Store
from kubeup.deploy import prepared
from kubeup.deploy.prepared import ensure_prepared
from kubeup.lab import prepared as images


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, str]]:
    """The sets of images that were made, without Docker; `known` are their names."""
    sets: list[dict[str, str]] = []
    monkeypatch.setenv("KUBEUP_CACHE", str(tmp_path))
    monkeypatch.setattr(prepared, "ensure_image", lambda say: "kubeup-lab-host:1")
    monkeypatch.setattr(prepared, "known", lambda: {tag for each in sets for tag in each.values()})
    monkeypatch.setattr(prepared, "_make", lambda images, versions: sets.append(dict(images)))
    monkeypatch.setattr(prepared, "prune", lambda keep: None)
    return sets


def component(name: str, version: str, content: bytes) -> None:
    store = Store()
    with store.providing(name, version, "amd64"):
        store.put(name, version, "amd64", "recipe", {name: lambda sink: sink.write(content) and None})


def test_images_are_made_once(made: list[dict[str, str]]) -> None:
    first = ensure_prepared({}, lambda line: None)

    assert ensure_prepared({}, lambda line: None) == first
    assert len(made) == 1
    assert sorted(first) == ["ai", "i"]


def test_other_bytes_or_versions_are_other_images(made: list[dict[str, str]]) -> None:
    component("etcd", "3.6.8", b"one")
    component("etcd", "3.6.7", b"older")
    first = ensure_prepared({}, lambda line: None)
    assert ensure_prepared({"etcd": "3.6.7"}, lambda line: None) != first
    component("etcd", "3.6.8", b"built anew")
    assert ensure_prepared({}, lambda line: None) != first
    component("etcd", "1.2.3", b"of no use here")
    ensure_prepared({}, lambda line: None)
    assert len(made) == 3


def test_another_host_image_is_another_image(made: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    first = ensure_prepared({}, lambda line: None)
    monkeypatch.setattr(prepared, "ensure_image", lambda say: "kubeup-lab-host:2")
    assert ensure_prepared({}, lambda line: None) != first


def test_the_oldest_sets_are_removed_but_what_is_needed_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    newest_first = [images.tag(digest, role) for digest in ("e", "d", "c", "b", "a", "z") for role in ("i", "ai")]
    monkeypatch.setattr(images, "docker_lines", lambda *_: newest_first)
    removed: list[str] = []
    monkeypatch.setattr(images, "docker", lambda *words, check: removed.append(words[-1]))

    keep: Iterable[str] = [images.tag("z", "ai"), images.tag("z", "i")]
    images.prune(keep)

    assert removed == [images.tag("a", "i"), images.tag("a", "ai")]
