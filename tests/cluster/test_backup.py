"""A cluster's data saved and brought back: onto other hosts, from a killed run, from a schedule, in a drill."""

import hashlib
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubeup.lab import Lab, destroy, labs

from .conftest import NewLab
from .support import FAILED, OK, PROBE_IMAGE, Deployed, Done, deployment, eventually, kubeup, starting

WORD = {"KUBEUP_PASSPHRASE": "correct horse battery"}
SNAPSHOTS = "/var/lib/kubeup/snapshots"

OF_HOSTS = {"nodes", "csinodes", "pods", "leases", "endpoints", "endpointslices", "events", "componentstatuses"}
"""Kinds that say what hosts are there and what they do; those of other hosts are others."""

POD = f"""
{{containers: [{{name: web, image: "{PROBE_IMAGE}"}}]}}
"""

OBJECTS = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: kept}}
---
apiVersion: v1
kind: Secret
metadata: {{name: password, namespace: kept}}
stringData: {{password: "swordfish, and 'quotes'"}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: large, namespace: kept}}
data: {{text: "{"x" * 100_000}"}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: kept}}
spec: {{type: NodePort, selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
{deployment("web", 2, POD, "kept")}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: things.example.com}}
spec:
  group: example.com
  names: {{kind: Thing, plural: things}}
  scope: Namespaced
  versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object}}}}}}]
"""


def with_objects(lab: Lab) -> Deployed:
    """A cluster on the lab's hosts with objects in it, and nothing of validation left."""
    cluster = Deployed(lab)
    cluster.kubeup("up", timeout=600)
    cluster.kubectl("apply", "-f", "-", stdin=OBJECTS)
    for number in range(20):
        cluster.kubectl("create", "secret", "generic", f"s{number}", f"--from-literal=n={number}", "--namespace=kept")
    cluster.kubectl("rollout", "status", "--namespace=kept", "deployment/web", "--timeout=60s")
    without_validation(cluster)
    return cluster


def without_validation(cluster: Deployed) -> None:
    def gone() -> bool:
        return "kubeup-validation-" not in cluster.kubectl("get", "namespaces")

    assert eventually(gone, 60)


def objects(cluster: Deployed) -> dict[str, dict[str, str]]:
    """Every object of the cluster, by kind: a digest of all that was asked for, by namespace and name.

    Left out are what only hosts say of themselves, and what changes when nothing is changed: who set which field when,
    and an object's revision.
    """
    kinds = cluster.kubectl("api-resources", "--verbs=list", "--output=name").split()
    kinds = sorted(kind for kind in kinds if kind.split(".")[0] not in OF_HOSTS)
    items = json.loads(cluster.kubectl("get", ",".join(kinds), "--all-namespaces", "--output=json"))["items"]
    found: dict[str, dict[str, str]] = {}
    for item in items:
        meta = item["metadata"]
        if "kubeup-validation-" in (meta.get("namespace", "") + meta["name"]):
            continue
        for passing in ("resourceVersion", "managedFields", "generation"):
            meta.pop(passing, None)
        item.pop("status", None)
        digest = hashlib.sha256(json.dumps(item, sort_keys=True).encode()).hexdigest()
        found.setdefault(item["kind"], {})[f"{meta.get('namespace', '')}/{meta['name']}"] = digest
    return found


def assert_all_back(before: dict[str, dict[str, str]], cluster: Deployed) -> None:
    """Every object is there as it was, and none that was not."""
    after = objects(cluster)
    assert {kind: len(named) for kind, named in after.items()} == {kind: len(named) for kind, named in before.items()}
    different = [
        f"{kind} {name}" for kind in before for name in before[kind] if after[kind].get(name) != before[kind][name]
    ]
    assert different == []
    assert len(before["Secret"]) >= 21


def assert_pods_run(cluster: Deployed) -> None:
    """The Deployment's pods run on the hosts of this cluster, and find the API by its Service."""
    cluster.kubectl("rollout", "status", "--namespace=kept", "deployment/web", "--timeout=90s")
    pods = json.loads(cluster.kubectl("get", "pods", "--namespace=kept", "--output=json"))["items"]
    assert {pod["spec"]["nodeName"] for pod in pods} <= set(cluster.names)
    endpoints = json.loads(cluster.kubectl("get", "endpoints", "kubernetes", "--output=json", "--namespace=default"))
    addresses = {address["ip"] for subset in endpoints["subsets"] for address in subset["addresses"]}
    assert addresses == {node.address for node in cluster.lab.nodes if "a" in node.role}
    nodes = json.loads(cluster.kubectl("get", "nodes", "--output=json"))["items"]
    assert sorted(node["metadata"]["name"] for node in nodes) == sorted(cluster.names)


def test_a_cluster_comes_back_on_another_host(new_lab: NewLab, tmp_path: Path, say: Callable[[str], None]) -> None:
    """All data gone, and the host with them; another host, with another name and address, is the cluster again."""
    old = with_objects(new_lab(roles=["ai"]))
    file = tmp_path / "cluster.kubeup"
    done = old.kubeup("backup", str(file), env=WORD)
    before = objects(old)
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"swordfish" not in file.read_bytes()
    old.kubectl("create", "configmap", "later")  # is not in it
    lab = new_lab(roles=["ai"])  # before the old one goes: so it gets other addresses
    assert lab.nodes[0].name != old.lab.nodes[0].name
    assert lab.nodes[0].address != old.lab.nodes[0].address
    destroy(old.lab.name)
    for spoiled, env, why in (
        (file.read_bytes()[:-1000], WORD, "altered or cut off"),
        (bytes([*file.read_bytes()[:-50_000], 7, *file.read_bytes()[-49_999:]]), WORD, "altered or cut off"),
        (file.read_bytes(), {"KUBEUP_PASSPHRASE": "wrong"}, "not the passphrase"),
    ):
        bad = tmp_path / "bad"
        bad.write_bytes(spoiled)
        refused = kubeup("restore", "--yes", str(bad), inventory=lab.inventory, env=env, code=FAILED)
        assert why in refused.text
    assert "kubeup" not in lab.exec(lab.nodes[0].name, "ls", "/var/lib")

    new = Deployed(lab)
    done = new.kubeup("restore", "--yes", str(file), env=WORD)
    say(f"restored onto a fresh host in {done.seconds:.0f} s, validation included")
    assert f"Former nodes are forgotten: {old.names[0]}." in done.text
    without_validation(new)
    assert_all_back(before, new)
    assert_pods_run(new)
    assert new.differences() == {}


class Three:
    """A cluster of three masters with objects in it, and how long its restores take."""

    def __init__(self, cluster: Deployed) -> None:
        self.cluster = cluster
        self.objects = objects(cluster)


@pytest.fixture(scope="module")
def three(new_lab: NewLab) -> Three:
    return Three(with_objects(new_lab(roles=["ai", "ai", "ai"])))


@pytest.mark.slow
def test_status_and_defrag_of_three_members(three: Three) -> None:
    cluster = three.cluster
    status = cluster.kubeup("etcd", "status", "--json").json()
    assert (status["healthy"], status["quorum"]) == (3, 2)
    assert [member["leader"] for member in status["members"]].count(True) == 1
    leader = next(member["name"] for member in status["members"] if member["leader"])
    lines = cluster.kubeup("etcd", "defrag").out.splitlines()
    assert len(lines) == 3
    assert lines[-1].startswith(f"{leader}:")


@pytest.mark.slow
def test_the_schedule_takes_a_snapshot_and_brings_it_to_the_others(three: Three) -> None:
    cluster = three.cluster
    first, *others = cluster.names

    def names(host: str) -> list[str]:
        return cluster.on(host, f"ls {SNAPSHOTS} 2>/dev/null | grep '^etcd-' || true").split()

    assert "active" in cluster.on(first, "systemctl is-active kubeup-snapshots.timer")
    for host in cluster.names:
        cluster.on(host, f"rm -f {SNAPSHOTS}/etcd-*")
    for host in cluster.names:
        cluster.on(host, "systemctl start kubeup-snapshots.service")
    (taken,) = names(first)  # only the first: the others had it then
    assert taken.endswith(f"Z-{first}.db")
    digests = {cluster.on(host, f"sha256sum <{SNAPSHOTS}/{taken}") for host in cluster.names}
    assert len(digests) == 1
    assert {cluster.on(host, f"stat -c %a {SNAPSHOTS}/{taken} {SNAPSHOTS}") for host in cluster.names} == {"600\n700"}
    assert [names(host) for host in others] == [[taken], [taken]]
    shown = cluster.kubeup("status").out
    assert f"ago, on {', '.join(cluster.names)}" in shown
    # The next host takes over when the first has none to give, and old ones go.
    for number in range(15):
        cluster.on(others[0], f"touch {SNAPSHOTS}/etcd-20200101T0000{number:02}Z-x.db")
    cluster.on(others[0], f"rm {SNAPSHOTS}/{taken}; systemctl start kubeup-snapshots.service")
    assert len(names(others[0])) == 12
    assert names(others[0])[-1].endswith(f"Z-{others[0]}.db")
    assert names(others[0])[-1] in names(first)


@pytest.mark.slow
def test_nobody_else_can_send_snapshots(three: Three) -> None:
    """Whoever has another certificate of etcd's authority, such as a member's own, cannot; nor can who has none."""
    cluster = three.cluster
    target = cluster.address(cluster.names[1])
    cluster.on(cluster.names[0], f"cp $(ls {SNAPSHOTS}/etcd-*.db | tail -n 1) /root/etcd-20300101T000000Z-x.db")
    send = (
        "/opt/kubeup/bin/kubeup-snapshots send --cacert /etc/etcd/ca.crt "
        "--cert /etc/etcd/{0}.crt --key /etc/etcd/{0}.key "
        f"/root/{{1}} {target}:2382"
    )
    for certificate, file in (("server", "etcd-20300101T000000Z-x.db"), ("peer", "etcd-20300101T000000Z-x.db")):
        with pytest.raises(Exception, match="no other host has taken"):
            cluster.on(cluster.names[0], send.format(certificate, file))
    cluster.on(cluster.names[0], "cp /root/etcd-20300101T000000Z-x.db /root/passwd")
    with pytest.raises(Exception, match="not the name of a snapshot"):
        cluster.on(cluster.names[0], send.format("root", "passwd"))
    put = "curl --silent --insecure --max-time 5 --upload-file /etc/hostname"
    plain = f"{put} https://{target}:2382/etcd-20300101T000000Z-x.db; echo $?"
    assert cluster.on(cluster.names[0], plain).strip() not in ("0", "")
    assert "20300101" not in cluster.on(cluster.names[1], f"ls {SNAPSHOTS}")


@pytest.mark.slow
def test_a_snapshot_replaces_what_was_done_since(three: Three, tmp_path: Path) -> None:
    cluster = three.cluster
    file = tmp_path / "etcd.db"
    cluster.kubeup("etcd", "snapshot", "--to", str(file))
    before = objects(cluster)
    cluster.kubectl("delete", "namespace", "kept")
    cluster.kubectl("create", "configmap", "later")
    file.with_name("cut.db").write_bytes(file.read_bytes()[:-4096])
    refused = cluster.kubeup("etcd", "restore", "--yes", str(file.with_name("cut.db")), code=FAILED)
    assert "altered" in refused.text
    assert "later" in cluster.kubectl("get", "configmaps")

    cluster.kubeup("etcd", "restore", "--yes", str(file), timeout=600)
    without_validation(cluster)
    assert_all_back(before, cluster)
    assert_pods_run(cluster)
    assert cluster.kubeup("etcd", "status", "--json").json()["healthy"] == 3


@pytest.mark.slow
def test_three_masters_come_back_on_three_others(three: Three, new_lab: NewLab, tmp_path: Path) -> None:
    """All masters' data deleted; encrypted for a key."""
    key = tmp_path / "backup.key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "X25519", "-out", key], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", f"{key}.pub"], check=True, capture_output=True)
    old = three.cluster
    file = tmp_path / "cluster.kubeup"
    old.kubeup("backup", "--public-key", f"{key}.pub", str(file))
    before = objects(old)
    new = Deployed(new_lab(roles=["ai", "ai", "ai"]))  # before the old ones go: so they get other addresses
    assert not {node.address for node in new.lab.nodes} & {node.address for node in old.lab.nodes}
    destroy(old.lab.name)
    new.kubeup("restore", "--yes", "--private-key", str(key), str(file), timeout=600)
    without_validation(new)
    assert_all_back(before, new)
    assert_pods_run(new)
    assert new.kubeup("etcd", "status", "--json").json()["healthy"] == 3
    assert new.differences() == {}


# Killed.


class Saved:
    """A cluster of one host, a snapshot of it, and how long restoring that takes."""

    def __init__(self, cluster: Deployed, folder: Path) -> None:
        self.cluster = cluster
        self.file = folder / "etcd.db"
        cluster.kubeup("etcd", "snapshot", "--to", str(self.file))
        self.objects = objects(cluster)
        self.whole = self.restore().seconds

    def restore(self) -> Done:
        return self.cluster.kubeup("etcd", "restore", "--yes", str(self.file), timeout=600)


@pytest.fixture(scope="module")
def saved(new_lab: NewLab, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return Saved(with_objects(new_lab(roles=["ai"])), tmp_path_factory.mktemp("saved"))


# The first two thirds are what changes something; the rest is validation.
PARTS = [0.06, 0.1, 0.14, 0.18, 0.22, 0.27, 0.33, 0.4, 0.5, 0.65]


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_a_restore_goes_on_where_it_was_killed(saved: Saved, part: float) -> None:
    cluster = saved.cluster
    running = starting("etcd", "restore", "--yes", str(saved.file), inventory=cluster.lab.inventory)
    killed = running.after(saved.whole * part).signal(signal.SIGKILL)
    assert killed.code == -signal.SIGKILL, f"it had ended before it could be killed\n{killed}"
    begun = cluster.on(cluster.master, "cat /var/lib/kubeup/restore/job 2>/dev/null || true")
    if begun:  # and every other job knows it
        assert "go on with it: the same `kubeup etcd restore FILE` again" in cluster.kubeup("up", code=FAILED).text
    saved.restore()
    without_validation(cluster)
    assert_all_back(saved.objects, cluster)
    assert cluster.on(cluster.master, "ls /var/lib/kubeup | grep restore || true") == ""
    assert cluster.differences() == {}


@pytest.mark.slow
def test_a_host_that_reboots_in_the_middle_does_not_start_etcd(saved: Saved) -> None:
    """Not with the old data, and not with none: an empty cluster would be believed."""
    cluster = saved.cluster
    running = starting("etcd", "restore", "--yes", str(saved.file), inventory=cluster.lab.inventory)

    def halted() -> bool:
        return bool(cluster.on(cluster.master, "[ -e /var/lib/kubeup/restore/halt ] && echo yes || true"))

    assert eventually(halted, 60, every=0.05)
    running.signal(signal.SIGKILL)
    if not halted():
        pytest.skip("the data were replaced before it could be killed")
    cluster.on(cluster.master, "systemctl start etcd || true; systemctl start kube-apiserver --no-block")

    def stopped() -> bool:
        return cluster.on(cluster.master, "systemctl is-active etcd || true").strip() == "inactive"

    assert eventually(stopped)  # it may have been told to, just now
    saved.restore()
    without_validation(cluster)
    assert_all_back(saved.objects, cluster)


@pytest.mark.slow
def test_a_backup_can_be_tried(saved: Saved, tmp_path: Path) -> None:
    file = tmp_path / "cluster.kubeup"
    saved.cluster.kubeup("backup", str(file), env=WORD)

    def drills() -> list[str]:
        """Whatever else is on this machine."""
        return [lab.name for lab in labs() if lab.name.startswith("drill-")]

    done = kubeup("drill", "--json", "--hosts", "1", str(file), env=WORD, timeout=600)
    report: dict[str, Any] = done.json()
    assert report["counts"]["secrets"] >= 21
    assert report["age_seconds"] < 3600
    assert drills() == []
    # Interrupted, it takes its hosts away too.
    running = starting("drill", "--hosts", "1", str(file), env=WORD)
    assert eventually(drills, 60)
    running.signal(signal.SIGINT)
    assert eventually(lambda: drills() == [], 60)


@pytest.mark.slow
def test_nothing_of_it_is_left(saved: Saved) -> None:
    saved.cluster.kubeup("destroy", "--yes", code=OK)
    left = saved.cluster.on(
        saved.cluster.master, "ls -d /var/lib/etcd /var/lib/kubeup /etc/systemd/system/kubeup-* || true"
    )
    assert left == ""
