"""What is on a host: everything that `kubeup destroy` promises to leave as it was, in lines that can be compared.

Each thing that is left out stands here with its reason.
"""

from collections.abc import Mapping

from kubeup.lab import Lab

Snapshot = Mapping[str, frozenset[str]]
"""Lines by section."""

UNITS_LEFT_OUT = (
    # logins
    r"session-", r"user@", r"user-", r"user\.slice", r"run-user-",
    # timers' services, which run when it is their time
    r"systemd-tmpfiles-", r"apt-daily", r"dpkg-db-backup", r"e2scrub", r"fstrim", r"man-db", r"logrotate",
    # what starts when it is first asked, and what waits for it
    r"systemd-hostnamed", r"systemd-ask-password", r"systemd-journal-flush",
    # devices of the machine
    r"[^ ]*\.device ",
)  # fmt: skip

PROCESSES_LEFT_OUT = (
    # logins
    r"sshd: ", r"systemd --user", r"\(sd-pam\)", r"^/usr/bin/sudo", r"agetty",
    # this script's own
    r"^/usr/bin/(dash|bash|find|awk|mawk|grep|sort|readlink|tr|cut|sleep|timeout)",
    # what starts when it is first asked
    r"systemd-hostnamed",
)  # fmt: skip

SYSCTLS_LEFT_OUT = (
    # counters and random values
    "random", "file-nr", "inode-nr", "inode-state", "dentry-state", "conntrack_count", "ns_last_pid", r"pty\.nr",
    "stable_secret", "aio-nr", "netdev_rss_key", "warn_count", "oops_count", "lost_events", "cad_pid",
    # what the kernel sizes by itself, by load or by the links that there are
    "tcp_mem", "udp_mem", "quota", "epoll", r"neigh\.", "sched_domain", "nr_hugepages",
    # what is the machine's and not a lab host's
    "nf_conntrack_max", "nf_conntrack_buckets", "nf_log", "perf_event", "bpf_stats", "overflow", "hostname",
)  # fmt: skip

_SCRIPT = r"""
export LC_ALL=C
section() { printf '== %s\n' "$1"; }

section files
# Left out:
#   /proc /sys        the kernel's, looked at below (sysctls, cgroups)
#   /dev              devpts: a terminal of any login
#   /tmp              this test's own; kubeup puts nothing there (test_secrets looks)
#   /run              state of running services, looked at below, with systemd's own left out
#   /var/log/journal /var/log/lastlog /var/log/wtmp /var/log/btmp   that somebody logged in and units ran is history
#   /var/cache /var/lib/apt/lists /var/lib/systemd   apt's and systemd's own memory (random seed, timers' stamps)
#   /var/tmp/systemd-private-*   systemd's, of a name that changes with every boot
#   /etc/passwd- and so on, /var/lib/apt/extended_states, /var/log/apt, /var/log/dpkg.log, /var/lib/dpkg/*-old, *Lock
#                     what package managers keep to tell what was; and the times of their lists (see packages, users)
#   the times of folders (something was in them once) and of the files that Docker writes anew at a lab host's boot
find / \( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /run -o -path /var/log/journal \
    -o -path /var/log/lastlog -o -path /var/log/wtmp -o -path /var/log/btmp -o -path /var/cache \
    -o -path /var/lib/apt/lists -o -path /var/lib/systemd -o -path '/var/tmp/systemd-private-*' \
    -o -path /var/log/apt -o -path /var/log/dpkg.log -o -path /var/lib/apt/extended_states \
    -o -path '/var/lib/dpkg/*-old' -o -path '/var/lib/dpkg/triggers/*' -o -path '/var/lib/ucf/*' \
    -o -path '/etc/*passwd-' -o -path '/etc/*group-' -o -path '/etc/*shadow-' \) -prune -o \
    \( -type d -printf '%p d %m %u:%g\n' \) -o \( -type l -printf '%p l %u:%g -> %l\n' \) -o \
    \( -path /etc/hostname -o -path /etc/hosts -o -path /etc/resolv.conf -o -path /etc/ld.so.cache \
    -o -path /etc/passwd -o -path /etc/group -o -path /etc/shadow -o -path /etc/gshadow \
    -o -path '/var/lib/dpkg/*' \) -printf '%p %y %m %u:%g\n' -o \
    -printf '%p %y %m %u:%g %s %T@\n'

section contents
# Left out: as above.
find /etc /root /home /usr/local /opt /srv /var/lib -xdev \( -path /var/lib/systemd -o -path /var/lib/apt \
    -o -path '/var/lib/dpkg/*-old' -o -path /var/lib/dpkg/status -o -path '/var/lib/dpkg/triggers/*' \
    -o -path '/var/lib/ucf/*' -o -path '/etc/*passwd-' -o -path '/etc/*group-' -o -path '/etc/*shadow-' \) \
    -prune -o -type f -print0 |
    xargs -0 sha256sum

section run
# Left out: /run/systemd, /run/user, /run/udev, /run/log   systemd's state of units, sessions, devices, journal
#           /run/motd.dynamic, /run/sudo/ts                what a login and sudo leave
#           /run/test-*                                    these tests' own
#           /run/adduser                                   adduser's lock, of which packages make use
find /run \( -path /run/systemd -o -path /run/user -o -path /run/udev -o -path /run/log -o -path '/run/test-*' \
    -o -path '/run/sudo/ts/*' -o -path /run/adduser -o -path /run/motd.dynamic \) -prune -o \
    -printf '%p %y %m %u:%g %l\n'

section packages
dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\n'

section unit-files
systemctl list-unit-files --no-legend --plain | awk '{print $1, $2, $3}'

section units
# Left out: see UNITS_LEFT_OUT.
systemctl list-units --plain --no-legend --all | awk '{print $1, $2, $3, $4}' |
    grep -vE '^(@UNITS@)'

section processes
# Left out: see PROCESSES_LEFT_OUT.
for p in /proc/[0-9]*; do
    exe=$(readlink "$p/exe" 2>/dev/null) || continue
    printf '%s %s\n' "$exe" "$(tr '\0' ' ' <"$p/cmdline" 2>/dev/null | cut -c1-100)"
done | grep -vE '@PROCESSES@' | sort

section mounts
# Left out: /run/user of logins.
awk '{print $1, $2, $3}' /proc/mounts | grep -v ' /run/user/'

section network
# Left out: eth0's peer number on the machine, which Docker chooses.
ip -o link show | awk -F': ' '{print "link", $2}' | sed 's/@.*//'
ip -o -4 addr show | awk '{print "address", $2, $4}'
ip -o -6 addr show scope global | awk '{print "address", $2, $4}'
ip route show table all | sed 's/^/route /' | grep -v ' fe80::'
ip -6 rule show; ip rule show
ip neigh show nud permanent
bridge fdb show 2>/dev/null | grep -v ' dev eth0 '
ip netns list

section iptables
# Without the counters of packets, and without Docker's rules for its own name server, with new ports at every boot.
for f in iptables iptables-legacy ip6tables ip6tables-legacy; do
    command -v $f-save >/dev/null 2>&1 || continue
    $f-save 2>/dev/null | grep -vE '^#|127\.0\.0\.11' | sed -E "s/\[[0-9]+:[0-9]+\]//; s/^/$f /"
done

section nftables
# Without counters; a rule with its table and chain, so that the order of tables does not count.
nft list ruleset 2>/dev/null | sed -E 's/counter packets [0-9]+ bytes [0-9]+/counter/' |
    awk '/^table/ {t=$2 " " $3; print t; next}
        /^[[:space:]]*(chain|set|map) / {c=$2; print t, c; next}
        /^[[:space:]]*}?$/ {next}
        {$1=$1; print t, c, $0}' | grep -v '127\.0\.0\.11'
for t in $(ipset list -n 2>/dev/null); do echo "ipset $t"; done

section users
cat /etc/passwd /etc/group /etc/shadow

section sysctls
# Left out: see SYSCTLS_LEFT_OUT.
sysctl -a 2>/dev/null | grep -E '^(net|fs|vm|kernel)\.' |
    grep -vE '@SYSCTLS@'

# (Kernel modules are not looked at: in a lab they are the machine's, which other labs use too.)

section cgroups
# Left out: those of units that come and go by themselves (see above).
find /sys/fs/cgroup -type d | sed 's,^/sys/fs/cgroup,,' |
    grep -E 'kube|k8s|containerd|etcd|flannel|besteffort|burstable|pod'
exit 0
"""


for _name, _patterns in (
    ("@UNITS@", UNITS_LEFT_OUT),
    ("@PROCESSES@", PROCESSES_LEFT_OUT),
    ("@SYSCTLS@", SYSCTLS_LEFT_OUT),
):
    _SCRIPT = _SCRIPT.replace(_name, "|".join(_patterns))


def take(lab: Lab, node: str) -> Snapshot:
    """What is on a host now."""
    sections: dict[str, set[str]] = {}
    current: set[str] = set()
    for line in lab.exec(node, "sh", "-c", _SCRIPT).splitlines():
        if line.startswith("== "):
            current = sections.setdefault(line[3:], set())
        elif line.strip():
            current.add(line)
    missing = {"files", "units", "iptables", "nftables", "network", "cgroups"} - sections.keys()
    assert not missing, f"the snapshot of {node} has no {missing}"
    assert len(sections["files"]) > 5000, "the snapshot does not see the host's files"
    return {name: frozenset(lines) for name, lines in sections.items()}


def changes(before: Snapshot, after: Snapshot) -> list[str]:
    """What was added (+) to a host and what was taken away (-) between two snapshots."""
    found = []
    for section in before:
        found += [f"{section}: - {line}" for line in sorted(before[section] - after[section])]
        found += [f"{section}: + {line}" for line in sorted(after[section] - before[section])]
    return found


def take_all(lab: Lab) -> dict[str, Snapshot]:
    """What is on each host now, by name."""
    from concurrent.futures import ThreadPoolExecutor

    names = [node.name for node in lab.nodes]
    with ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(lambda name: take(lab, name), names), strict=True))


def assert_as_before(lab: Lab, before: Mapping[str, Snapshot]) -> None:
    """Every host is as it was. Fails with what differs, by host."""
    differences = {name: changes(before[name], now) for name, now in take_all(lab).items()}
    differences = {name: found for name, found in differences.items() if found}
    told = "\n".join(f"{name}:\n  " + "\n  ".join(found[:60]) for name, found in differences.items())
    assert not differences, f"destroy left hosts different from what they were:\n{told}"
