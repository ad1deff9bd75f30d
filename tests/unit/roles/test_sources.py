"""Proxies, mirrors and the authorities of registries: how they are written, and what is refused."""

import socket
import subprocess
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest

from kubeup.checks.sources import _ASK, _problems
from kubeup.cluster import load
from kubeup.errors import InventoryError

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def resources(world: Any, role: str = "ai", **settings: Any) -> dict[tuple[str, str], Any]:
    cluster = world.cluster(role, **settings)
    facts = settings.pop("facts", {})
    return {key: value for key, (_, value) in world.desired(cluster, cluster.nodes[0], **facts).items()}


def test_without_settings_there_is_nothing(world: Any) -> None:
    own = resources(world)
    assert not [key for key in own if "proxy.env" in key[1] or "certs.d" in key[1] or "kubeup.list" in key[1]]
    assert "EnvironmentFile" not in own["unit", "containerd.service"].content


def test_a_proxy_is_for_packages_and_images_and_not_for_the_cluster(world: Any) -> None:
    own = resources(world, proxy={"http": "http://10.9.9.9:3128/", "no_proxy": [".example.com"]})
    text = own["file", "/etc/kubernetes/proxy.env"].content
    assert "http_proxy='http://10.9.9.9:3128'\nHTTP_PROXY='http://10.9.9.9:3128'" in text
    assert "https_proxy" not in text
    for part in ("10.0.0.1", "192.168.3.0/24", "172.16.0.0/16", ".svc", ".cluster.local", ".example.com"):
        assert part in text
    unit = own["unit", "containerd.service"]
    assert "EnvironmentFile=/etc/kubernetes/proxy.env" in unit.content
    assert ("file", "/etc/kubernetes/proxy.env") in unit.inputs


def test_registries_are_hosts_toml(world: Any) -> None:
    mirrors = ["https://m1.example", "https://m2.example:5000"]
    own = resources(world, registries={"docker.io": {"mirrors": mirrors, "ca": PEM}, "r.example:5000": {"ca": PEM}})
    text = own["file", "/etc/containerd/certs.d/docker.io/hosts.toml"].content
    assert text.index('server = "https://registry-1.docker.io"') < text.index("m1.example") < text.index("m2.example")
    told = tomllib.loads(text)
    ca = "/etc/containerd/certs.d/docker.io/ca.crt"
    # containerd asks the registry itself last, and then by what stands at the top.
    assert [told["ca"], *(host["ca"] for host in told["host"].values())] == [ca] * 3
    alone = own["file", "/etc/containerd/certs.d/r.example:5000/hosts.toml"].content
    assert 'server = "https://r.example:5000"\nca = "/etc/containerd/certs.d/r.example:5000/ca.crt"' in alone
    assert own["file", "/etc/containerd/certs.d/docker.io/ca.crt"].content == PEM


def test_mirrors_of_packages_are_each_familys(world: Any) -> None:
    packages = {"apt": ["deb http://m.example/debian bookworm main"], "dnf": ["http://m.example/el9"]}
    cluster = world.cluster("ai", packages=packages)
    debian = world.desired(cluster, cluster.nodes[0])
    assert debian["file", "/etc/apt/sources.list.d/kubeup.list"][1].content == packages["apt"][0] + "\n"
    rocky = world.desired(cluster, cluster.nodes[0], os="rocky", os_version="9.4")
    assert "baseurl=http://m.example/el9" in rocky["file", "/etc/yum.repos.d/kubeup.repo"][1].content
    assert ("file", "/etc/apt/sources.list.d/kubeup.list") not in rocky


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ("proxy: {http: proxy.example.com}", "is not the URL of a proxy"),
        ("proxy: {http: 'http://a:b@proxy:1'}", "has a user in it"),
        ('proxy: {http: "http://x:1\'; rm -rf / #"}', "is not the URL of a proxy"),
        ("proxy: {no_proxy: ['a b']}", "neither a name"),
        ("registries: {'docker.io/x': {}}", "is not a registry"),
        ("registries: {docker.io: {mirrors: [mirror]}}", "is not the URL of a mirror"),
        ("registries: {docker.io: {mirrors: ['https://me:hunter2@m.example']}}", "the mirror's URL has a user in it"),
        ("packages: {dnf: ['https://me:hunter2@m.example/el9']}", "the mirror's URL has a user in it"),
        ("packages: {apt: ['deb https://me:hunter2@m.example/debian x main']}", "apt's sources has a user in it"),
        ("registries: {docker.io: {ca: gone.pem}}", "cannot be read"),
        ("registries: {docker.io: {ca: key.pem}}", "is not a certificate"),
        ("packages: {apt: ['http://m']}", "is not a line of apt's sources"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, setting: str, what: str) -> None:
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    (tmp_path / "cluster.yaml").write_text(f"nodes:\n  - ai: 10.0.0.1\n{setting}\n")
    with pytest.raises(InventoryError, match=what) as raised:
        load(tmp_path / "cluster.yaml")
    assert "cluster.yaml:3" in str(raised.value)
    assert "a:b" not in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_certificate_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(PEM)
    (tmp_path / "cluster.yaml").write_text("nodes:\n  - ai: 10.0.0.1\nregistries: {docker.io: {ca: ca.pem}}\n")
    assert load(tmp_path / "cluster.yaml").registries["docker.io"].ca == PEM


def asked(answer: bytes | None) -> list[str]:
    """What preflight says of a proxy that answers this; None for one at whose port nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        at = f"127.0.0.1:{server.getsockname()[1]}"
        if answer is None:
            server.close()
        else:

            def serve() -> None:
                connection, _ = server.accept()
                request = b""
                while b"\r\n\r\n" not in request:
                    request += connection.recv(1000)
                connection.sendall(answer)
                connection.close()

            threading.Thread(target=serve, daemon=True).start()
        told = subprocess.run(["sh", "-c", _ASK, "sh", at], capture_output=True, text=True, check=True, timeout=20)
    return [problem.what.replace(at, "PROXY") for problem in _problems("n1", told.stdout)]


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (b"HTTP/1.1 200 Connection established\r\n\r\n", []),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", []),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", ["the proxy PROXY refuses: HTTP/1.1 403 Forbidden"]),
        (b"HTTP/1.1 407 Authenticate\r\n\r\n", ["the proxy PROXY refuses: HTTP/1.1 407 Authenticate"]),
        (b"", ["the proxy PROXY gives no answer"]),
        (None, ["the proxy PROXY gives no connection"]),
    ],
)
def test_a_proxy_that_refuses_is_told(answer: bytes | None, what: list[str]) -> None:
    assert asked(answer) == what
