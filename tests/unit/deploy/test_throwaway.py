import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kubeup.deploy import throwaway
from kubeup.deploy.throwaway import Wanted, run, wanted
from kubeup.errors import ComponentError, InventoryError, KubeupError, LabError
from kubeup.lab import Lab
from kubeup.observer import Silent


def quiet(line: str) -> None:
    """Takes lines of progress."""


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What was done, without any host: a cluster comes up and goes at once."""
    done: list[str] = []

    def up(name: str, *_: object, **__: object) -> Lab:
        done.append("up")
        return Lab(name, (), tmp_path)

    monkeypatch.setattr(throwaway, "bring_up", up)
    monkeypatch.setattr(throwaway, "destroy", lambda name: done.append("destroy"))
    monkeypatch.setattr(throwaway, "_tools", lambda kind: tmp_path)
    return done


def started(*command: str) -> int:
    return run(command, Wanted(["ai"]), Silent(), quiet, begin=lambda: None)


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137)])
def test_the_exit_code_is_the_commands(story: list[str], script: str, code: int) -> None:
    assert started("sh", "-c", script) == code
    assert story == ["up", "destroy"]


def test_the_command_finds_the_cluster(story: list[str], tmp_path: Path) -> None:
    script = 'printf "%s\\n" "$KUBECONFIG" "$KUBEUP_INVENTORY" "$KUBEUP_LAB" "$PATH" >"$0"'
    assert started("sh", "-c", script, str(tmp_path / "told")) == 0

    kubeconfig, inventory, lab, path = (tmp_path / "told").read_text().splitlines()
    assert kubeconfig == str(tmp_path / "kubeconfig")
    assert inventory == str(tmp_path / "cluster.yaml")
    assert lab.startswith("run-")
    assert path == f"{os.environ['PATH']}:{tmp_path}"  # a kubectl of the user's own goes first


def test_a_command_that_is_not_there_costs_no_cluster(story: list[str]) -> None:
    with pytest.raises(LabError, match="no-such-program: there is no such command"):
        started("no-such-program")
    assert story == []


def test_without_components_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEUP_CACHE", str(tmp_path))
    monkeypatch.setattr(throwaway, "bring_up", lambda *_, **__: pytest.fail("too late"))
    with pytest.raises(ComponentError, match="kubeup components fetch"):
        started("true")


def test_a_cluster_that_does_not_come_up_goes_too(story: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> Lab:
        raise KubeupError("no")

    monkeypatch.setattr(throwaway, "bring_up", fail)
    with pytest.raises(KubeupError, match="no"):
        started("true")
    assert story == ["destroy"]


def test_who_is_told_to_end_tells_the_command_and_still_cleans_up(story: list[str]) -> None:
    """As CI and `timeout` do it. What handled the signal before does so again afterwards."""
    before = signal.getsignal(signal.SIGTERM)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()

    assert started("sh", "-c", "trap 'exit 5' TERM; sleep 20 & wait") == 5
    assert story == ["up", "destroy"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_command_that_does_not_end_is_killed(story: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throwaway, "GRACE", 0.2)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()

    assert started("sh", "-c", "trap '' TERM; while :; do sleep 0.05; done") == 128 + signal.SIGKILL
    assert story == ["up", "destroy"]


UNDER_GEVENT = """
from gevent import monkey; monkey.patch_all()
import sys
from pathlib import Path
from kubeup.deploy import throwaway
from kubeup.lab import Lab
from kubeup.observer import Silent

throwaway.bring_up = lambda name, *_, **__: Lab(name, (), Path())
throwaway.destroy = lambda name: print("destroyed", flush=True)
throwaway._tools = lambda kind: Path()
script = "trap 'exit 5' TERM; echo begun; while :; do sleep 0.05; done"
sys.exit(throwaway.run(["sh", "-c", script], throwaway.Wanted(["ai"]), Silent(), lambda line: None, lambda: None))
"""


def test_signals_reach_the_command_in_the_way_that_kubeup_runs() -> None:
    """With gevent, whose loop is where this process waits."""
    with subprocess.Popen([sys.executable, "-c", UNDER_GEVENT], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "destroyed\n"
        assert process.wait(10) == 5


def test_who_is_told_to_end_before_the_command_begins_only_cleans_up(
    story: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throwaway, "bring_up", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        started("false")
    assert story == ["destroy"]


def test_a_name_that_cannot_be_is_refused_before_images_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throwaway, "ensure_engine", lambda **_: pytest.fail("that comes later"))
    with pytest.raises(LabError, match="lower-case"):
        throwaway.bring_up("No Name", Wanted(["ai"]), Silent(), quiet)


def test_what_cannot_be_is_refused_before_a_host_is_made(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="4 masters of 3 hosts"):
        wanted(3, 4, say=quiet)
    with pytest.raises(LabError, match="no network 'bridge'"):
        wanted(3, network="bridge", say=quiet)
    with pytest.raises(InventoryError, match=r"kubernetes 1\.2\.3 is not in kubeup's catalogue"):
        wanted(3, version="1.2.3", say=quiet)
    with pytest.raises(InventoryError, match="not a version"):
        wanted(3, version="newest", say=quiet)
    with pytest.raises(InventoryError, match="addon"):
        wanted(3, addons=["no-such-addon"], say=quiet)
    with pytest.raises(InventoryError, match="no such file"):
        wanted(3, like=tmp_path / "absent.yaml", say=quiet)


def test_the_version_and_the_shape_of_another_inventory(tmp_path: Path) -> None:
    path = tmp_path / "production.yaml"
    path.write_text("versions: {etcd: 3.6.7}\nnodes: [{ai: 10.0.0.1, labels: {disk: ssd}}, {i: 10.0.0.2}]\n")
    said: list[str] = []

    kind = wanted(3, like=path, version="1.35.4", say=said.append)

    assert kind.roles == ["ai", "i"]
    assert kind.versions == {"etcd": "3.6.7", "kubernetes": "1.35.4"}
    assert kind.more == [{"labels": {"disk": "ssd"}}, {}]
    assert "10.0.0.1" in said[0]
