"""Bytes to and from a command on a host, on an SSH channel that does not exist."""

from collections.abc import Iterator
from typing import Any, cast

import gevent
import pytest
from gevent.queue import Queue
from paramiko import SSHClient

from kubeup.host.shell import privileged
from kubeup.host.transfer import exchange


class Channel:
    """What a command does: it answers each piece with itself, unless told otherwise."""

    def __init__(self, code: int = 0, breaks_after: int | None = None, silent: bool = False) -> None:
        self.code, self.breaks_after, self.silent = code, breaks_after, silent
        self.out: Queue[bytes] = Queue()
        self.sent = 0
        self.closed = False

    def settimeout(self, seconds: float) -> None:
        self.timeout = seconds

    def exec_command(self, command: str) -> None:
        self.command = command

    def sendall(self, data: bytes) -> None:
        gevent.sleep(0)
        if self.breaks_after is not None and self.sent >= self.breaks_after:
            self.shutdown_write()
            raise OSError("Socket is closed")
        self.sent += 1
        self.out.put(data)

    def shutdown_write(self) -> None:
        if not self.silent:
            self.out.put(b"")

    def recv(self, _: int) -> bytes:
        try:
            return cast(bytes, self.out.get(timeout=self.timeout))
        except gevent.queue.Empty:
            raise TimeoutError from None

    def recv_stderr(self, _: int) -> bytes:
        return b""

    def recv_exit_status(self) -> int:
        return self.code

    def close(self) -> None:
        self.closed = True
        self.out.put(b"")

    # What an SSHClient has.
    def get_transport(self) -> Any:
        return self

    def open_session(self) -> Any:
        return self


def run(channel: Channel, source: Any = (), sink: Any = None, timeout: float = 5) -> tuple[str, str, int]:
    return exchange(cast(SSHClient, channel), privileged("cat"), source, sink, timeout)


def test_what_is_printed_is_handed_on_as_it_comes_or_returned() -> None:
    got: list[bytes] = []
    assert run(Channel(), [b"a", b"\xff"], got.append) == ("", "", 0)
    assert got == [b"a", b"\xff"]
    assert run(Channel(3), [b"text"]) == ("text", "", 3)


def test_what_the_sink_raises_is_raised_and_the_command_cut_off() -> None:
    def full(_: bytes) -> None:
        raise OSError("no space left")

    channel = Channel(silent=True)
    with pytest.raises(OSError, match="no space left"):
        run(channel, [b"a"], full)
    assert channel.closed


def test_what_the_source_raises_is_raised() -> None:
    def damaged() -> Iterator[bytes]:
        yield b"a"
        raise ValueError("damaged")

    channel = Channel()
    with pytest.raises(ValueError, match="damaged"):
        run(channel, damaged())
    assert channel.closed


def test_a_command_that_ends_early_says_why_itself() -> None:
    assert run(Channel(1, breaks_after=1), [b"a", b"b", b"c"]) == ("a", "", 1)


def test_a_command_that_says_nothing_is_given_up() -> None:
    with pytest.raises(TimeoutError):
        run(Channel(silent=True), [], timeout=0.05)
