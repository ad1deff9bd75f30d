"""kubectl on a master, over SSH: it works wherever SSH does, also where the API is out of the admin's reach."""

from __future__ import annotations

import json
from typing import Any

from kubeup.cluster import Cluster
from kubeup.errors import HostsFailed
from kubeup.host.session import Output, Session, failure

# With a cache of its own, so that nothing is left in root's home.
KUBECTL = "KUBECACHEDIR=/var/lib/kubeup/kubectl /opt/kubeup/bin/kubectl --kubeconfig /etc/kubernetes/admin.conf"


class Kubectl:
    """kubectl on the first master that answers."""

    def __init__(self, cluster: Cluster, session: Session) -> None:
        self._session = session
        self._masters = [master.name for master in cluster.masters]

    def script(self, script: str, *arguments: str, stdin: str | None = None, timeout: float = 120) -> Output:
        """Run a shell script in which ``kubectl`` is a function; ``timeout`` in seconds.

        Another master is tried when the connection to one is gone; otherwise the answer of the first counts.
        """
        output = Output("", "there is no master", None)
        for master in self._masters:
            output = self._session.shell(
                master, f'kubectl() {{ {KUBECTL} "$@"; }}\n{script}', *arguments, stdin=stdin, timeout=timeout
            )
            if output.exit_code is not None:
                break
        return output

    def checked(self, script: str, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """The standard output of a script that must succeed. Raises HostsFailed."""
        output = self.script(script, *arguments, stdin=stdin, timeout=timeout)
        if not output.ok:
            raise HostsFailed(
                "asking the API", [failure(self._masters[0], f"kubectl ({script.splitlines()[0]})", output)]
            )
        return output.stdout

    def get(self, *arguments: str) -> list[dict[str, Any]]:
        """The items of `kubectl get ... -o json`. Raises HostsFailed."""
        items: list[dict[str, Any]] = json.loads(self.checked('kubectl get "$@" -o json', *arguments))["items"]
        return items
