"""Whether hosts can look names up."""

import socket
import subprocess
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest

from kubeup.checks.names import _ASK, judge, look_up, needed
from kubeup.errors import PreflightError
from kubeup.host.reading import Reading
from kubeup.host.session import Output

LOOPBACK = (("/etc/resolv.conf", "127.0.0.53"),)
BEHIND = "/run/systemd/resolve/resolv.conf"
UPSTREAM = (*LOOPBACK, (BEHIND, "10.0.0.53"), (BEHIND, "10.0.0.54"))


@dataclass
class FakeSession:
    """Notes what it was to ask, and answers the same everywhere."""

    answer: str = ""
    asked: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def side_by_side(self, names: Any, work: Any) -> dict[str, Any]:
        return {name: work(name) for name in names}

    def shell(self, name: str, script: str, *arguments: str, timeout: float = 60) -> Output:
        self.asked[name] = arguments
        return Output(self.answer, "", 0)


def looked_up(world: Any, answer: str, nameservers: Any, **settings: Any) -> tuple[FakeSession, list[str]]:
    cluster = world.cluster("ai", **settings)
    session: Any = FakeSession(answer)
    readings = {"n1": Reading(world.host(cluster.nodes[0], nameservers=nameservers))}
    try:
        look_up(cluster, readings, session, ["n1"])
    except PreflightError as error:
        found = error.problems
    else:
        found = ()
    assert all(problem.remedy for problem in found)
    return session, [f"{problem.where}: {problem.what}" for problem in found]


def test_the_nameservers_that_pods_will_ask_are_asked(world: Any) -> None:
    """Those behind the host's own, which is on its loopback."""
    session, found = looked_up(world, "own 7 vm\nserver 10.0.0.54\n", UPSTREAM)
    assert session.asked == {"n1": ("own", "server:10.0.0.53", "server:10.0.0.54")}
    assert found == []  # one of two is enough


def test_nameservers_none_of_which_answers(world: Any) -> None:
    _, found = looked_up(world, "server 10.0.0.54\nserver 10.0.0.53\n", UPSTREAM)
    assert found == [
        "n1: no nameserver of /run/systemd/resolve/resolv.conf answers (10.0.0.53, 10.0.0.54), and pods would wait for "
        "them with every name that is not the cluster's"
    ]


@pytest.mark.parametrize("nameservers", [(), LOOPBACK])
def test_without_nameservers_that_pods_could_ask_none_is_asked(world: Any, nameservers: Any) -> None:
    session, found = looked_up(world, "", nameservers, ssh={"user": "root"})
    assert (session.asked, found) == ({}, [])


def test_a_host_that_needs_long_for_its_own_name(world: Any) -> None:
    _, found = looked_up(world, "own 10004 vm\n", LOOPBACK)
    assert found == ["n1: looking up its own name vm takes 10 s, and so does every sudo"]
    assert looked_up(world, "own 1900 vm\n", LOOPBACK)[1] == []


def test_names_that_hosts_need(world: Any) -> None:
    cluster = world.cluster(
        "ai",
        registries={"docker.io": {"mirrors": ["https://m.example/v2", "https://10.0.0.9"]}, "r.example:5000": {}},
        packages={"apt": ["deb [trusted=yes] http://p.example/debian bookworm main"], "dnf": ["http://d.example/el9"]},
        addons={"nfs": {"server": "files.example", "path": "/srv", "volumes": [{"name": "v", "size": "1Gi"}]}},
    )
    node, facts = cluster.nodes[0], world.host(cluster.nodes[0])
    assert needed(cluster, node, facts) == {
        "files.example": "addons: nfs: server",
        "m.example": "registries: docker.io: mirrors",
        "r.example": "registries:",
        "p.example": "packages: apt",
    }
    rocky = world.host(node, os="rocky", os_version="9.4")
    assert needed(cluster, node, rocky)["d.example"] == "packages: dnf"
    behind = cluster.model_copy(update={"proxy": type(cluster.proxy)(http="http://10.0.0.8:3128")})
    assert needed(behind, node, facts) == {"files.example": "addons: nfs: server"}


def test_a_name_that_is_not_found(world: Any) -> None:
    registries = {"docker.io": {"mirrors": ["https://m.example"]}}
    session, found = looked_up(world, "name m.example\n", (), registries=registries)
    assert session.asked == {"n1": ("-", "name:m.example")}
    assert found == ["n1: cannot look up m.example (registries: docker.io: mirrors)"]


def test_a_cluster_of_addresses_asks_nothing_as_root(world: Any) -> None:
    session, found = looked_up(world, "", LOOPBACK, ssh={"user": "root"})
    assert (session.asked, found) == ({}, [])


def ask(*arguments: str) -> list[str]:
    done = subprocess.run(["sh", "-c", _ASK, "sh", *arguments], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.splitlines()


def test_the_script_looks_names_up() -> None:
    assert ask("-", "name:localhost", "name:no-such-name.invalid") == ["name no-such-name.invalid"]
    (own,) = ask("own")
    word, milliseconds, name = own.split()
    assert (word, name) == ("own", socket.gethostname())
    assert 0 <= int(milliseconds) <= 10_500


@pytest.mark.parametrize(
    ("answer", "said"),
    [(b"ku\x81\x85" + bytes(8), []), (b"xx", ["server 127.0.0.1"]), (None, ["server 127.0.0.1"])],
)
def test_the_script_asks_nameservers(answer: bytes | None, said: list[str]) -> None:
    """Any answer to its question is one, also a refusal; another's is not, nor is silence."""
    questions = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            for _ in range(1 if said == [] else 2):  # it asks again where there was no answer
                question, source = server.recvfrom(512)
                questions.append(question)
                if answer is not None:
                    server.sendto(answer, source)

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        script = _ASK.replace("$0/53", f"$0/{server.getsockname()[1]}")
        command = ["sh", "-c", script, "sh", "-", "server:127.0.0.1"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        serving.join(10)
    assert done.stdout.splitlines() == said
    # One question (of the Internet, for nameservers, of the root), with recursion desired.
    assert questions[0] == b"ku\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01"


def test_what_was_not_asked_is_no_problem() -> None:
    assert list(judge("", {}, (), "")) == []
