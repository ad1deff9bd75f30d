# What this host is and what it holds, as tab-separated lines. Reads only; needs a POSIX shell, coreutils and awk.
# Arguments: "deep" or "quick"; "alone" to exit 75 at once when a kubeup holds this host (see lock.sh), else "any"; then
# paths whose contents are wanted.
export LC_ALL=C
depth=$1 alone=$2; shift 2
home=/var/lib/kubeup
tab=$(printf '\t')

if [ "$alone" = alone ] && [ -s /run/kubeup.lock ]; then
    IFS=$tab read -r holder who </run/kubeup.lock
    if grep -qs kubeup-lock "/proc/$holder/cmdline"; then
        printf 'busy\t%s\t%s\n' "$(($(date +%s) - $(stat -c %Y /run/kubeup.lock)))" "$who"
        exit 75
    fi
fi

# An apply that is still under way (its kubeup was killed) must end before its outcome can be read.
if [ -e $home/lock ]; then
    exec 9<$home/lock
    flock -s -w 120 9 || { echo "another kubeup has been at work on this host for 120 s" >&2; exit 75; }
fi

fact() { printf 'fact\t%s\t%s\n' "$1" "$2"; }
(
    . /etc/os-release 2>/dev/null
    fact os "${ID:-unknown}"; fact os_like "${ID_LIKE:-}"; fact os_version "${VERSION_ID:-}"; fact os_name "${PRETTY_NAME:-${ID:-unknown}}"
)
fact arch "$(uname -m)"
fact kernel "$(uname -r)"
fact hostname "$(uname -n)"
fact cpus "$(nproc)"
fact clock "$(date +%s)"
fact nofile "$(ulimit -Hn)"
fact systemd "$(systemctl --version 2>/dev/null | awk 'NR==1{print $2}')"
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then fact cgroup 2; else fact cgroup 1; fi
if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ] && [ -d /sys/kernel/security/apparmor ]; then fact apparmor yes; fi
if [ -w /proc/sys/net/netfilter/nf_conntrack_max ] && sh -c ': 2>/dev/null >>/proc/sys/net/netfilter/nf_conntrack_max' 2>/dev/null; then fact conntrack_writable yes; fi
if sh -c ': >>/proc/sys/vm/overcommit_memory' 2>/dev/null; then fact owns_kernel yes; fi
if [ -c /dev/kmsg ] || [ -L /dev/kmsg ]; then fact kmsg yes; fi
awk '/^CapEff:/{print "fact\tcapabilities\t" $2}' /proc/self/status
awk '/^MemTotal:/{print "fact\tmemory_kib\t" $2}' /proc/meminfo
awk 'NR>1{n++} END{print "fact\tswaps\t" n+0}' /proc/swaps
if [ -e /sys/fs/selinux/enforce ]; then fact selinux yes; fi
if [ -d /run/NetworkManager ]; then fact network_manager yes; fi
if command -v firewall-cmd >/dev/null 2>&1 && systemctl is-active --quiet firewalld; then fact firewall firewalld
elif grep -qsi '^ENABLED=yes' /etc/ufw/ufw.conf; then fact firewall ufw; fi
# (Not what kubeup started itself.)
[ -e /etc/systemd/system/kubeup-time.service ] || for u in chronyd chrony systemd-timesyncd ntpd ntp ntpsec openntpd; do
    # Units that run have a cgroup, whose name costs less to look up than systemctl takes to start.
    for c in /sys/fs/cgroup/system.slice/$u.service /sys/fs/cgroup/systemd/system.slice/$u.service; do [ -d "$c" ] && fact time_service "$u" && break 2; done
done
fact machine_id "$(cat /etc/machine-id 2>/dev/null)"
for l in /sys/class/net/*; do
    # Not what is made by software, again and again.
    case ${l##*/} in lo | veth* | flannel.* | cni0 | docker* | cali* | kube-* | nodelocaldns | *.[0-9]*) continue ;; esac
    [ -r "$l/address" ] && printf 'mac\t%s\t%s\n' "${l##*/}" "$(cat "$l/address")"
done
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then fact controllers "$(cat /sys/fs/cgroup/cgroup.controllers)"
else fact controllers "$(awk '$4==1{print $1}' /proc/cgroups | tr '\n' ' ')"; fi
if [ -r "/lib/modules/$(uname -r)/modules.dep" ] && command -v modprobe >/dev/null 2>&1; then
    # modprobe knows those that are built in, too.
    fact modules_missing "$(for m in overlay br_netfilter vxlan nf_conntrack; do [ -d /sys/module/$m ] || modprobe -nq $m || printf '%s ' $m; done)"
fi
fact init "$(cat /proc/1/comm 2>/dev/null)"
for c in tar gzip flock sha256sum base64 apt-get dnf yum iptables nft ip ip6tables modprobe mount; do
    if command -v $c >/dev/null 2>&1; then printf 'command\t%s\n' $c; fi
done
for f in /etc/resolv.conf /run/systemd/resolve/resolv.conf; do
    [ -r $f ] && awk -v f=$f '$1=="nameserver"{print "nameserver\t" f "\t" $2}' $f
done
if command -v ip >/dev/null 2>&1; then
    ip -o -4 addr show 2>/dev/null | awk '{print "address\t" $2 "\t" $4}'
    ip -o -4 route show 2>/dev/null | awk '{d="";for(i=1;i<NF;i++)if($i=="dev")d=$(i+1); print "route\t" $1 "\t" d}
        $1~/^[0-9]/{print (/ via / ? "beyond" : "neighbours") "\t" $1}'
    ip -o link show 2>/dev/null | awk -F'[ :@]+' '{for(i=3;i<NF;i++)if($i=="mtu")print "mtu\t" $2 "\t" $(i+1)}'
fi
# Features that a kernel has built in, has loaded, or could load.
for m in ip_vs dummy nfs; do
    if [ -e /sys/module/$m ] || [ -e /proc/net/$m ] || grep -qw $m /proc/filesystems || modprobe -n -q $m 2>/dev/null; then printf 'offers\t%s\n' $m; fi
done
[ -r $home/path-mtu ] && fact path_mtu "$(cat $home/path-mtu)"
cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4=="0A"{n=split($2,a,":"); print "listen\t" a[n]}' | sort -u
df -Pk /opt /var/lib /etc 2>/dev/null | awk 'NR>1{print "disk\t" $6 "\t" $4}' | sort -u
for p in /etc/kubernetes/manifests /etc/kubernetes/admin.conf /etc/kubernetes/kubelet.conf /var/lib/kubelet/config.yaml \
    /var/lib/etcd/member /var/lib/etcd/member/wal /etc/rancher /var/lib/rancher /var/lib/k0s /var/snap/microk8s \
    /run/containerd/containerd.sock /etc/haproxy/haproxy.cfg /etc/keepalived/keepalived.conf; do
    [ -e $p ] && printf 'present\t%s\n' $p
done

# What was placed here before, and what has become of it.
if [ -e $home/record ]; then
    printf 'mark\t%s\n' "$(cksum <$home/record)"
    now=$(awk -F'\t' '{k=$1 FS $2; if (!(k in s)) o[++n]=k; s[k]=$0} END{for(i=1;i<=n;i++){split(s[o[i]],f,FS); if (f[3]!="gone") print s[o[i]]}}' $home/record)
    printf '%s\n' "$now" | awk 'NF{print "record\t" $0}'
    paths() { printf '%s\n' "$now" | awk -F'\t' -v kinds=" $1 " 'index(kinds, " " $1 " "){print ($1=="unit" ? "/etc/systemd/system/" : $1=="cleanup" ? "/var/lib/kubeup/cleanup/" : "") $2}'; }
    hashed="file unit cleanup"; [ "$depth" = deep ] && hashed="$hashed blob"
    paths "$hashed" | tr '\n' '\0' | xargs -0 -r sha256sum 2>/dev/null | awk '{h=$1; sub(/^[^ ]+ [ *]/,""); print "hash\t" $0 "\t" h}'
    paths "file unit cleanup blob dir" | tr '\n' '\0' | xargs -0 -r stat -c "stat${tab}%n${tab}%a${tab}%u:%g${tab}%s${tab}%Y${tab}%F" 2>/dev/null
    paths link | while read -r p; do printf 'link\t%s\t%s\n' "$p" "$(readlink "$p" 2>/dev/null)"; done
    paths sysctl | while read -r p; do printf 'sysctl\t%s\t%s\n' "$p" "$(cat "/proc/sys/$(printf %s "$p" | tr . /)" 2>/dev/null | tr '\t' ' ')"; done
    printf '%s\n' "$now" | awk -F'\t' '$1=="module"{print $2 "\t" $4}' | while read -r m e; do [ -e "$e" ] && printf 'module\t%s\n' "$m"; done
    printf '%s\n' "$now" | awk -F'\t' '$1=="package"{print $2 "\t" $4}' | while read -r p c; do command -v "$c" >/dev/null 2>&1 && printf 'package\t%s\n' "$p"; done
    units=$(printf '%s\n' "$now" | awk -F'\t' '$1=="unit"{print $2}')
    # shellcheck disable=SC2086  # one word a unit
    [ -n "$units" ] && systemctl show -p Id,ActiveState,SubState,UnitFileState,NeedDaemonReload $units |
        awk -F= 'function out(){if(v["Id"]!="")print "unit\t" v["Id"] "\t" v["ActiveState"] "\t" v["SubState"] "\t" v["UnitFileState"] "\t" v["NeedDaemonReload"]; split("",v)} /^$/{out();next} {k=$1; sub(/^[^=]*=/,""); v[k]=$0} END{out()}'
fi
for p in "$@"; do
    [ -r "$p" ] && printf 'text\t%s\t%s\n' "$p" "$(base64 <"$p" | tr -d '\n')"
done
echo "end"
