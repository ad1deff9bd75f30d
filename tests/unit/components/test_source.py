"""Building without Go: a script called ``go`` stands in for it."""

import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kubeup.components import Component, Store, architecture, catalogue, provide, source
from kubeup.components.source import SourceProvider
from kubeup.errors import ComponentError

# Writes what it was called with to $CALLS, and a file for each package into the folder behind -o, as go names them.
GO = """#!/bin/sh
echo "$PWD|$CGO_ENABLED|$GOOS|$GOARCH|$*" >>"$CALLS"
echo example.invalid/dependency >&2
while [ "$1" != -o ]; do shift; done
echo program >"$2/demo"
echo program >"$2/democtl"
"""

BROKEN = """#!/bin/sh
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do echo "complaint $i" >&2; done
exit 3
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make PATH hold nothing but the programs given as name=script, and return the file that they may log to."""
    folder = tmp_path / "bin"
    folder.mkdir()
    calls = tmp_path / "calls"
    calls.touch()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("CALLS", str(calls))

    def install(**scripts: str) -> Path:
        for name, script in scripts.items():
            path = folder / name.replace("_", "-")
            path.write_text(script)
            path.chmod(0o755)
        return calls

    return install


def test_one_build_makes_all_programs(store: Store, demo: Component, tools: Callable[..., Path]) -> None:
    calls = tools(go=GO)
    told: list[str] = []
    provide(store, [("demo", "1.0")], SourceProvider(), lambda event: told.append(event.detail), arch="arm64")
    (call,) = calls.read_text().splitlines()
    folder, cgo, system, arch, arguments = call.split("|")
    assert (folder, cgo, system, arch) == (str(demo.module_dir), "0", "linux", "arm64")
    assert "-mod=readonly" in arguments
    assert "-trimpath" in arguments
    assert arguments.endswith("example.invalid/demo/v2 example.invalid/demo/democtl")
    assert store.find("demo", "1.0", "arm64").size == len("program\n")
    assert "example.invalid/dependency" in told
    log = store.log("demo", "1.0").read_text()
    assert "go build" in log
    assert "example.invalid/dependency" in log


def test_a_program_gets_its_own_name(demo: Component, tmp_path: Path, tools: Callable[..., Path]) -> None:
    tools(go=GO)
    renamed = replace(demo, programs=(replace(demo.programs[0], name="demod"), demo.programs[1]))
    SourceProvider().provide(renamed, "amd64", tmp_path, tmp_path / "log", lambda line: None)
    assert (tmp_path / "demod").exists()
    assert not (tmp_path / "demo").exists()


def test_a_failed_build_shows_the_end_of_its_output(store: Store, demo: Component, tools: Callable[..., Path]) -> None:
    tools(go=BROKEN)
    with pytest.raises(ComponentError) as raised:
        provide(store, [("demo", "1.0")], SourceProvider())
    text = str(raised.value)
    assert "exit code 3" in text
    assert "go build" in text
    assert "complaint 25" in text
    assert "complaint 6\n" in text
    assert "complaint 5\n" not in text
    assert str(store.log("demo", "1.0")) in text
    assert "complaint 1\n" in store.log("demo", "1.0").read_text()


def test_missing_go_says_what_to_install(store: Store, demo: Component, tools: Callable[..., Path]) -> None:
    tools()
    with pytest.raises(ComponentError, match="go is not installed") as raised:
        provide(store, [("demo", "1.0")], SourceProvider())
    assert "apt-get install golang-go" in str(raised.value)
    assert "dnf install golang" in str(raised.value)


def test_missing_c_tools_are_told_together(demo: Component, tmp_path: Path, tools: Callable[..., Path]) -> None:
    tools(go=GO)
    arch = architecture(platform.machine())
    runc = replace(demo, cgo=True, libraries=("libseccomp",))
    with pytest.raises(ComponentError, match="gcc and pkg-config are not installed"):
        SourceProvider().provide(runc, arch, tmp_path, tmp_path / "log", lambda line: None)
    tools(gcc="#!/bin/sh\n", pkg_config="#!/bin/sh\nexit 1\n")
    with pytest.raises(ComponentError, match="libseccomp is not installed") as raised:
        SourceProvider().provide(runc, arch, tmp_path, tmp_path / "log", lambda line: None)
    assert "apt-get install libseccomp-dev\n" in str(raised.value)


def test_c_code_is_not_built_for_another_machine(
    demo: Component, tmp_path: Path, tools: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tools(go=GO)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(ComponentError, match=r"cannot be built for arm64 on this amd64 machine"):
        SourceProvider().provide(replace(demo, cgo=True), "arm64", tmp_path, tmp_path / "log", lambda line: None)
    assert calls.read_text() == ""


def test_every_c_library_of_the_catalogue_has_a_package_name() -> None:
    libraries = {library for component in catalogue.COMPONENTS for library in component.libraries}
    assert libraries <= source._PACKAGES.keys()
