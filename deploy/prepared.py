"""Lab hosts that have everything in place which is the same in every cluster: programs, container runtime, images.

Made by the phases of `up` themselves on a lab of its own, whose hosts then become images. So what lies there is what
`up` would have placed, its record says so, and the next `up` sends nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from importlib.resources.abc import Traversable

from kubeup.cluster import load
from kubeup.components import DEFAULT_VERSIONS, Store
from kubeup.deploy.phases import Converge, Distribute, Phase, Preflight, execute
from kubeup.deploy.run import Run
from kubeup.errors import LabError
from kubeup.host.session import Session
from kubeup.lab import create, destroy, this_process
from kubeup.lab.command import Say
from kubeup.lab.image import ensure_image
from kubeup.lab.prepared import known, made_of, prune, tag
from kubeup.roles import base, containerd
from kubeup.templates import text

PHASES: list[Phase] = [Preflight(), Distribute(), Converge("Hosts", roles=[base, containerd])]

ROLES = ("ai", "i")
"""The roles that have an image: hosts of others are made from the plain one, and get everything by `up`."""

_TEMPLATES = ("base", "containerd")
"""What these roles place files from."""


def ensure_prepared(versions: Mapping[str, str], say: Say) -> dict[str, str]:
    """See to it that there are prepared images for clusters with these versions; their names by role.

    ``versions`` as in an inventory. Takes half a minute the first time, and again when components have changed;
    another process that wants the same waits for it. Raises what `up` raises.
    """
    plain = ensure_image(say)
    store = Store()
    images = {role: tag(_digest(plain, versions, store), role) for role in ROLES}
    if known() >= set(images.values()):
        return images
    with _alone(store):
        if known() >= set(images.values()):  # whoever was before has made them
            return images
        say("preparing lab hosts with all components in place (once; half a minute)")
        started = time.monotonic()
        _make(images, versions)
        prune(keep=images.values())
        say(f"prepared lab hosts ready after {time.monotonic() - started:.0f} s")
    return images


def _digest(plain: str, versions: Mapping[str, str], store: Store) -> str:
    """Of the plain image, of all bytes that `up` would send, and of the files that it would place with them.

    What else differs (a setting of the inventory's) `up` changes: it is small.
    """
    wanted = {**DEFAULT_VERSIONS, **{name.replace("_", "-"): version for name, version in versions.items()}}
    held = sorted((a.name, a.arch, a.sha256) for a in store.entries() if wanted.get(a.component) == a.version)
    templates = [text(f"{folder}/{each.name}") for folder in _TEMPLATES for each in _files(folder)]
    return hashlib.sha256(json.dumps([plain, held, templates]).encode()).hexdigest()[:12]


def _files(folder: str) -> list[Traversable]:
    """The templates in a folder, in an order that is always the same."""
    return sorted(files("kubeup.templates").joinpath(folder).iterdir(), key=lambda file: file.name)


def _make(images: Mapping[str, str], versions: Mapping[str, str]) -> None:
    name = f"prepare-{secrets.token_hex(3)}"
    try:
        settings = {"versions": dict(versions)} if versions else {}
        lab = create(name, roles=list(images), settings=settings, owner=this_process(), say=lambda _: None)
        cluster = load(lab.inventory)
        with Session(cluster) as session:
            session.connect()
            execute(PHASES, Run(cluster, session, job="kubeup lab prepare"))
        for node in lab.nodes:
            made_of(lab, node.name, images[node.role])
    finally:
        destroy(name)


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """No other process of this user makes images meanwhile; the kernel lets go, also when this one is killed."""
    folder = store.root / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lab-image").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except PermissionError as error:
        raise LabError(f"the cache cannot be written to: {error}") from error
