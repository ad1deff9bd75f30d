"""Which changes of etcd's membership lead from what it is to what the inventory wants, and which are refused."""

import json
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from kubeup.deploy import members as module
from kubeup.deploy.members import (
    Members,
    Peer,
    Seat,
    Step,
    check_members,
    members,
    remove_member,
    steps,
    why_not_remove,
)
from kubeup.deploy.run import Run
from kubeup.errors import HostsFailed, KubeupError
from kubeup.host.reading import Entry, Reading
from kubeup.roles.etcd import FIRST_START, MEMBERS, WAL


def url(number: int) -> str:
    return f"https://10.0.0.{number}:2380"


def member(number: int, **more: Any) -> Peer:
    """A healthy member on host n<number>."""
    return replace(Peer(number, f"n{number}", (url(number),), (f"https://10.0.0.{number}:2379",), answers=True), **more)


def seat(number: int, *, data: bool = True, first_start: bool = False) -> Seat:
    return Seat(f"n{number}", url(number), data, first_start)


def bare(number: int) -> Seat:
    return seat(number, data=False)


dead: dict[str, Any] = {"answers": False}
added: dict[str, Any] = {"name": "", "client_urls": (), "answers": False, "learner": True}
"""As `member add --learner` leaves it."""

TABLE: dict[str, tuple[Sequence[Peer], Sequence[Seat], list[Step]]] = {
    "as it shall be": ([member(1), member(2), member(3)], [seat(1), seat(2), seat(3)], []),
    "in another order": ([member(2), member(1)], [seat(1), seat(2)], []),
    "one that is down is not another matter": (
        [member(1), member(2, **dead), member(3)],
        [seat(1), seat(2), seat(3)],
        [],
    ),
    "two more": (
        [member(1)],
        [seat(1), bare(2), bare(3)],
        [Step("join", "n2", clear=True), Step("join", "n3", clear=True)],
    ),
    "the first is removed": (
        [member(1), member(2), member(3)],
        [seat(2), seat(3)],
        [Step("remove", "n1", 1)],
    ),
    "a living one is replaced: the new one first": (
        [member(1), member(2), member(3)],
        [seat(2), seat(3), bare(4)],
        [Step("join", "n4", clear=True), Step("remove", "n1", 1)],
    ),
    "a dead one is replaced: it goes first": (
        [member(1, **dead), member(2), member(3)],
        [seat(2), seat(3), bare(4)],
        [Step("remove", "n1", 1), Step("join", "n4", clear=True)],
    ),
    "killed between adding and starting": (
        [member(1), member(2, **added)],
        [seat(1), bare(2)],
        [Step("join", "n2", 2, clear=True)],
    ),
    "killed after it was told what to start with": (
        [member(1), member(2, **added)],
        [seat(1), seat(2, data=False, first_start=True)],
        [Step("join", "n2", 2)],
    ),
    "killed while it started": (
        [member(1), member(2, **added)],
        [seat(1), seat(2, first_start=True)],
        [Step("join", "n2", 2)],
    ),
    "killed between starting and promoting": (
        [member(1), member(2, learner=True)],
        [seat(1), seat(2)],
        [Step("promote", "n2", 2)],
    ),
    "a learner that is down is started": (
        [member(1), member(2, learner=True, **dead)],
        [seat(1), seat(2)],
        [Step("join", "n2", 2)],
    ),
    "an unfinished one goes before a new one": (
        [member(1), member(3, **added)],
        [seat(1), bare(2), bare(3)],
        [Step("join", "n3", 3, clear=True), Step("join", "n2", clear=True)],
    ),
    "one was added that is wanted no longer": (
        [member(1), member(2, **added)],
        [seat(1), bare(3)],
        [Step("remove", url(2), 2), Step("join", "n3", clear=True)],
    ),
    "a learner that is wanted no longer goes first": (
        [member(1), member(2, learner=True)],
        [seat(1), bare(3)],
        [Step("remove", "n2", 2), Step("join", "n3", clear=True)],
    ),
    "data of an earlier membership": (
        [member(1), member(3)],
        [seat(1), seat(2), seat(3)],
        [Step("join", "n2", clear=True)],
    ),
    "data of an earlier membership, added again": (
        [member(1), member(2, **added)],
        [seat(1), seat(2)],
        [Step("join", "n2", 2, clear=True)],
    ),
    "lost data": (
        [member(1), member(2, **dead), member(3)],
        [seat(1), bare(2), seat(3)],
        [Step("remove", "n2", 2), Step("join", "n2", clear=True)],
    ),
    "another host of that name": (
        [member(1), member(2, **dead), member(3)],
        [seat(1), Seat("n2", url(9), data=False, first_start=False), seat(3)],
        [Step("remove", "n2", 2), Step("join", "n2", clear=True)],
    ),
    "another host of that name, while the old one still runs": (
        [member(1), member(2), member(3)],
        [seat(1), Seat("n2", url(9), data=False, first_start=False), seat(3)],
        [Step("join", "n2", clear=True), Step("remove", "n2", 2)],
    ),
    "the host has another address": (
        [member(1), member(2, **dead), member(3)],
        [seat(1), Seat("n2", url(9), data=True, first_start=False), seat(3)],
        [Step("update", "n2", 2)],
    ),
    "the first start of all of them is not finished": (
        [member(1), member(2), member(3, name="", client_urls=(), answers=False)],
        [seat(1), seat(2), seat(3, data=False, first_start=True)],
        [],
    ),
    "lost before its first start": (
        [member(1), member(2), member(3, name="", client_urls=(), answers=False)],
        [seat(1), seat(2), bare(3)],
        [Step("join", "n3", 3, clear=True)],
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_steps(case: str) -> None:
    now, wanted, expected = TABLE[case]
    assert steps(now, wanted) == expected


GUARD: dict[str, tuple[list[Peer], str]] = {
    "one of three": ([member(1), member(2), member(3)], ""),
    "the dead one of three": ([member(1, **dead), member(2), member(3)], ""),
    "one of two": ([member(1), member(2)], ""),
    "a learner": ([member(1, learner=True), member(2, **dead)], ""),
    "learners do not decide": ([member(1), member(2), member(3, learner=True)], ""),
    "the only one": ([member(1)], "n1 is the only member"),
    "the only one that decides": ([member(1), member(2, learner=True)], "n1 is the only member"),
    "where another is down": (
        [member(1), member(2), member(3, **dead)],
        "have 2 members, of which 2 must answer, and n3",
    ),
    "of two, where the other is down": (
        [member(1), member(2, **dead)],
        "have 1 members, of which 1 must answer, and n2",
    ),
    "of five, where two are down": (
        [member(1), member(2), member(3), member(4, **dead), member(5, **dead)],
        "have 4 members, of which 3 must answer, and n4, n5 do not",
    ),
    "the dead one of five, where another is down": (
        [member(1, **dead), member(2), member(3), member(4), member(5, **dead)],
        "",
    ),
}


@pytest.mark.parametrize("case", GUARD)
def test_quorum_is_guarded(case: str) -> None:
    now, reason = GUARD[case]
    why = why_not_remove(now, now[0])
    assert (reason in why) if reason else why == ""


# the phase, on an etcd that is a list of members


class Etcd:
    """A Session whose hosts have etcd; ``done`` is what was done to it, in words."""

    def __init__(self, now: list[Peer], readings: dict[str, Reading]) -> None:
        self.now = now
        self.readings = readings
        self.done: list[str] = []
        self.files: dict[str, str] = {}
        self.observer = SimpleNamespace(
            say=lambda text: None, phase_started=lambda title: None, phase_done=lambda title, seconds: None
        )
        self.majority = True
        self.stopped: set[str] = set()
        self.before_change = lambda: None

    def hold(self, names: Any, job: str) -> dict[str, Any]:
        self.done.append("hold")
        return {}

    def read(self, *_: Any, **__: Any) -> dict[str, Reading]:
        return self.readings

    def side_by_side(self, names: Any, function: Any) -> dict[str, Any]:
        return {name: function(name) for name in names}

    def place(self, title: str, name: str, change: Any, material: Any) -> None:
        keys = {item.key for item in change.items}
        assert ("file", MEMBERS) not in keys
        assert ("unit", "kubeup-etcd-users.service") not in keys
        self.done.append(f"place {name}")

    def shell(self, name: str, script: str, *arguments: str, **_: Any) -> Any:
        out = ""
        if script is module._ASK:
            out = self._status(name)
        elif script is module._INSIST:
            self._change(name, arguments[2:])
        elif script in (module._WRITE, module._CLEAR):
            self.files[name] = arguments[1]
            self.done.append(f"{'clear' if script is module._CLEAR else 'tell'} {name}")
        elif script == f"rm -f {MEMBERS}":
            self.done.append(f"unsettle {name}")
        elif script.startswith("systemctl start"):
            number = int(name[1:])
            self.now = [replace(m, name=name, answers=True) if m.peer_urls == (url(number),) else m for m in self.now]
        elif "timeout 30 systemctl start" in script:
            self.stopped.discard(name)
            self.now = [replace(m, answers=True) if m.name == name else m for m in self.now]
        elif "systemctl stop kube-apiserver" in script:
            self.done.append(f"stop the apiserver of {name}")
        elif "move-leader" in script:
            self.done.append(f"lead {arguments[1]}")
        return SimpleNamespace(ok=True, stdout=out, stderr="", exit_code=0)

    def _status(self, name: str) -> str:
        if name in self.stopped:
            return "majority\t\nown\t\n"
        listed = {
            "header": {"cluster_id": 7},
            "members": [
                {
                    "ID": m.id,
                    "name": m.name,
                    "peerURLs": m.peer_urls,
                    "clientURLs": m.client_urls,
                    "isLearner": m.learner,
                }
                for m in self.now
            ],
        }
        leader = next((m.id for m in self.now if m.answers and not m.learner), 0)
        status = [{"Status": {"header": {"member_id": m.id}, "leader": leader}} for m in self.now if m.answers]
        majority = json.dumps(listed) if self.majority else ""
        return f"majority\t{majority}\nown\t{json.dumps(listed)}\nstatus\t{json.dumps(status)}\n"

    def _change(self, source: str, arguments: tuple[str, ...]) -> None:
        self.done.append(f"{source}: {' '.join(arguments[1:3])}")
        match arguments:
            case ("member", "add", name, "--learner", peer):
                number = int(name[1:])
                assert peer == f"--peer-urls={url(number)}"
                self.now = [*self.now, member(number, **added)]
            case ("member", "remove", number):
                self.now = [m for m in self.now if m.id != int(number, 16)]
            case ("member", "promote", number):
                self.now = [replace(m, learner=False) if m.id == int(number, 16) else m for m in self.now]
            case ("member", "update", number, peer):
                peers = (peer.removeprefix("--peer-urls="),)
                self.now = [replace(m, peer_urls=peers) if m.id == int(number, 16) else m for m in self.now]
            case _:
                pytest.fail(f"etcdctl {arguments}")


@pytest.fixture
def make(world: Any) -> Any:
    """Makes a Run for masters with these roles; ``have`` are the numbers of those that are up with data."""

    def make(
        roles: str, *, have: str = "", now: list[Peer] | None = None, before: str = "", **settings: Any
    ) -> tuple[Run, Etcd]:
        cluster = world.cluster(roles, **settings)
        readings = {}
        for node in cluster.nodes:
            facts = world.host(node)
            up = node.name[1:] in have.split()
            was = world.cluster(before or roles, **settings)
            reading = world.holding(world.desired(was, was.node(node.name)), facts) if up else Reading(facts)
            if up:
                reading.facts = replace(reading.facts, present=(WAL,))
            readings[node.name] = reading
        etcd = Etcd(now or [], readings)
        run = Run(cluster, etcd)  # type: ignore[arg-type]
        run.vault = SimpleNamespace(trust=world.trust)  # type: ignore[assignment]
        return run, etcd

    return make


def test_a_new_cluster_starts_side_by_side(make: Any) -> None:
    run, etcd = make("ai ai ai")
    Members().run(run)
    assert etcd.done == ["hold", "tell n1", "tell n2", "tell n3"]
    peers = ",".join(f"n{number}={url(number)}" for number in (1, 2, 3))
    assert set(etcd.files.values()) == {f"ETCD_INITIAL_CLUSTER={peers}\nETCD_INITIAL_CLUSTER_STATE=new\n"}


def test_nothing_is_asked_where_all_is_as_it_shall_be(make: Any) -> None:
    run, etcd = make("ai ai ai i", have="1 2 3 4")
    etcd.shell = lambda *_, **__: pytest.fail("a command was run")  # type: ignore[method-assign]
    Members().run(run)
    assert etcd.done == []


def test_one_becomes_three(make: Any) -> None:
    run, etcd = make("ai ai ai", have="1", now=[member(1)], before="ai i i", flannel={"store": "etcd"})
    Members().run(run)
    assert etcd.done == [
        "hold", "unsettle n1", "unsettle n2", "unsettle n3",
        "n1: add n2", "clear n2", "place n2", "n1: promote 2",
        "n1: add n3", "clear n3", "place n3", "n1: promote 3",
    ]  # fmt: skip
    assert [(m.name, m.learner) for m in etcd.now] == [("n1", False), ("n2", False), ("n3", False)]
    peers = ",".join(f"n{number}={url(number)}" for number in (1, 2, 3))
    assert etcd.files["n3"] == f"ETCD_INITIAL_CLUSTER={peers}\nETCD_INITIAL_CLUSTER_STATE=existing\n"
    assert ("n2", ("unit", "etcd.service")) in run.placed
    assert ("n2", ("file", MEMBERS)) not in run.placed


def test_what_was_placed_ahead_is_not_placed_again(make: Any) -> None:
    from kubeup.deploy.phases import Converge
    from kubeup.roles import etcd as role

    run, _ = make("ai ai ai", have="1", now=[member(1)], before="ai i i")
    Members().run(run)
    left = {name: [item.key for item in change.items] for name, change in Converge("etcd", [role]).changes(run).items()}
    assert left == {name: [("file", MEMBERS)] for name in ("n1", "n2", "n3")}


def test_the_leader_hands_over_before_it_goes(make: Any) -> None:
    run, etcd = make("i ai ai", have="1 2 3", now=[member(1), member(2), member(3)], before="ai ai ai")
    Members().run(run)
    assert etcd.done == [
        "hold", "unsettle n2", "unsettle n3", "stop the apiserver of n1", "lead 2", "n2: remove 1",
    ]  # fmt: skip


def test_lost_data(make: Any) -> None:
    run, etcd = make("ai ai ai", have="1 2 3", now=[member(1), member(2, **dead), member(3)])
    etcd.readings["n2"].facts = replace(etcd.readings["n2"].facts, present=())
    Members().run(run)
    assert etcd.done == ["hold", "n1: remove 2", "n1: add n2", "clear n2", "place n2", "n1: promote 2"]
    assert ("file", MEMBERS) not in {item.key for item in run.changes["n1"].items}


def test_a_removal_that_would_lose_the_majority_is_refused(make: Any) -> None:
    now = [member(1), member(2), member(3, **dead)]
    run, etcd = make("i ai ai", have="1 2 3", now=now, before="ai ai ai")
    with pytest.raises(KubeupError, match="n1 cannot be taken out of etcd: without n1 etcd would have 2 members"):
        Members().run(run)
    assert etcd.now == now


def test_what_cannot_be_done_is_told_before_anything_is_touched(make: Any) -> None:
    now = [member(1), member(2), member(3, **dead)]
    run, etcd = make("i ai ai", have="1 2 3", now=now, before="ai ai ai")
    with pytest.raises(KubeupError, match="n1 cannot be taken out of etcd"):
        check_members(run)
    run, etcd = make("ai ai ai ai ai", have="1 2 3", now=now, before="ai ai ai i i")
    with pytest.raises(KubeupError, match="n4 cannot become a member of etcd while n3 does not answer"):
        check_members(run)
    run, etcd = make("i i ai", have="1 2 3", now=[member(1), member(2), member(3)], before="ai ai ai")
    check_members(run)
    assert etcd.done == []


def test_a_dead_member_that_goes_is_in_nobodys_way(make: Any) -> None:
    now = [member(1), member(2), member(3, **dead)]
    run, etcd = make("ai ai i ai", have="1 2 3", now=now, before="ai ai ai i")
    check_members(run)
    Members().run(run)
    assert [str(m) for m in etcd.now] == ["n1", "n2", "n4"]


def test_a_member_that_is_stopped_is_started_before_another_comes(make: Any) -> None:
    now = [member(1), member(2), member(3, **dead)]
    run, etcd = make("ai ai ai ai ai", have="1 2 3", now=now, before="ai ai ai i i")
    etcd.stopped = {"n3"}
    check_members(run)
    Members().run(run)
    assert [str(m) for m in etcd.now] == ["n1", "n2", "n3", "n4", "n5"]


def test_without_a_majority_nothing_is_changed_and_the_reason_told(make: Any) -> None:
    now = [member(1), member(2, **dead), member(3, **dead)]
    run, etcd = make("ai ai", have="1 2", now=now, before="ai ai ai")
    etcd.majority = False
    with pytest.raises(KubeupError, match="of its 3 members 2 must answer, and n2, n3 do not"):
        Members().run(run)
    assert etcd.done == []


def test_members_that_only_have_to_be_started_are_left_to_that(make: Any) -> None:
    run, etcd = make("ai ai ai", have="1 2 3", now=[member(1), member(2), member(3)])
    del etcd.readings["n1"].record["unit", "etcd.service"]
    etcd.majority = False
    Members().run(run)
    assert etcd.done == []


def test_etcd_that_is_stopped_is_started_to_be_asked(make: Any) -> None:
    run, etcd = make("ai ai ai", have="1", now=[member(1)], before="ai i i")
    etcd.stopped = {"n1"}
    Members().run(run)
    assert [m.name for m in etcd.now] == ["n1", "n2", "n3"]


@pytest.mark.parametrize("loss", ["of one", "of all", "replaced", "before the first apiserver"])
def test_where_the_data_are_gone_no_empty_cluster_is_made(make: Any, loss: str) -> None:
    run, etcd = make("ai ai ai" if loss == "of all" else "ai", have="1 2 3")
    for reading in etcd.readings.values():
        reading.facts = replace(reading.facts, present=())
        if loss == "before the first apiserver":
            del reading.record["unit", "kube-apiserver.service"]
        if loss == "replaced":  # etcd was elsewhere
            del reading.record["unit", "etcd.service"]
    with pytest.raises(KubeupError, match="a new etcd would be an empty cluster"):
        Members().run(run)
    assert etcd.done == []


def test_a_first_start_that_was_cut_short_goes_on(make: Any) -> None:
    run, etcd = make("ai ai ai")
    Members().run(run)
    text = etcd.files["n1"]
    again, etcd = make("ai ai ai")
    for name, reading in etcd.readings.items():
        reading.texts[FIRST_START] = text
        if name == "n1":
            reading.facts = replace(reading.facts, present=(WAL,))
            reading.record["unit", "etcd.service"] = Entry("pending", "-", "absent")
    Members().run(again)
    assert etcd.done == []
    etcd.readings["n3"].texts.clear()
    with pytest.raises(KubeupError, match="have changed while it was being started for the first time"):
        Members().run(again)


def test_hosts_that_a_run_is_not_on_keep_their_members(make: Any) -> None:
    """The fifth, which is dead, is taken out; the second is down and stays, as does a sixth that never joined."""
    now = [member(1), member(2, **dead), member(3), member(4), member(5, **dead)]
    run, etcd = make("ai ai ai ai i ai", have="1 3 4", now=now, before="ai ai ai ai ai ai")
    run.scope = frozenset({"n1", "n3", "n4"})
    for name in ("n2", "n5", "n6"):
        etcd.readings.pop(name)
    Members().run(run)
    assert etcd.done == ["hold", "unsettle n1", "unsettle n3", "unsettle n4", "n1: remove 5"]


def test_two_clusters_are_told(make: Any) -> None:
    run, etcd = make("ai ai", have="1 2", now=[member(1), member(2)])
    del etcd.readings["n1"].record["unit", "etcd.service"]
    answer = etcd._status

    def two(name: str) -> str:
        return answer(name).replace('"cluster_id": 7', f'"cluster_id": {name[1:]}')

    etcd._status = two  # type: ignore[method-assign]
    with pytest.raises(KubeupError, match="n1, n2 are different clusters"):
        Members().run(run)


# for other jobs


def test_members_are_read(make: Any) -> None:
    run, _ = make("ai ai", have="1 2", now=[member(1), member(2, **dead)])
    assert members(run) == [member(1, leader=True), member(2, **dead)]


def test_a_member_is_removed_by_its_hosts_name(make: Any) -> None:
    run, etcd = make("i ai ai", have="2 3", now=[member(1, **dead), member(2), member(3)])
    remove_member(run, "n1")
    assert etcd.done == ["hold", "unsettle n2", "unsettle n3", "n2: remove 1"]
    remove_member(run, "n1")
    assert [m.id for m in etcd.now] == [2, 3]


def test_what_etcd_refuses_is_told(make: Any) -> None:
    run, etcd = make("ai ai ai", have="1 2 3", now=[member(1), member(2), member(3)])
    answer = etcd.shell

    def refusing(name: str, script: str, *arguments: str, **more: Any) -> Any:
        if script is module._INSIST:
            return SimpleNamespace(ok=False, stdout="", stderr="Error: etcdserver: unhealthy cluster", exit_code=1)
        return answer(name, script, *arguments, **more)

    etcd.shell = refusing  # type: ignore[method-assign]
    with pytest.raises(HostsFailed, match=r"etcdctl member remove 3: exit code 1\n.*unhealthy cluster"):
        remove_member(run, "n3")
