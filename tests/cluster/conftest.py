"""Real clusters need real hosts: fixtures that make labs, and see to it that none stays.

Every test in this folder carries the marker ``cluster``: ``-m "not cluster"`` leaves them out, and pytest says how
many. Nothing skips them by itself: where no Docker engine answers they fail, with what to do about it.
"""

import contextlib
import secrets
import signal
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import pytest

from kubeup.errors import KubeupError
from kubeup.lab import Lab, create, destroy, ensure_engine, ensure_image, find, sweep, this_process
from kubeup.lab.image import Os

HERE = Path(__file__).parent
_living: list[str] = []  # names of the labs that this run has made and not yet destroyed


class NewLab(Protocol):
    """Makes a lab of its own for a module of tests; it is destroyed after the last of them."""

    def __call__(
        self,
        hosts: int = 3,
        *,
        roles: Sequence[str] | None = None,
        settings: Mapping[str, Any] | None = None,
        os: Os = "debian",
        outside: bool = True,
    ) -> Lab: ...


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print a line of progress at once, past pytest's capturing, with the time of day."""
    terminal: Any = request.config.pluginmanager.get_plugin("terminalreporter")
    capture: Any = request.config.pluginmanager.get_plugin("capturemanager")

    def print_now(line: str) -> None:
        with capture.global_and_fixture_disabled():
            terminal.ensure_newline()
            terminal.write_line(f"{time.strftime('%H:%M:%S')} {line}")

    return print_now


@pytest.fixture(scope="session")
def engine(say: Callable[[str], None]) -> None:
    """A Docker engine with the host image, free of what killed runs left."""
    ensure_engine(install=False, say=say)
    sweep(say)
    ensure_image(say)


@pytest.fixture(scope="module")
def new_lab(engine: None, say: Callable[[str], None]) -> Iterator[NewLab]:
    """The factory for tests that need hosts to themselves, ``new_lab(hosts=1)``."""
    with labs_for(say) as new:
        yield new


@contextlib.contextmanager
def labs_for(say: Callable[[str], None]) -> Iterator[NewLab]:
    """Give a maker of labs, and destroy what it made, half-made ones too, however the tests ended."""
    with contextlib.ExitStack() as to_do:

        def new(
            hosts: int = 3,
            *,
            roles: Sequence[str] | None = None,
            settings: Mapping[str, Any] | None = None,
            os: Os = "debian",
            outside: bool = True,
        ) -> Lab:
            name = f"kubeup-test-{secrets.token_hex(3)}"
            _living.append(name)
            to_do.callback(_living.remove, name)
            to_do.callback(destroy, name)
            return create(
                name, hosts, roles=roles, settings=settings, owner=this_process(), say=say, os=os, outside=outside
            )

        yield new


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cluster: needs hosts, so a Docker engine and minutes")
    config.addinivalue_line("markers", "slow: not in `make test` but in `make test-all`")
    signal.signal(signal.SIGTERM, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    """Take SIGTERM, by which `timeout` and CI stop a run, as Ctrl-C: fixtures still remove their hosts."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would interrupt just that
    raise KeyboardInterrupt


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("cluster")


def pytest_report_teststatus(report: pytest.TestReport | pytest.CollectReport) -> tuple[str, str, str] | None:
    """With -v, show when a test passed and how long it took: some take minutes."""
    if isinstance(report, pytest.TestReport) and report.when == "call" and report.passed:
        return "passed", ".", f"PASSED at {time.strftime('%H:%M:%S')} after {report.duration:.1f} s"
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show beside a failure what its hosts say: which units failed, and the end of the journal."""
    report = yield
    if report.failed:
        for name in _living:
            with contextlib.suppress(KubeupError):  # a lab that could not even be made has told so itself
                for node in find(name).nodes:
                    report.sections.append((f"journal of {node.name}", _journal(find(name), node.name)))
    return report


def _journal(lab: Lab, node: str) -> str:
    try:
        failed = lab.exec(node, "systemctl", "--failed", "--no-legend", "--plain", timeout=20) or "none"
        journal = lab.exec(node, "journalctl", "--boot", "--no-pager", "--lines=80", timeout=20)
    except KubeupError as error:  # the host is switched off, or hangs: that is worth knowing too
        return str(error)
    return f"failed units: {failed}\n{journal}"
