"""Files that a cluster can be rebuilt from: etcd's snapshots, and encrypted backups. Nothing here talks to a host."""

from kubeup.backup.archive import SNAPSHOT, Backup, Manifest, open_backup, write_backup
from kubeup.backup.sealed import Lock, Passphrase, PrivateKey, PublicKey, Unlock
from kubeup.backup.snapshot import Snapshot, open_snapshot

__all__ = [
    "SNAPSHOT",
    "Backup",
    "Lock",
    "Manifest",
    "Passphrase",
    "PrivateKey",
    "PublicKey",
    "Snapshot",
    "Unlock",
    "open_backup",
    "open_snapshot",
    "write_backup",
]
