"""Nodes added to, taken out of and replaced in inventories, whose every other byte stays."""

import difflib
import stat
from pathlib import Path

import pytest

from kubeup.cluster import load
from kubeup.cluster.editing import (
    Edited,
    NewNode,
    parse_new_nodes,
    same_host,
    with_nodes,
    with_other_host,
    without_nodes,
)
from kubeup.cluster.model import Role
from kubeup.errors import InventoryError

BLOCK = """\
# The cluster of the hall.
name:   hall   # not of the yard

nodes:
  # the old one
  - ai: vcap@10.0.0.1    # under the desk
  - i: vcap@10.0.0.2
    labels: {disk: "ssd"}   # twice
      # and a note on it

  # the third
  - i: vcap@10.0.0.3:2222
    name: third
    address: 10.0.0.33
    taints: ["gpu=yes:PreferNoSchedule"]
# the end of nodes

service_cidr: 192.168.3.0/24     # as in 2015
"""
LAB = """\
name: lab
nodes:
  - {role: ai, name: n1, host: 10.0.0.1, address: 10.0.0.1}
  - {role: i, name: n2, host: 10.0.0.2, address: 10.0.0.2}
  - {role: i, name: third, host: 10.0.0.3, address: 10.0.0.33}"""
FLOW = "nodes: [{ai: vcap@10.0.0.1}, {i: vcap@10.0.0.2}, {i: vcap@10.0.0.3, name: third}]  # all\nname: flow\n"
LINES = """\
nodes: [
    {ai: vcap@10.0.0.1},   # the old one
    {i: vcap@10.0.0.2},    # the second
    {i: vcap@10.0.0.3, name: third, address: 10.0.0.33}   # the third
  ]
"""
BESIDE = """\
nodes: vcap@10.0.0.1 vcap@10.0.0.2 vcap@10.0.0.3   # hosts
roles: ai i i                                      # roles
"""
BESIDE_QUOTED = "roles: 'ai i i' # roles\nnodes: \"vcap@10.0.0.1 vcap@10.0.0.2\n  vcap@10.0.0.3\"\n"
BESIDE_FOLDED = "nodes: >-\n  vcap@10.0.0.1\n  vcap@10.0.0.2\n  vcap@10.0.0.3\n\n# roles\nroles: ai i i\n"
BESIDE_LISTS = """\
nodes:
- vcap@10.0.0.1   # one
- vcap@10.0.0.2   # two
- {host: vcap@10.0.0.3, name: third}
roles: [ai, i, i]   # one, two, three
"""
WINDOWS = BLOCK.replace("\n", "\r\n")

LAYOUTS = {
    "block": BLOCK,
    "lab": LAB,
    "flow": FLOW,
    "lines": LINES,
    "beside": BESIDE,
    "beside-quoted": BESIDE_QUOTED,
    "beside-folded": BESIDE_FOLDED,
    "beside-lists": BESIDE_LISTS,
    "windows": WINDOWS,
}
NEW = NewNode(Role.MINION, "vcap@10.0.0.4")


@pytest.fixture(params=LAYOUTS)
def inventory(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_bytes(LAYOUTS[request.param].encode())
    return path


def written(edited: Edited) -> str:
    """The text after it was written, which is what the inventory says of the cluster."""
    edited.write()
    assert edited.path.read_bytes().decode() == edited.text
    assert load(edited.path) == edited.cluster
    return edited.text


def changed(edited: Edited) -> tuple[list[str], list[str]]:
    """The lines that went, and those that came."""
    diff = list(difflib.ndiff(edited.before.splitlines(), edited.text.splitlines()))
    return [line[2:] for line in diff if line[0] == "-"], [line[2:] for line in diff if line[0] == "+"]


def test_every_layout_takes_a_node_and_gives_it_back(inventory: Path) -> None:
    before = inventory.read_bytes()
    cluster = load(inventory)
    edited = with_nodes(inventory, [NEW])
    written(edited)
    assert edited.cluster.nodes[:-1] == cluster.nodes
    new = edited.cluster.nodes[-1]
    assert (new.role, new.host, new.user) == (Role.MINION, "10.0.0.4", "vcap")
    written(without_nodes(inventory, ["10.0.0.4"]))
    # Only the line end of the last line, or the comma behind the last item, may be new.
    assert inventory.read_bytes().rstrip().replace(b"33},", b"33}") == before.rstrip()


@pytest.mark.parametrize("index", [1, 2])
def test_a_node_goes_from_every_layout(inventory: Path, index: int) -> None:
    cluster = load(inventory)
    text = written(without_nodes(inventory, [cluster.nodes[index].name]))
    left = [node for i, node in enumerate(cluster.nodes) if i != index]
    assert list(load(inventory).nodes) == left
    for comment in (
        "# the end of nodes",
        "# as in 2015",
        "# under the desk",
        "# not of the yard",
        "# hosts",
        "# roles",
    ):
        assert (comment in text) == (comment in cluster_text(inventory, text)), comment


def cluster_text(path: Path, text: str) -> str:
    """The layout that a text was made of."""
    return max(LAYOUTS.values(), key=lambda layout: difflib.SequenceMatcher(None, layout, text).ratio())


def test_the_first_and_two_at_once_go_from_every_layout(inventory: Path) -> None:
    cluster = load(inventory)
    edited = with_nodes(inventory, [NewNode(Role.BOTH, "10.0.0.4"), NewNode(Role.BOTH, "10.0.0.5")])
    edited.write()
    gone = [cluster.nodes[0].name, cluster.nodes[1].name, "10.0.0.4"]
    written(without_nodes(inventory, gone))
    assert [node.name for node in load(inventory).nodes] == [
        "third" if "third" in edited.text else "10.0.0.3",
        "10.0.0.5",
    ]


@pytest.mark.parametrize("index", [0, 1, 2])
def test_another_host_takes_a_nodes_place_in_every_layout(inventory: Path, index: int) -> None:
    cluster = load(inventory)
    old = cluster.nodes[index]
    text = written(with_other_host(inventory, old.name, "root@10.0.0.9:2222"))
    new = load(inventory).nodes[index]
    assert (new.host, new.user, new.port, str(new.address)) == ("10.0.0.9", "root", 2222, "10.0.0.9")
    assert (new.role, new.labels, new.taints) == (old.role, old.labels, old.taints)
    assert new.name == (old.name if old.name in ("n1", "n2", "third") else "10.0.0.9")
    others = [node for i, node in enumerate(load(inventory).nodes) if i != index]
    assert others == [node for i, node in enumerate(cluster.nodes) if i != index]
    assert text.count("#") == cluster_text(inventory, text).count("#")


@pytest.mark.parametrize("layout", ["block", "lab", "flow", "lines", "beside-lists"])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_new_host_may_have_another_name(layout: str, index: int, tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(LAYOUTS[layout])
    cluster = load(path)
    written(with_other_host(path, cluster.nodes[index].name, "10.0.0.9", "new"))
    assert load(path).nodes[index].name == "new"
    assert load(path).nodes[index].role == cluster.nodes[index].role


@pytest.mark.parametrize(
    ("layout", "gone", "come"),
    [
        ("block", [], ["  - i: vcap@10.0.0.4"]),
        ("lab", [], ["  - {role: i, host: vcap@10.0.0.4}"]),
        (
            "lines",
            ["    {i: vcap@10.0.0.3, name: third, address: 10.0.0.33}   # the third"],
            ["    {i: vcap@10.0.0.3, name: third, address: 10.0.0.33},   # the third", "    {i: vcap@10.0.0.4}"],
        ),
        (
            "beside-lists",
            ["roles: [ai, i, i]   # one, two, three"],
            ["- vcap@10.0.0.4", "roles: [ai, i, i, i]   # one, two, three"],
        ),
    ],
)
def test_a_new_node_is_written_like_the_one_above(
    layout: str, gone: list[str], come: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(LAYOUTS[layout])
    assert changed(with_nodes(path, [NEW])) == (gone, come)


def test_what_is_said_of_a_new_node(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(BLOCK)
    new = NewNode(Role.MINION, "h4", "four", "10.0.0.4", {"example.com/disk": "ssd", "empty": "", "none": "null"})
    edited = with_nodes(path, [new])
    assert changed(edited)[1] == [
        "  - i: h4",
        "    name: four",
        "    address: 10.0.0.4",
        '    labels: {example.com/disk: ssd, empty: "", none: "null"}',
    ]
    assert edited.cluster.nodes[-1].labels == new.labels


def test_a_comment_further_in_goes_with_its_entry_and_one_beside_the_entries_stays(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(BLOCK)
    edited = without_nodes(path, ["10.0.0.2"])
    assert changed(edited)[0] == [
        "  - i: vcap@10.0.0.2",
        '    labels: {disk: "ssd"}   # twice',
        "      # and a note on it",
    ]
    assert "  # the third" in edited.text


def test_hosts_of_etcd_are_found_among_the_nodes(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("nodes:\n  - etcd: 10.0.0.7\n  - ai: 10.0.0.1\n  - i: 10.0.0.2\n")
    assert changed(without_nodes(path, ["10.0.0.2"])) == (["  - i: 10.0.0.2"], [])
    assert changed(with_other_host(path, "10.0.0.1", "10.0.0.3")) == (["  - ai: 10.0.0.1"], ["  - ai: 10.0.0.3"])
    assert changed(with_other_host(path, "10.0.0.7", "10.0.0.3")) == (["  - etcd: 10.0.0.7"], ["  - etcd: 10.0.0.3"])


def test_a_removed_entry_takes_its_own_line_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(LINES)
    assert changed(without_nodes(path, ["10.0.0.2"])) == (["    {i: vcap@10.0.0.2},    # the second"], [])


# What cannot be, and what must not be written


def test_all_that_would_be_wrong_is_told_and_nothing_is_written(inventory: Path) -> None:
    before = inventory.read_bytes()
    with pytest.raises(InventoryError) as raised:
        with_nodes(inventory, [NewNode(Role.BOTH, "10.0.0.1"), NewNode(Role.MINION, "192.168.3.7")])
    text = str(raised.value)
    assert "2 masters: an even number" in text
    assert "the host 10.0.0.1 is there twice" in text
    assert "192.168.3.7, which lies in service_cidr" in text
    assert "cluster.yaml as it would be:" in text
    assert inventory.read_bytes() == before


@pytest.mark.parametrize(
    "text",
    [
        "nodes:\n  - &one {ai: 10.0.0.1}\n  - {i: 10.0.0.2}\ncopy: *one\n",
        "other: &all [{ai: 10.0.0.1}]\nnodes: *all\n",
        "nodes: &all [10.0.0.1]\nroles: [ai]\nmore: *all\n",
        "hosts: &h 10.0.0.1\nnodes: [{ai: *h}]\n",
    ],
)
def test_what_cannot_be_edited_is_refused_or_right(text: str, tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(InventoryError):
        with_nodes(path, [NEW])
    assert path.read_text() == text


def test_a_text_of_words_has_no_place_for_a_name(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(BESIDE)
    with pytest.raises(InventoryError, match="no place for a name"):
        with_nodes(path, [NewNode(Role.MINION, "10.0.0.4", name="four")])
    with pytest.raises(InventoryError, match="cannot edit"):
        with_other_host(path, "10.0.0.2", "10.0.0.4", "four")


def test_mode_and_link_are_kept(tmp_path: Path) -> None:
    real, path = tmp_path / "real.yaml", tmp_path / "cluster.yaml"
    real.write_text(BLOCK)
    real.chmod(0o640)
    path.symlink_to(real)
    with_nodes(path, [NEW]).write()
    assert path.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert "10.0.0.4" in real.read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cluster.yaml", "real.yaml"]


def test_what_somebody_else_has_written_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(BLOCK)
    edited = with_nodes(path, [NEW])
    path.write_text(BLOCK + "\n# mine\n")
    with pytest.raises(InventoryError, match="was changed while kubeup was at work"):
        edited.write()
    assert path.read_text() == BLOCK + "\n# mine\n"


# Options


def test_options_of_new_nodes() -> None:
    first, second = parse_new_nodes(["i=u@h1", "ai=h2:22"], ["a", "b"], [], ["x=1", "y="])
    assert first == NewNode(Role.MINION, "u@h1", "a", None, {"x": "1", "y": ""})
    assert second == NewNode(Role.BOTH, "h2:22", "b", None, {"x": "1", "y": ""})


def test_all_that_is_wrong_with_options_is_told() -> None:
    with pytest.raises(InventoryError) as raised:
        parse_new_nodes(["x=h1", "i=@"], ["a"], [], ["nothing"])
    for part in ("1 times --name and 2 times --node", "a label is KEY=VALUE", "unknown role 'x'", "'@' is not"):
        assert part in str(raised.value)


def test_the_same_host() -> None:
    from tests.unit.conftest import make_cluster

    cluster = make_cluster("ai i")
    assert same_host(cluster, cluster.nodes[1], "root@10.0.0.2:22")
    assert not same_host(cluster, cluster.nodes[1], "10.0.0.2:2222")
    assert not same_host(cluster, cluster.nodes[1], "10.0.0.3")
