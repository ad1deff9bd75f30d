"""How long validation waits for what follows by itself."""

import json
import time
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from kubeup.checks import validation
from kubeup.checks.validation import CheckFailed, names_resolve
from kubeup.errors import KubeupError


@pytest.mark.parametrize(
    ("known", "waits"),
    [({}, 0.1), ({"web.ns.svc.cluster.local": "10.1.1.1"}, 0.1), ({"kubernetes.default": "192.168.3.1"}, 1.0)],
    ids=["CoreDNS does not run", "it knows another cluster", "it has not seen the new Service yet"],
)
def test_only_a_new_service_is_waited_for(world: Any, monkeypatch: Any, known: dict[str, str], waits: float) -> None:
    monkeypatch.setattr(validation, "NAMES_ANSWER", 0.1)
    monkeypatch.setattr(validation, "NAMES_FOLLOW", 1.0)
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
    )
    began = time.monotonic()
    with pytest.raises(CheckFailed, match="does not resolve") as failed:
        names_resolve(proof)
    assert failed.value.way == ("ns/on-n1", "svc/ns/web:8001")
    assert (time.monotonic() - began > 0.9) == (waits > 0.9)


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
