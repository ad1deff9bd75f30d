"""What a person sees while kubeup works: live lines on a terminal, plain ones elsewhere, and a summary."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text


@dataclass
class _Line:
    phase: str
    host: str
    started: float
    seconds: float | None = None
    changed: int = 0
    failed: bool = False


@dataclass
class Display:
    """Shows a session's events (it is an Observer of kubeup.host.session) on stderr, so that stdout is for results."""

    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False, soft_wrap=True))
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds that each phase took, in the order in which they ran."""
    changed: int = 0
    """How many things were changed on all hosts."""
    _lines: list[_Line] = field(default_factory=list)
    _live: Live | None = None
    _begun: float = field(default_factory=time.monotonic)

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._live = Live(get_renderable=self._render, console=self.console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        """A line between the others."""
        self.console.print(Text(text))

    def phase_started(self, title: str) -> None:
        self.phases.setdefault(title, 0.0)

    def host_started(self, title: str, host: str) -> None:
        self._lines.append(_Line(title, host, time.monotonic()))

    def host_done(self, title: str, host: str, seconds: float, changed: int, failed: bool) -> None:
        line = next(line for line in self._lines if (line.phase, line.host) == (title, host) and line.seconds is None)
        self._lines.remove(line)
        line.seconds, line.changed, line.failed = seconds, changed, failed
        if not failed:
            self.changed += changed
        self.console.print(self._row(line))

    def phase_done(self, title: str, seconds: float) -> None:
        self.phases[title] = self.phases.get(title, 0.0) + seconds
        if seconds < 0.01:
            del self.phases[title]

    def checked(self, name: str, ok: bool, detail: str) -> None:
        mark = Text("ok", "green") if ok else Text("FAILED", "red")
        self.console.print(Text.assemble(f"{self._clock()}  {'Validation':<14} {name:<20} ", mark, f"  {detail}"))

    def summary(self) -> None:
        """What each phase took."""
        if self.phases:
            times = ", ".join(f"{title} {seconds:.1f} s" for title, seconds in self.phases.items())
            self.say(f"{times}; {time.monotonic() - self._begun:.1f} s in all")

    def _clock(self) -> str:
        return f"{time.monotonic() - self._begun:6.1f} s"

    def _row(self, line: _Line) -> Text:
        if line.seconds is None:
            state = Text(f"{time.monotonic() - line.started:5.1f} s …")
        elif line.failed:
            state = Text("failed", "red")
        else:
            changed = f"  {line.changed} changed" if line.changed else ""
            state = Text(f"{line.seconds:5.1f} s{changed}", "green")
        return Text.assemble(f"{self._clock()}  {line.phase:<14} {line.host:<20} ", state)

    def _render(self) -> Table:
        table = Table.grid()
        for line in self._lines:
            table.add_row(self._row(line))
        return table


def plain_stdout(text: str) -> None:
    """Results, as they are, on stdout."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    sys.stdout.flush()


def age(taken: str) -> str:
    """How long ago that was, in the largest unit that fits: "3 days"."""
    seconds = max(0, int((datetime.now(UTC) - datetime.fromisoformat(taken)).total_seconds()))
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}{'' if seconds // size == 1 else 's'}"
    return f"{seconds} s"
