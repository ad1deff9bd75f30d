from collections.abc import Callable
from pathlib import Path

import pytest

from kubeup.components import Artifact, Component, Event, Store, provide
from kubeup.errors import ComponentError

Content = Callable[[Artifact], bytes]

WANTED = [("demo", "1.0")]


class FakeProvider:
    """Makes programs out of nothing, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def provide(self, component: Component, arch: str, into: Path, log: Path, report: Callable[[str], None]) -> None:
        self.calls += 1
        report("thinking")
        for program in component.programs:
            (into / program.name).write_bytes(f"{program.name} for {arch}\n".encode() * 1000)


@pytest.fixture
def provider() -> FakeProvider:
    return FakeProvider()


def test_all_of_a_component_is_in_the_store_afterwards(
    store: Store, demo: Component, provider: FakeProvider, content: Content
) -> None:
    events: list[Event] = []
    provide(store, WANTED, provider, events.append)
    assert {artifact.name for artifact in store.entries()} == set(demo.artifacts) == {"demo", "democtl", "image-demo"}
    assert content(store.find("democtl", "1.0")) == b"democtl for amd64\n" * 1000
    assert [event.state for event in events] == ["start", "working", "working", "built"]
    assert events[1] == Event("demo", "1.0", "working", events[1].seconds, "thinking")
    assert list((store.root / "tmp").iterdir()) == []


def test_a_second_run_makes_nothing(store: Store, demo: Component, provider: FakeProvider) -> None:
    provide(store, WANTED, provider)
    events: list[Event] = []
    provide(store, WANTED, provider, events.append)
    assert provider.calls == 1
    assert [event.state for event in events] == ["start", "cached"]


@pytest.mark.parametrize("change", ["pin", "lost file"])
def test_a_change_makes_it_anew(store: Store, demo: Component, provider: FakeProvider, change: str) -> None:
    provide(store, WANTED, provider)
    if change == "pin":
        (demo.module_dir / "go.mod").write_text("module kubeup.invalid/demo\n\ngo 1.26\n")
    else:
        store.find("demo", "1.0").path.unlink()
    provide(store, WANTED, provider)
    assert provider.calls == 2
    store.find("demo", "1.0").verify()


def test_architectures_do_not_mix(store: Store, demo: Component, provider: FakeProvider) -> None:
    provide(store, WANTED, provider, arch="arm64")
    with pytest.raises(ComponentError, match="amd64"):
        store.find("demo", "1.0")
    assert store.find("demo", "1.0", "arm64").arch == "arm64"
    with pytest.raises(ComponentError, match="s390x"):
        provide(store, WANTED, provider, arch="s390x")


def test_an_unknown_component_is_told_before_any_is_made(store: Store, demo: Component, provider: FakeProvider) -> None:
    with pytest.raises(ComponentError, match="nonesuch"):
        provide(store, [*WANTED, ("nonesuch", "1")], provider)
    assert provider.calls == 0


def test_failure_leaves_nothing_of_the_component(store: Store, demo: Component) -> None:
    class Broken:
        def provide(self, component: Component, arch: str, into: Path, log: Path, report: object) -> None:
            (into / "demo").write_text("half")
            raise ComponentError("no luck\nmore of it")

    events: list[Event] = []
    with pytest.raises(ComponentError, match="no luck"):
        provide(store, WANTED, Broken(), events.append)
    assert store.entries() == []
    assert list((store.root / "tmp").iterdir()) == []
    assert (events[-1].state, events[-1].detail) == ("failed", "no luck")


def test_a_provider_that_forgets_a_program_is_found_out(store: Store, demo: Component) -> None:
    class Forgetful:
        def provide(self, component: Component, arch: str, into: Path, log: Path, report: object) -> None:
            (into / "demo").write_text("one of two")

    with pytest.raises(ComponentError, match="without democtl"):
        provide(store, WANTED, Forgetful())
    assert store.entries() == []


def test_a_cache_that_cannot_be_written_is_named(store: Store, demo: Component, provider: FakeProvider) -> None:
    store.root.mkdir()
    (store.root / "blobs").write_text("a file where a folder should be")
    with pytest.raises(ComponentError, match=f"demo 1.0 could not be put into the cache {store.root}: "):
        provide(store, WANTED, provider)
