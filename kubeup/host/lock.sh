# Holds this host for one kubeup, as long as it shows signs of life: any byte on stdin, at least every $2 seconds. The
# end of stdin, which a connection's end is too, gives the host back. $1 says who holds it, for others to be told.
# Prints "held" and a mark of the record once the host is held. Exits 75 when another holds it, after saying for how
# many seconds, and who. read.sh looks at the same file.
set -u
umask 077
export LC_ALL=C
file=/run/kubeup.lock
while :; do
    exec 9>>$file || exit 1
    if ! flock -n 9; then
        printf 'busy\t%s\t%s\n' "$(($(date +%s) - $(stat -c %Y $file)))" "$(cut -f2 $file)"
        exit 75
    fi
    # The one before removes the file before it lets go: what was opened may be that one's, and nobody would see it.
    [ /proc/self/fd/9 -ef $file ] && break
done
printf '%s\t%s\n' "$$" "$1" >$file
printf 'held\t%s\n' "$(cksum </var/lib/kubeup/record 2>/dev/null)"
while [ -n "$(timeout "$2" head -c 1)" ]; do :; done
rm -f $file
