# Prints a tar of the packages that this host would install for $@, and for apt an index of them. Installs nothing.
set -e
umask 077
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
if command -v apt-get >/dev/null 2>&1; then
    mkdir -p partial
    get() {
        apt-get -q -y -o APT::Sandbox::User=root -o "Dir::Cache::archives=$folder" --no-install-recommends \
            --download-only install "$@" >&2
    }
    get "$@" || { apt-get -q update >&2 && get "$@"; }
    rm -rf partial lock
    for deb in *.deb; do
        [ -e "$deb" ] || continue
        dpkg-deb -f "$deb"
        printf 'Filename: ./%s\nSize: %s\n' "$deb" "$(stat -c %s "$deb")"
        printf 'SHA256: %s\n\n' "$(sha256sum <"$deb" | cut -d' ' -f1)"
    done >Packages
elif command -v dnf >/dev/null 2>&1; then
    dnf -q -y --setopt=install_weak_deps=False --downloadonly "--downloaddir=$folder" install "$@" >&2
else
    yum -q -y --downloadonly "--downloaddir=$folder" install "$@" >&2
fi
tar -cf - .
