"""The scenarios of tests/molecule, run by Molecule itself: create, converge, idempotence, verify, destroy."""

import os
import re
import sys
from pathlib import Path

import pytest

from kubeup.lab import labs

from .support import CHECKOUT, Running


@pytest.mark.parametrize(
    "scenario", ["default", pytest.param("ha", marks=pytest.mark.slow), pytest.param("el", marks=pytest.mark.slow)]
)
def test_scenario(engine: None, scenario: str) -> None:
    prefix = f"molecule{os.getpid()}"
    environment = {
        "KUBEUP_LAB_OWNER": str(os.getpid()),  # swept, should this process be killed
        "LC_ALL": "C.UTF-8",  # Ansible refuses others
        "MOLECULE_GLOB": "tests/molecule/*/molecule.yml",
        "MOLECULE_LAB": prefix,  # beside another run on this machine
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": os.environ.get("PYTHONPATH"),
    }
    molecule = str(Path(sys.executable).with_name("molecule"))

    done = Running(molecule, "test", "--scenario-name", scenario, env=environment, cwd=CHECKOUT).wait(840)

    if done.code:
        pytest.fail(f"molecule: exit code {done.code}\n{done.text[-8000:]}", pytrace=False)
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.text)
    assert "idempotence: Executed: Successful" in text, text
    recaps = [int(changed) for changed in re.findall(r" changed=(\d+)", text)]
    converged, again = recaps[-3:-1]  # the last is of what destroys
    assert converged > 0, text
    assert again == 0, text
    assert not [lab.name for lab in labs() if lab.name.startswith(prefix)]
