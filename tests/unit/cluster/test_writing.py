"""What ``kubeup init`` reads and writes."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest
import yaml

from kubeup.cluster import Role, Settings, load, parse_node_argument, write_inventory
from kubeup.cluster.writing import TAIL
from kubeup.errors import InventoryError


def nowhere(host: str, ssh_config: Path) -> IPv4Address | None:
    return None


def test_parse_node_argument() -> None:
    argument = parse_node_argument("ai=vcap@10.10.103.250:2222")
    assert (argument.role, *argument.parts) == (Role.BOTH, "vcap", "10.10.103.250", 2222)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("x=10.0.0.1", "--node x=10.0.0.1: unknown role 'x'"),
        ("10.0.0.1", "unknown role '10.0.0.1'"),
        ("ai=", "'' is not of the form"),
        ("ai=a:b", "'a:b' is not of the form"),
    ],
)
def test_parse_node_argument_refuses(text: str, what: str) -> None:
    with pytest.raises(InventoryError) as caught:
        parse_node_argument(text)
    assert what in str(caught.value)


def test_what_is_written_says_what_was_asked(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    extra = {"i": "root@127.0.0.1:2201", "name": "n3", "address": IPv4Address("10.10.103.9"), "labels": {"ssd": "yes"}}
    settings = {"ssh": {"user": "root", "known_hosts": tmp_path / "hosts"}, "service_cidr": "10.96.0.0/16"}
    cluster = write_inventory(path, "lab", ["ai=vcap@10.10.103.250", "i=10.10.103.162", extra], settings, nowhere)
    assert cluster == load(path, nowhere)
    assert (cluster.name, [n.role for n in cluster.nodes]) == ("lab", ["ai", "i", "i"])
    assert (cluster.nodes[2].port, cluster.nodes[2].labels) == (2201, {"ssd": "yes"})
    assert (cluster.ssh.user, cluster.ssh.known_hosts) == ("root", tmp_path / "hosts")
    assert str(cluster.service_cidr) == "10.96.0.0/16"
    assert "\n  - ai: vcap@10.10.103.250\n" in path.read_text()
    assert "#   ai  both" in path.read_text()


def test_the_commented_defaults_are_the_defaults() -> None:
    shown = yaml.safe_load("\n".join(line[1:] for line in TAIL.splitlines() if line[:1] == "#" and line[1:2] != " "))
    assert Settings.model_validate(shown) == Settings()
    assert set(Settings.model_fields) - set(shown) == {"name", "ssh", "versions"}  # ssh and versions by an example


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("mine")
    with pytest.raises(InventoryError, match="left alone"):
        write_inventory(path, "lab", ["ai=10.0.0.1"])
    assert path.read_text() == "mine"


def test_nothing_invalid_is_written(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    with pytest.raises(InventoryError) as caught:
        write_inventory(path, "Lab", ["ai=10.0.0.1", "i=u@10.0.0.1", "i=web"], resolve=nowhere)
    assert {p.where for p in caught.value.problems} == {"name Lab", "--node i=u@10.0.0.1", "--node i=web"}
    assert not path.exists()
