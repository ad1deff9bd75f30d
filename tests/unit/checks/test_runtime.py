"""What preflight asks of a container runtime that the user runs, and what it says of the answers."""

import gzip
import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kubeup.checks.runtime import _ASK, Answer, _sections, judge

SOCKET = "/run/crio/crio.sock"
READY = {"type": "RuntimeReady", "status": True, "reason": "", "message": ""}
NO_NETWORK = {"type": "NetworkReady", "status": False, "reason": "NetworkPluginNotReady", "message": "no network"}


def answer(
    name: str = "containerd",
    version: str = "v2.4.2",
    driver: str | None = "SYSTEMD",
    info: dict[str, Any] | None = None,
    **sections: str,
) -> Answer:
    said = {
        "socket": "",
        "version": f"Version:  0.1.0\nRuntimeName:  {name}\nRuntimeVersion:  {version}\nRuntimeApiVersion:  v1",
        "config": f"cgroup driver:   {driver}" if driver else "rpc error: code = Unimplemented desc = unknown method",
        "info": json.dumps({"status": {"conditions": [READY, NO_NETWORK]}, **(info or {})}),
        "pods": "",
        "networks": "",
        "programs": "docker skopeo",
        "end": "",
    }
    return Answer(SOCKET, {**said, **sections})


def problems(world: Any, given: Answer, *, new: bool = True, **settings: Any) -> list[str]:
    found = list(judge(given, world.cluster("ai", runtime={"socket": SOCKET}, **settings), new))
    assert all(remedy for _, remedy in found)
    return [what for what, _ in found]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (answer(), "containerd 2.4.2, cgroup driver systemd"),
        (answer("cri-o", "1.36.1", "CGROUPFS"), "CRI-O 1.36.1, cgroup driver cgroupfs"),
        (answer("docker", "28.2.2"), "cri-dockerd 28.2.2, cgroup driver systemd"),
    ],
)
def test_those_that_are_known_are_fit(world: Any, given: Answer, shown: str) -> None:
    """With either cgroup driver: the kubelet takes over what the runtime says. Without a network, which comes later."""
    assert problems(world, given) == []
    assert str(given) == shown


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (answer("containerd", "1.7.27"), "containerd 1.7.27 is too old"),
        (answer("containerd", "1.7.27", None), "containerd 1.7.27 is too old"),
        (answer("cri-o", "1.27.9"), "CRI-O 1.27.9 is too old"),
        (
            answer("docker", "24.0.1", None),
            "cri-dockerd 24.0.1 does not tell its cgroup driver (RuntimeConfig of CRI), which the kubelet has to use "
            "too",
        ),
        (answer("frakti", "1.0"), "the container runtime frakti is not known, nor how it is given images"),
        (
            answer("cri-o", "1.36.0", programs="docker"),
            "skopeo cannot be found, by which CRI-O is given the cluster's images",
        ),
        (
            answer("docker", "28.0.0", programs="skopeo"),
            "docker cannot be found, by which cri-dockerd is given the cluster's images",
        ),
        (
            answer(info={"status": {"conditions": [{"type": "RuntimeReady", "status": False, "message": "no runc"}]}}),
            "containerd 2.4.2 is not ready: no runc",
        ),
        (
            answer(networks="05-mine.conf 10-kubeup.conflist 99-loopback.conf"),
            "/etc/cni/net.d/05-mine.conf goes before the cluster's network (10-kubeup.conflist), and pods would get "
            "that one",
        ),
        (
            answer(info={"config": {"cni": {"binDirs": ["/usr/lib/cni"], "confDir": "/etc/cni/net.d"}}}),
            "containerd 2.4.2 looks for network plugins in /usr/lib/cni, and the cluster's are in /opt/cni/bin",
        ),
        (
            answer(info={"config": {"cni": {"binDir": "/opt/cni/bin", "confDir": "/etc/mine"}}}),
            "containerd 2.4.2 looks for networks in /etc/mine, and the cluster's is in /etc/cni/net.d",
        ),
        (
            answer(pods="one\ntwo"),
            "2 pods run in containerd 2.4.2, and the kubelet would remove them: they are not its own",
        ),
    ],
)
def test_what_is_wrong_is_told(world: Any, given: Answer, what: str) -> None:
    assert problems(world, given) == [what]


def test_one_that_does_not_speak_cri_v1(world: Any) -> None:
    said = "time=x level=warning\nvalidate service connection: unknown service runtime.v1.RuntimeService"
    given = Answer(SOCKET, {"socket": "", "version": said, "networks": "", "programs": "", "end": ""})
    assert problems(world, given) == [
        f"the container runtime at {SOCKET} does not answer as CRI v1: "
        "validate service connection: unknown service runtime.v1.RuntimeService"
    ]


def test_no_socket(world: Any) -> None:
    assert problems(world, Answer(SOCKET, {"networks": "", "end": ""})) == [f"there is no socket {SOCKET}"]


def test_networks_are_the_users_where_the_network_is(world: Any) -> None:
    """cni: none."""
    theirs = answer(networks="05-mine.conf", info={"config": {"cni": {"binDirs": ["/usr/lib/cni"]}}})
    assert problems(world, theirs, cni="none") == []


def test_the_pods_of_a_node_that_is_the_clusters_are_its_own(world: Any) -> None:
    assert problems(world, answer(pods="one"), new=False) == []


CRICTL = r"""#!/bin/sh
config=$2; shift 2
grep -q "unix://$SOCKET" "$config" || exit 9
[ -z "$DEAD" ] || { echo "validate service connection: refused" >&2; exit 1; }
case $1 in
version) echo "RuntimeName:  containerd"; echo "RuntimeVersion:  v2.4.2" ;;
runtime-config) echo "cgroup driver:   CGROUPFS" ;;
info) echo "a warning" >&2; echo '{"status": {}}' ;;
pods) echo abc ;;
esac
"""


@pytest.mark.parametrize("dead", ["", "yes"])
def test_the_script_asks_and_leaves_nothing(tmp_path: Path, dead: str) -> None:
    at = tmp_path / "cri.sock"
    script = _ASK.replace("/var/lib/", f"{tmp_path}/").replace("/etc/cni/net.d", str(tmp_path))
    (tmp_path / "10-a.conflist").touch()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(at))
        done = subprocess.run(
            ["sh", "-c", script, "sh", str(at), "sh", "no-such-program"],
            input=gzip.compress(CRICTL.encode()),
            capture_output=True,
            env={**os.environ, "SOCKET": str(at), "DEAD": dead},
            check=True,
            timeout=20,
        )
    given = Answer(str(at), _sections(done.stdout.decode()))
    assert given.sections["networks"] == "10-a.conflist"
    assert given.sections["programs"] == "sh"
    assert "end" in given.sections
    assert list(tmp_path.glob(".kubeup*")) == []
    if dead:
        assert given.sections["version"] == "validate service connection: refused"
        assert "pods" not in given.sections
    else:
        assert (str(given), given.pods, given.info) == (
            "containerd 2.4.2, cgroup driver cgroupfs",
            1,
            {"status": {}},
        )
