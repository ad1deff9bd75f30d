"""The cluster's authorities: made when there are none, else those of a living master."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from kubeup.cluster import Authority, CertificateSpec, describe, new_authority, new_key_pair
from kubeup.cluster.model import Certificates, Etcd
from kubeup.cluster.trust import (
    AUTHORITIES,
    ETCD,
    EXISTING_ETCD,
    FRONT_PROXY,
    KUBERNETES,
    SERVICE_ACCOUNTS,
    Other,
    Trust,
    key_name,
    parse_trust,
)
from kubeup.components import Store
from kubeup.deploy.vault import PUBLIC, Vault
from kubeup.errors import ComponentError, KubeupError
from kubeup.host.reading import Entry, Reading
from kubeup.host.resources import Certificate, Secret
from kubeup.roles.authorities import TRUST, key_path

SPEC = CertificateSpec("me", KUBERNETES, ("client",))


@dataclass
class Masters:
    """Masters with authorities on them, and what was fetched from them."""

    readings: dict[str, Reading]
    files: dict[tuple[str, str], str] = field(default_factory=dict)
    fetched: list[tuple[str, str]] = field(default_factory=list)

    def place(self, node: str, path: str, text: str) -> None:
        self.files[node, path] = text
        self.readings[node].record["file", path] = Entry("want", "digest -", "absent")
        self.readings[node].hashes[path] = "digest"
        if path in PUBLIC:
            self.readings[node].texts[path] = text

    def fetch(self, node: str, path: str) -> str:
        self.fetched.append((node, path))
        return self.files[node, path]

    def vault(self, root: Path = Path("/nonexistent")) -> Vault:
        return Vault(self.readings, Store(root), self.fetch, lambda node: "amd64")


AUTHORITY: dict[str, Authority] = {name: new_authority(name) for name in AUTHORITIES}
ACCOUNTS = new_key_pair()
WHOLE = Trust({name: replace(a, key_pem=None) for name, a in AUTHORITY.items()}, ACCOUNTS.public_pem)
KEYS = {
    **{WHOLE.key_name(name): authority.key_pem or "" for name, authority in AUTHORITY.items()},
    WHOLE.key_name(SERVICE_ACCOUNTS): ACCOUNTS.private_pem,
}
CA_KEY = key_path(WHOLE.key_name(KUBERNETES))


def hold(masters: Masters, node: str) -> None:
    """Put all that a master of the cluster holds on it."""
    for name, key in KEYS.items():
        masters.place(node, key_path(name), key)
    masters.place(node, TRUST, WHOLE.text())


@pytest.fixture
def masters(world: Any) -> Masters:
    """Three bare ones."""
    return Masters({name: Reading(world.facts) for name in ("n1", "n2", "n3")})


@pytest.fixture
def living(masters: Masters) -> Masters:
    """The second and third hold the cluster's authorities, the first is new."""
    hold(masters, "n2")
    hold(masters, "n3")
    return masters


def test_where_there_is_no_authority_it_is_made(masters: Masters) -> None:
    vault, other = masters.vault(), masters.vault()
    assert set(vault.trust.authorities) == {KUBERNETES, ETCD, FRONT_PROXY}
    assert vault.trust.identity != other.trust.identity
    assert "PUBLIC KEY" in vault.trust.service_accounts_pem
    assert {"PRIVATE KEY" in vault.secret(name) for name in vault.trust.keys} == {True}
    assert masters.fetched == []


def test_a_new_authority_issues(masters: Masters) -> None:
    vault = masters.vault()
    pem, key, begin, end = vault.issue(SPEC)
    info = describe(pem)
    assert (info.subject, info.issuer) == ("CN=me", f"CN={KUBERNETES}")
    assert end == int(info.not_after.timestamp())
    assert end - begin == 365 * 24 * 3600
    assert "PRIVATE KEY" in key


def test_a_living_masters_authorities_are_the_clusters(living: Masters) -> None:
    trust = living.vault().trust
    assert trust == replace(WHOLE, first=WHOLE.identity)
    assert trust.identity == WHOLE.identity


def test_keys_are_fetched_when_they_are_needed_and_once(living: Masters) -> None:
    vault = living.vault()
    assert living.fetched == []
    for _ in range(3):
        vault.issue(SPEC)
    assert living.fetched == [("n2", CA_KEY)]
    assert vault.secret(WHOLE.key_name(KUBERNETES)) == AUTHORITY[KUBERNETES].key_pem
    assert vault.secret(WHOLE.key_name(SERVICE_ACCOUNTS)) == ACCOUNTS.private_pem
    assert living.fetched == [("n2", CA_KEY), ("n2", key_path(WHOLE.key_name(SERVICE_ACCOUNTS)))]


@pytest.mark.parametrize("spoil", ["absent", "altered"])
def test_a_key_that_is_not_as_it_was_placed_is_fetched_elsewhere(living: Masters, spoil: str) -> None:
    reading, path = living.readings["n2"], CA_KEY
    match spoil:
        case "absent":
            del reading.record["file", path], reading.hashes[path]
        case _:
            reading.hashes[path] = "another"
    living.vault().issue(SPEC)
    assert living.fetched == [("n3", path)]


def test_a_key_that_all_have_lost_is_told_and_not_made_anew(living: Masters) -> None:
    for name in ("n2", "n3"):
        del living.readings[name].hashes[CA_KEY]
    vault = living.vault()
    with pytest.raises(
        KubeupError, match=r"no master has /etc/kubernetes/pki/keys/kubernetes-ca-\w+\.key any more: put"
    ):
        vault.issue(SPEC)
    assert vault.trust.fingerprint(KUBERNETES) == AUTHORITY[KUBERNETES].fingerprint


def test_a_key_is_not_needed_by_a_cluster_that_is_only_looked_at(living: Masters) -> None:
    for reading in living.readings.values():
        reading.hashes.clear()
    assert living.vault().trust.identity


def test_masters_of_different_clusters_are_refused(living: Masters, masters: Masters) -> None:
    other = Trust({name: new_authority(name) for name in AUTHORITIES}, ACCOUNTS.public_pem, generation=3)
    living.readings["n3"].texts[TRUST] = other.text()
    with pytest.raises(KubeupError, match=r"the masters hold different authorities: n2, n3"):
        living.vault()


def test_a_file_that_cannot_be_read_is_no_reason_to_begin_anew(living: Masters) -> None:
    living.readings["n3"].texts[TRUST] = "{"
    assert living.vault().trust.identity == WHOLE.identity
    living.readings["n2"].texts[TRUST] = "[]"
    with pytest.raises(KubeupError, match=r"trust\.json cannot be read on n2, n3"):
        living.vault()


# Successors


def store(masters: Masters, vault: Vault, *nodes: str) -> None:
    """Place on masters what the vault wants there, as a run does."""
    for node in nodes:
        for name in vault.trust.keys:
            masters.place(node, key_path(name), vault.secret(name))
        masters.place(node, TRUST, vault.trust.text())


def test_a_successor_is_trusted_before_it_issues_and_what_it_replaced_after(living: Masters) -> None:
    vault = living.vault()
    vault.succeed([KUBERNETES])
    new = vault.trust.others[KUBERNETES].pem
    assert describe(vault.issue(SPEC)[0]).issuer == f"CN={KUBERNETES}"
    bundle = AUTHORITY[KUBERNETES].certificate_pem + new
    assert vault.trust.bundle_pem(KUBERNETES) == bundle
    assert {KEYS.get(name, "new") for name in vault.trust.keys} == {*KEYS.values(), "new"}
    store(living, vault, "n2", "n3")

    vault = living.vault()
    vault.trust = vault.trust.taken_over((KUBERNETES,), 7)
    assert vault.trust.pem(KUBERNETES) == new
    assert vault.trust.bundle_pem(KUBERNETES) == bundle  # so nobody has to read it again
    assert vault.trust.others[KUBERNETES] == Other(AUTHORITY[KUBERNETES].certificate_pem, "former", 7)
    old = AUTHORITY[KUBERNETES]
    verify(vault.issue(SPEC)[0], new)
    verify(vault.issue(SPEC, old.fingerprint)[0], old.certificate_pem)  # what those outside check
    assert vault.trust.serving == old.certificate_pem
    store(living, vault, "n2")

    vault = living.vault()  # killed before n3 knew: the latest decision counts
    assert vault.trust.pem(KUBERNETES) == new
    vault.trust = vault.trust.leaving((KUBERNETES,))
    assert vault.trust.serving == new
    assert WHOLE.key_name(KUBERNETES) not in vault.trust.keys
    assert vault.trust.bundle_pem(KUBERNETES) == bundle
    vault.trust = vault.trust.without((KUBERNETES,))
    assert vault.trust.bundle_pem(KUBERNETES) == new
    assert vault.trust.identity == WHOLE.identity


def verify(pem: str, issuer: str) -> None:
    load = x509.load_pem_x509_certificate
    load(pem.encode()).verify_directly_issued_by(load(issuer.encode()))


def test_one_that_was_made_but_not_decided_on_is_forgotten(living: Masters) -> None:
    """Killed after the key was placed, and before the file that says so."""
    vault = living.vault()
    vault.succeed([ETCD, SERVICE_ACCOUNTS])
    for name in vault.trust.keys:
        living.place("n2", key_path(name), vault.secret(name))
    assert living.vault().trust.keys == WHOLE.keys


def test_the_successor_of_an_expired_authority_issues_at_once(masters: Masters) -> None:
    expired = new_authority(ETCD, datetime(2020, 1, 1, tzinfo=UTC), lifetime=timedelta(days=1))
    before = replace(WHOLE, authorities={**WHOLE.authorities, ETCD: replace(expired, key_pem=None)})
    masters.place("n1", TRUST, before.text())
    vault = masters.vault()
    assert [name for name in AUTHORITIES if vault.expired(name)] == [ETCD]
    vault.succeed([ETCD, FRONT_PROXY])
    assert set(vault.trust.others) == {FRONT_PROXY}
    assert not vault.expired(ETCD)
    verify(vault.issue(replace(SPEC, authority=ETCD))[0], vault.trust.bundle_pem(ETCD))


def test_the_keys_of_tokens_have_successors_too(living: Masters) -> None:
    vault = living.vault()
    vault.succeed([SERVICE_ACCOUNTS])
    assert vault.trust.bundle_pem(SERVICE_ACCOUNTS).count("BEGIN PUBLIC KEY") == 2
    new = key_name(SERVICE_ACCOUNTS, vault.trust.others[SERVICE_ACCOUNTS].pem)
    assert new in vault.trust.keys
    assert vault.secret(new) != ACCOUNTS.private_pem


def test_what_is_trusted_survives_being_written(living: Masters) -> None:
    vault = living.vault()
    vault.succeed([KUBERNETES, SERVICE_ACCOUNTS])
    assert parse_trust(vault.trust.text()) == vault.trust


def test_lifetimes_are_the_inventorys(masters: Masters) -> None:
    lifetimes = Certificates(lifetime=timedelta(minutes=5), authority_lifetime=timedelta(days=2))
    vault = Vault(masters.readings, Store(Path("/nonexistent")), masters.fetch, str, lifetimes)
    _, _, begin, end = vault.issue(SPEC)
    assert end - begin == 300
    ca = describe(vault.trust.pem(KUBERNETES))
    assert ca.not_after - ca.not_before == timedelta(days=2, minutes=5)


def test_a_vault_shows_nothing(masters: Masters) -> None:
    vault = masters.vault()
    assert "PRIVATE" not in repr(vault) + str(vault) + repr(vault.trust)


def test_a_component_that_is_not_there(masters: Masters, tmp_path: Path) -> None:
    with pytest.raises(ComponentError, match=r"kubelet 1\.2\.3 \(amd64\) is not in the component cache"):
        masters.vault(tmp_path).artifact("kubelet", "1.2.3", "n1")


def test_a_component_is_verified_once(masters: Masters, tmp_path: Path, monkeypatch: Any, world: Any) -> None:
    found: list[tuple[str, str, str]] = []
    verified: list[str] = []

    def find(self: Store, name: str, version: str, arch: str = "") -> Any:
        found.append((name, version, arch))
        return world.artifact(name, version)

    monkeypatch.setattr(Store, "find", find)
    monkeypatch.setattr("kubeup.components.Artifact.verify", lambda self: verified.append(self.name))
    vault = masters.vault(tmp_path)
    for node in ("n1", "n2"):
        vault.artifact("kubelet", "1", node)
    assert (found, verified) == ([("kubelet", "1", "amd64")], ["kubelet"])


# an etcd that is not kubeup's


def test_what_opens_an_etcd_of_others(masters: Masters, tmp_path: Path) -> None:
    files = {"ca": "CERTIFICATE", "certificate": "CERTIFICATE", "key": "PRIVATE KEY"}
    for name, kind in files.items():
        (tmp_path / name).write_text(f"-----BEGIN {kind}-----\n{name}\n-----END {kind}-----\n")
    etcd = Etcd.model_validate({"endpoints": ["https://e"], **{name: tmp_path / name for name in files}})
    vault = Vault(masters.readings, Store(tmp_path), masters.fetch, lambda node: "amd64", etcd=etcd)
    found = vault.trust.existing_etcd
    assert found
    assert (found.ca_pem, found.certificate_pem) == tuple(
        (tmp_path / name).read_text() for name in ("ca", "certificate")
    )
    assert vault.secret(EXISTING_ETCD) == (tmp_path / "key").read_text()
    assert "PRIVATE" not in repr(vault) + repr(vault.trust) + repr(etcd)
    for name, message in (("key", "is no private key in PEM form"), ("ca", "is no certificate in PEM form")):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text("secret words")
        with pytest.raises(KubeupError, match=message) as caught:
            Vault(masters.readings, Store(tmp_path), masters.fetch, lambda node: "amd64", etcd=etcd)
        assert "secret words" not in str(caught.value)
        (tmp_path / name).write_text(text)
    assert masters.vault().trust.existing_etcd is None


def test_what_is_lost_is_known_before_it_is_needed(living: Masters) -> None:
    certificate = Certificate("/c", "/k", SPEC, WHOLE.fingerprint(KUBERNETES))
    secret = Secret(CA_KEY, WHOLE.key_name(KUBERNETES), "identity")
    assert [living.vault().lost(resource) for resource in (certificate, secret)] == ["", ""]
    for node in ("n2", "n3"):
        living.readings[node].hashes[CA_KEY] = "altered"
    assert [living.vault().lost(resource) for resource in (certificate, secret)] == [CA_KEY, CA_KEY]
    of_etcd = Certificate("/c", "/k", replace(SPEC, authority=ETCD), WHOLE.fingerprint(ETCD))
    assert living.vault().lost(of_etcd) == ""
    assert living.fetched == []
