"""A network of its own for each lab, where nothing else on this machine is."""

import json
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from kubeup.errors import LabError
from kubeup.lab.command import docker, docker_lines

# Docker by itself would choose from 172.17.0.0/16 upwards, beside the cluster's default flannel network 172.16.0.0/16
# and inside many an office's own.
POOL = IPv4Network("10.79.0.0/16")
PREFIX = 24  # of one lab: up to 253 hosts


def free_subnets(taken: Iterable[IPv4Network]) -> Iterator[IPv4Network]:
    """Yield the subnets of the pool that overlap none of ``taken``, lowest first."""
    used = list(taken)
    return (subnet for subnet in POOL.subnets(new_prefix=PREFIX) if not any(map(subnet.overlaps, used)))


def parse_routes(table: str) -> list[IPv4Network]:
    """Return the destinations in ``table``, the text of /proc/net/route, without the default route."""
    routes = []
    for line in table.splitlines()[1:]:
        _, destination, _, _, _, _, _, mask, *_ = line.split()
        address, netmask = (
            IPv4Address(int.from_bytes(bytes.fromhex(field), "little")) for field in (destination, mask)
        )
        if int(netmask):
            routes.append(IPv4Network((address, str(netmask)), strict=False))
    return routes


def parse_docker_networks(inspected: str) -> list[IPv4Network]:
    """Return the IPv4 subnets in what ``docker network inspect`` printed."""
    configs = [config for network in json.loads(inspected) for config in network["IPAM"]["Config"] or ()]
    return [IPv4Network(config["Subnet"]) for config in configs if ":" not in config["Subnet"]]


def make_network(name: str, labels: Iterable[str], *, outside: bool = True) -> IPv4Network:
    """Create the Docker network ``name`` with ``labels`` (key=value) in a free subnet, which is returned.

    ``outside`` False: its hosts reach one another and this machine, and nothing else.
    """
    routes = Path("/proc/net/route")
    taken = parse_routes(routes.read_text()) if routes.exists() else []  # not on macOS, where Docker is a machine apart
    if existing := docker_lines("network", "ls", "--quiet"):
        taken += parse_docker_networks(docker("network", "inspect", *existing, check=False) or "[]")
    flags = [flag for label in labels for flag in ("--label", label)] + ([] if outside else ["--internal"])
    for subnet in free_subnets(taken):
        try:
            docker("network", "create", "--subnet", str(subnet), *flags, name)
        except LabError as error:
            if "overlaps" in str(error):  # another lab was faster: take the next
                continue
            raise
        return subnet
    raise LabError(f"no free network for the lab: all of {POOL} is in use; see docker network ls")


def subnet_of(name: str) -> IPv4Network:
    """Return the subnet of the Docker network ``name``."""
    return parse_docker_networks(docker("network", "inspect", name))[0]
