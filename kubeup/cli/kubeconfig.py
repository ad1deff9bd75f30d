"""The admin's kubeconfig: fetched from a master, merged into the user's."""

from __future__ import annotations

import base64
import os
import tempfile
from pathlib import Path
from typing import Any

import yaml

from kubeup.cluster import api_endpoint
from kubeup.cluster.trust import KUBERNETES
from kubeup.deploy.run import Run
from kubeup.errors import KubeupError
from kubeup.roles.common import PKI


def fetch(run: Run) -> str:
    """A kubeconfig with everything in it, YAML. Raises KubeupError when the cluster is not up."""
    master = run.masters[0].name
    if ("file", f"{PKI}/admin.crt") not in run.readings[master].record:
        raise KubeupError(f"the cluster {run.cluster.name} is not up: {master} has no admin certificate (kubeup up)")
    name = run.cluster.name

    def data(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {
                    "server": api_endpoint(run.cluster),
                    "certificate-authority-data": data(run.vault.trust.bundle_pem(KUBERNETES)),
                },
            }
        ],
        "users": [
            {
                "name": f"{name}-admin",
                "user": {
                    "client-certificate-data": data(run.fetch(master, f"{PKI}/admin.crt")),
                    "client-key-data": data(run.fetch(master, f"{PKI}/admin.key")),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": f"{name}-admin"}}],
        "current-context": name,
    }
    return yaml.safe_dump(config, sort_keys=False)


def merge(config: str) -> Path:
    """Put the cluster, user and context of ``config`` into the user's kubeconfig (0600), for those of the same name.

    The file is $KUBECONFIG's first, else ~/.kube/config. Returns its path. Raises KubeupError when it cannot be read.
    """
    new: dict[str, Any] = yaml.safe_load(config)
    path = Path(os.environ.get("KUBECONFIG", "").split(os.pathsep)[0] or Path.home() / ".kube" / "config").resolve()
    try:
        old: Any = yaml.safe_load(path.read_text()) if path.exists() else None
    except (OSError, yaml.YAMLError) as error:
        raise KubeupError(f"{path} cannot be read, so nothing was merged into it: {error}") from None
    merged: dict[str, Any] = old if isinstance(old, dict) else {"apiVersion": "v1", "kind": "Config"}
    for section in ("clusters", "users", "contexts"):
        names = {entry["name"] for entry in new[section]}
        merged[section] = [e for e in merged.get(section) or [] if e.get("name") not in names] + new[section]
    merged["current-context"] = new["current-context"]
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:  # mode 0600
        yaml.safe_dump(merged, file, sort_keys=False)
    Path(file.name).replace(path)
    return path
