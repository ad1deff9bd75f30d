# Starts kubeup-reach on a host on which nothing of ours is yet; stdin is the program, packed. Prints lines: process, folder,
# listening (with what could not be had), and fsync with what writing takes in the folder $3, if one is given.
# $1: how long it shall listen; $2: the host's address; $3; then what to listen on. It removes itself at its
# end, and goes with the connection.
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
process=$!
echo "process $process"
started=yes
# Where kubeup is killed its connection ends, and so does what listens: the next kubeup would find the ports taken.
connection=$$
until [ "$connection" -le 1 ] || grep -qs '^sshd' "/proc/$connection/comm"; do
    connection=$(awk '/^PPid:/ {print $2}' "/proc/$connection/status")
done
if [ "$connection" -gt 1 ]; then
    # shellcheck disable=SC2016  # it is the other shell's to expand
    setsid sh -c 'while kill -0 "$1" && kill -0 "$2"; do sleep 1; done; kill "$1"' sh $process "$connection" \
        >/dev/null 2>&1 </dev/null &
fi
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
