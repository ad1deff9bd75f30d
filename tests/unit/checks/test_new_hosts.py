"""What new hosts lack, and what they may not share."""

from typing import Any

import pytest

from kubeup.checks.preflight import preflight
from kubeup.errors import PreflightError
from kubeup.host.difference import Change, Item
from kubeup.host.reading import Entry, Reading


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        ({"modules_missing": ("vxlan",)}, "has no vxlan"),
        ({"controllers": frozenset({"cpu", "pids"})}, "cgroup controllers memory are off"),
        ({"memory_kib": 300 * 1024}, "300 MiB of memory"),
    ],
)
def test_what_a_host_lacks(world: Any, facts: dict[str, Any], what: str) -> None:
    cluster = world.cluster("ai")
    readings = {"n1": Reading(world.host(cluster.nodes[0], **facts))}
    with pytest.raises(PreflightError, match=what):
        preflight(cluster, readings, {"n1": Change("n1")}, world.material())


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        ({"hostname": "vagrant"}, {"hostname": "vagrant"}, "n1, n2: have the same hostname, vagrant"),
        ({"machine_id": "ab"}, {"machine_id": "ab"}, "same machine-id"),
        ({"macs": (("eth0", "02:01"),)}, {"macs": (("eth1", "02:01"),)}, "same MAC address, 02:01"),
        ({"clock": 1_800_000_000}, {"clock": 1_800_000_090}, "n1: its clock is 90 s behind that of n2"),
    ],
)
def test_what_new_hosts_may_not_share(world: Any, first: dict[str, Any], second: dict[str, Any], what: str) -> None:
    cluster = world.cluster("ai i")
    facts = [world.host(node, **own) for node, own in zip(cluster.nodes, (first, second), strict=True)]
    readings = {node.name: Reading(own) for node, own in zip(cluster.nodes, facts, strict=True)}
    some = Item("add", ("file", "/x"), "is not there")
    changes = {name: Change(name, [some]) for name in readings}
    with pytest.raises(PreflightError, match=what):
        preflight(cluster, readings, changes, world.material())
    # Hosts that have it already were fit: nothing is said of them.
    for reading in readings.values():
        reading.record["cluster", "demo"] = Entry(world.trust.identity, "-", "-")
    preflight(cluster, readings, changes, world.material())
