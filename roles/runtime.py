"""What the cluster needs beside a container runtime that the user runs, which itself is left alone.

With ``runtime: {socket: ...}`` this takes the place of the role containerd: the cluster's images are given to that
runtime, network plugins are put where runtimes look for them, and crictl speaks to it.
"""

from kubeup.cluster import Cluster, Node
from kubeup.cluster.runtimes import KNOWN
from kubeup.cluster.trust import Trust
from kubeup.host.facts import HostFacts
from kubeup.host.resources import Directory, File, Link, Resource, unit
from kubeup.roles.common import BIN, IMAGES, ROOT, Where, program
from kubeup.roles.containerd import cni_plugins, crictl, images
from kubeup.templates import render

WHERE: Where = "nodes"

PLUGINS = "/opt/cni/bin"
"""Where containerd, CRI-O and cri-dockerd look for network plugins if nothing else is said."""


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    socket = cluster.runtime_socket(node)
    if not socket:
        return []
    # A network of the user's brings its own plugins there.
    plugins = cni_plugins(cluster)[1] if cluster.cni == "flannel" else []
    own_images = images(cluster, node)
    importer = File(
        f"{ROOT}/lib/import-images",
        render("runtime/import-images.sh.j2", bin=BIN, socket=socket, folder=IMAGES, known=KNOWN),
        mode=0o755,
    )
    return [
        *(Directory(path) for path in ("/etc/cni/net.d", "/var/log/pods", "/var/log/containers")),
        *plugins,
        *(Link(f"{PLUGINS}/{plugin.artifact}", plugin.path) for plugin in plugins),
        # By which a containerd is given images; not on the path, where the user's own is.
        *program("containerd", cluster.versions.containerd, "ctr"),
        *crictl(cluster, node),
        importer,
        *own_images,
        # Not waited for: it takes seconds, and systemd starts the kubelet after it.
        unit(
            "kubeup-images.service",
            render("runtime/images.service.j2", importer=importer.path),
            [*own_images, importer],
            wait=False,
        ),
    ]
