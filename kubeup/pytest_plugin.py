"""pytest plugin: a throwaway Kubernetes cluster for tests. Installed with kubeup, so nothing has to be imported.

::

    def test_pods(kubeup_cluster):
        kubeup_cluster.load_image("my-app:dev")
        kubeup_cluster.kubectl("apply", "-f", "deploy.yaml")
        assert kubernetes.client.CoreV1Api(kubeup_cluster.client).list_node().items

One cluster serves all tests of a run. See docs/throwaway.md.
"""

# This is imported at every start of pytest wherever kubeup is installed: what takes time is imported where it is used.
# In particular nothing of gevent: the cluster is brought up by a process of its own.
from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Generator, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kubeup.lab import Lab

_CLUSTER = pytest.StashKey["KubeupCluster"]()
_KEPT = pytest.StashKey[str]()

_UP_LIMIT = 3600
"""Seconds that the cluster may take: the first time, the image of its hosts and their components are made too."""


class KubeupCluster:
    """A validated cluster on throwaway hosts, as the fixture ``kubeup_cluster`` gives it."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.name = lab.name
        """The cluster's name, and its lab's: ``kubeup lab destroy NAME``."""
        self.kubeconfig: Path = lab.kubeconfig
        """The admin's kubeconfig, a file."""
        self.inventory: Path = lab.inventory
        """The inventory: ``kubeup -i`` works on the cluster."""
        self.addresses: dict[str, str] = {node.name: node.address for node in lab.nodes}
        """The IPv4 address of each node, by its name; this machine reaches them."""

    @cached_property
    def client(self) -> Any:
        """A ``kubernetes.client.ApiClient`` for the cluster. Needs the package ``kubernetes``."""
        try:
            from kubernetes import config
        except ImportError:
            raise RuntimeError("the Kubernetes client is missing: pip install 'kubeup[pytest]'") from None
        return config.new_client_from_config(config_file=str(self.kubeconfig))

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """Run kubectl on the first master as admin and return what it prints. Raises LabError with its output.

        Files that it shall read are given as ``stdin`` (``"apply", "-f", "-"``): it does not see this machine's.
        """
        master = next(node.name for node in self._lab.nodes if "a" in node.role)
        kubectl = (
            "/opt/kubeup/bin/kubectl",
            "--kubeconfig",
            "/etc/kubernetes/admin.conf",
            "--cache-dir",
            "/run/kubectl",
        )
        return self._lab.exec(master, *kubectl, *arguments, stdin=stdin)

    def load_image(self, image: str | os.PathLike[str]) -> None:
        """Bring an image that the Docker engine has, or an archive of one, to all nodes. Raises LabError."""
        from kubeup.lab.images import load_image

        load_image(self._lab, os.fspath(image))

    def logs(self) -> Iterator[tuple[str, str]]:
        """(title, text) of what the cluster says (objects, events, logs of pods) and of each host's journal."""
        from kubeup.lab.logs import logs

        return logs(self._lab)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kubeup", "a throwaway Kubernetes cluster (fixture kubeup_cluster)")
    group.addoption("--kubeup-nodes", type=int, default=1, metavar="N", help="how many nodes it has [1]")
    group.addoption("--kubeup-masters", type=int, default=1, metavar="N", help="how many of them are masters [1]")
    group.addoption("--kubeup-version", metavar="X.Y.Z", help="Kubernetes' version")
    group.addoption("--kubeup-addons", default="", metavar="A,B", help="addons to turn on")
    group.addoption(
        "--kubeup-keep-on-failure", action="store_true", help="leave the cluster there when a test has failed"
    )
    group.addoption(
        "--kubeup-lab",
        default=os.environ.get("KUBEUP_LAB", ""),
        metavar="NAME",
        help="use the cluster of this lab, made by `kubeup lab up`, and leave it there [$KUBEUP_LAB]",
    )


@pytest.fixture(scope="session")
def kubeup_cluster(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> Iterator[KubeupCluster]:
    """A validated throwaway cluster; see its attributes. It is gone after the last test."""
    from kubeup.errors import LabError
    from kubeup.lab import destroy, find

    if given := pytestconfig.getoption("--kubeup-lab"):
        try:
            lab = find(given)
        except LabError as error:
            pytest.fail(f"--kubeup-lab: {error}", pytrace=False)
        if not lab.kubeconfig.exists():
            pytest.fail(f"--kubeup-lab: lab {given} has no cluster: kubeup lab up {given}", pytrace=False)
        cluster = pytestconfig.stash[_CLUSTER] = KubeupCluster(lab)
        yield cluster
        return
    name = f"pytest-{secrets.token_hex(3)}"
    failed = True
    try:
        _bring_up(name, pytestconfig)
        cluster = pytestconfig.stash[_CLUSTER] = KubeupCluster(find(name))
        yield cluster
        failed = request.session.testsfailed > 0
    finally:
        if failed and pytestconfig.getoption("--kubeup-keep-on-failure") and _keep(name):
            pytestconfig.stash[_KEPT] = name
        else:
            destroy(name)


def _bring_up(name: str, config: pytest.Config) -> None:
    """Make the cluster; fails the test with what kubeup says when it does not come up."""
    # -P: what lies in the folder of the tests is not to be imported for kubeup's own.
    command = [sys.executable, "-P", "-m", "kubeup", "lab", "up", name, "--owner", str(os.getpid())]
    command += ["--hosts", str(config.getoption("--kubeup-nodes"))]
    command += ["--masters", str(config.getoption("--kubeup-masters"))]
    if version := config.getoption("--kubeup-version"):
        command += ["--version", version]
    for addon in filter(None, config.getoption("--kubeup-addons").split(",")):
        command += ["--addon", addon.strip()]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_UP_LIMIT)
        how, stderr = f"exit code {done.returncode}", done.stderr
    except subprocess.TimeoutExpired as error:
        done, how, stderr = None, f"not finished after {_UP_LIMIT} s", error.stderr or b""
    if done is None or done.returncode:
        said = "\n".join(stderr.decode(errors="replace").strip().splitlines()[-60:])
        pytest.fail(f"the throwaway cluster does not come up ({how}):\n{said}", pytrace=False)


def _keep(name: str) -> bool:
    """Let the lab outlive this process; False when there is none."""
    from kubeup.errors import LabError
    from kubeup.lab import find

    try:
        find(name).keep()
    except LabError:
        return False
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the cluster and its hosts say to the report of a test that used it and failed."""
    report = yield
    cluster = item.config.stash.get(_CLUSTER, None)
    if report.failed and cluster is not None and "kubeup_cluster" in getattr(item, "fixturenames", ()):
        report.sections.extend(cluster.logs())
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if name := config.stash.get(_KEPT, None):
        from kubeup.lab import find

        lab = find(name)
        terminalreporter.section("kubeup")
        terminalreporter.write_line(f"The cluster {name} was left there, as a test has failed:")
        terminalreporter.write_line(f"    export KUBECONFIG={lab.kubeconfig} KUBEUP_INVENTORY={lab.inventory}")
        terminalreporter.write_line(f"To remove it: kubeup lab destroy {name}")
