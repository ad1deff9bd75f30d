"""All that `up` looks at before it changes anything, as a job of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kubeup.checks.reach import Reached
from kubeup.deploy.phases import Looks
from kubeup.deploy.run import Run
from kubeup.errors import Problem


@dataclass(frozen=True)
class Examined:
    """What the hosts are, and everything that keeps them from taking the cluster."""

    hosts: dict[str, dict[str, Any]]
    problems: tuple[Problem, ...]
    reached: Reached

    def data(self) -> dict[str, Any]:
        """For machines."""
        problems = [{"where": p.where, "what": p.what, "remedy": p.remedy} for p in self.problems]
        return {"ok": not problems, "hosts": self.hosts, "ways_tried": self.reached.tried, "problems": problems}

    def text(self) -> str:
        """For people."""
        width = max(len(name) for name in self.hosts)
        lines = []
        for name, host in self.hosts.items():
            more = [f"etcd's log {host['fsync_ms']:.1f} ms"] if "fsync_ms" in host else []
            more += [f"firewall {host['firewall']}"] if host["firewall"] else []
            more += [host["runtime"]] if "runtime" in host else []
            facts = [host["os"], host["arch"], f"Linux {host['kernel']}", f"cgroup v{host['cgroup']}"]
            facts += [f"{host['cpus']} CPUs", f"{host['memory_mib'] / 1024:.1f} GiB", *more]
            lines.append(f"{name:<{width}}  {', '.join(facts)}")
        lines.append(f"{self.reached.tried} ways from host to host tried.")
        lines += [str(problem) for problem in self.problems]
        lines.append(f"{len(self.problems)} problems." if self.problems else "The hosts can take the cluster.")
        return "\n".join(lines)


def examine(run: Run) -> Examined:
    """Look at all hosts. Where nothing is wrong with them, raises what keeps it from looking further."""
    looks = Looks(run, tried=[node.name for node in run.nodes])
    problems = looks.problems()
    hosts = {}
    for name, reading in run.readings.items():
        facts = reading.facts
        hosts[name] = {
            "os": facts.os_name,
            "arch": facts.arch,
            "kernel": facts.kernel,
            "cgroup": facts.cgroup,
            "cpus": facts.cpus,
            "memory_mib": facts.memory_kib // 1024,
            "firewall": facts.firewall,
            "selinux": facts.selinux,
            "time_service": facts.time_service,
            **({"fsync_ms": looks.reached.fsync[name]} if name in looks.reached.fsync else {}),
            **({"runtime": looks.runtimes.found[name]} if name in looks.runtimes.found else {}),
        }
    return Examined(hosts, tuple(problems), looks.reached)
