"""Make a backup: one encrypted file with all that rebuilds the cluster."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from kubeup import __version__
from kubeup.backup import Lock, Manifest, write_backup
from kubeup.checks.etcdctl import ETCDCTL, OWN
from kubeup.deploy.run import Run
from kubeup.deploy.snapshots import bring, take, whole_file
from kubeup.deploy.vault import Vault
from kubeup.errors import HostsFailed, KubeupError
from kubeup.host.session import Session, failure
from kubeup.roles.authorities import TRUST, key_path


def back_up(run: Run, inventory: Path, to: Path, lock: Lock) -> Manifest:
    """Write a backup (0600) of the run's cluster. One living master is enough.

    Nothing of it reaches this machine's disk unencrypted. Raises KubeupError when there is no cluster, HostsFailed.
    """
    if not any(TRUST in reading.texts for reading in run.readings.values()):
        raise KubeupError(f"there is no cluster {run.cluster.name} on {', '.join(run.readings)}: nothing to back up")
    trust, files = run.vault.trust, kept(run.vault)
    taken = take(run.cluster, run.session)
    manifest = Manifest(
        cluster=run.cluster.name,
        identity=trust.identity,
        taken=datetime.now(UTC).isoformat(timespec="seconds"),
        kubeup=__version__,
        versions=run.cluster.versions.model_dump(),
        service_cidr=str(run.cluster.service_cidr),
        revision=taken.revision,
        keys=taken.keys,
        counts=count(run.session, taken.node, taken.revision),
    )
    snapshot = (taken.size, taken.sha256, lambda sink: bring(run.session, taken, sink))
    with whole_file(to) as file:
        write_backup(file, lock, manifest, inventory.read_text(encoding="utf-8"), files, snapshot)
    return manifest


def kept(vault: Vault) -> dict[str, str]:
    """Whom the cluster trusts, and the keys, by their path on a master; also what is being replaced just now."""
    return {TRUST: vault.trust.text(), **{key_path(name): vault.secret(name) for name in vault.trust.keys}}


def count(session: Session, node: str, revision: int = 0) -> dict[str, int]:
    """How many objects of each kind etcd had at that revision, or has now. Raises HostsFailed."""
    listing = f'{ETCDCTL} --endpoints={OWN} get /registry/ --prefix --keys-only --rev="$1"'
    output = session.shell(node, listing, str(revision), timeout=120)
    if not output.ok:
        raise HostsFailed("counting what is in etcd", [failure(node, "etcdctl get /registry/ --keys-only", output)])
    return counted(output.stdout)


def counted(keys: str) -> dict[str, int]:
    """Objects by kind, from etcd's keys, one a line: /registry/secrets/default/web is one of "secrets".

    Kinds that were added to the API have their group before them (/registry/example.com/things/…); groups have a dot.
    """
    kinds: Counter[str] = Counter()
    for key in keys.split():
        parts = key.split("/")[2:]
        kinds["/".join(parts[:2]) if "." in parts[0] and len(parts) > 2 else parts[0]] += 1
    return dict(sorted(kinds.items()))
