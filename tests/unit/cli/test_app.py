"""The command line, up to where a host would be spoken to."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from kubeup import __version__
from kubeup.bundle import new_key
from kubeup.cli import app as cli
from kubeup.cli import context
from kubeup.cluster import load
from kubeup.errors import HostFailure, HostsFailed

COMMANDS = (
    "init",
    "plan",
    "up",
    "validate",
    "status",
    "kubeconfig",
    "destroy",
    "components",
    "lab",
    "add-node",
    "remove-node",
    "replace-node",
)


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without an inventory, and no variable that names one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KUBEUP_INVENTORY", raising=False)


def run(monkeypatch: Any, capsys: Any, *arguments: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of the command."""
    monkeypatch.setattr(sys, "argv", ["kubeup", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    out, err = capsys.readouterr()
    code = caught.value.code
    assert isinstance(code, int)
    return code, out, err


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_names_all_commands(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0
    assert all(f" {command} " in result.stdout for command in COMMANDS)


def test_no_help_has_what_rich_takes_for_markup_and_leaves_out() -> None:
    def texts(command: Any) -> list[str]:
        own = [command.help or "", *(getattr(parameter, "help", None) or "" for parameter in command.params)]
        return own + [text for sub in getattr(command, "commands", {}).values() for text in texts(sub)]

    found = texts(typer.main.get_command(cli.app))
    assert len(found) > 50
    assert [text for text in found if re.search(r"\[[a-z#/@]", text)] == []


def test_the_installed_command_runs() -> None:
    result = subprocess.run([sys.executable, "-m", "kubeup", "--version"], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == (f"{__version__}\n", "")


def test_usage_errors_exit_with_2(monkeypatch: Any, capsys: Any) -> None:
    code, out, err = run(monkeypatch, capsys, "up", "--no-such-option")
    assert (code, out) == (2, "")
    assert "No such option" in err


@pytest.mark.parametrize("command", ["plan", "up", "validate", "status", "kubeconfig", "destroy"])
def test_a_bad_inventory_exits_with_2_and_says_where(monkeypatch: Any, capsys: Any, command: str) -> None:
    Path("cluster.yaml").write_text("name: demo\nnodes:\n  - x: 10.0.0.1\nservice_cidr: 10.0.0.0\ncolour: red\n")
    code, out, err = run(monkeypatch, capsys, command)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    for line in (3, 4, 5):
        assert f"cluster.yaml:{line}" in err


def test_no_inventory_exits_with_2(monkeypatch: Any, capsys: Any) -> None:
    code, _, err = run(monkeypatch, capsys, "plan")
    assert code == 2
    assert "cluster.yaml" in err


@pytest.mark.parametrize(
    ("option", "what"),
    [(["--packages-from", "n9"], "the inventory has no n9"), (["--packages", "gone"], "there is no folder gone")],
)
def test_where_packages_are_to_come_from_is_checked_before_anything_runs(
    monkeypatch: Any, capsys: Any, option: list[str], what: str
) -> None:
    Path("cluster.yaml").write_text("nodes:\n  - ai: 10.0.0.1\n")
    new_key(Path("bundle.key"), Path("bundle.pub"))
    monkeypatch.setattr("kubeup.host.session.Session.connect", lambda *_: pytest.fail("it ran"))
    code, out, err = run(monkeypatch, capsys, "bundle", "create", "-o", "b", "--key", "bundle.key", *option)
    assert (code, out) == (2, "")
    assert what in " ".join(err.replace("│", " ").split())


def test_a_bad_inventory_is_told_before_the_bundle_is_read(monkeypatch: Any, capsys: Any) -> None:
    Path("cluster.yaml").write_text("nodes:\n  - x: 10.0.0.1\n")
    code, _, err = run(monkeypatch, capsys, "up", "--bundle", "gone.kubeup", "--bundle-key", "bundle.pub")
    assert code == 2
    assert "cluster.yaml:2" in err
    Path("cluster.yaml").write_text("nodes:\n  - ai: 10.0.0.1\n")
    code, _, err = run(monkeypatch, capsys, "up", "--bundle", "gone.kubeup", "--bundle-key", "bundle.pub")
    assert (code, err) == (1, "there is no bundle gone.kubeup\n")


@pytest.mark.parametrize(
    ("more", "versions"),
    [
        (None, {"kubernetes": "1.36.3", "metallb": None}),
        ("versions: {kubernetes: 1.35.4}\n", {"kubernetes": "1.35.4", "etcd": "3.6.8", "metallb": None}),
        ("addons: {metallb: {addresses: [10.0.0.200]}}\n", {"kubernetes": "1.36.3", "metallb": "0.15.2"}),
    ],
)
def test_what_an_inventory_asks_for_is_fetched(
    monkeypatch: Any, capsys: Any, more: str | None, versions: dict[str, str | None]
) -> None:
    if more is not None:
        Path("cluster.yaml").write_text(f"nodes:\n  - ai: 10.0.0.1\n{more}")
    fetched: dict[str, str] = {}
    monkeypatch.setattr("kubeup.cli.components.provide", lambda store, wanted, *_: fetched.update(wanted))
    assert run(monkeypatch, capsys, "components", "fetch")[0] == 0
    assert {name: fetched.get(name) for name in versions} == versions
    assert "containerd" in fetched


def test_which_inventory(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(context._Given, "inventory", None)
    assert context.inventory_path(None) == Path("cluster.yaml")
    monkeypatch.setenv("KUBEUP_INVENTORY", "from-the-environment")
    assert context.inventory_path(None) == Path("from-the-environment")
    monkeypatch.setattr(context._Given, "inventory", Path("before-the-command"))
    assert context.inventory_path(None) == Path("before-the-command")
    assert context.inventory_path(Path("after-it")) == Path("after-it")


def test_init_writes_an_inventory_that_can_be_used(monkeypatch: Any, capsys: Any) -> None:
    arguments = ["init", "--name", "mine", "--node", "ai=me@10.0.0.1", "--node", "i=10.0.0.2:2222"]
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert (code, err) == (0, "")
    assert "cluster.yaml is written" in out
    cluster = load(Path("cluster.yaml"))
    assert (cluster.name, [node.role for node in cluster.nodes]) == ("mine", ["ai", "i"])

    before = Path("cluster.yaml").read_text()
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert (code, out) == (2, "")
    assert "cluster.yaml" in err
    assert Path("cluster.yaml").read_text() == before


def test_init_with_a_role_that_is_none(monkeypatch: Any, capsys: Any) -> None:
    code, _, err = run(monkeypatch, capsys, "init", "--node", "x=10.0.0.1")
    assert code == 2
    assert "unknown role 'x'" in err
    assert not Path("cluster.yaml").exists()


@pytest.mark.parametrize(
    ("file", "what"),
    [("no/such/x.xml", "there is no folder"), ("folder", "is a folder"), ("folder/file/x.xml", "there is no folder")],
)
@pytest.mark.parametrize(
    "command", [["validate", "--junit"], ["bundle", "create", "--key", "k", "-o"], ["backup"]], ids=" ".join
)
def test_what_cannot_be_written_is_told_before_anything_runs(
    monkeypatch: Any, capsys: Any, command: list[str], file: str, what: str
) -> None:
    Path("cluster.yaml").write_text("nodes:\n  - ai: 10.0.0.1\n")
    Path("folder").mkdir()
    Path("folder/file").touch()
    monkeypatch.setattr("kubeup.host.session.Session.connect", lambda *_: pytest.fail("it ran"))
    code, out, err = run(monkeypatch, capsys, *command, file)
    assert (code, out) == (2, "")
    assert what in " ".join(err.split())
    assert Path("folder/file").read_bytes() == b""


def test_what_hosts_failed_at_is_told_without_a_traceback(monkeypatch: Any, capsys: Any) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise HostsFailed("connecting", [HostFailure("n1", "ssh n1", None, "no route", "is the host up?")])

    Path("cluster.yaml").write_text("nodes:\n  - ai: 10.0.0.1\n")
    monkeypatch.setattr("kubeup.host.session.Session.connect", fail)
    code, out, err = run(monkeypatch, capsys, "plan")
    assert (code, out) == (1, "")
    assert err.startswith("connecting failed on n1:\n")
    assert "no route" in err
    assert "-> is the host up?" in err


@pytest.mark.parametrize(("command", "seconds"), [("status", 5), ("kubeconfig", 5), ("plan", 10)])
def test_a_dead_host_keeps_nobody_waiting_where_living_ones_are_enough(
    monkeypatch: Any, capsys: Any, command: str, seconds: int
) -> None:
    seen = []

    def reach(session: Any, nodes: Any = None) -> list[HostFailure]:
        seen.append(session._state.config.CONNECT_TIMEOUT)
        return [HostFailure("10.0.0.1", "ssh 10.0.0.1", None, "no route")]

    Path("cluster.yaml").write_text("nodes:\n  - ai: 10.0.0.1\n")
    monkeypatch.setattr("kubeup.host.session.Session.reach", reach)
    assert run(monkeypatch, capsys, command)[0] == 1
    assert seen == [seconds]


def test_ctrl_c_says_how_to_go_on(monkeypatch: Any, capsys: Any) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    Path("cluster.yaml").write_text("nodes:\n  - ai: 10.0.0.1\n")
    monkeypatch.setattr("kubeup.host.session.Session.connect", interrupt)
    code, _, err = run(monkeypatch, capsys, "up")
    assert code == 130
    assert "run the same command again" in err


def test_destroy_asks_first(monkeypatch: Any, capsys: Any) -> None:
    Path("cluster.yaml").write_text("nodes:\n  - ai: 10.0.0.1\n")
    monkeypatch.setattr("kubeup.host.session.Session.connect", lambda self: None)
    monkeypatch.setattr("kubeup.deploy.phases.execute", lambda *_: pytest.fail("it was destroyed"))
    result = CliRunner().invoke(cli.app, ["destroy"], input="n\n")
    assert result.exit_code == 1
    assert "Destroy the cluster kubeup on 10.0.0.1, with all its data?" in result.output
