"""Who is in etcd: the members of the cluster are made those that the inventory has, before their services are.

Nothing is decided by a record of what was done before, but by what etcd itself says and by what lies on the hosts. So a
run that was killed anywhere is made good by the next, and no member has a special standing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from kubeup.checks.preflight import APISERVER
from kubeup.deploy.run import Run
from kubeup.errors import HostFailure, HostsFailed, KubeupError
from kubeup.host.converge import is_blob
from kubeup.host.difference import Item
from kubeup.host.reading import Key, Reading
from kubeup.host.session import Output, failure
from kubeup.roles.etcd import DATA, ETCDCTL, FIRST_START, MEMBERS, WAL, peer_url
from kubeup.roles.etcd_client import access, etcdctl

UNIT = "etcd.service"

CHANGE_LIMIT = 60
"""Seconds after which a change of members that etcd refuses is given up. It refuses any for 5 s after the last one."""

SYNC_LIMIT = 900
"""Seconds that a new member may take to get a copy of the data."""


@dataclass(frozen=True)
class Peer:
    """A member of etcd's cluster, as the others know it."""

    id: int
    name: str
    """As it introduced itself when it started the first time; until then it has none."""
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...] = ()
    learner: bool = False
    """It gets a copy of the data, and does not decide yet."""
    answers: bool = False
    leader: bool = False

    @property
    def started(self) -> bool:
        """Whether it has ever been in the cluster."""
        return bool(self.name)

    def __str__(self) -> str:
        return self.name or self.peer_urls[0]


@dataclass(frozen=True)
class Seat:
    """A host that shall have a member."""

    name: str
    peer_url: str
    data: bool
    """A member's data lie there."""
    first_start: bool
    """It was told what to start with, and has not been ready since."""


@dataclass(frozen=True)
class Step:
    """One change of the membership. ``id`` is the member's, None for one that has to be added."""

    do: Literal["remove", "update", "join", "promote"]
    name: str
    id: int | None = None
    clear: bool = False
    """Whether what lies on the host is of an earlier membership, and is moved out of the way."""


def steps(members: Sequence[Peer], seats: Sequence[Seat]) -> list[Step]:
    """What makes ``members`` those of ``seats``, in this order: one change at a time, and never two that are not ready.

    Dead ones go first, so that they do not count when the others decide; those that live go last, when the new ones can
    take over.
    """
    seated = _seated(members, seats)
    leaving = [m for m in members if m not in seated.values()]
    result = [Step("remove", str(m), m.id) for m in leaving if m.learner or not m.answers]
    joins: list[Step] = []
    for seat in seats:
        member = seated.get(seat.name)
        if member is None:
            joins.append(Step("join", seat.name, clear=True))
        elif not member.started:
            # One that was told to start a new cluster, with others, starts by itself; see Wanted.
            if member.learner or not seat.first_start:
                joins.append(Step("join", seat.name, member.id, clear=not seat.first_start))
        elif not seat.data and not member.answers:  # its data were lost: it must not vote as who it was
            joins += [Step("remove", seat.name, member.id), Step("join", seat.name, clear=True)]
        else:
            if seat.peer_url not in member.peer_urls:
                result.append(Step("update", seat.name, member.id))
            if member.learner and member.answers:
                result.append(Step("promote", seat.name, member.id))
            elif member.learner:
                joins.insert(0, Step("join", seat.name, member.id))
    # etcd takes no second learner: one that was added is brought in before another is.
    joins.sort(key=lambda step: step.do != "join" or step.id is None)
    last = [Step("remove", str(m), m.id) for m in leaving if m.answers and not m.learner]
    return [*result, *joins, *last]


def _seated(members: Sequence[Peer], seats: Sequence[Seat]) -> dict[str, Peer]:
    """The member on each host: known by its address, or by its name where its host has another address now."""
    found = {seat.name: m for seat in seats for m in members if seat.peer_url in m.peer_urls}
    for seat in seats:
        if seat.name not in found and seat.data:
            namesake = next((m for m in members if m.name == seat.name and m not in found.values()), None)
            found |= {seat.name: namesake} if namesake else {}
    return found


def why_not_remove(members: Sequence[Peer], member: Peer) -> str:
    """Why a member must not be removed now, or "" when it may be: the others need a majority that answers."""
    if member.learner:
        return ""
    left = [m for m in members if not m.learner and m.id != member.id]
    if not left:
        return f"{member} is the only member of etcd: all data of the cluster are its"
    living = [m for m in left if m.answers]
    needed = len(left) // 2 + 1
    if len(living) >= needed:
        return ""
    silent = ", ".join(str(m) for m in left if not m.answers)
    return (
        f"without {member} etcd would have {len(left)} members, of which {needed} must answer, "
        f"and {silent} {'does' if len(left) - len(living) == 1 else 'do'} not"
    )


def refused(members: Sequence[Peer], to_do: Sequence[Step]) -> str:
    """Why these steps must not be begun, or "": at each of them those that decide must keep their majority."""
    now = {m.id: m for m in members}
    for number, step in enumerate(to_do):
        member = now.get(step.id) if step.id is not None else None
        if step.do == "remove" and member:
            if why := why_not_remove(list(now.values()), member):
                return (
                    f"{member} cannot be taken out of etcd: {why}. "
                    "Start what does not answer (journalctl -u etcd there says why it does not), or take that out first"
                )
            del now[member.id]
        elif step.do == "join":
            silent = [str(m) for m in now.values() if not m.answers and not m.learner and m.id != step.id]
            if silent and step.id is None:
                return (
                    f"{step.name} cannot become a member of etcd while {', '.join(silent)} does not answer: "
                    "etcd takes no new one then. "
                    "Start that (journalctl -u etcd there says why it does not run), or take it out"
                )
            new = step.id if step.id is not None else -number - 1
            now[new] = Peer(new, step.name, (), answers=True)
        elif member:
            now[member.id] = replace(member, learner=member.learner and step.do != "promote")
    return ""


# What is asked of a member's host: the members as a majority has them, as this one has them, and who of them answers.
_ASK = f"""
etcdctl() {{ {ETCDCTL} --dial-timeout=1s "$@" 2>/dev/null; }}
printf 'majority\\t%s\\n' "$(etcdctl --command-timeout=5s member list -w json)"
own=$(etcdctl --command-timeout=2s member list -w json --consistency=s)
printf 'own\\t%s\\n' "$own"
urls=$(etcdctl --command-timeout=2s member list --consistency=s | awk -F', ' '$5 != "" {{print $5}}' | paste -sd, -)
[ -z "$urls" ] || printf 'status\\t%s\\n' "$(etcdctl --command-timeout=4s --endpoints="$urls" endpoint status -w json)"
"""

# $1: seconds; $2: the end of what etcdctl says where it was done already; then etcdctl's arguments.
_INSIST = f"""
etcdctl() {{ {ETCDCTL} "$@"; }}
end=$(($(date +%s) + $1)) done=$2
shift 2
until said=$(etcdctl "$@" 2>&1); do
    case $said in *"$done") break ;; esac
    if [ "$(date +%s)" -ge "$end" ]; then printf '%s\\n' "$said" | grep -v '^{{' >&2; exit 1; fi
    sleep 0.5
done
"""

# $1: the file, $2: its content
_WRITE = 'umask 077; mkdir -p "${1%/*}"; printf "%s" "$2" >"$1.new" && mv "$1.new" "$1"'

# Stops what runs, and moves data of an earlier membership away; one set of them is kept. Then as _WRITE.
_CLEAR = f"""
set -e
if systemctl cat {UNIT} >/dev/null 2>&1; then systemctl stop {UNIT}; fi
if [ -e {WAL} ]; then rm -rf {DATA}/member.removed; mv {DATA}/member {DATA}/member.removed; fi
rm -rf {DATA}/member
{_WRITE}
"""


@dataclass(frozen=True)
class Answer:
    """What the member on one host says. None where there is no majority, or where it does not run."""

    majority: list[Peer] | None
    own: list[Peer] | None
    cluster_id: int = 0


def _answer(text: str) -> Answer:
    said: dict[str, Any] = {}
    for line in text.splitlines():
        tag, _, value = line.partition("\t")
        said[tag] = json.loads(value) if value.strip() else None
    status = {
        each["Status"]["header"]["member_id"]: each["Status"]
        for each in said.get("status") or []
        if "member_id" in each["Status"].get("header", {})
    }

    def read(listed: Any) -> list[Peer] | None:
        return [_member(each, status.get(each["ID"])) for each in listed["members"]] if listed else None

    header = (said.get("majority") or {}).get("header", {})
    return Answer(read(said.get("majority")), read(said.get("own")), header.get("cluster_id", 0))


def _member(listed: Mapping[str, Any], status: Mapping[str, Any] | None) -> Peer:
    return Peer(
        id=listed["ID"],
        name=listed.get("name", ""),
        peer_urls=tuple(listed.get("peerURLs", ())),
        client_urls=tuple(listed.get("clientURLs", ())),
        learner=listed.get("isLearner", False),
        answers=status is not None,
        leader=status is not None and status.get("leader") == listed["ID"],
    )


def _ask(run: Run, names: Sequence[str]) -> dict[str, Answer]:
    """What the members on these hosts say."""
    answers: dict[str, Answer] = {}
    for name, output in run.session.side_by_side(names, lambda name: run.session.shell(name, _ASK, timeout=60)).items():
        if isinstance(output, Exception):
            raise output
        answers[name] = _answer(output.stdout)
    return answers


def _started(run: Run, names: Sequence[str]) -> dict[str, Answer]:
    """What the members on these hosts say, once those that do not run were started; they may just have been stopped."""
    answers = _ask(run, names)
    if silent := [name for name, answer in answers.items() if answer.own is None]:
        start = f"if systemctl cat {UNIT} >/dev/null 2>&1; then timeout 30 systemctl start {UNIT}; fi"
        run.session.side_by_side(silent, lambda name: run.session.shell(name, start))
        answers = _ask(run, names)
    return answers


def _decided(answers: Mapping[str, Answer]) -> tuple[str, list[Peer]] | None:
    """A host that can be asked further, and the members as a majority has them. Raises KubeupError when two differ."""
    agreed = {name: answer for name, answer in answers.items() if answer.majority is not None}
    if len({answer.cluster_id for answer in agreed.values()}) > 1:
        raise KubeupError(
            f"etcd on {', '.join(agreed)} are different clusters, each with members and data of its own. "
            "Take out of the inventory what is not wanted, and destroy it with an inventory of its own"
        )
    return next(((name, answer.majority) for name, answer in agreed.items() if answer.majority), None)


def members(run: Run) -> list[Peer]:
    """The members of etcd, as a majority of them has it. Raises KubeupError when there is none that answers."""
    return _living(run)[1]


def _living(run: Run, *, without: str = "") -> tuple[str, list[Peer]]:
    """A host whose member can be asked, and the members. ``without``: a host that is not to be asked."""
    answers = _ask(run, [name for name in _holders(run) if name != without])
    found = _decided(answers)
    if found is None:
        raise _no_majority(answers)
    return found


def _holders(run: Run) -> list[str]:
    """The hosts, masters or not, on which there is a member, or was one."""
    placed = [name for name, key in run.placed if key == ("unit", UNIT)]
    return [name for name, reading in run.readings.items() if _data(reading) or name in placed]


def remove_member(run: Run, name: str) -> None:
    """Take the member on the host ``name`` out of etcd's cluster; nothing when it is none.

    The host need not be alive, nor in the inventory any more. Raises KubeupError when the rest would have no majority.
    """
    source, now = _living(run, without=name)
    address = next((peer_url(node) for node in run.cluster.members if node.name == name), None)
    member = next((m for m in now if m.name == name or address in m.peer_urls), None)
    if member:
        run.hold()
        _unsettle(run, [node.name for node in run.cluster.members if node.name in run.readings])
        _remove(run, source, now, member)


def _remove(run: Run, source: str, now: Sequence[Peer], member: Peer) -> None:
    if why := refused(now, [Step("remove", str(member), member.id)]):
        raise KubeupError(why)
    successor = next((m for m in now if m.answers and not m.learner and m.id != member.id), None)
    if member.leader and successor:  # otherwise the others would wait until they miss it
        handing_over = f'{ETCDCTL} --endpoints="$1" move-leader "$2"'
        run.session.shell(source, handing_over, member.client_urls[0], _hex(successor), timeout=20)
    _etcdctl(run, source, CHANGE_LIMIT, "member not found", "member", "remove", _hex(member))
    run.session.observer.say(f"etcd: {member} is no longer a member")


def _etcdctl(run: Run, source: str, limit: int, done: str, *arguments: str) -> None:
    """Run etcdctl on a host until it succeeds. Raises HostsFailed when it has not after ``limit`` seconds."""
    output = run.session.shell(source, _INSIST, str(limit), done, *arguments, timeout=limit + 30)
    if not output.ok:
        raise HostsFailed("changing etcd's members", [failure(source, f"etcdctl {' '.join(arguments)}", output)])


def _hex(member: Peer) -> str:
    return f"{member.id:x}"


def _seats(run: Run) -> list[Seat]:
    return [_seat(node.name, peer_url(node), run.readings.get(node.name)) for node in run.cluster.members]


def _seat(name: str, url: str, reading: Reading | None) -> Seat:
    if reading is None:  # this run is not on that host: what lies there is left as it is
        return Seat(name, url, data=True, first_start=False)
    return Seat(name, url, _data(reading), FIRST_START in reading.texts)


def _data(reading: Reading) -> bool:
    return WAL in reading.facts.present


def _unsettle(run: Run, names: Sequence[str]) -> None:
    """Take away the hosts' word that the members are as wanted, before the first is changed.

    So the next run asks again, also when this one is killed and the inventory is then changed back.
    """
    run.on(names, f"rm -f {MEMBERS}")


def _no_majority(answers: Mapping[str, Answer]) -> KubeupError:
    known = next((answer.own for answer in answers.values() if answer.own), [])
    voters = [m for m in known if not m.learner]
    silent = [str(m) for m in voters if not m.answers]
    what = f"no member answers on {', '.join(answers)}"
    if silent:
        do = "does" if len(silent) == 1 else "do"
        what = f"of its {len(voters)} members {len(voters) // 2 + 1} must answer, and {', '.join(silent)} {do} not"
    return KubeupError(
        f"etcd has no majority: {what}.\n    Start what is down (journalctl -u etcd there says why it does not run). "
        "Where its data are lost, bring the cluster back from a backup: kubeup restore"
    )


@dataclass(frozen=True)
class Wanted:
    """What the inventory wants of etcd's members, where they are not known to be so."""

    seats: list[Seat]
    """On hosts that are read."""
    others: list[Seat]
    """On hosts that this run is not on: their members are as they are, and none is added there."""
    holders: list[str]
    """Hosts on which a member has been ready; where there is none, all start side by side, as a new cluster."""

    @property
    def first_start(self) -> str:
        """What they start a new cluster with."""
        return first_start(((s.name, s.peer_url) for s in self.seats), "new")

    def steps(self, answers: Mapping[str, Answer]) -> list[Step]:
        """What is to be done, when the members say this.

        Raises KubeupError when it cannot be done, or must not. Where etcd does not answer and only has to be started,
        nothing is to be done.
        """
        found = _decided(answers)
        if found is None:
            known = next((answer.own for answer in answers.values() if answer.own), None)
            if (known and steps(known, [*self.seats, *self.others])) or not all(s.data for s in self.seats):
                raise _no_majority(answers)
            return []
        here = {s.name for s in self.seats}
        to_do = [s for s in steps(found[1], [*self.seats, *self.others]) if s.do == "remove" or s.name in here]
        if why := refused(found[1], to_do):
            raise KubeupError(why)
        return to_do


def _wanted(run: Run) -> Wanted | None:
    """What is wanted of etcd's members; None where it is so. Raises KubeupError where it cannot be had."""
    seats = _seats(run)
    read = [s for s in seats if s.name in run.readings]
    if all(_settled(run, s) for s in read):
        return None
    holders = [name for name, reading in run.readings.items() if _data(reading) and FIRST_START not in reading.texts]
    wanted = Wanted(read, [s for s in seats if s not in read], holders)
    if holders:
        return wanted
    if any(s.data for s in read):  # some have begun
        if all(run.readings[s.name].texts.get(FIRST_START) == wanted.first_start for s in read):
            return None
        raise KubeupError(
            "the inventory's members of etcd have changed while it was being started for the first time. "
            "Put them back and run `kubeup up`, or begin anew with `kubeup destroy`"
        )
    lost = [s.name for s in read if not s.first_start and ("unit", UNIT) in run.readings[s.name].record]
    served = [name for name, reading in run.readings.items() if ("unit", APISERVER) in reading.record]
    if lost or served or wanted.others:
        where = f"are gone from {', '.join(lost)}" if lost else f"are on none of {', '.join(run.readings)}"
        raise KubeupError(
            f"the data of this cluster's etcd {where}: a new etcd would be an empty cluster. "
            "Put back the host that has them, bring the cluster back from a backup (kubeup restore), "
            "or begin anew with `kubeup destroy`"
        )
    return wanted


def check_members(run: Run) -> None:
    """See, before anything is changed, that etcd's members can be made those wanted.

    No command is run where they are. Raises KubeupError with the reason.
    """
    wanted = _wanted(run)
    if wanted and wanted.holders:
        wanted.steps(_started(run, wanted.holders))


@dataclass(frozen=True)
class Members:
    """Makes etcd's members those that the inventory has. Costs nothing when they are.

    New ones are brought in one at a time: added as learners, which do not decide yet, started, and promoted once they
    have the data.
    """

    title: str = "Members"

    def run(self, run: Run) -> None:
        wanted = _wanted(run)
        if wanted is None:
            return
        if not wanted.holders:
            run.hold()
            run.on([s.name for s in wanted.seats if not s.data], _WRITE, FIRST_START, wanted.first_start)
            return
        to_do = wanted.steps(_started(run, wanted.holders))
        if not to_do:
            return
        with run.phase(self.title):
            run.hold()
            _unsettle(run, [s.name for s in wanted.seats if ("file", MEMBERS) in _differing(run, s.name)])
            for step in to_do:
                self._take(run, step)

    def _take(self, run: Run, step: Step) -> None:
        source, now = _living(run, without=step.name if step.do in ("remove", "join") else "")
        member = next((m for m in now if m.id == step.id), None)
        url = next((peer_url(node) for node in run.cluster.members if node.name == step.name), "")
        match step.do:
            case "remove":
                if member:
                    self._stop_apiserver(run, step.name)
                    _remove(run, source, now, member)
            case "update":
                assert member  # noqa: S101 - for mypy: it was listed a moment ago
                _etcdctl(run, source, CHANGE_LIMIT, "-", "member", "update", _hex(member), f"--peer-urls={url}")
            case "promote":
                assert member  # noqa: S101
                self._promote(run, source, member)
            case "join":
                self._join(run, source, step, url)

    def _stop_apiserver(self, run: Run, name: str) -> None:
        """Stop the apiserver that shall no longer use the member beside it: without that it takes 90 s to stop."""
        if name in run.readings and ("unit", APISERVER) in _differing(run, name):
            run.on([name], f"if systemctl is-active --quiet {APISERVER}; then systemctl stop {APISERVER}; fi")

    def _join(self, run: Run, source: str, step: Step, url: str) -> None:
        name = step.name
        if step.id is None:
            adding = ("member", "add", name, "--learner", f"--peer-urls={url}")
            _etcdctl(run, source, CHANGE_LIMIT, "Peer URLs already exists", *adding)
        now = _living(run, without=name)[1]
        member = next(m for m in now if url in m.peer_urls)
        everybody = ((m.name or (name if m is member else f"member-{m.id:x}"), m.peer_urls[0]) for m in now)
        run.on([name], _CLEAR if step.clear else _WRITE, FIRST_START, first_start(everybody, "existing"))
        part = run.changes[name].part(_goes_first)
        run.session.place(self.title, name, part, run.vault)
        run.placed |= {(name, item.key) for item in part.items}
        output = run.session.shell(name, f"systemctl start {UNIT}", timeout=200)
        if not output.ok:
            raise HostsFailed(self.title, [failure(name, f"systemctl start {UNIT}", self._journal(run, name, output))])
        if member.learner:
            self._promote(run, source, member)
        run.session.observer.say(f"etcd: {name} is a member")

    def _promote(self, run: Run, source: str, member: Peer) -> None:
        _etcdctl(run, source, SYNC_LIMIT, "can only promote a learner member", "member", "promote", _hex(member))

    def _journal(self, run: Run, name: str, output: Output) -> Output:
        journal = run.session.shell(name, f"journalctl --no-pager -o cat -n 15 -u {UNIT}")
        return Output(output.stdout, f"{output.stderr}\n{journal.stdout}", output.exit_code)


@dataclass(frozen=True)
class ExistingEtcd:
    """Sees that an etcd which is not kubeup's takes the masters' certificate, before an apiserver is given it."""

    title: str = "Existing etcd"

    def run(self, run: Run) -> None:
        if not run.cluster.etcd.endpoints:
            return
        new = [m for m in run.masters if ("unit", APISERVER) in _differing(run, m.name)]
        commands = {m.name: etcdctl(access(run.cluster, m, run.vault.trust)) for m in new}
        outputs = run.session.side_by_side(
            commands, lambda name: run.session.shell(name, f"{commands[name]} endpoint health 2>&1")
        )
        failures: list[HostFailure] = []
        for name, output in outputs.items():
            if isinstance(output, Exception):
                raise output
            if not output.ok:
                told = failure(name, "etcdctl endpoint health", output)
                remedy = "do ca:, certificate: and key: under etcd: in the inventory belong to this etcd?"
                failures.append(replace(told, remedy=remedy))
        if failures:
            raise HostsFailed("asking the etcd of the inventory", failures)


def _settled(run: Run, seat: Seat) -> bool:
    """Whether a host's member runs with its data, and the members were made those wanted."""
    return seat.data and not seat.first_start and not _differing(run, seat.name) & {("file", MEMBERS), ("unit", UNIT)}


def _differing(run: Run, name: str) -> set[Key]:
    return {item.key for item in run.changes[name].items}


def first_start(peers: Any, state: str) -> str:
    """What a member starts with the first time, of (name, peer URL) of all; ``state``: new or existing."""
    cluster = ",".join(f"{name}={url}" for name, url in peers)
    return f"ETCD_INITIAL_CLUSTER={cluster}\nETCD_INITIAL_CLUSTER_STATE={state}\n"


def _goes_first(item: Item) -> bool:
    """What a member needs to start. The word that all is as wanted, and what needs a majority, come in their phase."""
    if item.role != "etcd" or is_blob(item) or item.key == ("file", MEMBERS):
        return False
    return item.key[0] != "unit" or item.name == UNIT
