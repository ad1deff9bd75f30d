"""The admin's kubeconfig, merged into the user's."""

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from kubeup.cli.kubeconfig import merge
from kubeup.cluster.trust import KUBERNETES
from kubeup.deploy.access import fetch
from kubeup.errors import KubeupError
from kubeup.host.reading import Entry, Reading

CERTIFICATE = "/etc/kubernetes/pki/admin.crt"


def config(name: str, server: str = "https://10.0.0.1:6443") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server}}],
        "users": [{"name": f"{name}-admin", "user": {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": f"{name}-admin"}}],
        "current-context": name,
    }


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".kube" / "config"


def merged(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(path.read_text())
    return data


def test_the_first_one(path: Path) -> None:
    assert merge(yaml.safe_dump(config("demo"))) == path
    assert merged(path) == config("demo")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_other_clusters_stay(path: Path) -> None:
    merge(yaml.safe_dump({**config("other"), "preferences": {"colors": True}}))
    path.write_text(yaml.safe_dump({**merged(path), "preferences": {"colors": True}}))
    path.chmod(0o644)
    merge(yaml.safe_dump(config("demo", "https://old")))
    merge(yaml.safe_dump(config("demo", "https://new")))
    now = merged(path)
    assert {c["name"]: c["cluster"]["server"] for c in now["clusters"]} == {
        "other": "https://10.0.0.1:6443",
        "demo": "https://new",
    }
    assert [u["name"] for u in now["users"]] == ["other-admin", "demo-admin"]
    assert [c["name"] for c in now["contexts"]] == ["other", "demo"]
    assert (now["current-context"], now["preferences"]) == ("demo", {"colors": True})
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["config"]


def test_the_first_file_of_the_variable_is_the_one(path: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/mine:{tmp_path}/other")
    assert merge(yaml.safe_dump(config("demo"))) == tmp_path / "mine"
    assert not path.exists()


def test_a_file_that_cannot_be_read_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("clusters: [")
    with pytest.raises(KubeupError, match="nothing was merged into it"):
        merge(yaml.safe_dump(config("demo")))
    assert path.read_text() == "clusters: ["


def test_it_has_everything_in_it(world: Any) -> None:
    reading = Reading(world.facts, {("file", CERTIFICATE): Entry("", "", "")})
    cluster = world.cluster()
    run: Any = SimpleNamespace(
        cluster=cluster,
        masters=cluster.masters,
        readings={"n1": reading},
        vault=SimpleNamespace(trust=world.trust),
        fetch=lambda node, path: f"{path} of {node}",
    )
    found = yaml.safe_load(fetch(run))
    (entry,), (user,) = found["clusters"], found["users"]
    assert entry["cluster"]["server"] == "https://10.0.0.1:6443"
    authority = base64.b64decode(entry["cluster"]["certificate-authority-data"]).decode()
    assert authority == world.trust.bundle_pem(KUBERNETES)
    assert base64.b64decode(user["user"]["client-certificate-data"]).decode() == f"{CERTIFICATE} of n1"
    assert base64.b64decode(user["user"]["client-key-data"]).decode() == "/etc/kubernetes/pki/admin.key of n1"


def test_it_leads_to_the_virtual_address_and_comes_from_a_master_that_answers(world: Any) -> None:
    cluster = world.cluster("ai ai ai", api={"address": "10.0.0.100"})
    run: Any = SimpleNamespace(
        cluster=cluster,
        masters=cluster.masters[1:],
        readings={"n2": Reading(world.facts, {("file", CERTIFICATE): Entry("", "", "")})},
        vault=SimpleNamespace(trust=world.trust),
        fetch=lambda node, path: f"{path} of {node}",
    )
    found = yaml.safe_load(fetch(run))
    assert found["clusters"][0]["cluster"]["server"] == "https://10.0.0.100:6443"
    assert base64.b64decode(found["users"][0]["user"]["client-key-data"]).decode().endswith(" of n2")


def test_a_cluster_that_is_not_up(world: Any) -> None:
    cluster = world.cluster()
    run: Any = SimpleNamespace(cluster=cluster, masters=cluster.masters, readings={"n1": Reading(world.facts)})
    with pytest.raises(KubeupError, match=r"the cluster demo is not up: n1 has no admin certificate \(kubeup up\)"):
        fetch(run)


@pytest.mark.parametrize(
    "text",
    ["users: [{user: {client-key-data: 'hunter2}}]", "hunter2", "users: {hunter2: x}", "clusters: [hunter2]"],
)
def test_one_that_is_none_is_left_alone_and_not_shown(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(KubeupError, match="nothing was merged into it") as caught:
        merge(yaml.safe_dump(config("demo")))
    assert "hunter2" not in str(caught.value)
    assert path.read_text() == text


def test_nothing_half_is_left_where_it_cannot_be_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(yaml, "safe_dump", full)
    with pytest.raises(KubeupError, match=r"cannot be written: .*No space left"):
        merge("{clusters: [], users: [], contexts: [], current-context: demo}")
    assert list(path.parent.iterdir()) == []
