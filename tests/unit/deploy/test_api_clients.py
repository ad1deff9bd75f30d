"""Whose pods are restarted when the cluster trusts another authority."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from kubeup.checks.addons import Part
from kubeup.deploy import api_clients
from kubeup.deploy.api_clients import Workload


def part(addon: str, kind: str, namespace: str, name: str) -> Part:
    return Part(addon, kind, namespace, name, works=True, serves=True, pods="1/1", data={})


def test_kubeups_own_addons_are_restarted_and_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        part("coredns", "Deployment", "kube-system", "coredns"),
        part("metrics-server", "Deployment", "kube-system", "metrics-server"),
        part("manifests.shop", "Deployment", "shop", "web"),
    ]
    restarted: list[Workload] = []
    monkeypatch.setattr(api_clients, "parts", lambda kubectl: found)
    monkeypatch.setattr(api_clients, "Kubectl", lambda cluster, session: None)
    monkeypatch.setattr(api_clients, "restart", lambda run, workloads: restarted.extend(workloads) or [])
    workloads = [
        Workload("kube-system", "Deployment", "metrics-server"),
        Workload("shop", "Deployment", "web"),
        Workload("other", "Deployment", "coredns"),
    ]
    run = cast(Any, SimpleNamespace(cluster=None, session=None))
    assert api_clients.restart_ours(run, workloads) == workloads[1:]
    assert restarted == workloads[:1]
