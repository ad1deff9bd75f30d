"""containerd and runc, which run the containers, the network plugins they call, and the images the cluster needs."""

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import Trust
from kubeup.components import image_reference
from kubeup.components.catalogue import maker
from kubeup.host.facts import HostFacts
from kubeup.host.resources import Blob, Cleanup, Directory, File, Resource, unit
from kubeup.roles import addons, sources
from kubeup.roles.common import (
    BIN,
    IMAGES,
    ROOT,
    Where,
    cri_socket,
    image,
    nofile,
    own_version,
    program,
    version_of,
)
from kubeup.templates import render, text

WHERE: Where = "nodes"

CRICTL_CONFIG = "/etc/crictl.yaml"
CNI_PLUGINS = ("bridge", "host-local", "loopback", "portmap")


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    if cluster.runtime_socket(node):  # see the role runtime
        return []
    versions = cluster.versions
    runtime = [
        *program("containerd", versions.containerd, "containerd"),
        *program("containerd", versions.containerd, "containerd-shim-runc-v2"),
        *program("containerd", versions.containerd, "ctr", on_path=True),
        *program("runc", versions.runc, "runc"),
    ]
    cni_bin, plugins = cni_plugins(cluster)
    config = File(
        "/etc/containerd/config.toml",
        render(
            "containerd/config.toml.j2",
            bin=BIN,
            cni_bin=cni_bin,
            pause_image=image_reference("pause", own_version("pause")),
            host=host,
        ),
    )
    registries: list[Resource] = []
    for name, registry in cluster.registries.items():
        folder = f"/etc/containerd/certs.d/{name}"
        ca = [File(f"{folder}/ca.crt", registry.ca)] if registry.ca else []
        hosts = render("containerd/hosts.toml.j2", registry=name, mirrors=registry.mirrors, ca=ca[0].path if ca else "")
        # containerd reads them at each pull.
        registries += [*ca, File(f"{folder}/hosts.toml", hosts)]
    proxied = sources.proxy(cluster)
    own_images = images(cluster, node)
    return [
        Cleanup("pods", text("containerd/pods-cleanup.sh")),
        *(
            Directory(path)
            for path in ("/var/lib/containerd", "/etc/cni/net.d", "/var/log/pods", "/var/log/containers")
        ),
        *runtime,
        *plugins,
        *registries,
        config,
        unit(
            "containerd.service",
            render("containerd/containerd.service.j2", bin=BIN, host=host, nofile=nofile(host), proxied=proxied),
            [*runtime, config, *proxied],
        ),
        *own_images,
        # Not waited for: it takes seconds, and systemd starts the kubelet after it.
        unit(
            "kubeup-images.service",
            render("containerd/images.service.j2", bin=BIN, folder=IMAGES),
            own_images,
            wait=False,
        ),
        *crictl(cluster, node),
    ]


def cni_plugins(cluster: Cluster) -> tuple[str, list[Blob]]:
    """The folder of the network plugins that pods' networks are made with, and they themselves.

    A folder of their own: containerd is told where it is, and a new version is a new folder.
    """
    version = cluster.versions.cni_plugins
    folder = f"{ROOT}/cni-plugins/{version}"
    return folder, [Blob(f"{folder}/{name}", name, version) for name in CNI_PLUGINS]


def images(cluster: Cluster, node: Node) -> list[Resource]:
    """The images that the cluster needs on a node, as files."""
    return [
        *image("pause", own_version("pause")),
        *image("probe", own_version("probe")),
        *(one for name in addons.images(cluster, node) for one in image(name, version_of(cluster, maker(name)))),
    ]


def crictl(cluster: Cluster, node: Node) -> list[Resource]:
    """The program by which people, and kubeup, look at what the runtime does."""
    return [
        *program("cri-tools", cluster.versions.cri_tools, "crictl", on_path=True),
        # Whose containers a node has is told by this file, see `runtime_stays` of kubeup.checks.preflight.
        File(CRICTL_CONFIG, f"runtime-endpoint: unix://{cri_socket(cluster, node)}\n"),
    ]
