"""Fill the store: for each wanted component what a provider makes of it, unless the store has it already."""

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from kubeup.components import catalogue, images
from kubeup.components.catalogue import Component
from kubeup.components.store import Store, copy_from
from kubeup.errors import ComponentError


@dataclass(frozen=True)
class Event:
    """How far a component is, for whoever watches.

    Each begins with "start" and ends with one of "built", "cached" and "failed"; between them come any number of
    "working". ``seconds`` is the time since its start, ``detail`` what is being done or what went wrong, in one line.
    """

    component: str
    version: str
    state: Literal["start", "working", "built", "cached", "failed"]
    seconds: float = 0.0
    detail: str = ""


class Provider(Protocol):
    """Where the programs of a component come from."""

    def provide(self, component: Component, arch: str, into: Path, log: Path, report: Callable[[str], None]) -> None:
        """Put the component's programs for ``arch`` (amd64, arm64) into the folder ``into``, each under its name.

        What is done is written to the file ``log`` and told, a line at a time, to ``report``. Raises ComponentError.
        """


def provide(
    store: Store,
    wanted: Iterable[tuple[str, str]],
    provider: Provider,
    progress: Callable[[Event], None] = lambda event: None,
    arch: str = "amd64",
) -> None:
    """See to it that ``store`` holds all ``wanted`` (component, version) for ``arch``, one after another.

    What is in the store and made as the catalogue says today is left alone. ``progress`` is told of every step.
    Raises ComponentError at the first component that cannot be had; those before it stay in the store.
    """
    components = [catalogue.get(name, version) for name, version in wanted]  # all known, before the first is made
    if arch not in catalogue.ARCHITECTURES:
        raise ComponentError(f"no components for {arch!r}; there are: {', '.join(catalogue.ARCHITECTURES)}")
    for component in components:
        _provide_one(store, component, provider, progress, arch)


def _provide_one(
    store: Store, component: Component, provider: Provider, progress: Callable[[Event], None], arch: str
) -> None:
    name, version = component.name, component.version
    started = time.monotonic()

    def tell(state: Literal["start", "working", "built", "cached", "failed"], detail: str = "") -> None:
        progress(Event(name, version, state, time.monotonic() - started, detail))

    tell("start")
    recipe = _recipe(component)
    if store.holds(name, version, arch, recipe):
        return tell("cached")
    try:
        with store.providing(name, version, arch) as folder:
            # Who waited for the lock finds that the other process has done the work.
            if store.holds(name, version, arch, recipe):
                return tell("cached")
            provider.provide(component, arch, folder, store.log(name, version), lambda line: tell("working", line))
            if missing := [p.name for p in component.programs if not (folder / p.name).is_file()]:
                raise ComponentError(f"{name} {version} was made, but without {', '.join(missing)}")
            tell("working", "compressing")
            files = {program.name: copy_from(folder / program.name) for program in component.programs}
            archives = {
                image.artifact: images.writer(image, version, arch, folder / image.program)
                for image in component.images
            }
            store.put(name, version, arch, recipe, files | archives, component.packing)
    except OSError as error:  # the disk is full, or the cache is not ours to write
        tell("failed", str(error))
        raise ComponentError(f"{name} {version} could not be put into the cache {store.root}: {error}") from error
    except ComponentError as error:
        tell("failed", str(error).partition("\n")[0])
        raise
    return tell("built")


def _recipe(component: Component) -> str:
    """A digest of all that the catalogue says of a component, pins and our own source included.

    It changes when any of it does, so that a cache made by an older kubeup is not taken for what this one means.
    """
    digest = hashlib.sha256(f"{component!r} {component.ldflags} {images.FORMAT}".encode())
    for path in sorted(component.module_dir.rglob("*")):
        if path.is_file():
            digest.update(f"\0{path.relative_to(component.module_dir)}\0".encode() + path.read_bytes())
    return digest.hexdigest()
