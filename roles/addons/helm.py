"""Charts of Helm: entries of ``helm:``, each an addon called helm.NAME.

The masters render them when they apply addons (see templates/addons/apply.sh), and what comes of it is applied and
taken away like any other manifest: killed at any moment it goes on, and it needs nobody to lock. What Helm's own
releases have besides, hooks and a history, there is not.
"""

from kubeup.cluster import Cluster
from kubeup.cluster.addons import HelmEntry
from kubeup.host.resources import File, Resource
from kubeup.roles.common import NODE_CA, program, version_of
from kubeup.roles.registry import CLIENT, PORT

COMPONENT = "helm"


def resources(cluster: Cluster, folder: str) -> list[Resource]:
    """What masters hold to render the charts, each in a folder of its own below ``folder``."""
    entries = cluster.addons.helm
    if not entries:
        return []
    placed = [resource for entry in entries for resource in _release(cluster, entry, f"{folder}/helm.{entry.name}")]
    return [*program(COMPONENT, version_of(cluster, COMPONENT), "helm", on_path=True), *placed]


def _release(cluster: Cluster, entry: HelmEntry, folder: str) -> list[Resource]:
    chart = [File(f"{folder}/chart/{path}", text) for path, text in sorted(entry.files.items())]
    options = {"version": entry.version} if not chart else {}
    arguments = [
        entry.name,
        *([f"{folder}/chart"] if chart else _from(cluster, entry.chart)),
        f"--namespace={entry.namespace}",
        *(f"--{option}={value}" for option, value in options.items() if value),
        *(["--plain-http"] if entry.plain_http else []),
        *(["--no-hooks"] if entry.hooks == "ignore" else []),
    ]
    return [
        *chart,
        # A line an argument of `helm template`.
        File(f"{folder}/arguments", "".join(f"{argument}\n" for argument in arguments)),
        File(f"{folder}/namespace", f"{entry.namespace}\n"),
        File(f"{folder}/values.yaml", entry.text, mode=0o600),  # passwords, often
    ]


def _from(cluster: Cluster, address: str) -> list[str]:
    """Where a chart comes from. The cluster's own registry goes by a name that containerd alone knows."""
    settings = cluster.addons.registry
    path = address.removeprefix(f"oci://{settings.name}/") if settings else address
    if path == address:
        return [address]
    known = [f"--ca-file={NODE_CA}", f"--cert-file={CLIENT}.crt", f"--key-file={CLIENT}.key"]
    return [f"oci://{cluster.registry_nodes[0].address}:{PORT}/{path}", *known]
