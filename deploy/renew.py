"""Renew certificates before they end, or when they have. What reads them again by itself is not restarted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kubeup.cluster.trust import AUTHORITIES
from kubeup.deploy.one_by_one import Fit, OneByOne
from kubeup.deploy.phases import Phase
from kubeup.deploy.run import Run
from kubeup.errors import KubeupError
from kubeup.host.difference import Change, Item, Renewal, nearly_over
from kubeup.host.resources import Certificate, Unit

FRESH = 3600
"""Seconds for which a certificate counts as just issued: so `renew --all` goes on where one was killed."""


def every_one(certificate: Certificate, begin: float, end: float, now: float) -> str:
    """The Renewal of all certificates that were not issued just now."""
    return nearly_over(certificate, begin, end, now) or ("is renewed" if now - begin > FRESH else "")


def these(names: Collection[str]) -> Renewal:
    """The Renewal of the certificates with these names (see `name_of`) alone."""

    def chosen(certificate: Certificate, begin: float, end: float, now: float) -> str:
        return "is renewed" if name_of(certificate.path) in names else ""

    return chosen


def name_of(path: str) -> str:
    """What a person calls a certificate: apiserver for /etc/kubernetes/pki/apiserver.crt, etcd/peer for etcd's."""
    return "/".join(path.removesuffix(".crt").split("/")[-2:]).removeprefix("pki/")


def names(run: Run) -> list[str]:
    """The names of all certificates on all nodes."""
    found = {
        name_of(resource.path)
        for node in run.nodes
        for _, resource in run.desired(node.name).values()
        if isinstance(resource, Certificate)
    }
    return sorted(found)


@dataclass(frozen=True)
class Living(Fit):
    """Refuses when an authority has expired, too: then nothing that it issues would be believed."""

    def run(self, run: Run) -> None:
        expired = [name for name in AUTHORITIES if run.vault.expired(name)]
        if expired:
            raise KubeupError(
                f"The authority {' and '.join(expired)} has expired itself, so nothing it issues would be believed. "
                f"Replace it: kubeup certs rotate-ca {' '.join(name.removesuffix('-ca') for name in expired)}"
            )
        super().run(run)


@dataclass(frozen=True)
class Renew(OneByOne):
    """Certificates, and the units that have to be restarted for them; no other difference."""

    title: str = "Certificates"

    def changes(self, run: Run) -> dict[str, Change]:
        return {name: self._part(change) for name, change in run.changes.items()}

    def _part(self, whole: Change) -> Change:
        keys = {item.key for item in whole.items if isinstance(item.resource, Certificate)}

        def chosen(item: Item) -> bool:
            uses = isinstance(item.resource, Unit) and keys.intersection(item.resource.inputs)
            return item.key in keys or (item.action == "restart" and bool(uses))

        part = whole.part(chosen)
        units = {item.name for item in part.items}
        part.dirty = [mark for mark in whole.dirty if mark[0] in units]
        return part


PHASES: Sequence[Phase] = [Living(), Renew()]
