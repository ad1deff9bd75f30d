"""One kubeup at a time on a cluster: its masters are held while one works on it.

What holds a master is a process there at the other end of an SSH channel, so it cannot outlive its kubeup for long: it
ends with the connection, or when no sign of life has come for a while.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import time
from collections.abc import Iterable
from importlib.resources import files
from typing import TYPE_CHECKING

import gevent

from kubeup.errors import BusyError, KubeupError
from kubeup.host.shell import privileged
from kubeup.host.transfer import BROKEN, broke

if TYPE_CHECKING:
    from paramiko import Channel, SSHClient

SCRIPT = files("kubeup.host").joinpath("lock.sh").read_text()

BEAT = 5
"""Seconds between signs of life."""

DEAD = 60
"""Seconds without one after which a host is given back. Long enough for a kubeup that is busy with hashing, or whose
machine is. One that was stopped for longer (Ctrl-Z) has lost its hosts, and sees so before it begins its next phase."""

_ANSWER = 30  # seconds


def refuse_busy(host: str, line: str) -> None:
    """Raise BusyError when a host has answered this because another kubeup holds it."""
    word, *rest = line.split("\t")
    if word == "busy" and len(rest) == 2:
        seconds, who = rest
        raise BusyError(host, who or "another kubeup", int(seconds))


class Lock:
    """Holds hosts, from ``acquire`` to ``release``."""

    def __init__(self, job: str) -> None:
        """``job`` is the command, which others are told."""
        self._process = f" by {getpass.getuser()} on {socket.gethostname()} (process {os.getpid()})"
        self._who = job + self._process
        self._channels: dict[str, Channel] = {}
        self._beating: gevent.Greenlet | None = None

    @property
    def held(self) -> list[str]:
        """The hosts that are held now."""
        return [name for name, channel in self._channels.items() if not channel.exit_status_ready()]

    def acquire(self, clients: Iterable[tuple[str, SSHClient]]) -> dict[str, str]:
        """Hold these hosts, and return a mark of each one's record.

        One after another: side by side, two kubeups could keep each other out.

        Those that this process holds already, by this lock or by another, stay held, and have no mark. Raises
        BusyError when another process holds one; then none is held by this lock.
        """
        marks = {}
        for name, client in clients:
            if name in self.held:
                continue
            try:
                marks[name] = self._acquire(name, client)
            except BusyError as error:
                if not error.who.endswith(self._process):
                    self.release()
                    raise
            except KubeupError:
                self.release()
                raise
        self._beating = self._beating or gevent.spawn(self._beat)
        return marks

    def _acquire(self, name: str, client: SSHClient) -> str:
        transport = client.get_transport()
        if transport is None:
            raise KubeupError(f"{name}: the SSH connection is closed")
        try:
            channel = transport.open_session(timeout=_ANSWER)
            channel.settimeout(_ANSWER)
            channel.exec_command(privileged(SCRIPT, self._who, str(DEAD), name="kubeup-lock").get_raw_value())
            line = str(channel.makefile("r").readline()).strip()
        except TimeoutError:
            line = ""
        except BROKEN as error:
            raise KubeupError(f"{name}: {broke(error)}") from error
        word, _, mark = line.partition("\t")
        if word == "held":
            self._channels[name] = channel
            return mark
        _close(channel)
        refuse_busy(name, line)
        raise KubeupError(f"{name}: the host could not be locked for this kubeup (no answer)")

    def _beat(self) -> None:
        while True:
            gevent.sleep(BEAT)
            for name in self.held:
                try:
                    self._channels[name].sendall(b".")
                except BROKEN:
                    _close(self._channels[name])

    def check(self) -> None:
        """Raises KubeupError when no host is held any more: another kubeup may be at work then."""
        if self._channels and not self.held:
            names = ", ".join(self._channels)
            raise KubeupError(
                f"this kubeup no longer holds {names}: the connections broke, or it was stopped for a minute. "
                "Another may be at work now; run the same command again to go on"
            )

    def release(self) -> None:
        """Give the hosts back."""
        if self._beating is not None:
            self._beating.kill()
            self._beating = None
        for channel in self._channels.values():
            try:
                channel.shutdown_write()
            except BROKEN:
                continue  # it is broken: the host notices by itself
        deadline = time.monotonic() + BEAT
        for channel in self._channels.values():
            # Until its file is gone; another command of this user may follow at once.
            while not channel.exit_status_ready() and time.monotonic() < deadline:
                gevent.sleep(0.01)
            _close(channel)
        self._channels.clear()


def _close(channel: Channel) -> None:
    """Close a channel, whatever has become of its connection."""
    with contextlib.suppress(*BROKEN):
        channel.close()
