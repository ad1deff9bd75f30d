"""What the parts of a cluster trust: the public halves of its authorities and of its service account key.

An authority is replaced in three stages, and at each the cluster works, because all trust what any of them uses:

1. its successor is trusted too, but does not issue yet ("next");
2. the successor issues, and what it replaced is trusted still ("former"). Those outside, and pods, know only that one;
   so it goes on to issue the one certificate that they check, the API's own;
3. the former issues nothing any more ("leaving"), and is then forgotten.

The masters keep the stage as a file, so that any run, also a plain `up`, converges to the stage that was decided last.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from kubeup.cluster.certificates import Authority

KUBERNETES = "kubernetes-ca"
ETCD = "etcd-ca"
FRONT_PROXY = "front-proxy-ca"
SERVICE_ACCOUNTS = "service-accounts"

EXISTING_ETCD = "existing-etcd"
"""The secret that is the client key for an etcd that is not kubeup's."""

AUTHORITIES = (KUBERNETES, ETCD, FRONT_PROXY)
ALL = (*AUTHORITIES, SERVICE_ACCOUNTS)


@dataclass(frozen=True)
class Other:
    """What is trusted beside the one that issues: a certificate or public key (PEM), and since when it is so.

    "next" will issue and does not yet; "former" did, and does so for the API's own certificate alone; "leaving" does no
    longer. ``since`` is in seconds since the epoch.
    """

    pem: str
    stage: Literal["next", "former", "leaving"]
    since: int = 0


@dataclass(frozen=True)
class ExistingEtcd:
    """What opens an etcd that is not kubeup's, in PEM: its authority's certificate, and the client's for apiservers."""

    ca_pem: str
    certificate_pem: str

    @property
    def identity(self) -> str:
        """Another key has another."""
        return hashlib.sha256(self.certificate_pem.encode()).hexdigest()


@dataclass(frozen=True)
class Trust:
    """The certificates of the authorities that issue, by name, and the public key of service accounts' tokens (PEM).

    ``others`` are what is trusted besides, while one is being replaced. ``generation`` counts the decisions: of what
    masters say, the latest counts. ``first`` is the identity of a cluster whose authority has been replaced since.
    ``ending``: something was just forgotten, and nobody has seen yet that all works without it.
    ``existing_etcd`` is of this machine's files, and not of the masters'.
    """

    authorities: Mapping[str, Authority] = field(default_factory=dict)
    service_accounts_pem: str = ""
    others: Mapping[str, Other] = field(default_factory=dict)
    generation: int = 0
    first: str = ""
    ending: bool = False
    existing_etcd: ExistingEtcd | None = None

    @property
    def identity(self) -> str:
        """What tells this cluster from another of the same name. It stays the same when authorities are replaced."""
        return self.first or self.fingerprint(KUBERNETES)[:32]

    def pem(self, name: str) -> str:
        """The certificate of the authority that issues, or the public key of what signs service accounts' tokens."""
        return self.service_accounts_pem if name == SERVICE_ACCOUNTS else self.authorities[name].certificate_pem

    def bundle_pem(self, name: str) -> str:
        """All that is trusted under the name, the oldest first: so the text stays the same when the next takes over."""
        other = self.others.get(name)
        if other is None:
            return self.pem(name)
        return self.pem(name) + other.pem if other.stage == "next" else other.pem + self.pem(name)

    def fingerprint(self, name: str) -> str:
        """The SHA-256 of the issuing authority's certificate, or of the service accounts' public key, in hex."""
        return _fingerprint(name, self.pem(name))

    @property
    def serving(self) -> str:
        """The certificate of the authority by which those outside, and pods, know the API."""
        other = self.others.get(KUBERNETES)
        return other.pem if other and other.stage == "former" else self.pem(KUBERNETES)

    def key_name(self, name: str) -> str:
        """What the private key is called that belongs to what issues now."""
        return key_name(name, self.pem(name))

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the private keys that the masters shall hold.

        A former one's is not among them, as it issues nothing any more, unless it issues the API's own certificate.
        """
        coming = sorted((name, other.pem) for name, other in self.others.items() if other.stage == "next")
        wanted = [*((name, self.pem(name)) for name in ALL), *coming, (KUBERNETES, self.serving)]
        return tuple(dict.fromkeys(key_name(name, pem) for name, pem in wanted))

    # The stages. Each returns what is to be trusted from then on.

    def introduced(self, new: Mapping[str, str], now: int) -> "Trust":
        """Stage 1: ``new`` (PEM by name) are trusted too."""
        return self._decided({**self.others, **{name: Other(pem, "next", now) for name, pem in new.items()}})

    def taken_over(self, names: tuple[str, ...], now: int) -> "Trust":
        """Stage 2: the next of these issue. Raises KeyError where there is none."""
        others = {**self.others, **{name: Other(self.pem(name), "former", now) for name in names}}
        return self._issuing({name: self.others[name].pem for name in names})._decided(others)

    def leaving(self, names: tuple[str, ...]) -> "Trust":
        """Stage 3: what these replaced issues nothing any more."""
        others = {n: replace(other, stage="leaving") if n in names else other for n, other in self.others.items()}
        return self._decided(others)

    def without(self, names: tuple[str, ...]) -> "Trust":
        """After stage 3: what these replaced is forgotten."""
        others = {name: other for name, other in self.others.items() if name not in names}
        return replace(self._decided(others), ending=True)

    def settled(self) -> "Trust":
        """All works with what is trusted now."""
        return replace(self._decided(self.others), ending=False)

    def replaced(self, new: Mapping[str, str]) -> "Trust":
        """All stages at once, for what has expired and is believed by nobody: ``new`` (PEM by name) in its place."""
        return self._issuing(new)._decided({name: other for name, other in self.others.items() if name not in new})

    def _issuing(self, pems: Mapping[str, str]) -> "Trust":
        authorities = {
            name: Authority(name, pems[name]) if name in pems else authority
            for name, authority in self.authorities.items()
        }
        accounts = pems.get(SERVICE_ACCOUNTS, self.service_accounts_pem)
        return replace(self, authorities=authorities, service_accounts_pem=accounts, first=self.identity)

    def _decided(self, others: Mapping[str, Other]) -> "Trust":
        return replace(self, others=others, generation=self.generation + 1)

    # The file that masters keep.

    def text(self) -> str:
        """As a file. Nothing in it is secret."""
        data = {
            "generation": self.generation,
            "identity": self.identity,
            "ending": self.ending,
            "issuing": {name: self.pem(name) for name in ALL},
            "others": {
                name: {"pem": other.pem, "stage": other.stage, "since": other.since}
                for name, other in sorted(self.others.items())
            },
        }
        return json.dumps(data, indent=1) + "\n"


def key_name(name: str, pem: str) -> str:
    """What the private key that belongs to a certificate or public key is called; another key has another name."""
    return f"{name}-{_fingerprint(name, pem)[:12]}"


def parse_trust(text: str) -> Trust:
    """A Trust from the file that `Trust.text` made. Raises ValueError or KeyError when it is not one."""
    data: dict[str, Any] = json.loads(text)
    return Trust(
        {name: Authority(name, data["issuing"][name]) for name in AUTHORITIES},
        data["issuing"][SERVICE_ACCOUNTS],
        {name: Other(other["pem"], other["stage"], other["since"]) for name, other in data["others"].items()},
        data["generation"],
        data["identity"],
        data.get("ending", False),
    )


def _fingerprint(name: str, pem: str) -> str:
    if name == SERVICE_ACCOUNTS:
        return hashlib.sha256(pem.encode()).hexdigest()
    return Authority(name, pem).fingerprint
