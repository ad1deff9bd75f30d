"""What differs between the families of distributions: names of packages, oldest versions, what keeps the time.

All else is the same everywhere, because programs are static and what is placed goes where every systemd looks, into
/etc/systemd/system, /etc/sysctl.d and /etc/modules-load.d. What installs packages is found on the host (apply.sh).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TimeService:
    """What keeps a host's clock right where nothing does: its package, command and unit."""

    package: str
    command: str
    unit: str


@dataclass(frozen=True)
class Family:
    """Distributions that install alike.

    ``oldest`` is the first major version that is supported, by ID in /etc/os-release. ``packages`` are those that are
    not called as in Debian: name there -> (first major version, name) pairs, the latest that applies counts.
    """

    name: str
    oldest: Mapping[str, int]
    time: TimeService
    packages: Mapping[str, tuple[tuple[int, str], ...]] = field(default_factory=dict)

    def package(self, name: str, major: int) -> str:
        """What a package is called that Debian calls ``name``."""
        names = [own for first, own in self.packages.get(name, ()) if major >= first]
        return names[-1] if names else name


DEBIAN = Family(
    "debian",
    {"ubuntu": 20, "debian": 11},
    TimeService("systemd-timesyncd", "/lib/systemd/systemd-timesyncd", "systemd-timesyncd.service"),
)
EL = Family(
    "el",
    {"centos": 7, "rhel": 8, "rocky": 8, "almalinux": 8},
    TimeService("chrony", "chronyd", "chronyd.service"),
    {
        # From 9 on there is no other iptables than that on top of nftables, and it is called by what it is.
        "iptables": ((9, "iptables-nft"),),
        "nfs-common": ((0, "nfs-utils"),),
    },
)
FAMILIES = (DEBIAN, EL)


def family_of(os: str, like: tuple[str, ...]) -> Family | None:
    """The family of a distribution, by ID and ID_LIKE of /etc/os-release; None for one that is not known."""
    return next((family for name in (os, *like) for family in FAMILIES if name in family.oldest), None)


def known() -> str:
    """All distributions that are supported, for people."""
    return ", ".join(f"{name} {version}+" for family in FAMILIES for name, version in family.oldest.items())
