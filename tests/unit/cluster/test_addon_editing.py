"""Addons turned on and off in inventories, which keep their comments, quotes and order."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from kubeup.cluster.editing import Edited, with_addon
from kubeup.errors import InventoryError

NODES = "nodes:   # the hosts\n  - ai: 10.0.0.1\n"


def never(host: str, ssh_config: Path) -> IPv4Address | None:
    raise AssertionError(host)


def edited(folder: Path, before: str, name: str, on: bool, **settings: str) -> Edited:
    (folder / "cluster.yaml").write_text(before)
    return with_addon(folder / "cluster.yaml", name, on, settings, never)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (NODES, "addons: {metrics-server: on}\n" + NODES),
        ("# c\n" + NODES + "# d", "# c\naddons: {metrics-server: on}\n" + NODES + "# d"),
        (NODES + "addons:\n", NODES + "addons: {metrics-server: on}\n"),
        (NODES + "addons:   # none yet\nname: x\n", NODES + "addons: {metrics-server: on}   # none yet\nname: x\n"),
        (NODES + "addons: {}\n", NODES + "addons: {metrics-server: on}\n"),
        (NODES + "addons: {coredns: on}   # c\n", NODES + "addons: {coredns: on, metrics-server: on}   # c\n"),
        (NODES + "addons:\n  coredns: on  # c\n", NODES + "addons:\n  coredns: on  # c\n  metrics-server: on\n"),
        (NODES + "addons:\n  coredns: on", NODES + "addons:\n  coredns: on\n  metrics-server: on"),
        (NODES + "addons:\n  metrics-server: off   # c\n", NODES + "addons:\n  metrics-server: on   # c\n"),
        (NODES + "addons:\n  metrics-server:\n  coredns:\n", NODES + "addons:\n  metrics-server: on\n  coredns:\n"),
        (NODES + "addons: {metrics-server: {enabled: no}}\n", NODES + "addons: {metrics-server: {}}\n"),
    ],
)
def test_on(before: str, after: str, tmp_path: Path) -> None:
    edit = edited(tmp_path, before, "metrics-server", True)
    assert edit.text == after
    assert edit.cluster.addons.metrics_server is not None
    assert edited(tmp_path, after, "metrics-server", True).text == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("addons: {local-path: on}\n", "addons: {local-path: off}\n"),
        ("addons:\n  local-path:   # c\n", "addons:\n  local-path: off   # c\n"),
        (
            "addons:\n  local-path:\n    path: /a/b   # c\n",
            "addons:\n  local-path:\n    path: /a/b   # c\n    enabled: no\n",
        ),
        ("addons: {local-path: {path: /a/b}}\n", "addons: {local-path: {path: /a/b, enabled: no}}\n"),
        ("addons: {local-path: {}}\n", "addons: {local-path: {enabled: no}}\n"),
    ],
)
def test_off_and_its_settings_stay(before: str, after: str, tmp_path: Path) -> None:
    off = edited(tmp_path, NODES + before, "local-path", False)
    assert off.text == NODES + after
    assert off.cluster.addons.local_path is None
    on = edited(tmp_path, off.text, "local-path", True)
    assert on.cluster.addons.local_path is not None
    if "/a/b" in before:
        assert on.text == NODES + before


def test_what_is_on_by_default_is_turned_off_by_saying_so(tmp_path: Path) -> None:
    edit = edited(tmp_path, NODES, "coredns", False)
    assert edit.text.startswith("addons: {coredns: off}\n")
    assert edit.cluster.addons.coredns is None


def test_settings(tmp_path: Path) -> None:
    one = edited(tmp_path, NODES, "local-path", True, path="/data/volumes", default="no")
    assert "addons: {local-path: {path: /data/volumes, default: no}}\n" in one.text
    two = edited(tmp_path, one.text, "local-path", True, path="/srv/volumes")
    assert "addons: {local-path: {path: /srv/volumes, default: no}}\n" in two.text
    block = NODES + "addons:\n  local-path:\n    path: /a/b  # c\n"
    three = edited(tmp_path, block, "local-path", True, default="no")
    assert three.text == block + "    default: no\n"
    assert three.cluster.addons.local_path is not None
    assert not three.cluster.addons.local_path.default


def test_what_would_be_wrong_is_told(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="unknown key pth"):
        edited(tmp_path, NODES, "local-path", True, pth="/a/b")
    with pytest.raises(InventoryError, match="no folder for volumes"):
        edited(tmp_path, NODES, "local-path", True, path="/")
