"""What the cluster has of addons, and whether it works: by the label that all their objects have."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import gevent

from kubeup.checks.kubectl import Kubectl, condition
from kubeup.checks.pods import why_not_ready
from kubeup.cluster.manifests import OWNER
from kubeup.errors import ValidationError

READY = 180
"""Seconds that addons may take: metrics-server is ready once it has measured all nodes, others have webhooks."""

KINDS = "apiservices.apiregistration.k8s.io,deployments.apps,daemonsets.apps,statefulsets.apps"
"""What an addon consists of that can be ready or not."""

# $1: seconds to wait. Prints what could not be applied, by addon (see templates/addons/apply.sh).
_APPLIED = """for i in $(seq $(($1 * 5))); do
    [ "$(systemctl is-active kubeup-addons)" = activating ] || break
    sleep 0.2
done
cd /run/kubeup-addons 2>/dev/null || exit 0
for file in *.error; do [ ! -e "$file" ] || sed "s|^|${file%.error}: |" "$file"; done
"""


@dataclass(frozen=True)
class Part:
    """A workload of an addon, or an API that it serves. ``pods``: how many are ready, as 1/2; "" where it has none."""

    addon: str
    kind: str
    namespace: str
    name: str
    works: bool
    serves: bool
    """Whether it works well enough where some nodes may be dead."""
    pods: str
    data: dict[str, Any]


def parts(kubectl: Kubectl) -> list[Part]:
    """All parts of all addons, as they are now. Raises HostsFailed."""
    return [_part(one) for one in kubectl.get(KINDS, "-A", "-l", OWNER)]


def _part(one: dict[str, Any]) -> Part:
    meta, spec, status = one["metadata"], one["spec"], one.get("status", {})
    available = condition(status, "Available").get("status") == "True"
    if one["kind"] == "APIService":
        works, serves, pods = available, available, ""
    else:
        # As `kubectl rollout status` has it.
        if one["kind"] == "DaemonSet":
            wanted = status.get("desiredNumberScheduled", 0)
            updated, ready = status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)
        else:
            wanted = spec.get("replicas", 1)
            updated, ready = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
        seen = status.get("observedGeneration", 0) >= meta["generation"]
        works = seen and wanted == updated == ready
        serves, pods = works or one["kind"] != "Deployment" or available, f"{ready}/{wanted}"
    return Part(meta["labels"][OWNER], one["kind"], meta.get("namespace", ""), meta["name"], works, serves, pods, one)


def why(kubectl: Kubectl, part: Part) -> str:
    """Why a part is not ready."""
    what = f"{part.addon}: {part.kind} {part.name} is not ready"
    if part.kind == "APIService":
        message = condition(part.data.get("status", {}), "Available").get("message", "")
        return f"{what}: {message}" if message else what
    selector = ",".join(f"{k}={v}" for k, v in part.data["spec"]["selector"].get("matchLabels", {}).items())
    pods = kubectl.get("pods", "-n", part.namespace, "-l", selector)
    reasons = [reason for pod in pods if (reason := why_not_ready(pod))]
    return f"{what}: {'; '.join(reasons) or ('its pods have just started' if pods else 'it has no pods')}"


def not_applied(kubectl: Kubectl, wait: int = 0) -> dict[str, str]:
    """What keeps addons from being brought into the cluster, by addon, once that is no longer tried, or after ``wait``
    seconds. Raises HostsFailed.
    """
    wrong: dict[str, list[str]] = {}
    for line in kubectl.checked(_APPLIED, str(wait), timeout=wait + 30).splitlines():
        addon, _, text = line.partition(": ")
        wrong.setdefault(addon, []).append(text.strip())
    return {addon: "; ".join(filter(None, lines)) for addon, lines in wrong.items()}


def addons_ready(kubectl: Kubectl, *, whole: bool = True, own: bool = False) -> str:
    """Which addons there are, once all of them are applied and their pods are ready. Raises ValidationError.

    ``whole``: whether all nodes are to work; else it is enough that each addon serves.
    ``own``: those of kubeup alone, not the user's manifests and charts.
    """

    def counts(addon: str) -> bool:
        return not own or "." not in addon  # the user's are called manifests.NAME and helm.NAME

    deadline = time.monotonic() + READY
    if wrong := {addon: text for addon, text in not_applied(kubectl, READY).items() if counts(addon)}:
        raise ValidationError(f"not applied: {'; '.join(f'{addon}: {text}' for addon, text in wrong.items())}")
    while True:
        found = [part for part in parts(kubectl) if counts(part.addon)]
        waiting = [part for part in found if not (part.works if whole else part.serves)]
        if not waiting:
            return f"{', '.join(sorted({part.addon for part in found})) or 'none'}: ready"
        if time.monotonic() > deadline:
            raise ValidationError(f"after {READY} s " + "; ".join(why(kubectl, part) for part in waiting))
        gevent.sleep(1)
