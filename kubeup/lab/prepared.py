"""Images made of lab hosts that have something in place already: a second layer on the host image."""

from collections.abc import Iterable

from kubeup.lab.command import docker, docker_lines
from kubeup.lab.hosts import Lab, container

REPOSITORY = "kubeup-lab-prepared"
_KEPT = 3  # sets of images that stay beside the one just made: other versions, other checkouts

# What containerd holds lies in a volume, which no image of the host would have: it is copied to where the volume is
# mounted on. Docker fills a new host's volume from there. The rest takes away what makes this host itself: the next one
# shall be another, and of no cluster yet.
_SEAL = r"""
set -eu
systemctl stop kubeup-images.service containerd.service
mkdir -p /run/below
mount --bind / /run/below
cp -a /var/lib/containerd/. /run/below/var/lib/containerd/
umount /run/below
awk -F'\t' '$1 != "cluster"' /var/lib/kubeup/record >/var/lib/kubeup/record.new
mv /var/lib/kubeup/record.new /var/lib/kubeup/record
rm -rf /etc/ssh/ssh_host_* /root/.ssh /home/*/.ssh /var/lib/dbus/machine-id /var/log/journal/*
: >/etc/machine-id
sync
"""


def tag(digest: str, role: str) -> str:
    """The name of the prepared image for hosts of ``role``."""
    return f"{REPOSITORY}:{digest}-{role}"


def known() -> set[str]:
    """The names of all prepared images that are there."""
    return set(_newest_first())


def made_of(lab: Lab, node: str, image: str) -> None:
    """Make ``image`` of a lab's host, which is switched off for it. Raises LabError."""
    lab.exec(node, "sh", "-c", _SEAL)
    lab.stop(node)
    docker("image", "rm", image, check=False)  # of a run that was killed before it had made all of the set
    # Takes the host's own layer alone; the name comes last, so there is no half image under it.
    docker("commit", container(node), image, timeout=600)


def prune(keep: Iterable[str]) -> None:
    """Remove the oldest prepared images, but ``keep`` and those that a lab uses."""
    newest: list[str] = []
    kept = set(keep)
    for image in _newest_first():
        digest = image.rpartition("-")[0]
        if digest not in newest:
            newest.append(digest)
        if image not in kept and digest not in newest[: _KEPT + 1]:
            docker("image", "rm", image, check=False)  # refused, rightly, while a host uses it


def _newest_first() -> list[str]:
    return list(docker_lines("image", "ls", REPOSITORY, "--format", "{{.Repository}}:{{.Tag}}"))
