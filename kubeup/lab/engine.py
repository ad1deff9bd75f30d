"""A Docker engine on this machine: the one that runs, or one from the distribution."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from kubeup.errors import LabError
from kubeup.lab.command import Say, as_root, docker_command, run, tail, which

# Each systemd holds several inotify instances, and all hosts share the machine's: with the usual 128, the systemd of
# the ninth host or so dies at its start.
INOTIFY_INSTANCES = 8192
_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
_START_LIMIT = 60  # seconds; 1 to 2 are usual

# What an engine that was killed (or a machine that was switched off, or copied) leaves, and whose process that was.
# Where /run outlives a boot, its number may be another program's by now: dockerd then refuses to start, or waits for
# a containerd that is not there.
_PID_FILES = {Path("/run/docker.pid"): "dockerd", Path("/run/docker/containerd/containerd.pid"): "containerd"}


def ensure_engine(install: bool, say: Say) -> None:
    """See to it that a Docker engine answers and that the machine can carry hosts.

    Where no engine answers and ``install`` is true, installs the distribution's (Debian, Ubuntu) and starts it, by
    systemd or, where that is not this machine's init, by hand. Needs root or sudo for that. ``say`` is told of every
    change to the machine before it is made. Raises LabError, in one line that says what to do, where it cannot.
    """
    _ensure_programs(install, say)
    if not _answers():
        if not install:
            raise LabError("no Docker engine answers: start it (systemctl start docker), or use --install")
        _start(say)
    _raise_inotify(say)


def _ensure_programs(install: bool, say: Say) -> None:
    """See to it that a docker client, debootstrap and, where no engine answers, an engine are installed."""
    client = which("docker") is not None
    answers = client and _answers()
    # A client alone is not enough: there may be one (from a vendor, for a remote engine) where no engine ever was.
    packages = [] if answers or which("dockerd") else ["docker.io", "iptables"]
    packages += [] if which("debootstrap") else ["debootstrap"]
    if packages or not client:
        _apt_install(packages or ["docker.io"], install, say)
    if which("docker") is None:
        _apt_install(["docker-cli"], install, say)  # Debian 13 has the client in a package of its own


def _apt_install(packages: list[str], install: bool, say: Say) -> None:
    names = " ".join(packages)
    if not install:
        raise LabError(f"throwaway hosts need {names}: apt-get install {names}, or use --install")
    if which("apt-get") is None:
        raise LabError(f"throwaway hosts need {names}: install them (this machine has no apt-get)")
    say(f"installing {names} with apt-get")
    run(*as_root("apt-get", "update", "-q"), timeout=600)
    quiet = ("env", "DEBIAN_FRONTEND=noninteractive")
    run(*as_root(*quiet, "apt-get", "install", "-y", "-q", "--no-install-recommends", *packages), timeout=1200)


def _answers() -> bool:
    return run(*docker_command(), "version", "--format", "{{.Server.Version}}", check=False).returncode == 0


def _start(say: Say) -> None:
    docker_host = os.environ.get("DOCKER_HOST", "")
    if docker_host and not docker_host.startswith("unix:///var/run/docker.sock"):
        raise LabError(f"no Docker engine answers at DOCKER_HOST={docker_host}: start it, or unset DOCKER_HOST")
    if Path("/run/systemd/system").is_dir():  # as sd_booted(3) tells
        say("starting the Docker engine: systemctl start docker")
        run(*as_root("systemctl", "start", "docker"), timeout=_START_LIMIT)
        log = "journalctl -u docker"
    else:
        path = _cache_folder() / "dockerd.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        log = str(path)
        say(f"starting the Docker engine in the background, as no systemd runs here: dockerd, log in {log}")
        for stale in _stale_pid_files(_PID_FILES, Path("/proc")):
            say(f"removing {stale}, which an engine that was killed has left")
            run(*as_root("rm", "-f", str(stale)))
        # A session of its own: it shall outlive this command and its terminal, and hear no Ctrl-C.
        detached = 'setsid dockerd </dev/null >>"$1" 2>&1 &'
        run(*as_root("sh", "-c", detached, "start", log))
    deadline = time.monotonic() + _START_LIMIT
    docker_command.cache_clear()  # whether the socket may be opened can only be known now that there is one
    while not _answers():
        if time.monotonic() > deadline:
            last = tail(Path(log).read_text(errors="replace")) if Path(log).is_file() else f"    see {log}"
            raise LabError(f"the Docker engine does not answer {_START_LIMIT} s after its start:\n{last}")
        time.sleep(0.3)
        docker_command.cache_clear()


def _stale_pid_files(files: Mapping[Path, str], proc: Path) -> list[Path]:
    """Those of these files whose number is of no process, or of one with another name."""
    stale = []
    for path, program in files.items():
        try:
            pid = int(path.read_text())
        except FileNotFoundError:
            continue
        except (OSError, ValueError):  # root's alone, or cut off
            shown = run(*as_root("cat", str(path)), check=False).stdout.strip()
            pid = int(shown) if shown.isdigit() else 0
        try:
            alive = (proc / str(pid) / "comm").read_text().strip() == program
        except OSError:
            alive = False
        if not alive:
            stale.append(path)
    return stale


def _raise_inotify(say: Say) -> None:
    try:
        now = int(_INOTIFY.read_text())
    except OSError:
        return  # not Linux: the engine runs in a machine of its own
    if now >= INOTIFY_INSTANCES:
        return
    say(f"raising fs.inotify.max_user_instances from {now} to {INOTIFY_INSTANCES} until the next boot")
    done = run(*as_root("sysctl", "-qw", f"fs.inotify.max_user_instances={INOTIFY_INSTANCES}"), check=False)
    if done.returncode:
        say(f"  that is refused ({done.stderr.strip()}): more than eight hosts may not start")


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kubeup"
