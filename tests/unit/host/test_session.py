"""Sessions on pyinfra's @fake connector, which records commands and answers what it is told to."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from paramiko import ChannelException, SSHException

from kubeup.cluster import Cluster
from kubeup.errors import HostsFailed, KubeupError
from kubeup.host.difference import Change, Item, difference
from kubeup.host.reading import Entry, Reading
from kubeup.host.resources import Blob, File, Secret
from kubeup.host.session import AT_ONCE, NO_SUDO_REMEDY, Session, _tell_broken, ssh_data

ANSWER = (Path(__file__).parent / "reading.txt").read_text().splitlines()
READ, APPLY, RECEIVE = "kubeup quick", "kubeup-apply", "kubeup-receive"
NO_SUDO = ["user me may not become root: sudo is missing or wants a password", "kubeup-exit-code 77"]


class FakeHosts:
    """Sessions to the nodes of a cluster of three that do not exist."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.answers: dict[str, dict[str, Any]] = {
            node.name: {READ: ANSWER, "mktemp": "/tmp/folder"}  # noqa: S108  a name alone
            for node in cluster.nodes
        }
        """What a host answers to a command that contains a text; what is not said succeeds and prints nothing."""

    def session(self, **options: Any) -> Session:
        def fake(node: Any) -> tuple[str, dict[str, Any]]:
            data = {"fake_responses": self.answers[node.name], "fake_delay": 0, "fake_delay_jitter": 0}
            return f"@fake/{node.name}", data

        session = Session(self.cluster, connector=fake, **options)
        session.connect()
        return session


def answers(session: Session, node: str) -> dict[str, Any]:
    """What a host answers from now on, to be changed."""
    now: dict[str, Any] = session._hosts[node].connector.data["fake_responses"]
    return now


def commands(session: Session, node: str) -> list[str]:
    """What was run on a node."""
    executed: list[str] = session._hosts[node].connector.executed_commands  # type: ignore[attr-defined]
    return executed


@pytest.fixture
def hosts(world: Any) -> FakeHosts:
    return FakeHosts(world.cluster())


@pytest.fixture
def session(hosts: FakeHosts) -> Iterator[Session]:
    with hosts.session() as session:
        yield session


def adding(*names: str) -> dict[str, Change]:
    file = File("/etc/a", "a")
    return {name: Change(name, [Item("add", file.key, "", "role", file)]) for name in names}


# Commands: an unchanged host costs one, see design.md.


def test_an_unchanged_host_costs_one_command(session: Session, world: Any) -> None:
    readings = session.read()
    # With a change on another host, so that there is a phase at all.
    session.apply("Phase", {**adding("n2"), "n1": Change("n1")}, world.material())
    assert set(readings) == {"n1", "n2", "n3"}
    assert [len(commands(session, name)) for name in readings] == [1, 2, 1]
    assert session.commands == {"n1": 1, "n2": 2, "n3": 1}


def test_phases_do_not_add_to_an_unchanged_hosts_commands(session: Session, world: Any) -> None:
    session.read()
    for phase in ("Authorities", "Components", "Hosts", "etcd", "Control plane", "Nodes", "Tidy"):
        session.apply(phase, {name: Change(name) for name in ("n1", "n2", "n3")}, world.material())
    assert session.commands == {"n1": 1, "n2": 1, "n3": 1}


def test_several_phases_use_the_same_connections(session: Session, world: Any) -> None:
    connectors = [host.connector for host in session._hosts.values()]
    for phase in ("first", "second"):
        session.apply(phase, adding("n1", "n3"), world.material())
    assert [host.connector for host in session._hosts.values()] == connectors
    assert session.commands == {"n1": 2, "n3": 2}


def test_large_files_are_one_command_more(session: Session, world: Any, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "packed").write_bytes(b"packed")
    artifact = world.artifact("a", "1")
    object.__setattr__(artifact, "path", tmp_path / "packed")
    material = world.material()
    monkeypatch.setattr(material, "artifact", lambda *_: artifact)
    change = adding("n1")["n1"]
    change.items += [Item("add", ("blob", f"/opt/{i}"), "", resource=Blob(f"/opt/{i}", "a", "1")) for i in range(5)]
    session.apply("Phase", {"n1": change}, material)
    ran = commands(session, "n1")
    # On connections that are no SSH, the stream goes by way of a file, in a folder that is made and removed.
    kinds = ("mktemp -d", RECEIVE, "rm -rf /tmp/folder", APPLY)
    assert [next(kind for kind in kinds if kind in command) for command in ran] == list(kinds)
    assert session.commands == {"n1": 2}


def test_hosts_are_spoken_to_side_by_side(session: Session) -> None:
    together: list[str] = []

    def wait_for_all(name: str) -> int:
        together.append(name)
        while len(together) < 3:
            gevent.sleep(0)
        return len(name)

    with gevent.Timeout(5):
        assert session.side_by_side(["n1", "n2", "n3"], wait_for_all) == {"n1": 2, "n2": 2, "n3": 2}


def test_what_fails_for_one_does_not_hide_the_others(session: Session) -> None:
    def fail_for_one(name: str) -> str:
        if name == "n2":
            raise ValueError(name)
        return name

    outcome = session.side_by_side(["n1", "n2", "n3"], fail_for_one)
    assert (outcome["n1"], outcome["n3"]) == ("n1", "n3")
    assert isinstance(outcome["n2"], ValueError)


# Failures


def test_a_command_that_fails_says_what_it_printed(hosts: FakeHosts) -> None:
    said = {"success": False, "stdout": "out", "stderr": ["one", "two", "kubeup-exit-code 3"]}
    hosts.answers["n1"]["false"] = said
    with hosts.session() as session:
        output = session.shell("n1", "false")
    assert (output.stdout, output.stderr, output.exit_code, output.ok) == ("out", "one\ntwo", 3, False)


def test_a_command_that_was_cut_off_has_no_exit_code(hosts: FakeHosts) -> None:
    hosts.answers["n1"]["sleep"] = {"success": False}
    with hosts.session() as session:
        assert session.shell("n1", "sleep").exit_code is None
        assert session.shell("n1", "true").ok


def test_a_connection_that_pyinfra_does_not_expect_to_break(hosts: FakeHosts, world: Any, monkeypatch: Any) -> None:
    """EOFError is what paramiko raises then. It would end the command as if a person had; see kubeup.host.transfer."""
    with hosts.session() as session:

        def gone(*_: Any, **__: Any) -> Any:
            raise EOFError

        connector = session._hosts["n1"].connector
        monkeypatch.setattr(connector, "run_shell_command", gone)
        _tell_broken(connector)
        output = session.shell("n1", "true")
        assert (output.exit_code, output.stderr) == (None, "the connection broke: the other side closed it")
        with pytest.raises(HostsFailed) as raised:
            session.apply("Files", adding("n1", "n2"), world.material())
        (failed,) = raised.value.failures
        assert (failed.host, failed.exit_code, failed.output) == ("n1", None, "the connection broke")


def test_a_host_that_cannot_be_read(hosts: FakeHosts) -> None:
    hosts.answers["n2"][READ] = {"success": False, "stderr": ["no awk", "kubeup-exit-code 127"]}
    with hosts.session() as session, pytest.raises(HostsFailed) as caught:
        session.read()
    (failure,) = caught.value.failures
    assert (failure.host, failure.exit_code, failure.output) == ("n2", 127, "no awk")
    assert "n2: reading what the host holds: exit code 127\n" in str(caught.value)


def test_an_answer_that_was_cut_off(hosts: FakeHosts) -> None:
    with hosts.session() as session:
        answers(session, "n3")[READ] = ANSWER[:30]
        with pytest.raises(HostsFailed, match="reading the hosts failed on n3") as caught:
            session.read()
    (failure,) = caught.value.failures
    assert failure.output == "the host's answer was cut off"


def test_without_sudo_there_is_a_remedy(hosts: FakeHosts, world: Any) -> None:
    hosts.answers["n1"][APPLY] = {"success": False, "stderr": NO_SUDO}
    with hosts.session() as session:
        with pytest.raises(HostsFailed) as caught:
            session.apply("Phase", adding("n1", "n2"), world.material())
        answers(session, "n1")[READ] = {"success": False, "stderr": NO_SUDO}
        with pytest.raises(HostsFailed) as reading:
            session.read()
    for error in (caught.value, reading.value):
        (failure,) = error.failures
        assert (failure.host, failure.exit_code, failure.remedy) == ("n1", 77, NO_SUDO_REMEDY)
        assert "user me may not become root" in str(error)
        assert f"-> {NO_SUDO_REMEDY}" in str(error)


def test_a_full_disk_has_a_remedy(hosts: FakeHosts, world: Any) -> None:
    stderr = ["cp: error writing 'x': No space left on device", "kubeup-exit-code 1"]
    hosts.answers["n1"][APPLY] = {"success": False, "stderr": stderr}
    with hosts.session() as session, pytest.raises(HostsFailed, match="-> free some space on this host"):
        session.apply("Phase", adding("n1"), world.material())


@pytest.mark.parametrize("failing", [["n1"], ["n1", "n3"], ["n1", "n2", "n3"]])
def test_hosts_that_fail_do_not_hide_the_others(hosts: FakeHosts, world: Any, failing: list[str]) -> None:
    for name in failing:
        stderr = [f"{name} is tired", "failed while linking /opt/a", "kubeup-exit-code 1"]
        hosts.answers[name][APPLY] = {"success": False, "stderr": stderr}
    with hosts.session() as session, pytest.raises(HostsFailed) as caught:
        session.apply("etcd", adding("n1", "n2", "n3"), world.material())
    assert [failure.host for failure in caught.value.failures] == failing
    for failure in caught.value.failures:
        assert failure.command == "etcd: applying the change (kubeup-apply)"
        assert failure.output == f"{failure.host} is tired\nfailed while linking /opt/a"
        assert failure.exit_code == 1
    assert all(len(commands(session, name)) == 1 for name in ("n1", "n2", "n3"))


def test_a_phase_after_a_failure_starts_afresh(hosts: FakeHosts, world: Any) -> None:
    hosts.answers["n1"][APPLY] = {"success": False, "stderr": "kubeup-exit-code 1"}
    with hosts.session() as session:
        with pytest.raises(HostsFailed):
            session.apply("first", adding("n1", "n2"), world.material())
        del answers(session, "n1")[APPLY]
        session.apply("second", adding("n1", "n2"), world.material())


def test_a_damaged_component_is_told_with_its_host(session: Session, world: Any) -> None:
    change = Change("n1", [Item("add", ("blob", "/opt/a"), "", resource=Blob("/opt/a", "a", "1"))])
    with pytest.raises(HostsFailed) as caught:
        session.apply("Components", {"n1": change, **adding("n2")}, world.material(broken="a"))
    (failure,) = caught.value.failures
    assert (failure.host, failure.output) == ("n1", "a is damaged")
    assert commands(session, "n1") == []


def test_a_secret_that_is_lost_is_told_as_it_is(session: Session, world: Any, monkeypatch: Any) -> None:
    material = world.material()

    def lost(name: str) -> str:
        raise KubeupError("no master has it any more")

    monkeypatch.setattr(material, "secret", lost)
    secret = Secret("/etc/ca.key", "ca", "1")
    change = Change("n1", [Item("add", secret.key, "", resource=secret)])
    with pytest.raises(KubeupError, match="no master has it any more"):
        session.apply("Authorities", {"n1": change}, material)


# What observers are told


class Heard:
    """An Observer that writes down what it is told, without times."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def say(self, text: str) -> None: ...
    def checked(self, name: str, ok: bool, detail: str) -> None: ...

    def phase_started(self, title: str) -> None:
        self.heard.append(("phase", title))

    def host_started(self, title: str, host: str) -> None:
        self.heard.append(("start", host))

    def host_done(self, title: str, host: str, seconds: float, changed: int, failed: bool) -> None:
        self.heard.append(("done", host, changed, failed))

    def phase_done(self, title: str, seconds: float) -> None:
        self.heard.append(("phase done", title))


def test_observers_hear_of_hosts_that_change(hosts: FakeHosts, world: Any) -> None:
    hosts.answers["n2"][APPLY] = {"success": False}
    observer = Heard()
    with hosts.session(observer=observer) as session:
        session.apply("first", {**adding("n1"), "n2": Change("n2")}, world.material())
        with pytest.raises(HostsFailed):
            session.apply("second", adding("n1", "n2"), world.material())
    assert observer.heard[:4] == [
        ("phase", "first"),
        ("start", "n1"),
        ("done", "n1", 1, False),
        ("phase done", "first"),
    ]
    assert sorted(observer.heard[4:]) == sorted(
        [
            ("phase", "second"),
            *(("start", "n1"), ("done", "n1", 1, False)),
            *(("start", "n2"), ("done", "n2", 1, True)),
        ]
    )


def test_secrets_get_into_no_command(hosts: FakeHosts, world: Any) -> None:
    cluster = hosts.cluster
    node = cluster.nodes[0]
    change = difference(node.name, world.desired(cluster, node), Reading(world.host(node)))
    change = change.part(lambda item: not isinstance(item.resource, Blob))
    change.items.append(Item("remove", ("file", "/etc/old"), "", entry=Entry("", "", "absent")))
    with hosts.session() as session:
        session.apply("all", {node.name: change}, world.material())
        (command,) = commands(session, node.name)
    assert "PRIVATE KEY" not in command
    assert len(command) < 30_000  # the script itself: what it works on comes by its standard input


# Connecting


def test_settings_of_ssh(world: Any) -> None:
    cluster = world.cluster("ai", ssh={"user": "me", "port": 2222, "key": "/k", "known_hosts": "/h"})
    assert ssh_data(cluster, cluster.nodes[0]) == {
        "ssh_hostname": "10.0.0.1",
        "ssh_user": "me",
        "ssh_port": 2222,
        "ssh_key": "/k",
        "ssh_known_hosts_file": "/h",
        "ssh_strict_host_key_checking": "yes",
        "ssh_look_for_keys": False,
        "ssh_allow_agent": False,
    }
    bare = world.cluster("ai")
    assert ssh_data(bare, bare.nodes[0], accept_new_host_keys=True) == {
        "ssh_hostname": "10.0.0.1",
        "ssh_strict_host_key_checking": "accept-new",
        "ssh_look_for_keys": True,
        "ssh_allow_agent": True,
    }


@pytest.mark.parametrize(
    ("error", "text", "remedy"),
    [
        ("No host key for 10.0.0.2 found in known_hosts", "the host key of 10.0.0.2 is not known", "--accept-new-host"),
        ("Host key for server '10.0.0.2' does not match", "not the one in known_hosts", "ssh-keygen -R 10.0.0.2"),
        ("Authentication failed.", "does not let this user in", "try: ssh 10.0.0.2"),
        ("timed out", "timed out", "is the host up"),
    ],
)
def test_a_host_that_cannot_be_reached(session: Session, monkeypatch: Any, error: str, text: str, remedy: str) -> None:
    def refuse(**_: Any) -> None:
        raise OSError(error)

    session.close()
    monkeypatch.setattr(session._hosts["n2"], "connect", refuse)
    with pytest.raises(HostsFailed) as caught:
        session.connect()
    (failure,) = caught.value.failures
    assert (failure.host, failure.command, failure.exit_code) == ("n2", "ssh 10.0.0.2", None)
    assert text in failure.output
    assert remedy in failure.remedy
    assert session._hosts["n1"].connected


def test_a_host_gets_few_commands_at_once(hosts: FakeHosts, monkeypatch: Any) -> None:
    with hosts.session() as session:
        session.connect()
        running = most = 0

        def count(*_: Any, **__: Any) -> Any:
            nonlocal running, most
            running += 1
            most = max(most, running)
            gevent.sleep(0.001)
            running -= 1
            return True, SimpleNamespace(stdout="", stderr_lines=[])

        monkeypatch.setattr(session._hosts["n1"], "run_shell_command", count)
        gevent.joinall([gevent.spawn(session.shell, "n1", "true") for _ in range(30)], raise_error=True)
        assert (running, most) == (0, AT_ONCE)


@pytest.mark.parametrize(
    ("refusal", "runs"),
    [
        (ChannelException(2, "Connect failed"), True),
        (SSHException("Unable to open channel."), True),
        (SSHException("Timeout opening channel."), False),
    ],
)
def test_a_session_that_is_not_granted_is_asked_for_again(
    hosts: FakeHosts, monkeypatch: Any, refusal: Exception, runs: bool
) -> None:
    monkeypatch.setattr("kubeup.host.session.gevent.sleep", lambda _: None)
    with hosts.session() as session:
        session.connect()
        refusals = [refusal] * 3

        def refuse(*_: Any, **__: Any) -> Any:
            if refusals:
                raise refusals.pop()
            return True, SimpleNamespace(stdout="done", stderr_lines=[])

        monkeypatch.setattr(session._hosts["n1"], "run_shell_command", refuse)
        output = session.shell("n1", "true")
        assert output.ok is runs
        refusals += [refusal] * 100
        assert "the connection broke" in session.shell("n1", "true").stderr
