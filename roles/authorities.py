"""The cluster's own authorities: their keys lie on every master and nowhere else, so no machine is special."""

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import ALL, ETCD, FRONT_PROXY, KUBERNETES, SERVICE_ACCOUNTS, Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import File, Link, Resource, Secret
from kubeup.roles.common import NODE_CA, PKI, Where

WHERE: Where = "masters"

TRUST = f"{PKI}/trust.json"
"""Whom the cluster trusts, and at which stage the replacement of an authority is."""

CERTIFICATES = {KUBERNETES: NODE_CA, ETCD: f"{PKI}/etcd-ca.crt", FRONT_PROXY: f"{PKI}/front-proxy-ca.crt"}
"""What is trusted under each name: the authority's certificate, or two while it is being replaced."""
SERVICE_ACCOUNTS_PUBLIC = f"{PKI}/sa.pub"
KEYS = {
    **{name: path.replace(".crt", ".key") for name, path in CERTIFICATES.items()},
    SERVICE_ACCOUNTS: f"{PKI}/sa.key",
}
"""Links to the keys of what issues now."""
ISSUER = f"{PKI}/ca-issuer.crt"
"""The one certificate that belongs to the key of the Kubernetes authority, for what signs with it."""


def key_path(key_name: str) -> str:
    """Where a private key lies (see Trust.keys). A key is never overwritten by another, whenever a run is killed."""
    return f"{PKI}/keys/{key_name}.key"


def public(name: str, trust: Trust) -> File:
    """All that is trusted under the name."""
    if name == SERVICE_ACCOUNTS:
        return File(SERVICE_ACCOUNTS_PUBLIC, trust.bundle_pem(name))
    return File(CERTIFICATES[name], trust.bundle_pem(name))


def key(name: str, trust: Trust) -> Link:
    """The link to the key of what issues now."""
    return Link(KEYS[name], key_path(trust.key_name(name)))


def issuer(trust: Trust) -> File:
    return File(ISSUER, trust.pem(KUBERNETES))


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    return [
        # In this order, so that whenever a run is killed, a host that says whom to trust has the keys that go with it.
        *(Secret(key_path(name), name, name) for name in trust.keys),
        File(TRUST, trust.text()),
        *(public(name, trust) for name in ALL),
        issuer(trust),
        *(key(name, trust) for name in ALL),
    ]
