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
# What is wanted: manifests, and folders of charts. The folder has others for a while, as what goes is removed last of all.
manifests=$(sed -n "s|.*\.yaml$|$folder/&|p" "$folder/list")
charts=$(sed "/\.yaml$/d; s|^|$folder/|" "$folder/list")
# shellcheck disable=SC2086  # one word each, here and below: no name has a space
digest=$(find "$folder/list" "$folder/objects" $manifests $charts -type f -exec sha256sum {} + | sort | sha256sum)
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
both() { # what the cluster has, and what it shall have
    awk '!seen[$0]++' old new >both
    note both >note.yaml
}
both

# Renders a chart into NAME.yaml, its objects marked as the addon's, and adds them to the list of what shall be there.
render() { # $1: its folder
    name=${1##*/}
    namespace=$(cat "$1/namespace")
    set --
    while IFS= read -r argument; do set -- "$@" "$argument"; done <"$folder/$name/arguments"
    for api in $(kubectl api-versions); do set -- "$@" "--api-versions=$api"; done
    HELM_CACHE_HOME=$here/helm HELM_CONFIG_HOME=$here/helm HELM_DATA_HOME=$here/helm /opt/kubeup/bin/helm template "$@" \
        --values "$folder/$name/values.yaml" --include-crds --skip-tests \
        --kube-version="$(kubectl version -o json | sed -n '/serverVersion/,$ s/.*"gitVersion": "\([^"]*\)".*/\1/p')" \
        >"$name.rendered" || return 1
    if grep -Eq '^ *"?helm\.sh/hook"?:' "$name.rendered"; then
        echo "the chart has hooks, and kubeup runs none: what they do is to be done by hand, and then" \
            "hooks: ignore applies the rest" >&2
        return 1
    fi
    # Made where it is not there, and nobody's then: others may put something into it, so it stays.
    kubectl get namespace "$namespace" --ignore-not-found -o name | grep -q . || kubectl create namespace "$namespace" || return 1
    for output in yaml 'go-template={{.apiVersion}} {{.kind}} {{or .metadata.namespace "-"}} {{.metadata.name}}{{"\n"}}'; do
        kubectl label --local -f "$name.rendered" "kubeup.dev/addon=$name" -o "$output" >"$name.${output%%=*}" || return 1
    done
    awk -v addon="$name" -v namespace="$namespace" '{
        group = $1; if (!sub("/.*", "", group)) group = ""
        print addon, $2 (group == "" ? "" : "." group), ($3 == "-" ? namespace : $3), $4
    }' "$name.go-template" >"$name.objects"
    cat "$folder/objects" ./*.objects >new
    both
}
bring() { # $1: a manifest, or a chart's folder
    case $1 in
    *.yaml) apply -f note.yaml -f "$1" ;;
    *) render "$1" && apply -f note.yaml && apply --namespace "$(cat "$1/namespace")" -f "${1##*/}.yaml" ;;
    esac
}

# All manifests at once cost one process; one by one says which it is.
waiting=
# shellcheck disable=SC2046,SC2086
apply -f note.yaml $(printf -- '-f %s ' $manifests) || waiting=$manifests
[ -z "$charts" ] || waiting="$waiting $charts"
deadline=$(($(date +%s) + patience))
while [ -n "$waiting" ]; do
    failed=
    for one in $waiting; do
        name=${one##*/}
        name=${name%.yaml}
        if bring "$one" >said 2>"$name.error"; then
            rm "$name.error"
        else
            failed="$failed $one"
        fi
    done
    waiting=$failed
    if [ -z "$waiting" ] || [ "$(date +%s)" -ge "$deadline" ]; then break; fi
    sleep 2
done

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
    file=${file#./}
    sed "s|^|${file%.error}: |" "$file" >&2
done
[ -z "$failed" ] || exit 1
if ! cmp -s both new; then
    note new >note.yaml
    apply -f note.yaml || exit 1
fi
printf '%s\n' "$digest" >"$applied"
