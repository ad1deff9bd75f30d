"""Download components that others have built: from upstream's release pages, or from a mirror that keeps their tree.

What is downloaded is named in a lock file, which pins the SHA-256 of every download and says where in it the programs
are. kubeup ships the places (``LAYOUT``) but no lock: a digest must come from someone who has seen the file, so the
lock is the user's. ``pin`` writes one from what a URL serves now, to be reviewed and kept. It is TOML::

    [[download]]
    component = "etcd"
    version = "3.6.8"
    arch = "amd64"
    path = "github.com/etcd-io/etcd/releases/download/v3.6.8/etcd-v3.6.8-linux-amd64.tar.gz"
    sha256 = "<64 hex digits>"
    [download.programs]         # program -> member of the tar.gz; "" where the download is the program itself
    etcd = "etcd-v3.6.8-linux-amd64/etcd"
"""

import json
import re
import tarfile
import tempfile
import tomllib
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from kubeup.components.catalogue import Component
from kubeup.components.store import CHUNK, Counted, Writable, copy_from
from kubeup.errors import ComponentError

# Paths begin with upstream's host, so upstream itself is the mirror whose URL is nothing but the scheme.
UPSTREAM = "https://"

# For each component the path of its download and the member of it that a program is, "" where it is the program itself.
# As the projects' release pages lay it out; {program} in a path makes one download for each program.
LAYOUT: dict[str, tuple[str, str]] = {
    "kubernetes": ("dl.k8s.io/release/v{version}/bin/linux/{arch}/{program}", ""),
    "etcd": (
        "github.com/etcd-io/etcd/releases/download/v{version}/etcd-v{version}-linux-{arch}.tar.gz",
        "etcd-v{version}-linux-{arch}/{program}",
    ),
    "flannel": ("github.com/flannel-io/flannel/releases/download/v{version}/flanneld-{arch}", ""),
    "cni-plugins": (
        "github.com/containernetworking/plugins/releases/download/v{version}/cni-plugins-linux-{arch}-v{version}.tgz",
        "{program}",
    ),
    "containerd": (
        # "static": the other archive needs a C library as new as the one upstream builds with
        "github.com/containerd/containerd/releases/download/v{version}/containerd-static-{version}-linux-{arch}.tar.gz",
        "bin/{program}",
    ),
    "runc": ("github.com/opencontainers/runc/releases/download/v{version}/runc.{arch}", ""),
    "cri-tools": (
        "github.com/kubernetes-sigs/cri-tools/releases/download/v{version}/crictl-v{version}-linux-{arch}.tar.gz",
        "{program}",
    ),
    "coredns": (
        "github.com/coredns/coredns/releases/download/v{version}/coredns_{version}_linux_{arch}.tgz",
        "{program}",
    ),
}


@dataclass(frozen=True)
class Download:
    """One file that a release consists of.

    ``path`` is relative to the URL of upstream or a mirror, ``sha256`` hex, ``programs`` maps each program in it to the
    member of the tar.gz that it is, or to "" where the download is the program itself.
    """

    component: str
    version: str
    arch: str
    path: str
    sha256: str
    programs: dict[str, str]


class ReleaseProvider:
    """Downloads what the lock file ``lock`` lists from below ``url``: ``UPSTREAM``, or a mirror such as
    ``https://mirror.example/kubeup``.

    Raises ComponentError when the lock cannot be read.
    """

    def __init__(self, lock: Path, url: str = UPSTREAM) -> None:
        self.lock = lock
        self.url = url
        self.downloads = read_lock(lock)

    def provide(self, component: Component, arch: str, into: Path, log: Path, report: Callable[[str], None]) -> None:
        """Download the component's programs into the folder ``into``; see ``fetch.Provider``.

        Raises ComponentError when the lock does not name all of them, and when a download fails or is not what the
        lock says; nothing of a download is used before its digest is known to be right.
        """
        wanted = {program.name for program in component.programs}
        key = (component.name, component.version, arch)
        downloads = [item for item in self.downloads if (item.component, item.version, item.arch) == key]
        missing = wanted.difference(*(item.programs for item in downloads))
        if missing:
            raise ComponentError(
                f"{component.name} {component.version} ({arch}): {self.lock} does not say where to download "
                f"{', '.join(sorted(missing))}"
                + ("" if component.name in LAYOUT else "\n    -> it is not released anywhere: build it from source")
            )
        with open(log, "w", encoding="utf-8") as lines, _client() as client:

            def tell(line: str) -> None:
                print(line, file=lines, flush=True)
                report(line)

            for item in downloads:
                url = _join(self.url, item.path)
                tell(f"downloading {url}")
                with tempfile.NamedTemporaryFile(dir=into) as file:
                    found = _download(client, url, file, report)
                    if found != item.sha256:
                        raise ComponentError(
                            f"{url} is not what {self.lock} says; nothing of it was used\n"
                            f"    expected sha256 {item.sha256}\n"
                            f"    found           {found}"
                        )
                    file.flush()
                    for program in sorted(wanted & item.programs.keys()):
                        tell(f"unpacking {program}")
                        _unpack(Path(file.name), item.programs[program], into / program, url)


def read_lock(path: Path) -> list[Download]:
    """The downloads that the lock file names. Raises ComponentError when it is not there or not a lock."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("download", [])
        downloads = [Download(**table) for table in tables]
        bad = [item.path for item in downloads if not re.fullmatch("[0-9a-f]{64}", item.sha256)]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ComponentError(f"the lock file {path} cannot be read: {error}") from error
    if bad:
        raise ComponentError(f"the lock file {path} has no SHA-256 (64 hex digits) for: {', '.join(bad)}")
    return downloads


def pin(
    components: Iterable[Component], arch: str, url: str = UPSTREAM, report: Callable[[str], None] = lambda line: None
) -> str:
    """A lock file's text for what ``url`` serves now at the places of ``LAYOUT``.

    It believes what it is served: compare the digests with those that the projects publish before the file is used.
    Components without a release (kubeup's own programs) are left out. Raises ComponentError when a download fails.
    """
    tables = []
    with _client() as client:
        for component in components:
            for path, programs in _places(component, arch).items():
                sha256 = _download(client, _join(url, path), Counted(), report)
                tables.append(
                    "\n".join(
                        [
                            "[[download]]",
                            f"component = {json.dumps(component.name)}",
                            f"version = {json.dumps(component.version)}",
                            f"arch = {json.dumps(arch)}",
                            f"path = {json.dumps(path)}",
                            f"sha256 = {json.dumps(sha256)}",
                            "[download.programs]",
                            *(f"{json.dumps(name)} = {json.dumps(member)}" for name, member in programs.items()),
                        ]
                    )
                )
    return "\n\n".join(tables) + "\n"


def _places(component: Component, arch: str) -> dict[str, dict[str, str]]:
    """Where ``LAYOUT`` has the component: path -> programs, as in ``Download``."""
    places: dict[str, dict[str, str]] = {}
    if component.name in LAYOUT:
        path, member = LAYOUT[component.name]
        for program in component.programs:
            facts = {"version": component.version, "arch": arch, "program": program.name}
            places.setdefault(path.format(**facts), {})[program.name] = member.format(**facts)
    return places


def _join(url: str, path: str) -> str:
    return f"{url}{path}" if url.endswith("/") else f"{url}/{path}"


@contextmanager
def _client() -> Iterator[httpx.Client]:
    # identity: what is hashed is the file, not what a server makes of a .tar.gz on its way
    headers = {"Accept-Encoding": "identity"}
    with httpx.Client(follow_redirects=True, timeout=30, headers=headers) as client:
        yield client


def _download(client: httpx.Client, url: str, sink: Writable, report: Callable[[str], None]) -> str:
    """Write what ``url`` serves to ``sink`` and return its SHA-256 in hex."""
    content = Counted(sink)
    try:
        with client.stream("GET", url) as response:
            response.raise_for_status()
            total = int(response.headers.get("Content-Length", 0))
            of = f" of {total >> 20} MB" if total else " MB"
            for chunk in response.iter_raw(CHUNK):
                content.write(chunk)
                report(f"downloading {url}: {content.size >> 20}{of}")
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        raise ComponentError(f"{url} cannot be downloaded: {status} {error.response.reason_phrase}") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ComponentError(f"{url} cannot be downloaded: {error}") from error
    return content.sha256


def _unpack(file: Path, member: str, program: Path, url: str) -> None:
    """Make the executable ``program`` of the ``member`` of the tar.gz ``file``, or of ``file`` itself for ""."""
    with open(program, "wb") as target:
        if not member:
            copy_from(file)(target)
        else:
            try:
                with tarfile.open(file, "r:gz") as archive:
                    _extract(archive, member, target)
            except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
                raise ComponentError(f"{url} cannot be unpacked: {error or type(error).__name__}") from error
    program.chmod(0o755)


def _extract(archive: tarfile.TarFile, member: str, target: Writable) -> None:
    for entry in archive:  # one pass: looking a name up would unpack the whole archive twice
        if entry.isfile() and entry.name.removeprefix("./") == member and (content := archive.extractfile(entry)):
            while chunk := content.read(CHUNK):
                target.write(chunk)
            return
    raise tarfile.TarError(f"there is no file {member!r} in it")
