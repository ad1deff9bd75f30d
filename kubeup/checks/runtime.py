"""Whether a container runtime that the user runs can take the cluster's pods: it is asked, and not changed."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import zstandard

from kubeup.cluster import Cluster
from kubeup.cluster.runtimes import KNOWN
from kubeup.components import Artifact
from kubeup.errors import HostsFailed, Problem
from kubeup.host.session import Output, Session, failure

_ASK = files("kubeup.checks").joinpath("runtime.sh").read_text()

NETWORK = "10-kubeup.conflist"
"""The configuration of flannel's network in /etc/cni/net.d: runtimes take the first by name."""
PLUGINS = "/opt/cni/bin"
CONFIGURATIONS = "/etc/cni/net.d"


@dataclass
class Runtimes:
    """What came of asking: problems, and by host what runs there, e.g. "containerd 2.4.2, cgroup driver systemd"."""

    problems: list[Problem] = field(default_factory=list)
    found: dict[str, str] = field(default_factory=dict)


def ask_runtimes(cluster: Cluster, session: Session, crictl: Mapping[str, Artifact], new: Collection[str]) -> Runtimes:
    """Ask the runtimes of these hosts, for each of which ``crictl`` has the program. Raises HostsFailed.

    ``new``: the hosts of which nothing is this cluster's yet, whose runtimes must have no pods.
    """
    asked = Runtimes()

    def ask(name: str) -> Output:
        socket = cluster.runtime_socket(cluster.node(name)) or ""
        programs = sorted({known.program for known in KNOWN.values()} - {""})
        return session.stream(name, _ASK, socket, *programs, source=_packed(crictl[name]), timeout=60)

    for name, output in session.side_by_side(sorted(crictl), ask).items():
        if isinstance(output, Exception):
            raise output
        if not output.ok:
            raise HostsFailed("preflight", [failure(name, "asking the container runtime (crictl)", output)])
        answer = Answer(cluster.runtime_socket(cluster.node(name)) or "", _sections(output.stdout))
        asked.problems += [Problem(name, what, remedy) for what, remedy in judge(answer, cluster, name in new)]
        if answer.name:
            asked.found[name] = str(answer)
    return asked


@cache
def _packed(program: Artifact) -> tuple[bytes, ...]:
    """The program as gzip, which every host can unpack; it is on none yet."""
    data = program.path.read_bytes()
    if program.packing == "zstd":
        data = gzip.compress(zstandard.ZstdDecompressor().decompressobj().decompress(data), compresslevel=1)
    return tuple(data[at : at + 2**18] for at in range(0, len(data), 2**18))


def _sections(text: str) -> dict[str, str]:
    parts = f"\n{text}".split("\n=== ")[1:]
    return {title.strip(): body.strip() for title, _, body in (part.partition("\n") for part in parts)}


@dataclass(frozen=True)
class Answer:
    """What runtime.sh printed on one host, by section."""

    socket: str
    sections: Mapping[str, str]

    def _field(self, section: str, name: str) -> str:
        match = re.search(rf"^{name}:\s*(\S.*)$", self.sections.get(section, ""), re.MULTILINE)
        return match[1].strip() if match else ""

    @property
    def name(self) -> str:
        """As it calls itself over CRI; "" where it did not answer."""
        return self._field("version", "RuntimeName")

    @property
    def version(self) -> str:
        return self._field("version", "RuntimeVersion")

    @property
    def cgroup_driver(self) -> str:
        """systemd or cgroupfs; "" where it does not say."""
        return self._field("config", "cgroup driver").lower()

    @property
    def info(self) -> Mapping[str, Any]:
        """What it says of itself besides, which differs from kind to kind."""
        try:
            info = json.loads(self.sections.get("info", ""))
        except ValueError:
            return {}
        return info if isinstance(info, dict) else {}

    @property
    def pods(self) -> int:
        return len(self.sections.get("pods", "").split())

    @property
    def title(self) -> str:
        """Name and version, e.g. "CRI-O 1.36.0"."""
        known = KNOWN.get(self.name)
        return f"{known.title if known else self.name} {self.version.removeprefix('v')}"

    def __str__(self) -> str:
        return f"{self.title}, cgroup driver {self.cgroup_driver or 'unknown'}"


def judge(answer: Answer, cluster: Cluster, new: bool) -> Iterator[tuple[str, str]]:
    """What keeps this runtime from running the cluster's pods, and what to do about it."""
    if "socket" not in answer.sections:
        yield (
            f"there is no socket {answer.socket}",
            "start the container runtime, or say the path of its socket in runtime: {socket: ...}",
        )
        return
    if not answer.name:
        said = (answer.sections.get("version", "").splitlines() or ["it says nothing"])[-1]
        yield (
            f"the container runtime at {answer.socket} does not answer as CRI v1: {said}",
            "see that it runs and offers CRI v1 (a containerd must not have cri in its disabled_plugins)",
        )
        return
    known = KNOWN.get(answer.name)
    if known is None:
        yield (
            f"the container runtime {answer.name} is not known, nor how it is given images",
            f"use one of {', '.join(k.title for k in KNOWN.values())}",
        )
        return
    number = re.match(r"v?(\d+)\.(\d+)", answer.version)
    if known.oldest and number and (int(number[1]), int(number[2])) < known.oldest:
        yield f"{answer.title} is too old", f"use {known.wanted}"
    elif not answer.cgroup_driver:
        # The kubelet takes over what the runtime says, and so they never differ.
        yield (
            f"{answer.title} does not tell its cgroup driver (RuntimeConfig of CRI), which the kubelet has to use too",
            f"use {known.wanted}",
        )
    if known.program and known.program not in answer.sections.get("programs", "").split():
        yield (
            f"{known.program} cannot be found, by which {known.title} is given the cluster's images",
            f"install the package that brings {known.program}",
        )
    for condition in answer.info.get("status", {}).get("conditions", ()):
        if condition.get("type") == "RuntimeReady" and not condition.get("status"):
            said = condition.get("message") or condition.get("reason") or "it does not say why"
            yield f"{answer.title} is not ready: {said}", "see its journal"
    if cluster.cni == "flannel":
        yield from _network(answer)
    if new and answer.pods:
        yield (
            f"{answer.pods} pods run in {answer.title}, and the kubelet would remove them: they are not its own",
            "end them (crictl rmp), or remove what runs them: another cluster's kubelet",
        )


def _network(answer: Answer) -> Iterator[tuple[str, str]]:
    first = [name for name in answer.sections.get("networks", "").split() if name < NETWORK]
    if first:
        yield (
            f"{CONFIGURATIONS}/{first[0]} goes before the cluster's network ({NETWORK}), and pods would get that one",
            "remove it, or give it a name that comes later",
        )
    # containerd tells where it looks; others do not.
    cni = answer.info.get("config", {}).get("cni", {})
    folders = cni.get("binDirs") or [f for f in [cni.get("binDir")] if f]
    if folders and PLUGINS not in folders:
        yield (
            f"{answer.title} looks for network plugins in {', '.join(folders)}, and the cluster's are in {PLUGINS}",
            f"add {PLUGINS} to its folders of plugins (containerd: cni, bin_dirs), and restart it",
        )
    if cni.get("confDir") not in (None, "", CONFIGURATIONS):
        yield (
            f"{answer.title} looks for networks in {cni['confDir']}, and the cluster's is in {CONFIGURATIONS}",
            f"set it to {CONFIGURATIONS} (containerd: cni, conf_dir), and restart it",
        )
