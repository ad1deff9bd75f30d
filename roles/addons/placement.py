"""Where an addon's pods may run: on the nodes that have its images, whatever taints the inventory gives those."""

import json
from collections.abc import Sequence

from kubeup.cluster import CONTROL_PLANE, Node

ON_MASTERS = json.dumps({CONTROL_PLANE: ""})
"""The nodeSelector of pods that run on masters."""


def tolerations(nodes: Sequence[Node]) -> str:
    """The tolerations (as YAML) by which pods get onto these nodes. A cordoned node keeps them off all the same."""
    taints = dict.fromkeys(taint for node in nodes for taint in node.all_taints)
    return json.dumps(
        [
            {"key": "CriticalAddonsOnly", "operator": "Exists"},
            *({"key": t.key, "operator": "Equal", "value": t.value, "effect": t.effect} for t in taints),
        ]
    )
