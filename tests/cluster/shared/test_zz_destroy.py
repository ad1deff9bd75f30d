"""`kubeup destroy`, the last on the shared cluster, after all that other tests did to it: hosts as they were."""

from ..snapshot import assert_as_before
from ..support import PROBE_IMAGE, deployment
from .conftest import FOREIGN_FILES, Shared

POD = f"""
containers:
- name: six
  image: {PROBE_IMAGE}
  volumeMounts: [{{name: data, mountPath: /data}}]
volumes: [{{name: data, emptyDir: {{medium: Memory}}}}]
"""

SIX = f"""
{deployment("six", 6, POD)}
---
apiVersion: v1
kind: Service
metadata: {{name: six}}
spec: {{type: NodePort, selector: {{app: six}}, ports: [{{port: 80, targetPort: 8080}}]}}
"""


def test_destroy_while_pods_run_leaves_hosts_as_they_were(cluster: Shared) -> None:
    # With a volume in memory, which is a mount that destroy must find.
    cluster.kubectl("apply", "-f", "-", stdin=SIX)
    cluster.kubectl("rollout", "status", "deployment/six", "--timeout=60s")
    assert "tmpfs" in cluster.on(cluster.names[-1], "grep /var/lib/kubelet/pods /proc/mounts")
    done = cluster.kubeup("destroy", "--yes")
    assert f"The cluster {cluster.lab.name} is gone." in done.text
    assert_as_before(cluster.lab, cluster.before)


def test_foreign_things_survive(cluster: Shared) -> None:
    for name in cluster.names:
        for path, text in FOREIGN_FILES.items():
            assert cluster.on(name, 'cat "$1"', path) == text.strip(), f"{path} on {name}"
        assert "--dport 4444" in cluster.on(name, "iptables-save -t filter")
        assert "10.99.0.0/24" in cluster.on(name, "iptables-save -t nat")
        assert "dport 4445 drop" in cluster.on(name, "nft list table inet foreign")


def test_destroy_again_has_nothing_to_do(cluster: Shared) -> None:
    assert "(changed=0)" in cluster.kubeup("destroy", "--yes").text
    assert_as_before(cluster.lab, cluster.before)


def test_destroy_asks_first(cluster: Shared) -> None:
    done = cluster.kubeup("destroy", code=1)  # its standard input is empty
    assert f"Destroy the cluster {cluster.lab.name} on {', '.join(cluster.names)}, with all its data?" in done.text


def test_other_commands_say_that_there_is_no_cluster(cluster: Shared) -> None:
    assert "is not up" in cluster.kubeup("kubeconfig", "--print", code=1).err
    assert "unknown" in cluster.kubeup("status").out
    assert "the cluster is not up" in cluster.kubeup("validate", code=1).err
