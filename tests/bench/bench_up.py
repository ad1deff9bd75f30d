"""How fast `kubeup up` is, as ratios within one run (absolute times are the machine's, and vary).

    python tests/bench/bench_up.py [--hosts 3] [--rounds 3]

The floor is what cannot be avoided: copying the same bytes to the same hosts with plain parallel ssh, plus starting
the same services on hosts that have everything else in place, until all nodes are Ready.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import zstandard

from kubeup.cluster import load
from kubeup.components import Store
from kubeup.deploy.run import Run
from kubeup.host.resources import Blob
from kubeup.host.session import Session
from kubeup.lab import Lab, create, destroy, ensure_engine, ensure_image

NAME = "bench"
_SERVICES = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubeup-addons"),
    *("containerd", "kubeup-images", "flanneld", "kubelet", "kube-proxy"),
)
UNITS = " ".join(f"{name}.service" for name in _SERVICES)
BACK_TO_FRESH = f"""
systemctl stop {UNITS} --no-block 2>/dev/null
systemctl kill --kill-who=main --signal=KILL {UNITS} 2>/dev/null
systemctl stop {UNITS} 2>/dev/null
for cleanup in pods flannel; do sh /var/lib/kubeup/cleanup/$cleanup remove </dev/null; done
find /var/lib/etcd /var/lib/kubelet /var/lib/containerd -xdev -mindepth 1 -delete 2>/dev/null
sync
"""
START = f"systemctl start --no-block $(systemctl list-unit-files --no-legend --plain {UNITS} | cut -d' ' -f1)"
NODES_READY = """
ready() { kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes --no-headers 2>/dev/null | grep -c ' Ready '; }
until [ "$(ready)" = %d ]; do sleep 0.1; done
"""
LIBRARIES = "from gevent import monkey; monkey.patch_all(); import pyinfra.api, paramiko, pydantic, typer"


def seconds(work: Callable[[], object], times: int = 1) -> float:
    """How long it takes; the median of so many times."""

    def once() -> float:
        started = time.monotonic()
        work()
        return time.monotonic() - started

    return statistics.median(once() for _ in range(times))


def python(*arguments: str) -> None:
    """Run this Python. Raises CalledProcessError."""
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def bring_up(command: tuple[str, ...]) -> dict[str, float]:
    """Run `up`; how long it took, and of that what validation added: all of it but waiting for nodes to be Ready."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, *command, "up", "--json"], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    took = time.monotonic() - started
    told = json.loads(done.stdout)
    waited = next(check["seconds"] for check in told["checks"] if check["name"] == "nodes-ready")
    return {"up": took, "validation in up": told["seconds"]["Validation"] - waited}


def on_all(lab: Lab, script: str, stdin: dict[str, Path] | None = None) -> None:
    """Plain OpenSSH to all hosts at once. Raises RuntimeError."""
    running = []
    for node in lab.nodes:
        source = stdin[node.name].open("rb") if stdin else subprocess.DEVNULL
        running.append(subprocess.Popen([*lab.ssh(node.name), script], stdin=source, stdout=subprocess.DEVNULL))
    codes = [process.wait() for process in running]
    if any(codes):
        raise RuntimeError(f"ssh failed with {codes}: {script}")


def same_bytes(lab: Lab, folder: Path) -> dict[str, Path]:
    """For each host, one file with the contents of all components that `up` places there."""
    store = Store()
    cluster = load(lab.inventory)
    files = {}
    with Session(cluster) as session:
        session.connect()
        run = Run(cluster, session)
        for node in lab.nodes:
            files[node.name] = folder / node.name
            with files[node.name].open("wb") as out:
                for _, resource in run.desired(node.name).values():
                    if isinstance(resource, Blob):
                        packed = store.find(resource.artifact, resource.version)
                        opened = zstandard.open if packed.packing == "zstd" else gzip.open
                        with opened(packed.path, "rb") as source:
                            shutil.copyfileobj(source, out, 1 << 20)
    return files


def one_round(lab: Lab, files: dict[str, Path]) -> dict[str, float]:
    """All times of one round, in seconds, on hosts without a cluster; they have none afterwards either."""
    command = ("-m", "kubeup", "-i", str(lab.inventory))
    master = next(node.name for node in lab.nodes if "a" in node.role)

    def start() -> None:
        on_all(lab, START)
        subprocess.run([*lab.ssh(master), NODES_READY % len(lab.nodes)], check=True)

    times = {
        **bring_up(command),
        "validate": seconds(lambda: python(*command, "validate")),
        "validate --deep": seconds(lambda: python(*command, "validate", "--deep")),
        "again": seconds(lambda: python(*command, "up"), 3),
        "ssh true": seconds(lambda: on_all(lab, "true"), 3),
        "python": seconds(lambda: python("-c", "pass"), 3),
        "libraries": seconds(lambda: python("-c", LIBRARIES), 3),
    }
    on_all(lab, BACK_TO_FRESH)
    times["copy"] = seconds(lambda: on_all(lab, "cat >/var/tmp/floor", files))
    on_all(lab, "rm /var/tmp/floor")
    times["start"] = seconds(start)
    python(*command, "destroy", "--yes")
    return times


RATIOS: dict[str, Callable[[dict[str, float]], float]] = {
    "up, validation included / floor (at most 1.6, aim 1.3)": lambda t: t["up"] / (t["copy"] + t["start"]),
    "up without validation / floor": lambda t: (t["up"] - t["validate"]) / (t["copy"] + t["start"]),
    "what validation adds, from when nodes are Ready / up": lambda t: t["validation in up"] / t["up"],
    "validate --deep / up": lambda t: t["validate --deep"] / t["up"],
    "up again / (ssh true + Python with its libraries) (at most 2)": lambda t: (
        t["again"] / (t["ssh true"] + t["libraries"])
    ),
    "up again / (ssh true + bare Python)": lambda t: t["again"] / (t["ssh true"] + t["python"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ensure_engine(False, print)
    ensure_image(print)
    destroy(NAME)
    lab = create(NAME, options.hosts, say=lambda _: None)
    rounds = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            files = same_bytes(lab, Path(folder))
            size = sum(path.stat().st_size for path in files.values()) / 2**20
            for _ in range(options.rounds):
                rounds.append(one_round(lab, files))
                print(", ".join(f"{name} {value:.2f} s" for name, value in rounds[-1].items()), flush=True)
    finally:
        destroy(NAME)
    print(
        f"\n{options.hosts} hosts, {size:.0f} MiB of components, median of {options.rounds} rounds (lowest to highest)"
    )
    for name, ratio in RATIOS.items():
        values = [ratio(times) for times in rounds]
        print(f"{name:<64}{statistics.median(values):5.2f}  ({min(values):.2f} to {max(values):.2f})")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"peak memory of kubeup, MiB (at most 300){peak:29.0f}")


if __name__ == "__main__":
    main()
