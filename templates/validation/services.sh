# $1: seconds that a service may take to start. Prints "unit NAME" for each of kubeup's on this host that does not run,
# and then "full PATH" for each file system of theirs with less than 64 MiB left. One that is started again and again is
# never seen to fail: it is "activating", or has just become active once more.
limit=$(($(date +%s) + $1))
# What addons need to be applied is looked at by itself.
units=$(awk -F'\t' '$1=="unit" && $2 != "kubeup-addons.service" {print $2}' /var/lib/kubeup/record | sort -u)
[ -n "$units" ] || exit 0
# shellcheck disable=SC2086  # units have no blanks in their names
look() { systemctl show -p Id,ActiveState,NRestarts,ActiveEnterTimestampMonotonic $units |
    awk -F= -v now="$(awk '{printf "%.0f", $1 * 1000000}' /proc/uptime)" '
    function out() {
        young = v["NRestarts"] > 2 && now - v["ActiveEnterTimestampMonotonic"] < 5000000
        if ("Id" in v && (v["ActiveState"] != "active" || young)) print v["Id"], v["ActiveState"]
        split("", v)
    }
    /^$/ {out(); next} {v[$1] = $2} END {out()}'; }
while bad=$(look); [ -n "$bad" ]; do
    stopped=$(printf '%s\n' "$bad" | awk '$2 !~ /^(active|activating|reloading|deactivating)$/')
    if [ -n "$stopped" ] || [ "$(date +%s)" -ge "$limit" ]; then break; fi
    sleep 0.5
done
[ -n "$bad" ] || exit 0
printf '%s\n' "${stopped:-$bad}" | awk '{print "unit", $1}'
df -Pk / /var/log /var/lib/etcd /var/lib/kubelet /var/lib/containerd 2>/dev/null |
    awk 'NR > 1 && $4 < 65536 {print "full", $6}' | sort -u
