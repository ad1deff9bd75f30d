"""`kubeup explain` says what `up` brings, all of it, as a script, and shows no secret."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kubeup.deploy.explain import assumed, explain, role_names
from kubeup.deploy.run import ROLES
from kubeup.errors import InventoryError
from kubeup.host.resources import Certificate, Cleanup, Directory, Package
from kubeup.roles import desired_state


@pytest.mark.parametrize("roles", ["ai i i", "ai ai ai", "a a a i etcd"])
def test_it_is_a_shell_script_with_everything_in_it(world: Any, roles: str) -> None:
    cluster = world.cluster(roles, flannel={"store": "etcd"})
    text = explain(cluster)
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    for node in cluster.hosts:
        own = "".join(re.findall(rf"(?ms)^# ---- on {node.name} .*?(?=^# (?:----|====)|\Z)", text))
        for _, resource in desired_state(ROLES, cluster, node, assumed(node), world.trust).values():
            match resource:
                case Cleanup() | Directory():
                    continue
                case Package():
                    wanted = resource.name
                case Certificate():
                    wanted = f"{resource.path} {resource.key_path}"
                case _:
                    wanted = getattr(resource, "path", resource.key[1])
            if "/pki/keys/" not in wanted:  # is named after a key that is not there yet
                assert wanted in own, (node.name, wanted)


def test_no_secret_and_no_certificate_is_shown(world: Any) -> None:
    assert not re.search("PRIVATE KEY-|BEGIN CERT|BEGIN PUB", explain(world.cluster("ai ai ai")))


def test_no_secret_of_a_manifest_is_shown(world: Any, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData: {a: hunter2}\n")
    text = explain(world.cluster("ai", addons={"manifests": [str(tmp_path / "own.yaml")]}))
    assert "hunter2" not in text
    assert "own.yaml, mode 0600, is not shown" in text


def test_etcd_comes_before_what_needs_it(world: Any) -> None:
    text = explain(world.cluster("ai ai ai"))
    where = [text.index(f"\n# ==== {number}. {title}") for number, title in enumerate(
        ["Authorities", "Components", "Hosts", "Members", "etcd", "Control plane", "Nodes"], start=1
    )]  # fmt: skip
    assert where == sorted(where)
    assert "ETCD_INITIAL_CLUSTER=n1=https://10.0.0.1:2380,n2=https://10.0.0.2:2380" in text


def test_one_role_and_one_host_alone(world: Any) -> None:
    text = explain(world.cluster("ai i"), "kube-proxy", ["n2"])
    assert "on n2" in text
    assert "on n1" not in text
    assert "/etc/kubernetes/kube-proxy.yaml" in text
    assert "kubelet.service" not in text
    assert "scheduler" in explain(world.cluster("ai i"), "kube-scheduler")


@pytest.mark.parametrize(("role", "hosts"), [("kube-dns", []), (None, ["n9"])])
def test_what_is_not_there_is_told(world: Any, role: str | None, hosts: list[str]) -> None:
    with pytest.raises(InventoryError, match="etcd" if role else "n1, n2"):
        explain(world.cluster("ai i"), role, hosts)
    assert "kubelet" in role_names()
