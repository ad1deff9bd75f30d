"""Which master is asked."""

from typing import Any

import pytest

from kubeup.checks.kubectl import Kubectl
from kubeup.checks.walk.reading import API_SCRIPT
from kubeup.deploy.leaving import FORGET
from kubeup.errors import HostsFailed
from kubeup.host.session import Output

REFUSED = Output("", "The connection to the server 127.0.0.1:6443 was refused - did you specify the right host?", 1)
CLEANED = Output("", "kubeup: 1: /opt/kubeup/bin/kubectl: not found", 127)
HALF = Output("", "error: stat /etc/kubernetes/admin.conf: no such file or directory", 1)
GONE = Output("", "n1 is not connected", None)


class Masters:
    def __init__(self, **answers: Output) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def shell(self, name: str, *_: str, **__: Any) -> Output:
        self.asked.append(name)
        return self.answers.get(name, Output("ok", "", 0))


@pytest.mark.parametrize("down", [REFUSED, CLEANED, HALF, GONE])
def test_another_master_is_asked_when_one_cannot_be(world: Any, down: Output) -> None:
    masters = Masters(n1=down)
    assert Kubectl(world.cluster("ai ai ai"), masters).script("true").ok  # type: ignore[arg-type]
    assert masters.asked == ["n1", "n2"]


def test_the_answer_of_the_first_counts_also_when_it_is_no(world: Any) -> None:
    masters = Masters(n1=Output("", "Error from server (NotFound): nodes not found", 1))
    assert not Kubectl(world.cluster("ai ai ai"), masters).script("true").ok  # type: ignore[arg-type]
    assert masters.asked == ["n1"]


def test_a_failure_names_the_master_that_was_asked(world: Any) -> None:
    masters = Masters(n1=GONE, n2=Output("", "forbidden", 1))
    with pytest.raises(HostsFailed) as caught:
        Kubectl(world.cluster("ai ai ai"), masters).checked("kubectl get nodes")  # type: ignore[arg-type]
    assert [failed.host for failed in caught.value.failures] == ["n2"]


@pytest.mark.parametrize(
    ("script", "shown"),
    [
        ("kubectl get nodes", "kubectl get nodes"),
        (API_SCRIPT, "kubectl get nodes,services -A -o json"),
        (FORGET, 'kubectl delete node "$1" --ignore-not-found --timeout=60s >&2 || exit 1'),
        ("# what kubectl says\nset -e\n  kubectl version\nkubectl get pods", "kubectl version"),
        ("true", "true"),
    ],
)
def test_a_failure_shows_what_was_asked(world: Any, script: str, shown: str) -> None:
    with pytest.raises(HostsFailed) as caught:
        Kubectl(world.cluster("ai"), Masters(n1=Output("", "forbidden", 1))).checked(script)  # type: ignore[arg-type]
    assert [failed.command for failed in caught.value.failures] == [f"kubectl ({shown})"]


def test_a_master_whose_apiserver_is_about_to_stop_is_asked_last(world: Any) -> None:
    masters = Masters()
    Kubectl(world.cluster("ai ai ai"), masters, avoid="n1").script("true")  # type: ignore[arg-type]
    Kubectl(world.cluster("ai i"), masters, avoid="n1").script("true")  # type: ignore[arg-type]
    assert masters.asked == ["n2", "n1"]


def test_nodes_that_the_inventory_does_not_have(world: Any) -> None:
    cluster = world.cluster("ai i")
    listed = '{"items": [{"metadata": {"name": "n1"}}, {"metadata": {"name": "old"}}]}'
    assert Kubectl(cluster, Masters(n1=Output(listed, "", 0))).strangers() == ["old"]  # type: ignore[arg-type]
    assert Kubectl(cluster, Masters(n1=REFUSED)).strangers() == []  # type: ignore[arg-type]
