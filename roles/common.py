"""What several roles need: programs, certificates, kubeconfigs, limits."""

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Literal

from kubeup.cluster import Cluster, Node
from kubeup.cluster.certificates import Authority, CertificateSpec, Usage
from kubeup.cluster.model import Versions
from kubeup.cluster.trust import KUBERNETES, Trust
from kubeup.components.catalogue import DEFAULT_VERSIONS, maker
from kubeup.host.facts import HostFacts
from kubeup.host.resources import Blob, Certificate, File, Link, Resource
from kubeup.templates import render

Where = Literal["masters", "nodes", "members", "hosts"]
"""The hosts that have a role: the property of a Cluster that says which they are."""

ROOT = "/opt/kubeup"
BIN = f"{ROOT}/bin"
"""Links to the programs in use; each version has a folder of its own beside."""
IMAGES = f"{ROOT}/images"
"""Links to the images in use."""
CONTAINERD = "/run/containerd/containerd.sock"
"""Where containerd of the role containerd speaks CRI."""
PKI = "/etc/kubernetes/pki"
NODE_CA = f"{PKI}/ca.crt"

# What most distributions give their own services; enough for an apiserver with thousands of watches.
WANTED_NOFILE = 1048576


def program(component: str, version: str, name: str, *, on_path: bool = False) -> list[Resource]:
    """A program in its version's folder, and the link to the one in use. ``on_path``: people call it too."""
    path = f"{ROOT}/{component}/{version}/{name}"
    resources: list[Resource] = [Blob(path, name, version), Link(f"{BIN}/{name}", path)]
    if on_path:
        resources.append(Link(f"/usr/local/bin/{name}", f"{BIN}/{name}"))
    return resources


def image(name: str, version: str) -> list[Resource]:
    """A container image's archive in its version's folder, and the link by which the container runtime gets it."""
    path = f"{ROOT}/{maker(name)}/{version}/{name}.tar"
    return [Blob(path, f"image-{name}", version, mode=0o644), Link(f"{IMAGES}/{name}.tar", path)]


def cri_socket(cluster: Cluster, node: Node) -> str:
    """Where a node's container runtime speaks CRI, be it kubeup's or the user's."""
    return cluster.runtime_socket(node) or CONTAINERD


def versions_in_use(links: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """What a host runs, by its links (path -> target): for each program and image its (component, version)."""
    found = {}
    for path, target in links.items():
        parts = target.removeprefix(f"{ROOT}/").split("/")  # <component>/<version>/<file>
        if path.startswith((f"{BIN}/", f"{IMAGES}/")) and len(parts) == 3:
            found[path.rpartition("/")[2]] = (parts[0], parts[1])
    return found


def is_of(path: str, versions: Versions) -> bool:
    """Whether a file lies in the folder of one of these versions."""
    return any(path.startswith(f"{ROOT}/{key.replace('_', '-')}/{version}/") for key, version in versions)


def own_version(component: str) -> str:
    """The version of a component that is kubeup's own and that no inventory chooses."""
    return DEFAULT_VERSIONS[component]


def version_of(cluster: Cluster, component: str) -> str:
    """The version of a component in this cluster: the inventory's where it chooses one, else kubeup's own."""
    chosen: str | None = getattr(cluster.versions, component.replace("-", "_"), None)
    return chosen or own_version(component)


def nofile(host: HostFacts) -> int:
    """The limit of open files for a service: what is wanted, or what a host that is a container may have at most."""
    return min(WANTED_NOFILE, host.nofile) if host.nofile else WANTED_NOFILE


def authority(path: str, trust: Trust, name: str = KUBERNETES) -> File:
    """The certificate of an authority, to check others by; two while it is being replaced."""
    return File(path, trust.bundle_pem(name))


def certificate(
    stem: str,
    trust: Trust,
    common_name: str,
    *usages: Usage,
    issuer: str = KUBERNETES,
    organizations: tuple[str, ...] = (),
    node: Node | None = None,
    more_names: tuple[str, ...] = (),
    more_addresses: tuple[object, ...] = (),
    checked_outside: bool = False,
) -> Certificate:
    """A certificate at ``stem``.crt with its key at ``stem``.key.

    ``checked_outside``: by those who cannot be told at once of another authority, see kubeup.cluster.trust.

    A server's is for the ``node``'s name and address and for localhost, and for what is more.
    """
    server = node is not None and "server" in usages
    spec = CertificateSpec(
        common_name=common_name,
        authority=issuer,
        usages=usages,
        organizations=organizations,
        dns_names=(node.name, "localhost", *more_names) if server and node else (),
        addresses=(node.address, IPv4Address("127.0.0.1"), *map(IPv4Address, map(str, more_addresses)))
        if server and node
        else (),
    )
    fingerprint = Authority(issuer, trust.serving).fingerprint if checked_outside else trust.fingerprint(issuer)
    return Certificate(f"{stem}.crt", f"{stem}.key", spec, fingerprint)


INGRESS_PORTS = (80, 443)
"""Where ingress takes HTTP and HTTPS in on its nodes. It is asked at the first, to know whether it works there."""

BALANCER_PORT = 6444
"""Where each node's own balancer listens, on loopback; see the role balancer."""


def own_apiserver_url(cluster: Cluster) -> str:
    """Where a master's own services reach its own apiserver. Another master's have taken over when that is down."""
    return f"https://127.0.0.1:{cluster.api_port}"


def api_url(cluster: Cluster, node: Node) -> str:
    """Where a node reaches the API: through its own balancer, so that it depends on no single master."""
    if len(cluster.masters) > 1:
        return f"https://127.0.0.1:{BALANCER_PORT}"
    master = cluster.masters[0]
    return own_apiserver_url(cluster) if node == master else f"https://{master.address}:{cluster.api_port}"


def kubeconfig(
    path: str,
    cluster: Cluster,
    node: Node,
    trust: Trust,
    *,
    user: str,
    groups: tuple[str, ...] = (),
    own_apiserver: bool = False,
) -> list[Resource]:
    """A kubeconfig, and the authority and client certificate that it points to (so there is no secret in it).

    ``own_apiserver``: for the services of a master that go with its apiserver.
    """
    name = path.rpartition("/")[2].removesuffix(".conf")
    client = certificate(f"{PKI}/{name}", trust, user, "client", organizations=groups)
    text = render(
        "kubeconfig.j2",
        cluster=cluster,
        server=own_apiserver_url(cluster) if own_apiserver else api_url(cluster, node),
        ca=NODE_CA,
        user=user,
        certificate=client.path,
        key=client.key_path,
    )
    return [authority(NODE_CA, trust), client, File(path, text)]
