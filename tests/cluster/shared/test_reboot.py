"""A host that is switched off and on again is a node again, by itself."""

import json

import pytest

from kubeup.lab.command import docker

from ..support import eventually
from .conftest import Shared, add_foreign_rules


def _ready(cluster: Shared, name: str, boot: str) -> bool:
    """Whether the node is Ready and says so since that boot of its host."""
    node = json.loads(cluster.kubectl("get", "node", name, "-o", "json", check=False) or '{"status": {}}')["status"]
    return node.get("nodeInfo", {}).get("bootID") is not None and any(
        c["type"] == "Ready" and c["status"] == "True" and c["lastHeartbeatTime"] > boot
        for c in node.get("conditions", [])
    )


@pytest.mark.parametrize("which", ["worker", "master"])
def test_rebooted_host_is_ready_again(cluster: Shared, which: str) -> None:
    name = cluster.workers[-1] if which == "worker" else cluster.master
    cluster.lab.reboot(name)
    booted = docker("inspect", "--format", "{{.State.StartedAt}}", f"kubeup-lab-{name}")
    add_foreign_rules(cluster.lab, name)  # as whoever made them would at boot; test_zz_destroy looks for them
    assert eventually(lambda: _ready(cluster, name, booted), 60)
    # What runs at boot once (images, addons) may still run; then nothing differs, and all works.
    assert eventually(lambda: cluster.kubeup("plan", code=None).code == 0, 60), cluster.differences()
    if which == "master":  # which is rebooted last
        cluster.kubeup("validate")
