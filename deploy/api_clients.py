"""Pods that use the API: what they learnt of its authority when they started, most of them never look at again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gevent

from kubeup.checks.addons import parts
from kubeup.checks.kubectl import Kubectl
from kubeup.cluster.addons import Addons
from kubeup.cluster.certificates import certificates_of
from kubeup.deploy.run import Run
from kubeup.errors import KubeupError

CONFIG_MAP = "kube-root-ca.crt"
"""kube-controller-manager puts the authority's certificate into each namespace under this name."""

RESTARTABLE = ("Deployment", "DaemonSet", "StatefulSet")

PUBLISHED_WITHIN = 120  # seconds
ROLLED_OUT_WITHIN = 600  # seconds, a workload


@dataclass(frozen=True, order=True)
class Workload:
    """What pods belong to; a pod of its own where that is nothing that can be restarted."""

    namespace: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def wait_published(run: Run, pem: str) -> Mapping[str, str]:
    """Return once each namespace has these authorities (PEM): since when, by namespace. Raises KubeupError."""
    wanted = set(certificates_of(pem))
    kubectl = Kubectl(run.cluster, run.session)
    deadline = time.monotonic() + PUBLISHED_WITHIN
    while True:
        found = kubectl.get(
            "configmaps", "-A", f"--field-selector=metadata.name={CONFIG_MAP}", "--show-managed-fields=true"
        )
        # Texts differ in their last line break.
        behind = [item for item in found if set(certificates_of(item["data"]["ca.crt"])) != wanted]
        if found and not behind:
            return {item["metadata"]["namespace"]: _changed(item) for item in found}
        if time.monotonic() > deadline:
            names = ", ".join(sorted(item["metadata"]["namespace"] for item in behind)) or "none has any"
            raise KubeupError(
                f"kube-controller-manager has not given the new authority to all namespaces ({names}) within "
                f"{PUBLISHED_WITHIN} s. Look at journalctl -u kube-controller-manager on the masters; then run it again"
            )
        gevent.sleep(1)


def _changed(item: Mapping[str, Any]) -> str:
    """When an object was last changed. The times of Kubernetes sort as texts."""
    metadata = item["metadata"]
    times = [field["time"] for field in metadata.get("managedFields", []) if "time" in field]
    return str(max(times, default=metadata["creationTimestamp"]))


def uninformed(run: Run, since: Mapping[str, str]) -> list[Workload]:
    """What has pods that were started before their namespace had the authorities that it has now."""
    kubectl = Kubectl(run.cluster, run.session)
    owners = {
        (item["metadata"]["namespace"], item["metadata"]["name"]): owner
        for item in kubectl.get("replicasets", "-A")
        if (owner := _owner(item)) is not None
    }
    return sorted(
        {
            _workload(pod, owners)
            for pod in kubectl.get("pods", "-A", "--field-selector=status.phase!=Succeeded,status.phase!=Failed")
            if _reads_authority(pod) and _started(pod) <= since.get(pod["metadata"]["namespace"], "")
        }
    )


def _started(pod: Mapping[str, Any]) -> str:
    return str(pod["status"].get("startTime") or pod["metadata"]["creationTimestamp"])


def _reads_authority(pod: Mapping[str, Any]) -> bool:
    sources = [
        source
        for volume in pod["spec"].get("volumes", [])
        for source in [volume, *volume.get("projected", {}).get("sources", [])]
    ]
    return any(source.get("configMap", {}).get("name") == CONFIG_MAP for source in sources)


def _owner(item: Mapping[str, Any]) -> tuple[str, str] | None:
    owners = [owner for owner in item["metadata"].get("ownerReferences", []) if owner.get("controller")]
    return (owners[0]["kind"], owners[0]["name"]) if owners else None


def _workload(pod: Mapping[str, Any], owners: Mapping[tuple[str, str], tuple[str, str]]) -> Workload:
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    owner = _owner(pod)
    if owner and owner[0] == "ReplicaSet":
        owner = owners.get((namespace, owner[1]), owner)
    return Workload(namespace, *(owner or ("Pod", name)))


def restart(run: Run, workloads: Sequence[Workload]) -> list[Workload]:
    """Have these replace their pods, one after another by their own strategy; those that cannot.

    Raises HostsFailed when one does not come to an end.
    """
    kubectl = Kubectl(run.cluster, run.session)
    for workload in workloads:
        if workload.kind in RESTARTABLE:
            run.session.observer.say(f"Restarting the pods of {workload}, so that they know the new authority.")
            kubectl.checked(
                'kubectl -n "$1" rollout restart "$2" >/dev/null && '
                f'kubectl -n "$1" rollout status --timeout={ROLLED_OUT_WITHIN}s "$2" >&2',
                workload.namespace,
                f"{workload.kind.lower()}/{workload.name}",
                timeout=ROLLED_OUT_WITHIN + 30,
            )
    return [workload for workload in workloads if workload.kind not in RESTARTABLE]


def restart_ours(run: Run, workloads: Sequence[Workload]) -> list[Workload]:
    """Restart those that are kubeup's own; the others."""
    addons = Addons.switches()  # not the user's own manifests and charts
    parts_of_ours = [part for part in parts(Kubectl(run.cluster, run.session)) if part.addon in addons]
    known = {Workload(part.namespace, part.kind, part.name) for part in parts_of_ours}
    ours = [workload for workload in workloads if workload in known]
    restart(run, ours)
    return [workload for workload in workloads if workload not in ours]
