"""The shell scripts that run on hosts, as far as they can be tried without one."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*(ROOT / "kubeup").glob("**/*.sh"), *(ROOT / "templates").glob("**/*.sh")])
SHELLS = [shell for shell in ("sh", "dash", "bash", "busybox") if shutil.which(shell)]
each_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))


def test_there_are_scripts() -> None:
    assert {"apply.sh", "read.sh", "receive.sh"} <= {path.name for path in SCRIPTS}


@each_script
@pytest.mark.parametrize("shell", SHELLS)
def test_shells_can_read_it(shell: str, script: Path) -> None:
    command = [shell, "sh", "-n", script] if shell == "busybox" else [shell, "-n", script]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@each_script
@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed here")
def test_shellcheck_finds_nothing(script: Path) -> None:
    command = ["shellcheck", "--shell=dash", "--severity=info", "--exclude=SC1091", script]  # files of hosts alone
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stdout == ""
