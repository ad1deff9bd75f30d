# Takes large files from stdin and puts them in place, each as soon as it is whole: a line with path, want, sha256, mode,
# packing (gzip or zstd), packed size and before, tab-separated, then so many packed bytes; at the end a line "end".
# Before them, lines with "dirty", a unit and its before mark units that will be restarted for what comes.
# $1 is the program that unpacks zstd. It comes first itself, as gzip.
set -eu
umask 077
export LC_ALL=C
home=/var/lib/kubeup
tab=$(printf '\t')
unpack=$1
[ -d $home ] || mkdir -p $home
exec 9>>$home/lock
flock -w 120 9 || { echo "another kubeup has been at work on this host for 120 s" >&2; exit 75; }
note() { printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "$5" >>$home/record; }

# Copies stdin, until nothing has come for a minute: a kubeup whose machine went away must not keep this host locked for
# the hours that sshd needs to notice.
relay() {
    exec 8<&0 # what runs in the background has no other stdin
    cat <&8 &
    copying=$!
    (
        quiet=0 last=
        while sleep 5 && now=$(awk '/^rchar/{print $2}' "/proc/$copying/io"); do
            if [ "$now" = "$last" ]; then quiet=$((quiet + 5)); else quiet=0; fi
            last=$now
            if [ $quiet -ge 60 ]; then kill "$copying"; fi
        done
    ) </dev/null >/dev/null 2>&1 8<&- 9>&- &
    wait "$copying" || echo "nothing has come for a minute: the connection is gone" >&2
}

receive() {
    path=
    # shellcheck disable=SC2154  # rc is set in the trap itself
    trap 'rc=$?; if [ $rc != 0 ] && [ -n "$path" ]; then rm -f "$path.kubeup-new"; echo "failed while receiving $path" >&2; fi' EXIT
    while IFS=$tab read -r path want sha mode packing size before; do
        case $path in
        end) exit 0 ;;
        dirty) # a unit (want) that is about to be restarted, and what was there before it (sha)
            note unit "$want" pending - "$sha"
            path=
            continue ;;
        esac
        if [ "$before" = "?" ]; then
            before=absent
            if [ -e "$path" ] || [ -L "$path" ]; then mkdir -p "$home/before$(dirname "$path")"; cp -a "$path" "$home/before$path"; before=saved; fi
        fi
        note blob "$path" pending - "$before"
        dir=$(dirname "$path") missing=
        while [ ! -d "$dir" ]; do missing="$dir $missing"; dir=$(dirname "$dir"); done
        for dir in $missing; do note parent "$dir" - - -; mkdir -m 0755 "$dir"; done
        case $packing in
        zstd) head -c "$size" | "$unpack" "$sha" >"$path.kubeup-new" || exit 74 ;;
        gzip)
            head -c "$size" | gzip -dc >"$path.kubeup-new" || exit 74
            found=$(sha256sum <"$path.kubeup-new" | cut -d' ' -f1)
            [ "$found" = "$sha" ] || { echo "the content has sha256 $found, expected $sha" >&2; exit 74; } ;;
        esac
        chmod "$mode" "$path.kubeup-new"
        mv -f "$path.kubeup-new" "$path"
        # SELinux: what systemd may start as a program, and containerd as a runtime.
        if [ -e /sys/fs/selinux/enforce ] && [ "$mode" = 0755 ]; then chcon -t bin_t "$path" 2>/dev/null || true; fi
        note blob "$path" "$want" "$sha $(stat -c '%s %Y' "$path")" "$before"
    done
    echo "the stream ended too early" >&2
    exit 74
}

relay | (receive)
