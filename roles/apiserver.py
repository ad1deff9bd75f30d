"""kube-apiserver: the API that everything else talks to."""

from ipaddress import IPv4Address

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import ALL, FRONT_PROXY, SERVICE_ACCOUNTS, Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import File, Resource, unit
from kubeup.roles.authorities import CERTIFICATES, KEYS, SERVICE_ACCOUNTS_PUBLIC, key, public
from kubeup.roles.common import BIN, NODE_CA, PKI, Where, certificate, kubeconfig, nofile, program
from kubeup.roles.etcd_client import access
from kubeup.templates import render, text

WHERE: Where = "masters"


def is_address(text: str) -> bool:
    """Whether it is an IPv4 address, and not a name."""
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


ADMIN_CONF = "/etc/kubernetes/admin.conf"


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    version = cluster.versions.kubernetes
    programs = program("kubernetes", version, "kube-apiserver")
    # What clients outside may call it: the address that moves among the masters, or the user's own balancer.
    outside = [str(name) for name in (cluster.api.address, cluster.api.balancer_host) if name]
    more_addresses = [name for name in outside if is_address(name)]
    more_names = [name for name in outside if not is_address(name)]
    serving = certificate(
        f"{PKI}/apiserver",
        trust,
        "kube-apiserver",
        "server",
        node=node,
        more_names=(
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            f"kubernetes.default.svc.{cluster.domain}",
            *more_names,
        ),
        more_addresses=(cluster.kubernetes_service_ip, *more_addresses),
        checked_outside=True,
    )
    etcd = access(cluster, node, trust)
    to_kubelets = certificate(f"{PKI}/apiserver-kubelet", trust, "kube-apiserver", "client")
    to_extensions = certificate(f"{PKI}/front-proxy-client", trust, "front-proxy-client", "client", issuer=FRONT_PROXY)
    several = (
        {
            # Others can take over: it goes on serving for a while after it has said that it is not ready. The balancers
            # ask once a second, and none sends it anything any more when it closes its door.
            "shutdown-delay-duration": "3s",
            # Without its etcd it is to say so before clients lose patience: each question to /readyz takes
            # this long then, and two must fail. (Two seconds when not given: 6 s without an answer were measured.)
            "etcd-readycheck-timeout": "1s",
        }
        if len(cluster.masters) > 1
        else {}
    )
    flags = {
        "advertise-address": node.address,
        "secure-port": cluster.api_port,
        "allow-privileged": "true",
        "anonymous-auth": "false",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "client-ca-file": NODE_CA,
        "tls-cert-file": serving.path,
        "tls-private-key-file": serving.key_path,
        "etcd-servers": ",".join(etcd.endpoints),
        "etcd-cafile": etcd.ca,
        "etcd-certfile": etcd.certificate,
        "etcd-keyfile": etcd.key,
        "kubelet-certificate-authority": NODE_CA,
        "kubelet-client-certificate": to_kubelets.path,
        "kubelet-client-key": to_kubelets.key_path,
        "kubelet-preferred-address-types": "InternalIP,Hostname",
        "proxy-client-cert-file": to_extensions.path,
        "proxy-client-key-file": to_extensions.key_path,
        "requestheader-client-ca-file": CERTIFICATES[FRONT_PROXY],
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        # The balancer of a master has the same port on the virtual address (see the role balancer). Two sockets may
        # share a port only where both say so, so it is said also where there is no virtual address yet.
        "permit-port-sharing": "true",
        # Otherwise stopping it waits a minute for watches that nobody ends (its request timeout).
        "shutdown-watch-termination-grace-period": "2s",
        **several,
        "service-account-issuer": f"https://kubernetes.default.svc.{cluster.domain}",
        "service-account-key-file": SERVICE_ACCOUNTS_PUBLIC,
        "service-account-signing-key-file": KEYS[SERVICE_ACCOUNTS],
        "service-cluster-ip-range": cluster.service_cidr,
        "service-node-port-range": cluster.node_port_range,
    }
    kubectl = [
        *program("kubernetes", version, "kubectl"),
        File("/usr/local/bin/kubectl", text("apiserver/kubectl.sh"), mode=0o755),
    ]
    admin = kubeconfig(
        ADMIN_CONF, cluster, node, trust, user="kubernetes-admin", groups=("system:masters",), own_apiserver=True
    )
    certificates = [serving, to_kubelets, to_extensions]
    trusted: list[Resource] = [*(public(name, trust) for name in ALL), key(SERVICE_ACCOUNTS, trust)]
    return [
        *programs,
        *certificates,
        unit(
            "kube-apiserver.service",
            render(
                "apiserver/kube-apiserver.service.j2", bin=BIN, flags=flags, nofile=nofile(host), admin_conf=ADMIN_CONF
            ),
            [*programs, *certificates, *trusted, *etcd.resources],
            rereads=True,
        ),
        *kubectl,
        *admin,
    ]
