"""Everything kubeup raises on purpose, in one tree:

    KubeupError
     ├─ InventoryError      the inventory cannot be used; carries every problem found (exit code 2)
     ├─ ComponentError      a component could not be built, downloaded or verified
     ├─ LabError            a throwaway host could not be made or removed
     ├─ BackupError         a backup or a snapshot is damaged, or cannot be opened; nothing was changed
     ├─ BundleError         a bundle is damaged, altered, unsigned, or for other hosts; no host was touched
     ├─ PreflightError      hosts are not fit for the cluster; nothing was changed
     ├─ BusyError           another kubeup is at work on the cluster; nothing was changed
     ├─ HostsFailed         something failed on one or more hosts; carries a HostFailure for each
     ├─ UpgradeRefused      the cluster cannot be upgraded, or not go back; nothing was changed
     ├─ UpgradeError        an upgrade has stopped at a node; the same command goes on from there
     ├─ WalkRefused         an end of a way that shall be traced is not there (exit code 2)
     ├─ NodeError           a node could not be drained, or does not become ready; says what keeps it
     └─ ValidationError     the cluster runs, but a check of it failed

An error is written for the person at the terminal: what failed, where, and what to do.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass


class KubeupError(Exception):
    """Base of all errors that kubeup explains itself; its text is printed as it is, without a traceback.

    ``exit_code`` is what the command exits with.
    """

    exit_code = 1


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where (a file and line, or a host), what, and what to do about it."""

    where: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n    {self.remedy}" if self.remedy else text


class _Problems(KubeupError):
    """An error that carries every problem found, not the first alone."""

    heading = ""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join([self.heading, *(f"  {p}".replace("\n", "\n  ") for p in self.problems)]).strip())


class InventoryError(_Problems):
    """The inventory cannot be used. Nothing was connected to."""

    exit_code = 2
    heading = "The inventory cannot be used:"


class PreflightError(_Problems):
    """Hosts are not fit for the cluster. Nothing was changed on any host."""

    heading = "The hosts cannot take this cluster (nothing was changed):"


class UpgradeRefused(_Problems):
    """The cluster cannot be taken to other versions. Nothing was changed on any host."""

    heading = "The cluster cannot be taken to these versions (nothing was changed):"


class UpgradeError(KubeupError):
    """An upgrade has stopped at a node. What was done before it stands; the same command goes on from there."""


class BusyError(KubeupError):
    """Another kubeup is at work on the cluster. Nothing was changed by this one."""

    def __init__(self, host: str, who: str, seconds: int) -> None:
        """``seconds``: how long it has been at work."""
        self.who = who
        since = time.strftime("%H:%M:%S", time.localtime(time.time() - seconds))
        super().__init__(
            f"another kubeup is at work on this cluster, since {since} ({seconds} s ago): {who} (seen on {host}). "
            "Nothing was changed. Wait for its end; if it was killed, its hold ends with its connection, at the latest "
            "after a minute"
        )


class ComponentError(KubeupError):
    """A component could not be built, downloaded or verified."""


class BackupError(KubeupError):
    """A backup or a snapshot is damaged, or cannot be opened. Nothing was changed on any host."""


class BundleError(KubeupError):
    """A bundle is damaged, altered, unsigned, or for other hosts. No host was touched."""


class LabError(KubeupError):
    """A throwaway host could not be made or removed."""


class NodeError(KubeupError):
    """A node could not be drained, or does not become ready. Says what keeps it, and what to do."""


class WalkRefused(KubeupError):
    """An end of a way that shall be traced is not there, or cannot be understood. Says what there is."""

    exit_code = 2


class ValidationError(KubeupError):
    """The cluster runs, but a check of it failed."""


@dataclass(frozen=True)
class HostFailure:
    """What failed on one host.

    ``command`` is what was run, in words or as a command line (never with secrets in it), ``exit_code`` is None
    where the command did not end, ``output`` is the last of what it printed.
    """

    host: str
    command: str
    exit_code: int | None
    output: str
    remedy: str = ""

    def __str__(self) -> str:
        code = "did not finish" if self.exit_code is None else f"exit code {self.exit_code}"
        lines = [f"{self.host}: {self.command}: {code}"]
        lines += [f"    {line}" for line in self.output.strip().splitlines()[-25:]]
        if self.remedy:
            lines.append(f"    -> {self.remedy}")
        return "\n".join(lines)


class HostsFailed(KubeupError):
    """Something failed on one or more hosts. The other hosts' work stands; running again goes on from there."""

    def __init__(self, doing: str, failures: Sequence[HostFailure]) -> None:
        self.doing = doing
        self.failures = tuple(failures)
        hosts = ", ".join(f.host for f in self.failures)
        super().__init__(
            "\n".join([f"{doing} failed on {hosts}:", *(f"  {f}".replace("\n", "\n  ") for f in failures)])
        )
