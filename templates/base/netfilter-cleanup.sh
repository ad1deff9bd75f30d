# Takes the packet filter rules away that Kubernetes' parts left, and no others.
# "capture" prints which chains were there before; they come back on stdin with "remove".
chains() { # "ip nat POSTROUTING" a line each, and "ip nat -" for the table itself
    command -v nft >/dev/null 2>&1 && nft list ruleset 2>/dev/null |
        awk '$1=="table"{table=$2 " " $3; print table, "-"} $1=="chain" && table!=""{print table, $2} /^}/{table=""}'
}
if [ "$1" = capture ]; then chains; exit 0; fi
before=$(cat)
if command -v nft >/dev/null 2>&1; then
    nft list tables 2>/dev/null | awk '$3=="kube-proxy" || $3 ~ /^flannel-ipv[46]$/ {print $2, $3}' | while read -r family name; do nft delete table "$family" "$name"; done
fi
# What only IPVS has: its own tables in the kernel, and a link with the Services' addresses.
if ip link show kube-ipvs0 >/dev/null 2>&1; then /opt/kubeup/bin/kube-proxy --cleanup; fi
for f in iptables ip6tables; do
    command -v $f-save >/dev/null 2>&1 || continue
    if $f-save 2>/dev/null | grep -qE '(KUBE|FLANNEL|CNI)-'; then
        $f-save | grep -vE '^:(KUBE|FLANNEL|CNI)-|(-A|-j|-g) (KUBE|FLANNEL|CNI)-|flanneld forward' | $f-restore
    fi
done
# With nftables underneath, a table or chain springs into being when it is first looked at. What was not there before and
# holds no rule goes. (nft would delete a chain with rules, and a table with all chains, too.)
chains | sort -r | while read -r family table chain; do
    case $table in filter | nat | mangle | raw | security) ;; *) continue ;; esac
    printf '%s\n' "$before" | grep -qxF -e "$family $table $chain" && continue
    if [ "$chain" != - ]; then
        rules=$(nft list chain "$family" "$table" "$chain" | grep -cvE '^(table|[[:space:]]*(chain|type|})|})')
        [ "$rules" = 0 ] && nft delete chain "$family" "$table" "$chain" 2>/dev/null
    else
        nft list table "$family" "$table" | grep -q '[[:space:]]chain ' || nft delete table "$family" "$table"
    fi
done
exit 0
