"""What the tests of this folder share: the command as a user types it, and a cluster on a lab's hosts."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kubeup.lab import Lab

CHECKOUT = Path(__file__).parents[2]
KUBEUP = str(Path(sys.executable).with_name("kubeup"))
PROBE_IMAGE = "kubeup.local/probe:1.1.0"

OK, FAILED, USAGE, DIFFERENT, INTERRUPTED = 0, 1, 2, 3, 130
"""The exit codes of kubeup."""


@dataclass(frozen=True)
class Done:
    """What a command printed and how it ended. ``code`` is negative where a signal ended it."""

    command: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float

    @property
    def text(self) -> str:
        """All that it printed."""
        return self.out + self.err

    def json(self) -> Any:
        return json.loads(self.out)

    def __str__(self) -> str:
        return f"{' '.join(self.command)}: exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def environment(more: Mapping[str, str | None]) -> dict[str, str]:
    """This process's environment with ``more``; None takes a variable away."""
    merged = {**os.environ, "COLUMNS": "200", **more}
    return {name: value for name, value in merged.items() if value is not None}


class Running:
    """A command that runs; ``kill`` and ``interrupt`` it, or ``wait`` for it."""

    def __init__(self, *command: str, env: Mapping[str, str | None] | None = None, cwd: Path | None = None) -> None:
        self.command = command
        self.started = time.monotonic()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(env or {}),
            cwd=cwd,
        )

    def after(self, seconds: float) -> "Running":
        """Return when it has run for so long, or has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, self.started + seconds - time.monotonic()))
        return self

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def signal(self, number: signal.Signals) -> Done:
        """Send it a signal, and wait for its end."""
        self.send(number)
        return self.wait(30)

    def wait(self, timeout: float) -> Done:
        """What it did, once it has ended; it is killed after ``timeout`` seconds, and TimeoutExpired is raised."""
        try:
            out, err = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise
        return Done(self.command, self._process.returncode, out, err, time.monotonic() - self.started)


def kubeup(
    *arguments: str,
    inventory: Path | None = None,
    code: int | None = OK,
    env: Mapping[str, str | None] | None = None,
    cwd: Path | None = None,
    timeout: float = 300,
) -> Done:
    """Run ``kubeup``, and return what it did.

    ``code`` is the exit code that it must end with, None for any. Whatever it does, it never shows a traceback.
    """
    done = starting(*arguments, inventory=inventory, env=env, cwd=cwd).wait(timeout)
    assert code is None or done.code == code, done
    assert "Traceback" not in done.text, done
    return done


def starting(
    *arguments: str, inventory: Path | None = None, env: Mapping[str, str | None] | None = None, cwd: Path | None = None
) -> Running:
    """Start ``kubeup``, and return at once."""
    which = ["-i", str(inventory)] if inventory else []
    return Running(KUBEUP, *which, *arguments, env=env, cwd=cwd)


@dataclass
class Deployed:
    """A cluster on a lab's hosts, as its admin sees it, with what the commands printed that made it."""

    lab: Lab
    story: dict[str, Done] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return [node.name for node in self.lab.nodes]

    @property
    def master(self) -> str:
        return next(node.name for node in self.lab.nodes if "a" in node.role)

    @property
    def workers(self) -> list[str]:
        return [name for name in self.names if name != self.master]

    def address(self, name: str) -> str:
        return self.lab.node(name).address

    def kubeup(self, *arguments: str, code: int | None = OK, **options: Any) -> Done:
        return kubeup(*arguments, inventory=self.lab.inventory, code=code, **options)

    def on(self, name: str, script: str, *arguments: str, check: bool = True) -> str:
        """Run a shell script as root on a host, past kubeup and SSH; its standard output."""
        return self.lab.exec(name, "sh", "-c", script, "sh", *arguments, check=check, timeout=60)

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        """Run kubectl on the first master."""
        command = ("kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", "--cache-dir", "/run/test-kubectl")
        return self.lab.exec(self.master, *command, *arguments, stdin=stdin, check=check)

    def differences(self) -> dict[str, list[tuple[str, str, str]]]:
        """What `kubeup plan` shows, by host: action, kind and name of each; hosts without a difference are left out."""
        plan = self.kubeup("plan", "--json", code=None)
        found = {
            host: [(item["action"], item["kind"], item["name"]) for item in items]
            for host, items in plan.json().items()
        }
        found = {host: items for host, items in found.items() if items}
        assert plan.code == (DIFFERENT if found else OK), plan
        return found

    def starts(self, name: str) -> dict[str, str]:
        """When each unit that kubeup placed on a host was last started, by name: the process and the time."""
        script = (
            "systemctl show -p Id,MainPID,ExecMainStartTimestampMonotonic,ActiveEnterTimestampMonotonic "
            "$(awk -F'\\t' '$1==\"unit\" {print $2}' /var/lib/kubeup/record | sort -u)"
        )
        blocks = [
            dict(line.split("=", 1) for line in block.splitlines()) for block in self.on(name, script).split("\n\n")
        ]
        return {
            b["Id"]: f"{b['MainPID']} {b['ExecMainStartTimestampMonotonic']}"
            if "MainPID" in b
            else b["ActiveEnterTimestampMonotonic"]  # a timer has no process
            for b in blocks
        }

    def restarted(self, name: str, before: Mapping[str, str]) -> set[str]:
        """The units on a host that were started since ``before`` was taken by `starts`."""
        now = self.starts(name)
        return {unit for unit in now if now[unit] != before.get(unit)}

    def leftovers_of_validation(self) -> list[str]:
        """Namespaces of validation that are there and are not being removed."""
        items = json.loads(self.kubectl("get", "namespaces", "-o", "json"))["items"]
        return [
            item["metadata"]["name"]
            for item in items
            if item["metadata"]["name"].startswith("kubeup-validation-") and "deletionTimestamp" not in item["metadata"]
        ]


def deployment(name: str, replicas: int, pod: str, namespace: str = "default") -> str:
    """The manifest of a Deployment whose pods have the label app=NAME; ``pod``: the fields of their spec, as YAML."""
    labels = {"app": name}
    return json.dumps(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": yaml.safe_load(pod)},
            },
        }
    )


def eventually(look: Any, seconds: float = 30, every: float = 0.3) -> Any:
    """Call ``look`` until what it returns is true, and return that; after so many seconds whatever it returns."""
    deadline = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(every)
    return found


def lines_of(text: str) -> Iterable[str]:
    return (line.strip() for line in text.splitlines() if line.strip())
