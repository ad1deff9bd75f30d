"""Throwaway clusters: on lab hosts, validated, for one command or one run of tests, and gone afterwards."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from types import FrameType
from typing import Any, Self

import zstandard

from kubeup.cluster import load
from kubeup.cluster.document import parse_document
from kubeup.cluster.inventory import check
from kubeup.components import DEFAULT_VERSIONS, Store, architecture
from kubeup.deploy.access import of_a_cluster_that_is_up
from kubeup.deploy.phases import execute
from kubeup.deploy.prepared import ensure_prepared
from kubeup.deploy.run import Run
from kubeup.deploy.up import PHASES
from kubeup.errors import LabError
from kubeup.host.session import Session
from kubeup.lab import Lab, LabNode, create, destroy, ensure_engine, sweep, this_process
from kubeup.lab.alike import alike
from kubeup.lab.command import Say
from kubeup.lab.hosts import check_name
from kubeup.lab.inventory import default_roles, inventory_text
from kubeup.observer import Observer

GRACE = 20
"""Seconds that a command may take to end when it is asked to, before it is killed."""


@dataclass(frozen=True)
class Wanted:
    """What kind of cluster. ``roles`` one a host; ``settings`` as in an inventory, ``more`` those of each host.

    ``prepared``: on hosts that have all components in place already.
    """

    roles: Sequence[str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    more: Sequence[Mapping[str, Any]] = ()
    outside: bool = True
    prepared: bool = True

    @property
    def versions(self) -> dict[str, str]:
        """The versions that it chooses, by component as an inventory calls them."""
        given = self.settings.get("versions") or {}
        return {str(name): str(version) for name, version in given.items()}


def wanted(
    hosts: int,
    masters: int = 1,
    *,
    like: Path | None = None,
    version: str | None = None,
    addons: Sequence[str] = (),
    network: str = "nat",
    prepared: bool = True,
    say: Say,
) -> Wanted:
    """What a person has asked for, checked as far as that can be done without hosts.

    ``like`` is an inventory whose shape is taken, instead of so many hosts and masters. Raises LabError,
    or InventoryError: no such version or addon, or whatever else an inventory cannot have.
    """
    if network not in ("nat", "none"):
        raise LabError(f"there is no network {network!r} for a lab: use nat or none")
    roles: Sequence[str] = default_roles(hosts, masters)
    settings: dict[str, Any] = {}
    more: Sequence[Mapping[str, Any]] = ()
    if like is not None:
        shape = alike(like)
        roles, settings, more = shape.roles, dict(shape.settings), shape.more
        say(f"hosts stand for {', '.join(shape.stands_for)}")
        if shape.left_out:
            say(f"left out, as it is about the network of those hosts: {', '.join(shape.left_out)}")
    if version is not None:
        versions = settings.get("versions")
        settings["versions"] = {**(versions if isinstance(versions, dict) else {}), "kubernetes": version}
    if addons:
        on = settings.get("addons")
        settings["addons"] = {**(on if isinstance(on, dict) else {}), **dict.fromkeys(addons, "on")}
    made_up = [LabNode(f"host-{n}", str(IPv4Address("198.18.0.0") + n), role) for n, role in enumerate(roles, 1)]
    text = inventory_text("lab", made_up, {**settings, "ssh": {}})
    check(parse_document(text, "the lab's inventory"), Path())
    return Wanted(roles, settings, more, network == "nat", prepared)


def bring_up(name: str, kind: Wanted, observer: Observer, say: Say, owner: str = "") -> Lab:
    """Make a lab with a validated cluster on it, and write its kubeconfig; what is there of it already is kept.

    Removes what killed runs have left first. What was made of a cluster that does not come up stays, for a look at it.
    Raises what `kubeup.lab.create` and the phases of `up` raise.
    """
    check_name(name)
    ensure_engine(install=False, say=say)
    sweep(say)
    images = ensure_prepared(kind.versions, say) if kind.prepared else {}
    lab = create(
        name, roles=kind.roles, settings=kind.settings, more=kind.more, outside=kind.outside, images=images,
        owner=owner, say=say,
    )  # fmt: skip
    cluster = load(lab.inventory)
    with Session(cluster, observer=observer) as session:
        session.connect()
        run = Run(cluster, session, job="kubeup lab up")
        execute(PHASES, run)
        with open(lab.kubeconfig, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(of_a_cluster_that_is_up(run))
    return lab


def run(command: Sequence[str], kind: Wanted, observer: Observer, say: Say, begin: Callable[[], None]) -> int:
    """Run ``command`` with a cluster of its own, and return its exit code (128 and the signal's number, as in a shell).

    The command finds the cluster by $KUBECONFIG, $KUBEUP_INVENTORY and $KUBEUP_LAB, and a kubectl at the end of $PATH.
    ``begin`` is called just before it starts. The cluster is removed whatever happens, but by the next sweep where this
    process is killed. Raises LabError or ComponentError, before anything is made, when there is no such command, or no
    components in the cache.
    """
    if shutil.which(command[0]) is None:
        raise LabError(f"{command[0]}: there is no such command, so no cluster was made for it")
    tools = _tools(kind)  # first: without components in the cache there is nothing to begin with
    name = f"run-{secrets.token_hex(3)}"
    with _Signals() as signals:
        try:
            lab = bring_up(name, kind, observer, say, owner=this_process())
            environment = {
                **os.environ,
                "KUBECONFIG": str(lab.kubeconfig),
                "KUBEUP_INVENTORY": str(lab.inventory),
                "KUBEUP_LAB": name,
                "PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), str(tools)]),
            }
            begin()
            return signals.follow(command, environment)
        finally:
            signals.ignore()  # what is begun here is not to be half done
            destroy(name)
            say(f"lab {name}: removed")


class _Signals:
    """What a process does when it is asked to end, so that what it made is removed.

    Before the command begins it is interrupted, by each of them as by Ctrl-C. From then on it waits for the command:
    a terminal tells that of Ctrl-C by itself, of the others it is told here.
    """

    NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __enter__(self) -> Self:
        self._asked: list[int] = []
        self._waiting = False
        self._former = {number: signal.signal(number, self._take) for number in self.NUMBERS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def ignore(self) -> None:
        """From now on."""
        for number in self.NUMBERS:
            signal.signal(number, signal.SIG_IGN)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if not self._waiting:
            raise KeyboardInterrupt
        self._asked.append(number)

    def follow(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        """Run the command to its end, and return its exit code as a shell has it."""
        self._waiting = True
        process = subprocess.Popen(command, env=environment)
        told = False
        deadline: float | None = None
        while True:
            try:
                code = process.wait(0.2)
                return code if code >= 0 else 128 - code
            except subprocess.TimeoutExpired:
                pass
            if self._asked and deadline is None:
                deadline = time.monotonic() + GRACE
            if not told and set(self._asked) - {signal.SIGINT}:
                told = True
                process.terminate()
            if deadline is not None and time.monotonic() > deadline:
                process.kill()


def _tools(kind: Wanted) -> Path:
    """A folder with the cluster's kubectl, unpacked from the component cache when it is first needed."""
    version = kind.versions.get("kubernetes", DEFAULT_VERSIONS["kubernetes"])
    store = Store()
    artifact = store.find("kubectl", version, architecture(platform.machine()))
    folder = store.root / "tools" / artifact.sha256
    if not (folder / "kubectl").exists():
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f"draft-{os.getpid()}"
        with artifact.path.open("rb") as packed, draft.open("wb") as program:
            zstandard.ZstdDecompressor().copy_stream(packed, program)
        draft.chmod(0o755)
        draft.replace(folder / "kubectl")
    return folder
