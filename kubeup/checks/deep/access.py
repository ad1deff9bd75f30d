"""What people reach pods by: logs, exec, port-forward and `kubectl proxy`, through the API to the kubelets."""

from __future__ import annotations

import json

from kubeup.checks.deep.ground import Ground
from kubeup.checks.kubectl import KUBECTL
from kubeup.checks.places import PROBE
from kubeup.checks.validation import CheckFailed

# kubectl as a program, which `timeout` needs: what scripts otherwise have is a function.
_VARIABLE, _COMMAND = KUBECTL.split(" ", 1)
_KUBECTL = f"export {_VARIABLE}\nkubectl='{_COMMAND}'\n"

# $1: namespace, then "POD=NODE" pairs; $each runs for each of them, all at once, with $pod, and prints what is wrong.
_EACH = """
namespace=$1; shift
for pair in "$@"; do
    pod=${pair%%=*} node=${pair#*=}
    (
        said=$(each 2>&1) && exit 0
        printf '%s: %s\\n' "$node" "$(printf '%s' "$said" | tail -n 1)"
    ) &
done
wait
"""


def _on_each(ground: Ground, each: str) -> int:
    """Run the shell function ``each`` for all pods; how many there are. Raises CheckFailed with what it says."""
    pods = ground.pods.on(ground)
    pairs = [f"{pod}={node}" for node, pod in pods.items()]
    wrong = ground.sure(
        f"{_KUBECTL}each() {{\n{each}\n}}\n{_EACH}", ground.pods.namespace, *pairs, timeout=40
    ).splitlines()
    if wrong:
        raise CheckFailed("; ".join(sorted(wrong)))
    return len(pods)


def logs(ground: Ground) -> str:
    """kubectl logs shows what a pod has written."""
    each = """
        text=$(timeout 15 $kubectl -n "$namespace" logs "$pod" -c say) || { echo "$text"; return 1; }
        case $text in *localhost*) ;; *) echo "the log of a pod has not what it wrote: $text"; return 1 ;; esac
    """
    return f"of pods on {_on_each(ground, each)} nodes"


def execute(ground: Ground) -> str:
    """kubectl exec runs a program in a pod."""
    each = """
        text=$(timeout 15 $kubectl -n "$namespace" exec "$pod" -c probe -- /kubeup-probe connect 127.0.0.1:80) ||
            { echo "$text"; return 1; }
    """
    return f"in pods on {_on_each(ground, each)} nodes"


def port_forward(ground: Ground) -> str:
    """kubectl port-forward leads to a pod's port."""
    each = f"""
        file=$(mktemp /run/kubeup-validation.XXXXXX)
        timeout 20 $kubectl -n "$namespace" port-forward "pod/$pod" :80 --address 127.0.0.1 >"$file" 2>&1 &
        process=$!
        for i in $(seq 100); do
            port=$(sed -n 's/^Forwarding from 127.0.0.1:\\([0-9]*\\) .*/\\1/p' "$file")
            [ -n "$port" ] && break
            kill -0 $process 2>/dev/null || break
            sleep 0.1
        done
        text=$(cat "$file"); rm -f "$file"
        [ -n "$port" ] && text=$({PROBE} get --timeout 5s "http://127.0.0.1:$port/")
        kill $process 2>/dev/null
        case $text in *"\\"body\\":\\"$pod"*) ;; *) echo "$text"; return 1 ;; esac
    """
    return f"to pods on {_on_each(ground, each)} nodes"


def proxy(ground: Ground) -> str:
    """`kubectl proxy` lets a client without credentials ask the API, and a pod through it."""
    pods = ground.pods.on(ground)
    pod = next(iter(pods.values()))
    script = f"""
        file=$(mktemp /run/kubeup-validation.XXXXXX)
        trap 'kill $process 2>/dev/null; rm -f "$file"' EXIT
        timeout 20 $kubectl proxy --port=0 >"$file" 2>&1 &
        process=$!
        for i in $(seq 100); do
            at=$(sed -n 's/^Starting to serve on //p' "$file")
            [ -n "$at" ] && break
            sleep 0.1
        done
        [ -n "$at" ] || {{ cat "$file" >&2; exit 1; }}
        {PROBE} get --timeout 10s "http://$at/api/v1/namespaces/$1" "http://$at/api/v1/namespaces/$1/pods/$2:80/proxy/"
        exit 0
    """
    said = ground.sure(_KUBECTL + script, ground.pods.namespace, pod, timeout=30)
    try:
        api, through = json.loads(said)
    except ValueError:
        raise CheckFailed(f"kubectl proxy gave no answer: {said}") from None
    for what, answer, wanted in (("the API", api, ground.pods.namespace), (f"the pod {pod}", through, pod)):
        if answer["status"] != 200 or wanted not in answer["body"]:
            told = answer["error"] or f"{answer['status']} {answer['body'].strip()}"
            raise CheckFailed(f"{what} does not answer through kubectl proxy: {told}")
    return "the API and a pod answer through it"
