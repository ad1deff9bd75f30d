"""Container runtimes that users run themselves: how one is named in an inventory, and what is known of each kind."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from kubeup.cluster.values import Value, refuse

LONGEST_SOCKET = 107
"""Characters that the path of a socket may have (sun_path of unix(7), without its last byte)."""


@dataclass(frozen=True)
class Known:
    """What has to be known of a kind of runtime, which its name over CRI tells.

    CRI can only pull images, and the cluster's are in no registry: so each kind is given them in its own way, by
    ``command``, a line of shell in which ``$image`` is the file, an OCI archive, and ``$name`` the name of what is in
    it. ``program`` is what the host must have for that, "" where kubeup brings it. ``oldest`` is the first version
    that tells its cgroup driver over CRI, as (major, minor); None where CRI does not tell the version.
    """

    title: str
    command: str
    program: str
    oldest: tuple[int, int] | None
    wanted: str


KNOWN: Mapping[str, Known] = {
    "containerd": Known(
        title="containerd",
        command='ctr --address "$socket" --namespace k8s.io images import --local '
        '--label io.cri-containerd.pinned=pinned "$image"',
        program="",
        oldest=(2, 0),
        wanted="containerd 2.0 or newer",
    ),
    "cri-o": Known(
        title="CRI-O",
        command='skopeo --insecure-policy copy --quiet "oci-archive:$image" "containers-storage:$name"',
        program="skopeo",
        oldest=(1, 28),
        wanted="CRI-O 1.28 or newer",
    ),
    # Its version is the Docker Engine's, and not cri-dockerd's.
    "docker": Known(
        title="cri-dockerd",
        command="docker_archive | docker load --quiet",
        program="docker",
        oldest=None,
        wanted="a cri-dockerd of 2025 or newer",
    ),
}
"""By the name that the runtime has over CRI.

The versions: the kubelet takes its cgroup driver from the runtime (Kubernetes' KubeletCgroupDriverFromCRI, GA in 1.34;
its documentation: "containerd: support was added in v2.0.0, CRI-O: support was added in v1.28.0"). Those that do not
tell it would be used with a driver that nobody has compared, until kubelets refuse them (announced for 1.38).
"""


def _socket(text: str) -> str:
    # It gets into units, shell scripts and YAML.
    path = text.removeprefix("unix://")
    if not re.fullmatch(r"/[\w.@:/+-]*[\w.@:+-]", path) or "//" in path or "/../" in path:
        refuse(f"{text!r} is not the path of a socket", "write the whole path, e.g. /run/crio/crio.sock")
    if len(path) > LONGEST_SOCKET:
        refuse(f"the path {path!r} has {len(path)} characters", f"a socket's has at most {LONGEST_SOCKET}")
    return path


class Runtime(Value):
    """The container runtime that the user runs, by the ``socket`` at which it speaks CRI.

    None: kubeup runs containerd.
    """

    socket: Annotated[str, AfterValidator(_socket)] | None = None
