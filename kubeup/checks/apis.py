"""Which API versions a cluster uses and keeps objects in, and which of them another version of Kubernetes lacks."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from kubeup.checks.etcdctl import ETCDCTL, OWN
from kubeup.checks.kubectl import KUBECTL, Kubectl
from kubeup.cluster import Cluster
from kubeup.cluster.skew import minor_of
from kubeup.errors import HostFailure, HostsFailed
from kubeup.host.session import Session, failure
from kubeup.templates import render

REMOVED: Mapping[str, tuple[int, int]] = {
    # "apiVersion kind": the release that no longer has it, which then can no longer read what is stored so.
    # From k8s.io/api v0.36.3, zz_generated.prerelease-lifecycle.go, APILifecycleRemoved.
    "flowcontrol.apiserver.k8s.io/v1beta3 FlowSchema": (1, 32),
    "flowcontrol.apiserver.k8s.io/v1beta3 PriorityLevelConfiguration": (1, 32),
    "admissionregistration.k8s.io/v1alpha1 ValidatingAdmissionPolicy": (1, 32),
    "admissionregistration.k8s.io/v1alpha1 ValidatingAdmissionPolicyBinding": (1, 32),
    "admissionregistration.k8s.io/v1beta1 ValidatingAdmissionPolicy": (1, 34),
    "admissionregistration.k8s.io/v1beta1 ValidatingAdmissionPolicyBinding": (1, 34),
    "storage.k8s.io/v1alpha1 VolumeAttributesClass": (1, 35),
    "certificates.k8s.io/v1alpha1 ClusterTrustBundle": (1, 37),
    "networking.k8s.io/v1beta1 IPAddress": (1, 37),
    "networking.k8s.io/v1beta1 ServiceCIDR": (1, 37),
    "storage.k8s.io/v1beta1 VolumeAttributesClass": (1, 37),
    "admissionregistration.k8s.io/v1alpha1 MutatingAdmissionPolicy": (1, 38),
    "admissionregistration.k8s.io/v1alpha1 MutatingAdmissionPolicyBinding": (1, 38),
    "coordination.k8s.io/v1alpha2 LeaseCandidate": (1, 38),
    "resource.k8s.io/v1beta1 DeviceClass": (1, 38),
    "resource.k8s.io/v1beta1 ResourceClaim": (1, 38),
    "resource.k8s.io/v1beta1 ResourceClaimTemplate": (1, 38),
    "resource.k8s.io/v1beta1 ResourceSlice": (1, 38),
    "certificates.k8s.io/v1beta1 ClusterTrustBundle": (1, 39),
    "coordination.k8s.io/v1beta1 LeaseCandidate": (1, 39),
    "resource.k8s.io/v1alpha3 DeviceTaintRule": (1, 39),
    "resource.k8s.io/v1beta2 DeviceClass": (1, 39),
    "resource.k8s.io/v1beta2 ResourceClaim": (1, 39),
    "resource.k8s.io/v1beta2 ResourceClaimTemplate": (1, 39),
    "resource.k8s.io/v1beta2 ResourceSlice": (1, 39),
    "admissionregistration.k8s.io/v1beta1 MutatingAdmissionPolicy": (1, 40),
    "admissionregistration.k8s.io/v1beta1 MutatingAdmissionPolicyBinding": (1, 40),
    "certificates.k8s.io/v1beta1 PodCertificateRequest": (1, 41),
    "storagemigration.k8s.io/v1beta1 StorageVersionMigration": (1, 41),
}

_METRIC = re.compile(r"^apiserver_requested_deprecated_apis\{(?P<labels>[^}]*)\}\s+[1-9]", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def requested(metrics: str) -> dict[str, str]:
    """Deprecated APIs that were asked for: what, and the release that removes it; from an apiserver's metrics.

    Only those whose removal has a release.
    """
    found = {}
    for match in _METRIC.finditer(metrics):
        labels = dict(_LABEL.findall(match["labels"]))
        if release := labels.get("removed_release"):
            api = f"{labels['group']}/{labels['version']}" if labels.get("group") else labels.get("version", "")
            found[f"{api} {labels.get('resource', '')}"] = release
    return found


def removed_in(release: str, version: str) -> bool:
    """Whether what is removed in a release (1.36) is no longer there in a version (1.36.3)."""
    major, _, minor = release.partition(".")
    return (int(major), int(minor)) <= minor_of(version)


def asked_for(cluster: Cluster, session: Session) -> dict[str, str]:
    """`requested` of all apiservers together. One that does not answer is left out."""

    def ask(name: str) -> dict[str, str]:
        output = session.shell(name, f"{KUBECTL} get --raw /metrics | grep ^apiserver_requested_deprecated || true")
        return requested(output.stdout)

    found: dict[str, str] = {}
    for answer in session.side_by_side([master.name for master in cluster.masters], ask).values():
        if isinstance(answer, dict):
            found |= answer
    return found


def type_of(beginning: bytes) -> str | None:
    """ "apiVersion kind" of an object as the apiserver stores it, of which this is the beginning; None when unknown."""
    if beginning.startswith(b"{"):  # custom resources are stored as JSON
        found = re.search(rb'"apiVersion":"([^"]+)"(?:,"kind":"([^"]+)")?', beginning)
        return " ".join(part.decode() for part in found.groups() if part) if found else None
    if not beginning.startswith(b"k8s\0\n"):
        return None  # encrypted, or not Kubernetes' at all
    meta = beginning[6 : 6 + beginning[5]]
    fields = []
    while len(meta) > 2 and meta[0] in (0x0A, 0x12):  # protobuf: fields 1 and 2, each of a length
        length = meta[1]
        fields.append(meta[2 : 2 + length].decode(errors="replace"))
        meta = meta[2 + length :]
    return " ".join(fields) or None


def stored(cluster: Cluster, session: Session) -> Counter[str]:
    """How many objects etcd keeps of each "apiVersion kind". Raises HostsFailed when no member answers."""
    script = render("upgrade/stored.sh.j2", etcdctl=ETCDCTL, endpoint=OWN)
    if not cluster.members:  # an etcd that is not kubeup's
        return Counter()
    failures: list[HostFailure] = []
    for node in cluster.members:
        output = session.shell(node.name, script, timeout=300)
        if output.ok:
            return counted(output.stdout.split())
        failures.append(failure(node.name, "asking etcd which API versions objects are stored in", output))
    raise HostsFailed("asking etcd", failures)


def counted(lines: Iterable[str]) -> Counter[str]:
    """The same, from the beginnings of values as base64."""
    kinds = (type_of(base64.b64decode(line[: len(line) // 4 * 4])) for line in lines)
    return Counter(kind for kind in kinds if kind)


def lost_in(kinds: Mapping[str, int], version: str) -> dict[str, int]:
    """Of stored objects those that a version of Kubernetes (1.36.3) can no longer read."""
    return {kind: number for kind, number in kinds.items() if kind in REMOVED and REMOVED[kind] <= minor_of(version)}


def served(cluster: Cluster, session: Session) -> list[str]:
    """All API versions that the apiservers serve, custom resources' included: v1, apps/v1 … Raises HostsFailed."""
    text = Kubectl(cluster, session).checked("kubectl api-versions")
    return sorted(text.split())


def unknown_to(kinds: Mapping[str, int], older: Collection[str], custom: Collection[str]) -> dict[str, int]:
    """Of stored objects those whose API version is not among ``older``; ``custom`` are groups of custom resources."""

    def known(kind: str) -> bool:
        api = kind.partition(" ")[0]
        return api in older or api.rpartition("/")[0] in custom

    return {kind: number for kind, number in kinds.items() if not known(kind)}


def custom_groups(cluster: Cluster, session: Session) -> set[str]:
    """The groups of custom resources, which any version can read. Raises HostsFailed."""
    items = Kubectl(cluster, session).get("customresourcedefinitions")
    return {item["spec"]["group"] for item in items}
