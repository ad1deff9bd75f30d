"""What pods, as the API shows them, say of themselves."""

from __future__ import annotations

from typing import Any


def why_not_ready(pod: dict[str, Any]) -> str:
    """Why a pod is not ready, or ""."""
    name = pod["metadata"]["name"]
    for status in pod["status"].get("containerStatuses", []):
        for state in ("waiting", "terminated"):
            if state in status["state"]:
                detail = status["state"][state]
                return f"{name}: {detail.get('reason', state)} {detail.get('message', '')}".strip()
    for condition in pod["status"].get("conditions", []):
        if condition["status"] != "True" and condition.get("message"):
            return f"{name}: {condition['message']}"
    return ""
