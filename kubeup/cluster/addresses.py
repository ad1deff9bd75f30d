"""From what a person writes for a host to what SSH connects to and what the cluster calls it by."""

import re
import socket
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple

from kubeup.errors import InventoryError, Problem

Resolve = Callable[[str, Path], IPv4Address | None]
"""Finds a host's address: takes the host as the inventory has it and the path of OpenSSH's config."""

# Brackets are for IPv6 addresses, whose colons would otherwise read as a port.
_TARGET = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^@:\s\[\]]+))(?::(?P<port>\d+))?")


class HostPort(NamedTuple):
    """The parts of ``[user@]host[:port]``."""

    user: str | None
    host: str
    port: int | None


def parse_host(text: str) -> HostPort:
    """Take ``[user@]host[:port]`` apart.

    Raises:
        ValueError: ``text`` is not of that form.
    """
    match = _TARGET.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not of the form [user@]host[:port]")
    return HostPort(match["user"], match["v6"] or match["host"], int(match["port"]) if match["port"] else None)


def resolve_address(host: str, ssh_config: Path) -> IPv4Address | None:
    """The address of ``host``: itself, else by its HostName in OpenSSH's config, else by DNS; None where none is found.

    Raises:
        InventoryError: the SSH config cannot be read.
    """
    name = _hostname(host, ssh_config)
    try:
        return IPv4Address(name)
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(name, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # UnicodeError: a label that is empty or too long for DNS
        return None
    return IPv4Address(found[0][4][0])


def _hostname(host: str, ssh_config: Path) -> str:
    import paramiko  # here, because it is slow to import and most inventories have addresses

    if not ssh_config.exists():
        return host
    try:
        return paramiko.SSHConfig.from_path(str(ssh_config)).lookup(host)["hostname"]
    except (OSError, UnicodeError, paramiko.ConfigParseError) as error:
        raise InventoryError([Problem(str(ssh_config), f"cannot be read as an OpenSSH config: {error}")]) from error
