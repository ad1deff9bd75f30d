"""A container runtime that the user runs: the cluster uses it, and leaves it as it was."""

import subprocess

import pytest
import zstandard

from kubeup.components import Store
from kubeup.components.catalogue import DEFAULT_VERSIONS, architecture
from kubeup.lab.hosts import container

from .conftest import NewLab
from .snapshot import Snapshot, changes, take
from .support import FAILED, PROBE_IMAGE, Deployed

pytestmark = pytest.mark.slow

SOCKET = "/run/own-runtime/containerd.sock"
DATA = "/var/lib/containerd/own"  # on a lab host's volume: overlay on overlay does not work
CTR = f"/usr/local/sbin/ctr --address {SOCKET} --namespace k8s.io"

CONFIG = f"""\
version = 3
root = '{DATA}'
state = '/run/own-runtime'
[grpc]
  address = '{SOCKET}'
[plugins.'io.containerd.internal.v1.opt']
  path = '{DATA}/opt'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = 'kubeup.local/pause:1.0.0'
[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
  options = {{ BinaryName = '/usr/local/sbin/runc', SystemdCgroup = true }}
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['/opt/cni/bin']
  conf_dir = '/etc/cni/net.d'
"""
UNIT = """\
[Unit]
Description=A container runtime that the user runs
[Service]
Type=notify
ExecStart=/usr/local/sbin/containerd --config /etc/own-runtime.toml
Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
KillMode=process
Delegate=yes
LimitNOFILE=infinity
TasksMax=infinity
[Install]
WantedBy=multi-user.target
"""
PROGRAMS = {"containerd": "containerd", "containerd-shim-runc-v2": "containerd", "ctr": "containerd", "runc": "runc"}


def give(cluster: Deployed, path: str, content: bytes, mode: str = "0644") -> None:
    """Put a file on the host, as its user would."""
    script = 'cat >"$1" && chmod "$2" "$1"'
    command = ["docker", "exec", "-i", container(cluster.master), "sh", "-c", script, "sh", path, mode]
    subprocess.run(command, input=content, check=True, timeout=60)


def run_own_runtime(cluster: Deployed) -> None:
    """A containerd of the user's, with programs, a unit, data and a socket of its own."""
    machine = architecture(cluster.on(cluster.master, "uname -m").strip())
    for program, component in PROGRAMS.items():
        held = Store().find(program, DEFAULT_VERSIONS[component], machine)
        assert held.packing == "zstd"
        content = zstandard.ZstdDecompressor().decompressobj().decompress(held.path.read_bytes())
        give(cluster, f"/usr/local/sbin/{program}", content, "0755")
    give(cluster, "/etc/own-runtime.toml", CONFIG.encode())
    give(cluster, "/etc/systemd/system/own-runtime.service", UNIT.encode())
    cluster.on(cluster.master, "systemctl daemon-reload; systemctl enable --quiet --now own-runtime")


def without_its_data(taken: Snapshot) -> Snapshot:
    """What is on a host but for what is the runtime's to write: its data and its state.

    (Shims and runc keep theirs in /run/containerd, whatever folder containerd is told.)
    """
    own = (DATA, "/run/own-runtime", "/run/containerd")
    return {
        section: frozenset(line for line in lines if not any(path in line for path in own))
        for section, lines in taken.items()
    }


def test_a_runtime_of_the_users_runs_the_cluster_and_outlives_it(new_lab: NewLab) -> None:
    cluster = Deployed(new_lab(roles=["ai"], settings={"runtime": {"socket": SOCKET}}))
    host = cluster.master
    refused = cluster.kubeup("up", code=FAILED)
    assert f"there is no socket {SOCKET}" in refused.text
    assert cluster.on(host, "ls -d /opt/kubeup /var/lib/kubeup /var/lib/.kubeup*", check=False) == ""

    run_own_runtime(cluster)
    before = without_its_data(take(cluster.lab, host))
    configuration = cluster.on(host, "sha256sum /etc/own-runtime.toml /usr/local/sbin/*")
    looked = cluster.kubeup("preflight", "--json").json()
    version = DEFAULT_VERSIONS["containerd"]
    assert looked["hosts"][host]["runtime"] == f"containerd {version}, cgroup driver systemd"
    assert f"containerd {version}" in cluster.kubeup("preflight").out
    assert without_its_data(take(cluster.lab, host)) == before  # it has only asked

    cluster.kubeup("up")  # with validation: pods run, and reach one another
    assert cluster.differences() == {}
    assert cluster.on(host, "systemctl show -p LoadState --value containerd.service").strip() == "not-found"
    running = cluster.on(host, "readlink /proc/[0-9]*/exe | sort -u | grep -E 'containerd|runc'", check=False).split()
    assert running == ["/usr/local/sbin/containerd", "/usr/local/sbin/containerd-shim-runc-v2"]
    # The kubelet has taken over what the runtime says.
    said = "journalctl -u kubelet -o cat | grep -o 'received from the CRI runtime.*' | sort -u"
    assert cluster.on(host, said).strip() == 'received from the CRI runtime" cgroupDriver="systemd"'
    names = cluster.on(host, f"{CTR} images list --quiet").split()
    assert {name for name in names if name.startswith("kubeup.local/")} > {"kubeup.local/pause:1.0.0", PROBE_IMAGE}

    cluster.kubectl("run", "web", f"--image={PROBE_IMAGE}", "--port=8080", "--labels=app=web")
    cluster.kubectl("expose", "pod", "web", "--port=80", "--target-port=8080")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    way = cluster.kubeup("trace", host, "svc/web").out
    assert "listens at 8080/tcp" in way  # it looks into the pod's network, by crictl
    # A name that the user gives an image: nobody but he may take it away.
    cluster.on(host, f"{CTR} images tag kubeup.local/pause:1.0.0 example.com/mine:1")

    inventory = cluster.lab.inventory.read_text()
    settings = [line for line in inventory.splitlines(keepends=True) if SOCKET not in line and line != "runtime:\n"]
    cluster.lab.inventory.write_text("".join(settings))
    changed = cluster.kubeup("up", code=FAILED)
    assert "its containers are run by another runtime" in changed.text
    cluster.lab.inventory.write_text(inventory)

    # One that does not answer keeps the containers: that is told, and the same command goes on when it does.
    cluster.on(host, "systemctl stop own-runtime")
    held = cluster.kubeup("destroy", "--yes", code=FAILED)
    assert f"the container runtime at {SOCKET} does not answer" in held.text
    cluster.on(host, "systemctl start own-runtime")
    cluster.kubeup("destroy", "--yes")

    assert cluster.on(host, "systemctl is-active own-runtime").strip() == "active"
    assert cluster.on(host, f"{CTR} containers list --quiet; {CTR} tasks list --quiet").split() == []
    left = cluster.on(host, f"{CTR} images list --quiet").split()
    # (An image goes with all of its names, and so one that the user has given a name stays.)
    named = sorted(name for name in left if not name.startswith("sha256:"))
    assert named == ["example.com/mine:1", "kubeup.local/pause:1.0.0"]
    assert cluster.on(host, "sha256sum /etc/own-runtime.toml /usr/local/sbin/*") == configuration
    found = changes(before, without_its_data(take(cluster.lab, host)))
    assert not found, "\n".join(found)
