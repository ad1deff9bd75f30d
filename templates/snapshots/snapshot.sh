#!/bin/sh
# Takes a snapshot of this host's etcd member into /var/lib/kubeup/snapshots, reads it back, and keeps the newest.
# $1: how many to keep. $2: the host's name, which becomes part of the snapshot's.
# Prints: path, size in bytes, sha256 of the file, and what etcdutl says of it (JSON), tab-separated.
set -eu
umask 077
export LC_ALL=C
keep=$1 node=$2
folder=${KUBEUP_SNAPSHOTS:-/var/lib/kubeup/snapshots}
bin=${KUBEUP_BIN:-/opt/kubeup/bin}
mkdir -p "$folder"
chmod 0700 "$folder"
exec 9>>"$folder/lock"
flock -w 300 9 || { echo "another snapshot has been under way here for 300 s" >&2; exit 75; }
rm -f "$folder"/.new-*
new=$folder/.new-$$
trap 'rm -f "$new" "$new".part' EXIT
etcdctl() { "$bin/etcdctl" --endpoints=https://127.0.0.1:2379 --cacert=/etc/etcd/ca.crt --cert=/etc/etcd/root.crt --key=/etc/etcd/root.key "$@"; }
# First, because saving would wait for one that does not run until its own time limit. (It needs no quorum.)
etcdctl --command-timeout=5s endpoint status >/dev/null
etcdctl --command-timeout=600s snapshot save "$new" >/dev/null
sync "$new"
# What lies on the disk now: etcd appends the sha256 of all that it sent, and etcdutl walks every page.
sent=$(tail -c 32 "$new" | od -An -v -tx1 | tr -d ' \n')
found=$(head -c -32 "$new" | sha256sum | cut -d' ' -f1)
[ "$found" = "$sent" ] || { echo "the snapshot was not written as etcd sent it (sha256 $found, sent $sent): is the disk broken?" >&2; exit 74; }
status=$("$bin/etcdutl" snapshot status "$new" --write-out=json)
sha256=$(sha256sum <"$new" | cut -d' ' -f1)
name=etcd-$(date -u +%Y%m%dT%H%M%SZ)-$node.db
mv "$new" "$folder/$name"
sync "$folder"
# The time comes first in the name, so the order of names is that of time.
find "$folder" -maxdepth 1 -name 'etcd-*.db' | sort -r | tail -n +$((keep + 1)) | while read -r old; do rm -f "$old"; done
printf '%s\t%s\t%s\t%s\n' "$folder/$name" "$(stat -c %s "$folder/$name")" "$sha256" "$status"
