"""Certificates hold against other implementations' idea of them: cryptography's path validation and OpenSSL."""

import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import verification

from kubeup.cluster import Authority, CertificateSpec, describe, issue, new_authority, new_key_pair
from kubeup.errors import KubeupError

CA = new_authority("kubeup-ca")
NOW = datetime(2030, 1, 1, tzinfo=UTC)

SERVER = CertificateSpec(
    common_name="kube-apiserver",
    authority="kubeup-ca",
    usages=("server",),
    dns_names=("kubernetes", "kubernetes.default.svc"),
    addresses=(IPv4Address("10.0.0.1"), IPv4Address("192.168.3.1")),
)
CLIENT = CertificateSpec(
    common_name="kubernetes-admin", authority="kubeup-ca", usages=("client",), organizations=("kubeadm:cluster-admins",)
)


def verify_server(authority: Authority, pem: str, name: str, at: datetime | None = None) -> None:
    def load(pem: str) -> x509.Certificate:
        return x509.load_pem_x509_certificate(pem.encode())

    try:
        subject: x509.GeneralName = x509.IPAddress(ip_address(name))
    except ValueError:
        subject = x509.DNSName(name)
    store = verification.Store([load(authority.certificate_pem)])
    builder = verification.PolicyBuilder().store(store).time(at or datetime.now(UTC))
    builder.build_server_verifier(subject).verify(load(pem), [])  # type: ignore[arg-type]


def openssl_verify(folder: Path, authority: Authority, pem: str, purpose: str) -> bool:
    (folder / "ca.pem").write_text(authority.certificate_pem)
    (folder / "leaf.pem").write_text(pem)
    command = ["openssl", "verify", "-x509_strict", "-CAfile", "ca.pem", "-purpose", purpose, "leaf.pem"]
    return subprocess.run(command, cwd=folder, capture_output=True).returncode == 0


@pytest.mark.parametrize("name", ["kubernetes", "kubernetes.default.svc", "10.0.0.1", "192.168.3.1"])
def test_a_server_is_trusted_under_its_names(name: str) -> None:
    verify_server(CA, issue(CA, SERVER).certificate_pem, name)


def test_and_under_no_other_name_or_authority() -> None:
    pem = issue(CA, SERVER).certificate_pem
    with pytest.raises(verification.VerificationError):
        verify_server(CA, pem, "10.0.0.2")
    with pytest.raises(verification.VerificationError):
        verify_server(new_authority("kubeup-ca"), pem, "10.0.0.1")


def test_a_certificate_is_for_its_usages_alone(tmp_path: Path) -> None:
    both = issue(CA, replace(SERVER, usages=("server", "client"))).certificate_pem
    certificates = {
        "server": issue(CA, SERVER).certificate_pem,
        "client": issue(CA, CLIENT).certificate_pem,
        "both": both,
    }
    trusted = {
        (name, purpose): openssl_verify(tmp_path, CA, pem, purpose)
        for name, pem in certificates.items()
        for purpose in ("sslserver", "sslclient")
    }
    assert {pair for pair, verified in trusted.items() if not verified} == {
        ("server", "sslclient"),
        ("client", "sslserver"),
    }


def test_an_authority_issues_leaves_alone() -> None:
    extensions = x509.load_pem_x509_certificate(CA.certificate_pem.encode()).extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    assert (usage.value.key_cert_sign, usage.value.crl_sign, usage.value.digital_signature) == (True, True, False)


def test_describe() -> None:
    info = describe(issue(CA, replace(CLIENT, usages=("client", "server"), dns_names=("a",)), NOW).certificate_pem)
    assert (info.subject, info.issuer) == ("CN=kubernetes-admin,O=kubeadm:cluster-admins", "CN=kubeup-ca")
    assert (info.sans, info.usages) == (("a",), ("server", "client"))
    assert describe(CA.certificate_pem).fingerprint == CA.fingerprint
    assert len(bytes.fromhex(CA.fingerprint)) == 32
    assert describe(CA.certificate_pem).usages == ()
    with pytest.raises(ValueError, match="PEM"):
        describe("nothing")


def test_validity() -> None:
    ca = new_authority("kubeup-ca", NOW)
    info = describe(issue(ca, SERVER, NOW).certificate_pem)
    assert (info.not_before, info.not_after) == (NOW - timedelta(minutes=5), NOW + timedelta(days=365))
    assert describe(ca.certificate_pem).not_after == NOW + timedelta(days=3650)
    late = NOW + timedelta(days=3600)
    pem = issue(ca, SERVER, late).certificate_pem
    assert describe(pem).not_after == describe(ca.certificate_pem).not_after  # not beyond its authority
    verify_server(ca, pem, "kubernetes", at=late)
    with pytest.raises(KubeupError, match="kubeup-ca expired on 2039"):
        issue(ca, SERVER, NOW + timedelta(days=3650))


def test_each_is_issued_anew() -> None:
    first, second = (issue(CA, SERVER) for _ in range(2))
    assert describe(first.certificate_pem).serial != describe(second.certificate_pem).serial
    assert first.key_pem != second.key_pem


def test_a_key_is_its_certificates() -> None:
    issued = issue(CA, SERVER)
    key = serialization.load_pem_private_key(issued.key_pem.encode(), password=None)
    certificate = x509.load_pem_x509_certificate(issued.certificate_pem.encode())
    assert key.public_key() == certificate.public_key()


def test_what_cannot_be_issued() -> None:
    with pytest.raises(ValueError, match="etcd-ca cannot be issued by kubeup-ca"):
        issue(CA, replace(SERVER, authority="etcd-ca"))
    with pytest.raises(ValueError, match="has no key"):
        issue(Authority(CA.name, CA.certificate_pem), SERVER)
    with pytest.raises(ValueError, match="needs a DNS name or an address"):
        issue(CA, replace(CLIENT, usages=("server",)))


CHANGES: dict[str, object] = {
    "common_name": "other",
    "authority": "other",
    "usages": ("client",),
    "organizations": ("o",),
    "dns_names": ("kubernetes",),
    "addresses": (IPv4Address("10.0.0.1"),),
}


def test_the_digest_tells_every_change() -> None:
    digest = SERVER.digest(CA.fingerprint)
    reordered = replace(SERVER, dns_names=SERVER.dns_names[::-1], addresses=SERVER.addresses[::-1])
    assert reordered.digest(CA.fingerprint) == digest
    assert set(CHANGES) == set(CertificateSpec.__dataclass_fields__)
    changed = {replace(SERVER, **{name: value}).digest(CA.fingerprint) for name, value in CHANGES.items()}  # type: ignore[arg-type]
    assert len({digest, *changed, SERVER.digest(new_authority("kubeup-ca").fingerprint)}) == len(CHANGES) + 2


def test_the_digest_stays_the_same_between_versions_of_kubeup() -> None:
    # It lies on hosts: when it changes, every certificate is issued again and everything restarts.
    assert SERVER.digest("00") == "412936a7f956efadcf2c0e35c90eb2867ff800b5425cd890b7d231c7f017327c"


def test_key_pair() -> None:
    pair = new_key_pair()
    private = serialization.load_pem_private_key(pair.private_pem.encode(), password=None)
    assert private.public_key() == serialization.load_pem_public_key(pair.public_pem.encode())
    assert private.key_size == 2048  # type: ignore[union-attr]


def test_no_repr_shows_a_key() -> None:
    for holder, secret in (
        (CA, CA.key_pem),
        (issued := issue(CA, SERVER), issued.key_pem),
        (pair := new_key_pair(), pair.private_pem),
    ):
        assert secret
        assert "PRIVATE" not in f"{holder!r}{holder}"
        assert secret.splitlines()[1] not in repr(holder)
