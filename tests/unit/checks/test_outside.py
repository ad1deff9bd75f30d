"""The API's address for clients outside: whether it can be had, and whether it leads there."""

import socket
from ipaddress import IPv4Interface
from typing import Any

import pytest

from kubeup.checks.outside import KEEPALIVED, SPEAKER, answers_outside, preflight_outside
from kubeup.errors import PreflightError
from kubeup.host.difference import Change, Item
from kubeup.host.reading import Entry, Reading
from kubeup.host.session import Output

VIP = "10.0.0.100"


class Network:
    """A session whose hosts answer what they are told to."""

    def __init__(
        self, answers: dict[str, Output] | None = None, owner: str = "", owns: tuple[str, ...] = (VIP,)
    ) -> None:
        self.answers = answers or {}
        self.owner = owner
        self.owns = owns
        self.asked: list[str] = []

    def shell(self, node: str, script: str, *arguments: str, timeout: float = 60) -> Output:
        self.asked.append(node)
        owned = "".join(f"{address} {self.owner}\n" for address in arguments if self.owner and address in self.owns)
        return self.answers.get(node, Output(owned, "", 0))

    def side_by_side(self, names: Any, function: Any) -> dict[str, Any]:
        return {name: function(name) for name in names}


def found(
    world: Any,
    network: Any,
    api: Any,
    *,
    holds: str = "",
    set_up: bool = False,
    changed: bool = False,
    addons: Any = None,
    announces: bool = False,
) -> list[str]:
    """What is said of three masters. ``holds``: the node that has the address; ``set_up``: whether keepalived is.

    ``announces``: whether MetalLB's speakers are there.
    """
    cluster = world.cluster("ai ai ai", api=api, addons=addons or {})
    readings, changes = {}, {}
    for node in cluster.nodes:
        more = (("eth0", IPv4Interface(f"{VIP}/32")),) if node.name == holds else ()
        macs = (("eth0", f"02:42:0a:4f:00:{node.name[1:]:>02}"),)
        reading = Reading(world.host(node, addresses=(("eth0", IPv4Interface(f"{node.address}/24")), *more), macs=macs))
        if set_up:
            reading.record[KEEPALIVED] = Entry("want", "digest -", "absent")
        if announces:
            reading.record[SPEAKER] = Entry("want", "-", "absent")
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
    (problem,) = found(world, Network(owner="02:42:0a:4f:00:01"), {"address": VIP})
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


def test_the_address_may_move_while_it_is_looked_for(world: Any) -> None:
    to_another_master = Network(owner="02:42:0a:4f:00:02")
    assert found(world, to_another_master, {"address": VIP}, set_up=True, changed=True) == []
    assert to_another_master.asked == ["n1"]
    assert len(found(world, Network(owner="02:42:0a:4f:00:77"), {"address": VIP}, set_up=True, changed=True)) == 1
    assert len(found(world, to_another_master, {"address": VIP})) == 1  # which has no keepalived of kubeup's


def test_another_address_than_before_is_looked_at(world: Any) -> None:
    assert found(world, Network(owner="02:42:0a:4f:00:77"), {"address": VIP}, set_up=True, changed=True)


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


INGRESS = {"ingress-vip": {"address": VIP, "nodes": ["n2", "n3"]}}
POOL = {"metallb": {"addresses": ["10.0.0.60-10.0.0.62", "10.0.0.100"]}}


def test_the_address_for_ingress_is_looked_at_from_its_nodes(world: Any) -> None:
    network = Network(owner="02:42:0a:4f:00:01")
    (problem,) = found(world, network, {}, addons=INGRESS)
    assert problem.startswith(f"n2: ingress's address {VIP} is already somebody's: 02:42:0a:4f:00:01 answers")
    assert network.asked == ["n2"]
    assert found(world, network, {}, addons=INGRESS, holds="n3", set_up=True, changed=True) == []


def test_all_addresses_are_told_at_once(world: Any) -> None:
    network = Network(owner="02:42:0a:4f:00:01", owns=(VIP, "10.0.0.101"))
    problems = found(world, network, {"address": "10.0.0.101"}, addons=INGRESS)
    assert [problem.split(" is already")[0] for problem in problems] == [
        "n1: api's address 10.0.0.101",
        f"n2: ingress's address {VIP}",
    ]


def test_addresses_of_the_pool_that_are_somebodys(world: Any) -> None:
    network = Network(owner="02:42:0a:4f:00:01", owns=("10.0.0.61",))
    problems = found(world, network, {}, addons=POOL, holds="n2")
    assert problems == [
        f"n2: metallb's address {VIP} is one of this host's own (eth0)",
        "n1: metallb's address 10.0.0.61 is already somebody's: 02:42:0a:4f:00:01 answers for it "
        "in this host's network",
    ]
    assert network.asked == ["n1"]


def test_a_pool_that_metallb_has_is_not_looked_at(world: Any) -> None:
    """Its addresses have owners: the nodes that answer for them."""
    network = Network(owner="02:42:0a:4f:00:01")
    assert found(world, network, {}, addons=POOL, announces=True) == []
    assert network.asked == []


def test_a_large_pool_is_looked_at_in_part(world: Any) -> None:
    asked: list[str] = []

    class Counting(Network):
        def shell(self, node: str, script: str, *arguments: str, timeout: float = 60) -> Output:
            asked.extend(arguments)
            return Output("", "", 0)

    assert found(world, Counting(), {}, addons={"metallb": {"addresses": ["10.9.0.0/16"]}}) == []
    assert len(asked) == 256


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
