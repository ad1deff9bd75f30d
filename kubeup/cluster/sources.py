"""By which ways hosts get what is not ours: a proxy, mirrors of registries and of packages."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

from kubeup.cluster.values import Value, is_dns_name, local_path, refuse


def _without_user(text: str, what: str) -> None:
    if re.search(r"://[^/\s]*@", text):
        refuse(f"{what} has a user in it", "leave it out: all on the hosts could read the password")


def _proxy_url(text: str) -> str:
    # It gets into a file that shells and systemd read.
    if "@" in text:
        refuse("the proxy's URL has a user in it", "leave it out: all on the hosts could read the password")
    if not re.fullmatch(r"https?://[^\s'\"`$\\/]+(:\d{1,5})?/?", text):
        refuse(f"{text!r} is not the URL of a proxy", "write it like http://proxy.example.com:3128")
    return text.removesuffix("/")


def _mirror_url(text: str) -> str:
    _without_user(text, "the mirror's URL")
    if not re.fullmatch(r"(https?|file)://[^\s'\"`$\\]+", text):
        refuse(f"{text!r} is not the URL of a mirror", "write it like https://mirror.example.com")
    return text.removesuffix("/")


def _reached_straight(text: str) -> str:
    if not re.fullmatch(r"[\w.:/*-]+", text):
        refuse(f"{text!r} is neither a name, an address nor a network", "write it like .example.com or 10.0.0.0/8")
    return text


def _registry(text: str) -> str:
    name, colon, port = text.partition(":")
    if not is_dns_name(name) or (colon and not port.isdigit()):
        refuse(
            f"{text!r} is not a registry", "write it as it stands before images' names: docker.io, HOST or HOST:PORT"
        )
    return text


def _apt_line(text: str) -> str:
    _without_user(text, "this line of apt's sources")
    if not re.fullmatch(r"deb (\[[^\]\n]*\] )?(https?|file|copy):\S+ [^\n]+", text):
        refuse(
            f"{text!r} is not a line of apt's sources",
            "write it like deb http://mirror.example.com/debian bookworm main",
        )
    return text


def _certificate_text(text: str, info: ValidationInfo) -> str:
    """The text of the certificates in the file of that path."""
    if not text or text.startswith("-----BEGIN"):
        return text
    path = local_path(Path(text), info)
    try:
        pem = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        refuse(f"{path} cannot be read: {error}", "write the path of a file with the certificate, in PEM")
    if "PRIVATE KEY" in pem or not pem.startswith("-----BEGIN CERTIFICATE-----"):
        refuse(f"{path} is not a certificate in PEM", "write the path of a file with the authority's certificate alone")
    return pem


ProxyUrl = Annotated[str, AfterValidator(_proxy_url)]
MirrorUrl = Annotated[str, AfterValidator(_mirror_url)]
RegistryName = Annotated[str, AfterValidator(_registry)]


class Proxy(Value):
    """The HTTP proxy by which hosts reach what is beyond the cluster, for packages and images.

    What is reached straight, besides the cluster itself, is in ``no_proxy``.
    """

    http: ProxyUrl | None = None
    https: ProxyUrl | None = None
    no_proxy: tuple[Annotated[str, AfterValidator(_reached_straight)], ...] = ()

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(url for url in (self.http, self.https) if url))


class Registry(Value):
    """Where a registry's images come from: ``mirrors`` in their order, then itself.

    ``ca``: a file with the certificate of the authority that signs for them; its text, once it is read.
    """

    mirrors: tuple[MirrorUrl, ...] = ()
    ca: Annotated[str, AfterValidator(_certificate_text)] = ""


class PackageMirrors(Value):
    """Where hosts find packages besides what they know: lines of apt's sources, URLs of repositories of dnf or yum."""

    apt: tuple[Annotated[str, AfterValidator(_apt_line)], ...] = ()
    dnf: tuple[MirrorUrl, ...] = ()
