"""Charts of Helm as the inventory names them: a folder or an archive becomes the files in it, by their path.

So both are placed on the masters alike, and their differences show in a plan file by file.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from kubeup.cluster.document import Quoted

LARGEST = 16 * 2**20
"""Bytes of all files of a chart. (Helm itself refuses a release that is larger than 1 MiB packed.)"""


class ChartError(ValueError):
    """This is no chart."""


def read_chart(path: Path) -> dict[str, str]:
    """The files of the chart in a folder or a .tgz, by their path in it. Raises ChartError, OSError."""
    found = dict(_texts(_folder(path) if path.is_dir() else _archive(path.read_bytes(), str(path))))
    if "Chart.yaml" not in found:
        raise ChartError(f"{path} holds no chart: there is no Chart.yaml in it")
    return found


def about(files: Mapping[str, str]) -> tuple[str, str]:
    """The name and version of a chart. Raises ChartError."""
    try:
        data = yaml.load(files["Chart.yaml"], Loader=yaml.BaseLoader)  # noqa: S506 - it makes texts alone
        return str(data["name"]), str(data["version"])
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ChartError("Chart.yaml says no name or no version") from error


def _folder(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(path.rglob("*")):
        if file.is_file():
            yield str(file.relative_to(path)), file.read_bytes()


def _archive(data: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:*") as archive:
            for member in archive:
                # All lies in one folder, called as the chart.
                inner = member.name.removeprefix("./").partition("/")[2]
                if member.isfile() and inner and (file := archive.extractfile(member)):
                    if ".." in inner.split("/"):
                        raise ChartError(f"{name}: {member.name} leads out of it")
                    yield inner, file.read(LARGEST)
    except tarfile.TarError as error:
        raise ChartError(f"{name} is no archive of a chart: {error}") from error


def _texts(files: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, str]]:
    """The files as texts; charts within charts unpacked, which to Helm is the same."""
    size = 0
    for name, data in files:
        size += len(data)
        if size > LARGEST:
            raise ChartError(f"the chart is larger than {LARGEST >> 20} MiB")
        if name.startswith("charts/") and name.endswith((".tgz", ".tar.gz")):
            inner = dict(_texts(_archive(data, name)))
            folder = f"charts/{about(inner)[0]}"
            yield from ((f"{folder}/{path}", text) for path, text in inner.items())
            continue
        try:
            yield name, data.decode()
        except UnicodeDecodeError as error:
            raise ChartError(f"{name} in the chart is no text, and kubeup places texts alone") from error


def values_text(values: Any) -> str:
    """Values for a chart from an inventory, where all scalars are the texts that stand there, as YAML."""
    return json.dumps(_typed(values), indent=2, default=str) + "\n"


def _typed(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _typed(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_typed(one) for one in value]
    if isinstance(value, str) and not isinstance(value, Quoted):
        try:
            return yaml.safe_load(value)
        except yaml.YAMLError:
            return str(value)
    return str(value) if isinstance(value, str) else value
