"""All certificates on all hosts, as they lie there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from kubeup.cluster.certificates import BACKDATE, CertificateInfo, certificates_of, describe, ends_soon, issued_by
from kubeup.cluster.trust import AUTHORITIES
from kubeup.deploy.renew import name_of
from kubeup.deploy.run import Run
from kubeup.host.resources import Certificate, File, Unit
from kubeup.roles.kubelet import OWN

# Without the keys, which may lie in the same file.
_READ = """
for file in "$@"; do
    [ -r "$file" ] || continue
    echo "file $file"
    awk '/^-----BEGIN CERTIFICATE/{on=1} on{print} /^-----END CERTIFICATE/{on=0}' "$file"
done
"""


@dataclass(frozen=True)
class Held:
    """One certificate on a host. ``purpose``: who uses it as what; ``issuer``: as the cluster calls it."""

    host: str
    path: str
    purpose: str
    issuer: str
    begin: datetime
    end: datetime
    authority: bool

    @property
    def name(self) -> str:
        return name_of(self.path)

    def days_left(self, now: datetime) -> int:
        """Whole days; negative when it has expired."""
        return (self.end - now).days

    def ends_soon(self, now: datetime) -> bool:
        """Whether something should be done about it."""
        return ends_soon((self.begin + BACKDATE).timestamp(), self.end.timestamp(), now.timestamp())


def held(run: Run) -> list[Held]:
    """All certificates that kubeup placed, and those that kubelets got by themselves. One command a host."""
    files = {node.name: _files(run, node.name) for node in run.nodes}
    texts = run.outputs(files, lambda name: run.session.shell(name, _READ, *files[name]), "reading certificates")
    found: list[Held] = []
    labels = _labels(run)
    for name, text in texts.items():
        for path, pem in _split(text):
            info = describe(pem)
            authority = info.fingerprint in labels and path.endswith("ca.crt")
            purpose = f"authority {labels[info.fingerprint]}" if authority else _purpose(files[name][path], info)
            issuer = labels[info.fingerprint] if authority else _issuer(run, pem)
            found.append(Held(name, path, purpose, issuer, info.not_before, info.not_after, authority))
    return found


def _files(run: Run, name: str) -> Mapping[str, str]:
    """Where certificates may lie on a node, and which units use each."""
    desired = [resource for _, resource in run.desired(name).values()]
    users: dict[str, list[str]] = {}
    for unit in (resource for resource in desired if isinstance(resource, Unit)):
        for _, key in unit.inputs:
            users.setdefault(key, []).append(unit.name.removesuffix(".service"))
    paths = [
        resource.path
        for resource in desired
        if isinstance(resource, Certificate)
        or (isinstance(resource, File) and resource.path.endswith(("/ca.crt", "-ca.crt")))
    ]
    found = {path: ", ".join(users.get(path, [])) for path in sorted(paths)}
    return {**found, **{own: found[given] for given, own in OWN.items() if given in found}}


def _split(text: str) -> Iterator[tuple[str, str]]:
    """(path, certificate) of what _READ printed."""
    for block in text.removeprefix("file ").split("\nfile "):
        path, _, pems = block.partition("\n")
        if "BEGIN CERTIFICATE" in pems:
            for pem in certificates_of(pems):
                yield path, pem


def _labels(run: Run) -> dict[str, str]:
    """What the authorities are called, by fingerprint."""
    trust = run.vault.trust
    labels = {}
    for name in AUTHORITIES:
        labels[trust.fingerprint(name)] = name
        if other := trust.others.get(name):
            labels[describe(other.pem).fingerprint] = f"{name} ({other.stage})"
    return labels


def _issuer(run: Run, pem: str) -> str:
    trust = run.vault.trust
    for name in AUTHORITIES:
        if issued_by(pem, trust.pem(name)):
            return name
        other = trust.others.get(name)
        if other and issued_by(pem, other.pem):
            return f"{name} ({other.stage})"
    return f"unknown: {describe(pem).issuer}"


def _purpose(users: str, info: CertificateInfo) -> str:
    common_name = next((part[3:] for part in info.subject.split(",") if part.startswith("CN=")), info.subject)
    what = "server" if info.usages == ("server",) else f"{' and '.join(info.usages)} {common_name}"
    return f"{users}: {what}" if users else what
