"""The cluster's authorities: made when there are none, else those of a living master."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from kubeup.cluster import Authority, CertificateSpec, describe, new_authority, new_key_pair
from kubeup.cluster.model import Etcd
from kubeup.cluster.trust import AUTHORITIES, ETCD, EXISTING_ETCD, FRONT_PROXY, KUBERNETES, SERVICE_ACCOUNTS
from kubeup.components import Store
from kubeup.deploy.vault import PUBLIC, Vault
from kubeup.errors import ComponentError, KubeupError
from kubeup.host.reading import Entry, Reading
from kubeup.roles.authorities import CERTIFICATES, KEYS, SERVICE_ACCOUNTS_PUBLIC

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


def hold(masters: Masters, node: str) -> None:
    """Put all that a master of the cluster holds on it."""
    for name, authority in AUTHORITY.items():
        masters.place(node, CERTIFICATES[name], authority.certificate_pem)
        masters.place(node, KEYS[name], authority.key_pem or "")
    masters.place(node, SERVICE_ACCOUNTS_PUBLIC, ACCOUNTS.public_pem)
    masters.place(node, KEYS[SERVICE_ACCOUNTS], ACCOUNTS.private_pem)


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
    assert {"PRIVATE KEY" in vault.secret(name) for name in KEYS} == {True}
    assert masters.fetched == []


def test_a_new_authority_issues(masters: Masters) -> None:
    vault = masters.vault()
    pem, key, end = vault.issue(SPEC)
    info = describe(pem)
    assert (info.subject, info.issuer) == ("CN=me", f"CN={KUBERNETES}")
    assert end == int(info.not_after.timestamp())
    assert "PRIVATE KEY" in key


def test_a_living_masters_authorities_are_the_clusters(living: Masters) -> None:
    trust = living.vault().trust
    assert trust.authorities == {name: replace(authority, key_pem=None) for name, authority in AUTHORITY.items()}
    assert trust.service_accounts_pem == ACCOUNTS.public_pem


def test_keys_are_fetched_when_they_are_needed_and_once(living: Masters) -> None:
    vault = living.vault()
    assert living.fetched == []
    for _ in range(3):
        vault.issue(SPEC)
    assert living.fetched == [("n2", KEYS[KUBERNETES])]
    assert vault.secret(KUBERNETES) == AUTHORITY[KUBERNETES].key_pem
    assert vault.secret(SERVICE_ACCOUNTS) == ACCOUNTS.private_pem
    assert living.fetched == [("n2", KEYS[KUBERNETES]), ("n2", KEYS[SERVICE_ACCOUNTS])]


@pytest.mark.parametrize("spoil", ["absent", "altered", "no certificate"])
def test_a_key_that_is_not_as_it_was_placed_is_fetched_elsewhere(living: Masters, spoil: str) -> None:
    reading, path = living.readings["n2"], KEYS[KUBERNETES]
    match spoil:
        case "absent":
            del reading.record["file", path], reading.hashes[path]
        case "altered":
            reading.hashes[path] = "another"
        case _:
            del reading.texts[CERTIFICATES[KUBERNETES]]
    living.vault().issue(SPEC)
    assert living.fetched == [("n3", path)]


def test_a_key_that_all_have_lost_is_told_and_not_made_anew(living: Masters) -> None:
    for name in ("n2", "n3"):
        del living.readings[name].hashes[KEYS[KUBERNETES]]
    vault = living.vault()
    with pytest.raises(KubeupError, match=r"no master has /etc/kubernetes/pki/ca\.key any more: put it back"):
        vault.issue(SPEC)
    assert vault.trust.fingerprint(KUBERNETES) == AUTHORITY[KUBERNETES].fingerprint


def test_a_key_is_not_needed_by_a_cluster_that_is_only_looked_at(living: Masters) -> None:
    for reading in living.readings.values():
        reading.hashes.clear()
    assert living.vault().trust.identity


@pytest.mark.parametrize("path", PUBLIC)
def test_masters_of_different_clusters_are_refused(living: Masters, path: str) -> None:
    living.readings["n3"].texts[path] = new_authority("other").certificate_pem
    with pytest.raises(KubeupError, match=r"the masters hold different .*: n2, n3"):
        living.vault()


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
    vault = Vault(masters.readings, Store(tmp_path), masters.fetch, lambda node: "amd64", etcd)
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
            Vault(masters.readings, Store(tmp_path), masters.fetch, lambda node: "amd64", etcd)
        assert "secret words" not in str(caught.value)
        (tmp_path / name).write_text(text)
    assert masters.vault().trust.existing_etcd is None
