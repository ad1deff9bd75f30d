"""What a host is."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from kubeup.host.families import DEBIAN, Family, family_of

CAP_SYS_RESOURCE = 24  # capability number, from linux/capability.h


@dataclass(frozen=True)
class HostFacts:
    """What a host is. Roles decide by it; it does not change by what kubeup does."""

    os: str
    os_like: tuple[str, ...]
    os_version: str
    os_name: str
    arch: str
    """As Go names it: amd64, arm64."""
    kernel: str
    hostname: str
    cpus: int
    memory_kib: int
    cgroup: int
    """Version of the cgroup hierarchy: 1 or 2."""
    init: str
    """The name of process 1."""
    systemd: int
    apparmor: bool
    kmsg: bool
    """Whether /dev/kmsg is there, which the kubelet wants to read."""
    owns_kernel: bool
    """False in containers that may not change the kernel's settings, which are the machine's."""
    conntrack_writable: bool
    nofile: int
    """The hard limit of open files, 0 for none."""
    capabilities: int
    swaps: int
    clock: int
    """Seconds since the epoch, when it was read."""
    commands: frozenset[str]
    addresses: tuple[tuple[str, IPv4Interface], ...]
    routes: tuple[tuple[IPv4Network, str], ...]
    """Destination and device, without the default route."""
    nameservers: tuple[tuple[str, str], ...]
    """(file, server)"""
    listening: frozenset[int]
    disks: tuple[tuple[str, int], ...]
    """(mount point, free KiB) of the file systems that components, data and configuration lie on."""
    present: tuple[str, ...]
    """Paths that other ways to install Kubernetes leave behind, and etcd's data."""
    mtus: tuple[tuple[str, int], ...] = ()
    """Network links, and the largest packet that each takes, in bytes."""
    neighbours: tuple[IPv4Network, ...] = ()
    """The networks that this host reaches without a gateway."""
    beyond: tuple[IPv4Network, ...] = ()
    """Those that it reaches through one, without the default route."""
    kernel_offers: frozenset[str] = frozenset()
    """Of the kernel's features that not every kernel has (ip_vs, dummy, nfs) those that are there or can be loaded."""
    path_mtu: int = 0
    """The largest packet that the way to the other nodes takes, in bytes, as it was measured; 0 where it was not."""
    selinux: bool = False
    """Whether SELinux is on, be it that it only tells."""
    firewall: str = ""
    """The one that runs: firewalld or ufw; "" where none does."""
    network_manager: bool = False
    time_service: str = ""
    """The unit that keeps the clock right, "" where none runs, or kubeup's own starts it."""
    machine_id: str = ""
    macs: tuple[tuple[str, str], ...] = ()
    """(network link, MAC address), without the links that software makes for itself."""
    controllers: frozenset[str] = frozenset()
    """The cgroup controllers that are on."""
    modules_missing: tuple[str, ...] = ()
    """Kernel modules that pods need and that neither are there nor can be loaded."""

    @property
    def family(self) -> Family:
        """The family of its distribution; Debian's for one that is not known, which preflight refuses."""
        return family_of(self.os, self.os_like) or DEBIAN

    @property
    def os_major(self) -> int:
        """The major version of the distribution; 0 where it says none (Debian's testing)."""
        major = self.os_version.partition(".")[0]
        return int(major) if major.isdigit() else 0

    def package(self, name: str) -> str:
        """What the distribution calls the package that Debian calls ``name``."""
        return self.family.package(name, self.os_major or 1000)

    @property
    def can_lower_oom_score(self) -> bool:
        """False in containers without CAP_SYS_RESOURCE, where pods could otherwise not be started."""
        return bool(self.capabilities >> CAP_SYS_RESOURCE & 1)

    def upstream_resolv_conf(self) -> str | None:
        """The resolv.conf that has a nameserver which pods can reach too, or None.

        A nameserver on a loopback address (systemd-resolved, Docker) would be the pod's own loopback.
        """
        for path in dict.fromkeys(path for path, _ in self.nameservers):
            servers = [server for p, server in self.nameservers if p == path]
            if servers and not any(s.startswith("127.") or s == "::1" for s in servers):
                return path
        return None

    def upstream_nameservers(self) -> tuple[str, ...]:
        """Those that it names, which pods will ask."""
        path = self.upstream_resolv_conf()
        return tuple(server for p, server in self.nameservers if p == path)

    def device_of(self, address: IPv4Address) -> str | None:
        """The name of the network link that has the address."""
        return next((name for name, interface in self.addresses if interface.ip == address), None)

    def is_neighbour(self, address: IPv4Address) -> bool:
        """Whether there is no gateway on the way to the address: the most specific route counts."""
        lengths = [[n.prefixlen for n in networks if address in n] for networks in (self.neighbours, self.beyond)]
        return max(lengths[0], default=-1) > max(lengths[1], default=-1)

    def mtu_of(self, address: IPv4Address) -> int:
        """The largest packet that the link with the address takes, in bytes; 0 when it is not known."""
        return dict(self.mtus).get(self.device_of(address) or "", 0)
