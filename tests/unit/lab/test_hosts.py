from pathlib import Path

import pytest

from kubeup.errors import LabError
from kubeup.lab import Lab, hosts
from kubeup.lab.hosts import create, destroy, run_flags

FULL = "Name:\tcat\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\n"
WITHOUT_SYS_RESOURCE = FULL.replace("000001ffffffffff", "000001fffeffffff")


@pytest.mark.parametrize(
    ("status", "privileged"),
    [(FULL, True), (WITHOUT_SYS_RESOURCE, False), ("", True)],
    ids=["an ordinary machine", "a machine without CAP_SYS_RESOURCE", "not Linux"],
)
def test_hosts_are_privileged_where_the_machine_allows_it(status: str, privileged: bool) -> None:
    flags = run_flags(status, has_modules=False)

    assert ("--privileged" in flags) is privileged
    assert ("--cap-drop=SYS_RESOURCE" in flags) is not privileged
    assert "--cgroupns=private" in flags


def test_hosts_see_the_modules_of_the_machine_where_it_has_any() -> None:
    modules = "--volume=/lib/modules:/lib/modules:ro"

    assert modules in run_flags(FULL, has_modules=True)
    assert modules not in run_flags(FULL, has_modules=False)


@pytest.mark.parametrize("name", ["", "Demo", "../demo", "-demo", "a/b", "x" * 41])
def test_a_name_that_could_be_no_host_name_or_path_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="lower-case"):
        create(name)
    with pytest.raises(LabError, match="no lab"):
        destroy(name)


@pytest.fixture(autouse=True)
def _no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ensure_image", "docker", "docker_lines"):
        monkeypatch.setattr(hosts, name, lambda *_: pytest.fail("a unit test reached for Docker"))


def test_a_lab_of_no_hosts_is_refused() -> None:
    with pytest.raises(LabError, match="1 to 200"):
        create("demo", hosts=0)


def test_what_another_process_removes_meanwhile_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two runs sweep the same leftover: Docker refuses the second, and a moment later there is nothing left."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(hosts.time, "sleep", lambda _: None)
    answers = iter([["c1"], ["c1"], [], ["n1"], [], []])  # containers twice, then none; the network once
    removals: list[tuple[str, ...]] = []
    monkeypatch.setattr(hosts, "docker_lines", lambda *_: next(answers))
    monkeypatch.setattr(hosts, "docker", lambda *words, check: removals.append(words) or "")

    destroy("demo")

    assert removals == [("rm", "--force", "--volumes", "c1"), ("network", "rm", "n1")]


def test_what_cannot_be_removed_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def docker(*words: str, check: bool) -> str:
        if check:
            raise LabError("docker rm: device or resource busy")
        return ""

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(hosts, "REMOVE_LIMIT", 0.2)
    monkeypatch.setattr(hosts, "docker_lines", lambda *_: ["c1"])
    monkeypatch.setattr(hosts, "docker", docker)

    with pytest.raises(LabError, match="busy"):
        destroy("demo")


def test_a_lab_that_was_never_whole_is_not_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hosts, "find", lambda name: Lab(name, (), tmp_path))
    with pytest.raises(LabError, match="kubeup lab destroy demo"):
        hosts.start("demo")
