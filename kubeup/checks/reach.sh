# Starts kubeup-reach on a host on which nothing of ours is yet; stdin is the program, packed. Prints lines: process, folder,
# listening (with what could not be had), and fsync with what writing takes in the folder $3, if one is given.
# $1: how long it shall listen; $2: the host's address; $3; then what to listen on. It removes itself at its end.
set -e
umask 077
lasts=$1 address=$2 fsync=$3
shift 3
folder=$(mktemp -d /var/lib/.kubeup-preflight.XXXXXX) # /run is often mounted noexec
started=
trap '[ -n "$started" ] || rm -rf "$folder"' EXIT
gzip -dc >"$folder/reach"
chmod 0700 "$folder/reach"
setsid "$folder/reach" listen --for "$lasts" --address "$address" --remove "$folder" "$@" >"$folder/out" 2>/dev/null </dev/null &
echo "process $!"
started=yes
echo "folder $folder"
tries=0
until grep listening "$folder/out"; do
    tries=$((tries + 1))
    if [ $tries = 50 ]; then
        echo "kubeup-reach does not start" >&2
        exit 1
    fi
    sleep 0.1
done
[ -z "$fsync" ] || echo "fsync $("$folder/reach" fsync "$fsync")"
