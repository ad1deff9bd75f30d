from pathlib import Path

import pytest

from kubeup.lab.engine import _stale_pid_files


@pytest.mark.parametrize(
    ("written", "stale"),
    [
        ("17", False),  # the engine's own process
        ("18", True),  # another program's, which got the number after a boot
        ("19", True),  # nobody's
        ("", True),  # the disk was full, or the power went
    ],
)
def test_a_pid_file_is_stale_unless_its_process_is_that_program(tmp_path: Path, written: str, stale: bool) -> None:
    for pid, program in (("17", "dockerd"), ("18", "sshd")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "comm").write_text(program + "\n")
    path = tmp_path / "docker.pid"
    path.write_text(written)
    files = {path: "dockerd", tmp_path / "missing.pid": "containerd"}
    assert _stale_pid_files(files, tmp_path) == ([path] if stale else [])
