# Takes large files from stdin and puts them in place, each as soon as it is whole: a line with path, want, sha256 of the
# content, sha256 packed, mode, packed size and before, tab-separated, then so many bytes of gzip; at the end a line "end".
# What arrives is hashed as it is, packed: that is a third of the content's bytes, and done while it is unpacked.
set -eu
umask 077
export LC_ALL=C
home=/var/lib/kubeup
tab=$(printf '\t')
[ -d $home ] || mkdir -p $home
exec 9>>$home/lock
flock -w 120 9 || { echo "another kubeup has been at work on this host for 120 s" >&2; exit 75; }
path=
packed=$home/receiving.$$
trap 'rc=$?; rm -f "$packed"; if [ $rc != 0 ] && [ -n "$path" ]; then rm -f "$path.kubeup-new"; echo "failed while receiving $path" >&2; fi' EXIT
note() { printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "$5" >>$home/record; }
rm -f $home/receiving.*
mkfifo "$packed"
while IFS=$tab read -r path want sha packed_sha mode size before; do
    if [ "$path" = end ]; then exit 0; fi
    if [ "$before" = "?" ]; then
        before=absent
        if [ -e "$path" ] || [ -L "$path" ]; then mkdir -p "$home/before$(dirname "$path")"; cp -a "$path" "$home/before$path"; before=saved; fi
    fi
    note blob "$path" pending - "$before"
    dir=$(dirname "$path") missing=
    while [ ! -d "$dir" ]; do missing="$dir $missing"; dir=$(dirname "$dir"); done
    for dir in $missing; do note parent "$dir" - - -; mkdir -m 0755 "$dir"; done
    gzip -dc <"$packed" >"$path.kubeup-new" &
    found=$(head -c "$size" | tee "$packed" | sha256sum | cut -d' ' -f1)
    wait $! || exit 74
    [ "$found" = "$packed_sha" ] || { echo "what arrived for $path has sha256 $found, expected $packed_sha; it was not put in place" >&2; exit 74; }
    chmod "$mode" "$path.kubeup-new"
    mv -f "$path.kubeup-new" "$path"
    note blob "$path" "$want" "$sha $(stat -c '%s %Y' "$path")" "$before"
done
echo "the stream ended too early" >&2
exit 74
