"""Throwaway hosts: Docker containers that run systemd and sshd like any Debian, and an inventory for them.

What a lab is, is kept in Docker alone, as labels on its network and its containers; the folder holds only what Docker
cannot: the SSH key, known_hosts and the inventory. So a lab that was half made, or whose folder is lost, is found and
removed all the same.
"""

import contextlib
import json
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from kubeup.errors import LabError
from kubeup.lab.command import Say, docker, docker_command, docker_lines, run, tail
from kubeup.lab.image import Os, ensure_image
from kubeup.lab.inventory import (
    INVENTORY,
    KEY,
    KNOWN_HOSTS,
    KUBECONFIG,
    LabNode,
    default_roles,
    folder_of,
    inventory_text,
    known_hosts_lines,
    make_key,
)
from kubeup.lab.network import make_network, subnet_of

LABEL = "kubeup.lab"
START_LIMIT = 90  # seconds until a host must have started; 3 is usual, more when many start on few cores
REMOVE_LIMIT = 60  # seconds that removing a lab may take
_KEPT = "kept"  # a file in the folder of a lab that stays when its owner ends
_PREFIX = "kubeup-lab-"  # of names in Docker, so that a host called "web-1" is not in the way of the user's own
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_SYS_RESOURCE = 24  # the number of CAP_SYS_RESOURCE, from linux/capability.h

# /run and /tmp as on any host. The volumes because overlay on overlay does not work, which pods would need. `--restart`
# makes `systemctl reboot` in a host do what it says, and a demo outlive the machine's own reboot.
_COMMON_FLAGS = (
    "--detach", "--tmpfs=/run", "--tmpfs=/tmp:exec", "--cgroupns=private", "--restart=unless-stopped",
    "--volume=/var/lib/containerd", "--volume=/var/lib/kubelet",
    "--stop-signal=SIGRTMIN+3",  # systemd's word for "halt"; `docker import` cannot put it into the image
)  # fmt: skip
_PRIVILEGED = ("--privileged",)
# Docker refuses --privileged where the machine itself lacks a capability. This is all of it but that one.
_CAPABILITIES = (
    "--cap-add=ALL", "--cap-drop=SYS_RESOURCE", "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined", "--security-opt=systempaths=unconfined",
)  # fmt: skip


def run_flags(process_status: str, has_modules: bool) -> tuple[str, ...]:
    """Return the flags of ``docker run`` that make a container enough of a host for systemd and Kubernetes.

    ``process_status`` is the text of /proc/self/status ("" where there is none), ``has_modules`` whether the machine
    has /lib/modules, from which a host then loads what it needs.
    """
    bounding = re.search(r"^CapBnd:\s*([0-9a-f]+)$", process_status, re.MULTILINE)
    lacks = bounding is not None and not int(bounding[1], 16) >> _SYS_RESOURCE & 1
    modules = ("--volume=/lib/modules:/lib/modules:ro",) if has_modules else ()
    return (*_COMMON_FLAGS, *(_CAPABILITIES if lacks else _PRIVILEGED), *modules)


def flags_here() -> tuple[str, ...]:
    """Return the flags of ``docker run`` that make a host on this machine."""
    status = Path("/proc/self/status")
    return run_flags(status.read_text() if status.exists() else "", Path("/lib/modules").is_dir())


@dataclass(frozen=True)
class Lab:
    """A set of throwaway hosts.

    ``folder`` holds the SSH key, known_hosts and the inventory. ``owner`` is empty, or the process (see
    `kubeup.lab.leftovers`) with whose end the lab becomes a leftover.
    """

    name: str
    nodes: tuple[LabNode, ...]
    folder: Path
    owner: str = ""

    @property
    def inventory(self) -> Path:
        """The inventory of the lab, for ``kubeup -i``."""
        return self.folder / INVENTORY

    @property
    def key(self) -> Path:
        """The private SSH key that root, ops (sudo without password) and nosudo (no sudo) of every host take."""
        return self.folder / KEY

    @property
    def kubeconfig(self) -> Path:
        """Where the admin's kubeconfig lies, once ``kubeup lab up`` has brought a cluster up."""
        return self.folder / KUBECONFIG

    @property
    def kept(self) -> bool:
        """Whether it stays when its owner ends: somebody wants to have a look at it."""
        return (self.folder / _KEPT).exists()

    def keep(self) -> None:
        """Let it stay when its owner ends, until `destroy`."""
        (self.folder / _KEPT).touch()

    @property
    def known_hosts(self) -> Path:
        """The public keys of the hosts, as their known_hosts file."""
        return self.folder / KNOWN_HOSTS

    def as_data(self) -> dict[str, Any]:
        """What other programs may want to know, as JSON has it."""
        files = {"inventory": self.inventory, "key": self.key, "known_hosts": self.known_hosts}
        if self.kubeconfig.exists():
            files["kubeconfig"] = self.kubeconfig
        nodes = [asdict(node) for node in self.nodes]
        return {"name": self.name, "nodes": nodes, **{name: str(path) for name, path in files.items()}}

    def node(self, name: str) -> LabNode:
        """Return the host ``name``. Raises LabError when the lab has none of that name."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise LabError(f"lab {self.name} has no host {name}; it has {', '.join(n.name for n in self.nodes)}")

    def exec(self, node: str, *command: str, stdin: str = "", check: bool = True, timeout: float = 300) -> str:
        """Run ``command`` as root in the host ``node``, past SSH, and return its standard output.

        Raises LabError with the output when it fails, unless ``check`` is False.
        """
        return docker("exec", "-i", container(node), *command, stdin=stdin, check=check, timeout=timeout)

    def ssh(self, node: str, *command: str, user: str = "root") -> list[str]:
        """Return the plain OpenSSH command line that runs ``command`` (or a shell) on ``node``."""
        options = (f"UserKnownHostsFile={self.known_hosts}", "StrictHostKeyChecking=yes", "BatchMode=yes")
        flags = [flag for option in options for flag in ("-o", option)]
        return ["ssh", "-F", "none", "-i", str(self.key), *flags, f"{user}@{self.node(node).address}", *command]

    def stop(self, node: str) -> None:
        """Switch the host off as if its power failed."""
        docker("kill", container(node))

    def start(self, node: str) -> None:
        """Switch the host on and wait until it is up. Address, disk and keys are as before."""
        docker("start", container(node))
        _wait(self.node(node))

    def reboot(self, node: str) -> None:
        """Shut the host down in order, start it, and wait until it is up."""
        docker("restart", "--time", "30", container(node))
        _wait(self.node(node))


def container(node: str) -> str:
    """Return the name of the container that is the host ``node``."""
    return _PREFIX + node


def create(
    name: str,
    hosts: int = 3,
    *,
    roles: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    more: Sequence[Mapping[str, Any]] = (),
    outside: bool = True,
    images: Mapping[str, str] | None = None,
    owner: str = "",
    say: Say = print,
    os: Os = "debian",
) -> Lab:
    """Make a lab and wait until all its hosts take SSH; what is there of it already is kept.

    ``name`` is of lower-case letters, digits and hyphens. ``roles`` (a, i, ai), one a host, says how many hosts;
    without it there are ``hosts`` in the "ai i i" model. ``settings`` are further keys for the inventory, which is
    written unless there is one, and ``more`` those of each host. ``outside`` False cuts the hosts off from everything
    but one another and this machine. ``images`` are other images than the plain host's, by role.
    ``owner`` is for `kubeup.lab.leftovers`. ``say`` takes lines of progress. ``os`` is debian, or el
    for a stand-in for Rocky and RHEL.

    Raises LabError when the name cannot be used, when the lab is there with other hosts, or when a host does not
    start; what was made stays, for a look at it, until `destroy`.
    """
    check_name(name)
    wanted = list(roles or default_roles(hosts))
    if not 1 <= len(wanted) <= 200:
        raise LabError(f"a lab has 1 to 200 hosts, not {len(wanted)}")
    images = dict(images or {})
    if without := set(wanted) - images.keys():
        images |= dict.fromkeys(without, ensure_image(say, os))
    started = time.monotonic()
    network = _PREFIX + name
    made = name in _networks()
    subnet = subnet_of(network) if made else make_network(network, _labels(name, owner), outside=outside)
    nodes = [_node(name, subnet, number, role) for number, role in enumerate(wanted, 1)]
    lab = find(name)
    if other := set(lab.nodes) - set(nodes):
        there = ", ".join(f"{node.name} ({node.role})" for node in sorted(other, key=lambda node: node.name))
        raise LabError(f"lab {name} is there with other hosts: {there}; destroy it first, or choose another name")
    lab.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    make_key(lab.key)
    say(f"lab {name}: starting {_hosts(nodes)} in {subnet}")
    lab.known_hosts.write_text("")
    _start(lab, nodes, images)
    if not lab.inventory.exists():
        of_nodes = dict(zip((node.name for node in nodes), more, strict=False))
        lab.inventory.write_text(inventory_text(name, nodes, settings or {}, of_nodes))
    say(f"lab {name}: {_hosts(nodes)} up after {time.monotonic() - started:.1f} s")
    return find(name)


def check_name(name: str) -> None:
    """Raise LabError unless a lab can have this name: it becomes part of host names and paths."""
    if not _NAME.fullmatch(name):
        raise LabError(f"a lab cannot be called {name!r}: use up to 40 lower-case letters, digits and hyphens")


def labs() -> list[Lab]:
    """Return all labs of this Docker engine, half-made ones too, by name."""
    return [_lab(name, owner) for name, owner in sorted(_networks().items())]


def find(name: str) -> Lab:
    """Return the lab ``name`` as it is now. Raises LabError when there is none."""
    networks = _networks()
    if name not in networks:
        raise LabError(f"there is no lab {name}; there {'are: ' + ', '.join(networks) if networks else 'is none'}")
    return _lab(name, networks[name])


def start(name: str, say: Say = print) -> Lab:
    """Switch on all hosts of a lab that is there, as after a reboot of this machine, and wait until they are up.

    Hosts that run stay as they are. Raises LabError when there is no such lab, or a host does not start.
    """
    lab = find(name)
    started = time.monotonic()
    if not lab.nodes or not lab.key.exists():
        raise LabError(f"lab {name} was never whole, so it cannot be started: kubeup lab destroy {name}")
    lab.known_hosts.write_text("")
    _start(lab, lab.nodes, {})
    say(f"lab {name}: {_hosts(lab.nodes)} up after {time.monotonic() - started:.1f} s")
    return lab


def destroy(name: str) -> None:
    """Remove the lab ``name`` and all that belongs to it: hosts, volumes, network, files. Nothing is fine too.

    Another process may be doing the same at the same time. Raises LabError when something cannot be removed.
    """
    if not _NAME.fullmatch(name):
        raise LabError(f"there can be no lab {name!r}")  # and no path made of it
    ours = f"label={LABEL}={name}"
    # What another one removes just now is refused here ("already in progress"), and gone a moment later.
    _remove(("ps", "--all", "--quiet", "--filter", ours), ("rm", "--force", "--volumes"))
    shutil.rmtree(folder_of(name), ignore_errors=True)
    # Last: while the network is there, `labs` shows that there is a lab.
    _remove(("network", "ls", "--quiet", "--filter", ours), ("network", "rm"))


def _remove(search: Sequence[str], removal: Sequence[str]) -> None:
    """Remove what Docker finds until it finds nothing. Raises LabError after REMOVE_LIMIT seconds."""
    deadline = time.monotonic() + REMOVE_LIMIT
    while there := docker_lines(*search):
        last = time.monotonic() > deadline
        docker(*removal, *there, check=last)
        if last:
            return
        if docker_lines(*search):
            time.sleep(0.3)


def _networks() -> dict[str, str]:
    """Return the owner of every lab by the lab's name."""
    template = f'{{{{.Label "{LABEL}"}}}} {{{{.Label "{LABEL}.owner"}}}}'
    lines = docker_lines("network", "ls", "--filter", f"label={LABEL}", "--format", template)
    return {name: owner for name, _, owner in (line.partition(" ") for line in lines)}


def _hosts(nodes: Sequence[LabNode]) -> str:
    return "1 host" if len(nodes) == 1 else f"{len(nodes)} hosts"


def _labels(name: str, owner: str) -> list[str]:
    return [f"{LABEL}={name}", f"{LABEL}.owner={owner}"]


def _lab(name: str, owner: str) -> Lab:
    ids = docker_lines("ps", "--all", "--quiet", "--filter", f"label={LABEL}={name}")
    # Unchecked: a host may go away in between, and the others are printed all the same.
    found = json.loads(docker("inspect", *ids, check=False) or "[]") if ids else []
    labels = [each["Config"]["Labels"] for each in found]
    nodes = [LabNode(of[f"{LABEL}.node"], of[f"{LABEL}.address"], of[f"{LABEL}.role"]) for of in labels]
    nodes.sort(key=lambda node: int(node.name.rpartition("-")[2]))
    return Lab(name, tuple(nodes), folder_of(name), owner)


def _node(lab: str, subnet: IPv4Network, number: int, role: str) -> LabNode:
    return LabNode(f"{lab}-{number}", str(subnet[number + 1]), role)  # .1 is the machine


def _start(lab: Lab, nodes: Sequence[LabNode], images: Mapping[str, str]) -> None:
    """Start ``nodes`` side by side, making those that are not there, and write their public keys to known_hosts.

    ``images`` are what each role's hosts are made from.
    """
    flags = flags_here()
    there = {node.name for node in lab.nodes}
    authorized = lab.key.with_suffix(".pub").read_text()

    def start(node: LabNode) -> str:
        if node.name in there:
            docker("start", container(node.name))
        else:
            labels = [*_labels(lab.name, lab.owner), f"{LABEL}.node={node.name}", f"{LABEL}.role={node.role}"]
            labels += [f"{LABEL}.address={node.address}"]
            docker(
                "run", *flags, *(f"--label={label}" for label in labels), f"--name={container(node.name)}",
                f"--hostname={node.name}", f"--network={_PREFIX}{lab.name}", f"--ip={node.address}",
                images[node.role],
            )  # fmt: skip
        _wait(node)
        # Read from the host itself and not from the network: no key is accepted unseen.
        return known_hosts_lines(node.address, lab.exec(node.name, "sh", "-c", _INTRODUCE, stdin=authorized))

    with lab.known_hosts.open("a") as file:
        file.writelines(_side_by_side(start, nodes))


# stdin: the public key that all users of the host shall take. Prints the host's own.
_INTRODUCE = """
set -eu
key=$(cat)
for user in root ops nosudo; do
    home=$(getent passwd "$user" | cut -d: -f6)
    install -d -m 0700 -o "$user" -g "$user" "$home/.ssh"
    printf '%s\\n' "$key" >"$home/.ssh/authorized_keys"
    chown "$user:" "$home/.ssh/authorized_keys"
done
cat /etc/ssh/ssh_host_*_key.pub
"""


def _side_by_side(work: Callable[[LabNode], str], nodes: Sequence[LabNode]) -> Iterable[str]:
    """Do ``work`` for all nodes at once and return the results in order; all errors are told, not the first alone."""
    with ThreadPoolExecutor(max_workers=min(16, len(nodes))) as pool:
        futures = [pool.submit(work, node) for node in nodes]
    if errors := [str(error) for future in futures if (error := future.exception())]:
        raise LabError("\n".join(errors))
    return [future.result() for future in futures]


def _wait(node: LabNode) -> None:
    """Wait until systemd has started all it wants to and sshd answers over the network."""
    deadline = time.monotonic() + START_LIMIT
    state = "no answer"
    while time.monotonic() < deadline:
        asked = run(
            *docker_command(), "exec", container(node.name), "systemctl", "is-system-running", "--wait",
            check=False, timeout=START_LIMIT,
        )  # fmt: skip
        state = asked.stdout.strip() or asked.stderr.strip() or state
        # "degraded": some unit failed, which is the user's to see (systemctl --failed), not a reason to have no host
        if state in ("running", "degraded") and _greets(node.address):
            return
        time.sleep(0.1)
    log = docker("logs", "--tail", "15", container(node.name), check=False)
    raise LabError(f"{node.name} did not start within {START_LIMIT} s: {state}\n{tail(log)}")


def _greets(address: str) -> bool:
    """Tell whether an SSH server introduces itself at ``address``."""
    with contextlib.suppress(OSError), socket.create_connection((address, 22), timeout=2) as connection:
        connection.settimeout(2)
        return connection.recv(4) == b"SSH-"
    return False
