"""containerd and runc, which run the containers, the network plugins they call, and the images the cluster needs."""

from kubeup.cluster import Cluster, Node
from kubeup.cluster.trust import Trust
from kubeup.components import image_reference
from kubeup.components.catalogue import maker
from kubeup.host.facts import HostFacts
from kubeup.host.resources import Blob, Cleanup, Directory, File, Resource, unit
from kubeup.roles import addons, sources
from kubeup.roles.common import BIN, IMAGES, ROOT, Where, image, nofile, own_version, program, version_of
from kubeup.templates import render, text

WHERE: Where = "nodes"

CNI_PLUGINS = ("bridge", "host-local", "loopback", "portmap")


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    versions = cluster.versions
    pause = own_version("pause")
    runtime = [
        *program("containerd", versions.containerd, "containerd"),
        *program("containerd", versions.containerd, "containerd-shim-runc-v2"),
        *program("containerd", versions.containerd, "ctr", on_path=True),
        *program("runc", versions.runc, "runc"),
    ]
    # A folder of their own: containerd is told where it is, and a new version is a new folder.
    cni_bin = f"{ROOT}/cni-plugins/{versions.cni_plugins}"
    plugins = [Blob(f"{cni_bin}/{name}", name, versions.cni_plugins) for name in CNI_PLUGINS]
    config = File(
        "/etc/containerd/config.toml",
        render(
            "containerd/config.toml.j2",
            bin=BIN,
            cni_bin=cni_bin,
            pause_image=image_reference("pause", pause),
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
    images = [
        *image("pause", pause),
        *image("probe", own_version("probe")),
        *(one for name in addons.images(cluster, node) for one in image(name, version_of(cluster, maker(name)))),
    ]
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
        *images,
        # Not waited for: it takes seconds, and systemd starts the kubelet after it.
        unit(
            "kubeup-images.service",
            render("containerd/images.service.j2", bin=BIN, folder=IMAGES),
            images,
            wait=False,
        ),
        *program("cri-tools", versions.cri_tools, "crictl", on_path=True),
        File("/etc/crictl.yaml", "runtime-endpoint: unix:///run/containerd/containerd.sock\n"),
    ]
