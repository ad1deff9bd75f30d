# Applies a difference to this host. On stdin: base64 of a gzip'd tar that holds `actions`, one a line with
# tab-separated columns ("-" where there is nothing: read would swallow an empty one), and the contents they name.
# $1 is the sha256 of the tar.
#
# The record, /var/lib/kubeup/record, is a journal: kind, key, want, have, before. The last line of a key counts, want
# "gone" ends it. Whatever is about to be placed is written down first as "pending", so a run killed at any moment
# leaves a record from which the next one goes on, and from which everything can be removed.
set -eu
umask 077
export LC_ALL=C
home=/var/lib/kubeup
tab=$(printf '\t')
[ -d $home ] || mkdir -p $home
exec 9>>$home/lock
flock -w 120 9 || { echo "another kubeup has been at work on this host for 120 s" >&2; exit 75; }
rm -rf $home/staging.*
stage=$home/staging.$$
trap 'rm -rf "$stage"' EXIT
mkdir "$stage"
cd "$stage"
timeout 120 base64 -d >payload || { echo "what was sent did not arrive; nothing was changed" >&2; exit 74; }
echo "$1  payload" | sha256sum -c --quiet - >&2 || { echo "what was sent did not arrive whole; nothing was changed" >&2; exit 74; }
tar -xzf payload
rm payload

doing=preparing
# shellcheck disable=SC2154  # rc is set in the trap itself
trap 'rc=$?; rm -rf "$stage"; if [ $rc != 0 ]; then echo "failed while $doing" >&2; fi' EXIT

note() { printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "$5" >>$home/record; }

# What the record says was there before.
noted() { awk -F'\t' -v kind="$1" -v key="$2" '$1==kind && $2==key {b=$5} END{print b}' $home/record 2>/dev/null || true; }

# Directories that have to be made on the way are noted, to be removed once they are empty.
parents() {
    dir=$(dirname "$1")
    [ -d "$dir" ] && return
    parents_of=$dir missing=
    while [ ! -d "$parents_of" ]; do missing="$parents_of $missing"; parents_of=$(dirname "$parents_of"); done
    for dir in $missing; do note parent "$dir" - - -; mkdir -m 0755 "$dir"; done
}

# What stood at a path before is kept, and put back when ours goes.
keep() {
    if [ "$3" != "?" ]; then before=$3; return; fi
    before=absent
    if [ -e "$2" ] || [ -L "$2" ]; then
        mkdir -p "$home/before$(dirname "$2")"
        cp -a "$2" "$home/before$2"
        before=saved
    fi
}

# SELinux: a program is what systemd may start as one; all else has what the policy says for its place.
label() {
    [ -e /sys/fs/selinux/enforce ] || return 0
    case $2 in *[1357]*) chcon -t bin_t "$1" 2>/dev/null || true ;; *) restorecon "$1" 2>/dev/null || true ;; esac
}

put() { # kind key path want sha256 mode content before extra
    doing="writing $3"
    keep "$1" "$3" "$8"
    note "$1" "$2" pending - "$before"
    parents "$3"
    cp "$stage/$7" "$3.kubeup-new"
    chmod "$6" "$3.kubeup-new"
    mv -f "$3.kubeup-new" "$3"
    label "$3" "$6"
    note "$1" "$2" "$4" "$5 $9" "$before"
}

restore() {
    if [ "$2" = superseded ]; then return; fi # something of another kind has taken its place
    if [ "$2" = saved ] && [ -e "$home/before$1" ]; then cp -a "$home/before$1" "$1.kubeup-new" && mv -fT "$1.kubeup-new" "$1"; else rm -f "$1"; fi
}

packages() {
    if command -v dpkg-query >/dev/null 2>&1; then dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' | sed -n 's/^ii *//p' | sort -u; else rpm -qa --qf '%{NAME}\n' | sort -u; fi
}

install_packages() {
    # The proxy of the inventory, where there is one (the role sources).
    # shellcheck disable=SC1091
    if [ -r /etc/kubernetes/proxy.env ]; then set -a; . /etc/kubernetes/proxy.env; set +a; fi
    # Packages of a bundle, which were sent before: they are all there is, where nothing else can be reached.
    if [ -d $home/packages ] && command -v apt-get >/dev/null 2>&1; then
        printf 'deb [trusted=yes] file:%s ./\n' $home/packages >sources
        mkdir -p lists/partial # of its own, so that nothing of this stays
        only="-o Dir::State::lists=$stage/lists -o Dir::Etc::sourcelist=$stage/sources -o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root -o DPkg::Lock::Timeout=300"
        export DEBIAN_FRONTEND=noninteractive
        # shellcheck disable=SC2086  # none of them holds a blank
        apt-get $only update >&2 && apt-get $only install -y --no-install-recommends "$@" >&2
    elif [ -d $home/packages ] && command -v dnf >/dev/null 2>&1; then
        timeout 600 dnf -y --disablerepo='*' --nogpgcheck install $home/packages/*.rpm >&2
    elif [ -d $home/packages ] && command -v yum >/dev/null 2>&1; then
        timeout 600 yum -y --disablerepo='*' --nogpgcheck install $home/packages/*.rpm >&2
    elif command -v apt-get >/dev/null 2>&1; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@" >&2 ||
            { apt-get -o DPkg::Lock::Timeout=300 update >&2 && apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@" >&2; }
    # Both wait for their own lock. What they know of repositories is asked anew only where it is not enough.
    elif command -v dnf >/dev/null 2>&1; then
        timeout 600 dnf -y --setopt=metadata_expire=-1 --setopt=install_weak_deps=False install "$@" >&2 ||
            timeout 600 dnf -y --refresh --setopt=install_weak_deps=False install "$@" >&2
    elif command -v yum >/dev/null 2>&1; then
        timeout 600 yum -y --setopt=metadata_expire=-1 install "$@" >&2 ||
            { yum -y clean expire-cache >&2 && timeout 600 yum -y install "$@" >&2; }
    else echo "no package manager that is known here (apt-get, dnf, yum)" >&2; return 1; fi
}

remove_packages() {
    if command -v apt-get >/dev/null 2>&1; then DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 purge -y "$@" >&2
    # The list is whole: what else nobody needs was not brought by us.
    elif command -v dnf >/dev/null 2>&1; then timeout 600 dnf -y --setopt=clean_requirements_on_remove=False remove "$@" >&2
    else timeout 600 yum -y --setopt=clean_requirements_on_remove=0 remove "$@" >&2; fi
}

# System users, which packages make and some package managers leave behind.
users() { awk -F: '$3<1000{print $1}' /etc/passwd | sort; }

# The packages that came since the lists were made, and users, with "user:" before their names.
came_since() {
    packages >now.packages
    users >now.users
    comm -13 $home/had.packages now.packages
    comm -13 $home/had.users now.users | sed 's/^/user:/'
}

# Take away these packages ($*), with what was new when they were installed. While another of ours is still wanted, only
# they themselves go, and the rest is noted with the other: it may need it.
drop_packages() {
    for key in "$@"; do
        before=$(noted package "$key")
        case $before in
        "?") if [ -e $home/had.users ]; then came_since; fi ;; # killed while it was installed
        new:*) printf '%s\n' "${before#new:}" | tr , '\n' | grep . || true ;;
        esac
    done | sort -u >drop.all
    printf '%s\n' "$@" >drop.packages
    heir=$(awk -F'\t' 'NR==FNR{drop[$1]; next} $1=="package" && !($2 in drop){want[$2]=$3; line[$2]=$2 FS $3 FS $4 FS $5}
        END{for (k in want) if (want[k]!="gone" && line[k] ~ /\tnew:/) {print line[k]; exit}}' drop.packages $home/record)
    if [ -n "$heir" ]; then
        rest=$(grep -vxFf drop.packages drop.all | tr '\n' ',' || true)
        grep -xFf drop.packages drop.all >drop.now || true
        mv drop.now drop.all
        printf '%s\n' "$heir" | while IFS=$tab read -r key want have new; do note package "$key" "$want" "$have" "$new${rest:+,${rest%,}}"; done
    fi
    # shellcheck disable=SC2046  # one word a package
    set -- $(grep -v '^user:' drop.all || true)
    if [ $# != 0 ]; then remove_packages "$@" </dev/null; fi
    sed -n 's/^user://p' drop.all | while read -r user; do
        if grep -q "^$user:" /etc/passwd; then userdel "$user" >&2; fi
    done
    while read -r key; do note package "$key" gone - -; done <drop.packages
}

# Each kind of action is a pass over the list, in the order in which they depend on one another.
each() { awk -F'\t' -v want="$1" '$1==want' actions | cut -f2- >"pass.$1"; [ -s "pass.$1" ]; }

forget=
if each forget; then forget=yes; fi
if each cluster; then while IFS=$tab read -r name identity; do note cluster "$name" "$identity" - -; done <pass.cluster; fi

# 1. What is no longer wanted stops, and cleans up after itself, before its files go.
if each drop; then
    doing="stopping units"
    units=$(awk -F'\t' '$1=="unit"{print $2}' pass.drop)
    if [ -n "$units" ]; then
        # Where all goes there is nothing to be graceful about; kube-apiserver would take a minute.
        # shellcheck disable=SC2086  # one word a unit
        if [ -n "$forget" ]; then systemctl stop --no-block $units 2>/dev/null || true; systemctl kill --kill-who=main --signal=KILL $units 2>/dev/null || true; fi
        # shellcheck disable=SC2086
        systemctl disable --now --quiet $units 2>"$stage/stop" || { for u in $units; do if systemctl is-active --quiet "$u"; then cat "$stage/stop" >&2; exit 1; fi; done; }
        # shellcheck disable=SC2086
        systemctl reset-failed $units 2>/dev/null || true
    fi
    awk -F'\t' '$1=="cleanup"{print $2}' pass.drop | while read -r name; do
        doing="cleaning up after $name"
        [ -e "$home/cleanup/$name" ] || continue
        touch "$home/cleanup/$name.captured"
        sh "$home/cleanup/$name" remove <"$home/cleanup/$name.captured" >&2 || { echo "failed while $doing" >&2; exit 1; }
    done
    while IFS=$tab read -r kind key before; do
        doing="removing $kind $key"
        case $kind in
        file | blob | link) restore "$key" "$before" ;;
        unit) restore "/etc/systemd/system/$key" "$before" ;;
        cleanup) rm -f "$home/cleanup/$key" "$home/cleanup/$key.captured" ;;
        dir)
            # One that was there stays, with the mode it had (containerd closes its own), and with what was in it.
            case $before in
            kept:*) chmod "${before#*:}" "$key" ;;
            empty:*) find "$key" -xdev -mindepth 1 -delete; chmod "${before#*:}" "$key" ;;
            *) if mountpoint -q "$key"; then find "$key" -xdev -mindepth 1 -delete; else rm -rf --one-file-system "$key"; fi ;;
            esac ;;
        sysctl) p=/proc/sys/$(printf %s "$key" | tr . /); if [ -e "$p" ] && [ "$before" != - ]; then printf '%s\n' "$before" >"$p" || true; fi ;;
        module) if [ "$before" = absent ]; then modprobe -r "$key" 2>/dev/null || true; fi ;;
        package) continue ;; # at the end, all at once
        esac
        note "$kind" "$key" gone - -
    done <pass.drop
    doing="removing packages"
    # shellcheck disable=SC2046  # one word a package
    set -- $(awk -F'\t' '$1=="package"{print $2}' pass.drop)
    if [ $# != 0 ]; then drop_packages "$@"; fi
    if [ -n "$units" ]; then systemctl daemon-reload; fi
fi

# 2. Bytes first, then what uses them.
if each package; then
    doing="installing packages"
    missing='' begun=''
    while IFS=$tab read -r key _ command before; do
        # Noted as "?": a run that was killed was installing it.
        if [ "$(noted package "$key")" = "?" ]; then begun="$begun $key"; fi
        if ! command -v "$command" >/dev/null 2>&1; then missing="$missing $key"
        elif [ -z "$(noted package "$key")" ]; then note package "$key" pending "$command" present; fi
    done <pass.package
    if [ -z "$begun" ]; then rm -f $home/had.packages $home/had.users; fi
    if [ -n "$missing$begun" ]; then
        [ -e $home/had.users ] || { packages >$home/had.packages; users >$home/had.users; }
        for key in $missing; do note package "$key" pending - "?"; done
        # What a package would start by itself is not set up yet. (A unit of ours in /etc goes before this.)
        for key in $missing; do systemctl mask --runtime --quiet "$key.service" 2>/dev/null || true; done
        # shellcheck disable=SC2086  # one word a package
        if [ -n "$missing" ]; then install_packages $missing </dev/null; fi
        for key in $missing $begun; do systemctl unmask --runtime --quiet "$key.service" 2>/dev/null || true; done
        came_since >new.packages
        # What came with them is noted with the first.
        # shellcheck disable=SC2086  # one word a package
        printf '%s\n' $missing $begun | sort -u >wanted.packages
        new=$(grep -vxFf wanted.packages new.packages | tr '\n' ',' || true)
        while read -r key; do
            if grep -qxF "$key" new.packages; then new="$key,$new"; fi
            note package "$key" pending - "new:${new%,}"
            new=
        done <wanted.packages
        rm -f $home/had.packages $home/had.users
    fi
    rm -rf $home/packages # a bundle's; also where nothing was missing
    while IFS=$tab read -r key want command before; do
        command -v "$command" >/dev/null 2>&1 || { echo "the package $key did not bring the command $command" >&2; exit 1; }
        if [ "$before" = "?" ]; then before=$(noted package "$key"); fi
        note package "$key" "$want" "$command" "$before"
    done <pass.package
fi
if each module; then
    while IFS=$tab read -r key want evidence before; do
        doing="loading the kernel module $key"
        if [ "$before" = "?" ]; then before=absent; if [ -e "$evidence" ]; then before=loaded; fi; fi
        note module "$key" pending "$evidence" "$before"
        [ -e "$evidence" ] || modprobe "$key" >&2
        note module "$key" "$want" "$evidence" "$before"
    done <pass.module
fi
if each dir; then
    while IFS=$tab read -r key want mode before; do
        doing="making $key"
        if [ "$before" = "?" ]; then
            before=made
            if [ -d "$key" ]; then before=empty; if [ -n "$(ls -A "$key")" ]; then before=kept; fi; before=$before:$(stat -c %a "$key"); fi
        fi
        note dir "$key" pending - "$before"
        parents "$key"
        [ -d "$key" ] || mkdir "$key"
        chmod "$mode" "$key"
        note dir "$key" "$want" "$mode" "$before"
    done <pass.dir
fi
# Units whose inputs are about to change are marked, so that a run killed before their restart is made good by the next.
if each dirty; then while IFS=$tab read -r key before; do note unit "$key" pending - "$before"; done <pass.dirty; fi
if each file; then while IFS=$tab read -r path want sha mode content before extra; do put file "$path" "$path" "$want" "$sha" "$mode" "$content" "$before" "$extra"; done <pass.file; fi
if each link; then
    while IFS=$tab read -r path want target before; do
        doing="linking $path"
        keep link "$path" "$before"
        note link "$path" pending - "$before"
        parents "$path"
        ln -sfn "$target" "$path.kubeup-new"
        mv -fT "$path.kubeup-new" "$path"
        note link "$path" "$want" "$target" "$before"
    done <pass.link
fi
if each sysctl; then
    while IFS=$tab read -r key want value before; do
        doing="setting $key"
        p=/proc/sys/$(printf %s "$key" | tr . /)
        if [ "$before" = "?" ]; then before=$(tr '\t' ' ' <"$p"); fi
        note sysctl "$key" pending - "$before"
        [ "$(tr '\t' ' ' <"$p")" = "$value" ] || printf '%s\n' "$value" >"$p"
        note sysctl "$key" "$want" "$value" "$before"
    done <pass.sysctl
fi
if each cleanup; then
    while IFS=$tab read -r key want sha mode content before; do
        new=; [ -e "$home/cleanup/$key.captured" ] || new=yes
        put cleanup "$key" "$home/cleanup/$key" "$want" "$sha" "$mode" "$content" absent -
        if [ -n "$new" ]; then sh "$home/cleanup/$key" capture </dev/null >"$home/cleanup/$key.new" && mv "$home/cleanup/$key.new" "$home/cleanup/$key.captured"; fi
    done <pass.cleanup
fi

# 3. Units: all files, one reload, then restarts in one transaction, so that systemd orders them.
if each unit; then
    while IFS=$tab read -r name want sha content before _ combined; do
        [ "$content" = - ] || { put unit "$name" "/etc/systemd/system/$name" pending "$sha" 0644 "$content" "$before" "$combined"; }
    done <pass.unit
    doing="reloading systemd"
    systemctl daemon-reload
    waited=$(awk -F'\t' '$6=="wait"{print $1}' pass.unit)
    unwaited=$(awk -F'\t' '$6!="wait"{print $1}' pass.unit)
    # shellcheck disable=SC2086  # one word a unit
    systemctl enable --quiet $waited $unwaited
    doing="starting $(echo "$waited" "$unwaited" | tr '\n' ' ')"
    # All at once, and then wait: restarted one after the other, those that others require would start twice. systemctl
    # enqueues them in the order given, and systemd begins with the first before it knows the next. So what runs comes
    # in reverse, and stops before what it needs does: kube-apiserver without its etcd stops only when it is killed.
    running=
    stopped=
    for u in $waited $unwaited; do if systemctl is-active --quiet "$u"; then running="$u $running"; else stopped="$stopped $u"; fi; done
    # shellcheck disable=SC2086
    systemctl restart --no-block $running $stopped
    # shellcheck disable=SC2086
    if [ -n "$waited" ] && ! systemctl start --quiet $waited; then
        for u in $waited; do
            if ! systemctl is-active --quiet "$u"; then
                echo "--- $u: $(systemctl show -p ActiveState,SubState,Result,ExecMainStatus --value "$u" | tr '\n' ' ')" >&2
                journalctl --no-pager -o cat -n 15 -u "$u" >&2 || true
            fi
        done
        exit 1
    fi
    while IFS=$tab read -r name want sha content before _ combined; do
        if [ "$before" = "?" ]; then before=$(noted unit "$name"); fi
        note unit "$name" "$want" "$sha $combined" "$before"
    done <pass.unit
fi

# 4. The record is written anew without what is past; where all is gone, the last traces go too.
doing="writing the record"
awk -F'\t' '{k=$1 FS $2; if (!(k in s)) o[++n]=k; s[k]=$0} END{for(i=1;i<=n;i++){split(s[o[i]],f,FS); if (f[3]!="gone") print s[o[i]]}}' $home/record >$home/record.new
awk -F'\t' '$1=="parent"{print $2}' $home/record.new | sort -r | while read -r dir; do if [ -d "$dir" ]; then rmdir "$dir" 2>/dev/null || echo "$dir"; fi; done >parents.left
awk -F'\t' 'FILENAME=="parents.left"{left[$1]; next} $1!="parent" || ($2 in left)' parents.left $home/record.new >$home/record.kept
rm $home/record.new
mv $home/record.kept $home/record
if [ -n "$forget" ]; then
    cd /
    rm -rf "$stage"
    rm -rf $home
fi
