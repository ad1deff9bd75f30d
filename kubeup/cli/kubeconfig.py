"""The admin's kubeconfig, merged into the user's."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import yaml

from kubeup.errors import KubeupError


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
