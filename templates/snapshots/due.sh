#!/bin/sh
# Takes a snapshot of etcd when the newest that lies here is too old, whoever took that, and brings this host's newest to
# the others, unless that was done. A timer calls it more often than that, on every host of a member: so the others take
# over from one that is down, and what failed is tried again soon.
# $1: seconds that a snapshot may be old, $2: how many to keep, $3: this host's name; then host:port of the others.
set -eu
umask 077
export LC_ALL=C
every=$1 keep=$2 node=$3
shift 3
folder=${KUBEUP_SNAPSHOTS:-/var/lib/kubeup/snapshots}
lib=${KUBEUP_LIB:-/opt/kubeup/lib}
bin=${KUBEUP_BIN:-/opt/kubeup/bin}
newest() { find "$folder" -maxdepth 1 -name "etcd-*$1.db" 2>/dev/null | sort | tail -n 1; }
oldest_allowed=$folder/etcd-$(date -u -d "@$(($(date +%s) - every))" +%Y%m%dT%H%M%SZ)
last=$(newest "")
# The time comes first in the names. (POSIX has no < for text but in expr and awk.)
if [ -z "$last" ] || awk -v a="$last" -v b="$oldest_allowed" 'BEGIN {exit !((a "") < (b ""))}'; then
    "$lib/etcd-snapshot" "$keep" "$node"
fi
own=$(newest "Z-$node")
if [ -n "$own" ] && [ $# -gt 0 ] && [ "$(cat "$folder/copied" 2>/dev/null)" != "$own" ]; then
    "$bin/kubeup-snapshots" send --cacert /etc/etcd/ca.crt --cert /etc/etcd/root.crt --key /etc/etcd/root.key "$own" "$@"
    echo "$own" >"$folder/copied"
fi
