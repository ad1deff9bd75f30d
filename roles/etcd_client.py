"""The way of a master to etcd: its own member, the members on hosts of their own, or an etcd that is not kubeup's."""

from typing import NamedTuple

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import ETCD, EXISTING_ETCD, Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import File, Resource, Secret
from kubeup.roles.authorities import CERTIFICATES
from kubeup.roles.common import BIN, PKI, Where, certificate, program
from kubeup.roles.etcd import APISERVER_USER

WHERE: Where = "masters"


class Access(NamedTuple):
    """How an apiserver gets to etcd: URLs, and the files with what it trusts and what it shows."""

    endpoints: tuple[str, ...]
    ca: str
    certificate: str
    key: str
    resources: list[Resource]
    """What of that belongs to this role."""


def access(cluster: Cluster, node: Node, trust: Trust) -> Access:
    """How the apiserver on a master gets to etcd."""
    if trust.existing_etcd:
        ca = File(f"{PKI}/existing-etcd-ca.crt", trust.existing_etcd.ca_pem)
        shown = File(f"{PKI}/existing-etcd.crt", trust.existing_etcd.certificate_pem)
        key = Secret(f"{PKI}/existing-etcd.key", EXISTING_ETCD, trust.existing_etcd.identity)
        return Access(cluster.etcd_endpoints, ca.path, shown.path, key.path, [ca, shown, key])
    client = certificate(f"{PKI}/apiserver-etcd", trust, APISERVER_USER, "client", issuer=ETCD)
    # Its own member only, where it has one: etcd spreads the data, and a new master then changes nothing on the others.
    endpoints = ("https://127.0.0.1:2379",) if node in cluster.members else cluster.etcd_endpoints
    return Access(endpoints, CERTIFICATES[ETCD], client.path, client.key_path, [client])


def etcdctl(found: Access) -> str:
    """etcdctl on a master, for the etcd that its apiserver uses."""
    return (
        f"{BIN}/etcdctl --endpoints={','.join(found.endpoints)} --cacert={found.ca} --cert={found.certificate} "
        f"--key={found.key}"
    )


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    # With an etcd that has hosts of its own, this is how a master can look at it.
    return [*access(cluster, node, trust).resources, *program("etcd", cluster.versions.etcd, "etcdctl", on_path=True)]
