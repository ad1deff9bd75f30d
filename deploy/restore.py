"""Bring a cluster's data back: into the cluster that is there, or into a new one on other hosts.

It is `up` with one step more: before etcd is started, all its members get data made of the snapshot. What has begun is
noted on the hosts themselves, and each step sees by itself whether it was done. So a run that was killed anywhere is
finished by the same command, and `up` knows that it must not go on with what is half restored.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from kubeup.backup import Backup, Snapshot
from kubeup.checks.etcdctl import Etcdctl, own_members
from kubeup.checks.kubectl import Kubectl
from kubeup.checks.preflight import RESTORING
from kubeup.cluster import Cluster
from kubeup.deploy.leaving import FORGET
from kubeup.deploy.path import measure
from kubeup.deploy.phases import Part, Phase, execute
from kubeup.deploy.run import VALIDATED, Run
from kubeup.deploy.up import PHASES
from kubeup.errors import KubeupError, PreflightError, Problem
from kubeup.host.difference import Item
from kubeup.host.session import Output
from kubeup.roles.addons import APPLIED
from kubeup.roles.authorities import TRUST
from kubeup.roles.common import ROOT
from kubeup.roles.etcd import DATA, HALT, peer_url
from kubeup.roles.flannel import ETCD_PREFIX

FOLDER = RESTORING.rpartition("/")[0]
SNAPSHOT = f"{FOLDER}/etcd.db"

MARGIN = 1_000_000_000
"""By how much the first revision after a restore is larger than the last before. Whoever watches objects remembers a
revision: none of those must come again with other contents, or he would never notice."""


@dataclass(frozen=True)
class Job:
    """A restore that was begun, as its hosts note it. ``bump``: what the revision grows by, once that is known."""

    id: str
    command: str
    begun: str
    sha256: str
    bump: int | None = None

    def text(self) -> str:
        return json.dumps(asdict(self))


def restore_etcd(run: Run, snapshot: Snapshot) -> None:
    """Replace the data of the cluster's etcd by a snapshot, then do what `up` does."""
    if not any(TRUST in run.readings[master.name].texts for master in run.masters):
        raise KubeupError(
            f"there is no cluster {run.cluster.name} on these hosts, and a snapshot alone has no authorities: "
            "`kubeup restore FILE` brings back all of a cluster from a backup"
        )
    _restore(run, snapshot, "kubeup etcd restore", [], [])


def restore_cluster(run: Run, backup: Backup, after_etcd: Sequence[Phase] = ()) -> None:
    """Rebuild the cluster of a backup on the hosts of the run's inventory, whatever they are called.

    ``after_etcd``: what shall look at its data while nobody else does.
    """
    refuse_unfit(run.cluster, backup)
    _restore(replace(run, given=backup.files), backup.snapshot, "kubeup restore", after_etcd, [OldNodes()])


def _restore(
    run: Run, snapshot: Snapshot, command: str, after_etcd: Sequence[Phase], after_masters: Sequence[Phase]
) -> None:
    own_members(run.cluster)
    run = replace(run, restoring=True)
    before, etcd, masters, nodes = _parts(PHASES)
    execute([*before, Folder(), RestoreData(snapshot, command)], run)
    run = replace(run, placed=set())  # what was read is no longer so
    measure(run)
    execute([*etcd, *after_etcd, Former(), *masters, *after_masters, Watchers(), Finish(), *nodes], run)


def _parts(phases: Sequence[Phase]) -> tuple[Sequence[Phase], Sequence[Phase], Sequence[Phase], Sequence[Phase]]:
    """The phases of `up` until etcd, etcd's own, the masters', and the rest."""
    titles = [phase.title for phase in phases]
    etcd = titles.index("Members") if "Members" in titles else titles.index("etcd")
    masters, nodes = titles.index("Control plane"), titles.index("Nodes")
    return phases[:etcd], phases[etcd:masters], phases[masters:nodes], phases[nodes:]


def refuse_unfit(cluster: Cluster, backup: Backup) -> None:
    """Raises PreflightError when the inventory cannot take the backup's objects."""
    manifest = backup.manifest
    problems = []
    if str(cluster.service_cidr) != manifest.service_cidr:
        problems.append(
            Problem(
                "the inventory",
                f"service_cidr is {cluster.service_cidr}, and the addresses of the backup's Services are of "
                f"{manifest.service_cidr}",
                f"write service_cidr: {manifest.service_cidr}",
            )
        )
    was, now = (
        tuple(map(int, v.split(".")[:2])) for v in (manifest.versions["kubernetes"], cluster.versions.kubernetes)
    )
    if not 0 <= now[1] - was[1] <= 1 or now[0] != was[0]:
        problems.append(
            Problem(
                "the inventory",
                f"versions: kubernetes is {cluster.versions.kubernetes}, and the backup is of "
                f"{manifest.versions['kubernetes']}; only the same or the next minor version reads what that wrote",
                f"write versions: {{kubernetes: {manifest.versions['kubernetes']}}}",
            )
        )
    if problems:
        raise PreflightError(problems)


# What is noted and lies on a host, a line each: the job, whether etcd is halted, which restore its data are of, and the
# sha256 of the snapshot that lies ready.
_LOOK = f"""
printf 'job\\t%s\\n' "$(cat {RESTORING} 2>/dev/null)"
printf 'halted\\t%s\\n' "$([ -e {HALT} ] && echo yes)"
printf 'restored\\t%s\\n' "$(cat {DATA}/restored 2>/dev/null)"
printf 'sha256\\t%s\\n' "$([ -e {SNAPSHOT} ] && sha256sum <{SNAPSHOT} | cut -d' ' -f1)"
"""

# $1: the snapshot's sha256, $2: its size. On stdin: the snapshot. Then etcd's own look at it.
_TAKE = f"""
set -eu
umask 077
mkdir -p {FOLDER}
free=$(df -Pk {FOLDER} | awk 'NR==2 {{print $4}}')
if [ "$free" -lt $(($2 / 512 + 65536)) ]; then
    echo "no space left: twice the snapshot and 64 MiB are needed below /var/lib, and there are $free KiB" >&2; exit 1
fi
cat >{SNAPSHOT}.new
echo "$1  {SNAPSHOT}.new" | sha256sum -c --quiet - >&2 || {{ echo "the snapshot did not arrive whole" >&2; exit 74; }}
sync {SNAPSHOT}.new
mv {SNAPSHOT}.new {SNAPSHOT}
"""

# $1: etcdutl. Prints what etcd's own tool says of the snapshot.
_JUDGE = f'"$1" snapshot status {SNAPSHOT} --write-out=json'

# $1: the file, $2: its content
_NOTE = 'umask 077; mkdir -p "${1%/*}"; printf "%s\\n" "$2" >"$1.new" && sync "$1.new" && mv "$1.new" "$1"'

# etcd does not start again, not by a reboot either, while the file is there (see its unit).
_STOP = f"""
set -eu
umask 077
touch {HALT}
sync {HALT}
rm -f {VALIDATED} {APPLIED}
for unit in kubeup-addons kube-controller-manager kube-scheduler kube-apiserver etcd; do
    if systemctl cat $unit.service >/dev/null 2>&1; then systemctl stop $unit.service; fi
done
"""

# $1: etcdutl. Prints the last revision of the data that are there, 0 where there are none, or none that can be read.
_REVISION = f"""
if [ -e {DATA}/member/snap/db ]; then
    "$1" snapshot status {DATA}/member/snap/db --write-out=json 2>/dev/null |
        sed -n 's/.*"revision":\\([0-9]*\\).*/\\1/p'
fi
"""

# $1: etcdutl, $2: the job's id, $3: this member's name, $4: its peer URL, $5: all members, $6: the bump.
# What was there is moved aside once, whatever is killed: it is what stood there when the job began.
_REPLACE = f"""
set -eu
umask 077
cd {DATA}
[ "$(cat restored 2>/dev/null)" != "$2" ] || exit 0
[ -e {HALT} ] || {{ echo "etcd was not halted for this" >&2; exit 1; }}
if [ -d member ] && [ ! -d before-restore-$2 ]; then
    rm -rf before-restore-*
    mv member before-restore-$2
fi
rm -rf restored restoring member
"$1" snapshot restore {SNAPSHOT} --name "$3" --initial-advertise-peer-urls "$4" --initial-cluster "$5" \\
    --initial-cluster-token "kubeup-$2" --bump-revision "$6" --mark-compacted --data-dir {DATA}/restoring \\
    >/dev/null 2>log || {{ tail -5 log >&2; rm -f log; exit 1; }}
rm -f log
sync
mv restoring/member member
rm -rf restoring
printf '%s\\n' "$2" >restored.new
sync
mv restored.new restored
"""


@dataclass(frozen=True)
class Folder(Part):
    """Makes etcd's folder, by the record, so that it goes when the cluster goes."""

    title: str = "Restore"

    def chooses(self, item: Item) -> bool:
        return item.key == ("dir", DATA)


@dataclass(frozen=True)
class RestoreData:
    """Gives every member of etcd data made of the snapshot. etcd does not run afterwards."""

    snapshot: Snapshot
    command: str
    title: str = "Restore"

    def run(self, run: Run) -> None:
        run.hold()
        with run.phase(self.title):
            self._restore(run)

    def _restore(self, run: Run) -> None:
        members = [node.name for node in run.cluster.members]
        hosts = sorted({*members, *(master.name for master in run.cluster.masters)})
        etcdutl = (
            f"{ROOT}/etcd/{run.cluster.versions.etcd}/etcdutl"  # sent with the components; the link may come later
        )
        seen = {name: _seen(text) for name, text in _on(run, hosts, _LOOK).items()}
        job = self._job(run, [look["job"] for look in seen.values()])
        if all(seen[name]["restored"] == job.id for name in members) and not any(s["halted"] for s in seen.values()):
            return  # done before, by a run that was killed later
        self._send(run, [name for name in members if seen[name]["sha256"] != self.snapshot.sha256])
        told = {json.loads(text)["revision"] for text in _on(run, members, _JUDGE, etcdutl).values()}
        _on(run, hosts, _NOTE, RESTORING, job.text())
        run.session.observer.say(f"etcd and the API stop on {', '.join(hosts)}.")
        _on(run, hosts, _STOP)
        if job.bump is None:
            last = max(int(text.strip() or 0) for text in _on(run, members, _REVISION, etcdutl).values())
            job = replace(job, bump=max(last - min(told), 0) + MARGIN)
            _on(run, hosts, _NOTE, RESTORING, job.text())  # on all, before the first uses it: they must not differ
        self._replace(run, job, etcdutl)
        _on(run, hosts, f"rm -f {HALT}")

    def _job(self, run: Run, noted: Iterable[str]) -> Job:
        """The one that was begun, or a new one. Raises KubeupError when another was begun."""
        jobs = [Job(**json.loads(text)) for text in noted if text]
        if not jobs:
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            return Job(secrets.token_hex(6), self.command, now, self.snapshot.sha256)
        if {(job.command, job.sha256) for job in jobs} != {(self.command, self.snapshot.sha256)}:
            first = jobs[0]
            raise KubeupError(
                f"`{first.command}` of another file was begun here at {first.begun} and has not ended. "
                "Go on with that: the same command with the same file "
                f"(its snapshot has the sha256 {first.sha256}, and lies in {SNAPSHOT} on the hosts)"
            )
        run.session.observer.say(f"Going on with the restore that was begun at {jobs[0].begun}.")
        return max(jobs, key=lambda job: job.bump or 0)

    def _send(self, run: Run, names: Sequence[str]) -> None:
        size = str(self.snapshot.size)

        def send(name: str) -> Output:
            return run.session.stream(name, _TAKE, self.snapshot.sha256, size, source=self.snapshot.chunks())

        run.outputs(names, send, "sending the snapshot")

    def _replace(self, run: Run, job: Job, etcdutl: str) -> None:
        nodes = {node.name: node for node in run.cluster.members}
        everybody = ",".join(f"{node.name}={peer_url(node)}" for node in nodes.values())

        def bring(name: str) -> Output:
            told = (etcdutl, job.id, name, peer_url(nodes[name]), everybody, str(job.bump))
            return run.session.shell(name, _REPLACE, *told, timeout=900)

        run.outputs(nodes, bring, "restoring the data of etcd")


def _seen(text: str) -> dict[str, str]:
    return dict(line.split("\t", 1) for line in text.splitlines())


def _on(run: Run, names: Iterable[str], script: str, *arguments: str) -> dict[str, str]:
    return run.on(names, script, *arguments, doing="restoring", timeout=300)


@dataclass(frozen=True)
class Former:
    """Takes out of etcd, before anything reads it, what only says who was doing what when the snapshot was taken."""

    title: str = "Former hosts"

    def run(self, run: Run) -> None:
        etcdctl = Etcdctl(run.cluster, run.session)
        ours = {str(node.address) for node in run.cluster.nodes}
        # The apiservers' own leases: as long as these last, the Service `kubernetes` leads to masters that are gone.
        masters = etcdctl.checked("get", "--prefix", "--keys-only", "/registry/masterleases/").split()
        former = [key for key in masters if key.rpartition("/")[2] not in ours]
        # Their leaders': all of them have stopped, and those that start would wait for 15 s to be sure.
        former += [f"/registry/leases/kube-system/{name}" for name in ("kube-controller-manager", "kube-scheduler")]
        # flannel's, where it keeps them here.
        subnets = json.loads(etcdctl.checked("get", "--prefix", "--write-out=json", f"{ETCD_PREFIX}/subnets/"))
        former += [key for key, public in _subnets(subnets) if public not in ours]
        for key in former:
            etcdctl.checked("del", key)


def _subnets(got: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for entry in got.get("kvs", []):
        try:
            yield base64.b64decode(entry["key"]).decode(), json.loads(base64.b64decode(entry["value"]))["PublicIP"]
        except (ValueError, KeyError):
            continue


@dataclass(frozen=True)
class OldNodes:
    """Deletes the Nodes that the inventory does not have, and the pods that ran there."""

    title: str = "Former nodes"

    def run(self, run: Run) -> None:
        kubectl = Kubectl(run.cluster, run.session)
        ours = {node.name for node in run.cluster.nodes}
        former = [item["metadata"]["name"] for item in kubectl.get("nodes") if item["metadata"]["name"] not in ours]
        for name in former:
            kubectl.checked(FORGET, name)
        if former:
            run.session.observer.say(f"Former nodes are forgotten: {', '.join(former)}.")


@dataclass(frozen=True)
class Watchers:
    """Lets the cluster's own parts, where they run, look at all objects anew at once.

    By themselves they would ask a new apiserver only after a while, which grows to half a minute while there is none.
    """

    title: str = "Watchers"

    def run(self, run: Run) -> None:
        restart = "systemctl try-restart $(systemctl list-units --plain --no-legend --state=active {} | cut -d' ' -f1)"
        units = "kubelet.service kube-proxy.service flanneld.service"
        _on(
            run,
            [node.name for node in run.nodes],
            f"if systemctl is-active --quiet kubelet; then {restart.format(units)}; fi",
        )
        Kubectl(run.cluster, run.session).checked(
            "kubectl delete pods --namespace=kube-system --selector=k8s-app=kube-dns --wait=false"
        )


@dataclass(frozen=True)
class Finish:
    """Ends the job on the hosts: from here on, `up` can do the rest."""

    title: str = "Finish"

    def run(self, run: Run) -> None:
        hosts = {node.name for node in (*run.cluster.members, *run.cluster.masters)}
        kept = _on(
            run, sorted(hosts), f"rm -rf {FOLDER}; cd {DATA} 2>/dev/null && ls -d before-restore-* 2>/dev/null || true"
        )
        folder = next((text.strip() for text in kept.values() if text.strip()), "")
        if folder:
            names = ", ".join(name for name, text in kept.items() if text.strip())
            run.session.observer.say(f"The data from before are in {DATA}/{folder} on {names}, until the next restore.")
