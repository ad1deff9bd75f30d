"""Where the contents come from that a desired state only names: certificates, secrets, components."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from kubeup.cluster.certificates import Authority, CertificateSpec, describe, issue, new_authority, new_key_pair
from kubeup.cluster.model import Etcd
from kubeup.cluster.trust import AUTHORITIES, EXISTING_ETCD, SERVICE_ACCOUNTS, ExistingEtcd, Trust
from kubeup.components import Artifact, Store
from kubeup.errors import KubeupError
from kubeup.host.reading import Reading
from kubeup.roles.authorities import CERTIFICATES, KEYS, SERVICE_ACCOUNTS_PUBLIC
from kubeup.roles.base import UNPACKER

PUBLIC = (*CERTIFICATES.values(), SERVICE_ACCOUNTS_PUBLIC)
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
        etcd: Etcd | None = None,
    ) -> None:
        """``masters``: readings with the contents of PUBLIC. ``fetch(node, path)`` returns the text of a file there.

        ``arch(node)`` is the architecture of a node; ``etcd`` is one that is not kubeup's.
        Raises KubeupError when masters hold different authorities.
        """
        self.unpacker = UNPACKER
        self._store = store
        self._fetch = fetch
        self._arch = arch
        self._keys: dict[str, str] = {}
        self._artifacts: dict[tuple[str, str, str], Artifact] = {}
        self._holders = {name: _holders(masters, path, KEYS[name]) for name, path in CERTIFICATES.items()}
        self._holders[SERVICE_ACCOUNTS] = _holders(masters, SERVICE_ACCOUNTS_PUBLIC, KEYS[SERVICE_ACCOUNTS])
        authorities = {name: self._authority(name, masters) for name in AUTHORITIES}
        self.trust = Trust(authorities, self._service_accounts(masters), self._existing(etcd))

    def __repr__(self) -> str:
        return "<Vault>"

    def _found(self, name: str, path: str, masters: Mapping[str, Reading]) -> str | None:
        texts = {node: reading.texts[path] for node, reading in masters.items() if path in reading.texts}
        if len(set(texts.values())) > 1:
            raise KubeupError(
                f"the masters hold different {name}: {', '.join(texts)}. They were set up as different clusters; "
                "`kubeup destroy` the one that is not wanted before it can join"
            )
        return next(iter(texts.values()), None)

    def _authority(self, name: str, masters: Mapping[str, Reading]) -> Authority:
        pem = self._found(name, CERTIFICATES[name], masters)
        if pem:
            return Authority(name, pem)
        made = new_authority(name)
        self._keys[name] = made.key_pem or ""
        return Authority(name, made.certificate_pem)

    def _existing(self, etcd: Etcd | None) -> ExistingEtcd | None:
        """What opens an etcd that is not kubeup's, as the files on this machine have it."""
        if etcd is None or not (etcd.endpoints and etcd.ca and etcd.certificate and etcd.key):
            return None
        self._keys[EXISTING_ETCD] = _pem(etcd.key, "PRIVATE KEY")
        return ExistingEtcd(_pem(etcd.ca, "CERTIFICATE"), _pem(etcd.certificate, "CERTIFICATE"))

    def _service_accounts(self, masters: Mapping[str, Reading]) -> str:
        pem = self._found(SERVICE_ACCOUNTS, SERVICE_ACCOUNTS_PUBLIC, masters)
        if pem:
            return pem
        made = new_key_pair()
        self._keys[SERVICE_ACCOUNTS] = made.private_pem
        return made.public_pem

    def secret(self, name: str) -> str:
        """The private key of an authority, or of service accounts' tokens; PEM. Raises KubeupError when it is lost."""
        if name not in self._keys:
            for node in self._holders[name]:
                self._keys[name] = self._fetch(node, KEYS[name])
                break
            else:
                raise KubeupError(f"no master has {KEYS[name]} any more: put it back from a backup, or start anew")
        return self._keys[name]

    def issue(self, spec: CertificateSpec) -> tuple[str, str, int]:
        """A new certificate and its key, both PEM, and its end in seconds since the epoch."""
        public = self.trust.authorities[spec.authority]
        issued = issue(Authority(public.name, public.certificate_pem, self.secret(spec.authority)), spec)
        return issued.certificate_pem, issued.key_pem, int(describe(issued.certificate_pem).not_after.timestamp())

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


def _holders(masters: Mapping[str, Reading], public: str, private: str) -> list[str]:
    """The masters that hold both halves, as they were placed."""
    return [
        node
        for node, reading in masters.items()
        if public in reading.texts
        and (entry := reading.record.get(("file", private))) is not None
        and reading.hashes.get(private) == entry.have.split()[0]
    ]
