# Prints what a host's network and its node's services really are, in sections; see reading.py. Changes nothing.
# Arguments: the addresses of the pods that are looked into.
section() { printf '\n=== %s\n' "$1"; }
section clock
date +%s.%N
section units
for unit in containerd kubelet flanneld kube-proxy; do
  systemctl show -p Id,LoadState,ActiveState,SubState,ExecMainStatus "$unit.service" | tr '\n' ' '; echo
done
# A runtime that the user runs is known by its socket alone.
socket=$(sed -n 's,^runtime-endpoint: unix://,,p' /etc/crictl.yaml 2>/dev/null)
[ "$socket" != /run/containerd/containerd.sock ] || socket=
if [ -n "$socket" ]; then
  section runtime
  said=$(/opt/kubeup/bin/crictl --timeout 3s version 2>&1) || printf '%s\n' "$said" | tail -n 1
fi
section sysctl
for name in net/ipv4/ip_forward net/bridge/bridge-nf-call-iptables net/netfilter/nf_conntrack_count \
  net/netfilter/nf_conntrack_max; do
  echo "$(echo "$name" | tr / .) = $(cat "/proc/sys/$name" 2>/dev/null)"
done
section iptables
saved=$(iptables-save 2>/dev/null)
printf '%s\n' "$saved"
section nft
# What iptables made of nft's tables it has shown, and in words that nft's JSON has not; others may be called the same.
ours='^$'
case $(iptables --version 2>/dev/null) in
*nf_tables*) ours="^table ip ($(printf '%s\n' "$saved" | sed -n 's/^\*//p' | tr '\n' '|'))$" ;;
esac
nft list tables 2>/dev/null | grep -E '^table (ip|inet|netdev) ' | grep -Ev "$ours" |
  while read -r _ family name; do nft -j list table "$family" "$name" 2>/dev/null; done
section rules
ip -4 -j rule
section routes
ip -4 -j route show table all
section links
ip -j -d link
section addresses
ip -4 -j addr
section fdb
ip link show flannel.1 >/dev/null 2>&1 && bridge -j fdb show dev flannel.1
section neighbours
ip -4 -j neigh
section subnet
cat /run/flannel/subnet.env 2>/dev/null
section certificate
# The certificate alone: the kubelet keeps its key in the same file.
conf=/etc/kubernetes/kubelet.conf
certificate=$(sed -n 's/^ *client-certificate: *//p' $conf 2>/dev/null)
own=/var/lib/kubelet/pki/kubelet-client-current.pem
[ "$own" -nt "$certificate" ] && certificate=$own
echo "$certificate"
sed -n '/BEGIN CERTIFICATE/,/END CERTIFICATE/p' "$certificate" 2>/dev/null
section api
key=$(sed -n 's/^ *client-key: *//p' $conf 2>/dev/null)
[ "$certificate" = "$own" ] && key=$own
[ -e $conf ] && /opt/kubeup/bin/kubeup-probe get --timeout 2s --cacert /etc/kubernetes/pki/ca.crt --cert "$certificate" \
  --key "$key" "$(sed -n 's/^ *server: *//p' $conf)/readyz" 2>&1
for address in "$@"; do
  # host-local keeps the sandbox that has an address; containerd the first process of it, which others have to be asked for.
  sandbox=$(head -n 1 "/var/lib/cni/networks/kubeup/$address" 2>/dev/null | tr -d '\r')
  [ -n "$sandbox" ] || continue
  pid=$(cat "/run/containerd/io.containerd.runtime.v2.task/k8s.io/$sandbox/init.pid" 2>/dev/null)
  [ -z "$socket" ] || pid=$(/opt/kubeup/bin/crictl --timeout 3s inspectp --output go-template --template '{{.info.pid}}' "$sandbox" 2>/dev/null)
  [ -r "/proc/$pid/net/tcp" ] || continue
  section "pod $address process"
  echo "$pid"
  section "pod $address addresses"
  nsenter -t "$pid" -n ip -4 -j addr
  section "pod $address listening"
  awk 'FNR > 1 && (FILENAME ~ /udp/ || $4 == "0A") { print (FILENAME ~ /udp/ ? "udp" : "tcp"), $2 }' \
    "/proc/$pid/net/tcp" "/proc/$pid/net/tcp6" "/proc/$pid/net/udp" "/proc/$pid/net/udp6" 2>/dev/null
  section "pod $address resolv.conf"
  # (Runtimes mount it into the sandbox.)
  cat "/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/$sandbox/resolv.conf" 2>/dev/null ||
    cat "/proc/$pid/root/etc/resolv.conf" 2>/dev/null
done
section end
exit 0
