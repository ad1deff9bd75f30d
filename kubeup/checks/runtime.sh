# Asks the container runtime that listens at the socket $1, and prints what it says in sections. Stdin is crictl, packed, which
# is gone again at the end. $2 and following: programs that are looked for.
umask 077
socket=$1
shift
folder=$(mktemp -d /var/lib/.kubeup-preflight.XXXXXX) # /run is often mounted noexec
trap 'rm -rf "$folder"' EXIT
gzip -dc >"$folder/crictl" || exit 1
chmod 0700 "$folder/crictl"
printf 'runtime-endpoint: unix://%s\ntimeout: 10\n' "$socket" >"$folder/crictl.yaml"
cri() { "$folder/crictl" --config "$folder/crictl.yaml" "$@"; }
if [ -S "$socket" ]; then
    printf '=== socket\n=== version\n'
    # One that does not answer is not asked four times.
    if cri version 2>&1; then
        printf '=== config\n'
        cri runtime-config 2>&1
        printf '=== info\n'
        cri info 2>/dev/null
        printf '=== pods\n'
        cri pods --quiet 2>/dev/null
    fi
fi
printf '=== networks\n'
for file in /etc/cni/net.d/*.conf /etc/cni/net.d/*.conflist /etc/cni/net.d/*.json; do [ ! -e "$file" ] || echo "${file##*/}"; done
printf '=== programs\n'
for program in "$@"; do if command -v "$program" >/dev/null 2>&1; then echo "$program"; fi; done
echo "=== end"
