"""Where the contents come from that a desired state only names: certificates, secrets, components."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from kubeup.cluster.certificates import Authority, CertificateSpec, describe, issue, new_authority, new_key_pair
from kubeup.cluster.model import Certificates, Etcd
from kubeup.cluster.trust import (
    ALL,
    AUTHORITIES,
    EXISTING_ETCD,
    SERVICE_ACCOUNTS,
    ExistingEtcd,
    Trust,
    key_name,
    parse_trust,
)
from kubeup.components import Artifact, Store
from kubeup.errors import KubeupError
from kubeup.host.facts import HostFacts
from kubeup.host.reading import Entry, Reading
from kubeup.host.resources import Certificate, Secret
from kubeup.roles.authorities import TRUST, key_path
from kubeup.roles.base import UNPACKER

PUBLIC = (TRUST,)
"""The files on a master by which it shows whom the cluster trusts."""


class Vault:
    """The cluster's authorities with their keys, and the component store.

    The authorities are those that a living master holds; where there is none yet they are made. A key is fetched from
    a master only when something has to be signed or copied, and never leaves memory.
    """

    def __init__(
        self,
        masters: Mapping[str, Reading],
        store: Store,
        fetch: Callable[[str, str], str],
        arch: Callable[[str], str],
        certificates: Certificates | None = None,
        etcd: Etcd | None = None,
    ) -> None:
        """``masters``: readings with the contents of PUBLIC. ``fetch(node, path)`` returns the text of a file there.

        ``arch(node)`` is the architecture of a node. ``certificates``: how long those are valid that are issued here.
        ``etcd``: one that is not kubeup's.
        Raises KubeupError when masters hold different authorities.
        """
        self.unpacker = UNPACKER
        self._masters = masters
        self._store = store
        self._fetch = fetch
        self._arch = arch
        self._certificates = certificates or Certificates()
        self._keys: dict[str, str] = {}
        self._artifacts: dict[tuple[str, str, str], Artifact] = {}
        self.trust = replace(_trusted(masters) or self._founded(), existing_etcd=self._existing(etcd))

    def __repr__(self) -> str:
        return "<Vault>"

    def _founded(self) -> Trust:
        """The trust of a cluster that begins."""
        pems = {name: self._made(name) for name in ALL}
        return Trust({name: Authority(name, pems[name]) for name in AUTHORITIES}, pems[SERVICE_ACCOUNTS])

    def _made(self, name: str) -> str:
        """Make an authority, or the keys of service accounts' tokens, and keep its key; its public half."""
        if name == SERVICE_ACCOUNTS:
            pair = new_key_pair()
            self._keys[key_name(name, pair.public_pem)] = pair.private_pem
            return pair.public_pem
        made = new_authority(name, lifetime=self._certificates.authority_lifetime)
        self._keys[key_name(name, made.certificate_pem)] = made.key_pem or ""
        return made.certificate_pem

    def _existing(self, etcd: Etcd | None) -> ExistingEtcd | None:
        """What opens an etcd that is not kubeup's, as the files on this machine have it."""
        if etcd is None or not (etcd.endpoints and etcd.ca and etcd.certificate and etcd.key):
            return None
        self._keys[EXISTING_ETCD] = _pem(etcd.key, "PRIVATE KEY")
        return ExistingEtcd(_pem(etcd.ca, "CERTIFICATE"), _pem(etcd.certificate, "CERTIFICATE"))

    def expired(self, name: str) -> bool:
        """Whether what issues under this name has come to its end. (Service accounts' keys have none.)"""
        return name != SERVICE_ACCOUNTS and describe(self.trust.pem(name)).not_after <= datetime.now(UTC)

    def succeed(self, names: Sequence[str]) -> None:
        """Begin to replace authorities, or the key of service accounts: make their successors.

        They are trusted from now on, and issue at the next stage; those that replace an expired one issue at once.
        """
        made = {name: self._made(name) for name in names}
        if expired := {name: pem for name, pem in made.items() if self.expired(name)}:
            self.trust = self.trust.replaced(expired)
        if alive := {name: pem for name, pem in made.items() if name not in expired}:
            self.trust = self.trust.introduced(alive, int(time.time()))

    def secret(self, name: str) -> str:
        """The private key of that name (see Trust.keys), PEM. Raises KubeupError when it is lost."""
        path = key_path(name)
        if name not in self._keys:
            for node in _holders(self._masters, path):
                self._keys[name] = self._fetch(node, path)
                break
            else:
                raise KubeupError(f"no master has {path} any more: put it back from a backup, or start anew")
        return self._keys[name]

    def lost(self, resource: Secret | Certificate) -> str:
        """The path of the private key that it takes, when no master holds that any more; else ""."""
        if isinstance(resource, Secret):
            name = resource.name
        else:
            authority = resource.spec.authority
            name = key_name(authority, self._issuer(authority, resource.authority_fingerprint))
        path = key_path(name)
        return "" if name in self._keys or _holders(self._masters, path) else path

    def _issuer(self, name: str, fingerprint: str) -> str:
        """The certificate (PEM) of the authority of that name with that fingerprint, or of the one that issues now."""
        serving = Authority(name, self.trust.serving)
        return serving.certificate_pem if serving.fingerprint == fingerprint else self.trust.pem(name)

    def issue(self, spec: CertificateSpec, authority_fingerprint: str = "") -> tuple[str, str, int, int]:
        """A new certificate and its key, both PEM, and its begin and end in seconds since the epoch.

        ``authority_fingerprint`` says of two authorities of that name which; by default the one that issues.
        """
        name = spec.authority
        pem = self._issuer(name, authority_fingerprint)
        authority = Authority(name, pem, self.secret(key_name(name, pem)))
        now = datetime.now(UTC)
        issued = issue(authority, spec, now, lifetime=self._certificates.lifetime)
        end = describe(issued.certificate_pem).not_after
        return issued.certificate_pem, issued.key_pem, int(now.timestamp()), int(end.timestamp())

    def artifact(self, name: str, version: str, host: str) -> Artifact:
        """The artifact for that host's architecture, verified.

        Raises ComponentError when the store does not have it, or not as it was put there.
        """
        key = (name, version, self._arch(host))
        if key not in self._artifacts:
            found = self._store.find(*key)
            found.verify()
            self._artifacts[key] = found
        return self._artifacts[key]


def holding(files: Mapping[str, str], facts: HostFacts) -> Reading:
    """These files as a master that holds them would show them."""
    hashes = {path: hashlib.sha256(text.encode()).hexdigest() for path, text in files.items()}
    record = {("file", path): Entry("given", sha256, "absent") for path, sha256 in hashes.items()}
    return Reading(facts, record, hashes, texts={path: files[path] for path in PUBLIC if path in files})


def _pem(path: Path, what: str) -> str:
    """The text of a PEM file. Raises KubeupError when it cannot be read or holds something else; never shows it."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise KubeupError(f"{path} (etcd: in the inventory) cannot be read: {reason}") from None
    if f"{what}-----" not in text:
        raise KubeupError(f"{path} (etcd: in the inventory) is no {what.lower()} in PEM form")
    return text


def _trusted(masters: Mapping[str, Reading]) -> Trust | None:
    """What the masters trust: where they differ because a run was killed, the latest decision counts."""
    found: dict[str, Trust] = {}
    unreadable: list[str] = []
    for node, reading in masters.items():
        if TRUST in reading.texts:
            try:
                found[node] = parse_trust(reading.texts[TRUST])
            except (ValueError, KeyError, TypeError):
                unreadable.append(node)
    if unreadable and not found:
        raise KubeupError(f"{TRUST} cannot be read on {', '.join(unreadable)}: put it back from a backup")
    latest = max(found.values(), key=lambda trust: trust.generation, default=None)
    if any(
        trust.identity != latest.identity or (trust.generation == latest.generation and trust != latest)
        for trust in found.values()
        if latest
    ):
        raise KubeupError(
            f"the masters hold different authorities: {', '.join(found)}. They were set up as different clusters; "
            "`kubeup destroy` the one that is not wanted before it can join"
        )
    return latest


def _holders(masters: Mapping[str, Reading], path: str) -> list[str]:
    """The masters that hold the secret there as it was placed."""
    return [
        node
        for node, reading in masters.items()
        if (entry := reading.record.get(("file", path))) is not None
        and reading.hashes.get(path) == entry.have.split()[0]
    ]
