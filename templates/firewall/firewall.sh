#!/bin/sh
# Opens this host's firewall for the cluster, and closes it again:
#   firewall open firewalld|ufw "SOURCE …" "PORT/PROTOCOL …" "POD NETWORK"     firewall close
# All that is opened is noted first, and only what was not open before: so nothing else is ever closed. No reload: that
# would take away the rules of kube-proxy on some systems.
set -u
noted=/var/lib/kubeup/firewall
# Of firewalld: what was opened of what it does until it is restarted. Gone with a boot, as that is: from then on it does
# what it holds for good, which is in the other note.
noted_runtime=/run/kubeup-firewall

# firewalld is told all at once: it takes a third of a second each time.
firewalld() { # add|remove note --permanent|""
    sources=$(sed -n "s/^source /--$1-source=/p" "$2")
    ports=$(sed -n "s/^port /--$1-port=/p" "$2")
    status=0
    # shellcheck disable=SC2086  # one word an option
    {
        [ -z "$sources" ] || firewall-cmd --quiet $3 --zone=trusted $sources || status=1
        [ -z "$ports" ] || firewall-cmd --quiet $3 $ports || status=1
    }
    return $status
}

lacking() { # "SOURCE …" "PORT/PROTOCOL …" --permanent|""
    # shellcheck disable=SC2086  # no word where there is none
    have=" $(firewall-cmd $3 --zone=trusted --list-sources) $(firewall-cmd $3 --list-ports) "
    for source in $1; do case $have in *" $source "*) ;; *) echo "source $source" ;; esac; done
    for port in $2; do case $have in *" $port "*) ;; *) echo "port $port" ;; esac; done
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
    if [ ! -e $noted ]; then
        rm -f $noted_runtime
        return
    fi
    if command -v firewall-cmd >/dev/null 2>&1; then
        [ -e $noted_runtime ] || cp $noted $noted_runtime
        firewalld remove $noted_runtime '' >/dev/null 2>&1
        firewalld remove $noted --permanent >/dev/null 2>&1
    fi
    grep -E '^(from|to|routed-from|routed-to) ' $noted | while read -r kind what; do
        # shellcheck disable=SC2046  # words of a rule
        ufw $(rule "$kind" "$what" delete) >/dev/null 2>&1
    done
    rm -f $noted $noted_runtime
}

close_all
[ "$1" = open ] && [ -d /var/lib/kubeup ] || exit 0
case $2 in
firewalld)
    # A port may be open until the next restart alone, or only after it: each is given back as it was.
    lacking "$3" "$4" '' >$noted_runtime
    lacking "$3" "$4" --permanent >$noted
    failed=0
    firewalld add $noted_runtime '' || failed=1
    firewalld add $noted --permanent || failed=1
    exit $failed ;;
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
