#!/bin/sh
# Brings the objects of the addons into the cluster, and takes out of it what an earlier run brought and no addon has any
# more. Every master runs it, side by side; killed at any moment, the next run goes on.
#
# What the cluster has of addons is noted in the ConfigMap kubeup-addons of kube-system, a line for each object: ADDON KIND
# NAMESPACE NAME. The note has a line before its object is made, and until it is deleted. So only what stands there is
# ever deleted, and only while it has the addons' label: what somebody else made, or has taken over by removing the
# label, stays.
set -u
export KUBECACHEDIR=/var/lib/kubeup/kubectl
folder=/etc/kubernetes/addons
applied=/var/lib/kubeup/addons # the digest of what this master has applied last
here=/run/kubeup-addons # its unit's, gone after a boot
# How long an addon that cannot be applied is tried again: its CRDs or webhooks may still be on their way.
patience=180

kubectl() { /opt/kubeup/bin/kubectl --kubeconfig /etc/kubernetes/admin.conf "$@"; }
apply() { kubectl apply --server-side --force-conflicts --field-manager=kubeup "$@"; }
note() { # the lines of a file, as a manifest
    printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kubeup-addons, namespace: kube-system}\ndata:\n  objects: |\n'
    sed 's/^/    /' "$1"
}

cd "$here" || exit 1
digest=$(cat "$folder"/* | sha256sum)
# After a boot nothing is applied that this master has applied before: it may have been off while the inventory changed.
# Whoever restarts the unit then means it.
[ -e booted ] || [ "$(cat "$applied" 2>/dev/null)" != "$digest" ] || exec touch booted
rm -f ./*
touch booted

# The API may still be starting, here or on another master.
until kubectl -n kube-system get configmap kubeup-addons --ignore-not-found -o 'jsonpath={.data.objects}' >old; do
    sleep 1
done
cp "$folder/objects" new
awk '!seen[$0]++' old new >both
note both >note.yaml

if ! apply -f note.yaml -f "$folder"; then # all at once costs one process; one by one says which it is
    deadline=$(($(date +%s) + patience))
    waiting=$(ls "$folder"/*.yaml)
    while :; do
        failed=
        for file in $waiting; do
            name=${file##*/}
            name=${name%.yaml}
            if apply -f note.yaml -f "$file" >/dev/null 2>"$name.error"; then rm "$name.error"; else failed="$failed $file"; fi
        done
        waiting=$failed
        if [ -z "$waiting" ] || [ "$(date +%s)" -ge "$deadline" ]; then break; fi
        sleep 2
    done
fi

# What has gone: custom resources first, while what looks after them still runs, and last what holds others.
awk '
    FILENAME == "new" { has[$2 " " $3 " " $4] = 1; next }
    ($2 " " $3 " " $4) in has { next }
    $2 == "Namespace" { print 4, $0; next }
    $2 ~ /^CustomResourceDefinition/ { print 3, $0; next }
    $2 ~ /\./ && $2 !~ /^[^.]*\.(apps|batch|autoscaling|policy|extensions)$/ && $2 !~ /\.k8s\.io$/ { print 1, $0; next }
    { print 2, $0 }
' new old | sort -s -k1,1n >gone
while read -r _ addon kind namespace name <&3; do
    [ ! -e "$addon.error" ] || continue # its successor may not be there yet
    if ! owner=$(kubectl -n "$namespace" get "$kind" "$name" --ignore-not-found \
        -o 'jsonpath={.metadata.labels.kubeup\.dev/addon}' 2>said); then
        # Without its kind it is gone, too.
        grep -Eq "doesn't have a resource type|no matches for kind" said || cp said "$addon.error"
        continue
    fi
    [ -z "$owner" ] || kubectl -n "$namespace" delete "$kind" "$name" --ignore-not-found --timeout=60s 2>said ||
        cp said "$addon.error"
done 3<gone

failed=
for file in ./*.error; do
    [ -e "$file" ] || continue
    failed=yes
    sed "s|^|${file#./}: |" "$file" >&2
done
[ -z "$failed" ] || exit 1
if ! cmp -s both new; then
    note new >note.yaml
    apply -f note.yaml || exit 1
fi
printf '%s\n' "$digest" >"$applied"
