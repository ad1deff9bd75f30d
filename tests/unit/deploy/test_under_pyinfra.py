"""The jobs as deploy files of pyinfra's own command."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyinfra
import pytest

from kubeup.deploy import destroy, under_pyinfra, up
from kubeup.deploy.phases import Changing, Preflight
from kubeup.host.inventory import INVENTORY, hosts

DEMO = Path(__file__).parents[3] / "inventories" / "demo.yaml"


@pytest.mark.parametrize("job", ["up", "destroy"])
def test_nothing_happens_when_a_job_is_imported(job: str) -> None:
    code = f"import kubeup.deploy.{job} as job, kubeup.deploy.under_pyinfra as u; print(len(job.PHASES) > 1, u._runs)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("True {}\n", "")


def test_nothing_is_declared_by_an_import_within_pyinfras_command(monkeypatch: pytest.MonkeyPatch) -> None:
    class State:
        current_exec_filename = "/elsewhere/deploy.py"

    monkeypatch.setattr(pyinfra, "is_cli", True)
    monkeypatch.setattr(pyinfra, "state", State())
    monkeypatch.setattr(under_pyinfra, "_run", lambda path: pytest.fail("a job was declared"))
    under_pyinfra.declare(up.PHASES, "/work/deploy/up.py")


@pytest.mark.parametrize("job", [up, destroy])
def test_jobs_look_before_they_change_anything(job: Any) -> None:
    assert isinstance(job.PHASES[0], Preflight)
    assert not isinstance(job.PHASES[0], Changing)
    assert isinstance(job.PHASES[1], Changing)


def test_an_inventory_for_pyinfra() -> None:
    groups = hosts(DEMO)
    assert [name for name, _ in groups["masters"]] == ["10.10.103.250"]
    assert [name for name, _ in groups["nodes"]] == ["10.10.103.250", "10.10.103.162", "worker-2"]
    data = dict(groups["nodes"])["worker-2"]
    assert (data["ssh_hostname"], data["ssh_user"]) == ("10.10.103.223", "vcap")
    assert data[INVENTORY] == str(DEMO)
