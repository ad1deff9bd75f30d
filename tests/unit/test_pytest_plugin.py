"""The pytest plugin, in runs of pytest of its own; only the cluster itself is made up."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kubeup import pytest_plugin
from kubeup.lab import Lab, LabNode, hosts, logs

pytest_plugins = ["pytester"]

Run = Callable[..., pytest.RunResult]

PASSES = "def test_one(kubeup_cluster): assert kubeup_cluster.name\ndef test_two(kubeup_cluster): pass\n"
FAILS = "def test_one(kubeup_cluster): assert not kubeup_cluster.name\n"
UNRELATED = "def test_other(): assert 0\n"


class Made:
    """The labs that there are, what was done, and what `kubeup lab up` was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.labs: dict[str, Lab] = {}
        self.commands: list[list[str]] = []
        self.error = ""
        self.hangs = False

    def find(self, name: str) -> Lab:
        if name not in self.labs:
            raise hosts.LabError(f"there is no lab {name}")
        return self.labs[name]

    def up(self, name: str) -> None:
        folder = self.folder / name
        folder.mkdir()
        (folder / "kubeconfig").touch()
        self.labs[name] = Lab(name, (LabNode(f"{name}-1", "10.79.0.2", "ai"),), folder)

    def run(self, command: list[str], timeout: float, **_: object) -> subprocess.CompletedProcess[bytes]:
        assert command[:6] == [sys.executable, "-P", "-m", "kubeup", "lab", "up"]
        self.commands.append(command[7:])
        self.up(command[6])
        if self.hangs:
            raise subprocess.TimeoutExpired(command, timeout, stderr=self.error.encode())
        return subprocess.CompletedProcess(command, 1 if self.error else 0, b"", self.error.encode())


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Made:
    made = Made(tmp_path)
    monkeypatch.setattr(pytest_plugin.subprocess, "run", made.run)
    monkeypatch.setattr("kubeup.lab.find", made.find)
    monkeypatch.setattr("kubeup.lab.destroy", made.labs.pop)
    monkeypatch.setattr(logs, "_said", lambda lab, node, *_: f"words of {node}")
    monkeypatch.delenv("KUBEUP_LAB", raising=False)
    return made


@pytest.fixture
def run(pytester: pytest.Pytester, made: Made) -> Run:
    def run(tests: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(tests)
        # Under this name it is not loaded twice where kubeup is installed with its entry point.
        return pytester.runpytest_inprocess("-p", "kubeup.pytest_plugin", "-p", "no:cacheprovider", *options)

    return run


def test_one_cluster_serves_all_tests_and_is_gone_afterwards(run: Run, made: Made) -> None:
    run(PASSES).assert_outcomes(passed=2)

    assert len(made.commands) == 1
    assert made.labs == {}


def test_no_cluster_is_made_for_tests_that_ask_for_none(run: Run, made: Made) -> None:
    result = run(UNRELATED, "--kubeup-nodes", "3")

    result.assert_outcomes(failed=1)
    assert made.commands == []


def test_options_are_passed_on(run: Run, made: Made) -> None:
    run(PASSES, "--kubeup-nodes=3", "--kubeup-version=1.35.4", "--kubeup-addons=metrics-server, metallb")

    assert made.commands[0][2:] == [
        *("--hosts", "3", "--masters", "1", "--version", "1.35.4"),
        *("--addon", "metrics-server", "--addon", "metallb"),
    ]


def test_a_failure_shows_what_the_cluster_and_its_hosts_say(run: Run, made: Made) -> None:
    result = run(FAILS)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*cluster pytest-*", "words of pytest-*-1", "*journal of pytest-*-1*", "words of *"])
    assert made.labs == {}


def test_another_tests_failure_does_not_show_them(run: Run, made: Made) -> None:
    result = run(PASSES + UNRELATED)

    result.assert_outcomes(passed=2, failed=1)
    assert "words of" not in result.stdout.str()


def test_a_cluster_can_be_left_there_after_a_failure(run: Run, made: Made) -> None:
    result = run(FAILS, "--kubeup-keep-on-failure")

    (lab,) = made.labs.values()
    assert lab.kept  # so that no sweep takes it
    result.stdout.fnmatch_lines([f"*export KUBECONFIG={lab.kubeconfig}*", f"*kubeup lab destroy {lab.name}"])


def test_it_goes_all_the_same_when_all_has_passed(run: Run, made: Made) -> None:
    run(PASSES, "--kubeup-keep-on-failure").assert_outcomes(passed=2)

    assert made.labs == {}


def test_what_keeps_it_from_coming_up_is_told_without_a_traceback(run: Run, made: Made) -> None:
    made.error = "throwaway hosts need docker.io: apt-get install docker.io"
    result = run(PASSES)

    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*does not come up (exit code 1)*", "*apt-get install docker.io*"])
    assert "Traceback" not in result.stdout.str()
    assert made.labs == {}


def test_one_that_never_comes_up_is_not_waited_for_for_ever(run: Run, made: Made) -> None:
    made.hangs, made.error = True, "Components ..."
    result = run(PASSES)

    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*does not come up (not finished after 3600 s)*", "*Components ...*"])
    assert made.labs == {}


def test_a_cluster_that_is_there_is_used_and_stays(run: Run, made: Made) -> None:
    made.up("mine")
    run(PASSES, "--kubeup-lab=mine").assert_outcomes(passed=2)

    assert made.commands == []
    assert list(made.labs) == ["mine"]


def test_a_lab_that_is_not_there_is_told(run: Run, made: Made) -> None:
    result = run(FAILS, "--kubeup-lab=other")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*--kubeup-lab: there is no lab other*"])


def test_pytest_starts_without_what_takes_time() -> None:
    code = (
        "import sys, kubeup.pytest_plugin; print([m for m in ('gevent', 'yaml', 'cryptography') if m in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"
