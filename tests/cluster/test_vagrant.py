"""Real machines of Vagrant's docker provider: up, kubeup up, destroy. Needs Vagrant, see `scripts/prepare vagrant`."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .support import CHECKOUT, Done, Running, kubeup


@pytest.fixture
def folder(engine: None, tmp_path: Path) -> Iterator[Path]:
    """A copy of vagrant/, so that nothing of it lies in the checkout; its machines are removed at the end."""
    assert shutil.which("vagrant"), "this test needs Vagrant: apt-get install vagrant (make slow-tests does it)"
    copy = tmp_path / "vagrant"
    shutil.copytree(CHECKOUT / "vagrant", copy, ignore=shutil.ignore_patterns(".vagrant", "cluster.yaml"))
    yield copy
    vagrant(copy, "destroy", "--force")


def vagrant(folder: Path, *arguments: str, **environment: str) -> Done:
    """Run Vagrant with two machines."""
    own = {
        "VAGRANT_CHECKPOINT_DISABLE": "1",
        "VAGRANT_DEFAULT_PROVIDER": "docker",
        "VAGRANT_HOME": str(folder.parent / "home"),
        "KUBEUP_NODES": "2",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        **environment,
    }
    return Running("vagrant", *arguments, env=own, cwd=folder).wait(300)


def containers() -> set[str]:
    command = ["docker", "ps", "--all", "--quiet", "--filter", "name=vagrant_node-"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.slow
def test_a_cluster_on_machines_of_vagrant(folder: Path) -> None:
    before = containers()
    up = vagrant(folder, "up")
    assert up.code == 0, up
    assert len(containers() - before) == 2

    assert "is written" in kubeup("lab", "vagrant", str(folder)).out
    done = kubeup("up", inventory=folder / "cluster.yaml", timeout=400)

    assert "2 nodes are Ready" in done.err
    gone = vagrant(folder, "destroy", "--force")
    assert gone.code == 0, gone
    assert containers() - before == set()


@pytest.mark.slow
def test_environment_that_cannot_be_is_told_before_a_machine_is_made(folder: Path) -> None:
    for name, value in (("KUBEUP_NODES", "none"), ("KUBEUP_MEMORY", "12"), ("KUBEUP_OS", "plan9")):
        done = vagrant(folder, "status", **{name: value})
        assert done.code != 0
        assert f"{name} is" in done.text, done
