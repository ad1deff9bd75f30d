import stat
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from kubeup.errors import LabError
from kubeup.lab.inventory import (
    LabNode,
    default_roles,
    folder_of,
    inventory_text,
    known_hosts_lines,
    make_key,
    node_line,
)

NODES = [LabNode("demo-1", "10.79.0.2", "ai"), LabNode("demo-2", "10.79.0.3", "i")]


def test_the_inventory_names_the_key_and_every_host() -> None:
    assert inventory_text("demo", NODES, {}) == (
        "name: demo\n"
        "ssh: {user: root, key: ./id_ed25519, known_hosts: ./known_hosts}\n"
        "nodes:\n"
        "  - {role: ai, name: demo-1, host: 10.79.0.2, address: 10.79.0.2}\n"
        "  - {role: i, name: demo-2, host: 10.79.0.3, address: 10.79.0.3}\n"
    )


def test_settings_come_before_the_nodes_and_may_replace_the_user() -> None:
    text = inventory_text("demo", NODES, {"ssh": {"user": "ops"}, "service_cidr": "10.9.0.0/24"})

    read = yaml.safe_load(text + node_line(LabNode("demo-3", "10.79.0.4", "i")))
    assert read["ssh"] == {"user": "ops"}
    assert read["service_cidr"] == "10.9.0.0/24"
    assert [node["name"] for node in read["nodes"]] == ["demo-1", "demo-2", "demo-3"]


def test_without_roles_the_first_host_is_master_and_minion() -> None:
    assert default_roles(3) == ["ai", "i", "i"]
    assert default_roles(1) == ["ai"]
    assert default_roles(0) == []


def test_several_masters_come_first() -> None:
    assert default_roles(4, masters=3) == ["ai", "ai", "ai", "i"]


@pytest.mark.parametrize(("hosts", "masters"), [(3, 0), (3, 4), (1, -1)])
def test_masters_that_cannot_be_are_refused(hosts: int, masters: int) -> None:
    with pytest.raises(LabError, match="masters"):
        default_roles(hosts, masters)


def test_known_hosts_have_every_key_and_no_comment() -> None:
    keys = "ssh-ed25519 AAAA root@demo-1\necdsa-sha2-nistp256 BBBB root@demo-1\n"

    assert known_hosts_lines("10.79.0.2", keys) == ("10.79.0.2 ssh-ed25519 AAAA\n10.79.0.2 ecdsa-sha2-nistp256 BBBB\n")


def test_the_key_is_a_pair_that_others_cannot_read_and_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "id_ed25519"

    make_key(path)
    first = path.read_bytes()
    make_key(path)

    assert path.read_bytes() == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    private = load_ssh_private_key(first, password=None)
    assert private.public_key() == load_ssh_public_key(path.with_suffix(".pub").read_bytes())


def test_files_are_where_the_user_keeps_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert folder_of("demo") == tmp_path / "kubeup" / "labs" / "demo"

    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/her")
    assert folder_of("demo") == Path("/home/her/.local/state/kubeup/labs/demo")
