"""One kubeup at a time on a cluster: its masters are held while one works on it.

What holds a master is a process there at the other end of an SSH channel, so it cannot outlive its kubeup for long: it
ends with the connection, or when no sign of life has come for a while.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from importlib.resources import files
from typing import TYPE_CHECKING

import gevent

from kubeup.errors import BusyError, KubeupError
from kubeup.host.shell import privileged

if TYPE_CHECKING:
    from paramiko import Channel, SSHClient

SCRIPT = files("kubeup.host").joinpath("lock.sh").read_text()

BEAT = 5
"""Seconds between signs of life."""

DEAD = 60
"""Seconds without one after which a host is given back. Long enough for a kubeup that is stopped for a while (Ctrl-Z
is not for a while), or busy with hashing; it looks before each phase whether it still holds the hosts."""

_ANSWER = 30  # seconds


def refuse_busy(host: str, line: str) -> None:
    """Raise BusyError when a host has answered this because another kubeup holds it."""
    word, *rest = line.split("\t")
    if word == "busy" and len(rest) == 2:
        seconds, who = rest
        raise BusyError(host, who or "another kubeup", int(seconds))


class Lock:
    """Holds hosts, from ``acquire`` to ``release``."""

    def __init__(self, who: str) -> None:
        """``who`` is what others are told: a command, a user and a machine."""
        self._who = who
        self._channels: dict[str, Channel] = {}
        self._beating: gevent.Greenlet | None = None

    @property
    def held(self) -> list[str]:
        """The hosts that are held now."""
        return [name for name, channel in self._channels.items() if not channel.exit_status_ready()]

    def acquire(self, clients: Iterable[tuple[str, SSHClient]]) -> dict[str, str]:
        """Hold these hosts, and return a mark of each one's record.

        One after another: side by side, two kubeups could keep each other out.

        Raises BusyError when another holds one of them; then none is held.
        """
        marks = {}
        for name, client in clients:
            try:
                marks[name] = self._acquire(name, client)
            except KubeupError:
                self.release()
                raise
        self._beating = gevent.spawn(self._beat)
        return marks

    def _acquire(self, name: str, client: SSHClient) -> str:
        transport = client.get_transport()
        if transport is None:
            raise KubeupError(f"{name}: the SSH connection is closed")
        channel = transport.open_session(timeout=_ANSWER)
        channel.settimeout(_ANSWER)
        channel.exec_command(privileged(SCRIPT, self._who, str(DEAD), name="kubeup-lock").get_raw_value())
        try:
            line = str(channel.makefile("r").readline()).strip()
        except TimeoutError:
            line = ""
        word, _, mark = line.partition("\t")
        if word == "held":
            self._channels[name] = channel
            return mark
        channel.close()
        refuse_busy(name, line)
        raise KubeupError(f"{name}: the host could not be locked for this kubeup (no answer)")

    def _beat(self) -> None:
        while True:
            gevent.sleep(BEAT)
            for name in self.held:
                try:
                    self._channels[name].sendall(b".")
                except OSError:
                    self._channels[name].close()

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
            except OSError:
                continue  # it is broken: the host notices by itself
        deadline = time.monotonic() + BEAT
        for channel in self._channels.values():
            # Until its file is gone; another command of this user may follow at once.
            while not channel.exit_status_ready() and time.monotonic() < deadline:
                gevent.sleep(0.01)
            channel.close()
        self._channels.clear()
