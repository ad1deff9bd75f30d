"""Certificate authorities and what they issue. Pure: nothing here reads or writes a file.

Keys and certificates are PEM texts. What holds a private key leaves it out of its repr, so that it gets into no log.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubeup.errors import KubeupError

Usage = Literal["server", "client"]

AUTHORITY_LIFETIME = timedelta(days=3650)  # as kubeadm's (app/constants, CertificateAuthorityDefaultValidityPeriod)
LEAF_LIFETIME = timedelta(days=365)  # likewise (CertificateDefaultValidityPeriod)
RENEW_BEFORE = timedelta(days=30)
"""How long before its end a certificate is issued anew, and a person is warned."""
# Hosts' clocks may lag behind the machine that issues; kubeadm takes the same five minutes (CertificateBackdate).
BACKDATE = timedelta(minutes=5)

_USAGES: dict[Usage, x509.ObjectIdentifier] = {
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
}


@dataclass(frozen=True)
class Authority:
    """A certificate authority. Without ``key_pem`` it can be trusted but cannot issue."""

    name: str
    certificate_pem: str
    key_pem: str | None = field(default=None, repr=False)

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the certificate's DER form, in hex."""
        return _fingerprint(_certificate(self.certificate_pem))


@dataclass(frozen=True)
class CertificateSpec:
    """What a certificate shall say. ``authority`` is the name of the one to issue it.

    ``common_name`` and ``organizations`` are the user and groups that Kubernetes takes a client for;
    ``dns_names`` and ``addresses`` are what a server may be called. How long it is valid is no part of this: another
    lifetime is no reason to issue all of them again.
    """

    common_name: str
    authority: str
    usages: tuple[Usage, ...]
    organizations: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    addresses: tuple[IPv4Address | IPv6Address, ...] = ()

    def digest(self, authority_fingerprint: str) -> str:
        """A SHA-256 in hex of this specification and the authority, equal wherever the certificate would say the same.

        Kept beside a certificate it tells whether that was issued for this specification by this authority.
        """
        said = {k: sorted(map(str, v)) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        text = json.dumps({"spec": said, "authority": authority_fingerprint}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class IssuedCertificate:
    """A certificate with its private key."""

    certificate_pem: str
    key_pem: str = field(repr=False)


@dataclass(frozen=True)
class KeyPair:
    """The keys that sign service accounts' tokens and verify them."""

    public_pem: str
    private_pem: str = field(repr=False)


@dataclass(frozen=True)
class CertificateInfo:
    """What a certificate says: names in RFC 4514 form, times in UTC, serial and (SHA-256) fingerprint in hex."""

    subject: str
    issuer: str
    sans: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    serial: str
    fingerprint: str
    usages: tuple[Usage, ...]


def new_authority(name: str, now: datetime | None = None, *, lifetime: timedelta = AUTHORITY_LIFETIME) -> Authority:
    """Make an authority whose common name is ``name``, valid from ``now`` for so long, which may issue no other."""
    now = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _builder(subject, subject, key.public_key(), now - BACKDATE, now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(name, _pem(certificate), _private_pem(key))


def issue(
    authority: Authority, spec: CertificateSpec, now: datetime | None = None, *, lifetime: timedelta = LEAF_LIFETIME
) -> IssuedCertificate:
    """Issue a certificate with a new key, valid for so long from ``now`` (an aware time; default: the current one).

    It never outlives its authority.

    Raises:
        ValueError: ``spec`` is for another authority, this one has no key, or a server is to have no names.
        KubeupError: the authority has expired.
    """
    if spec.authority != authority.name:
        raise ValueError(f"a certificate of {spec.authority} cannot be issued by {authority.name}")
    if authority.key_pem is None:
        raise ValueError(f"the authority {authority.name} has no key here and cannot issue")
    if "server" in spec.usages and not spec.dns_names and not spec.addresses:
        raise ValueError(f"{spec.common_name}: a server's certificate needs a DNS name or an address")
    now = now or datetime.now(UTC)
    issuer = _certificate(authority.certificate_pem)
    if now >= issuer.not_valid_after_utc:
        raise KubeupError(
            f"the certificate authority {authority.name} expired on {issuer.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: "
            "`kubeup certs rotate-ca` replaces it"
        )

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in spec.organizations),
            x509.NameAttribute(NameOID.COMMON_NAME, spec.common_name),
        ]
    )
    start = max(now - BACKDATE, issuer.not_valid_before_utc)
    end = min(now + lifetime, issuer.not_valid_after_utc)
    issuer_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _builder(subject, issuer.subject, key.public_key(), start, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([_USAGES[u] for u in spec.usages]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), critical=False)
    )
    names = [*map(x509.DNSName, spec.dns_names), *map(x509.IPAddress, spec.addresses)]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signer = load_pem_private_key(authority.key_pem.encode(), password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise ValueError(f"the key of the authority {authority.name} is not one for ECDSA")
    return IssuedCertificate(_pem(builder.sign(signer, hashes.SHA256())), _private_pem(key))


def ends_soon(begin: float, end: float, now: float) -> bool:
    """Whether it is time to issue a certificate anew: 30 days before its end, or a third of its life if that is less.

    All in seconds since the epoch.
    """
    return end - now < min(RENEW_BEFORE.total_seconds(), (end - begin) / 3)


def new_key_pair() -> KeyPair:
    """Make the keys for service accounts' tokens: RSA, 2048 bits, as kubeadm's.

    RSA, though all else here is ECDSA: services outside the cluster may check these tokens (OpenID Connect discovery),
    and RS256 is the one algorithm that all of them must know (OpenID Connect Core 1.0, section 15.1).
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return KeyPair(public, _private_pem(key))


def certificates_of(pem: str) -> list[str]:
    """The certificates of a PEM text, each as a text of its own."""
    return [_pem(certificate) for certificate in x509.load_pem_x509_certificates(pem.encode())]


def issued_by(pem: str, issuer_pem: str) -> bool:
    """Whether a certificate was issued by an authority, by its signature and not by the name that it gives alone."""
    try:
        _certificate(pem).verify_directly_issued_by(_certificate(issuer_pem))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def describe(pem: str) -> CertificateInfo:
    """What the first certificate of a PEM text says.

    Raises:
        ValueError: there is none in it.
    """
    certificate = _certificate(pem)
    return CertificateInfo(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        sans=_sans(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        serial=f"{certificate.serial_number:x}",
        fingerprint=_fingerprint(certificate),
        usages=_usages(certificate),
    )


def _sans(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in names)


def _usages(certificate: x509.Certificate) -> tuple[Usage, ...]:
    try:
        oids = list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return ()
    return tuple(usage for usage, oid in _USAGES.items() if oid in oids)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _key_usage(*wanted: str) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: name in wanted for name in names})


def _certificate(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
