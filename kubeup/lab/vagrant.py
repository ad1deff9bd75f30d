"""Machines that Vagrant runs: an inventory for them, from what `vagrant ssh-config` and they themselves say.

Where SSH reaches a machine (a forwarded port of this one, often) and where the other machines reach it differ; the
second is asked of the machines.
"""

import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

from kubeup.errors import LabError
from kubeup.lab.command import run, which
from kubeup.lab.inventory import INVENTORY, default_roles

# Prints the host's global IPv4 addresses, one a line, then its public keys. "sudo" where the keys are root's alone.
_ASK = "ip -o -4 addr show scope global | awk '{print \"address\", $2, $4}'; cat /etc/ssh/ssh_host_*_key.pub"
_NOT_OURS = re.compile(r"cni0|flannel\..*|docker0|veth.*")  # devices of a cluster that runs there already


@dataclass(frozen=True)
class Machine:
    """How SSH reaches a machine, as ``vagrant ssh-config`` says it."""

    name: str
    host: str
    port: int
    user: str
    key: str


@dataclass(frozen=True)
class Said:
    """What a machine says of itself: its addresses, and its public SSH keys."""

    addresses: tuple[IPv4Interface, ...]
    keys: tuple[str, ...]


def machines_in(ssh_config: str) -> list[Machine]:
    """The machines in the text that ``vagrant ssh-config`` prints. Raises LabError when it is not of that form."""
    machines = []
    for block in re.split(r"^Host ", ssh_config, flags=re.MULTILINE)[1:]:
        name, *lines = block.strip().splitlines()
        words = (line.strip().partition(" ") for line in lines)
        of = {key.lower(): value.strip().strip('"') for key, _, value in words}
        try:
            machines.append(
                Machine(name.strip(), of["hostname"], int(of.get("port", 22)), of["user"], of["identityfile"])
            )
        except (KeyError, ValueError) as error:
            raise LabError(f"vagrant ssh-config says nothing usable of {name.strip()}: {error} is missing") from error
    return machines


def common_network(addresses: Mapping[str, Sequence[IPv4Interface]]) -> IPv4Network:
    """The network in which every machine has an address of its own. Raises LabError when there is none.

    VirtualBox gives every machine the same address on its first network; that is not it.
    """
    candidates = [interface.network for interface in next(iter(addresses.values()))]
    for network in candidates:
        found = [[i.ip for i in interfaces if i.network == network] for interfaces in addresses.values()]
        if all(found) and len({each[0] for each in found}) == len(found):
            return network
    said = "; ".join(f"{name}: {', '.join(map(str, interfaces))}" for name, interfaces in addresses.items())
    raise LabError(
        f"the machines have no network in which each has an address of its own ({said}): "
        "give them one in the Vagrantfile (private_network)"
    )


def inventory_of(machines: Sequence[Machine], said: Mapping[str, Said], masters: int, known_hosts: str) -> str:
    """The inventory of these machines. ``known_hosts`` is that file's path, as the inventory shall name it."""
    network = common_network({machine.name: said[machine.name].addresses for machine in machines})
    lines = ["name: vagrant\n", f"ssh: {{known_hosts: {json.dumps(known_hosts)}}}\n", "nodes:\n"]
    for machine, role in zip(machines, default_roles(len(machines), masters), strict=True):
        address = next(i.ip for i in said[machine.name].addresses if i.network == network)
        lines.append(
            f"  - {{role: {role}, name: {machine.name}, host: {machine.host}, port: {machine.port}, "
            f"user: {machine.user}, key: {json.dumps(machine.key)}, address: {address}}}\n"
        )
    return "".join(lines)


def write_inventory(folder: Path, masters: int = 1) -> Path:
    """Write the inventory of the machines that the Vagrantfile in ``folder`` runs, beside it; its path is returned.

    Raises LabError when there is no Vagrant, no running machine, or one does not answer.
    """
    if not (folder / "Vagrantfile").exists():
        raise LabError(f"{folder.absolute()} has no Vagrantfile: say where it is (kubeup lab vagrant FOLDER)")
    if which("vagrant") is None:
        raise LabError("vagrant: no such program; install it (Debian, Ubuntu: apt-get install vagrant)")
    where = (f"VAGRANT_CWD={folder.absolute()}", "VAGRANT_CHECKPOINT_DISABLE=1")
    config = run("env", *where, "vagrant", "ssh-config", check=False)
    machines = machines_in(config.stdout)
    if not machines:
        raise LabError(f"no machine of {folder}/Vagrantfile runs (vagrant up):\n    {config.stderr.strip()[-500:]}")
    with ThreadPoolExecutor(max_workers=min(16, len(machines))) as pool:
        said = dict(zip((machine.name for machine in machines), pool.map(_ask, machines), strict=True))
    known_hosts = folder / ".vagrant" / "kubeup_known_hosts"
    known_hosts.parent.mkdir(exist_ok=True)
    known_hosts.write_text(
        "".join(f"{_as_known(machine)} {key}\n" for machine in machines for key in said[machine.name].keys)
    )
    path = folder / INVENTORY
    path.write_text(inventory_of(machines, said, masters, f"./.vagrant/{known_hosts.name}"))
    return path


def _as_known(machine: Machine) -> str:
    """What known_hosts calls it, see sshd(8)."""
    return machine.host if machine.port == 22 else f"[{machine.host}]:{machine.port}"


def _ask(machine: Machine) -> Said:
    # Unseen keys are taken here, as Vagrant's own configuration does: the machine was made a moment ago, and proves
    # itself by taking the key that Vagrant put into it.
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "LogLevel=ERROR",
               "IdentitiesOnly=yes", "ConnectTimeout=20")  # fmt: skip
    flags = [flag for option in options for flag in ("-o", option)]
    target = ("-p", str(machine.port), "-i", machine.key, f"{machine.user}@{machine.host}")
    return parse(run("ssh", "-F", "none", *flags, *target, _ASK, timeout=60).stdout)


def parse(printed: str) -> Said:
    """What a machine has printed."""
    addresses, keys = [], []
    for line in printed.splitlines():
        match line.split():
            case ["address", device, address] if not _NOT_OURS.fullmatch(device):
                addresses.append(IPv4Interface(address))
            case [kind, key, *_] if kind.startswith(("ssh-", "ecdsa-")):
                keys.append(f"{kind} {key}")
    return Said(tuple(addresses), tuple(keys))
