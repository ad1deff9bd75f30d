"""How long a throwaway cluster takes, from nothing to validated, as ratios within one run.

    python tests/bench/bench_throwaway.py [--hosts 3] [--rounds 3]

The prepared images are there already, as for all but the first. Beside the time: how many commands each host was given,
and how many bytes of components went to it. For comparison the same on plain hosts.
"""

# ruff: noqa: E402  gevent must patch before the other imports

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import itertools
import statistics
import time
from dataclasses import dataclass, field

from kubeup.components import Artifact
from kubeup.deploy import throwaway
from kubeup.deploy.prepared import ensure_prepared
from kubeup.deploy.vault import Vault
from kubeup.host.session import Session
from kubeup.lab import destroy, ensure_engine, this_process
from kubeup.observer import Silent

NAMES = (f"bench-throwaway-{number}" for number in itertools.count(1))
"""A new one each time: pyinfra reads a known_hosts file once in a process."""
AIM = 15.0  # seconds, for three nodes on a quiet machine
KIND = (12.0, 20.0)  # seconds that kind publishes for one node


@dataclass
class Round:
    """What one round took, in seconds, and what went to the hosts."""

    phases: dict[str, float] = field(default_factory=dict)
    commands: int = 0
    sent: int = 0

    @property
    def seconds(self) -> float:
        return sum(self.phases.values())


class Clock(Silent):
    """Notes when phases end."""

    def __init__(self, round_: Round) -> None:
        self.round = round_

    def phase_done(self, title: str, seconds: float) -> None:
        self.round.phases[title] = self.round.phases.get(title, 0.0) + seconds


def one_round(hosts: int, prepared: bool) -> Round:
    """One cluster, from nothing to nothing."""
    found = Round()
    sessions: list[Session] = []
    enter, artifact = Session.__enter__, Vault.artifact

    def entered(session: Session) -> Session:
        sessions.append(session)
        return enter(session)

    sent: list[Artifact] = []

    def counted(vault: Vault, name: str, version: str, host: str) -> Artifact:
        sent.append(artifact(vault, name, version, host))
        return sent[-1]

    Session.__enter__, Vault.artifact = entered, counted  # type: ignore[method-assign]
    name = next(NAMES)
    started = time.monotonic()
    try:
        kind = throwaway.wanted(hosts, prepared=prepared, say=lambda _: None)
        throwaway.bring_up(name, kind, Clock(found), lambda _: None, this_process())
    finally:
        Session.__enter__, Vault.artifact = enter, artifact  # type: ignore[method-assign]
        took = time.monotonic() - started
        destroy(name)
    found.phases = {"hosts and the rest": took - found.seconds, **found.phases}
    found.commands = max(max(session.commands.values(), default=0) for session in sessions)
    found.sent = sum(each.packed_size for each in sent) // 2  # preflight asks for each once, too
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ensure_engine(False, print)
    ensure_prepared({}, print)
    rounds = {"prepared": [], "plain": []}  # type: dict[str, list[Round]]
    for _ in range(options.rounds):
        for kind, done in rounds.items():
            done.append(one_round(options.hosts, kind == "prepared"))
            last = done[-1]
            phases = ", ".join(f"{title} {seconds:.1f}" for title, seconds in last.phases.items() if seconds >= 0.05)
            print(f"{kind}: {last.seconds:.1f} s ({phases}); {last.commands} commands a host at most, "
                  f"{last.sent / 2**20:.0f} MiB sent", flush=True)  # fmt: skip
    medians = {kind: statistics.median(r.seconds for r in done) for kind, done in rounds.items()}
    ratios = [a.seconds / b.seconds for a, b in zip(*rounds.values(), strict=True)]
    print(f"\n{options.hosts} hosts, median of {options.rounds} rounds")
    print(f"prepared / plain: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"prepared: {medians['prepared']:.1f} s; aim {AIM:.0f} s, kind publishes {KIND[0]:.0f} to {KIND[1]:.0f} s "
          "for one node")  # fmt: skip


if __name__ == "__main__":
    main()
