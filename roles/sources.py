"""By which way a host gets what is not ours: a proxy, and mirrors of its distribution's packages."""

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import File, Resource
from kubeup.roles.common import Where
from kubeup.templates import render

WHERE: Where = "hosts"

PROXY = "/etc/kubernetes/proxy.env"
"""Read by containerd's unit, and by apply.sh before it installs packages."""


def no_proxy(cluster: Cluster) -> str:
    """What is reached straight: the cluster itself, and what the inventory says."""
    own = [
        "localhost",
        "127.0.0.1",
        ".svc",
        f".{cluster.domain}",
        str(cluster.service_cidr),
        str(cluster.flannel_net),
        *(str(host.address) for host in cluster.hosts),
    ]
    return ",".join(dict.fromkeys([*own, *cluster.proxy.no_proxy]))


def proxy(cluster: Cluster) -> list[File]:
    """The file that says the proxy, where there is one."""
    if not cluster.proxy.urls:
        return []
    values = {"http_proxy": cluster.proxy.http, "https_proxy": cluster.proxy.https, "no_proxy": no_proxy(cluster)}
    return [File(PROXY, render("sources/proxy.env.j2", values=values))]


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    resources: list[Resource] = [*proxy(cluster)]
    mirrors = cluster.packages
    if host.family.name == "debian" and mirrors.apt:
        resources.append(File("/etc/apt/sources.list.d/kubeup.list", "".join(f"{line}\n" for line in mirrors.apt)))
    if host.family.name == "el" and mirrors.dnf:
        resources.append(File("/etc/yum.repos.d/kubeup.repo", render("sources/kubeup.repo.j2", urls=mirrors.dnf)))
    return resources
