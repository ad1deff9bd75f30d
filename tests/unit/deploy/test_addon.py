"""`kubeup addon`: what is listed, and what is refused."""

from pathlib import Path
from typing import Any, cast

import pytest

from kubeup.checks.addons import Part
from kubeup.deploy import addon
from kubeup.deploy.addon import edit, rows
from kubeup.errors import HostsFailed, InventoryError


def part(name: str, works: bool = True, pods: str = "1/1") -> Part:
    return Part(name, "Deployment", "n", name, works, works, pods, data={})


@pytest.fixture
def cluster(world: Any, tmp_path: Path) -> Any:
    (tmp_path / "own.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n")
    addons = {"metrics-server": "on", "nfs": {"server": "s", "path": "/", "volumes": [{"name": "a", "size": "1Gi"}]}}
    return world.cluster("ai", addons={**addons, "manifests": [str(tmp_path / "own.yaml")]})


def states(cluster: Any, monkeypatch: pytest.MonkeyPatch, found: list[Part], wrong: dict[str, str]) -> dict[str, Any]:
    monkeypatch.setattr(addon, "Kubectl", lambda cluster, session: None)
    monkeypatch.setattr(addon, "parts", lambda kubectl: found)
    monkeypatch.setattr(addon, "not_applied", lambda kubectl: wrong)
    monkeypatch.setattr(addon, "why", lambda kubectl, part: f"{part.name} waits")
    return {row.name: row for row in rows(cluster, cast(Any, None))}


def test_all_are_listed_with_how_they_are(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [part("coredns"), part("metrics-server", works=False), part("local-path"), part("manifests.former")]
    listed = states(cluster, monkeypatch, found, {"manifests.own": "no matches for kind X"})
    assert {name for name, row in listed.items() if row.on} == {"coredns", "metrics-server", "nfs", "manifests.own"}
    assert listed["coredns"].state == "ready (coredns 1/1)"
    assert listed["coredns"].version == "1.15.0"
    assert listed["metrics-server"].state == "metrics-server waits"
    assert listed["manifests.own"].state == "not applied: no matches for kind X"
    assert listed["nfs"].state == ""
    assert listed["local-path"].state == "in the cluster, and off in the inventory: kubeup up takes it away"
    assert listed["local-path"].version == "0.0.30"
    assert listed["manifests.former"].state == "in the cluster, and not in the inventory: kubeup up takes it away"


def test_a_silent_api_is_told(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(kubectl: object) -> list[Part]:
        raise HostsFailed("asking the API", [])

    monkeypatch.setattr(addon, "Kubectl", lambda cluster, session: None)
    monkeypatch.setattr(addon, "parts", silent)
    listed = {row.name: row.state for row in rows(cluster, cast(Any, None))}
    assert listed["coredns"] == "the API does not answer"
    assert listed["traefik"] == ""


def test_what_does_not_go_away_is_told(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"traefik": "timed out", "manifests.former": "no way to the API", "access": "forbidden"}
    listed = states(cluster, monkeypatch, [part("traefik"), part("manifests.former")], wrong)
    assert listed["traefik"].state == "not taken away: timed out"
    assert listed["manifests.former"].state == "no way to the API"
    assert listed["access"].state == "forbidden"


def test_an_api_that_goes_silent_in_the_middle_is_told(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object) -> str:
        raise HostsFailed("asking the API", [])

    for late in ("why", "not_applied"):
        with monkeypatch.context() as patched:
            patched.setattr(addon, "Kubectl", lambda cluster, session: None)
            patched.setattr(addon, "parts", lambda kubectl: [part("coredns", works=False)])
            patched.setattr(addon, "not_applied", lambda kubectl: {})
            patched.setattr(addon, late, silent)
            listed = {row.name: row.state for row in rows(cluster, cast(Any, None))}
        assert listed["coredns"] == "the API does not answer"
        assert listed["traefik"] == ""


def test_an_unknown_addon_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("nodes: [10.0.0.1]\nroles: [ai]\n")
    with pytest.raises(InventoryError, match=r"no addon is called 'metrics'[\s\S]*did you mean metrics-server"):
        edit(path, "metrics", True, {})
    assert "metrics-server: on" in edit(path, "metrics-server", True, {}).text
