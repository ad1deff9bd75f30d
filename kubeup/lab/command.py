"""Running programs on this machine: as root where that is needed, and the docker client.

The lab drives Docker through its command line and not through an SDK: the client finds the engine as the user's own
shell does (contexts, DOCKER_HOST), costs no dependency, and every error can be reproduced by pasting the command.
"""

import functools
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence

from kubeup.errors import LabError

Say = Callable[[str], None]
"""Takes one line of progress, without a newline."""

PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
"""The user's, and the sbin folders: `su` and many a user's own settings leave them out."""


def which(program: str) -> str | None:
    """Return where ``program`` is, also when it lies in an sbin folder that the user's PATH lacks; None if nowhere."""
    return shutil.which(program, path=PATH)


def as_root(*command: str) -> list[str]:
    """Return ``command`` as root can run it from here: unchanged for root, else through sudo, which may ask."""
    if os.geteuid() == 0:
        return list(command)
    if which("sudo") is None:
        raise LabError(f"{command[0]} must run as root: become root, or install sudo")
    return ["sudo", *command]


def run(*command: str, stdin: str = "", check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return what it printed.

    ``stdin`` is written to it; ``timeout`` is in seconds. Raises LabError with the command, exit code and output
    when the program is missing, takes too long or, with ``check``, exits with anything but 0.
    """
    shown = shlex.join(command)
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, errors="replace", timeout=timeout, check=False,
            env={**os.environ, "PATH": PATH},
        )  # fmt: skip
    except FileNotFoundError as error:
        raise LabError(f"{command[0]}: no such program") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{shown}: not finished after {timeout:.0f} s") from error
    if check and done.returncode:
        raise LabError(f"{shown}: exit code {done.returncode}\n{tail(done.stderr or done.stdout)}")
    return done


def tail(text: str, lines: int = 15) -> str:
    """Return the last ``lines`` lines of ``text``, indented, for the end of an error message."""
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-lines:])


@functools.cache
def docker_command() -> tuple[str, ...]:
    """Return how the docker client is called here: through sudo for a user who may not open the engine's socket."""
    refused = os.geteuid() != 0 and "permission denied" in run("docker", "version", check=False).stderr.lower()
    return tuple(as_root("docker")) if refused else ("docker",)


def docker(*arguments: str, stdin: str = "", check: bool = True, timeout: float = 300) -> str:
    """Run the docker client and return its standard output, stripped. Raises as `run` does."""
    return run(*docker_command(), *arguments, stdin=stdin, check=check, timeout=timeout).stdout.strip()


def docker_lines(*arguments: str) -> Sequence[str]:
    """Run the docker client and return the lines it printed; none when it printed nothing."""
    return docker(*arguments).splitlines()
