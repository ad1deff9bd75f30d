"""What a host can hold. Roles return these; nothing here touches a host.

Every resource has a ``key``, unique on a host, and a ``want``: a digest of what is asked for. The host's record keeps
the want of everything that was placed, so a resource is up to date when the recorded want is the desired one and what
lies on the host is still what was placed. That also works for what cannot be known beforehand, such as a private key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from kubeup.cluster.certificates import CertificateSpec
from kubeup.errors import KubeupError


def digest(*parts: str | bytes | int) -> str:
    """A short hex digest of the parts, with their borders (so that ("ab", "c") is not ("a", "bc"))."""
    h = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        h.update(b"%d:" % len(data))
        h.update(data)
    return h.hexdigest()[:32]


@dataclass(frozen=True)
class File:
    """A file with this content, owned by root. ``mode`` is octal, as in chmod."""

    path: str
    content: str
    mode: int = 0o644

    @property
    def key(self) -> tuple[str, str]:
        return ("file", self.path)

    @property
    def want(self) -> str:
        return digest("file", self.content, self.mode)


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key (0600), issued by one of the cluster's authorities when they are not there yet.

    ``authority_fingerprint`` is that of the authority as it is now: another authority means another certificate.
    """

    path: str
    key_path: str
    spec: CertificateSpec
    authority_fingerprint: str

    @property
    def key(self) -> tuple[str, str]:
        return ("file", self.path)

    @property
    def want(self) -> str:
        return self.spec.digest(self.authority_fingerprint)


@dataclass(frozen=True)
class Secret:
    """A file (0600) with secret content that the cluster has once and several hosts hold, such as an authority's key.

    ``name`` says which, ``identity`` changes when the secret does (a fingerprint of its public part).
    """

    path: str
    name: str
    identity: str

    @property
    def key(self) -> tuple[str, str]:
        return ("file", self.path)

    @property
    def want(self) -> str:
        return digest("secret", self.name, self.identity)


@dataclass(frozen=True)
class Blob:
    """A large file from the component store: a program or a container image.

    ``artifact`` and ``version`` name it in the catalogue. Its want is name and version, not a digest: two machines
    that built the same version with different compilers must not replace each other's programs for ever.
    """

    path: str
    artifact: str
    version: str
    mode: int = 0o755

    @property
    def key(self) -> tuple[str, str]:
        return ("blob", self.path)

    @property
    def want(self) -> str:
        return digest("blob", self.artifact, self.version, self.mode)


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    path: str
    target: str

    @property
    def key(self) -> tuple[str, str]:
        return ("link", self.path)

    @property
    def want(self) -> str:
        return digest("link", self.target)


@dataclass(frozen=True)
class Directory:
    """A directory that belongs to a component: when it is no longer wanted it goes with all that came to lie in it.

    ``mode`` is what it is made with; the component may change it later.
    """

    path: str
    mode: int = 0o755

    @property
    def key(self) -> tuple[str, str]:
        return ("dir", self.path)

    @property
    def want(self) -> str:
        return digest("dir", self.mode)


@dataclass(frozen=True)
class Sysctl:
    """A kernel setting, set now. (To have it after a reboot too, put it into a File in /etc/sysctl.d.)"""

    name: str
    value: str

    @property
    def key(self) -> tuple[str, str]:
        return ("sysctl", self.name)

    @property
    def want(self) -> str:
        return digest("sysctl", self.value)


@dataclass(frozen=True)
class Module:
    """A loaded kernel module. ``evidence`` is a path that exists when it is there, also when it is built in."""

    name: str
    evidence: str

    @property
    def key(self) -> tuple[str, str]:
        return ("module", self.name)

    @property
    def want(self) -> str:
        return digest("module", self.evidence)


@dataclass(frozen=True)
class Package:
    """A package of the host's distribution, installed when ``command`` is not there."""

    name: str
    command: str

    @property
    def key(self) -> tuple[str, str]:
        return ("package", self.name)

    @property
    def want(self) -> str:
        return digest("package", self.command)


@dataclass(frozen=True)
class Cleanup:
    """What must be done by hand when a component goes: a shell script, kept on the host and run once its units stopped.

    It gets the word ``capture`` when it is placed, and what it prints then is given to it again on stdin with the
    word ``remove``: so it can tell what was there before.
    """

    name: str
    script: str

    @property
    def key(self) -> tuple[str, str]:
        return ("cleanup", self.name)

    @property
    def want(self) -> str:
        return digest("cleanup", self.script)


@dataclass(frozen=True)
class Unit:
    """A systemd unit, enabled and running, restarted when its file or one of its ``inputs`` changed.

    ``inputs`` are keys or resources of the same host. ``wait`` False starts it without waiting until it is up: for
    what takes long and has others ordered behind it by systemd itself. ``rereads``: it takes a renewed certificate
    up by itself while it runs, so it is not restarted for one (for another authority or other names it is).
    """

    name: str
    content: str
    inputs: tuple[tuple[str, str], ...] = field(default=())
    wait: bool = True
    rereads: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return ("unit", self.name)

    @property
    def want(self) -> str:
        return digest("unit", self.content)

    @property
    def path(self) -> str:
        return f"/etc/systemd/system/{self.name}"


Resource = File | Certificate | Secret | Blob | Link | Directory | Sysctl | Module | Package | Cleanup | Unit


def unit(name: str, content: str, inputs: Iterable[Resource] = (), *, wait: bool = True, rereads: bool = False) -> Unit:
    """A Unit whose inputs are given as the resources themselves."""
    return Unit(name, content, tuple(sorted({r.key for r in inputs})), wait, rereads)


class RoleConflict(KubeupError):
    """Two roles ask for different things under one key: a fault of the roles, not of the inventory."""


def union(groups: Iterable[tuple[str, Iterable[Resource]]]) -> dict[tuple[str, str], tuple[str, Resource]]:
    """All resources of a host by key, each with the role that asked for it first.

    ``groups`` are (role name, its resources). Two roles may ask for the very same thing (a directory both need);
    when they differ, RoleConflict is raised.
    """
    result: dict[tuple[str, str], tuple[str, Resource]] = {}
    for role, resources in groups:
        for resource in resources:
            if resource.key in result and result[resource.key][1] != resource:
                kind, name = resource.key
                raise RoleConflict(f"roles {result[resource.key][0]} and {role} both claim the {kind} {name}")
            result.setdefault(resource.key, (role, resource))
    return result
