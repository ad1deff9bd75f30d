"""`up` from a bundle: what it says of itself fits the hosts, and its packages get to where they are needed."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kubeup.bundle import Bundle, open_bundle
from kubeup.bundle.making import take_in
from kubeup.components import Store
from kubeup.deploy.phases import Converge, Phase
from kubeup.deploy.run import Run
from kubeup.errors import BundleError, HostsFailed
from kubeup.host.resources import Package
from kubeup.host.session import failure
from kubeup.templates import text

_RECEIVE = """
set -e
umask 077
rm -rf /var/lib/kubeup/packages
mkdir -p /var/lib/kubeup/packages
tar -xf - -C /var/lib/kubeup/packages
"""


def taken(path: Path, key: Path | None, store: Store) -> Bundle:
    """The bundle, verified, with its components in the cache. Raises BundleError; no host was spoken to."""
    if key is None:
        raise BundleError(
            f"whose signature shall the bundle {path} have?\n    -> say --bundle-key FILE (or $KUBEUP_BUNDLE_KEY): the "
            "public key of who made it, which you did not get together with the bundle"
        )
    bundle = open_bundle(path, key)
    take_in(bundle, store)
    return bundle


@dataclass(frozen=True)
class Fits:
    """Refuses hosts that the bundle is not for."""

    bundle: Bundle
    title: str = "Bundle"

    def run(self, run: Run) -> None:
        others = {
            name: reading.facts.arch
            for name, reading in run.readings.items()
            if reading.facts.arch not in self.bundle.architectures
        }
        if others:
            hosts = ", ".join(f"{name} is {arch}" for name, arch in others.items())
            raise BundleError(
                f"the bundle {self.bundle.path} is for {', '.join(self.bundle.architectures)}, and {hosts}\n"
                "    -> kubeup bundle create --arch …, for all architectures of the cluster"
            )


@dataclass(frozen=True)
class Packages:
    """Sends the bundle's packages to hosts that will install some. A host for which it has none uses its own ways."""

    bundle: Bundle
    title: str = "Packages"

    def run(self, run: Run) -> None:
        folders = {name: folder for name in needing(run) if (folder := self._folder(run, name))}
        if not folders:
            return
        run.hold()
        packed = dict(self._packed(set(folders.values())))
        run.outputs(
            folders,
            lambda name: run.session.stream(name, _RECEIVE, source=iter([packed[folders[name]]])),
            "receiving the bundle's packages",
        )

    def _folder(self, run: Run, name: str) -> str:
        folder = f"packages/{distribution(run, name)}"
        return folder if self.bundle.named(folder) else ""

    def _packed(self, folders: set[str]) -> Iterator[tuple[str, bytes]]:
        """Each folder as a tar."""
        streams = {folder: io.BytesIO() for folder in folders}
        tars = {folder: tarfile.open(fileobj=stream, mode="w") for folder, stream in streams.items()}  # noqa: SIM115
        for name, content in self.bundle.read():
            folder, _, file = name.rpartition("/")
            if folder in tars:
                data = content.read()
                info = tarfile.TarInfo(file)
                info.size = len(data)
                tars[folder].addfile(info, io.BytesIO(data))
        for folder, tar in tars.items():
            tar.close()
            yield folder, streams[folder].getvalue()


def needing(run: Run) -> list[str]:
    """The hosts on which packages will be installed."""
    return [
        name
        for name, change in run.changes.items()
        if any(isinstance(item.resource, Package) and item.action != "remove" for item in change.items)
    ]


def distribution(run: Run, name: str) -> str:
    """What a host's packages are for: debian-12, rocky-9."""
    facts = run.readings[name].facts
    return f"{facts.os}-{facts.os_major}"


def phases(bundle: Bundle, usual: Sequence[Phase]) -> list[Phase]:
    """These phases, from a bundle."""
    first = next(i for i, phase in enumerate(usual) if isinstance(phase, Converge) and phase.title == "Hosts")
    return [Fits(bundle), *usual[:first], Packages(bundle), *usual[first:]]


def collect_packages(run: Run, name: str, into: Path) -> str:
    """Fetch the packages that a host would install, by its own package manager, into a folder; for what they are.

    The host must be one that has none of them yet. Raises HostsFailed.
    """
    wanted = sorted({resource.name for _, resource in run.desired(name).values() if isinstance(resource, Package)})
    stream = io.BytesIO()
    output = run.session.stream(name, text("bundle/collect.sh"), *wanted, sink=stream.write, timeout=300)
    if not output.ok:
        raise HostsFailed("fetching packages", [failure(name, f"downloading {' '.join(wanted)}", output)])
    folder = into / distribution(run, name)
    folder.mkdir(parents=True, exist_ok=True)
    stream.seek(0)
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content:
                (folder / Path(member.name).name).write_bytes(content.read())
    return folder.name
