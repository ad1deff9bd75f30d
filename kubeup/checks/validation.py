"""Whether a cluster works: what 2015's validate-cluster printed, and then the proof, with real pods and packets."""

from __future__ import annotations

import json
import re
import secrets
import shlex
import socket
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any
from urllib.parse import quote

import gevent
import httpx

from kubeup.checks.addons import addons_ready
from kubeup.checks.kubectl import KUBECTL, Kubectl, condition
from kubeup.checks.outside import answers_outside
from kubeup.checks.places import PROBE
from kubeup.checks.pods import why_not_ready
from kubeup.checks.walk import in_short, trace
from kubeup.cluster import Cluster, api_endpoint
from kubeup.components import DEFAULT_VERSIONS, image_reference
from kubeup.errors import KubeupError
from kubeup.host.session import Session
from kubeup.templates import render, text

LABEL = "kubeup.dev/validation=true"
STAND_IN = "kubeup.dev/stand-in"
"""Label and taint of nodes that no host stands behind, see kubeup.checks.deep, and label of pods meant for them."""

NODES_READY = 120
"""Seconds that nodes may take to become Ready: a host may just be starting."""
NETWORK_COMES = 20
"""The same where nothing in the inventory can bring a network: cni: none, and neither helm: nor manifests: entries."""
NO_NETWORK = "NetworkPluginNotReady"
"""What the kubelet calls it when there is none."""
YOURS = "the network of pods is yours to bring (cni: none, see docs/network.md)"
STARTED = 20
"""Seconds that a service may take to start, which may have been told so just now."""
PODS_READY = 60
"""Seconds that pods of an image that is already on every node may take."""
FOLLOW = 10
"""Seconds within which all who watch the API must have taken up a change."""
FOLLOW_AFTER_RESTART = 75
"""The same where their way to it was interrupted within the last PAUSES_RESET seconds: by then their pauses have grown.

They double from 0.8 s to 30 s, and each is made longer by up to as much again (client-go, reflector.go).
"""
PAUSES_RESET = 180
ADDRESS_COMES = 20
"""Seconds within which one of Traefik's nodes must have the address for ingress: keepalived decides in seven."""
NAMES_ANSWER = 20
"""Seconds within which CoreDNS must know a Service that has always been there: it answers as soon as it runs."""
NOT_UP = 69
"""Exit code on a master where there is no cluster (EX_UNAVAILABLE of sysexits.h)."""
EXPLAINED = 40
"""Seconds that looking for the reason of a failure may take."""
NEIGHBOURS = 3
"""How many other nodes each node's pod talks to: all pairs of a large cluster would be too many."""


@dataclass(frozen=True)
class CheckResult:
    """What a check found. ``detail`` says what was seen, or what is wrong; ``seconds`` how long it took."""

    name: str
    ok: bool
    detail: str
    seconds: float


class CheckFailed(KubeupError):
    """A check did not find what it looked for.

    ``way``: (FROM, TO) of what did not arrive, in the words of `kubeup trace`, for an explanation.
    """

    def __init__(self, text: str, way: tuple[str, str] | None = None) -> None:
        super().__init__(text)
        self.way = way


# $1: seconds. Whether any of these was started later than so long ago.
_RESTARTED = """systemctl show -p ActiveEnterTimestampMonotonic --value kube-apiserver.service haproxy.service |
    awk -v now="$(cut -d. -f1 /proc/uptime)" -v most="$1" '
        $1 && now - $1 / 1000000 < most {young = 1} END {exit !young}'"""


@dataclass
class Proof:
    """What the checks share: the objects that were set up, as the API shows them."""

    cluster: Cluster
    """With the nodes that are looked at alone."""
    session: Session
    kubectl: Kubectl
    namespace: str
    whole: bool = True
    """Whether those are all the inventory's."""
    others: frozenset[str] = frozenset()
    """The names of the inventory's other nodes."""
    show: Callable[[str], None] = print
    pods: dict[str, str] = field(default_factory=dict)
    """IP of the pod on every node."""
    pod_names: dict[str, str] = field(default_factory=dict)
    """And its name."""
    web: dict[str, str] = field(default_factory=dict)
    """IP of each pod behind the Services, by its name."""
    service: str = ""
    node_port: int = 0

    def probe(self, node: str, *arguments: str) -> list[dict[str, Any]]:
        """What kubeup-probe on a node's host answers. Raises CheckFailed when it could not be run."""
        output = self.session.shell(node, shlex.join([PROBE, *arguments]), timeout=40)
        try:
            answers: list[dict[str, Any]] = json.loads(output.stdout)
        except ValueError:
            raise CheckFailed(f"kubeup-probe on {node} did not run: {output.stderr or output.stdout}") from None
        return answers

    def on_every_node(self, ask: Callable[[str], None]) -> None:
        """Ask on all nodes side by side. Raises CheckFailed with what is wrong on each."""
        self.on_each([node.name for node in self.cluster.nodes], ask)

    def on_each(self, names: Sequence[str], ask: Callable[[str], None]) -> None:
        """Ask on these hosts side by side. Raises CheckFailed with what is wrong on each."""
        outcome = self.session.side_by_side(names, ask)
        wrong = {name: error for name, error in outcome.items() if error is not None}
        if wrong:
            ways = (error.way for error in wrong.values() if isinstance(error, CheckFailed))
            text = "; ".join(f"{name}: {error}" for name, error in wrong.items())
            raise CheckFailed(text, next(filter(None, ways), None))

    def pod(self, node: str) -> str:
        """The pod on a node, as an end of a way."""
        return f"{self.namespace}/{self.pod_names[node]}"

    def waits(self, since: float) -> bool:
        """Whether those who watch the API may still have to take up what was changed then (by time.monotonic)."""
        passed = time.monotonic() - since
        return passed < FOLLOW or passed < (FOLLOW_AFTER_RESTART if self._interrupted else FOLLOW)

    @cached_property
    def _interrupted(self) -> bool:
        """Whether an apiserver, or a node's balancer in front of them, has not run for long."""
        found = self.session.side_by_side(
            [node.name for node in self.cluster.nodes],
            lambda name: self.session.shell(name, _RESTARTED, str(PAUSES_RESET)).ok,
        )
        return any(answer is True for answer in found.values())

    @property
    def web_service(self) -> str:
        """The Service, as an end of a way."""
        return f"svc/{self.namespace}/web:8001"


def nodes_ready(proof: Proof) -> str:
    """All nodes of the inventory are there, and Ready."""
    names = [node.name for node in proof.cluster.nodes]
    brought = proof.cluster.addons.helm or proof.cluster.addons.manifests
    ready_within = NETWORK_COMES if proof.cluster.cni == "none" and not brought else NODES_READY
    script = (
        'until kubectl get node "$@" >/dev/null 2>&1; do sleep 0.2; done; '
        f'kubectl wait --for=condition=Ready --timeout={ready_within}s node "$@" >&2'
    )
    output = proof.kubectl.script(
        f"[ -e /etc/kubernetes/admin.conf ] || exit {NOT_UP}; "
        f'timeout {NODES_READY} sh -c {_function(script)} nodes "$@"',
        *names,
        timeout=NODES_READY + 15,
    )
    if output.exit_code == NOT_UP:
        raise CheckFailed("the cluster is not up: its masters have no admin access (kubeup up)")
    nodes = {item["metadata"]["name"]: item for item in proof.kubectl.get("nodes")}
    wrong = []
    first = next(
        (name for name in names if condition(nodes.get(name, {}).get("status", {}), "Ready").get("status") != "True"),
        "",
    )
    for name in names:
        if name not in nodes:
            wrong.append(f"{name} has not registered with the API")
            continue
        ready = condition(nodes[name]["status"], "Ready")
        if not ready:
            wrong.append(f"{name}'s kubelet has never reported (see journalctl -u kubelet there)")
        elif ready["status"] != "True":
            wrong.append(f"{name} is not Ready: {ready['message']}")
    if proof.cluster.cni == "none" and any(NO_NETWORK in what for what in wrong):
        wrong.append(YOURS)
    if wrong or not output.ok:
        # Where the network is the user's, and has not come yet, there is nothing to explain.
        way = (first, "svc/default/kubernetes") if first and proof.cluster.cni != "none" else None
        raise CheckFailed("; ".join(wrong) or output.stderr, way)
    stand_ins = {name for name, item in nodes.items() if STAND_IN in item["metadata"].get("labels", {})}
    strangers = sorted(nodes.keys() - set(names) - proof.others - stand_ins)
    more = f"; {', '.join(strangers)}: not in the inventory (kubeup remove-node takes a node away)" if strangers else ""
    return f"{len(names)} nodes are Ready{more}"


def _function(script: str) -> str:
    """A script for a shell of its own (as under timeout), with kubectl as a function there too."""
    return shlex.quote(f'kubectl() {{ {KUBECTL} "$@"; }}\n{script}')


def outside_address(proof: Proof) -> str:
    """The API answers where clients outside look for it: at the virtual address, or through the user's balancer."""
    if wrong := answers_outside(proof.cluster, proof.session):
        address = proof.cluster.api.address
        way = (proof.cluster.masters[0].name, f"{address}:{proof.cluster.api_port}") if address else None
        raise CheckFailed(f"{api_endpoint(proof.cluster)} does not answer ({wrong})", way)
    return f"the API answers at {api_endpoint(proof.cluster)}"


def classic(proof: Proof) -> str:
    """What 2015's validate-cluster printed: nodes, the table, the components' health, the addresses."""
    # With the address that clients outside use; asked for meanwhile.
    listing = gevent.spawn(proof.kubectl.script, 'kubectl --server "$1" cluster-info', api_endpoint(proof.cluster))
    nodes_and_health = proof.kubectl.checked(
        "kubectl get nodes -o wide; echo; echo 'Validate output:'; kubectl get componentstatuses 2>/dev/null"
    )
    found = nodes_and_health.partition("\n\n")[0].count("\n")  # below the line of headings
    proof.show(f"Found {found} node(s).\n{nodes_and_health.rstrip()}")
    unhealthy = [line for line in nodes_and_health.splitlines() if " Unhealthy " in line]
    if unhealthy:
        raise CheckFailed("; ".join(unhealthy))
    answer = listing.get()
    if not answer.ok:
        raise CheckFailed(f"the API does not answer at {api_endpoint(proof.cluster)}: {answer.stderr}")
    # kubectl colours it, and adds advice on how to debug.
    addresses = re.sub(r"\x1b\[[0-9;]*m", "", answer.stdout).partition("\nTo further debug")[0].rstrip()
    proof.show(f"Cluster validation succeeded\nDone, listing cluster services:\n\n{addresses}")
    return "controller-manager, scheduler and etcd are healthy"


def services_run(proof: Proof) -> str:
    """All units of the cluster run on their hosts, and do not restart again and again."""

    def ask(name: str) -> None:
        output = proof.session.shell(name, text("validation/services.sh"), str(STARTED), timeout=STARTED + 30)
        found = [line.split(" ", 1) for line in output.stdout.splitlines()]
        broken = [unit for kind, unit in found if kind == "unit"]
        full = [path for kind, path in found if kind == "full"]
        if broken:
            space = f"; less than 64 MiB are free in {', '.join(full)}" if full else ""
            raise CheckFailed(f"{', '.join(broken)} does not run (see journalctl -u {broken[0]}){space}")

    proof.on_each([host.name for host in proof.cluster.hosts], ask)
    return "all services run"


def pod_on_every_node(proof: Proof) -> str:
    """Every node runs a pod, and the ReplicationController its two."""
    name = proof.namespace
    # Where not all nodes are looked at, some may be dead, with one of CoreDNS' pods on them.
    coredns = (
        f"kubectl -n kube-system {'rollout status' if proof.whole else 'wait --for=condition=Available'} "
        f"--timeout={PODS_READY}s deployment/coredns >&2"
        if proof.cluster.addons.coredns
        else "true"
    )
    # A new namespace's service account is made by a controller: until then its pods are refused, and retried.
    output = proof.kubectl.script(
        f"kubectl -n {name} rollout status --timeout={PODS_READY}s daemonset/on-every-node >&2 & one=$!\n"
        f"kubectl -n {name} wait --timeout={PODS_READY}s --for=jsonpath='{{.status.readyReplicas}}'=2 rc/web >&2 & "
        f"two=$!\n{coredns} & three=$!\n"
        "rc=0; for job in $one $two $three; do wait $job || rc=1; done; "
        f"kubectl -n {name} get pods,services -o json; exit $rc",
        timeout=PODS_READY + 30,
    )
    items = json.loads(output.stdout)["items"] if output.stdout else []
    for item in items:
        ready = condition(item["status"], "Ready").get("status") == "True"
        match item["kind"], item["metadata"]["name"], item["metadata"].get("labels", {}).get("app"):
            case "Pod", pod, "on-every-node" if ready:
                proof.pods[item["spec"]["nodeName"]] = item["status"]["podIP"]
                proof.pod_names[item["spec"]["nodeName"]] = pod
            case "Pod", pod, "web" if ready:
                proof.web[pod] = item["status"]["podIP"]
            case "Service", "web", _:
                proof.service = item["spec"]["clusterIP"]
            case "Service", "web-node-port", _:
                proof.node_port = item["spec"]["ports"][0]["nodePort"]
    missing = [node.name for node in proof.cluster.nodes if node.name not in proof.pods]
    if missing or len(proof.web) < 2 or not output.ok:
        why = "; ".join(why_not_ready(item) for item in items if item["kind"] == "Pod" and why_not_ready(item))
        raise CheckFailed(f"no running pod on {', '.join(missing) or 'some node'}: {why or output.stderr}")
    return f"a pod runs on each of {len(proof.pods)} nodes"


def pods_reach_pods(proof: Proof) -> str:
    """The pod on each node reaches pods on other nodes; in a cluster of one node, other pods there."""
    names = [node.name for node in proof.cluster.nodes]

    def ask(name: str) -> None:
        start = names.index(name)
        others = [names[(start + step) % len(names)] for step in range(1, min(NEIGHBOURS, len(names) - 1) + 1)]
        targets = {f"the pod on {other}": proof.pods[other] for other in others} or proof.web
        ends = [proof.pod(other) for other in others] or [f"{proof.namespace}/{pod}" for pod in proof.web]
        urls = [f"http://{proof.pods[name]}/get?url={quote(f'http://{ip}/', safe='')}" for ip in targets.values()]
        started = time.monotonic()
        while True:
            wrong: list[str] = []
            way = None
            answers = proof.probe(name, "get", "--timeout", "4s", "--until", "10s", *urls)
            for target, end, answer in zip(targets, ends, answers, strict=True):
                inner = json.loads(answer["body"]) if answer.get("body") else {}
                if answer.get("error") or inner.get("error") or inner.get("status") != 200:
                    wrong.append(f"its pod does not reach {target}: {inner.get('error') or answer.get('error')}")
                    way = way or (proof.pod(name), end)
            if not wrong:
                return
            if not proof.waits(started):  # flanneld, too, watches the API for where pods are
                raise CheckFailed("; ".join(wrong), way)

    proof.on_every_node(ask)
    return f"pods of {len(names)} nodes reach one another" if len(names) > 1 else "pods reach one another"


def cluster_ip(proof: Proof) -> str:
    """The Service's address answers from every node, from both pods behind it."""

    def ask(name: str) -> None:
        url = f"http://{proof.service}:8001/"
        started = time.monotonic()
        while True:
            # Which pod answers is chance: 24 new connections miss one of two once in 16 million.
            answer = proof.probe(name, "get", "--times", "24", "--until", "5s", url)[0]
            seen = {body.strip() for body in answer.get("bodies", ())}
            if seen == set(proof.web):
                return
            if not proof.waits(started):
                said = (
                    answer.get("error")
                    or f"is answered by {', '.join(sorted(seen))}, not by {', '.join(sorted(proof.web))}"
                )
                raise CheckFailed(f"{url} {said}", (name, proof.web_service))
            gevent.sleep(0.1)

    proof.on_every_node(ask)
    return f"{proof.service}:8001 answers from every node"


def node_port(proof: Proof) -> str:
    """The NodePort answers on every node, from outside the cluster (from this machine where it has a way there)."""
    failures: dict[str, str] = {}

    def ask(name: str) -> None:
        address = proof.cluster.node(name).address
        way = (_own_address(str(address)), f"nodeport:{proof.node_port}@{name}")
        started = time.monotonic()
        while True:
            try:
                httpx.get(f"http://{address}:{proof.node_port}/", timeout=3, trust_env=False).raise_for_status()
                return
            except httpx.ConnectTimeout as error:
                failures[name] = "timeout"
                raise CheckFailed(f"port {proof.node_port} on {address}: {error}", way) from None
            except httpx.HTTPError as error:
                if not proof.waits(started):
                    failures[name] = str(error)
                    raise CheckFailed(f"port {proof.node_port} on {address}: {error}", way) from None
                gevent.sleep(0.3)

    try:
        proof.on_every_node(ask)
    except CheckFailed:
        # Where not even the addresses can be reached from here (a private network), neighbours are the outside.
        if len(failures) < len(proof.cluster.nodes) or set(failures.values()) != {"timeout"}:
            raise
        names = [node.name for node in proof.cluster.nodes]

        def ask_neighbour(name: str) -> None:
            other = proof.cluster.node(names[(names.index(name) + 1) % len(names)])
            answer = proof.probe(name, "get", "--until", "5s", f"http://{other.address}:{proof.node_port}/")[0]
            if answer.get("error"):
                text = f"port {proof.node_port} on {other.name} ({other.address}): {answer['error']}"
                raise CheckFailed(text, (name, f"nodeport:{proof.node_port}@{other.name}"))

        proof.on_every_node(ask_neighbour)
        return f"port {proof.node_port} answers on every node from its neighbour (no way there from this machine)"
    return f"port {proof.node_port} answers on every node from outside"


def _own_address(target: str) -> str:
    """The address by which this machine would reach a target. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target, 9))
        except OSError:
            return "192.0.2.1"  # from somewhere else, which is all that counts
        return str(probe.getsockname()[0])


def names_resolve(proof: Proof) -> str:
    """Names of Services resolve, in a pod on every node, with the pod's own resolv.conf."""
    wanted = {
        "kubernetes.default": str(proof.cluster.kubernetes_service_ip),
        f"web.{proof.namespace}.svc.{proof.cluster.domain}": proof.service,
    }

    def ask(name: str) -> None:
        urls = [f"http://{proof.pods[name]}/resolve?name={quote(wanted_name)}" for wanted_name in wanted]
        started = time.monotonic()
        while True:
            wrong = {}
            for (asked, address), answer in zip(
                wanted.items(), proof.probe(name, "get", "--timeout", "6s", *urls), strict=True
            ):
                inner = json.loads(answer["body"]) if answer.get("body") else {"error": answer.get("error")}
                if address not in (inner.get("addresses") or []):
                    found = inner.get("error") or inner.get("addresses")
                    wrong[asked] = f"{asked} does not resolve to {address} in its pod: {found}"
            if not wrong:
                return
            # CoreDNS may be starting, and knows then what has always been there.
            starts = "kubernetes.default" in wrong and time.monotonic() - started < NAMES_ANSWER
            if not starts and not proof.waits(started):
                raise CheckFailed("; ".join(wrong.values()), (proof.pod(name), proof.web_service))
            gevent.sleep(0.3)

    proof.on_every_node(ask)
    return "kubernetes.default and web resolve in pods of every node"


def pod_is_replaced(proof: Proof) -> str:
    """A killed pod is replaced, and the Service's endpoints follow."""
    victim = sorted(proof.web)[0]
    output = proof.kubectl.script(
        f"kubectl -n {proof.namespace} delete pod {victim} --wait=false >&2\n"
        f"slices() {{ kubectl -n {proof.namespace} get endpointslices -l kubernetes.io/service-name=web "
        "-o jsonpath='{range .items[*].endpoints[?(@.conditions.ready==true)]}{.targetRef.name}{\"\\n\"}{end}'; }\n"
        f"for i in $(seq 150); do now=$(slices); set -- $now; "
        f'case " $* " in *" {victim} "*) ;; *) [ $# = 2 ] && {{ echo "$now"; exit 0; }} ;; esac; sleep 0.2; done\n'
        'echo "endpoints after 30 s: $now" >&2; exit 1'
    )
    if not output.ok:
        raise CheckFailed(f"{victim} was killed and not replaced: {output.stderr}")
    proof.web = dict.fromkeys(output.stdout.split(), "")
    cluster_ip(proof)
    return f"{victim} was killed, another answers in its place"


def addons(proof: Proof) -> str:
    """All that addons brought into the cluster is there, and their pods are ready."""
    return addons_ready(proof.kubectl, whole=proof.whole)


def ingress_address(proof: Proof) -> str:
    """One of the ingress nodes has the address for ingress, and it leads to Traefik from all of them."""
    virtual = next(virtual for virtual in proof.cluster.virtual_addresses if virtual.name == "ingress")

    def ask(name: str) -> None:
        answer = proof.probe(name, "connect", "--until", f"{ADDRESS_COMES}s", f"{virtual.address}:80")[0]
        if answer["error"]:
            raise CheckFailed(f"{answer['error']} (see journalctl -u keepalived, on {name} and its like)")

    proof.on_each([node.name for node in virtual.nodes], ask)
    return f"{virtual.address} takes connections on port 80"


Check = Callable[[Proof], str]
"""Returns what was seen; raises CheckFailed."""

BEFORE: tuple[Check, ...] = (nodes_ready, services_run, outside_address, classic)
"""What can be looked at without setting anything up. Nothing of the rest makes sense when one of these fails."""

SIDE_BY_SIDE: tuple[Check, ...] = (pods_reach_pods, cluster_ip, node_port, names_resolve, addons)
AFTERWARDS: tuple[Check, ...] = (ingress_address, pod_is_replaced)


def title(check: Check) -> str:
    """What a check is called in reports: cluster-ip."""
    return check.__name__.replace("_", "-")


def titles() -> list[str]:
    """What all checks are called, in their order."""
    return [title(check) for check in (*BEFORE, pod_on_every_node, *SIDE_BY_SIDE, *AFTERWARDS)]


def result_of(
    name: str, check: Callable[[], str], limit: float | None, explain: Callable[[Exception], str] = lambda error: ""
) -> CheckResult:
    """What a check finds, which may take so many seconds. ``explain`` says more of one that failed."""
    started = time.monotonic()
    over = gevent.Timeout(limit)
    over.start()
    try:
        detail, ok = check(), True
    except gevent.Timeout as timeout:
        if timeout is not over:
            raise
        detail, ok = f"not done within {limit:.0f} s", False
    except (KubeupError, OSError) as error:
        over.close()
        detail, ok = str(error) + explain(error), False
    finally:
        over.close()
    return CheckResult(name, ok, detail, time.monotonic() - started)


def lacks_its_network(cluster: Cluster, results: Sequence[CheckResult]) -> bool:
    """Whether all that is wrong is that the network has not come yet which `cni: none` leaves to the user."""
    failed = [result for result in results if not result.ok]
    return (
        cluster.cni == "none"
        and [result.name for result in failed] == [title(nodes_ready)]
        and all(NO_NETWORK in part for part in failed[0].detail.split("; ") if part != YOURS)
    )


SWEEP = f"""\
kubectl delete nodes -l {STAND_IN} --wait=false --ignore-not-found >&2
kubectl delete pods -A -l {STAND_IN} --force --grace-period=0 --wait=false --ignore-not-found >/dev/null 2>&1
kubectl delete namespaces -l {LABEL} --wait=false --ignore-not-found >&2
"""
"""Takes away all that validations have made, also one that was killed. (A pod of a node without a host would be there
for another minute if it were not forced.)"""


def _explained(proof: Proof, error: Exception) -> str:
    """The first broken link on the way that did not work, where one is found (see `kubeup trace`)."""
    if not isinstance(error, CheckFailed) or error.way is None:
        return ""
    try:
        with gevent.Timeout(EXPLAINED, False):
            return in_short(trace(proof.cluster, proof.session, *error.way))
    except KubeupError:
        pass  # the API does not answer, or what was set up is gone: the error itself is what can be said
    return ""


@contextmanager
def _objects(proof: Proof) -> Iterator[Callable[[], None]]:
    """Set up what is validated with, and take it away again, also what a killed validation has left.

    It is begun at once, so that pods are there when nodes become Ready. Gives what waits until it is done, and raises
    HostsFailed where it could not be.
    """
    text = render(
        "validation/objects.yaml.j2",
        namespace=proof.namespace,
        image=image_reference("probe", DEFAULT_VERSIONS["probe"]),
        names=[node.name for node in proof.cluster.nodes],
    )
    apply = "kubectl apply --server-side --force-conflicts -f - >&2"
    job = gevent.spawn(proof.kubectl.script, f"{SWEEP}{apply}", stdin=text)

    def wait() -> None:
        job.join()
        if not job.value or not job.value.ok:  # too early, perhaps, while the first checks still waited
            proof.kubectl.checked(apply, stdin=text)  # without the sweep, which would take what there is of it away

    try:
        yield wait
    finally:
        job.join()
        proof.kubectl.script(f"kubectl delete namespace {proof.namespace} --wait=false --ignore-not-found")


def validate(
    cluster: Cluster,
    session: Session,
    names: Collection[str] | None = None,
    show: Callable[[str], None] = print,
    seen: Callable[[CheckResult], None] = lambda result: None,
    *,
    only: Collection[str] = (),
    limit: float | None = None,
) -> list[CheckResult]:
    """Run the checks, up to where one fails that the others build on. Returns what each found, in order.

    ``show`` gets 2015's output, ``seen`` each result at once.

    ``names``: the nodes to look at, with a master among them; the others are not spoken to, nor need they be alive.
    ``only``: the checks to run, by their titles, and with them what they build on. ``limit``: seconds for all checks;
    making and removing the objects that they look at comes on top.

    Raises HostsFailed when no master can be asked.
    """
    looked_at, of_etcd = (
        tuple(host for host in hosts if names is None or host.name in names)
        for hosts in (cluster.nodes, cluster.etcd_hosts)
    )
    proof = Proof(
        cluster.model_copy(update={"nodes": looked_at, "etcd_hosts": of_etcd}),
        session,
        Kubectl(cluster, session),
        f"kubeup-validation-{secrets.token_hex(3)}",
        whole=len(looked_at) == len(cluster.nodes),
        others=frozenset(node.name for node in cluster.nodes if node not in looked_at),
        show=show,
    )
    results: list[CheckResult] = []
    deadline = time.monotonic() + limit if limit else None

    def left() -> float | None:
        return max(0.1, deadline - time.monotonic()) if deadline else None

    explain = partial(_explained, proof)

    def run_all(checks: Sequence[Check]) -> bool:
        jobs = [gevent.spawn(result_of, title(check), partial(check, proof), left(), explain) for check in checks]
        gevent.joinall(jobs, raise_error=True)
        for job in jobs:
            results.append(job.value)
            seen(job.value)
        return all(job.value.ok for job in jobs)

    def chosen(checks: Sequence[Check]) -> list[Check]:
        return [check for check in checks if not only or title(check) in only]

    side_by_side = [check for check in SIDE_BY_SIDE if check is not names_resolve or cluster.addons.coredns]
    with_pods = bool(chosen([pod_on_every_node, *SIDE_BY_SIDE, *AFTERWARDS]))
    apart = cluster.api.address or cluster.api.balancer
    # The first master's own address is what `classic` asks.
    others = [check for check in chosen(BEFORE[1:]) if check is not outside_address or apart]
    # An ingress controller of the user's own may not be there yet, and with parts of a cluster nor may its node.
    traefik = proof.whole and cluster.addons.traefik and cluster.addons.ingress_vip
    afterwards = [check for check in AFTERWARDS if check is not ingress_address or traefik]
    with _objects(proof) if with_pods else nullcontext(lambda: None) as wait:
        if (with_pods or chosen(BEFORE[:1])) and not run_all(BEFORE[:1]):
            return results
        if not run_all(others) or not with_pods:
            return results
        wait()
        if run_all([pod_on_every_node]):
            run_all(chosen(side_by_side))
            run_all(chosen(afterwards))
    return results
