# Takes the packet filter rules away that Kubernetes' parts left, and no others.
# "capture" prints which tables were there before; they come back on stdin with "remove".
tables() { for f in iptables ip6tables; do command -v $f-save >/dev/null 2>&1 && $f-save 2>/dev/null | sed -n "s/^\*/$f /p"; done; }
if [ "$1" = capture ]; then tables; exit 0; fi
before=$(cat)
if command -v nft >/dev/null 2>&1; then
    nft list tables 2>/dev/null | awk '$3=="kube-proxy" || $3 ~ /^flannel-ipv[46]$/ {print $2, $3}' | while read -r family name; do nft delete table "$family" "$name"; done
fi
for f in iptables ip6tables; do
    command -v $f-save >/dev/null 2>&1 || continue
    if $f-save 2>/dev/null | grep -qE '(KUBE|FLANNEL|CNI)-'; then
        $f-save | grep -vE '^:(KUBE|FLANNEL|CNI)-|(-A|-j|-g) (KUBE|FLANNEL|CNI)-|flanneld forward' | $f-restore
    fi
    # With nftables underneath, a table springs into being when it is first looked at. What is as empty as then goes.
    $f-save 2>/dev/null | sed -n 's/^\*//p' | while read -r table; do
        printf '%s\n' "$before" | grep -qx "$f $table" && continue
        $f-save -t "$table" | grep -q '^-A' && continue
        case $f in iptables) family=ip ;; *) family=ip6 ;; esac
        if command -v nft >/dev/null 2>&1; then nft delete table $family "$table" 2>/dev/null || true; fi
    done
done
