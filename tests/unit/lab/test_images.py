import subprocess
from pathlib import Path

import pytest

from kubeup.errors import LabError
from kubeup.lab import Lab, LabNode, images
from kubeup.lab.images import load_image

LAB = Lab("demo", (LabNode("demo-1", "10.79.0.2", "ai"), LabNode("demo-2", "10.79.0.3", "etcd")), Path())


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were run, without Docker; it has the image known:1 alone."""
    commands: list[list[str]] = []

    def inspect(*command: str, check: bool) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 0 if command[-1] == "known:1" else 1, "", "no such image")

    monkeypatch.setattr(images, "docker_command", lambda: ("docker",))
    monkeypatch.setattr(images, "run", inspect)
    monkeypatch.setattr(images, "_run", lambda command, stdin, stdout: commands.append(command))
    return commands


def test_an_image_that_docker_has_goes_to_every_node(called: list[list[str]]) -> None:
    load_image(LAB, "known:1")

    assert called[0] == ["docker", "save", "known:1"]
    assert [command[3] for command in called[1:]] == ["kubeup-lab-demo-1"]  # a host of etcd runs no pods


def test_an_archive_needs_no_image_in_docker(called: list[list[str]], tmp_path: Path) -> None:
    archive = tmp_path / "mine.tar"
    archive.touch()

    load_image(LAB, str(archive))

    assert [command[1] for command in called] == ["exec"]


def test_an_image_that_is_nowhere_is_told_before_a_host_is_touched(called: list[list[str]]) -> None:
    with pytest.raises(LabError, match=r"nowhere:1: there is no such file, and no such image"):
        load_image(LAB, "nowhere:1")
    assert called == []
