"""What the parts of a cluster trust: the public halves of its authorities and of its service account key."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from kubeup.cluster.certificates import Authority

KUBERNETES = "kubernetes-ca"
ETCD = "etcd-ca"
FRONT_PROXY = "front-proxy-ca"
SERVICE_ACCOUNTS = "service-accounts"

EXISTING_ETCD = "existing-etcd"
"""The secret that is the client key for an etcd that is not kubeup's."""

AUTHORITIES = (KUBERNETES, ETCD, FRONT_PROXY)


@dataclass(frozen=True)
class ExistingEtcd:
    """What opens an etcd that is not kubeup's, in PEM: its authority's certificate, and the client's for apiservers."""

    ca_pem: str
    certificate_pem: str


@dataclass(frozen=True)
class Trust:
    """The certificates of the cluster's authorities by name, and the public key of service accounts' tokens (PEM)."""

    authorities: Mapping[str, Authority] = field(default_factory=dict)
    service_accounts_pem: str = ""
    existing_etcd: ExistingEtcd | None = None

    @property
    def identity(self) -> str:
        """What tells this cluster from another of the same name."""
        return self.fingerprint(KUBERNETES)[:32]

    def certificate_pem(self, authority: str) -> str:
        """The authority's certificate."""
        return self.authorities[authority].certificate_pem

    def fingerprint(self, name: str) -> str:
        """The SHA-256 of an authority's certificate, or of what is public of a secret, in hex."""
        if name == EXISTING_ETCD and self.existing_etcd:
            return hashlib.sha256(self.existing_etcd.certificate_pem.encode()).hexdigest()
        if name == SERVICE_ACCOUNTS:
            return hashlib.sha256(self.service_accounts_pem.encode()).hexdigest()
        return self.authorities[name].fingerprint
