"""Labs whose owner is gone: what a test run that was killed left behind.

An owner is a process of this machine, written "PID-START": the start time tells it from a later process of the same
number.
"""

import os
from pathlib import Path

from kubeup.lab.command import Say
from kubeup.lab.hosts import destroy, labs


def this_process() -> str:
    """Return this process as the owner of a lab."""
    return _owner(os.getpid())


def sweep(say: Say) -> None:
    """Destroy every lab whose owner no longer runs. Labs without an owner (a user's own) are never touched."""
    for lab in labs():
        if lab.owner and lab.owner != _owner(int(lab.owner.partition("-")[0])):
            say(f"lab {lab.name}: its owner is gone, removing it")
            destroy(lab.name)


def _owner(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and parentheses
    if fields[0] == "Z":
        return ""  # dead, only not yet buried; where no init reaps, forever
    return f"{pid}-{fields[19]}"  # the 22nd of proc(5): start time in clock ticks after boot
