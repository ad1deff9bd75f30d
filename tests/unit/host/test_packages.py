"""What apply.sh remembers of packages, and takes away again. The package manager here only pretends."""

import base64
import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from kubeup.host.converge import APPLY, _tar

# Each takes its folder from where it lies. A package's command is called like it, and "lib-" ones are what others need.
APT = """#!/bin/sh
here=$(dirname "$0"); state=$here/../state
echo "$*" >>"$state/calls"
act=; names=
for word in "$@"; do
    case $word in install | purge | update) act=$word ;; -* | DPkg*) ;; *) names="$names $word" ;; esac
done
for name in $names; do
    case $act in
    install)
        echo "$name" >>"$state/packages"
        echo lib-shared >>"$state/packages"
        echo "lib-$name" >>"$state/packages"
        echo "$name:x:102:102::/:/bin/false" >>"$state/passwd"
        printf '#!/bin/sh\\n' >"$here/$name"; chmod +x "$here/$name"
        if [ -e "$state/fail" ]; then exit 100; fi ;;
    purge) grep -vxF "$name" "$state/packages" >"$state/p"; mv "$state/p" "$state/packages"; rm -f "$here/$name" ;;
    esac
done
"""
DPKG_QUERY = """#!/bin/sh
sort -u "$(dirname "$0")/../state/packages" | sed 's/^/ii  /'
"""
SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >>"$(dirname "$0")/../state/calls"
"""
USERDEL = """#!/bin/sh
state=$(dirname "$0")/../state; grep -v "^$1:" "$state/passwd" >"$state/p"; mv "$state/p" "$state/passwd"
"""


@dataclass
class Host:
    """A folder that stands for a host."""

    folder: Path

    def apply(self, *actions: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        text = "".join("\t".join(action) + "\n" for action in actions)
        packed = _tar([("actions", text.encode())])
        script = APPLY.replace("/var/lib/kubeup", f"{self.folder}/home").replace(
            "/etc/passwd", f"{self.folder}/state/passwd"
        )
        return subprocess.run(
            ["/bin/sh", "-c", script, "sh", hashlib.sha256(packed).hexdigest()],
            input=base64.encodebytes(packed).decode(),
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}"},
            check=False,
        )

    def record(self) -> dict[str, str]:
        """What was there before each package, by its name."""
        lines = [line.split("\t") for line in (self.folder / "home" / "record").read_text().splitlines()]
        return {key: before for kind, key, _, _, before in lines if kind == "package"}

    def packages(self) -> set[str]:
        return set((self.folder / "state" / "packages").read_text().split())

    def users(self) -> list[str]:
        return [line.partition(":")[0] for line in (self.folder / "state" / "passwd").read_text().splitlines()]

    def calls(self) -> list[str]:
        return (self.folder / "state" / "calls").read_text().splitlines()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    for name in ("bin", "state", "home"):
        (tmp_path / name).mkdir()
    for name, text in (("apt-get", APT), ("dpkg-query", DPKG_QUERY), ("systemctl", SYSTEMCTL), ("userdel", USERDEL)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "state" / "packages").write_text("base\n")
    (tmp_path / "state" / "passwd").write_text("root:x:0:0::/:/bin/sh\nperson:x:1000:1000::/:/bin/sh\n")
    (tmp_path / "home" / "record").write_text("")
    return Host(tmp_path)


def wanted(*names: str) -> list[tuple[str, ...]]:
    return [("package", name, "want", name, "?") for name in names]


def dropped(*names: str) -> list[tuple[str, ...]]:
    return [("drop", "package", name, "-") for name in names]


def test_all_goes_that_came(host: Host) -> None:
    done = host.apply(*wanted("k-one", "k-two"))
    assert done.returncode == 0, done.stderr
    assert host.record() == {
        "k-one": "new:k-one,lib-k-one,lib-k-two,lib-shared,user:k-one,user:k-two",
        "k-two": "new:k-two",
    }
    done = host.apply(*dropped("k-two", "k-one"))
    assert done.returncode == 0, done.stderr
    assert host.packages() == {"base"}
    assert host.users() == ["root", "person"]
    assert host.record() == {}
    assert len([call for call in host.calls() if " purge " in call]) == 1


@pytest.mark.parametrize("there_before", [True, False])
def test_packages_of_a_bundle_do_not_stay(host: Host, there_before: bool) -> None:
    if there_before:
        (host.folder / "bin" / "k-one").write_text("#!/bin/sh\n")
        (host.folder / "bin" / "k-one").chmod(0o755)
    (host.folder / "home" / "packages").mkdir()
    (host.folder / "home" / "packages" / "k-one.deb").touch()
    done = host.apply(*wanted("k-one"))
    assert done.returncode == 0, done.stderr
    assert not (host.folder / "home" / "packages").exists()


@pytest.mark.parametrize(("first", "second"), [("k-one", "k-two"), ("k-two", "k-one")])
def test_one_that_goes_alone_takes_nothing_that_the_other_needs(host: Host, first: str, second: str) -> None:
    host.apply(*wanted("k-one", "k-two"))
    assert host.apply(*dropped(first)).returncode == 0
    assert host.packages() == {"base", second, "lib-k-one", "lib-k-two", "lib-shared"}
    assert first not in host.record()
    assert host.apply(*dropped(second)).returncode == 0
    assert host.packages() == {"base"}
    assert host.users() == ["root", "person"]


def test_what_was_there_stays(host: Host) -> None:
    (host.folder / "bin" / "k-one").write_text("#!/bin/sh\n")
    (host.folder / "bin" / "k-one").chmod(0o755)
    with (host.folder / "state" / "packages").open("a") as file:
        file.write("k-one\n")
    host.apply(*wanted("k-one", "k-two"))
    assert host.record()["k-one"] == "present"
    host.apply(*dropped("k-two", "k-one"))
    assert host.packages() == {"base", "k-one"}


@pytest.mark.parametrize("then", ["installed by the next run", "destroyed"])
def test_a_run_that_was_killed_while_it_installed(host: Host, then: str) -> None:
    fails = host.folder / "state" / "fail"  # after it has done what it should
    fails.touch()
    assert host.apply(*wanted("k-one")).returncode != 0
    assert host.record() == {"k-one": "?"}
    fails.unlink()
    if then == "installed by the next run":
        assert host.apply(*wanted("k-one")).returncode == 0
        assert host.record()["k-one"].startswith("new:k-one,lib-k-one")
    assert host.apply(*dropped("k-one")).returncode == 0
    assert host.packages() == {"base"}
    assert host.users() == ["root", "person"]


def test_a_list_from_an_earlier_run_does_not_count(host: Host) -> None:
    """What came since is somebody else's."""
    (host.folder / "home" / "had.packages").write_text("")
    (host.folder / "home" / "had.users").write_text("")
    host.apply(*wanted("k-one"))
    assert "base" not in host.record()["k-one"]


def test_what_a_package_would_start_waits_for_its_configuration(host: Host) -> None:
    host.apply(*wanted("k-one"))
    calls = [call for call in host.calls() if "k-one" in call]
    assert [next(word for word in ("unmask", "mask", "install") if f"{word} " in call) for call in calls] == [
        "mask",
        "install",
        "unmask",
    ]
    assert all("--runtime" in call for call in calls if call.startswith("systemctl"))
