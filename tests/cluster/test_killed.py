"""kubeup killed, or interrupted, at any moment: what runs next, finishes the work."""

import re
import signal
import time

import pytest

from kubeup.host.lock import DEAD
from kubeup.lab.command import docker_command, run

from .conftest import NewLab
from .snapshot import Snapshot, assert_as_before, take_all
from .support import FAILED, INTERRUPTED, OK, Deployed, starting


class Victim(Deployed):
    """A cluster whose kubeup is killed; ``whole`` is how many seconds one takes that is not."""

    before: dict[str, Snapshot]
    whole: float

    def up(self) -> None:
        """Go on to the end."""
        assert f"The cluster {self.lab.name} is up." in self.kubeup("up").text
        assert self.differences() == {}

    def gone(self) -> None:
        self.kubeup("destroy", "--yes")


def _victim(lab_roles: list[str], new_lab: NewLab) -> Victim:
    victim = Victim(new_lab(roles=lab_roles))
    victim.before = take_all(victim.lab)
    victim.whole = victim.kubeup("up").seconds
    return victim


@pytest.fixture(scope="module")
def single(new_lab: NewLab) -> Victim:
    """A cluster of one host, master and minion in one."""
    return _victim(["ai"], new_lab)


@pytest.fixture(scope="module")
def three(new_lab: NewLab) -> Victim:
    return _victim(["ai", "i", "i"], new_lab)


def _kill_and_go_on(victim: Victim, part: float) -> None:
    victim.gone()
    running = starting("up", inventory=victim.lab.inventory)
    killed = running.after(victim.whole * part).signal(signal.SIGKILL)
    assert killed.code == -signal.SIGKILL, f"it had ended before it could be killed\n{killed}"
    victim.up()


def test_one_host_is_a_cluster(single: Victim) -> None:
    assert single.kubectl("get", "nodes", "--no-headers").split()[1] == "Ready"
    assert single.differences() == {}


@pytest.mark.slow
def test_a_network_that_swallows_everything(single: Victim) -> None:
    single.gone()
    host = f"kubeup-lab-{single.master}"
    network = f"kubeup-lab-{single.lab.name}"
    running = starting("up", inventory=single.lab.inventory)
    time.sleep(0.3 * single.whole)
    run(*docker_command(), "network", "disconnect", network, host)
    ended = running.wait(120)
    assert ended.code == FAILED, ended
    assert f"{single.master}: " in ended.text
    assert "the connection broke" in ended.text
    run(*docker_command(), "network", "connect", "--ip", single.address(single.master), network, host)
    refused = single.kubeup("up", code=None)  # or not, if the host has noticed by now
    assert refused.code == OK or "another kubeup is at work" in refused.text
    time.sleep(DEAD)
    single.up()


@pytest.mark.slow
@pytest.mark.parametrize("part", [0.45, 0.7])
def test_up_goes_on_where_one_was_killed(single: Victim, part: float) -> None:
    _kill_and_go_on(single, part)


@pytest.mark.slow
@pytest.mark.parametrize("part", [0.04, 0.12, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.92])
def test_up_goes_on_where_one_was_killed_on_three_hosts(three: Victim, part: float) -> None:
    _kill_and_go_on(three, part)


def test_interrupted_then_killed_again_and_again(single: Victim) -> None:
    """An interrupted one says so in one line. Each later run gets a little further, or not: none is confused.

    The last may come to its end before it is killed: the first `up` of all, whose time is the measure, is the slowest.
    """
    single.gone()
    running = starting("up", inventory=single.lab.inventory)
    stopped = running.after(single.whole * 0.3).signal(signal.SIGINT)
    assert stopped.code == INTERRUPTED, stopped
    assert "Traceback" not in stopped.text, stopped
    assert stopped.err.splitlines()[-1].startswith("Interrupted."), stopped
    for part in (0.05, 0.1, 0.15, 0.2):
        killed = starting("up", inventory=single.lab.inventory).after(single.whole * part).signal(signal.SIGKILL)
        assert killed.code in (-signal.SIGKILL, OK), killed


def test_two_at_once(single: Victim) -> None:
    """What the test before has left half done, one of them finishes."""
    if not single.differences():
        single.gone()
    first = starting("up", inventory=single.lab.inventory)
    time.sleep(0.4 * single.whole)
    second = single.kubeup("up", code=FAILED)
    assert "another kubeup is at work on this cluster, since" in second.text
    assert re.search(r"kubeup up by \w+ on \S+ \(process \d+\)", second.text), second
    assert first.wait(300).code == OK
    assert single.differences() == {}
    assert single.on(single.master, "ls /run/kubeup.lock 2>&1; pgrep -f kubeup-lock || true").count("No such file") == 1


def test_destroy_goes_on_where_one_was_killed(single: Victim) -> None:
    single.up()
    for seconds in (1.0, 1.6, 2.2):
        starting("destroy", "--yes", inventory=single.lab.inventory).after(seconds).signal(signal.SIGKILL)
    single.gone()
    assert_as_before(single.lab, single.before)


def test_destroy_after_a_killed_up_leaves_nothing(single: Victim) -> None:
    starting("up", inventory=single.lab.inventory).after(single.whole * 0.5).signal(signal.SIGKILL)
    single.gone()
    assert_as_before(single.lab, single.before)
