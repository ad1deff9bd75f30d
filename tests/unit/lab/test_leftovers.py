from pathlib import Path

import pytest

from kubeup.lab import leftovers
from kubeup.lab.hosts import Lab


def test_only_labs_whose_owner_is_gone_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    alive = leftovers.this_process()
    pid = alive.partition("-")[0]
    owners = {"mine": "", "alive": alive, "same-pid": f"{pid}-1", "gone": "999999999-1"}
    monkeypatch.setattr(leftovers, "labs", lambda: [Lab(name, (), Path(), owner) for name, owner in owners.items()])
    destroyed: list[str] = []
    monkeypatch.setattr(leftovers, "destroy", destroyed.append)
    said: list[str] = []

    leftovers.sweep(said.append)

    assert destroyed == ["same-pid", "gone"]
    assert len(said) == 2
