from pathlib import Path

import pytest

from kubeup.lab import leftovers
from kubeup.lab.hosts import Lab


def test_only_labs_whose_owner_is_gone_are_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    alive = leftovers.this_process()
    pid, _, where = alive.partition("-")
    where = where.partition("@")[2]
    namespace, _, boot = where.partition(".")
    owners = {
        "mine": "",
        "alive": alive,
        "same-pid": f"{pid}-1@{where}",
        "gone": f"999999999-1@{where}",
        "other-container": f"999999999-1@1{namespace}.{boot}",
        "before-a-reboot": f"{alive.partition('@')[0]}@{namespace}.00000000",
        "older-kubeup": "999999999-1",
        "kept": f"999999999-1@{where}",
    }
    labs = [Lab(name, (), tmp_path / name, owner) for name, owner in owners.items()]
    for lab in labs:
        lab.folder.mkdir()
    labs[-1].keep()
    monkeypatch.setattr(leftovers, "labs", lambda: labs)
    destroyed: list[str] = []
    monkeypatch.setattr(leftovers, "destroy", destroyed.append)
    said: list[str] = []

    leftovers.sweep(said.append)

    assert destroyed == ["same-pid", "gone", "before-a-reboot", "older-kubeup"]
    assert len(said) == 4


def test_a_process_that_is_not_there_owns_nothing() -> None:
    assert leftovers.owner(999999999) == ""
