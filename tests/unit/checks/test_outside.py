"""The API's address for clients outside: whether it can be had, and whether it leads there."""

import socket
from ipaddress import IPv4Interface
from typing import Any

import pytest

from kubeup.checks.outside import KEEPALIVED, answers_outside, preflight_outside
from kubeup.errors import PreflightError
from kubeup.host.difference import Change, Item
from kubeup.host.reading import Entry, Reading
from kubeup.host.session import Output

VIP = "10.0.0.100"


class Network:
    """A session whose hosts answer what they are told to."""

    def __init__(self, answers: dict[str, Output] | None = None, owner: str = "") -> None:
        self.answers = answers or {}
        self.owner = owner
        self.asked: list[str] = []

    def shell(self, node: str, script: str, *arguments: str, timeout: float = 60) -> Output:
        self.asked.append(node)
        return self.answers.get(node, Output(self.owner, "", 0))

    def side_by_side(self, names: Any, function: Any) -> dict[str, Any]:
        return {name: function(name) for name in names}


def found(
    world: Any, network: Any, api: Any, *, holds: str = "", set_up: bool = False, changed: bool = False
) -> list[str]:
    """What is said of three masters. ``holds``: the node that has the address; ``set_up``: whether keepalived is."""
    cluster = world.cluster("ai ai ai", api=api)
    readings, changes = {}, {}
    for node in cluster.nodes:
        more = (("eth0", IPv4Interface(f"{VIP}/32")),) if node.name == holds else ()
        reading = Reading(world.host(node, addresses=(("eth0", IPv4Interface(f"{node.address}/24")), *more)))
        if set_up:
            reading.record[KEEPALIVED] = Entry("want", "digest -", "absent")
        readings[node.name] = reading
        changes[node.name] = Change(node.name, [Item("change", KEEPALIVED, "")] if changed or not set_up else [])
    try:
        preflight_outside(cluster, readings, changes, network)
    except PreflightError as error:
        return [f"{problem.where}: {problem.what}" for problem in error.problems]
    return []


def test_an_address_that_nobody_answers_for(world: Any) -> None:
    network = Network()
    assert found(world, network, {"address": VIP}) == []
    assert network.asked == ["n1"]


def test_an_address_that_is_somebodys(world: Any) -> None:
    (problem,) = found(world, Network(owner="02:42:0a:4f:00:01\n"), {"address": VIP})
    assert problem == (
        f"n1: api's address {VIP} is already somebody's: 02:42:0a:4f:00:01 answers for it in this host's network"
    )


def test_an_address_that_is_a_hosts_own(world: Any) -> None:
    assert found(world, Network(), {"address": VIP}, holds="n2") == [
        f"n2: api's address {VIP} is one of this host's own"
    ]


@pytest.mark.parametrize(
    ("holds", "changed"), [("n2", False), ("n2", True), ("", False)], ids=["it is up", "it changes", "nobody has it"]
)
def test_the_address_that_kubeup_set_up(world: Any, holds: str, changed: bool) -> None:
    network = Network(owner="02:42:0a:4f:00:01")
    assert found(world, network, {"address": VIP}, holds=holds, set_up=True, changed=changed) == []
    assert network.asked == []


def test_another_address_than_before_is_looked_at(world: Any) -> None:
    assert found(world, Network(owner="02:42:0a:4f:00:01"), {"address": VIP}, set_up=True, changed=True)


def test_a_balancer_whose_name_nobody_knows(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def resolve(host: str, port: object) -> list[object]:
        asked.append(host)
        if host == "gone.example.com":
            raise OSError("no such name")
        return []

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert found(world, Network(), {"balancer": "lb.example.com:443"}) == []
    (problem,) = found(world, Network(), {"balancer": "gone.example.com"})
    assert "api's balancer gone.example.com cannot be found from this machine: no such name" in problem
    assert asked == ["lb.example.com", "gone.example.com"]


def test_without_either_nothing_is_asked(world: Any) -> None:
    network = Network()
    assert found(world, network, {}) == []
    assert network.asked == []


SILENT = Output("Unable to connect", "", 1)
ANSWERS = Output("", "", 0)


@pytest.mark.parametrize(
    ("api", "answers", "ok"),
    [
        ({"address": VIP}, (ANSWERS, ANSWERS, ANSWERS), True),
        ({"address": VIP}, (ANSWERS, SILENT, ANSWERS), False),
        ({"balancer": "lb"}, (SILENT, ANSWERS, SILENT), True),  # it may not lead a host back to itself
        ({"balancer": "lb"}, (SILENT, SILENT, SILENT), False),
    ],
)
def test_whether_it_leads_there(world: Any, api: Any, answers: tuple[Output, ...], ok: bool) -> None:
    cluster = world.cluster("ai ai ai i", api=api)
    network: Any = Network(dict(zip(("n1", "n2", "n3"), answers, strict=True)))
    wrong = answers_outside(cluster, network)
    assert (wrong == "") is ok
    assert ok or "n2: Unable to connect" in wrong
    assert network.asked == ["n1", "n2", "n3"]
