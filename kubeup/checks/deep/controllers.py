"""kube-controller-manager's loops: each makes of objects what they ask for.

Most of these pods are never given a node: that they are there is what is looked at, and so a check fails for its own
controller alone.
"""

from __future__ import annotations

import json

from kubeup.checks.deep.ground import (
    ON_ANY_HOST,
    UNSCHEDULED,
    Ground,
    Object,
    account,
    container,
    last_line,
    pod,
    pod_spec,
)
from kubeup.checks.kubectl import condition, ready
from kubeup.checks.validation import STAND_IN, CheckFailed

ACTS_WITHIN = 15
"""Seconds within which a controller must have done what it is for."""
MOVES_WITHIN = 25
"""Seconds within which a pod of a node that is not well must run on another: it is evicted after 1, and has to end."""


def _template(app: str, **spec: object) -> Object:
    return {"metadata": {"labels": {"app": app}}, "spec": pod_spec(**{**UNSCHEDULED, **spec})}


def _living(ground: Ground, app: str) -> list[str]:
    pods = ground.get("pods", "-l", f"app={app}")
    return sorted(one["metadata"]["name"] for one in pods if "deletionTimestamp" not in one["metadata"])


def replication(ground: Ground) -> str:
    """As many pods as a ReplicationController and a Deployment ask for: new ones for lost ones, and no more."""
    ground.make(
        account(),
        {
            "apiVersion": "v1",
            "kind": "ReplicationController",
            "metadata": {"name": "rc"},
            "spec": {"replicas": 2, "selector": {"app": "rc"}, "template": _template("rc")},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "deployment"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "deployment"}},
                "template": _template("deployment"),
            },
        },
    )
    was: dict[str, list[str]] = {}

    def two(app: str, lost: str = "") -> str:
        was[app] = _living(ground, app)
        if len(was[app]) == 2 and lost not in was[app]:
            return ""
        return f"{app}: {len(was[app])} pods, wanted 2" + (f" without {lost}" if lost else "")

    def number(app: str, wanted: int) -> str:
        there = len(_living(ground, app))
        return "" if there == wanted else f"{app}: {there} pods, wanted {wanted}"

    ground.until(ACTS_WITHIN, lambda: two("rc") or two("deployment"))
    lost = {app: pods[0] for app, pods in was.items()}
    ground.sure('kubectl -n "$@" --wait=false >&2', ground.namespace, "delete", "pod", *lost.values())
    ground.until(ACTS_WITHIN, lambda: two("rc", lost["rc"]) or two("deployment", lost["deployment"]))
    ground.sure(
        'kubectl -n "$1" scale --replicas=1 rc/rc >&2 && kubectl -n "$1" delete deployment/deployment --wait=false >&2',
        ground.namespace,
    )
    ground.until(ACTS_WITHIN, lambda: number("rc", 1) or number("deployment", 0))
    return "lost pods are replaced, superfluous ones removed, and a Deployment's go with it"


def endpoints(ground: Ground) -> str:
    """Endpoints and EndpointSlices of a Service hold the addresses of its ready pods, and follow them."""
    # These pods run nowhere; their addresses are of a range for examples (RFC 5737). Their node has to be there.
    pods = {"one": "192.0.2.1", "two": "192.0.2.2"}
    node = ground.stand_in("a")
    ground.make(
        node,
        account(),
        *(
            pod(
                name,
                labels={"app": "web", STAND_IN: "true"},
                nodeName=node["metadata"]["name"],
                tolerations=[{"operator": "Exists"}],
            )
            for name in pods
        ),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    )

    def report(name: str, ready: bool) -> None:
        status = {
            "phase": "Running",
            "podIP": pods[name],
            "podIPs": [{"ip": pods[name]}],
            "conditions": [{"type": "Ready", "status": str(ready)}],
        }
        ground.sure(
            'kubectl -n "$1" patch pod "$2" --subresource=status --type=merge -p "$3" >&2',
            ground.namespace, name, json.dumps({"status": status}),
        )  # fmt: skip

    def hold(*wanted: str) -> str:
        slices = ground.get("endpointslices", "-l", "kubernetes.io/service-name=web")
        in_slices = sorted(
            address
            for one in slices
            for endpoint in one.get("endpoints") or []
            if endpoint["conditions"].get("ready")
            for address in endpoint["addresses"]
        )
        classic = ground.get("endpoints", "--field-selector=metadata.name=web")
        in_endpoints = sorted(
            address["ip"] for one in classic for part in one.get("subsets", []) for address in part.get("addresses", [])
        )
        for kind, there in (("EndpointSlices", in_slices), ("Endpoints", in_endpoints)):
            if there != sorted(wanted):
                return f"{kind} of a Service hold {', '.join(there) or 'nothing'}, not {', '.join(wanted) or 'nothing'}"
        return ""

    for name in pods:
        report(name, True)
    ground.until(ACTS_WITHIN, lambda: hold(*pods.values()))
    report("one", False)
    ground.until(ACTS_WITHIN, lambda: hold(pods["two"]))
    ground.sure('kubectl -n "$1" delete pod two --force --grace-period=0 >&2 2>/dev/null', ground.namespace)
    ground.until(ACTS_WITHIN, lambda: hold())
    return "they hold the ready pods of a Service, and follow when one is not ready or goes"


def namespaces(ground: Ground) -> str:
    """A namespace that is deleted goes with everything in it."""
    kinds = "pods,configmaps,secrets,services,serviceaccounts,deployments"
    ground.make(
        account(),
        pod("one", **UNSCHEDULED),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"a": "b"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "one"}, "stringData": {"a": "b"}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "one"},
            "spec": {"selector": {"app": "one"}, "ports": [{"port": 80}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "one"},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "one"}}, "template": _template("one")},
        },
    )
    output = ground.kubectl.script(
        'kubectl delete namespace "$1" --timeout=25s >&2; rc=$?; kubectl -n "$1" get "$2" -o name; exit $rc',
        ground.namespace, kinds, timeout=30,
    )  # fmt: skip
    left = output.stdout.split()
    if left or not output.ok:
        raise CheckFailed(
            f"25 s after its deletion a namespace is still there, with {', '.join(left) or 'nothing in it'}"
            if not output.ok
            else f"of a namespace that is gone there are still {', '.join(left)}"
        )
    return "a namespace went with its pods, Services, Secrets and all"


def service_accounts(ground: Ground) -> str:
    """A new namespace gets a service account and the authority's certificate, and its tokens are taken."""
    ground.until(
        ACTS_WITHIN,
        lambda: (
            ""
            if ground.get("serviceaccounts", "--field-selector=metadata.name=default")
            else "a new namespace has no service account"
        ),
    )
    ground.until(
        ACTS_WITHIN,
        lambda: (
            ""
            if ground.get("configmaps", "--field-selector=metadata.name=kube-root-ca.crt")
            else "a new namespace has no certificate of the authority (kube-root-ca.crt)"
        ),
    )
    # The token stays within the shell: printf is a part of it, no program with arguments that ps would show.
    said = ground.sure(
        'token=$(kubectl -n "$1" create token default --duration=10m) || exit 1\n'
        'review=\'{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "%s"}}\'\n'
        'printf "$review" "$token" | kubectl create -f - -o jsonpath="{.status.user.username}{.status.error}"',
        ground.namespace,
    )
    if said.strip() != f"system:serviceaccount:{ground.namespace}:default":
        raise CheckFailed(f"the API takes a service account's token for {said.strip() or 'nobody'}")
    return "a new namespace has its service account, whose token the API takes"


def quota(ground: Ground) -> str:
    """A pod beyond a ResourceQuota is refused."""
    ground.make(
        account(),
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "pods"},
            "spec": {"hard": {"pods": "1"}},
        },
    )

    def counted() -> str:
        quotas = ground.get("resourcequotas")
        hard = [one.get("status", {}).get("hard", {}).get("pods") for one in quotas]
        return "" if hard == ["1"] else "nobody counts a ResourceQuota"

    ground.until(ACTS_WITHIN, counted)
    ground.make(pod("within", **UNSCHEDULED))
    beyond = json.dumps(pod("beyond", **UNSCHEDULED))
    output = ground.kubectl.script('kubectl -n "$1" create -f - >&2', ground.namespace, stdin=beyond, timeout=20)
    if output.ok:
        raise CheckFailed("a second pod was taken where a ResourceQuota allows one")
    if "exceeded quota" not in output.stderr:
        raise CheckFailed(f"a pod beyond the quota was refused, but not for that: {last_line(output.stderr)}")
    return "the second pod was refused where one is allowed"


def jobs(ground: Ground) -> str:
    """A Job runs its pods to the end, and one whose pod fails says so."""

    def job(name: str, completions: int, *command: str) -> Object:
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": {
                "completions": completions,
                "parallelism": completions,
                "backoffLimit": 0,
                "template": {
                    "spec": pod_spec(
                        restartPolicy="Never",
                        **ON_ANY_HOST,
                        containers=[container(command=["/kubeup-probe", *command])],
                    )
                },
            },
        }

    ground.make(account(), job("succeeds", 2, "resolve", "localhost"), job("fails", 1, "no-such-command"))

    def ended() -> str:
        there = {one["metadata"]["name"]: one.get("status", {}) for one in ground.get("jobs")}
        found = {name: there.get(name, {}) for name in ("succeeds", "fails")}
        for name, kind, other in (("succeeds", "Complete", "Failed"), ("fails", "Failed", "Complete")):
            if (wrong := condition(found[name], other)).get("status") == "True":
                raise CheckFailed(f"the Job {name} is {other}: {wrong.get('message', '')}")
            if condition(found[name], kind).get("status") != "True":
                active, done = (found[name].get(key, 0) for key in ("active", "succeeded"))
                return f"the Job {name} is not {kind}: {active} of its pods run, {done} have succeeded"
        return ""

    ground.until(30, ended)
    return "one of two pods ran to its end, and one whose pod fails was given up"


def node_death(ground: Ground) -> str:
    """When a node reports that it is not well and stays so, its pods are evicted and replaced on another node.

    The node is a stand-in, which takes a pod and then reports as a kubelet would.
    """
    prefers = {
        "weight": 100,
        "preference": {
            "matchExpressions": [{"key": STAND_IN, "operator": "In", "values": [ground.namespace]}]
        },
    }  # fmt: skip
    ground.make(account(), ground.stand_in("a", cpu="1000", memory="1000Gi"))
    name = f"{ground.namespace}-a"

    def welcome() -> str:
        nodes = ground.kubectl.get("nodes", f"--field-selector=metadata.name={name}")
        if not nodes:
            raise CheckFailed("somebody has removed the node that was made for this: does another validation run?")
        keys = {taint["key"] for taint in nodes[0]["spec"].get("taints", [])}
        return "" if keys == {STAND_IN} else f"a new node that is Ready keeps its taints {', '.join(sorted(keys))}"

    def pods() -> dict[str, Object]:
        return {one["metadata"]["name"]: one for one in ground.get("pods", "-l", "app=moves")}

    def placed() -> str:
        where = {one["spec"].get("nodeName", "") for one in pods().values()}
        return "" if where == {name} else f"the pod for the stand-in is on {', '.join(sorted(where)) or 'no node'}"

    ground.until(ACTS_WITHIN, welcome)
    ground.make(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "moves"},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": "moves"}},
                "template": {
                    "metadata": {"labels": {"app": "moves", STAND_IN: "true"}},
                    "spec": pod_spec(
                        affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [prefers]}},
                        tolerations=[
                            {"key": STAND_IN, "operator": "Exists"},
                            *(
                                {"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute",
                                 "tolerationSeconds": 1}
                                for state in ("not-ready", "unreachable")
                            ),
                        ],
                    ),
                },
            },
        }
    )  # fmt: skip
    ground.until(ACTS_WITHIN, placed)
    before = set(pods())
    not_ready = [{"type": "Ready", "status": "False", "reason": "StandIn", "message": "stands in for one that died"}]
    ground.sure(
        'kubectl patch node "$1" --subresource=status --type=merge -p "$2" >&2',
        name, json.dumps({"status": {"conditions": not_ready}}),
    )  # fmt: skip

    def moved() -> str:
        now = pods()
        left = [one for one in before & now.keys() if "deletionTimestamp" not in now[one]["metadata"]]
        if left:
            return f"{', '.join(left)} was not evicted from a node that is not ready"
        others = [one for key, one in now.items() if key not in before]
        if not others:
            return "nothing came in the place of a pod whose node is not ready"
        if all(one["spec"].get("nodeName", "") in ("", name) for one in others):
            return "the pod that came in the place of another was given no other node"
        return (
            ""
            if any(ready(one) == "True" for one in others)
            else "the pod that came in the place of another does not run"
        )

    ground.until(MOVES_WITHIN, moved)
    where = {one["spec"].get("nodeName", "") for key, one in pods().items() if key not in before}
    return f"its pod was evicted, and runs on {', '.join(sorted(where))}"
