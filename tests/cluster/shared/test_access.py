"""How an admin looks at the cluster and gets in: `kubeup status`, `kubeup kubeconfig`."""

import json
import re
import ssl
import stat
import tempfile
import urllib.error
import urllib.request
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..support import kubeup
from .conftest import Shared


def test_status(cluster: Shared) -> None:
    told = cluster.kubeup("status").out
    assert f"cluster {cluster.lab.name}, API https://{cluster.address(cluster.master)}:6443" in told
    for node in cluster.lab.nodes:
        line = next(line for line in told.splitlines() if line.startswith(node.name)).split()
        assert line[:5] == [node.name, node.role, node.address, "Ready", "0"]
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", line[5])
    assert re.search(r"^kube-apiserver +active 1\.36\.3 +- +-$", told, re.MULTILINE), told
    assert re.search(r"^kubelet( +active 1\.36\.3){3}$", told, re.MULTILINE), told


def test_status_as_json_shows_what_is_wrong(cluster: Shared) -> None:
    worker = cluster.workers[0]
    cluster.on(worker, "systemctl stop kube-proxy")
    try:
        nodes = {node["name"]: node for node in cluster.kubeup("status", "--json").json()["nodes"]}
    finally:
        cluster.on(worker, "systemctl start kube-proxy")
    assert nodes[worker]["units"]["kube-proxy"] == {"state": "inactive", "version": "1.36.3"}
    assert {name: node["differences"] for name, node in nodes.items()} == {
        name: int(name == worker) for name in cluster.names
    }
    assert all(node["ready"] == "Ready" for node in nodes.values())
    assert set(nodes[cluster.master]["units"]) > set(nodes[worker]["units"]) >= {"kubelet", "flanneld", "containerd"}


def _ask_api(config: dict[str, Any], path: str) -> Any:
    """What the API answers this machine, by all that is in a kubeconfig and nothing else."""
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    with tempfile.TemporaryDirectory() as folder:
        files = {
            name: Path(folder, name)
            for name in ("certificate-authority-data", "client-certificate-data", "client-key-data")
        }
        for name, file in files.items():
            file.write_bytes(b64decode((cluster | user)[name]))
        trust = ssl.create_default_context(cafile=str(files["certificate-authority-data"]))
        trust.load_cert_chain(files["client-certificate-data"], files["client-key-data"])
        with urllib.request.urlopen(cluster["server"] + path, context=trust, timeout=5) as answer:  # noqa: S310
            return json.load(answer)


def test_kubeconfig_opens_the_api_from_this_machine(cluster: Shared) -> None:
    config = yaml.safe_load(cluster.kubeup("kubeconfig", "--print").out)
    assert config["clusters"][0]["cluster"]["server"] == f"https://{cluster.address(cluster.master)}:6443"
    items = _ask_api(config, "/api/v1/nodes")["items"]
    assert sorted(item["metadata"]["name"] for item in items) == cluster.names
    assert _ask_api(config, "/api/v1/namespaces/kube-system/secrets")["kind"] == "SecretList"


def test_api_refuses_who_has_no_certificate(cluster: Shared) -> None:
    trust = ssl._create_unverified_context()  # noqa: S323
    for path in ("/api/v1/nodes", "/version", "/healthz"):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"https://{cluster.address(cluster.master)}:6443{path}", context=trust, timeout=5)


def test_kubeconfig_is_merged(cluster: Shared, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "config"
    env = {"KUBECONFIG": str(path)}
    assert str(path) in cluster.kubeup("kubeconfig", env=env).out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    mine = yaml.safe_load(path.read_text())
    other = {"name": "other", "cluster": {"server": "https://192.0.2.1:6443"}}
    mine["clusters"].append(other)
    mine["current-context"] = "other"
    path.write_text(yaml.safe_dump(mine))
    cluster.kubeup("kubeconfig", env=env)
    merged = yaml.safe_load(path.read_text())
    assert other in merged["clusters"]
    assert [entry["name"] for entry in merged["contexts"]] == [cluster.lab.name]
    assert merged["current-context"] == cluster.lab.name
    assert _ask_api({**merged, "clusters": merged["clusters"][::-1][:1]}, "/version")["gitVersion"] == "v1.36.3"


def test_kubeconfig_does_not_overwrite_what_it_cannot_read(cluster: Shared, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("a: [broken")
    assert "nothing was merged" in cluster.kubeup("kubeconfig", env={"KUBECONFIG": str(path)}, code=1).err
    assert path.read_text() == "a: [broken"


def test_inventory_by_environment_and_folder(cluster: Shared, tmp_path: Path) -> None:
    kubeup("plan", env={"KUBEUP_INVENTORY": str(cluster.lab.inventory)})
    told = kubeup("plan", env={"KUBEUP_INVENTORY": None}, cwd=tmp_path, code=2).err
    assert "cluster.yaml" in told
    kubeup("plan", env={"KUBEUP_INVENTORY": None}, cwd=cluster.lab.folder)
