"""What is read from apiservers' metrics, and from the beginnings of what etcd keeps."""

import base64
import re

import pytest

from kubeup.checks import apis

METRICS = """\
# HELP apiserver_requested_deprecated_apis [STABLE] Gauge of deprecated APIs that have been requested
apiserver_requested_deprecated_apis{group="",removed_release="",resource="componentstatuses",subresource="",version="v1"} 1
apiserver_requested_deprecated_apis{group="resource.k8s.io",removed_release="1.38",resource="resourceclaims",subresource="",version="v1beta1"} 1
apiserver_requested_deprecated_apis{group="policy",removed_release="1.25",resource="podsecuritypolicies",subresource="",version="v1beta1"} 0
"""  # noqa: E501  as an apiserver says it


def envelope(api: str, kind: str, rest: bytes = b"\x12\x40the object") -> bytes:
    meta = b"\x0a" + bytes([len(api)]) + api.encode() + b"\x12" + bytes([len(kind)]) + kind.encode()
    return b"k8s\0\n" + bytes([len(meta)]) + meta + rest


def test_requested() -> None:
    assert apis.requested(METRICS) == {"resource.k8s.io/v1beta1 resourceclaims": "1.38"}


@pytest.mark.parametrize(("version", "gone"), [("1.37.9", False), ("1.38.0", True), ("1.40.1", True), ("2.0.0", True)])
def test_removed_in(version: str, gone: bool) -> None:
    assert apis.removed_in("1.38", version) is gone


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (envelope("v1", "Secret"), "v1 Secret"),
        (envelope("apps/v1", "Deployment"), "apps/v1 Deployment"),
        (
            envelope("admissionregistration.k8s.io/v1beta1", "MutatingAdmissionPolicyBinding"),
            "admissionregistration.k8s.io/v1beta1 MutatingAdmissionPolicyBinding",
        ),
        (b'{"apiVersion":"example.com/v1","kind":"Thing","metadata":{', "example.com/v1 Thing"),
        (b'{"apiVersion":"example.com/v1","kin', "example.com/v1"),
        (b"k8s:enc:aescbc:v1:key1:", None),
        (b"\x00\x01", None),
        (b"", None),
    ],
)
def test_type_of(value: bytes, kind: str | None) -> None:
    assert apis.type_of(value) == kind


def test_counted_from_beginnings_that_end_anywhere() -> None:
    long = base64.b64encode(envelope("v1", "Pod", bytes(80))).decode()
    lines = [long[:96], long[:95], long[:94], base64.b64encode(envelope("v1", "Pod")).decode(), "AAAA"]
    assert apis.counted(lines) == {"v1 Pod": 4}


def test_lost_in() -> None:
    kinds = {"v1 Pod": 3, "networking.k8s.io/v1beta1 IPAddress": 2}
    assert apis.lost_in(kinds, "1.36.3") == {}
    assert apis.lost_in(kinds, "1.37.0") == {"networking.k8s.io/v1beta1 IPAddress": 2}


def test_the_table_is_of_types() -> None:
    assert all(re.fullmatch(r"[a-z.0-9]+\.k8s\.io/v\d+(alpha|beta)\d+ [A-Za-z]+", kind) for kind in apis.REMOVED)


def test_unknown_to() -> None:
    kinds = {"v1 Pod": 3, "example.com/v2 Thing": 1, "storagemigration.k8s.io/v1 StorageVersionMigration": 2}
    assert apis.unknown_to(kinds, ["v1", "apps/v1"], {"example.com"}) == {
        "storagemigration.k8s.io/v1 StorageVersionMigration": 2
    }
