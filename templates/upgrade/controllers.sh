# Returns once the controllers work: the EndpointSlice of a new Service is made. $1: seconds that they may take.
# kubectl is a function, see kubeup.checks.kubectl.
end() { kubectl -n kube-system delete service kubeup-upgrade --ignore-not-found --wait=false >/dev/null; }
end || exit 1
trap end EXIT
kubectl -n kube-system create -f - >/dev/null <<SERVICE || exit 1
{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kubeup-upgrade"},
 "spec": {"clusterIP": "None", "selector": {"kubeup.dev/upgrade": "none"}, "ports": [{"port": 80}]}}
SERVICE
limit=$(($(date +%s) + $1))
until [ -n "$(kubectl -n kube-system get endpointslices --selector=kubernetes.io/service-name=kubeup-upgrade --output=name)" ]; do
    if [ "$(date +%s)" -gt "$limit" ]; then
        echo "the controllers do not work: in $1 s none made the EndpointSlice of a Service; who leads them:" >&2
        kubectl -n kube-system get leases >&2
        exit 1
    fi
    sleep 0.3
done
