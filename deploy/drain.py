"""A node is emptied of pods, and taken into use again. All that has to be known for that is on the Node object.

The pods are evicted by `kubectl drain` on a master, which honours PodDisruptionBudgets; not on the node's own where
that is a master, because a master's kubectl asks its own apiserver, which may be about to stop. What keeps a pod is
asked of the API afterwards: kubectl's messages do not say which budget it was, nor how much that lacks.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import gevent

from kubeup.checks.kubectl import CORDONED, Kubectl, condition, cordoned
from kubeup.deploy.run import Run
from kubeup.errors import HostsFailed, NodeError
from kubeup.host.session import failure

DRAIN_TIMEOUT = 300
"""Seconds that the pods of a node may take to go, when nobody says otherwise."""

READY_TIMEOUT = 180
"""Seconds that a node and its pods may take to be ready."""

SLICE = 20
"""Seconds that one kubectl evicts for: it goes on when its kubeup is killed, and shall not for long."""

MARGIN = 30
"""Seconds more than kubectl's own limit before its connection is given up."""

_EVICTION_REFUSED = re.compile(
    r'^error when evicting pods/"(?P<pod>[^"]+)" -n "(?P<namespace>[^"]+)"(?: \(will retry after \S+\))?: (?P<why>.*)$',
    re.MULTILINE,
)

_OUT_OF_TIME = re.compile("timeout reached|context deadline exceeded")
"""What kubectl says when its time is over: while a budget refuses an eviction, and while evicted pods end."""


# Cordon


def cordon(run: Run, node: str) -> bool:
    """No new pod is to come to the node. Whether it is kubeup that keeps them off: a person may have, before.

    Raises HostsFailed when no master can be asked, NodeError when there is no such node.
    """
    kubectl = Kubectl(run.cluster, run.session, avoid=node)
    found = kubectl.node(node)
    if found is None:
        raise NodeError(f"The cluster {run.cluster.name} has no node {node} (kubectl get nodes).")
    if found["spec"].get("unschedulable"):
        return cordoned(found)
    _patch(kubectl, node, {CORDONED: "true"}, unschedulable=True)
    return True


def uncordon(run: Run, node: str) -> bool:
    """The node takes pods again, unless a person had cordoned it. Whether it does.

    Raises HostsFailed when no master can be asked.
    """
    kubectl = Kubectl(run.cluster, run.session)
    found = kubectl.node(node)
    if found is None:
        return False
    if not cordoned(found):
        return not found["spec"].get("unschedulable", False)
    _patch(kubectl, node, {CORDONED: None}, unschedulable=None)
    return True


def _patch(kubectl: Kubectl, node: str, annotations: Mapping[str, str | None], unschedulable: bool | None) -> None:
    # Both at once: a run that is killed leaves no node of which it is not known who has cordoned it.
    patch = {"metadata": {"annotations": annotations}, "spec": {"unschedulable": unschedulable}}
    kubectl.checked('kubectl patch node "$1" --type=merge -p "$2" >&2', node, json.dumps(patch))


# Drain


def drain(run: Run, node: str, *, timeout: float = DRAIN_TIMEOUT, force: bool = False) -> bool:
    """Cordon the node and evict its pods; those of DaemonSets stay. Emptied again it stays empty: `uncordon` undoes it.

    Args:
        node: its name.
        timeout: seconds that all pods together may take to go.
        force: also delete pods that no controller makes anew elsewhere.

    Returns:
        Whether it was kubeup that cordoned it, and `uncordon` will undo that.

    Raises:
        NodeError: it has pods without a controller, or pods that did not go in time; says which and what keeps them.
            The node stays cordoned in the second case, and as it was in the first.
        HostsFailed: no master can be asked, or kubectl failed for another reason.
    """
    kubectl = Kubectl(run.cluster, run.session, avoid=node)
    alone = without_controller(_to_evict(_pods(kubectl, node)))
    if alone and not force:
        raise NodeError(
            f"{node} is not drained: no controller would make these pods anew elsewhere: {', '.join(alone)}.\n"
            "    Delete them, or say --force to have them deleted with what they hold."
        )
    ours = cordon(run, node)
    options = ["--ignore-daemonsets", "--delete-emptydir-data", *(["--force"] if force else [])]
    deadline = time.monotonic() + timeout
    while True:
        seconds = max(1.0, min(SLICE, deadline - time.monotonic()))
        limit = f"--timeout={seconds:.0f}s"
        output = kubectl.script('kubectl drain "$@" >/dev/null', node, *options, limit, timeout=seconds + MARGIN)
        if output.ok:
            return ours
        if not _OUT_OF_TIME.search(output.stderr) or time.monotonic() >= deadline:
            break
    left = _to_evict(_pods(kubectl, node))
    if not left:  # the last one has just gone, or kubectl's connection broke when all was done
        return ours
    why = blockers(left, kubectl.get("poddisruptionbudgets", "-A"), refusals(output.stderr))
    if not _OUT_OF_TIME.search(output.stderr):
        raise HostsFailed(f"draining {node}", [failure(node, f"kubectl drain {node}", output)])
    raise NodeError(
        "\n".join(
            [
                f"{node} could not be drained within {timeout:.0f} s. It is cordoned; these pods are still on it:",
                *(f"    {line}" for line in why),
                "    Mend that (one more replica, or a budget that allows one to go) and run the same command again;",
                f"    or give up and let it take pods again: kubectl uncordon {node}",
            ]
        )
    )


def _pods(kubectl: Kubectl, node: str) -> list[dict[str, Any]]:
    return kubectl.get("pods", "-A", f"--field-selector=spec.nodeName={node}")


def _controller(pod: Mapping[str, Any]) -> str:
    """The kind of the object that makes the pod anew, or ""."""
    owners = pod["metadata"].get("ownerReferences", [])
    return next((str(owner["kind"]) for owner in owners if owner.get("controller")), "")


def _to_evict(pods: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of a node's pods those that a drain takes away: none of DaemonSets, and none that the kubelet has from a file."""
    mirror = "kubernetes.io/config.mirror"
    return [
        pod for pod in pods if _controller(pod) != "DaemonSet" and mirror not in pod["metadata"].get("annotations", {})
    ]


def full_name(pod: Mapping[str, Any]) -> str:
    """namespace/name."""
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def without_controller(pods: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the pods that would not come again elsewhere. One that has ended is nobody's loss."""
    ended = ("Succeeded", "Failed")
    return sorted(full_name(pod) for pod in pods if not _controller(pod) and pod["status"].get("phase") not in ended)


def refusals(stderr: str) -> dict[str, str]:
    """What `kubectl drain` says last of each pod (namespace/name) whose eviction was refused."""
    return {f"{m['namespace']}/{m['pod']}": m["why"] for m in _EVICTION_REFUSED.finditer(stderr)}


def blockers(
    pods: Sequence[Mapping[str, Any]], budgets: Sequence[Mapping[str, Any]], refused: Mapping[str, str]
) -> list[str]:
    """What keeps each pod on its node, a line each: a budget that allows none to go, its own end, what the API said."""
    return [f"{full_name(pod)}: {_what_keeps(pod, budgets, refused)}" for pod in sorted(pods, key=full_name)]


def _what_keeps(pod: Mapping[str, Any], budgets: Sequence[Mapping[str, Any]], refused: Mapping[str, str]) -> str:
    if since := pod["metadata"].get("deletionTimestamp"):
        grace = pod["metadata"].get("deletionGracePeriodSeconds", 0)
        finalizers = pod["metadata"].get("finalizers", [])
        kept = f", and is kept by the finalizers {', '.join(finalizers)}" if finalizers else ""
        return f"is ending, and has until {since} ({grace} s of grace){kept}"
    closed = [budget for budget in budgets if _covers(budget, pod) and not _status(budget, "disruptionsAllowed")]
    if closed:
        return "; ".join(
            f"the PodDisruptionBudget {budget['metadata']['name']} allows {_status(budget, 'disruptionsAllowed')} "
            f"disruptions: {_status(budget, 'currentHealthy')} of {_status(budget, 'expectedPods')} pods are healthy, "
            f"and {_status(budget, 'desiredHealthy')} must be"
            for budget in closed
        )
    return refused.get(full_name(pod), "its turn had not come")


def _status(budget: Mapping[str, Any], name: str) -> int:
    return int(budget.get("status", {}).get(name, 0))


def _covers(budget: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Whether a PodDisruptionBudget is about the pod."""
    selector = budget["spec"].get("selector")
    if selector is None or budget["metadata"]["namespace"] != pod["metadata"]["namespace"]:
        return False
    labels: Mapping[str, str] = pod["metadata"].get("labels", {})
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    return all(_matches(expression, labels) for expression in selector.get("matchExpressions", ()))


def _matches(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """A requirement of a LabelSelector (apimachinery, meta/v1)."""
    key, values = expression["key"], expression.get("values", ())
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:  # DoesNotExist
            return key not in labels


# Ready again


def unready_pods(run: Run, node: str) -> dict[str, str]:
    """The pods on a node that should be ready and are not: namespace/name, and state. Raises HostsFailed."""
    return _unready(_pods(Kubectl(run.cluster, run.session), node))


def wait_ready(
    run: Run, node: str, *, timeout: float = READY_TIMEOUT, version: str = "", ignoring: Collection[str] = ()
) -> None:
    """Return once the node's kubelet answers, the node is Ready, and so is each pod on it.

    Args:
        node: its name.
        timeout: seconds that this may take.
        version: what the node must report as its kubelet's, without "v"; "" for any.
        ignoring: pods (namespace/name) that need not be ready, because they were not before either.

    Raises:
        NodeError: it was not so within ``timeout``; says which pod, and its state.
    """
    kubectl = Kubectl(run.cluster, run.session)
    deadline = time.monotonic() + timeout
    while wrong := not_ready(kubectl, node, version, ignoring):
        if time.monotonic() > deadline:
            raise NodeError(
                "\n".join(
                    [
                        f"{node} was not ready within {timeout:.0f} s:",
                        *(f"    {line}" for line in wrong),
                        f"    Look at journalctl -u kubelet there, and kubectl describe node {node}.",
                    ]
                )
            )
        gevent.sleep(0.5)


def not_ready(
    kubectl: Kubectl, node: str, version: str = "", ignoring: Collection[str] = (), *, pods_too: bool = True
) -> list[str]:
    """What is not ready yet, a line each: the kubelet, the node, and its pods. For the rest see `wait_ready`."""
    # The kubelet itself is asked too: when it has just been stopped, its node is Ready for another 40 s.
    output = kubectl.script(
        'kubectl get nodes --field-selector="metadata.name=$1" -o json && '
        'kubectl get pods -A --field-selector="spec.nodeName=$1" -o json && '
        'kubectl get --raw "/api/v1/nodes/$1/proxy/healthz" >/dev/null',
        node,
    )
    found = _documents(output.stdout)
    if len(found) < 2:
        return [f"the API did not answer: {output.stderr.strip()}"]
    nodes, pods = (document["items"] for document in found)
    if not nodes:
        return ["the node has not registered with the API"]
    wrong = []
    if not output.ok:
        wrong.append(f"its kubelet does not answer: {output.stderr.strip()}")
    status = nodes[0]["status"]
    ready = condition(status, "Ready")
    if ready.get("status") != "True":
        wrong.append(f"the node is not Ready: {ready.get('message', 'its kubelet has never reported')}")
    runs = status.get("nodeInfo", {}).get("kubeletVersion", "")
    if version and runs != f"v{version}":
        wrong.append(f"the node reports the kubelet {runs}, not v{version}")
    if not pods_too:
        return wrong
    return wrong + [f"{name}: {state}" for name, state in _unready(pods).items() if name not in ignoring]


def _documents(text: str) -> list[dict[str, Any]]:
    """The JSON documents that follow each other in a text, as far as they are whole."""
    decoder, documents, rest = json.JSONDecoder(), [], text.strip()
    while rest:
        try:
            document, end = decoder.raw_decode(rest)
        except ValueError:
            break
        documents.append(document)
        rest = rest[end:].lstrip()
    return documents


def _unready(pods: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Pods that are to run and are not ready: not those that have ended, or are being deleted."""
    return {
        full_name(pod): _state(pod)
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
        and pod["status"].get("phase") not in ("Succeeded", "Failed")
        and condition(pod["status"], "Ready").get("status") != "True"
    }


def _state(pod: Mapping[str, Any]) -> str:
    """Why a pod is not ready."""
    status = pod["status"]
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        for kind in ("waiting", "terminated"):
            detail = container.get("state", {}).get(kind)
            if detail and detail.get("reason") != "Completed":
                return f"{container['name']} is {detail.get('reason', kind)} {detail.get('message', '')}".strip()
    for told in status.get("conditions", []):
        if told["status"] != "True" and told.get("message"):
            return str(told["message"])
    return str(status.get("phase", "unknown"))
