from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from kubeup.cluster import load
from kubeup.errors import LabError
from kubeup.lab import vagrant
from kubeup.lab.vagrant import Machine, common_network, inventory_of, machines_in, parse, write_inventory

SSH_CONFIG = """\
Host node-1
  HostName 127.0.0.1
  User vagrant
  Port 2222
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  PasswordAuthentication no
  IdentityFile "/home/she/my machines/.vagrant/machines/node-1/virtualbox/private_key"
  IdentitiesOnly yes
  LogLevel FATAL

Host node-2
  HostName 127.0.0.1
  User vagrant
  Port 2200
  IdentityFile /home/she/.vagrant/private_key
"""


def interfaces(*addresses: str) -> tuple[IPv4Interface, ...]:
    return tuple(map(IPv4Interface, addresses))


def test_what_vagrant_says_of_its_machines() -> None:
    first, second = machines_in(SSH_CONFIG)

    key = "/home/she/my machines/.vagrant/machines/node-1/virtualbox/private_key"
    assert first == Machine("node-1", "127.0.0.1", 2222, "vagrant", key)
    assert second.port == 2200
    assert machines_in("") == []
    with pytest.raises(LabError, match="node-9: 'hostname' is missing"):
        machines_in("Host node-9\n  Port 22\n")


def test_the_address_that_virtualbox_gives_to_all_is_not_taken() -> None:
    network = common_network(
        {
            "node-1": interfaces("10.0.2.15/24", "192.168.56.11/24"),
            "node-2": interfaces("10.0.2.15/24", "192.168.56.12/24"),
        }
    )
    assert network == IPv4Network("192.168.56.0/24")
    with pytest.raises(LabError, match="private_network"):
        common_network({"node-1": interfaces("10.0.2.15/24"), "node-2": interfaces("10.0.2.15/24")})


def test_the_inventory_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "a key"
    key.touch()
    machines = [Machine(f"node-{n}", "127.0.0.1", 2200 + n, "vagrant", str(key)) for n in (1, 2, 3)]
    printed = "address eth0 10.0.2.15/24\naddress eth1 192.168.56.1{}/24\naddress cni0 172.16.0.1/24\n"
    printed += "ssh-ed25519 AAA root@x\n"
    said = {machine.name: parse(printed.format(n)) for n, machine in enumerate(machines, 1)}
    path = tmp_path / "cluster.yaml"
    (tmp_path / "known_hosts").touch()

    path.write_text(inventory_of(machines, said, 1, "./known_hosts"))

    cluster = load(path)
    assert [str(node.address) for node in cluster.nodes] == ["192.168.56.11", "192.168.56.12", "192.168.56.13"]
    assert [str(node.role) for node in cluster.nodes] == ["ai", "i", "i"]
    target = cluster.ssh_target(cluster.node("node-2"))
    assert (target.host, target.port, target.user, target.key) == ("127.0.0.1", 2202, "vagrant", key)
    assert said["node-1"].keys == ("ssh-ed25519 AAA",)


def test_ports_are_part_of_what_known_hosts_calls_a_machine() -> None:
    assert vagrant._as_known(Machine("n", "127.0.0.1", 2222, "u", "k")) == "[127.0.0.1]:2222"
    assert vagrant._as_known(Machine("n", "10.0.0.5", 22, "u", "k")) == "10.0.0.5"


def test_what_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LabError, match="has no Vagrantfile"):
        write_inventory(tmp_path)
    (tmp_path / "Vagrantfile").touch()
    monkeypatch.setattr(vagrant, "which", lambda program: None)
    with pytest.raises(LabError, match="apt-get install vagrant"):
        write_inventory(tmp_path)
