"""kubectl on a master, over SSH: it works wherever SSH does, also where the API is out of the admin's reach."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from kubeup.cluster import Cluster
from kubeup.errors import HostsFailed
from kubeup.host.session import Output, Session, failure

# With a cache of its own, so that nothing is left in root's home.
KUBECTL = "KUBECACHEDIR=/var/lib/kubeup/kubectl /opt/kubeup/bin/kubectl --kubeconfig /etc/kubernetes/admin.conf"


# What is said where the apiserver, which is the master's own, does not run, or where the host is no master (any more).
NO_API = re.compile(
    r"^The connection to the server \S+ was refused|^Unable to connect to the server|/kubectl: (not found|No such file)"
    r"|/etc/kubernetes/admin\.conf: no such file",
    re.MULTILINE,
)


CORDONED = "kubeup.dev/cordoned"
"""An annotation on nodes that kubeup has cordoned: one that a person has cordoned stays so."""


def condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """The condition of that type in an object's status; empty where nobody has reported one."""
    return next((c for c in status.get("conditions") or () if c["type"] == kind), {})


def ready(thing: Mapping[str, Any]) -> str:
    """What the condition Ready of a Node or pod says: True, False or Unknown (its kubelet has not reported lately)."""
    return str(condition(thing.get("status", {}), "Ready").get("status", "Unknown"))


def cordoned(node: Mapping[str, Any]) -> bool:
    """Whether it was kubeup that cordoned a Node."""
    return CORDONED in node["metadata"].get("annotations", {})


def _first(script: str) -> str:
    """Of a script, what an error shows of it: the first line that calls kubectl."""
    lines = [line.strip() for line in script.splitlines() if not line.lstrip().startswith("#")]
    return next((line for line in lines if "kubectl " in line), script.strip())


class Kubectl:
    """kubectl on the first master that answers and whose apiserver does."""

    def __init__(self, cluster: Cluster, session: Session, *, avoid: str = "") -> None:
        """``avoid``: a master to ask last, because its apiserver is about to stop."""
        self._session = session
        self._nodes = {node.name for node in cluster.nodes}
        self._masters = sorted((master.name for master in cluster.masters), key=lambda name: name == avoid)

    def script(self, script: str, *arguments: str, stdin: str | None = None, timeout: float = 120) -> Output:
        """Run a shell script in which ``kubectl`` is a function; ``timeout`` in seconds.

        Another master is tried when one cannot be reached, or its apiserver cannot; otherwise the answer of the first
        counts. So a script must be one that can be run again.
        """
        return self._on_any(script, *arguments, stdin=stdin, timeout=timeout)[1]

    def _on_any(self, script: str, *arguments: str, stdin: str | None, timeout: float) -> tuple[str, Output]:
        """As `script`, with the name of the master whose answer counts."""
        master, output = "", Output("", "there is no master", None)
        for master in self._masters:
            output = self._session.shell(
                master, f'kubectl() {{ {KUBECTL} "$@"; }}\n{script}', *arguments, stdin=stdin, timeout=timeout
            )
            if output.exit_code is not None and (output.ok or not NO_API.search(output.stderr)):
                break
        return master, output

    def checked(self, script: str, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """The standard output of a script that must succeed. Raises HostsFailed."""
        master, output = self._on_any(script, *arguments, stdin=stdin, timeout=timeout)
        if not output.ok:
            raise HostsFailed("asking the API", [failure(master, f"kubectl ({_first(script)})", output)])
        return output.stdout

    def get(self, *arguments: str) -> list[dict[str, Any]]:
        """The items of `kubectl get ... -o json`. Raises HostsFailed."""
        items: list[dict[str, Any]] = json.loads(self.checked('kubectl get "$@" -o json', *arguments))["items"]
        return items

    def strangers(self) -> list[str]:
        """The nodes that the API has and the inventory has not; none where the API cannot be asked."""
        try:
            registered = {str(item["metadata"]["name"]) for item in self.get("nodes")}
        except HostsFailed:
            return []
        return sorted(registered - self._nodes)

    def node(self, name: str) -> dict[str, Any] | None:
        """The Node object of that name, or None. Raises HostsFailed."""
        return next(iter(self.get("nodes", f"--field-selector=metadata.name={name}")), None)
