"""A tutorial as a test: its files are written, its commands run, and what they print compared with what it shows.

In the Markdown a file is a fenced block whose first line is a comment with its name (``# web.yaml``), and a command a
line of a ``console`` block that begins with ``$``; what follows up to the next is its output. Names, addresses and
times that differ from run to run are made the same on both sides before they are compared, and so is the order of
lines. With KUBEUP_WRITE_TUTORIAL set, what the commands print is written into the file instead.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

WRITE = "KUBEUP_WRITE_TUTORIAL"
_END = "--- end of output, exit code "

# What differs from run to run, and what stands for it. Applied in this order.
_VOLATILE = (
    (r"\b\d+\.\d+\.\d+\.\d+\b", "ADDRESS"),
    (r"\b[0-9a-f]{8,10}-[bcdfghjklmnpqrstvwxz2456789]{5}\b", "POD"),  # of a ReplicaSet's pod
    (r"(?<=-)[bcdfghjklmnpqrstvwxz2456789]{5}\b", "POD"),  # of a ReplicationController's
    (r"\b3\d{4}(?=/TCP)", "PORT"),
    (r"\b(?:\d+[dhms])+\b(?: ago)?", "AGE"),
    (r"\b(?:[a-z][-a-z0-9]*)-[1-9]\b", "NODE"),
    (r"(?<= )\d+(?=   ?\s*\(AGE)", "0"),  # restarts
    (r"[ \t]+", " "),
)


@dataclass(frozen=True)
class Step:
    """A file to write (``name``, ``text``), or a command (``text``) and what it shall print. ``line`` counts from 1."""

    line: int
    text: str
    name: str = ""
    output: str = ""
    end: int = 0
    """The line after its last."""


def steps(markdown: str) -> Iterator[Step]:
    """What a tutorial tells its reader to do, in order."""
    lines = markdown.splitlines()
    at = 0
    while at < len(lines):
        fence = re.fullmatch(r"```(\w+)", lines[at])
        at += 1
        if not fence:
            continue
        end = lines.index("```", at)
        block = lines[at:end]
        if fence[1] == "console":
            yield from _commands(block, at)
        elif block and (named := re.fullmatch(r"# ([\w.-]+\.\w+)", block[0])):
            yield Step(at + 1, "\n".join(block[1:]) + "\n", named[1])
        at = end + 1


def _commands(block: list[str], at: int) -> Iterator[Step]:
    starts = [i for i, line in enumerate(block) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts[1:], len(block)], strict=True):
        last = start
        while block[last].endswith("\\"):
            last += 1
        text = "\n".join(block[start : last + 1]).removeprefix("$ ")
        yield Step(at + start + 1, text, output="\n".join(block[last + 1 : end]), end=at + end)


def stable(output: str) -> list[str]:
    """What of an output is the same in every run."""
    for pattern, word in _VOLATILE:
        output = re.sub(pattern, word, output)
    return sorted(line.strip() for line in output.splitlines() if line.strip())


class Shell:
    """A bash that keeps its variables between commands."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env={**os.environ, **env},
        )

    def run(self, command: str) -> tuple[str, int]:
        """What a command prints on both outputs, and its exit code."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f'{command}\nprintf "\\n%s%s\\n" "{_END}" $?\n')
        self._process.stdin.flush()
        printed: list[str] = []
        for line in self._process.stdout:
            if line.startswith(_END):
                return "".join(printed).rstrip("\n"), int(line.removeprefix(_END))
            printed.append(line)
        raise AssertionError(f"the shell ended at: {command}\n{''.join(printed)}")

    def close(self) -> None:
        self._process.communicate(timeout=30)


def follow(path: Path, folder: Path, env: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Do what the tutorial says, in ``folder``. Every command must succeed and print what is shown."""
    text = path.read_text()
    lines = text.splitlines()
    new: list[tuple[Step, str]] = []
    shell = Shell(folder, env)
    try:
        for step in steps(text):
            if step.name:
                (folder / step.name).write_text(step.text)
                continue
            started = time.monotonic()
            output, code = shell.run(step.text)
            say(f"{time.monotonic() - started:5.1f} s  $ {step.text.splitlines()[0]}")
            assert code == 0, f"{path.name}:{step.line}: exit code {code} from {step.text}\n{output}"
            new.append((step, output))
            if not os.environ.get(WRITE):
                assert stable(output) == stable(step.output), (
                    f"{path.name}:{step.line}: {step.text}\n--- shown\n{step.output}\n--- printed\n{output}"
                )
    finally:
        shell.close()
    if os.environ.get(WRITE):
        for step, output in reversed(new):
            head = step.line - 1 + len(step.text.splitlines())
            lines[head : step.end] = [line.rstrip() for line in output.splitlines()]
        path.write_text("\n".join(lines) + "\n")
