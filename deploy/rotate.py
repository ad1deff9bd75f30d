"""Replace the cluster's authorities, and the key of service accounts' tokens, while the cluster serves.

Each stage (see kubeup.cluster.trust) is a desired state like any other, decided by one file on the masters. It is
brought to all hosts before the next is decided. So a run killed at any moment is gone on with by the same command, and
a plain `up` in between brings the stage that was decided last, and no other.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kubeup.cluster.trust import ALL, KUBERNETES, SERVICE_ACCOUNTS
from kubeup.deploy import api_clients
from kubeup.deploy.one_by_one import Fit, OneByOne
from kubeup.deploy.phases import Converge, Phase, Tidy, Validate, execute
from kubeup.deploy.run import Run
from kubeup.errors import KubeupError
from kubeup.host.converge import is_blob
from kubeup.roles import authorities

STAGE: Sequence[Phase] = [
    Fit(),
    # What is decided, and the keys that go with it, lie on all masters before anything else follows from it.
    Converge("Authorities", roles=[authorities]),
    OneByOne("Nodes", without=("authorities",)),
    Tidy(),
]

OUTSIDE = (KUBERNETES, SERVICE_ACCOUNTS)
"""What those outside hold something of: kubeconfigs, tokens. It is forgotten only when a person says so."""

TOKENS_LIVE = 24 * 3600
"""Seconds after which a pod's token has been replaced. The kubelet does so after 80 % of its life, and after a day at
the latest (pkg/kubelet/token/token_manager.go, maxTTL); those it mounts by default live for an hour."""


@dataclass(frozen=True)
class Options:
    """How far to go.

    ``finish``: forget what was replaced, too. ``restart_pods``: restart users' workloads that know only the old
    authority. ``force``: go on though pods know only the old one, or tokens of the old key may be in use.
    """

    finish: bool = False
    restart_pods: bool = False
    force: bool = False


def rotate(run: Run, names: Sequence[str], options: Options) -> str:
    """Go on with what is under way, or begin to replace ``names`` (of kubeup.cluster.trust.ALL); what is left to do.

    Raises KubeupError when a person has to decide something first, and what the phases raise.
    """
    run.hold()
    if expired := [name for name in ALL if run.vault.expired(name)]:
        return _replace_expired(run, expired)
    run = _bring(run)
    if not run.vault.trust.others and not run.vault.trust.ending:
        run.vault.succeed([name for name in ALL if name in names])
        _say(run, f"Stage 1 of 3: the successors of {_and(names)} are trusted too.")
        run = _bring(_decided(run))
    if coming := _at(run, "next"):
        run.vault.trust = run.vault.trust.taken_over(coming, int(time.time()))
        _say(run, f"Stage 2 of 3: the successors of {_and(coming)} issue, and everything is issued anew.")
        run = _bring(_decided(run))
    return _finish(run, options)


def _replace_expired(run: Run, expired: Sequence[str]) -> str:
    """What has expired is believed by nobody, so there is nothing to be kept up: the successor is all there is."""
    coming = tuple(name for name in _at(run, "next") if name in expired)
    if coming:
        run.vault.trust = run.vault.trust.taken_over(coming, int(time.time())).without(coming).settled()
    run.vault.succeed([name for name in expired if name not in coming])
    _say(run, f"{_and(expired)} has expired, so the cluster cannot work. It is replaced at once.")
    run = _bring(_decided(run))
    Validate().run(run)
    return (
        f"{_and(expired)} is another now. Fetch the admin's kubeconfigs anew (kubeup kubeconfig), and restart older "
        "pods that use the API (kubectl rollout restart): they know only the one that has expired."
    )


def _decided(run: Run) -> Run:
    """The run, now that what is trusted is another: what differs is looked at anew."""
    run.look_again()
    return run


def _bring(run: Run) -> Run:
    """Bring the stage that is decided to all hosts. Returns a Run that has read them again."""
    foreign = [name for name, change in run.changes.items() if any(is_blob(item) for item in change.items)]
    if foreign:
        raise KubeupError(
            f"On {', '.join(foreign)} programs differ from what the inventory says. First: kubeup up (or upgrade)"
        )
    if any(run.changes.values()):
        execute(STAGE, run)
    again = replace(run, results=[])
    left = [name for name, change in again.changes.items() if change]
    if left:
        raise KubeupError(f"{', '.join(left)} still differ from what they shall be (kubeup plan). Run it again")
    return again


def _at(run: Run, stage: str) -> tuple[str, ...]:
    return tuple(name for name, other in run.vault.trust.others.items() if other.stage == stage)


def _inform_pods(run: Run, options: Options) -> None:
    """See to it that all pods that use the API know its new authority, or raise KubeupError."""
    since = api_clients.wait_published(run, run.vault.trust.bundle_pem(KUBERNETES))
    left = api_clients.restart_ours(run, api_clients.uninformed(run, since))
    if options.restart_pods:
        left = api_clients.restart(run, left)
    if left and not options.force:
        raise KubeupError(
            "\n".join(
                [
                    "The former authority cannot be forgotten yet. These have pods that were started when there was no "
                    "other, and would lose the API if they look at its authority only when they start:",
                    *(f"    {workload}" for workload in left),
                    "Restart them whenever it suits (the cluster works meanwhile), and run the same command again. Or "
                    "let it do so, one after another: --restart-pods. Or go on as it is, when these do not use the API "
                    "or look again by themselves: --force",
                ]
            )
        )


def _finish(run: Run, options: Options) -> str:
    """Forget what nobody uses any more; what is left to do."""
    former = _at(run, "former")
    now = time.time()
    young = SERVICE_ACCOUNTS in former and now - run.vault.trust.others[SERVICE_ACCOUNTS].since < TOKENS_LIVE
    kept = [name for name in former if name in OUTSIDE and not options.finish]
    if young and not options.force and SERVICE_ACCOUNTS not in kept:
        kept.append(SERVICE_ACCOUNTS)
    done = tuple(name for name in former if name not in kept)
    leaving = _at(run, "leaving")
    if KUBERNETES in done:
        _inform_pods(run, options)
        run.vault.trust = run.vault.trust.leaving((KUBERNETES,))
        _say(run, f"Stage 3 of 3: the API shows a certificate of the new {KUBERNETES}.")
        run = _bring(_decided(run))
    if done or leaving:
        done = (*done, *leaving)
        run.vault.trust = run.vault.trust.without(done)
        _say(run, f"Stage 3 of 3: what {_and(done)} was before is forgotten.")
        run = _bring(_decided(run))
    Validate().run(run)
    if run.vault.trust.ending:
        run.vault.trust = run.vault.trust.settled()
        run = _bring(_decided(run))
    if KUBERNETES in kept:
        return (
            f"All is issued anew. The former {_and(kept)} is still trusted, for those outside who have only that. "
            "Fetch the admin's kubeconfigs anew (kubeup kubeconfig) and hand them out, then: "
            "kubeup certs rotate-ca --finish"
        )
    told = "Kubeconfigs from before are worthless now; fetch them anew: kubeup kubeconfig" if KUBERNETES in done else ""
    if SERVICE_ACCOUNTS in kept:
        until = time.localtime(run.vault.trust.others[SERVICE_ACCOUNTS].since + TOKENS_LIVE)
        told += (
            " Tokens signed by the former key of service accounts are still good: pods use theirs until it is "
            f"replaced, by {time.strftime('%Y-%m-%d %H:%M', until)} at the latest. Then: "
            "kubeup certs rotate-ca --finish"
        )
    return told.strip() or "All is done."


def _say(run: Run, text: str) -> None:
    run.session.observer.say(text)


def _and(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
