"""What a lab is good for beyond being there: hosts without a way out, and hosts that were switched off."""

import secrets
from collections.abc import Iterator

import pytest

from kubeup.lab import Lab, destroy, find, this_process
from kubeup.lab.hosts import container

from .support import Deployed, eventually, kubeup
from .test_throwaway import docker


@pytest.fixture(scope="module")
def closed(engine: None) -> Iterator[Deployed]:
    """A cluster of one host that reaches nothing but this machine, made by `lab up`."""
    name = f"kubeup-test-{secrets.token_hex(3)}"
    try:
        done = kubeup(
            *("lab", "up", name, "--hosts", "1", "--network", "none", "--owner", this_process().partition("-")[0]),
            timeout=500,
        )
        yield Deployed(find(name), {"up": done})
    finally:
        destroy(name)


def test_a_cluster_comes_up_where_there_is_no_way_out(closed: Deployed) -> None:
    assert "names-resolve        ok" in closed.story["up"].err
    # The distribution's mirror, which every other lab's hosts reach: other tests install packages.
    script = "timeout 15 apt-get -q update -o APT::Update::Error-Mode=any >/dev/null 2>&1 && echo found || echo no way"
    assert closed.on(closed.master, script) == "no way"


@pytest.mark.slow
def test_hosts_that_were_switched_off_are_put_up_again_with_their_cluster(closed: Deployed) -> None:
    """As after a reboot of the machine, where the engine does not restart them (it does not, after a kill)."""
    for node in closed.lab.nodes:
        docker("kill", container(node.name))
    assert not docker("ps", "--quiet", "--filter", f"label=kubeup.lab={closed.lab.name}")

    done = kubeup("lab", "start", closed.lab.name)

    assert "run." in done.out
    lab: Lab = find(closed.lab.name)
    assert lab.nodes == closed.lab.nodes
    assert eventually(lambda: kubeup("validate", inventory=lab.inventory, code=None).code == 0, 120, 1)
    assert closed.differences() == {}
    kubeup("lab", "start", closed.lab.name)  # of what runs, nothing
