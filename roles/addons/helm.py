"""Charts of Helm: entries of ``helm:``, each an addon called helm.NAME.

The masters render them when they apply addons (see templates/addons/apply.sh), and what comes of it is applied and
taken away like any other manifest: killed at any moment it goes on, and it needs nobody to lock. What Helm's own
releases have besides, hooks and a history, there is not.
"""

from kubeup.cluster import Cluster
from kubeup.cluster.addons import HelmEntry
from kubeup.host.resources import File, Resource
from kubeup.roles.common import program, version_of

COMPONENT = "helm"


def resources(cluster: Cluster, folder: str) -> list[Resource]:
    """What masters hold to render the charts, each in a folder of its own below ``folder``."""
    entries = cluster.addons.helm
    if not entries:
        return []
    placed = [resource for entry in entries for resource in _release(entry, f"{folder}/helm.{entry.name}")]
    return [*program(COMPONENT, version_of(cluster, COMPONENT), "helm", on_path=True), *placed]


def _release(entry: HelmEntry, folder: str) -> list[Resource]:
    chart = [File(f"{folder}/chart/{path}", text) for path, text in sorted(entry.files.items())]
    options = {"version": entry.version} if not chart else {}
    arguments = [
        entry.name,
        f"{folder}/chart" if chart else entry.chart,
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
