"""The kinds of phases that jobs are made of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from kubeup.checks.names import look_up
from kubeup.checks.outside import preflight_outside
from kubeup.checks.preflight import APISERVER, existing_etcd, new_hosts, preflight
from kubeup.checks.reach import Reached, reach
from kubeup.checks.runtime import Runtimes, ask_runtimes
from kubeup.checks.sources import preflight_proxy
from kubeup.checks.validation import CheckResult, lacks_its_network, validate
from kubeup.deploy.members import check_members
from kubeup.deploy.path import measure
from kubeup.deploy.run import VALIDATED, Run
from kubeup.errors import KubeupError, PreflightError, Problem, ValidationError
from kubeup.host.converge import is_blob
from kubeup.host.difference import EXPIRED, Change, Item
from kubeup.roles import Role, role_name
from kubeup.roles.common import own_version

REACH = ("kubeup-reach", own_version("reach"))


class Phase(Protocol):
    """One step of a job on all hosts. The next begins when it has ended on all."""

    @property
    def title(self) -> str: ...

    def run(self, run: Run) -> None: ...


@runtime_checkable
class Changing(Phase, Protocol):
    """A phase that applies a part of the difference."""

    def changes(self, run: Run) -> dict[str, Change]: ...


def other_versions(run: Run) -> list[Problem]:
    """The nodes that run other versions than they shall: all at once they would be restarted, and the cluster gone."""
    wanted = {key.replace("_", "-"): version for key, version in run.cluster.versions}
    problems = []
    for name, programs in run.running.items():
        runs = dict(programs.values())
        # crictl is a tool for people, on which nothing depends that runs.
        differ = [c for c, version in sorted(runs.items()) if wanted.get(c, version) != version and c != "cri-tools"]
        if differ:
            what = (
                f"runs {', '.join(f'{c} {runs[c]}' for c in differ)}, "
                f"and the inventory says {', '.join(wanted[c] for c in differ)}"
            )
            remedy = (
                "`kubeup upgrade` takes the cluster there node by node, while it serves. "
                "Or hold the inventory at what runs, with versions:"
            )
            problems.append(Problem(name, what, remedy))
    return problems


@dataclass(frozen=True)
class Preflight:
    """Refuses hosts that cannot take the cluster, before anything is touched; all problems at once."""

    title: str = "Preflight"

    def run(self, run: Run) -> None:
        if problems := Looks(run).problems():
            raise PreflightError(problems)


@dataclass
class Looks:
    """All that is looked at before anything is changed, in this order: each raises PreflightError with what is wrong,
    or another KubeupError where it cannot be looked at.
    """

    run: Run
    tried: Collection[str] | None = None
    """The hosts whose ways to and from all others are tried; None: the new ones. The others' are proven by use."""
    reached: Reached = field(default_factory=Reached)
    """What came of that."""
    runtimes: Runtimes = field(default_factory=Runtimes)
    """What the container runtimes say that the user runs on these hosts."""

    def __iter__(self) -> Iterator[Callable[[], None]]:
        run = self.run
        yield lambda: measure(run)
        yield lambda: preflight(run.cluster, run.readings, run.changes, run.vault, other_versions(run))
        hosts = new_hosts(run.readings, run.changes) if self.tried is None else self.tried
        if hosts:
            if theirs := [n.name for n in run.cluster.nodes if n.name in hosts and run.cluster.runtime_socket(n)]:
                yield lambda: self._runtimes(theirs)
            yield lambda: look_up(run.cluster, run.readings, run.session, hosts)
            yield lambda: self._reach(hosts)
            yield lambda: preflight_proxy(run.cluster, run.session, hosts)
        yield lambda: preflight_outside(run.cluster, run.readings, run.changes, run.session)
        if run.cluster.etcd.endpoints:
            new = [m.name for m in run.masters if ("unit", APISERVER) not in run.readings[m.name].record]
            yield lambda: existing_etcd(run.cluster, run.session, new)
        yield self._ask_the_cluster

    def problems(self) -> list[Problem]:
        """What all of them find. Where nothing else is wrong, raises what keeps one from looking."""
        found: list[Problem] = []
        for look in self:
            try:
                look()
            except PreflightError as error:
                found += error.problems
            except KubeupError as error:
                if not found:
                    raise
                found.append(Problem("", str(error)))
        return found

    def _ask_the_cluster(self) -> None:
        _refuse_expired(self.run)
        if not self.run.restoring:  # which gives members data, whatever has become of theirs
            check_members(self.run)

    def _runtimes(self, hosts: Collection[str]) -> None:
        run = self.run
        crictl = {name: run.vault.artifact("crictl", run.cluster.versions.cri_tools, name) for name in hosts}
        self.runtimes = ask_runtimes(run.cluster, run.session, crictl, new_hosts(run.readings, run.changes))
        if self.runtimes.problems:
            raise PreflightError(self.runtimes.problems)

    def _reach(self, hosts: Collection[str]) -> None:
        run = self.run
        self.reached = reach(
            run.cluster, run.readings, run.session, lambda name: run.vault.artifact(*REACH, name).path, hosts
        )
        if self.reached.problems:
            raise PreflightError(self.reached.problems)


def _refuse_expired(run: Run) -> None:
    """The cluster does not answer then."""
    problems = []
    for name, change in run.changes.items():
        paths = [item.name for item in change.items if item.why == EXPIRED]
        if paths:
            which = f"{paths[0]} and {len(paths) - 1} more" if len(paths) > 1 else paths[0]
            problems.append(Problem(name, f"expired: {which}", "first: kubeup certs renew (it needs SSH alone)"))
    if problems:
        raise PreflightError(problems)


class Part:
    """Applies the items of the difference that it chooses."""

    title: str

    def chooses(self, item: Item) -> bool:
        raise NotImplementedError

    def changes(self, run: Run) -> dict[str, Change]:
        return {
            name: change.part(lambda item, name=name: self.chooses(item) and (name, item.key) not in run.placed)  # type: ignore[misc]
            for name, change in run.changes.items()
        }

    def run(self, run: Run) -> None:
        run.session.apply(self.title, self.changes(run), run.vault)


@dataclass(frozen=True)
class Distribute(Part):
    """Sends programs and images: the longest part, and harmless, as each version has a folder of its own."""

    title: str = "Components"

    def chooses(self, item: Item) -> bool:
        return is_blob(item)


@dataclass(frozen=True)
class Converge(Part):
    """Makes the hosts hold what these roles ask for."""

    title: str
    roles: Sequence[Role] = ()

    def chooses(self, item: Item) -> bool:
        return not is_blob(item) and item.role in {role_name(role) for role in self.roles}


@dataclass(frozen=True)
class Tidy(Part):
    """Removes what was placed once and is no longer wanted."""

    title: str = "Tidy"

    def chooses(self, item: Item) -> bool:
        return item.action == "remove"


@dataclass(frozen=True)
class Validate:
    """Proves that the cluster works; not again when nothing has changed since it last did."""

    title: str = "Validation"

    def run(self, run: Run) -> None:
        if run.validated and not any(run.changes.values()):
            return
        observer = run.session.observer
        names = None if run.whole else [node.name for node in run.nodes]

        def seen(result: CheckResult) -> None:
            observer.checked(result.name, result.ok, result.detail)

        with run.phase(self.title):
            run.results = validate(run.cluster, run.session, names, show=observer.say, seen=seen)
            failed = [result for result in run.results if not result.ok]
            if lacks_its_network(run.cluster, run.results):
                observer.say(
                    "The nodes are not Ready until the network of pods has come that you bring (cni: none, see "
                    "docs/network.md). When it is there: kubeup validate"
                )
            elif failed:
                raise ValidationError(
                    f"The cluster is up, but does not pass: {', '.join(r.name for r in failed)} (see above)."
                )
            elif run.whole:
                run.on_masters('umask 077; printf "%s\\n" "$2" >"$1"', VALIDATED, run.state)


def execute(phases: Sequence[Phase], run: Run) -> None:
    """Run the phases one after another. Raises what the first that fails raises."""
    for phase in phases:
        phase.run(run)
