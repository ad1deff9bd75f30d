"""Who is told what happens, to show it."""

from typing import Protocol


class Observer(Protocol):
    """Told of phases as they run, by host."""

    def say(self, text: str) -> None:
        """Something worth a line of its own."""

    def phase_started(self, title: str) -> None:
        """A phase begins."""

    def host_started(self, title: str, host: str) -> None:
        """A phase begins on a host that it will change."""

    def host_done(self, title: str, host: str, seconds: float, changed: int, failed: bool) -> None:
        """A phase has ended on a host, with so many things changed."""

    def phase_done(self, title: str, seconds: float) -> None:
        """A phase has ended on all hosts."""

    def checked(self, name: str, ok: bool, detail: str) -> None:
        """A check of the cluster has ended."""


class Silent:
    """An Observer that shows nothing."""

    def say(self, text: str) -> None: ...
    def phase_started(self, title: str) -> None: ...
    def host_started(self, title: str, host: str) -> None: ...
    def host_done(self, title: str, host: str, seconds: float, changed: int, failed: bool) -> None: ...
    def phase_done(self, title: str, seconds: float) -> None: ...
    def checked(self, name: str, ok: bool, detail: str) -> None: ...
