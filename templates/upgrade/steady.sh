# $1 seconds in all, $2 seconds without a restart, then units. Ends well once all are active and stay so. Else it prints
# what the journal says of those that are not; one that was started again three times is not waited for.
limit=$(($(date +%s) + $1)); steady=$2; shift 2
[ $# = 0 ] && exit 0
look() { systemctl show -p Id,ActiveState,NRestarts,InvocationID "$@" | awk -F= '
    function out() {if ("Id" in v) print v["Id"], v["ActiveState"], v["NRestarts"] + 0, v["InvocationID"]; split("", v)}
    /^$/ {out(); next} {v[$1] = $2} END {out()}'; }
first=$(look "$@"); was=
while :; do
    now=$(look "$@")
    bad=$(printf '%s\n' "$now" | awk '$2 != "active" {print $1}')
    if [ -z "$bad" ] && [ "$now" = "$was" ]; then exit 0; fi
    failing=$(printf '%s\n' "$first" "$now" | awk '$1 in n {if ($3 - n[$1] >= 3) print $1; next} {n[$1] = $3}')
    if [ -n "$failing" ]; then break; fi
    if [ "$(date +%s)" -gt "$limit" ]; then failing=${bad:-$*}; break; fi
    was=$now
    sleep "$steady"
done
for u in $failing; do
    echo "$u does not run: $(systemctl show -p ActiveState,SubState,Result,NRestarts,ExecMainStatus "$u" | tr '\n' ' ')" >&2
    journalctl --no-pager -o cat -n 12 -u "$u" >&2
done
exit 1
