import gzip
import hashlib
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kubeup.components import Artifact, Store
from kubeup.components.store import Writable, default_root
from kubeup.errors import ComponentError

Content = Callable[[Artifact], bytes]

CONTENT = b"a program\n" * 100_000


def put(store: Store, content: bytes = CONTENT, name: str = "demo", recipe: str = "r1") -> Artifact:
    def write(sink: Writable) -> None:
        for start in range(0, len(content), 70_000):
            sink.write(content[start : start + 70_000])

    with store.providing("demos", "1.0", "amd64"):
        store.put("demos", "1.0", "amd64", recipe, {name: write})
    return store.find(name, "1.0")


def test_what_was_put_in_is_found(store: Store, content: Content) -> None:
    artifact = put(store)
    assert (artifact.component, artifact.version, artifact.arch) == ("demos", "1.0", "amd64")
    assert (artifact.sha256, artifact.size) == (hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
    packed = artifact.path.read_bytes()
    assert content(artifact) == CONTENT
    assert (artifact.packed_sha256, artifact.packed_size) == (hashlib.sha256(packed).hexdigest(), len(packed))
    artifact.verify()
    assert store.entries() == [artifact]


def test_what_unpacks_the_others_is_packed_as_gzip(store: Store) -> None:
    def write(sink: Writable) -> None:
        sink.write(CONTENT)

    with store.providing("unpack", "1.0", "amd64"):
        store.put("unpack", "1.0", "amd64", "recipe", {"kubeup-unpack": write}, "gzip")
    artifact = store.find("kubeup-unpack", "1.0")
    assert (artifact.packing, gzip.decompress(artifact.path.read_bytes())) == ("gzip", CONTENT)


def test_the_same_content_gives_the_same_file(tmp_path: Path) -> None:
    first = put(Store(tmp_path / "a"))
    time.sleep(1.1)  # gzip's header has whole seconds
    second = put(Store(tmp_path / "b"), name="other")
    assert first.path.name == second.path.name
    assert first.path.read_bytes() == second.path.read_bytes()


def test_what_is_not_there_says_how_to_get_it(store: Store) -> None:
    put(store)
    for name, version, arch in [("demo", "2.0", "amd64"), ("other", "1.0", "amd64"), ("demo", "1.0", "arm64")]:
        with pytest.raises(ComponentError, match=f"{name} {version} .{arch}. is not in .* `kubeup components fetch`"):
            store.find(name, version, arch)


def test_a_lost_file_is_not_found(store: Store) -> None:
    put(store).path.unlink()
    with pytest.raises(ComponentError, match="kubeup components fetch"):
        store.find("demo", "1.0")


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda packed: gzip.compress(CONTENT + b"!"), id="other content"),
        pytest.param(lambda packed: packed[:-100], id="cut off"),
        pytest.param(lambda packed: packed[:500] + b"\0" * 20 + packed[520:], id="overwritten inside"),
        pytest.param(lambda packed: packed[:10] + b"\x07" + packed[11:], id="no deflate stream"),
        pytest.param(lambda packed: b"", id="empty"),
        pytest.param(lambda packed: b"not gzip", id="not gzip"),
    ],
)
def test_damage_is_found(store: Store, damage) -> None:  # type: ignore[no-untyped-def]
    artifact = put(store)
    artifact.path.write_bytes(damage(artifact.path.read_bytes()))
    with pytest.raises(ComponentError) as raised:
        artifact.verify()
    assert str(artifact.path) in str(raised.value)
    assert artifact.sha256 in str(raised.value)


def test_a_wrong_digest_is_told_with_the_one_found(store: Store) -> None:
    artifact = put(store)
    artifact.path.write_bytes(b"evil")
    with pytest.raises(ComponentError, match=hashlib.sha256(b"evil").hexdigest()):
        artifact.verify()


def test_putting_in_again_mends_damage(store: Store) -> None:
    artifact = put(store)
    artifact.path.write_bytes(b"damaged")
    assert not store.holds("demos", "1.0", "amd64", "r1")
    put(store).verify()
    assert store.holds("demos", "1.0", "amd64", "r1")


def test_holds_asks_for_the_recipe_and_for_every_file(store: Store) -> None:
    artifact = put(store)
    assert store.holds("demos", "1.0", "amd64", "r1")
    assert not store.holds("demos", "1.0", "amd64", "r2")
    assert not store.holds("demos", "1.0", "arm64", "r1")
    artifact.path.unlink()
    assert not store.holds("demos", "1.0", "amd64", "r1")


def test_a_writer_that_fails_leaves_nothing(store: Store) -> None:
    def write(sink: Writable) -> None:
        sink.write(CONTENT)
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"), store.providing("demos", "1.0", "amd64"):
        store.put("demos", "1.0", "amd64", "r1", {"demo": write})
    assert store.entries() == []
    assert [path for path in store.root.rglob("*") if path.is_file() and "locks" not in path.parts] == []


def test_an_unreadable_index_is_named(store: Store) -> None:
    put(store)
    index = store.root / "index" / "demos" / "1.0" / "amd64.json"
    index.write_text('{"artifacts": {"demo": {"sha256"')
    with pytest.raises(ComponentError, match=str(index)):
        store.find("demo", "1.0")
    assert not store.holds("demos", "1.0", "amd64", "r1")


def test_what_a_killed_process_left_behind_is_gone(store: Store) -> None:
    leftover = store.root / "tmp" / "demos-1.0-amd64" / "half a program"
    leftover.parent.mkdir(parents=True)
    leftover.write_text("half")
    with store.providing("demos", "1.0", "amd64") as folder:
        assert list(folder.iterdir()) == []
        (folder / "file").write_text("x")
    assert not folder.exists()


def _hold(root: Path, ready: "multiprocessing.synchronize.Event", seconds: float) -> None:
    with Store(root).providing("demos", "1.0", "amd64"):
        ready.set()
        time.sleep(seconds)


def test_processes_wait_for_each_other(store: Store) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    other = context.Process(target=_hold, args=(store.root, ready, 0.5))
    other.start()
    assert ready.wait(20)
    started = time.monotonic()
    with store.providing("another", "1.0", "amd64"):
        assert time.monotonic() - started < 0.3  # another component does not wait
    with store.providing("demos", "1.0", "amd64"):
        assert time.monotonic() - started > 0.3
    other.join()
    assert other.exitcode == 0


def test_default_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.delenv("KUBEUP_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_root() == Path("/home/ann/.cache/kubeup")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_root() == Path("/xdg/kubeup")
    monkeypatch.setenv("KUBEUP_CACHE", "/own")
    assert default_root() == Path("/own")
    assert Store().root == Path("/own")
