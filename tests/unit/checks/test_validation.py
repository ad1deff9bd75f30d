"""How long validation waits for what follows by itself."""

import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

from kubeup.checks import validation
from kubeup.checks.validation import CheckFailed, names_resolve


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
        probe=lambda *_: answers,
        on_every_node=lambda ask: ask("n1"),
    )
    began = time.monotonic()
    with pytest.raises(CheckFailed, match="does not resolve"):
        names_resolve(proof)
    assert (time.monotonic() - began > 0.9) == (waits > 0.9)
