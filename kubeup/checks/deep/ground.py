"""What deep checks stand on: a namespace of their own, kubectl, and the objects that they make.

Nodes that no host stands behind ("stand-ins") are how the scheduler and the controllers of nodes are looked at: to
them they are nodes like any other, and no node of the user's is tainted, filled or made to look dead. A taint keeps
other pods off them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import gevent
from gevent.lock import BoundedSemaphore

from kubeup.checks.kubectl import Kubectl, ready
from kubeup.checks.validation import STAND_IN, CheckFailed
from kubeup.cluster import Cluster
from kubeup.components import DEFAULT_VERSIONS, image_reference
from kubeup.errors import HostsFailed
from kubeup.host.session import Output, Session

IMAGE = image_reference("probe", DEFAULT_VERSIONS["probe"])
"""An image that is on every node."""

LABELS = {"kubeup.dev/validation": "true"}
AT_ONCE = 5
"""How many scripts run on a master at once: sshd lets a connection have ten sessions (MaxSessions)."""

ON_NODES = 10
"""On how many nodes there are pods to look at, spread evenly over a larger cluster."""

Object = dict[str, Any]


class Lasting(Protocol):
    """A certificate on a host."""

    @property
    def host(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def end(self) -> datetime: ...
    def ends_soon(self, now: datetime) -> bool: ...


class Throttled(Kubectl):
    """kubectl of which only so many run at once."""

    def __init__(self, cluster: Cluster, session: Session) -> None:
        super().__init__(cluster, session)
        self._free = BoundedSemaphore(AT_ONCE)

    def script(self, script: str, *arguments: str, stdin: str | None = None, timeout: float = 120) -> Output:
        with self._free:
            return super().script(script, *arguments, stdin=stdin, timeout=timeout)


@dataclass
class Pods:
    """Pods that answer, one on each of some nodes, made when they are first asked for: node -> pod's name."""

    namespace: str
    nodes: Sequence[str]
    _lock: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(1))
    _made: Mapping[str, str] | None = None
    _failed: CheckFailed | HostsFailed | None = None

    def on(self, ground: Ground) -> Mapping[str, str]:
        """Them, once they are ready. Raises CheckFailed."""
        with self._lock:
            if self._failed:
                raise self._failed
            if self._made is None:
                try:
                    self._made = self._make(ground)
                except (CheckFailed, HostsFailed) as failed:
                    self._failed = failed
                    raise
        return self._made

    def _make(self, ground: Ground) -> Mapping[str, str]:
        names = {node: f"on-{number}" for number, node in enumerate(self.nodes)}
        ground.create(
            self.namespace,
            [
                account(),
                *(
                    pod(
                        name,
                        nodeName=node,  # not by the scheduler: whether it works is for others to see
                        tolerations=[{"operator": "Exists"}],
                        initContainers=[container("say", command=["/kubeup-probe", "resolve", "localhost"])],
                        containers=[
                            container(
                                "probe",
                                args=["--listen", ":80"],
                                readinessProbe={"httpGet": {"path": "/ready", "port": 80}, "periodSeconds": 1},
                            )
                        ],
                    )
                    for node, name in names.items()
                ),
            ],
        )
        said = ground.kubectl.script(
            'kubectl -n "$1" wait --for=condition=Ready pods --all --timeout=25s', self.namespace, timeout=30
        )
        if not said.ok and "timed out" not in said.stderr:
            raise CheckFailed(last_line(said.stderr) or "the API gave no answer")
        if not said.ok:
            pods = ground.kubectl.get("pods", "-n", self.namespace)
            waiting = [p["spec"]["nodeName"] for p in pods if ready(p) != "True"]
            raise CheckFailed(f"no pod became ready within 25 s on {', '.join(waiting) or said.stderr}")
        return names


@dataclass(frozen=True)
class Ground:
    """What one check has. ``namespace`` is its own, ``run`` the part that the names of one run have in common."""

    cluster: Cluster
    session: Session
    kubectl: Kubectl
    run: str
    namespace: str
    pods: Pods
    certificates: Callable[[], Iterable[Lasting]]

    def create(self, namespace: str, objects: Sequence[Object]) -> None:
        """Create objects, those without a namespace in this one. Raises CheckFailed."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.sure('kubectl -n "$1" create -f - >&2', namespace, stdin=text)

    def make(self, *objects: Object) -> None:
        """Create objects in the check's own namespace. Raises CheckFailed."""
        self.create(self.namespace, objects)

    def sure(self, script: str, *arguments: str, stdin: str | None = None, timeout: float = 30) -> str:
        """What a script with kubectl prints, which must succeed. Raises CheckFailed with what it said instead."""
        output = self.kubectl.script(script, *arguments, stdin=stdin, timeout=timeout)
        if not output.ok:
            raise CheckFailed(last_line(output.stderr or output.stdout) or "the API gave no answer")
        return output.stdout

    def get(self, kind: str, *more: str) -> list[Object]:
        """Objects of a kind in the check's own namespace. Raises CheckFailed."""
        try:
            return self.kubectl.get(kind, "-n", self.namespace, *more)
        except HostsFailed as error:
            raise CheckFailed(str(error)) from None

    def until(self, seconds: float, look: Callable[[], str]) -> None:
        """Look until nothing is wrong, which is "". Raises CheckFailed with what is wrong after so many seconds."""
        wrong = look()
        with gevent.Timeout(seconds, False):
            while wrong:
                gevent.sleep(0.5)
                wrong = look()
        if wrong:
            raise CheckFailed(f"{wrong} (waited for {seconds:.0f} s)")

    def stand_in(self, letter: str, *, cpu: str = "1", memory: str = "1Gi", **labels: str) -> Object:
        """A Node that no host stands behind, named by a letter."""
        name = f"{self.namespace}-{letter}"
        resources = {"cpu": cpu, "memory": memory, "pods": "10", "ephemeral-storage": "1Gi"}
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": {**LABELS, STAND_IN: self.namespace, "kubernetes.io/hostname": name, **labels},
            },
            "spec": {"taints": [{"key": STAND_IN, "value": self.run, "effect": "NoSchedule"}]},
            "status": {
                "capacity": resources,
                "allocatable": resources,
                "conditions": [{"type": "Ready", "status": "True", "reason": "StandIn", "message": "stands in"}],
            },
        }

    def for_stand_in(
        self, name: str, *, tolerates: bool = True, labels: Mapping[str, str] | None = None, **spec: Any
    ) -> Object:
        """A pod for the check's stand-ins, that takes up nothing anywhere else."""
        # A new node has the taint not-ready until a controller has seen it, which is not the scheduler's work.
        tolerations = [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]
        if tolerates:
            tolerations.append({"key": STAND_IN, "operator": "Exists"})
        return pod(
            name,
            labels={STAND_IN: "true", **(labels or {})},
            **{"nodeSelector": {STAND_IN: self.namespace}, "tolerations": tolerations, **spec},
        )


def last_line(text: str) -> str:
    """Of what a program printed, the last line, which has the error."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def account() -> Object:
    """A service account for pods: that of each new namespace is made by a controller, which may not work."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "probe"}}


def container(name: str = "probe", **more: Any) -> Object:
    """A container of the image that every node has."""
    return {"name": name, "image": IMAGE, "imagePullPolicy": "IfNotPresent", **more}


def pod_spec(**spec: Any) -> Object:
    """A pod's specification; what is not said is as small as it can be."""
    return {
        "serviceAccountName": "probe",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [container()],
        **spec,
    }


def pod(name: str, labels: Mapping[str, str] | None = None, **spec: Any) -> Object:
    """A pod. ``spec``: see `pod_spec`."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {**LABELS, **(labels or {})}},
        "spec": pod_spec(**spec),
    }


ON_ANY_HOST: dict[str, Any] = {
    "tolerations": [{"operator": "Exists"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": STAND_IN, "operator": "DoesNotExist"}]}]
            }
        }
    },
}
"""Of a pod that may run on any node that a host stands behind, whatever its taints."""

UNSCHEDULED: dict[str, Any] = {"schedulerName": "kubeup.dev/nobody"}
"""Of a pod that is only to be there: it is never given a node."""
