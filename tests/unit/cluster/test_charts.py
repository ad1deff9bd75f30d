"""Charts and their values, as inventories name them."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from kubeup.cluster import load
from kubeup.cluster.charts import ChartError, read_chart, values_text
from kubeup.cluster.document import parse_document
from kubeup.errors import InventoryError

CHART = {"Chart.yaml": "name: web\nversion: 1.0.0\n", "templates/a.yaml": "a: b\n"}
INNER = {"Chart.yaml": "name: db\nversion: 2.0.0\n", "values.yaml": ""}


def archive(files: Mapping[str, str | bytes], top: str = "web") -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as tar:
        for name, text in files.items():
            data = text if isinstance(text, bytes) else text.encode()
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def folder(path: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def test_a_folder_and_an_archive_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "web.tgz").write_bytes(archive(CHART))
    assert read_chart(folder(tmp_path / "web", CHART)) == read_chart(tmp_path / "web.tgz") == CHART


def test_charts_within_are_unpacked(tmp_path: Path) -> None:
    (tmp_path / "web.tgz").write_bytes(archive({**CHART, "charts/db-2.0.0.tgz": archive(INNER, "db")}))
    assert set(read_chart(tmp_path / "web.tgz")) == {*CHART, "charts/db/Chart.yaml", "charts/db/values.yaml"}


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"not one", "is no archive"),
        (archive({"a": "b"}), "there is no Chart.yaml"),
        (archive({**CHART, "logo.png": b"\xff\xfe"}), "logo.png in the chart is no text"),
        (archive({**CHART, "../../etc/x": "y"}), "leads out of it"),
    ],
)
def test_what_is_no_chart(data: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "web.tgz").write_bytes(data)
    with pytest.raises(ChartError, match=what):
        read_chart(tmp_path / "web.tgz")


def test_values_mean_what_they_look_like() -> None:
    text = "{number: 3, text: '3', yes: true, word: abc, list: [1.5, \"1.5\"], none: , deep: {on: false}}"
    assert yaml.safe_load(values_text(parse_document(text, "x").data)) == {
        "number": 3,
        "text": "3",
        "yes": True,
        "word": "abc",
        "list": [1.5, "1.5"],
        "none": None,
        "deep": {"on": False},
    }


def test_entries(tmp_path: Path) -> None:
    folder(tmp_path / "charts" / "web", CHART)
    (tmp_path / "v.yaml").write_text("a: 1\n")
    (tmp_path / "cluster.yaml").write_text(
        "nodes: [10.0.0.1]\nroles: [ai]\naddons:\n  helm:\n"
        "  - charts/web\n"
        "  - {name: two, chart: charts/web, values: v.yaml, namespace: shop}\n"
        "  - name: three\n    chart: charts/web\n    values: |\n      b: '2'\n"
        "  - {chart: 'oci://registry.local/charts/My_App', version: 1.2.3, values: {replicas: 2}}\n"
    )
    one, two, three, far = load(tmp_path / "cluster.yaml").addons.helm
    assert (one.name, one.version, one.namespace, one.files) == ("web", "1.0.0", "default", CHART)
    assert (two.text, two.namespace) == ("a: 1\n", "shop")
    assert yaml.safe_load(three.text) == {"b": "2"}
    assert (far.name, far.version, far.files) == ("my-app", "1.2.3", {})
    assert yaml.safe_load(far.text) == {"replicas": 2}
    assert "replicas" not in repr(far)


def test_a_fault_in_values_is_told_without_what_stands_there(tmp_path: Path) -> None:
    folder(tmp_path / "web", CHART)
    (tmp_path / "v.yaml").write_text("a: 1\npassword: hunter2 'x': y\n")
    (tmp_path / "cluster.yaml").write_text(
        "nodes: [10.0.0.1]\nroles: [ai]\naddons: {helm: [{chart: web, values: v.yaml}]}\n"
    )
    with pytest.raises(InventoryError, match="values:2: not valid YAML: mapping values are not allowed here") as caught:
        load(tmp_path / "cluster.yaml")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("gone", "there is no chart"),
        ("{chart: web, version: 2.0.0}", "has the version 1.0.0, not 2.0.0"),
        ("{chart: web, values: gone.yaml}", "there is no file"),
        ("{chart: web, values: [a]}", "the values are no map"),
        ("{chart: web, hooks: run}", "write refuse or ignore"),
        ("{chart: web, files: {}}", "unknown key files"),
        ("{chart: web, replicas: 2}", "unknown key replicas"),
        ("{name: x}", "chart is missing"),
    ],
)
def test_what_is_wrong_with_an_entry(entry: str, message: str, tmp_path: Path) -> None:
    folder(tmp_path / "web", CHART)
    (tmp_path / "cluster.yaml").write_text(f"nodes: [10.0.0.1]\nroles: [ai]\naddons:\n  helm:\n  - {entry}\n")
    with pytest.raises(InventoryError) as caught:
        load(tmp_path / "cluster.yaml")
    assert message in str(caught.value)
    assert "cluster.yaml:5:" in str(caught.value)
