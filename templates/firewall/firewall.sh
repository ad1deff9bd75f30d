#!/bin/sh
# Opens this host's firewall for the cluster, and closes it again:
#   firewall open firewalld|ufw "SOURCE …" "PORT/PROTOCOL …" "POD NETWORK"     firewall close
# All that is opened is noted first, and only what was not open before: so nothing else is ever closed. No reload: that
# would take away the rules of kube-proxy on some systems.
set -u
noted=/var/lib/kubeup/firewall

# What firewalld was told, all at once: it takes a third of a second each time.
firewalld() { # add|remove
    sources=$(sed -n "s/^source /--$1-source=/p" $noted)
    ports=$(sed -n "s/^port /--$1-port=/p" $noted)
    status=0
    # shellcheck disable=SC2086  # one word an option
    for where in '' --permanent; do
        [ -z "$sources" ] || firewall-cmd --quiet $where --zone=trusted $sources || status=1
        [ -z "$ports" ] || firewall-cmd --quiet $where $ports || status=1
    done
    return $status
}

# The words of ufw for one rule.
rule() { # kind what delete|""
    case $1 in
    from) echo "$3 allow from $2" ;;
    routed-from) echo "route $3 allow from $2" ;;
    routed-to) echo "route $3 allow to $2" ;;
    to) echo "$3 allow proto ${2#*/} to any port $(echo "${2%/*}" | tr - :)" ;;
    esac
}

close_all() {
    [ -e $noted ] || return 0
    if command -v firewall-cmd >/dev/null 2>&1; then firewalld remove >/dev/null 2>&1; fi
    grep -E '^(from|to|routed-from|routed-to) ' $noted | while read -r kind what; do
        # shellcheck disable=SC2046  # words of a rule
        ufw $(rule "$kind" "$what" delete) >/dev/null 2>&1
    done
    rm -f $noted
}

close_all
[ "$1" = open ] && [ -d /var/lib/kubeup ] || exit 0
case $2 in
firewalld)
    have=" $(firewall-cmd --permanent --zone=trusted --list-sources) $(firewall-cmd --permanent --list-ports) "
    for source in $3; do case $have in *" $source "*) ;; *) echo "source $source" ;; esac; done >$noted
    for port in $4; do case $have in *" $port "*) ;; *) echo "port $port" ;; esac; done >>$noted
    firewalld add ;;
ufw)
    {
        for source in $3; do echo "from $source"; done
        for port in $4; do echo "to $port"; done
        for network in $5; do echo "routed-from $network"; echo "routed-to $network"; done
    } | {
        failed=0
        while read -r kind what; do
            # shellcheck disable=SC2046  # words of a rule
            said=$(LC_ALL=C ufw $(rule "$kind" "$what" '')) || { echo "ufw $(rule "$kind" "$what" ''): $said" >&2; failed=1; }
            # Noted afterwards: what it skips was there before.
            case $said in *kipping*) ;; *) echo "$kind $what" >>$noted ;; esac
        done
        exit $failed
    } ;;
esac
