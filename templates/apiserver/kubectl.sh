#!/bin/sh
# kubectl, as the cluster's admin for who may read its kubeconfig, where no other was chosen.
if [ -z "${KUBECONFIG:-}" ] && [ ! -e "${HOME:-/root}/.kube/config" ] && [ -r /etc/kubernetes/admin.conf ]; then
    export KUBECONFIG=/etc/kubernetes/admin.conf
fi
exec /opt/kubeup/bin/kubectl "$@"
