"""What a host's packet filter does with a packet: its chains, run through as the kernel would.

Both iptables-save and nft's JSON are made into the same few things (see iptables.py and nft.py), and a packet is sent
through them. A match that cannot be judged from outside (a limit, an ipset, an owner) leads both ways: what then hangs
on it is not sure, and is never taken for evidence, unless both ways come to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

Hook = Literal["ingress", "prerouting", "input", "forward", "output", "postrouting"]


@dataclass(frozen=True)
class Packet:
    """What rules can see of a packet, and what they have done to it."""

    source: str
    target: str
    protocol: str
    port: int
    """0 where it has none, or one that is not known: of what goes back."""
    came_in: str = ""
    """The device by which it came; "" where it begins on this host."""
    goes_out: str = ""
    mark: int = 0
    state: str = "new"
    """Of its connection: new or established."""
    to_self: bool = False
    """Whether the target is an address of this host."""
    from_self: bool = False
    translated: bool = False
    """Whether its target was replaced, by this packet filter or by one that it passed before."""
    masqueraded: bool = False


@dataclass(frozen=True)
class Verdict:
    """What a rule says of a packet that it takes: ``miss`` is that it does not take it."""

    kind: str
    """accept, drop, reject, return, jump, goto or miss."""
    chain: str = ""


MISS = Verdict("miss")
LOST = ("drop", "reject")

Step = Callable[[Packet], "list[tuple[Packet, Verdict | None, bool]]"]
"""A part of a rule: the packets that come of one, each with a verdict (None: on to the next part), and whether that is
sure."""


@dataclass(frozen=True)
class Rule:
    """One rule. ``text`` as people know it; ``mend`` is the command that takes it away."""

    steps: Sequence[Step]
    text: str
    mend: str


@dataclass
class Chain:
    """A chain; ``hook`` is empty where it is only jumped to. ``policy`` counts at the end of one that has a hook.

    Its rules are made when a packet first comes along: of thousands, a packet sees a few.
    """

    table: str
    name: str
    lines: list[Rule | Callable[[], Rule]] = field(default_factory=list)
    hook: Hook | Literal[""] = ""
    priority: int = 0
    kind: str = "filter"
    """filter, nat or route: a nat chain sees the first packet of a connection alone."""
    policy: str = "accept"
    devices: tuple[str, ...] = ()
    """Of a chain at ingress: the devices that it is for."""
    mend_policy: str = ""

    def rules(self) -> Iterator[Rule]:
        """The rules in order."""
        for index, line in enumerate(self.lines):
            if not isinstance(line, Rule):
                line = self.lines[index] = line()
            yield line


@dataclass(frozen=True)
class Outcome:
    """What became of a packet: accept, drop, reject, or unknown. ``trail``: the chains that it came through. ``rule``:
    the one that decided, if any.
    """

    packet: Packet
    verdict: str
    sure: bool
    trail: tuple[str, ...] = ()
    rule: Rule | None = None
    where: Chain | None = None

    @property
    def lost(self) -> bool:
        """Whether it was surely dropped or rejected."""
        return self.sure and self.verdict in LOST

    @property
    def words(self) -> str:
        """What decided, for people."""
        if self.rule is not None or self.where is None:
            return self.rule.text if self.rule else self.verdict
        return f"the policy of chain {self.where.name} in table {self.where.table} is {self.where.policy.upper()}"

    @property
    def mend(self) -> str:
        """The command that takes away what decided."""
        if self.rule is not None:
            return self.rule.mend
        return self.where.mend_policy if self.where else ""


@dataclass
class Ruleset:
    """A host's packet filter: its chains by (table, name)."""

    chains: dict[tuple[str, str], Chain] = field(default_factory=dict)
    _known: dict[tuple[tuple[Hook, ...], Packet], list[Outcome]] = field(default_factory=dict, repr=False)
    """What was found before: many checks send the same packet."""

    def travel(self, hooks: tuple[Hook, ...], packet: Packet) -> list[Outcome]:
        """Everything that may become of a packet that passes these hooks one after the other."""
        if (hooks, packet) not in self._known:
            self._known[hooks, packet] = self._travel(hooks, packet)
        return self._known[hooks, packet]

    def _travel(self, hooks: tuple[Hook, ...], packet: Packet) -> list[Outcome]:
        under_way = [Outcome(packet, "accept", True)]
        for hook in hooks:
            for chain in self._at(hook, packet):
                passed: list[Outcome] = []
                for before in under_way:
                    if before.verdict != "accept" or self._is_passed_by(chain, before.packet):
                        passed.append(before)
                        continue
                    for after in self._run(chain, before.packet, before.sure, 0):
                        passed.append(replace(after, trail=_trail(before, after)))
                under_way = _distinct(passed)
        if all(outcome.verdict in LOST for outcome in under_way):
            # Whatever the answers are that cannot be told: it is lost at the last of these, if not before.
            under_way[-1] = replace(under_way[-1], sure=True)
        return under_way

    def _at(self, hook: Hook, packet: Packet) -> list[Chain]:
        chains = [chain for chain in self.chains.values() if chain.hook == hook]
        return sorted(
            (chain for chain in chains if not chain.devices or packet.came_in in chain.devices),
            key=lambda chain: chain.priority,
        )

    @staticmethod
    def _is_passed_by(chain: Chain, packet: Packet) -> bool:
        """Whether a chain is not asked: one for NAT, where the connection is known or its address is replaced."""
        if chain.kind != "nat":
            return False
        if packet.state != "new":
            return True
        return packet.masqueraded if chain.hook == "postrouting" else packet.translated

    def _run(self, chain: Chain, packet: Packet, sure: bool, depth: int) -> list[Outcome]:
        """What becomes of a packet in a chain. One that comes to its end has the verdict "return", or the policy's."""
        ended: list[Outcome] = []
        under_way = [Outcome(packet, "return", sure, (chain.name,))]
        for rule in chain.rules():
            still: list[Outcome] = []
            for now in under_way:
                on, over = self._pass(rule, chain, now, depth)
                still += on if over else _settled(on, now.sure)
                ended += over
            under_way = _distinct(still)
            if not under_way:
                break
        ended += under_way
        if depth == 0:
            ended = [
                replace(o, verdict=chain.policy, rule=None, where=chain) if o.verdict == "return" else o for o in ended
            ]
        return _settled(ended, sure)

    def _pass(self, rule: Rule, chain: Chain, now: Outcome, depth: int) -> tuple[list[Outcome], list[Outcome]]:
        """What a rule makes of a packet: those that go on in its chain, and those that have come to an end there."""
        on: list[Outcome] = []
        over: list[Outcome] = []
        for after, verdict, certain in _apply(rule, now.packet):
            certain = certain and now.sure
            if verdict is None or verdict.kind == "miss":
                on.append(replace(now, packet=after, sure=certain))
            elif verdict.kind in ("jump", "goto"):
                into = self.chains.get((chain.table, verdict.chain))
                if into is None or depth > 30:  # what the kernel has built in and is not known here: NFQUEUE, TPROXY
                    on.append(replace(now, packet=after, sure=False))
                    over.append(Outcome(after, "unknown", False, now.trail, rule, chain))
                    continue
                for outcome in self._run(into, after, certain, depth + 1):
                    outcome = replace(outcome, trail=now.trail + outcome.trail)
                    (on if outcome.verdict == "return" and verdict.kind == "jump" else over).append(outcome)
            else:
                over.append(Outcome(after, verdict.kind, certain, now.trail, rule, chain))
        return on, over


def _trail(before: Outcome, after: Outcome) -> tuple[str, ...]:
    """The chains that led to where it stands: of those that replaced its address, these alone."""
    if before.packet.translated:
        return before.trail
    return after.trail if after.packet.translated else before.trail + after.trail


def _apply(rule: Rule, packet: Packet) -> list[tuple[Packet, Verdict | None, bool]]:
    """What a rule makes of a packet; it may be several things where it chooses by chance."""
    done: list[tuple[Packet, Verdict | None, bool]] = []
    under_way = [(packet, True)]
    for step in rule.steps:
        still: list[tuple[Packet, bool]] = []
        for now, sure in under_way:
            for after, verdict, certain in step(now):
                if verdict is None:
                    still.append((after, sure and certain))
                else:
                    done.append((after, verdict, sure and certain))
        under_way = still
    return done + [(now, None, sure) for now, sure in under_way]


def _settled(outcomes: list[Outcome], sure: bool) -> list[Outcome]:
    """Where all that may be comes to the same, it is as sure as what was before."""
    if len(outcomes) < 2 or len({(outcome.packet, outcome.verdict) for outcome in outcomes}) > 1:
        return outcomes
    return [replace(outcomes[0], sure=sure)]


def _distinct(outcomes: list[Outcome]) -> list[Outcome]:
    """Each different outcome once, the sure one where there are both; what was merely counted or logged is the same."""
    found: dict[tuple[object, ...], Outcome] = {}
    for outcome in sorted(outcomes, key=lambda outcome: not outcome.sure):
        ends_by = outcome.rule.text if outcome.rule else ""
        found.setdefault((outcome.packet, outcome.verdict, ends_by), outcome)
    return list(found.values())


# The parts that rules are made of.


def when(test: Callable[[Packet], bool | None]) -> Step:
    """Go on where the test is true. None: it cannot be told."""

    def step(packet: Packet) -> list[tuple[Packet, Verdict | None, bool]]:
        answer = test(packet)
        if answer is None:
            return [(packet, None, False), (packet, MISS, False)]
        return [(packet, None if answer else MISS, True)]

    return step


def by_chance(packet: Packet) -> list[tuple[Packet, Verdict | None, bool]]:
    """Some packets go on, the others do not."""
    return [(packet, None, True), (packet, MISS, True)]


def say(verdict: Verdict) -> Step:
    """The verdict."""
    return lambda packet: [(packet, verdict, True)]


def change(alter: Callable[[Packet], Packet], verdict: Verdict | None = None) -> Step:
    """Change the packet, and go on or end with the verdict."""
    return lambda packet: [(alter(packet), verdict, True)]


def to_one_of(targets: Sequence[tuple[str, int]]) -> Step:
    """Replace the target by any of these (address, port); an address of "" and a port of 0 stay as they are."""

    def step(packet: Packet) -> list[tuple[Packet, Verdict | None, bool]]:
        return [
            (
                replace(packet, target=address or packet.target, port=port or packet.port, translated=True),
                Verdict("accept"),
                True,
            )
            for address, port in targets
        ]

    return step


MASQUERADE = change(lambda packet: replace(packet, masqueraded=True), Verdict("accept"))
"""Replace the source by this host's own address."""
