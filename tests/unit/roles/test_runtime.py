"""A container runtime that the user runs: what the roles place beside it, and what they leave alone."""

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeup.cluster.runtimes import KNOWN
from kubeup.host.resources import Cleanup, Unit

SOCKET = "/run/crio/crio.sock"
OURS = "/run/containerd/containerd.sock"


def resources(world: Any, roles: str = "ai i", node: int = 0, **settings: Any) -> dict[tuple[str, str], Any]:
    cluster = world.cluster(roles, **settings)
    return {key: value for key, (_, value) in world.desired(cluster, cluster.nodes[node]).items()}


def test_nothing_of_containerd_is_placed(world: Any) -> None:
    own = resources(world, runtime={"socket": SOCKET})
    assert ("unit", "containerd.service") not in own
    assert not [key for key in own if key[1].startswith(("/etc/containerd", "/var/lib/containerd"))]
    assert not {"containerd", "runc", "containerd-shim-runc-v2"} & {
        path.rpartition("/")[2] for kind, path in own if kind == "blob"
    }
    texts = [r.content for r in own.values() if isinstance(r, Unit)]
    assert not [text for text in texts if "containerd.service" in text or OURS in text]


def test_all_that_speaks_to_the_runtime_speaks_to_the_users(world: Any) -> None:
    own = resources(world, runtime={"socket": f"unix://{SOCKET}"})
    kubelet = yaml.safe_load(own["file", "/etc/kubernetes/kubelet.yaml"].content)
    assert kubelet["containerRuntimeEndpoint"] == f"unix://{SOCKET}"
    assert own["file", "/etc/crictl.yaml"].content == f"runtime-endpoint: unix://{SOCKET}\n"
    assert f"socket={SOCKET}\n" in own["file", "/opt/kubeup/lib/import-images"].content
    assert f"socket={SOCKET}\n" in own["cleanup", "runtime-pods"].script


def test_the_kubelet_waits_for_the_images_and_for_no_unit_that_is_not_there(world: Any) -> None:
    ours = resources(world)["unit", "kubelet.service"].content
    theirs = resources(world, runtime={"socket": SOCKET})["unit", "kubelet.service"].content
    assert "After=network.target containerd.service kubeup-images.service" in ours
    assert "Wants=containerd.service" in ours
    assert "After=network.target kubeup-images.service" in theirs


def test_the_clusters_images_come_and_are_given_anew_when_they_change(world: Any) -> None:
    ours, theirs = resources(world), resources(world, runtime={"socket": SOCKET})
    images = {key for key in ours if key[1].startswith("/opt/kubeup/images/")}
    assert images
    assert images <= theirs.keys()
    assert set(theirs["unit", "kubeup-images.service"].inputs) >= images | {("file", "/opt/kubeup/lib/import-images")}


def test_plugins_are_where_runtimes_look_and_a_network_of_the_users_brings_its_own(world: Any) -> None:
    own = resources(world, runtime={"socket": SOCKET})
    for name in ("bridge", "host-local", "loopback", "portmap"):
        link = own["link", f"/opt/cni/bin/{name}"]
        assert ("blob", link.target) in own
    assert not [key for key in resources(world, runtime={"socket": SOCKET}, cni="none") if "cni/bin" in key[1]]
    assert not [key for key in resources(world) if key[1].startswith("/opt/cni")]


def test_pods_are_ended_before_their_network_is_taken_away(world: Any) -> None:
    """What was placed last is cleaned up first; all cleanups of a phase are placed in this order."""
    cleanups = [r.name for r in resources(world, runtime={"socket": SOCKET}).values() if isinstance(r, Cleanup)]
    assert cleanups.index("runtime-pods") > cleanups.index("flannel")
    assert "pods" not in cleanups


def test_a_node_may_differ_from_the_others(world: Any) -> None:
    cluster = world.cluster("ai i", runtime={"socket": SOCKET})
    nodes = [cluster.nodes[0], cluster.nodes[1].model_copy(update={"runtime": type(cluster.runtime)()})]
    mixed = cluster.model_copy(update={"nodes": tuple(nodes)})
    held = [set(world.desired(mixed, node)) for node in mixed.nodes]
    assert [("unit", "containerd.service") in keys for keys in held] == [False, True]
    assert [("cleanup", "runtime-pods") in keys for keys in held] == [True, False]


# The script by which images are given to a runtime, with programs that write down how they were called.

CRICTL = """#!/bin/sh
echo "Version:  0.1.0"; echo "RuntimeName:  $RUNTIME"; echo "RuntimeVersion:  1"
"""
RECORDER = """#!/bin/sh
echo "${0##*/} $*" >>"$CALLS"
[ "${0##*/}" != docker ] || cat >"$CALLS.stdin"
"""


def archive(path: Path, name: str) -> None:
    """An OCI archive as kubeup.components.images writes them, with a word for the layer."""
    blobs = {"c" * 64: b"{}", "a" * 64: b"layer"}
    manifest = {"config": {"digest": f"sha256:{'c' * 64}"}, "layers": [{"digest": f"sha256:{'a' * 64}"}]}
    blobs["b" * 64] = json.dumps(manifest, separators=(",", ":")).encode()
    annotations = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": "1.0.0"}
    index = {"manifests": [{"digest": f"sha256:{'b' * 64}", "annotations": annotations}]}
    files = {"index.json": json.dumps(index, separators=(",", ":")).encode()}
    files |= {f"blobs/sha256/{digest}": data for digest, data in blobs.items()}
    with tarfile.open(path, "w") as tar:
        for member, data in files.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def run(world: Any, folder: Path, runtime: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    bin_, images = folder / "bin", folder / "images"
    bin_.mkdir()
    images.mkdir()
    for name in ("ctr", "skopeo", "docker"):
        (bin_ / name).write_text(RECORDER)
    (bin_ / "crictl").write_text(CRICTL)
    for program in bin_.iterdir():
        program.chmod(0o755)
    archive(images / "pause.tar", "kubeup.local/pause:1.0.0")
    script = resources(world, runtime={"socket": SOCKET})["file", "/opt/kubeup/lib/import-images"].content
    script = script.replace("/opt/kubeup/bin", str(bin_)).replace("/opt/kubeup/images", str(images))
    (folder / "import").write_text(script)
    environment = {**os.environ, "RUNTIME": runtime, "CALLS": str(folder / "calls")}
    command = ["sh", str(folder / "import")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=20, check=False)
    return done, images / "pause.tar"


@pytest.mark.parametrize(
    ("runtime", "call"),
    [
        (
            "containerd",
            f"ctr --address {SOCKET} --namespace k8s.io images import --local "
            "--label io.cri-containerd.pinned=pinned IMAGE",
        ),
        (
            "cri-o",
            "skopeo --insecure-policy copy --quiet oci-archive:IMAGE containers-storage:kubeup.local/pause:1.0.0",
        ),
        ("docker", "docker load --quiet"),
    ],
)
def test_each_kind_of_runtime_is_given_images_in_its_own_way(
    world: Any, tmp_path: Path, runtime: str, call: str
) -> None:
    done, image = run(world, tmp_path, runtime)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "calls").read_text() == call.replace("IMAGE", str(image)) + "\n"
    assert runtime in KNOWN


def test_docker_gets_the_archive_in_its_own_form(world: Any, tmp_path: Path) -> None:
    run(world, tmp_path, "docker")
    with tarfile.open(tmp_path / "calls.stdin") as tar:
        manifest = tar.extractfile("./manifest.json")
        assert manifest is not None
        (described,) = json.load(manifest)
        layer = tar.extractfile(f"./{described['Layers'][0]}")
        assert layer is not None
        assert layer.read() == b"layer"
    assert described["RepoTags"] == ["kubeup.local/pause:1.0.0"]
    assert described["Config"] == f"blobs/sha256/{'c' * 64}"


def test_a_runtime_that_is_not_known_is_told(world: Any, tmp_path: Path) -> None:
    done, _ = run(world, tmp_path, "other")
    assert done.returncode == 1
    assert "how the container runtime other is given images is not known" in done.stderr


# What is done when a node leaves.

ENDED = """#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
*version*) echo refused; exit "$BROKEN" ;;
*"pods --quiet"*) [ -e "$CALLS.ended" ] || printf 'one\\ntwo\\n' ;;
*rmp*) [ "$STUCK" = yes ] || touch "$CALLS.ended" ;;
*" images"*) cat "$CALLS.images" ;;
esac
"""


IMAGES = """\
IMAGE                     TAG     IMAGE ID  SIZE
kubeup.local/coredns      1.15.0  a1        79MB
kubeup.local/pause        1.0.0   a2        1MB
example.com/mine          1       a2        1MB
docker.io/library/nginx   latest  a3        20MB
"""


def ended(
    world: Any, folder: Path, *, broken: int = 0, stuck: str = "no", group: str = "/system.slice"
) -> subprocess.CompletedProcess[str]:
    """The script's part about the runtime, on a host with a process in that cgroup; the rest is about the machine."""
    (folder / "crictl").write_text(ENDED)
    (folder / "crictl").chmod(0o755)
    (folder / "calls.images").write_text(IMAGES)
    process = folder / "proc" / "7"
    process.mkdir(parents=True)
    (process / "cgroup").write_text(f"4:memory:{group}\n")
    script = resources(world, runtime={"socket": SOCKET})["cleanup", "runtime-pods"].script.partition("# Volumes")[0]
    for was, there in (("/opt/kubeup/bin", str(folder)), ("/proc/", f"{folder}/proc/"), ("sleep", ":")):
        script = script.replace(was, there)
    environment = {**os.environ, "CALLS": str(folder / "calls"), "BROKEN": str(broken), "STUCK": stuck}
    command = ["sh", "-c", script, "sh", "remove"]
    return subprocess.run(command, input="", capture_output=True, text=True, env=environment, timeout=20, check=False)


def test_pods_and_given_images_go_and_what_the_user_has_pulled_or_named_stays(world: Any, tmp_path: Path) -> None:
    assert ended(world, tmp_path).returncode == 0
    calls = [line.partition("30s ")[2] for line in (tmp_path / "calls").read_text().splitlines()]
    assert "rmp --force one two" in calls
    assert [call for call in calls if call.startswith("rmi")] == ["rmi a1"]


@pytest.mark.parametrize("group", ["/kubepods/burstable/pod1/x", "/kubepods.slice/kubepods-besteffort.slice/x.scope"])
def test_a_runtime_that_does_not_answer_keeps_its_node_from_leaving(world: Any, tmp_path: Path, group: str) -> None:
    """Its containers run on."""
    done = ended(world, tmp_path, broken=1, group=group)
    assert done.returncode == 1
    assert "refused\n" in done.stderr
    assert f"at {SOCKET} does not answer, and this cluster's containers run: start it" in done.stderr


def test_a_runtime_that_is_gone_with_its_containers_keeps_nobody(world: Any, tmp_path: Path) -> None:
    assert ended(world, tmp_path, broken=1).returncode == 0


def test_what_other_networks_have_is_left_to_a_runtime_of_the_users(world: Any) -> None:
    ours, theirs = (resources(world, **settings)["cleanup", "flannel"].script.splitlines() for settings in (
        {}, {"runtime": {"socket": SOCKET}}))  # fmt: skip
    assert "rm -rf /run/flannel /var/lib/cni" in ours
    assert "rm -rf /run/flannel /var/lib/cni/networks/kubeup" in theirs
    assert "rm -rf /run/flannel /var/lib/cni" not in theirs


def test_pods_that_do_not_go_are_told(world: Any, tmp_path: Path) -> None:
    done = ended(world, tmp_path, stuck="yes")
    assert done.returncode == 1
    assert "does not let go of the cluster's pods" in done.stderr
