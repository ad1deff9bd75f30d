"""Labs whose owner is gone: what a run that was killed left behind.

An owner is a process, written "PID-START@NAMESPACE.BOOT": the start time tells it from a later process of the same
number, the rest says where that number means anything. Two CI jobs in containers of their own may share one Docker
engine, and must not take each other's labs for leftovers.
"""

import os
from pathlib import Path

from kubeup.lab.command import Say
from kubeup.lab.hosts import destroy, labs

_PROC = Path("/proc")


def this_process() -> str:
    """Return this process as the owner of a lab."""
    return owner(os.getpid())


def owner(pid: int) -> str:
    """Return the process ``pid`` as the owner of a lab; "" when there is none."""
    running = _running(pid)
    return f"{running}@{_here()}" if running else ""


def sweep(say: Say) -> None:
    """Destroy every lab whose owner no longer runs. Labs without an owner (a user's own) are never touched.

    Nor are those that somebody wants to have a look at (`Lab.keep`).
    """
    for lab in labs():
        if lab.owner and is_gone(lab.owner) and not lab.kept:
            say(f"lab {lab.name}: its owner is gone, removing it")
            destroy(lab.name)


def is_gone(who: str) -> bool:
    """Whether this owner runs no more. One whose number cannot be looked up from here counts as running."""
    process, at, where = who.partition("@")
    namespace, _, boot = where.partition(".")
    here, _, this_boot = _here().partition(".")
    if at and boot != this_boot:
        return True  # the machine was rebooted since
    if at and namespace != here:
        return False
    return process != _running(int(process.partition("-")[0]))


def _running(pid: int) -> str:
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and parentheses
    if fields[0] == "Z":
        return ""  # dead, only not yet buried; where no init reaps, forever
    return f"{pid}-{fields[19]}"  # the 22nd of proc(5): start time in clock ticks after boot


def _here() -> str:
    """The namespace in which numbers of processes are looked up, and the boot of the machine; "." where unknown."""
    try:
        namespace = os.readlink(_PROC / "self/ns/pid").strip("pid:[]")
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        return "."
    return f"{namespace}.{boot}"
