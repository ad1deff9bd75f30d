"""A site without a way out: kubeup comes out of the bundle by the manual's words, and all that a cluster needs."""

import os
import subprocess
from pathlib import Path

import pytest

from kubeup.cluster.editing import without_nodes

from .conftest import NewLab
from .support import CHECKOUT, Deployed, eventually, kubeup

pytestmark = pytest.mark.slow


def by_the_manual() -> str:
    """The commands of docs/air-gapped.md that verify kubeup's wheels and install them."""
    text = (CHECKOUT / "docs" / "air-gapped.md").read_text()
    block = text[text.index("    tar -xf site.kubeup manifest.json") :].partition("\n\n")[0]
    return "".join(line.removeprefix("    ") for line in block.splitlines(keepends=True))


def test_everything_comes_out_of_the_bundle(new_lab: NewLab, tmp_path: Path) -> None:
    site = Deployed(new_lab(roles=["ai", "i", "i"], outside=False))
    inventory, third = site.lab.inventory, site.lab.nodes[2]
    without_nodes(inventory, [third.name]).write()
    inventory.write_text(f"{inventory.read_text()}addons: {{metrics-server: on, local-path: on}}\n")
    kubeup("components", "fetch", inventory=inventory, timeout=1200)
    kubeup("bundle", "key", cwd=tmp_path)
    kubeup(
        "bundle", "create", "-o", "site.kubeup", "--key", "bundle.key", inventory=inventory, cwd=tmp_path, timeout=900
    )

    # From here on with nothing but the bundle and the key: no index for pip, no cache, nothing of this checkout.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON", "KUBEUP_"))}
    env = {
        **kept,
        "PIP_CONFIG_FILE": os.devnull,
        "KUBEUP_CACHE": str(tmp_path / "cache"),
        "KUBEUP_INVENTORY": str(inventory),
    }

    def run(command: str, seconds: float = 300) -> str:
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    run(by_the_manual())
    assert str(tmp_path / "venv") in run("venv/bin/python -c 'import kubeup; print(kubeup.__file__)'")
    done = run("venv/bin/kubeup up --bundle site.kubeup --bundle-key bundle.pub", 600)
    assert "Cluster validation succeeded" in done
    assert "local-path, metrics-server: ready" in done, done
    run(f"venv/bin/kubeup add-node --node i=root@{third.address} --name {third.name}")
    assert third.name in site.kubectl("get", "nodes", "-o", "name")
    assert eventually(lambda: third.name in site.kubectl("top", "nodes", check=False), 90, 1)
    run("venv/bin/kubeup validate")
    run("venv/bin/kubeup destroy --yes")
