"""What `kubeup status` says of several masters, and of hosts that do not answer."""

import json
from typing import Any

from kubeup.cli import status
from kubeup.cli.status import as_text, gather
from kubeup.deploy.run import Run
from kubeup.host.session import Output


def node(name: str, role: str = "ai", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "role": role,
        "address": "10.0.0.1",
        "ready": "Ready",
        "differences": 0,
        "units": {"etcd": {"state": "active", "version": "3.6.8"}},
        "certificates": {},
        "components": 1,
        **more,
    }


def silent(name: str, role: str = "ai") -> dict[str, Any]:
    return node(name, role, ready="NotReady", differences=None, units={}, unreachable="no route to host")


def facts(nodes: list[dict[str, Any]], holder: str = "", reachable: int = 3) -> dict[str, Any]:
    masters = [n for n in nodes if "a" in n["role"]]
    return {
        "cluster": "demo",
        "api": "https://10.0.0.100:6443",
        "dns": "192.168.3.10",
        "masters": [
            {"name": n["name"], "ready": "unreachable" not in n, "has_address": n["name"] == holder} for n in masters
        ],
        "etcd": {"members": len(masters), "reachable": reachable, "unhealthy": {}},
        "nodes": nodes,
        "not_in_the_inventory": [],
        "snapshots": {},
    }


def test_which_masters_are_ready_and_which_has_the_address() -> None:
    text = as_text(facts([node("n1"), node("n2"), node("n3"), node("n4", "i")], holder="n2"))
    assert text.splitlines()[1] == "masters: n1, n2, n3 ready, the address on n2"


def test_one_master_is_not_worth_a_line() -> None:
    assert "masters:" not in as_text(facts([node("n1"), node("n2", "i")], reachable=1))


def test_a_host_that_does_not_answer() -> None:
    text = as_text(facts([node("n1"), silent("n2"), node("n3")], holder="n1", reachable=2))
    assert "masters: n1, n3 ready, n2 not, the address on n1" in text
    (line,) = [line for line in text.splitlines() if line.startswith("n2 ")]
    assert line.endswith("NotReady  cannot be reached: no route to host")
    assert "the API is down" not in text


def test_fewer_than_the_quorum() -> None:
    text = as_text(facts([node("n1"), silent("n2"), silent("n3")], reachable=1))
    assert "Only 1 of etcd's 3 members can be reached, and it needs 2: the API is down until another is back." in text


def test_an_etcd_that_is_not_ours_has_no_quorum_to_look_at() -> None:
    many = facts([node("n1"), node("n2")])
    many["etcd"] = {"members": 0, "reachable": 0, "unhealthy": {}}
    assert "the API is down" not in as_text(many)


def test_a_member_that_is_not_healthy_is_named() -> None:
    many = facts([node("n1"), node("n2"), node("n3")])
    assert "healthy" not in as_text(many)
    many["etcd"]["unhealthy"] = {"n3": "context deadline exceeded"}
    said = "etcd: 2 of 3 members are healthy; n3 is not (context deadline exceeded) (see kubeup etcd status)"
    assert said in as_text(many).splitlines()


def test_what_hangs_is_asked_side_by_side(world: Any, monkeypatch: Any) -> None:
    """Every master is asked, and none of it waits for the rest: of a dead one it would be the sum of all limits."""
    cluster = world.cluster("ai ai ai")
    nodes = [
        {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        for name in ("n2", "n3", "old")
    ]
    together: list[list[str]] = []

    class Session:
        before_change = None

        def side_by_side(self, names: Any, function: Any) -> dict[str, Any]:
            together.append(list(names))
            return {name: function(name) for name in together[-1]}

        def shell(self, name: str, script: str, timeout: float = 60) -> Output:
            assert timeout <= 10 or "find " in script
            return Output(json.dumps({"items": nodes}), "", 0) if name == "n3" else Output("", "no answer", None)

    run = Run(cluster, Session(), scope=frozenset({"n2", "n3"}))  # type: ignore[arg-type]
    monkeypatch.setattr(status, "_unhealthy", lambda run: {})
    monkeypatch.setattr(status, "_certificates", lambda run: {})
    monkeypatch.setattr(status, "_node", lambda run, name, ready, certificates: ready.get(name))
    run.readings = {name: world.holding({}, world.facts) for name in ("n2", "n3")}
    found = gather(run)
    assert together[:2] == [["masters", "unhealthy", "certificates", "snapshots"], ["n2", "n3"]]
    assert [master["ready"] for master in found["masters"]] == [False, False, True]
    assert (found["nodes"][1:], found["nodes"][0]["ready"]) == (["True", "True"], "unknown")
    assert found["not_in_the_inventory"] == ["old"]
