"""How long validation waits for what follows by itself."""

import json
import os
import subprocess
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kubeup.checks import validation
from kubeup.checks.validation import CheckFailed, names_resolve
from kubeup.errors import KubeupError
from kubeup.host.session import Output


@pytest.mark.parametrize(
    ("known", "follows", "waits"),
    [
        ({}, 0.0, 1.0),
        ({"web.ns.svc.cluster.local": "10.1.1.1"}, 0.0, 1.0),
        ({"kubernetes.default": "192.168.3.1"}, 0.0, 0.0),
        ({"kubernetes.default": "192.168.3.1"}, 1.0, 1.0),
    ],
    ids=["CoreDNS does not run", "it knows another cluster", "not the new Service", "not yet, after a restart"],
)
def test_names_are_waited_for_as_long_as_they_may_take(
    world: Any, monkeypatch: Any, known: dict[str, str], follows: float, waits: float
) -> None:
    monkeypatch.setattr(validation, "NAMES_ANSWER", 1.0)
    began = time.monotonic()
    answers = [
        {"body": json.dumps({"addresses": [known[name]] if name in known else [], "error": "" if known else "refused"})}
        for name in ("kubernetes.default", "web.ns.svc.cluster.local")
    ]
    proof: Any = SimpleNamespace(
        cluster=world.cluster(),
        namespace="ns",
        service="10.1.1.1",
        pods={"n1": "10.0.0.1"},
        pod=lambda node: f"ns/on-{node}",
        web_service="svc/ns/web:8001",
        probe=lambda *_: answers,
        on_every_node=lambda ask: ask("n1"),
        waits=lambda since: time.monotonic() - since < follows,
    )
    with pytest.raises(CheckFailed, match="does not resolve") as failed:
        names_resolve(proof)
    assert failed.value.way == ("ns/on-n1", "svc/ns/web:8001")
    assert (time.monotonic() - began > 0.9) == (waits > 0.9)


@pytest.mark.parametrize(
    ("passed", "young", "waits"),
    [(5, False, True), (11, False, False), (11, True, True), (74, True, True), (76, True, False)],
)
def test_who_watches_the_api_gets_more_time_after_a_restart(world: Any, passed: int, young: bool, waits: bool) -> None:
    asked: list[str] = []

    def shell(name: str, script: str, *arguments: str) -> Output:
        asked.append(name)
        return Output("", "", 0 if young and name == "n2" else 1)

    session: Any = SimpleNamespace(
        shell=shell, side_by_side=lambda names, function: {name: function(name) for name in names}
    )
    proof = validation.Proof(world.cluster("ai i"), session, cast(Any, None), "ns")
    assert [proof.waits(time.monotonic() - passed) for _ in range(2)] == [waits, waits]
    assert asked == ([] if passed < 10 else ["n1", "n2"])  # once, and only where it counts


@pytest.mark.parametrize(("started", "young"), [("995000000", True), ("100000000", False), ("0", False), ("", False)])
def test_what_has_not_run_for_long(tmp_path: Path, started: str, young: bool) -> None:
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\necho {started}\necho\necho 0\n")
    (tmp_path / "systemctl").chmod(0o755)
    (tmp_path / "uptime").write_text("1000.5 900.0\n")
    script = validation._RESTARTED.replace("/proc/uptime", str(tmp_path / "uptime"))
    done = subprocess.run(
        ["sh", "-c", script, "sh", "180"], env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    )
    assert (done.returncode == 0) is young


def test_pods_of_a_new_node_are_waited_for(world: Any) -> None:
    """flanneld on the others takes its time after a restart of the API."""
    asked: list[str] = []

    def probe(node: str, *_: str) -> list[dict[str, Any]]:
        asked.append(node)
        status = 200 if len(asked) > 4 else 502
        return [{"body": json.dumps({"status": status, "error": ""})}]

    def proof(follows: bool) -> Any:
        return SimpleNamespace(
            cluster=world.cluster("ai i"),
            pods={"n1": "10.0.0.1", "n2": "10.0.0.2"},
            pod=lambda node: f"ns/on-{node}",
            probe=probe,
            on_every_node=lambda ask: [ask("n1"), ask("n2")],
            waits=lambda since: follows,
        )

    assert validation.pods_reach_pods(proof(True)) == "pods of 2 nodes reach one another"
    asked.clear()
    with pytest.raises(CheckFailed, match="does not reach the pod on n2"):
        validation.pods_reach_pods(proof(False))


def test_a_failure_with_a_way_is_explained(monkeypatch: Any) -> None:
    walked: list[tuple[str, ...]] = []
    monkeypatch.setattr(validation, "trace", lambda cluster, session, *way: walked.append(way))
    monkeypatch.setattr(validation, "in_short", lambda walk: "; the cable is out")
    proof: Any = SimpleNamespace(cluster=None, session=None)

    def fails(way: tuple[str, str] | None) -> str:
        raise CheckFailed("no answer", way)

    explain = partial(validation._explained, proof)
    told = validation.result_of("a", lambda: fails(("n1", "n2")), None, explain)
    assert (told.ok, told.detail) == (False, "no answer; the cable is out")
    assert validation.result_of("a", lambda: fails(None), None, explain).detail == "no answer"
    assert validation.result_of("a", lambda: "well", None, explain).detail == "well"
    assert walked == [("n1", "n2")]


def test_an_explanation_that_fails_leaves_the_failure_as_it_is(monkeypatch: Any) -> None:
    def refuse(*_: Any) -> None:
        raise KubeupError("the API does not answer")

    monkeypatch.setattr(validation, "trace", refuse)
    proof: Any = SimpleNamespace(cluster=None, session=None)
    assert validation._explained(proof, CheckFailed("no answer", ("n1", "n2"))) == ""
