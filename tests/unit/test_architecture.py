"""Who may import whom, see CONTRIBUTING.md. Read from the source, so that imports inside functions count too."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"kubeup": ROOT / "kubeup", "kubeup.deploy": ROOT / "deploy", "kubeup.roles": ROOT / "roles"}


def modules() -> Iterator[tuple[str, Path]]:
    """(dotted name, file) of every module of kubeup, links not followed."""
    for package, folder in PACKAGES.items():
        for path in folder.rglob("*.py"):
            if not any(parent.is_symlink() for parent in path.parents):
                parts = path.relative_to(folder).with_suffix("").parts
                yield ".".join((package, *(part for part in parts if part != "__init__"))), path


def imports(path: Path) -> set[str]:
    """The dotted names of what a file imports; for `from a import b` both a and a.b."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import():
                found.update(alias.name for alias in node.names)
            case ast.ImportFrom(module=str(module)):
                found.add(module)
                found.update(f"{module}.{alias.name}" for alias in node.names)
    return found


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


MODULES = dict(modules())


def test_all_modules_are_looked_at() -> None:
    assert {"kubeup.cli.app", "kubeup.deploy.up", "kubeup.roles.etcd", "kubeup.host.session"} <= set(MODULES)


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("kubeup.roles")])
def test_roles_are_pure(name: str) -> None:
    """They know clusters, resources and templates, and nothing by which one could read a file or talk to a host."""
    allowed = (
        "kubeup.cluster",
        "kubeup.components",
        "kubeup.host.facts",
        "kubeup.host.resources",
        "kubeup.roles",
        "kubeup.templates",
        "collections.abc",
        "ipaddress",
        "json",
        "types",
        "typing",
    )
    assert {found for found in imports(MODULES[name]) if not within(found, allowed)} == set()


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith(("kubeup.roles", "kubeup.deploy"))])
def test_the_library_knows_no_component_and_no_job(name: str) -> None:
    if not name.startswith("kubeup.cli"):
        assert not [found for found in imports(MODULES[name]) if within(found, ("kubeup.roles", "kubeup.deploy"))]


@pytest.mark.parametrize("name", MODULES)
def test_only_the_host_package_talks_to_hosts(name: str) -> None:
    exceptions = (
        "kubeup.host",
        "kubeup.deploy.under_pyinfra",  # is run by pyinfra itself
        "kubeup.cluster.addresses",  # reads ~/.ssh/config with paramiko, and connects to nothing
    )
    if not within(name, exceptions):
        assert not [found for found in imports(MODULES[name]) if within(found, ("pyinfra", "paramiko"))]


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("kubeup.cluster")])
def test_a_cluster_is_known_without_hosts(name: str) -> None:
    assert not [found for found in imports(MODULES[name]) if within(found, ("kubeup.host", "kubeup.checks"))]


def test_help_does_not_wait_for_what_talks_to_hosts() -> None:
    code = "import sys, kubeup.cli.app; print([m for m in ('pyinfra', 'paramiko', 'cryptography') if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"
