"""kube-scheduler: places pods, and respects taints, affinity and requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubeup.checks.deep.ground import ON_ANY_HOST, Ground, Object, account, container, pod
from kubeup.checks.kubectl import condition
from kubeup.checks.validation import CheckFailed

DECIDES_WITHIN = 15
"""Seconds within which the scheduler must have looked at a pod."""


@dataclass(frozen=True)
class Decision:
    """What the scheduler did with a pod: the node it chose, or why it chose none."""

    node: str = ""
    refusal: str = ""


def decisions(pods: list[Object]) -> dict[str, Decision]:
    """By the pods' names; those that it has not looked at yet are not among them."""
    found = {}
    for one in pods:
        scheduled = condition(one.get("status", {}), "PodScheduled")
        if one["spec"].get("nodeName"):
            found[one["metadata"]["name"]] = Decision(node=one["spec"]["nodeName"])
        elif scheduled.get("reason") == "Unschedulable":
            found[one["metadata"]["name"]] = Decision(refusal=scheduled.get("message", "no reason given"))
    return found


def _decided(ground: Ground, *objects: Object) -> dict[str, Decision]:
    """What the scheduler decides on the pods among these new objects, with stand-ins' letters for their names."""
    wanted = {one["metadata"]["name"] for one in objects if one["kind"] == "Pod"}
    found: dict[str, Decision] = {}

    def look() -> str:
        nonlocal found
        found = decisions(ground.get("pods"))
        missing = sorted(wanted - found.keys())
        return f"the scheduler has not looked at the pods {', '.join(missing)}" if missing else ""

    ground.make(account(), *objects)
    ground.until(DECIDES_WITHIN, look)
    return {name: Decision(one.node.removeprefix(f"{ground.namespace}-"), one.refusal) for name, one in found.items()}


def _is(found: Mapping[str, Decision], name: str, node: str = "", refused: str = "") -> list[str]:
    """What is wrong with the decision on a pod that shall be on a node, or be refused for a reason with these words."""
    decision = found[name]
    if node and decision.node != node:
        return [f"the pod {name} is {(decision.node and f'on {decision.node}') or 'on no node'}, not on {node}"
                + (f": {decision.refusal}" if decision.refusal else "")]  # fmt: skip
    if refused and decision.node:
        return [f"the pod {name} was placed, and had to be refused ({refused})"]
    if refused and refused not in decision.refusal:
        return [f"the pod {name} was refused, but not for {refused}: {decision.refusal}"]
    return []


def _one_of(found: Mapping[str, Decision], names: tuple[str, ...], nodes: set[str], refused: str) -> list[str]:
    """What is wrong where each of the nodes takes one of the pods, and the rest is refused, whichever they are."""
    placed = [found[name].node for name in names if found[name].node]
    wrong = []
    if sorted(placed) != sorted(nodes):
        there = f"on {', '.join(placed)}" if placed else "nowhere"
        wrong.append(
            f"of the pods {', '.join(names)} one had to be on each of {', '.join(sorted(nodes))}: they are {there}"
        )
    for name in names:
        if not found[name].node and refused not in found[name].refusal:
            wrong.append(f"the pod {name} was refused, but not for {refused}: {found[name].refusal}")
    return wrong


def _judge(wrong: list[str]) -> None:
    if wrong:
        raise CheckFailed("; ".join(wrong))


def places(ground: Ground) -> str:
    """A pod that says nothing of where it wants to be gets a node."""
    found = _decided(ground, pod("anywhere", **ON_ANY_HOST))
    chosen = found["anywhere"]
    if not chosen.node:
        raise CheckFailed(f"a pod without wishes gets no node: {chosen.refusal}")
    return f"a pod was placed on {chosen.node}"


def taints(ground: Ground) -> str:
    """A pod that does not tolerate a node's taint stays off it; one that does may go there."""
    found = _decided(
        ground,
        ground.stand_in("a"),
        ground.for_stand_in("tolerates"),
        ground.for_stand_in("does-not", tolerates=False),
    )
    _judge([*_is(found, "tolerates", node="a"), *_is(found, "does-not", refused="untolerated taint")])
    return "a tainted node takes the pod that tolerates it, and no other"


def affinity(ground: Ground) -> str:
    """Pods go to the nodes that they ask for, beside the pods that they ask for, and not beside those they shun."""
    apart = {"labelSelector": {"matchLabels": {"apart": "yes"}}, "topologyKey": "kubernetes.io/hostname"}
    beside = {"labelSelector": {"matchLabels": {"app": "red"}}, "topologyKey": "kubernetes.io/hostname"}
    red = {"key": "kubeup.dev/colour", "operator": "In", "values": ["red"]}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    found = _decided(
        ground,
        ground.stand_in("a", **{"kubeup.dev/colour": "red"}),
        ground.stand_in("b", **{"kubeup.dev/colour": "blue"}),
        ground.for_stand_in(
            "red",
            labels={"app": "red"},
            affinity={"nodeAffinity": {required: {"nodeSelectorTerms": [{"matchExpressions": [red]}]}}},
        ),
        ground.for_stand_in("beside-red", affinity={"podAffinity": {required: [beside]}}),
        *(
            ground.for_stand_in(name, labels={"apart": "yes"}, affinity={"podAntiAffinity": {required: [apart]}})
            for name in ("apart-1", "apart-2", "apart-3")
        ),
    )
    _judge([
        *_is(found, "red", node="a"),
        *_is(found, "beside-red", node="a"),
        *_one_of(found, ("apart-1", "apart-2", "apart-3"), {"a", "b"}, "anti-affinity"),
    ])  # fmt: skip
    return "pods go where their affinity to nodes and pods leads, and stay apart where they ask for it"


def requests(ground: Ground) -> str:
    """A node takes no more pods than their requests leave room for."""

    def asking(name: str, **resources: str) -> Any:
        return ground.for_stand_in(name, containers=[container(resources={"requests": resources})])

    found = _decided(
        ground,
        ground.stand_in("a", cpu="1", memory="1Gi"),
        asking("cpu-1", cpu="700m"),
        asking("cpu-2", cpu="700m"),
        asking("memory", memory="2Gi"),
    )
    _judge([
        *_one_of(found, ("cpu-1", "cpu-2"), {"a"}, "Insufficient cpu"),
        *_is(found, "memory", refused="Insufficient memory"),
    ])  # fmt: skip
    return "a node of one processor takes one pod that asks for 0.7, and none that asks for more memory than it has"
