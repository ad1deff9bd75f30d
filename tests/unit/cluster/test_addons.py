"""What an inventory says of addons."""

from pathlib import Path

import pytest

from kubeup.cluster import Cluster, load
from kubeup.cluster.addons import Addons
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
    assert {"coredns", "metrics-server"} <= set(Addons.known())
