"""A cluster on stand-ins for Rocky with firewalld, without a way out, from a bundle into an empty cache."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kubeup.cluster import load

from .conftest import NewLab
from .support import FAILED, Deployed, kubeup

pytestmark = pytest.mark.slow

STATE = """
rpm -qa | sort
cut -d: -f1 /etc/passwd
firewall-cmd --permanent --zone=trusted --list-all
firewall-cmd --zone=trusted --list-all
firewall-cmd --permanent --list-ports
firewall-cmd --list-ports
ls -A /opt /var/lib/kubeup /etc/kubernetes 2>/dev/null || true
"""


@pytest.fixture(scope="module")
def hosts(new_lab: NewLab) -> Deployed:
    return Deployed(new_lab(roles=["ai", "i"], os="el", outside=False))


@pytest.fixture(scope="module")
def bundle(hosts: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A bundle of the inventory, and the public key of who made it."""
    folder = tmp_path_factory.mktemp("bundle")
    kubeup("bundle", "key", cwd=folder)
    made = ("bundle", "create", "-o", "site.kubeup", "--key", "bundle.key", "--no-wheels")
    kubeup(*made, inventory=hosts.lab.inventory, cwd=folder)
    yield folder / "site.kubeup", folder / "bundle.pub"
    (folder / "site.kubeup").unlink()


def test_up_from_a_bundle_and_destroy(hosts: Deployed, bundle: tuple[Path, Path], tmp_path: Path) -> None:
    before = {name: hosts.on(name, STATE) for name in hosts.names}
    file, key = bundle
    altered = tmp_path / "altered.kubeup"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    altered.write_bytes(content)
    env = {"KUBEUP_CACHE": str(tmp_path / "cache")}
    refused = hosts.kubeup("up", "--bundle", str(altered), "--bundle-key", str(key), code=FAILED, env=env)
    assert "was altered or is damaged" in refused.err
    altered.unlink()

    done = hosts.kubeup("up", "--bundle", str(file), "--bundle-key", str(key), env=env, timeout=600)
    assert "Cluster validation succeeded" in done.text
    assert hosts.differences() == {}
    cluster = load(hosts.lab.inventory)
    for name in hosts.names:
        others = {str(node.address) for node in cluster.nodes if node.name != name}
        open_for = set(hosts.on(name, "firewall-cmd --zone=trusted --list-sources").split())
        assert open_for == {*others, str(cluster.flannel_net)}
        assert "iptables-nft" in hosts.on(name, "rpm -qa")
    hosts.kubeup("destroy", "--yes")
    assert {name: hosts.on(name, STATE) for name in hosts.names} == before
