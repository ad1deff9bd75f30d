"""The cluster's own authorities: their keys lie on every master and nowhere else, so no machine is special."""

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import AUTHORITIES, ETCD, FRONT_PROXY, KUBERNETES, SERVICE_ACCOUNTS, Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import File, Resource, Secret
from kubeup.roles.common import NODE_CA, PKI, Where, authority

WHERE: Where = "masters"

CERTIFICATES = {KUBERNETES: NODE_CA, ETCD: f"{PKI}/etcd-ca.crt", FRONT_PROXY: f"{PKI}/front-proxy-ca.crt"}
SERVICE_ACCOUNTS_PUBLIC = f"{PKI}/sa.pub"
KEYS = {
    **{name: path.replace(".crt", ".key") for name, path in CERTIFICATES.items()},
    SERVICE_ACCOUNTS: f"{PKI}/sa.key",
}


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    # Keys first: where a certificate lies, its key lies too, whenever a run is killed.
    return [
        *(Secret(path, name, trust.fingerprint(name)) for name, path in KEYS.items()),
        *(authority(CERTIFICATES[name], trust, name) for name in AUTHORITIES),
        File(SERVICE_ACCOUNTS_PUBLIC, trust.service_accounts_pem),
    ]
