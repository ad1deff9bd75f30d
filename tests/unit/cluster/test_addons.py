"""What an inventory says of addons."""

from pathlib import Path

import pytest

from kubeup.cluster import Cluster, load
from kubeup.cluster.addons import Addons
from kubeup.cluster.manifests import owned
from kubeup.errors import InventoryError


def read(folder: Path, addons: str) -> Cluster:
    (folder / "cluster.yaml").write_text(f"nodes:\n  - ai: 10.0.0.1\n{addons}")
    return load(folder / "cluster.yaml")


@pytest.mark.parametrize(
    ("addons", "names"),
    [
        ("", ("coredns",)),
        ("addons:\n", ("coredns",)),
        ("addons: {metrics-server: on}\n", ("coredns", "metrics-server")),
        ("addons:\n  metrics-server: {}\n", ("coredns", "metrics-server")),
        ("addons:\n  metrics-server:\n  coredns: off\n", ("metrics-server",)),
    ],
)
def test_which_are_on(addons: str, names: tuple[str, ...], tmp_path: Path) -> None:
    assert read(tmp_path, addons).addons.names == names


@pytest.mark.parametrize(
    ("addons", "message"),
    [
        ("addons:\n  metrics_server: on\n", "cluster.yaml:4: unknown key metrics_server"),
        ("addons:\n  metric-server: on\n", "did you mean metrics-server?"),
        ("addons:\n  coredns: on\n  metrics-server: {resolution: 1}\n", "cluster.yaml:5: unknown key resolution"),
        ("addons:\n  metrics-server: perhaps\n", "cluster.yaml:4: metrics-server is 'perhaps'"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(addons: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InventoryError) as caught:
        read(tmp_path, addons)
    assert message in str(caught.value)


def test_all_addons_are_known_by_name() -> None:
    assert {"coredns", "metrics-server"} <= set(Addons.switches())


CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n"


def test_manifests_are_read_from_the_inventorys_folder(tmp_path: Path) -> None:
    (tmp_path / "apps" / "more").mkdir(parents=True)
    (tmp_path / "My App.yaml").write_text(CONFIG)
    (tmp_path / "apps" / "b.yml").write_text(CONFIG)
    (tmp_path / "apps" / "more" / "a.json").write_text(
        '{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}'
    )
    (tmp_path / "apps" / "README.md").write_text("not one")
    cluster = read(tmp_path, "addons:\n  manifests:\n  - My App.yaml\n  - {name: all, path: ./apps}\n")
    one, everything = cluster.addons.manifests
    assert (one.name, everything.name) == ("my-app", "all")
    assert [o.kind for o in owned(everything.text, "x").objects] == ["ConfigMap", "Secret"]
    assert "kind" not in repr(cluster.addons)  # which could be a Secret's
    assert cluster.addons.names == ("coredns",)


@pytest.mark.parametrize(
    ("entry", "file", "line", "message"),
    [
        ("gone.yaml", "", 5, "there is no file"),
        ("{path: gone}", "", 5, "there is no file"),
        ("one.yaml", "kind: Pod\n", 5, "one.yaml:1: this object has no apiVersion"),
        ("one.yaml", "a: b: c\n", 5, "one.yaml:1: not valid YAML"),
        ("{path: one.yaml, name: A_B}", CONFIG, 5, "cannot be a name"),
        ("{path: one.yaml, text: x}", CONFIG, 5, "unknown key text"),
        ("{path: one.yaml, nam: x}", CONFIG, 5, "did you mean name?"),
        ("./empty", "", 5, "no file in"),
        ("[a]", "", 5, "is a list"),
        ("one.yaml\n  - one.yaml", CONFIG, 6, "another entry with the name one"),
    ],
)
def test_what_is_wrong_with_manifests(entry: str, file: str, line: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "one.yaml").write_text(file)
    with pytest.raises(InventoryError) as caught:
        read(tmp_path, f"addons:\n  manifests:\n  - {entry}\n")
    assert message in str(caught.value)
    assert f"cluster.yaml:{line}:" in str(caught.value)


def test_an_empty_list_of_manifests_is_none(tmp_path: Path) -> None:
    assert read(tmp_path, "addons:\n  manifests:\n").addons.manifests == ()


@pytest.mark.parametrize("value", ["no", "off", "false"])
def test_an_addon_may_be_off_with_settings(value: str, tmp_path: Path) -> None:
    assert read(tmp_path, f"addons: {{local-path: {{enabled: {value}, path: /a/b}}}}\n").addons.local_path is None
    with pytest.raises(InventoryError, match="write yes or no"):
        read(tmp_path, "addons: {local-path: {enabled: perhaps}}\n")
