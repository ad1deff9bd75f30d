"""What a lab's hosts and cluster say of themselves, for the report of a test that failed."""

from collections.abc import Iterator

from kubeup.errors import LabError
from kubeup.lab.hosts import Lab

_HOST = r"""
echo "failed units: $(systemctl --failed --no-legend --plain | tr '\n' ' ')"
journalctl --boot --no-pager --lines=%d
"""

# Each part by itself: the API may be what does not work.
_CLUSTER = r"""
export KUBECONFIG=/etc/kubernetes/admin.conf
kubectl() { timeout 15 /opt/kubeup/bin/kubectl --request-timeout=10s "$@"; }
echo '--- nodes'; kubectl get nodes -o wide
echo '--- everything'; kubectl get all,endpointslices --all-namespaces -o wide
echo '--- events'; kubectl get events --all-namespaces --sort-by=.lastTimestamp | tail -n 60
kubectl get pods --all-namespaces --no-headers -o custom-columns=:metadata.namespace,:metadata.name | tail -n 40 |
while read -r namespace name; do
    echo "--- log of pod $namespace/$name"
    kubectl -n "$namespace" logs "$name" --all-containers --prefix --tail=40 </dev/null
done
"""


def logs(lab: Lab, lines: int = 80) -> Iterator[tuple[str, str]]:
    """Yield (title, text) of what the cluster says and of each host's journal, its last ``lines``.

    Never raises: a host that is switched off, or hangs, is worth knowing too.
    """
    master = next((node.name for node in lab.nodes if "a" in node.role), None)
    if master is not None:
        yield f"cluster {lab.name}", _said(lab, master, f"{{ {_CLUSTER}\n}} 2>&1", 90)
    for node in lab.nodes:
        yield f"journal of {node.name}", _said(lab, node.name, _HOST % lines, 20)


def _said(lab: Lab, node: str, script: str, timeout: float) -> str:
    try:
        return lab.exec(node, "sh", "-c", script, check=False, timeout=timeout)
    except LabError as error:
        return str(error)
