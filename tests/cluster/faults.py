"""Faults that are injected for real, and what `kubeup trace` must say of each. What the tests of it share.

Scripts run on the client's node (C) or on the node of the pod that it asks (P), as root, with these set: C, P (the
nodes' addresses), C_NET, P_NET (their pod subnets), C_TUN, P_TUN (the addresses of their flannel.1), C_MAC, P_MAC (its
hardware addresses), POD (the pod's address), and NAME_SVC (kube-proxy's chain of the Service in iptables mode); those
of ``api`` on the first master, with kubectl.

kube-proxy, flanneld and kubelet put some things right again by themselves. Where they would be quicker than the trace,
they are stopped in their tracks first (SIGSTOP: for systemd they run), and let go on afterwards: HOLD_ and GO_ say so.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from .support import FAILED, PROBE_IMAGE, Deployed, Done, eventually

KUBECTL = "export KUBECONFIG=/etc/kubernetes/admin.conf KUBECACHEDIR=/run/test-kubectl"
OUTSIDE = "203.0.113.9"


def hold(unit: str) -> str:
    """Stop a service in its tracks."""
    return f"systemctl kill --signal=STOP {unit}; "


def let_go(unit: str) -> str:
    """Let it go on, and put right what was changed meanwhile."""
    return f"; systemctl kill --signal=CONT {unit}; systemctl restart {unit}"


@dataclass(frozen=True)
class Fault:
    """A way to break a cluster.

    ``on``: where ``inject`` and ``undo`` run: the node of the client or of the pod, the worker, api (kubectl on the
    master), or the machine, which is the network between the hosts. ``evidence``: words
    that the evidence must have. ``mends``: whether the command that is proposed is all that is needed; it is run then,
    and ``undo`` only sees to the rest.
    """

    id: str
    fault: str
    on: str
    inject: str
    undo: str
    evidence: tuple[str, ...]
    mends: bool = True
    client: str = "pod"
    """Where the trace begins: pod, node, or an outside address."""
    target: str = "svc/web:8001"
    wait: str = ""
    """A command for kubectl on the master that waits until the fault shows."""


HOLD_PROXY, GO_PROXY = hold("kube-proxy"), let_go("kube-proxy")
HOLD_FLANNEL, GO_FLANNEL = hold("flanneld"), let_go("flanneld")
MAP = "kubectl -n kube-system get configmap coredns -o yaml"
DNS_AGAIN = (
    "kubectl -n kube-system scale deployment coredns --replicas=2; "
    "kubectl -n kube-system rollout status deployment coredns --timeout=60s"
)

FAULTS = [
    Fault("forward-dropped", "forward-dropped", "client",
          "iptables -I FORWARD -j DROP", "iptables -D FORWARD -j DROP 2>/dev/null",
          ("-A FORWARD -j DROP",)),
    Fault("forward-policy-behind-a-rule", "forward-dropped", "pod",
          f"{HOLD_FLANNEL}iptables -P FORWARD DROP; iptables -F FLANNEL-FWD",
          f"iptables -P FORWARD ACCEPT{GO_FLANNEL}",
          ("the policy of chain FORWARD in table filter is DROP",)),
    Fault("service-chain-gone", "service-chain", "client",
          f"{HOLD_PROXY}iptables -t nat -F $NAME_SVC", f":{GO_PROXY}",
          ("KUBE-SVC-", "the Service's rules are gone")),
    Fault("endpoint-chain-gone", "endpoint-chain", "client",
          f"{HOLD_PROXY}iptables -t nat -F $(iptables -t nat -S $NAME_SVC | sed -n 's/.*-j \\(KUBE-SEP-.*\\)/\\1/p')",
          f":{GO_PROXY}", ("KUBE-SEP-", "the endpoint's rules are gone")),
    Fault("service-rule-gone", "service-chain", "client",
          f"{HOLD_PROXY}iptables -t nat -F KUBE-SERVICES", f":{GO_PROXY}",
          ("no chain of the Service kube-system/kube-dns",)),  # it comes first, and goes with all others
    Fault("kube-proxy-stopped", "kube-proxy-stopped", "client",
          "systemctl stop kube-proxy", "systemctl start kube-proxy",
          ("kube-proxy.service", "is inactive", "they still send to"),
          wait="kubectl delete pod -l app=web --wait=true; kubectl rollout status deployment web --timeout=60s"),
    Fault("masquerade-missing", "masquerade-missing", "client",
          f"{HOLD_PROXY}iptables -t nat -F KUBE-POSTROUTING", f":{GO_PROXY}",
          ("masquerades", "does not come back"), client=OUTSIDE, target="nodeport:30080"),
    Fault("tunnel-down", "tunnel-down", "client",
          f"{HOLD_FLANNEL}ip link set flannel.1 down", f":{GO_FLANNEL}", ("flannel.1", "is down")),
    Fault("route-gone", "route-missing", "client",
          f"{HOLD_FLANNEL}ip route del $P_NET", f":{GO_FLANNEL}", ("has no route to the pods of", "default via")),
    Fault("route-back-gone", "route-missing", "pod",
          f"{HOLD_FLANNEL}ip route del $C_NET", f":{GO_FLANNEL}", ("has no route to the pods of",)),
    Fault("fdb-entry-gone", "fdb-missing", "client",
          f"{HOLD_FLANNEL}bridge fdb del $P_MAC dev flannel.1 dst $P", f":{GO_FLANNEL}", ("forwarding database",)),
    Fault("fdb-entry-wrong", "fdb-missing", "pod",
          f"{HOLD_FLANNEL}bridge fdb replace $C_MAC dev flannel.1 dst 192.0.2.1",
          f"bridge fdb replace $C_MAC dev flannel.1 dst $C{GO_FLANNEL}", ("leads to 192.0.2.1",)),
    Fault("neighbour-gone", "neighbour-missing", "client",
          f"{HOLD_FLANNEL}ip neigh del $P_TUN dev flannel.1", f":{GO_FLANNEL}", ("among its neighbours",)),
    Fault("vxlan-dropped", "tunnel-blocked", "pod",
          "iptables -I INPUT -s $C/32 -p udp -m udp --dport 8472 -j DROP",
          "iptables -D INPUT -s $C/32 -p udp -m udp --dport 8472 -j DROP 2>/dev/null",
          ("UDP 8472", "-j DROP")),
    Fault("vxlan-dropped-between-the-hosts", "tunnel-blocked", "machine",
          # On the bridge that connects the lab's hosts: no host has a rule that says so.
          "nft add table bridge kubeup_test; "
          "nft 'add chain bridge kubeup_test way { type filter hook forward priority 0 ; }'; "
          "nft add rule bridge kubeup_test way ip saddr $C ip daddr $P udp dport 8472 drop",
          "nft delete table bridge kubeup_test", ("UDP 8472 is blocked between",), mends=False),
    Fault("same-subnet", "subnet-conflict", "pod",
          # What flanneld left for its node to know is altered. A subnet that is really there twice takes a Node object
          # that somebody copied or restored; no cluster of kubeup's comes to that by itself.
          f"{HOLD_FLANNEL}cp /run/flannel/subnet.env /run/subnet.env; "
          "sed -i \"s|^FLANNEL_SUBNET=.*|FLANNEL_SUBNET=${C_NET%.0/24}.1/24|\" /run/flannel/subnet.env",
          f"cp /run/subnet.env /run/flannel/subnet.env{GO_FLANNEL}", ("have the same subnet for their pods",),
          mends=False),
    Fault("mtu-too-large", "mtu-too-large", "client",
          # The kernel refuses a VXLAN device more than its link has room for, and forgets it when the link's MTU sinks.
          f"{HOLD_FLANNEL}ip link set eth0 mtu 1400", f"ip link set eth0 mtu 1500{GO_FLANNEL}",
          ("the MTU of flannel.1", "is 1450", "eth0 (1400) has room for 1350"),
          mends=False),  # not alone: the pods that are there keep theirs, as the next walk says
    Fault("ip-forward-off", "ip-forward-off", "client",
          "sysctl -qw net.ipv4.ip_forward=0", "sysctl -qw net.ipv4.ip_forward=1", ("net.ipv4.ip_forward is 0",)),
    Fault("bridge-netfilter-off", "bridge-netfilter-off", "client",
          "sysctl -qw net.bridge.bridge-nf-call-iptables=0", "sysctl -qw net.bridge.bridge-nf-call-iptables=1",
          ("net.bridge.bridge-nf-call-iptables is 0",)),
    Fault("coredns-without-endpoints", "dns-endpoints", "api",
          "kubectl -n kube-system scale deployment coredns --replicas=0", DNS_AGAIN, ("scaled to 0",),
          wait="kubectl -n kube-system wait pods -l k8s-app=kube-dns --for=delete --timeout=60s"),
    Fault("corefile-brace", "corefile", "api",
          f"{MAP} | sed '0,/^    }}$/s/^    }}$//' | kubectl replace -f -",
          "systemctl restart kubeup-addons", ("brace",)),
    Fault("corefile-unknown-word", "corefile", "api",
          # CoreDNS takes no Corefile that it cannot read, while it runs; so it is started anew.
          f"{MAP} | sed 's/^        loadbalance/        nosuchplugin/' | kubectl replace -f -; "
          "kubectl -n kube-system delete pods -l k8s-app=kube-dns",
          f"systemctl restart kubeup-addons; kubectl -n kube-system rollout restart deployment coredns; {DNS_AGAIN}",
          ("CoreDNS does not take its Corefile", "nosuchplugin"),
          wait="for i in $(seq 60); do kubectl -n kube-system logs -l k8s-app=kube-dns 2>/dev/null | grep -q nosuch && "
               "break; sleep 0.5; done"),
    Fault("selector-matches-nothing", "selector", "api",
          "kubectl set selector service web app=wbe", "kubectl set selector service web app=web",
          ("(app=wbe) matches no pod",), wait="sleep 2"),
    Fault("target-port-wrong", "target-port", "api",
          "kubectl patch service web --type json "
          "-p '[{\"op\":\"replace\",\"path\":\"/spec/ports/0/targetPort\",\"value\":81}]'",
          "kubectl patch service web --type json "
          "-p '[{\"op\":\"replace\",\"path\":\"/spec/ports/0/targetPort\",\"value\":\"http\"}]'",
          ("sends to port 81/tcp", "it listens at 80"), wait="sleep 2"),
    Fault("target-port-name-unknown", "target-port", "api",
          "kubectl patch service web --type json "
          "-p '[{\"op\":\"replace\",\"path\":\"/spec/ports/0/targetPort\",\"value\":\"htpp\"}]'",
          "kubectl patch service web --type json "
          "-p '[{\"op\":\"replace\",\"path\":\"/spec/ports/0/targetPort\",\"value\":\"http\"}]'",
          ("'htpp'", "http (80)"), wait="sleep 2"),
    Fault("pod-not-ready", "pod-not-ready", "api",
          "kubectl scale deployment sick --replicas=1", "kubectl scale deployment sick --replicas=0",
          ("is not Ready", "readiness probe"), mends=False, target="svc/sick:80",
          wait="kubectl wait pods -l app=sick --for=jsonpath='{.status.phase}'=Running --timeout=30s; sleep 2"),
    Fault("kubelet-down", "kubelet-down", "pod", "systemctl stop kubelet", "systemctl start kubelet",
          ("kubelet.service", "is inactive")),
    Fault("containerd-down", "containerd-down", "pod", "systemctl stop containerd", "systemctl start containerd; "
          "systemctl start kubelet", ("containerd.service", "is inactive")),
    Fault("kubelet-certificate-expired", "kubelet-certificate", "pod",
          "cp -p /etc/kubernetes/pki/kubelet.crt /root/kubelet.crt; "
          "cp /root/expired.crt /etc/kubernetes/pki/kubelet.crt; systemctl restart --no-block kubelet",
          "cp -p /root/kubelet.crt /etc/kubernetes/pki/kubelet.crt; touch /etc/kubernetes/pki/kubelet.crt; "
          "systemctl reset-failed kubelet 2>/dev/null; systemctl restart kubelet",
          ("/etc/kubernetes/pki/kubelet.crt", "expired at"), mends=False),
    Fault("apiserver-unreachable", "apiserver-unreachable", "worker",
          "iptables -I OUTPUT -p tcp -m tcp --dport 6443 -j DROP",
          "iptables -D OUTPUT -p tcp -m tcp --dport 6443 -j DROP 2>/dev/null",
          ("the API does not answer on", "--dport 6443 -j DROP")),
    Fault("clock-skew", "clock-skew", "pod",
          # All lab hosts have the machine's clock. What is altered is the `date` that is asked: the walk is shown to
          # name a clock that is wrong, not what such a clock does to a cluster.
          "printf '#!/bin/sh\\n[ \"$1\" = +%%s.%%N ] && exec /bin/date -d \"now + 90 seconds\" \"$@\"\\nexec /bin/date "
          "\"$@\"\\n' >/usr/local/bin/date; chmod 0755 /usr/local/bin/date",
          "rm -f /usr/local/bin/date", ("s ahead of the others",), mends=False),
    Fault("foreign-rule-rejects", "rule-rejects", "pod",
          "iptables -I FORWARD -p tcp -m tcp --dport 80 -m comment --comment somebody -j REJECT",
          "iptables -D FORWARD -p tcp -m tcp --dport 80 -m comment --comment somebody -j REJECT 2>/dev/null",
          ("is rejected on", "somebody")),
    Fault("foreign-table-rejects", "rule-rejects", "client",
          "nft add table inet somebody; nft 'add chain inet somebody way { type filter hook forward priority -5 ; }'; "
          "nft add rule inet somebody way ip daddr $POD tcp dport 80 counter reject",
          "nft delete table inet somebody", ("inet somebody", "reject")),
    Fault("cable-pulled", "pod-cable", "pod",
          "ip link set $(bridge fdb show | grep \"$(ip neigh show $POD dev cni0 | awk '{print $3}')\" | head -n 1 | "
          "awk '{print $3}') down",
          "for link in $(ip -o link show master cni0 | awk -F'[ :@]+' '{print $2}'); do ip link set $link up; done",
          ("the cable of the pod default/web", "is down")),
]  # fmt: skip

BOTH_ENDS = ("subnet-conflict", "clock-skew", "kubelet-certificate")
"""Those whose mending is not on the host where they are."""
QUICK = ("forward-dropped", "service-chain-gone", "fdb-entry-gone", "selector-matches-nothing")
"""Those that `make test` injects."""

OBJECTS = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: client}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec: {tolerations: [{operator: Exists}], terminationGracePeriodSeconds: 1, containers: [PROBE]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeSelector: {kubernetes.io/hostname: NODE}
      terminationGracePeriodSeconds: 1
      containers: [PROBE]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: sick}
spec:
  replicas: 0
  selector: {matchLabels: {app: sick}}
  template:
    metadata: {labels: {app: sick}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: probe
        image: IMAGE
        args: [--listen, ":80"]
        readinessProbe: {httpGet: {path: /nosuch, port: 80}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{name: http, port: 8001, targetPort: http, nodePort: 30080}]
---
apiVersion: v1
kind: Service
metadata: {name: sick}
spec:
  selector: {app: sick}
  ports: [{port: 80}]
"""
PROBE = """{name: probe, image: "IMAGE", args: [--listen, ":80"], ports: [{name: http, containerPort: 80}],
        readinessProbe: {httpGet: {path: /ready, port: 80}, periodSeconds: 1}}"""


class Way:
    """A client, what it asks, and the cluster between them."""

    def __init__(self, cluster: Deployed) -> None:
        self.cluster = cluster
        self.client_node, self.pod_node = cluster.master, cluster.workers[-1]

    def set_up(self) -> None:
        """A pod on each node, and a Service with one pod, on the last."""
        text = OBJECTS.replace("PROBE", PROBE).replace("IMAGE", PROBE_IMAGE).replace("NODE", self.pod_node)
        self.cluster.kubectl("apply", "-f", "-", stdin=text)
        for what in ("daemonset/client", "deployment/web"):
            self.cluster.kubectl("rollout", "status", what, "--timeout=60s")

    def leave_expired_certificate(self) -> None:
        """A certificate for the kubelet's own key on the pod's node, in /root, that was valid until yesterday."""
        key = load_pem_private_key(self.cluster.on(self.pod_node, "cat /etc/kubernetes/pki/kubelet.key").encode(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{self.pod_node}")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=2), now - timedelta(days=1))
        ).sign(key, hashes.SHA256())
        text = certificate.public_bytes(Encoding.PEM).decode()
        self.cluster.on(self.pod_node, 'printf %s "$1" >/root/expired.crt', text)

    def take_down(self) -> None:
        """Away with all of it."""
        self.cluster.kubectl("delete", "--wait=false", "daemonset/client", "deployment/web", "deployment/sick",
                             "service/web", "service/sick", check=False)  # fmt: skip

    def _pod(self, app: str, node: str) -> Any:
        items = json.loads(self.cluster.kubectl("get", "pods", "-l", f"app={app}", "-o", "json"))["items"]
        return next(pod for pod in items if pod["spec"]["nodeName"] == node
                    and "deletionTimestamp" not in pod["metadata"])  # fmt: skip

    @property
    def client(self) -> str:
        return f"pod/{self._pod('client', self.client_node)['metadata']['name']}"

    def variables(self) -> str:
        """The shell variables of the scripts."""
        values = {"NAME_SVC": "$(iptables -t nat -S KUBE-SERVICES 2>/dev/null | sed -n "
                  "'s/.*default.web:http cluster IP.* -j //p')"}  # fmt: skip
        for letter, node in (("C", self.client_node), ("P", self.pod_node)):
            link = json.loads(self.cluster.on(node, "ip -j addr show flannel.1"))[0]
            tunnel = next(one["local"] for one in link["addr_info"] if one["family"] == "inet")
            values |= {letter: self.cluster.address(node), f"{letter}_TUN": tunnel, f"{letter}_NET": f"{tunnel}/24",
                       f"{letter}_MAC": link["address"]}  # fmt: skip
        values["POD"] = self._pod("web", self.pod_node)["status"]["podIP"]
        return "".join(f'{name}="{value}"; ' for name, value in values.items())

    def run(self, where: str, script: str) -> None:
        """Run a script of a fault."""
        match where:
            case "api":
                self.cluster.on(self.cluster.master, f"{KUBECTL}; {script}")
            case "client":
                self.cluster.on(self.client_node, self.variables() + script)
            case "machine":
                subprocess.run(["sh", "-ec", self.variables() + script], check=True, timeout=30)
            case _:  # the pod's node, which is a worker
                self.cluster.on(self.pod_node, self.variables() + script)

    def trace(self, client: str = "pod", target: str = "svc/web:8001", code: int | None = None) -> Done:
        """What `kubeup trace` says, as JSON."""
        match client:
            case "pod":
                client = self.client
            case "node":
                client = self.client_node
        if target.startswith("nodeport:"):
            target += f"@{self.client_node}"
        return self.cluster.kubeup("trace", client, target, "--json", code=code)

    def is_well(self) -> bool:
        """Whether all of the way is whole."""
        return bool(self.trace().json()["ok"])

    @contextmanager
    def broken(self, fault: Fault) -> Iterator[None]:
        """Break it, and see to it that it is whole again."""
        variables = self.variables()
        host = {"client": self.client_node, "api": self.cluster.master}.get(fault.on, self.pod_node)
        self.run(fault.on, fault.inject)
        try:
            if fault.wait:
                self.cluster.on(self.cluster.master, f"{KUBECTL}; {fault.wait}")
            yield
        finally:
            if fault.on == "machine":
                self.run("machine", fault.undo)
            else:
                self.cluster.on(host, f"{KUBECTL}; {variables}{fault.undo}; true")

    def shows(self, fault: Fault) -> None:
        """Inject it, and see that it is named rightly, that its command mends it, and that nothing else is wrong."""
        with self.broken(fault):
            done = self.trace(fault.client, fault.target, code=FAILED)
            said = done.json()["broken"]
            assert said["fault"] == fault.fault, (
                f"{fault.id} is taken for {said['fault']}: {json.dumps(said, indent=1)}"
            )
            for words in fault.evidence:
                assert words in said["evidence"], f"{words!r} is not in: {said['evidence']}"
            wanted = {"client": self.client_node, "pod": self.pod_node, "worker": self.pod_node}.get(fault.on)
            assert wanted is None or fault.fault in BOTH_ENDS or said["host"] == wanted, said
            if fault.mends:
                self.cluster.on(said["host"] or self.cluster.master, f"{KUBECTL}; {said['mend']}")
                mended = eventually(lambda: self._named(fault) != fault.fault, seconds=20, every=1)
                assert mended, f"{said['mend']!r} on {said['host']} does not mend {fault.id}"
        started = time.monotonic()
        well = eventually(self.is_well, seconds=60, every=1)
        assert well, f"{fault.id} is undone for {time.monotonic() - started:.0f} s:\n{self.trace()}"

    def _named(self, fault: Fault) -> str:
        broken = self.trace(fault.client, fault.target).json()["broken"]
        return str(broken["fault"]) if broken else ""
