"""The script that holds a host, tried here on a file of its own."""

import contextlib
import io
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from kubeup.errors import BusyError, KubeupError
from kubeup.host.lock import SCRIPT, Lock, refuse_busy


class Holder:
    """A kubeup-lock at work; its standard input is what an SSH channel is on a host."""

    def __init__(self, file: Path, who: str, dead: int = 60) -> None:
        script = SCRIPT.replace("/run/kubeup.lock", str(file))
        command = ["sh", "-c", script, "kubeup-lock", who, str(dead)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout
        self.said = self.process.stdout.readline().decode().rstrip("\n")

    def beat(self) -> None:
        assert self.process.stdin
        self.process.stdin.write(b".")
        self.process.stdin.flush()

    def ended(self) -> int:
        """Its exit code, once its connection has ended."""
        self.process.communicate(timeout=10)
        return self.process.returncode


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[..., Holder]]:
    holders: list[Holder] = []

    def hold(*arguments: object, **options: object) -> Holder:
        holders.append(Holder(tmp_path / "kubeup.lock", *arguments, **options))  # type: ignore[arg-type]
        return holders[-1]

    yield hold
    for holder in holders:
        with contextlib.suppress(ValueError, BrokenPipeError):
            holder.ended()


def test_one_at_a_time(hold: Any, tmp_path: Path) -> None:
    first = hold("kubeup up by me")
    second = hold("kubeup destroy by another")
    assert first.said.startswith("held\t")
    with pytest.raises(BusyError, match=r"kubeup up by me \(seen on node-1\)"):
        refuse_busy("node-1", second.said)
    assert second.ended() == 75
    assert first.ended() == 0
    assert not (tmp_path / "kubeup.lock").exists()
    assert hold("kubeup up by me").said.startswith("held\t")


def test_a_hold_ends_with_its_connection_and_with_silence(hold: Any) -> None:
    silent = hold("one that hangs", dead=1)
    alive = time.monotonic()
    while time.monotonic() < alive + 1.5:  # signs of life keep it
        silent.beat()
        time.sleep(0.2)
    assert hold("another").said.startswith("busy\t")
    assert silent.process.wait(10) == 0
    assert hold("another").said.startswith("held\t")


def test_a_file_that_was_left_holds_nobody(hold: Any, tmp_path: Path) -> None:
    (tmp_path / "kubeup.lock").write_text("1\tone that was killed\n")
    assert hold("another").said.startswith("held\t")


def test_other_answers_are_no_refusal() -> None:
    refuse_busy("node-1", "fact\tos\tdebian")


class Gone:
    """An SSH client, and its channel, whose connection is gone, which paramiko has not noticed yet."""

    def __init__(self, breaks: bool = True) -> None:
        self.breaks = breaks

    def get_transport(self) -> Any:
        return self

    def open_session(self, timeout: float) -> Any:
        return self

    def exec_command(self, command: str) -> None:
        self._breaks()

    def makefile(self, mode: str) -> Any:
        return io.StringIO("held\tmark\n")

    def exit_status_ready(self) -> bool:
        return False

    def settimeout(self, seconds: float) -> None: ...

    def shutdown_write(self) -> None:
        self._breaks()

    def close(self) -> None:
        self._breaks()

    def _breaks(self) -> None:
        if self.breaks:
            raise EOFError


def test_a_connection_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not hide what ended the job, nor end it in paramiko's words."""
    lock, client = Lock("a job"), Gone(breaks=False)
    assert lock.acquire([("node-1", cast(Any, client))]) == {"node-1": "mark"}
    client.breaks = True
    monkeypatch.setattr("kubeup.host.lock.BEAT", 0)
    lock.release()
    assert lock.held == []
    with pytest.raises(KubeupError, match="node-1: the connection broke: the other side closed it"):
        lock.acquire([("node-1", cast(Any, client))])
