"""`kubeup trace` on a cluster that works, and on one that is broken in a few ways (test_trace_faults.py: all)."""

from collections.abc import Iterator

import pytest

from ..faults import FAULTS, OUTSIDE, QUICK, Fault, Way
from ..support import OK, USAGE
from .conftest import Shared


@pytest.fixture(scope="module")
def way(cluster: Shared) -> Iterator[Way]:
    """A client and what it asks, in the shared cluster."""
    way = Way(cluster)
    way.set_up()
    yield way
    way.take_down()


@pytest.mark.parametrize(
    ("client", "target"),
    [
        ("pod", "svc/web:http"),
        ("node", "svc/web:8001"),
        (OUTSIDE, "nodeport:30080"),
        ("node", "svc/default/kubernetes"),
    ],
)
def test_healthy_ways_are_whole(way: Way, client: str, target: str) -> None:
    found = way.trace(client, target, code=OK).json()
    assert found["ok"]
    assert found["findings"] == []
    assert found["arrives"] is (None if client == OUTSIDE else True)


def test_the_way_is_drawn_with_what_is_really_there(way: Way) -> None:
    cluster = way.cluster
    text = cluster.kubeup("trace", way.client, "svc/web:8001").out
    assert text.index("DNS") < text.index("Service") < text.index("EndpointSlice") < text.index("proxy chain")
    chain = cluster.on(way.client_node, way.variables() + 'echo "$NAME_SVC"').strip()
    assert f"KUBE-SERVICES → {chain} → KUBE-SEP-" in text
    assert "dev flannel.1" in text
    assert text.endswith("The way is whole, and it answers.\n")


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.id in QUICK], ids=lambda fault: fault.id)
def test_fault_is_named_and_mended(way: Way, fault: Fault) -> None:
    way.shows(fault)


def test_end_that_is_not_there_is_refused_with_what_there_is(way: Way) -> None:
    assert "Services there: kubernetes, sick, web" in way.cluster.kubeup("trace", way.client, "svc/wbe", code=USAGE).err
