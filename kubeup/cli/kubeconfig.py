"""The admin's kubeconfig, merged into the user's."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import yaml

from kubeup.cluster.document import syntax_problem
from kubeup.errors import KubeupError


def merge(config: str) -> Path:
    """Put the cluster, user and context of ``config`` into the user's kubeconfig (0600), for those of the same name.

    The file is $KUBECONFIG's first, else ~/.kube/config. Returns its path. Raises KubeupError when it cannot be
    read or written.
    """
    new: dict[str, Any] = yaml.safe_load(config)
    path = Path(os.environ.get("KUBECONFIG", "").split(os.pathsep)[0] or Path.home() / ".kube" / "config").resolve()
    try:
        old: Any = yaml.safe_load(path.read_text()) if path.exists() else None
    except yaml.YAMLError as error:
        raise _unreadable(path, syntax_problem(str(path), error).what) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, str(error)) from None
    merged: dict[str, Any] = {"apiVersion": "v1", "kind": "Config"} if old is None else old
    if not isinstance(merged, dict):
        raise _unreadable(path, "it is no kubeconfig")
    for section in ("clusters", "users", "contexts"):
        names = {entry["name"] for entry in new[section]}
        entries = merged.get(section) or []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise _unreadable(path, f"its {section} are no list of maps")
        merged[section] = [entry for entry in entries if entry.get("name") not in names] + new[section]
    merged["current-context"] = new["current-context"]
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:  # mode 0600
            draft = Path(file.name)
            try:
                yaml.safe_dump(merged, file, sort_keys=False)
                file.flush()
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)  # it has the key in it
    except OSError as error:
        raise KubeupError(f"{path} cannot be written: {error}") from None
    return path


def _unreadable(path: Path, why: str) -> KubeupError:
    return KubeupError(f"{path} cannot be read, so nothing was merged into it: {why}")
