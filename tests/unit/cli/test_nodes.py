"""add-node, remove-node and replace-node, up to where a host would be spoken to."""

import sys
from pathlib import Path
from typing import Any

import pytest

from kubeup.cli import app as cli
from kubeup.cli.display import Display
from kubeup.cli.nodes import _Confirm as Confirm

INVENTORY = "name: demo\nnodes:\n  - ai: 10.0.0.1\n  - i: 10.0.0.2\n"


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KUBEUP_INVENTORY", raising=False)
    path = tmp_path / "cluster.yaml"
    path.write_text(INVENTORY)
    return path


def run(monkeypatch: Any, capsys: Any, *arguments: str) -> tuple[int, str]:
    """(exit code, stderr) of the command."""
    monkeypatch.setattr(sys, "argv", ["kubeup", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert isinstance(caught.value.code, int)
    return caught.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["add-node", "--node", "ai=10.0.0.3"], 2, "2 masters: an even number"),
        (["add-node", "--node", "i=10.0.0.3", "--name", "a", "--name", "b"], 2, "2 times --name and 1 times --node"),
        (["add-node", "--node", "ai=10.0.0.2"], 2, "is there already, as i"),
        (["remove-node", "10.0.0.1"], 1, "without a master there is no cluster"),
        (["replace-node", "10.0.0.9", "--with", "10.0.0.3"], 1, "10.0.0.9 is not in the inventory"),
        (["replace-node", "10.0.0.1", "--with", "10.0.0.2"], 2, "is the host of the node 10.0.0.2"),
        (["replace-node", "10.0.0.1"], 2, "Missing option"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_connected_to(
    arguments: list[str], code: int, said: str, inventory: Path, monkeypatch: Any, capsys: Any
) -> None:
    before = inventory.read_text()
    monkeypatch.setattr("kubeup.host.session.Session.reach", lambda *_: pytest.fail("it connects"))
    exited, err = run(monkeypatch, capsys, *arguments)
    assert (exited, said in err) == (code, True), err
    assert inventory.read_text() == before


def test_a_new_host_that_cannot_be_reached_leaves_the_inventory_alone(
    inventory: Path, monkeypatch: Any, capsys: Any
) -> None:
    inventory.write_text("name: demo\nssh: {user: root}\nnodes:\n  - {ai: 127.0.0.2, port: 1, address: 10.0.0.1}\n")
    before = inventory.read_text()
    code, err = run(monkeypatch, capsys, "add-node", "--node", "i=127.0.0.3:1", "--address", "10.0.0.3")
    assert code == 1
    assert "connecting failed on 127.0.0.2, 127.0.0.3" in err
    assert "kubeup remove-node takes a dead one out" in err
    assert inventory.read_text() == before


def test_who_is_dead_is_asked_unless_it_was_said(monkeypatch: Any, capsys: Any) -> None:
    asked: list[str] = []
    monkeypatch.setattr("typer.confirm", lambda text, abort: asked.append(text))
    Confirm(Display(), yes=True)({"n1": "no route"})
    assert asked == []
    confirm = Confirm(Display(), yes=False)
    confirm.remind()
    assert "was not cleaned" not in capsys.readouterr().err
    confirm({"n1": "no route"})
    confirm.remind()
    err = capsys.readouterr().err
    assert len(asked) == 1
    assert "n1 cannot be reached, and its kubelet does not answer: no route" in err
    assert "The host of n1 was not cleaned." in err
