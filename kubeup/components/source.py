"""Build components from source, with the Go toolchain that is installed.

One ``go build`` makes all programs of a component. What is compiled is pinned by the component's ``go.mod`` and
``go.sum``, which the build may not change, and the result depends on nothing else but the version of Go (and of the C
compiler and libraries, where cgo is needed): paths, times and the state of a checkout do not get into it.
"""

import os
import platform
import shlex
import shutil
import subprocess
from collections import deque
from collections.abc import Callable
from pathlib import Path

from kubeup.components.catalogue import Component, architecture
from kubeup.errors import ComponentError

# What is missing -> the packages to install: on Debian and Ubuntu, on CentOS and Rocky.
_PACKAGES = {
    "go": ("golang-go", "golang"),
    "gcc": ("gcc libc6-dev", "gcc glibc-static"),
    "pkg-config": ("pkg-config", "pkgconf-pkg-config"),
    "libseccomp": ("libseccomp-dev", "libseccomp-devel libseccomp-static"),
}

_LAST_LINES = 20  # of the build's output, in the error


class SourceProvider:
    """Builds with ``go``, which must be in PATH in the version that the component's go.mod asks for, or newer."""

    def provide(self, component: Component, arch: str, into: Path, log: Path, report: Callable[[str], None]) -> None:
        """Build the component's programs into the folder ``into``; see ``fetch.Provider``.

        Raises ComponentError when a tool is missing, and when the build fails with the end of its output.
        """
        _need_tools(component, arch)
        _run(command(component, into), component.module_dir, environment(component, arch), log, report)
        for program in component.programs:
            (into / program.built_name).rename(into / program.name)


def command(component: Component, into: Path) -> list[str]:
    """The command line that builds the component's programs into the folder ``into``."""
    return [
        "go",
        "build",
        "-mod=readonly",
        "-trimpath",
        "-buildvcs=false",  # else the state of kubeup's own checkout would be part of every program
        "-v",  # names each package as it is compiled: what is seen of a build that takes minutes
        *(["-tags", ",".join(component.tags)] if component.tags else []),
        "-ldflags",
        component.ldflags,
        "-o",
        f"{into}/",
        *(program.package for program in component.programs),
    ]


def environment(component: Component, arch: str) -> dict[str, str]:
    """The environment that it is built in: the user's, with what decides over the result."""
    return os.environ | {
        "CGO_ENABLED": "1" if component.cgo else "0",
        "GOOS": "linux",
        "GOARCH": arch,
        "GOAMD64": "v1",
        "GOARM64": "v8.0",
        "GOEXPERIMENT": "",
        "GOWORK": "off",  # a go.work above the cache or the checkout is not ours
    }


def _need_tools(component: Component, arch: str) -> None:
    """Raise ComponentError with all that the build would miss, and where it comes from."""
    host_arch = architecture(platform.machine())
    if component.cgo and arch != host_arch:
        raise ComponentError(
            f"{component.name} contains C code, so it cannot be built for {arch} on this {host_arch} machine\n"
            f"    -> build it on a machine that is {arch}, or download it (kubeup components fetch --release)"
        )
    tools = ["go", *(["gcc"] if component.cgo else []), *(["pkg-config"] if component.libraries else [])]
    missing = [tool for tool in tools if not shutil.which(tool)]
    if "pkg-config" in tools and "pkg-config" not in missing:
        missing += [library for library in component.libraries if not _has_library(library)]
    if missing:
        debian, rhel = (" ".join(names) for names in zip(*(_PACKAGES[tool] for tool in missing), strict=True))
        raise ComponentError(
            f"{component.name} {component.version} cannot be built: {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not installed\n"
            f"    -> Debian, Ubuntu: apt-get install {debian}\n"
            f"    -> CentOS, Rocky:  dnf install {rhel}"
            + ("\n    -> where that Go is older than go.mod asks for: https://go.dev/dl/" if "go" in missing else "")
        )


def _has_library(name: str) -> bool:
    return subprocess.run(["pkg-config", "--exists", name], check=False).returncode == 0


def _run(
    command: list[str], folder: Path, environment: dict[str, str], log: Path, report: Callable[[str], None]
) -> None:
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with (
        open(log, "w", encoding="utf-8") as file,
        subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        print(f"$ cd {folder}\n$ {shlex.join(command)}", file=file)
        try:
            for line in process.stdout or ():
                file.write(line)
                last.append(line.rstrip())
                report(line.strip())
        except BaseException:  # Ctrl-C: go itself would go on for minutes
            process.terminate()
            raise
    if process.returncode:
        raise ComponentError(
            "\n    ".join([f"exit code {process.returncode} from: {shlex.join(command)}", *last, f"-> the log: {log}"])
        )
