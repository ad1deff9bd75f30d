"""The objects that the cluster itself needs, and its addons: one module an addon, applied by the masters.

They are files on the masters like any other, so a plan shows their differences, and a unit applies them, so that it
needs no way from the admin's machine to the API. Every master does so; server-side apply makes that harmless. What was
applied and is in no file any more is taken out of the cluster, see templates/addons/apply.sh.

An addon is a module with ``manifests``, ``images`` and, where hosts need more for it, a role of its own; its settings
are a model in kubeup.cluster.addons.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from kubeup.cluster import Cluster, Node
from kubeup.cluster.manifests import Manifest, Object, owned
from kubeup.cluster.trust import Trust
from kubeup.components.catalogue import DEFAULT_VERSIONS, REQUIRED_VERSIONS, maker
from kubeup.host.facts import HostFacts
from kubeup.host.resources import File, Resource, unit
from kubeup.roles.addons import coredns, helm, local_path, metallb, metrics_server, nfs, registry, traefik
from kubeup.roles.addons import manifests as own_manifests
from kubeup.roles.common import ROOT, Where, version_of
from kubeup.templates import render, text

WHERE: Where = "masters"

FOLDER = "/etc/kubernetes/addons"
APPLIED = "/var/lib/kubeup/addons"
"""On masters: the digest of what was applied last. Without it, it is applied again, whatever the cluster holds."""
OBJECTS = f"{FOLDER}/objects"
"""The objects that addons have: a line for each, ADDON KIND NAMESPACE NAME."""
LIST = f"{FOLDER}/list"
"""What of the folder is wanted: a line for each manifest, and for each chart's folder."""


class Addon(Protocol):
    """What a module of this package has: objects, and the images that their pods need."""

    def manifests(self, cluster: Cluster, host: HostFacts) -> Mapping[str, str]:
        """Its objects as YAML, by the addon's name; none where it is off."""

    def images(self, cluster: Cluster) -> Mapping[str, Sequence[Node]]:
        """The images its pods are of, by name, each with the nodes where those may run; none when it is off."""


ADDONS: tuple[Addon, ...] = (coredns, metrics_server, metallb, traefik, local_path, nfs, registry, own_manifests)
"""All addons, the user's own last, in the order in which they are applied."""

COMPONENTS = {local_path.NAME: local_path.COMPONENT}
"""The component that is an addon's program, where it is not called as the addon is."""


def manifests(cluster: Cluster, host: HostFacts) -> dict[str, str]:
    """What the cluster has of addons, by the addon's name: its objects as YAML."""
    texts = {"access": render("addons/access.yaml.j2")}
    for addon in ADDONS:
        texts |= addon.manifests(cluster, host)
    return texts


def images(cluster: Cluster, node: Node | None = None) -> tuple[str, ...]:
    """The images that the addons of this cluster need, on any node or on this one."""
    found: dict[str, None] = {}
    for addon in ADDONS:
        for name, nodes in addon.images(cluster).items():
            if node is None or node in nodes:
                found[name] = None
    return tuple(found)


def components(cluster: Cluster) -> tuple[str, ...]:
    """The components that the addons of this cluster need."""
    programs = [
        *(["registry"] if cluster.addons.registry else []),
        *([helm.COMPONENT] if cluster.addons.helm else []),
    ]
    return tuple(dict.fromkeys([*(maker(name) for name in images(cluster)), *programs]))


def needed(cluster: Cluster) -> dict[str, str]:
    """All components of this cluster, its addons' too, each with its version."""
    return {name: version_of(cluster, name) for name in (*REQUIRED_VERSIONS, *components(cluster))}


def version(cluster: Cluster, name: str) -> str:
    """The version of one of kubeup's addons, on or off; "" where it has none."""
    component = COMPONENTS.get(name, name)
    return version_of(cluster, component) if component in DEFAULT_VERSIONS else ""


def entries(cluster: Cluster) -> dict[str, str]:
    """The user's own addons, each with its version, "" where it has none."""
    own = {f"manifests.{entry.name}": "" for entry in cluster.addons.manifests}
    return own | {f"helm.{entry.name}": entry.version for entry in cluster.addons.helm}


def desired(cluster: Cluster, node: Node, host: HostFacts, trust: Trust) -> list[Resource]:
    marked = {name: owned(text, name) for name, text in manifests(cluster, host).items()}
    # Nodes are the only objects that are not made by it, and so not taken away by it either.
    nodes = render(
        "addons/nodes.yaml.j2",
        nodes=cluster.nodes,
        labels={n.name: {**n.labels, **n.role_labels, **traefik.labels(cluster, n)} for n in cluster.nodes},
    )
    listed = ["nodes.yaml", *(f"{name}.yaml" for name in marked), *(f"helm.{one.name}" for one in cluster.addons.helm)]
    lines = [_line(name, one) for name, manifest in marked.items() for one in manifest.objects]
    files: list[Resource] = [
        File(f"{FOLDER}/nodes.yaml", nodes),
        *(_file(name, manifest) for name, manifest in marked.items()),
        File(OBJECTS, "".join(lines)),
        File(LIST, "".join(f"{name}\n" for name in listed)),
        *helm.resources(cluster, FOLDER),
    ]
    program = File(f"{ROOT}/lib/apply-addons", text("addons/apply.sh"), mode=0o755)
    return [
        *files,
        program,
        # Not waited for: nothing on this host needs it, and it ends when validation can begin.
        unit(
            "kubeup-addons.service",
            render("addons/addons.service.j2", program=program.path),
            [*files, program],
            wait=False,
        ),
    ]


def _file(addon: str, manifest: Manifest) -> File:
    secret = any(one.kind == "Secret" for one in manifest.objects)
    return File(f"{FOLDER}/{addon}.yaml", manifest.text, mode=0o600 if secret else 0o644)


def _line(addon: str, one: Object) -> str:
    return f"{addon} {one.resource} {one.namespace or 'default'} {one.name}\n"
