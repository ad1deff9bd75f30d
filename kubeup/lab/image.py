"""The image that throwaway hosts are made from: a small Debian with systemd and sshd, built here by debootstrap.

It is built and not pulled because no registry need be in reach: the distribution's own mirror is enough.
"""

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from kubeup.errors import LabError
from kubeup.lab import el
from kubeup.lab.command import PATH, Say, as_root, docker, docker_command, docker_lines, run, tail, which

Os = Literal["debian", "el"]

REPOSITORY = "kubeup-lab-host"
SUITE = "bookworm"  # its systemd (252) still runs on cgroup v1; 256 and later refuse
PACKAGES = (
    "systemd,systemd-sysv,dbus,openssh-server,python3-minimal,sudo,iproute2,iptables,nftables,kmod,procps,"
    "ca-certificates,curl,conntrack,socat,ethtool,ipset,mount"
)
_CERTIFICATES = Path("/usr/local/share/ca-certificates")
_TIME_LIMIT = 1200  # seconds; 85 is usual, a slow mirror may take minutes

# Runs in the new system, as root. stdin is this text, so nothing in here may read it.
_SETUP = r"""
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

# Users: root and ops (sudo without password) and nosudo (none), all by key only.
useradd --create-home --shell /bin/bash ops
useradd --create-home --shell /bin/bash nosudo
printf 'ops ALL=(ALL) NOPASSWD: ALL\n' >/etc/sudoers.d/ops
chmod 0440 /etc/sudoers.d/ops
cat >/etc/ssh/sshd_config.d/lab.conf <<'END'
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
END

# Every host makes keys and an identity of its own at its first start; shared ones would make all hosts one.
rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id
: >/etc/machine-id
mkdir -p /etc/systemd/system/ssh.service.d
cat >/etc/systemd/system/ssh.service.d/lab.conf <<'END'
[Service]
ExecStartPre=
ExecStartPre=/sbin/lab-host-keys
ExecStartPre=/usr/sbin/sshd -t
END
cat >/sbin/lab-host-keys <<'END'
#!/bin/sh
# Not `ssh-keygen -A`: its RSA key takes seconds to find.
for type in ed25519 ecdsa; do
    key=/etc/ssh/ssh_host_${type}_key
    [ -s "$key" ] || ssh-keygen -q -t "$type" -N '' -f "$key" || exit
done
END

# The journal outlives a restart, so that one can see why it came to it.
mkdir -p /var/log/journal
# Nothing may hold dpkg's lock at a time of its own choosing.
systemctl mask --quiet apt-daily.timer apt-daily-upgrade.timer
systemctl mask --quiet console-getty.service systemd-firstboot.service
# A privileged host could load modules into the machine's kernel and mount its debugfs, just by starting.
systemctl mask --quiet modprobe@.service sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
    sys-fs-fuse-connections.mount dev-hugepages.mount

cat >/sbin/lab-init <<'END'
#!/bin/sh
# Docker mounts the cgroup tree read-only unless the host is privileged. Make this host's own (private) one writable.
# Never bind the machine's: with cgroup v1 all hosts would share one tree and tidy away each other's pods.
for tree in /sys/fs/cgroup /sys/fs/cgroup/*; do
    mountpoint -q "$tree" && mount -o remount,rw,bind "$tree"
done
# These settings are not a container's own but the machine's: a throwaway host must not change them for all.
for tree in /proc/sys/kernel /proc/sys/vm; do
    mount --bind "$tree" "$tree" && mount -o remount,ro,bind "$tree"
done
# kubelet opens /dev/kmsg and stops without. A node made by mknod is refused by the device cgroup; a link is not.
[ -e /dev/kmsg ] || ln -s /dev/null /dev/kmsg
# systemd shares the mounts of real hosts by itself, but not in containers; pods that mount for others need it.
mount --make-rshared /
exec /sbin/init
END
chmod 0755 /sbin/lab-init /sbin/lab-host-keys

update-ca-certificates >/dev/null 2>&1
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/bootstrap.log
"""

# Runs on this machine, as root, in a mount namespace of its own: what debootstrap mounts is gone with it, whatever
# happens, and the clean-up cannot reach /proc. The system's archive goes to stdout, progress to stderr.
_BUILD = r"""
set -eu
mirror=$1 suite=$2 packages=$3 proxy=$4 certificates=$5 setup=$6
exec 3>&1 1>&2
root=$(mktemp -d /var/tmp/kubeup-lab-host.XXXXXX)   # /tmp is often mounted nodev, where debootstrap refuses
trap 'rm -rf --one-file-system "$root"' EXIT
trap 'exit 1' HUP INT TERM
[ -z "$proxy" ] || export http_proxy="${http_proxy:-$proxy}"
# shellcheck disable=SC2086  # no mirror: debootstrap has its own default
debootstrap --variant=minbase --include="$packages" "$suite" "$root" $mirror || {
    tail -n 20 "$root/debootstrap/debootstrap.log"
    exit 1
}
echo 'I: Finishing'
[ -z "$proxy" ] || printf 'Acquire::http::Proxy "%s";\n' "$proxy" >"$root/etc/apt/apt.conf.d/80proxy"
for certificate in "$certificates"/*.crt; do
    [ ! -e "$certificate" ] || cp -L "$certificate" "$root/usr/local/share/ca-certificates/"
done
printf '%s' "$setup" | chroot "$root" /bin/sh
tar --create --numeric-owner --xattrs --one-file-system --directory "$root" . >&3
"""

_STAGES = {  # what debootstrap's lines begin with -> what we say when the first of them comes
    "I: Retrieving": "downloading packages",
    "I: Extracting": "unpacking the base system",
    "I: Installing": "installing packages",
    "I: Configuring": "configuring packages",
    "I: Finishing": "adding users and sshd, importing into Docker",
}


@dataclass(frozen=True)
class Recipe:
    """All that decides what is in the image.

    ``mirror`` is a URL, empty for debootstrap's own default; ``proxy`` is the URL that apt uses, or empty;
    ``certificates`` is a digest over the machine's additional certificate authorities, which the hosts trust too.
    """

    mirror: str
    proxy: str
    certificates: str
    suite: str = SUITE
    packages: str = PACKAGES
    setup: str = _SETUP
    build: str = _BUILD

    repository: str = REPOSITORY

    @property
    def tag(self) -> str:
        """The image's name: another recipe is another image, so a stale one is never used."""
        content = {name: value for name, value in asdict(self).items() if name != "repository"}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return f"{self.repository}:{digest[:12]}"


def mirror_of(targets: Iterable[str], suite: str) -> str:
    """Return the mirror from which apt takes ``suite``, or "" where it does not.

    ``targets`` are lines "URL SUITE" as ``apt-get indextargets`` prints them.
    """
    for line in targets:
        url, _, release = line.strip().partition(" ")
        if release == suite and url.startswith(("http://", "https://", "file:")):
            return url
    return ""


def recipe_for_this_machine(os: Os = "debian") -> Recipe:
    """Return the recipe with this machine's mirror, proxy and certificate authorities, as apt uses them here."""
    recipe = _for_this_machine()
    if os == "debian":
        return recipe
    repository = f"{REPOSITORY}-el"
    return replace(recipe, packages=el.PACKAGES, setup=recipe.setup + el.SETUP, repository=repository)


def _for_this_machine() -> Recipe:
    if which("apt-get") is None:
        return Recipe(mirror="", proxy="", certificates="")
    targets = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages").stdout
    proxy = run("apt-config", "shell", "proxy", "Acquire::http::Proxy").stdout.strip()  # proxy='http://...'
    authorities = hashlib.sha256()
    for path in sorted(_CERTIFICATES.glob("*.crt")):
        authorities.update(path.read_bytes())
    return Recipe(
        mirror=mirror_of(targets.splitlines(), SUITE),
        proxy=proxy.removeprefix("proxy=").strip("'"),
        certificates=authorities.hexdigest(),
    )


def ensure_image(say: Say, os: Os = "debian") -> str:
    """Build the host image unless it is there, and return its tag. ``os``: Debian, or the stand-in for Rocky and RHEL.

    Takes 1 to 2 minutes the first time, needs root (or sudo) and ``debootstrap``, and tells ``say`` how far it is.
    Removes images of earlier recipes that no host uses. Raises LabError when the build fails.
    """
    recipe = recipe_for_this_machine(os)
    known = docker_lines("image", "ls", recipe.repository, "--format", "{{.Repository}}:{{.Tag}}")
    if recipe.tag in known:
        return recipe.tag
    if which("debootstrap") is None:
        raise LabError("the host image is built by debootstrap: apt-get install debootstrap")
    say(f"building the host image {recipe.tag} (once; 1 to 2 minutes)")
    started = time.monotonic()
    _build(recipe, say)
    for stale in known:
        docker("image", "rm", stale, check=False)  # refused, rightly, while a host uses it
    say(f"host image ready after {time.monotonic() - started:.0f} s")
    return recipe.tag


def _build(recipe: Recipe, say: Say) -> None:
    builder = as_root(
        "timeout", str(_TIME_LIMIT), "unshare", "--mount", "sh", "-c", recipe.build, "build",
        recipe.mirror, recipe.suite, recipe.packages, recipe.proxy, str(_CERTIFICATES), recipe.setup,
    )  # fmt: skip
    importer = [*docker_command(), "import"]
    for change in ('CMD ["/sbin/lab-init"]', "ENV container=docker"):
        importer += ["--change", change]
    # Two processes and a pipe between them: 200 MB pass through no file and not through Python.
    with (
        subprocess.Popen(
            builder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, "PATH": PATH},
        ) as build,
        subprocess.Popen(
            [*importer, "-"], stdin=build.stdout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as load,
    ):
        assert build.stdout  # noqa: S101  (for mypy: they are pipes)
        assert build.stderr  # noqa: S101
        assert load.stdout  # noqa: S101
        build.stdout.close()  # ours; the importer holds the other, so that each notices when the other dies
        printed = _follow(build.stderr, say)
        loaded = load.stdout.read().strip()  # the new image's id
    if build.returncode or load.returncode:
        if not load.returncode:
            docker("image", "rm", loaded, check=False)
        # Both are told: where the importer gives up, the builder ends by a broken pipe and says nothing of use.
        raise LabError(f"the host image could not be built:\n{tail(printed)}\n{tail(loaded)}")
    docker("image", "tag", loaded, recipe.tag)  # last: half an archive can be a valid image, but gets no name


def _follow(lines: Iterable[str], say: Say) -> str:
    """Tell ``say`` of each new stage, and return all that was printed."""
    printed = []
    stage = ""
    for line in lines:
        printed.append(line)
        now = next((text for prefix, text in _STAGES.items() if line.startswith(prefix)), stage)
        if now != stage:
            stage = now
            say(f"  {stage}")
    return "".join(printed)
