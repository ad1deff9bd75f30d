"""templates/firewall/firewall.sh with a firewalld made of files: what it opens, and that it closes nothing else."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "templates" / "firewall" / "firewall.sh"

# What is open now lies in "runtime", what is open after a restart in "permanent".
FIREWALL_CMD = r"""#!/bin/sh
cd "$FIREWALLD" || exit 9
state=runtime
for option; do
    case $option in
    --permanent) state=permanent ;;
    --list-sources) sed -n 's/^source //p' $state | xargs ;;
    --list-ports) sed -n 's/^port //p' $state | xargs ;;
    --add-*) option=${option#--add-}; line="${option%%=*} ${option#*=}"
        grep -qxF "$line" $state || echo "$line" >>$state ;;
    --remove-*) option=${option#--remove-}; line="${option%%=*} ${option#*=}"
        grep -vxF "$line" $state >left; mv left $state ;;
    esac
done
"""


class Host:
    """A host with firewalld."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("bin", "lib/kubeup", "run", "firewalld"):
            (folder / name).mkdir(parents=True)
        (folder / "bin" / "firewall-cmd").write_text(FIREWALL_CMD)
        (folder / "bin" / "firewall-cmd").chmod(0o755)
        text = SCRIPT.read_text().replace("/var/lib/", f"{folder}/lib/").replace("/run/", f"{folder}/run/")
        (folder / "firewall").write_text(text)
        self.hold(runtime=[], permanent=[])

    def hold(self, **states: list[str]) -> None:
        for state, lines in states.items():
            (self.folder / "firewalld" / state).write_text("".join(f"{line}\n" for line in lines))

    def has(self, state: str) -> set[str]:
        return set((self.folder / "firewalld" / state).read_text().splitlines())

    def run(self, *arguments: str) -> None:
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "FIREWALLD": str(self.folder / "firewalld")}
        done = subprocess.run(
            ["sh", self.folder / "firewall", *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")

    def open(self) -> None:
        self.run("open", "firewalld", "10.0.0.2 172.16.0.0/16", "6443/tcp 30000-32767/udp", "172.16.0.0/16")

    def boot(self, *, in_order: bool) -> None:
        """Off and on again: services are stopped first only when it is done ``in_order``."""
        if in_order:
            self.run("close")
        for file in (self.folder / "run").iterdir():
            file.unlink()
        self.hold(runtime=sorted(self.has("permanent")))
        self.open()

    @property
    def notes(self) -> list[Path]:
        return [*(self.folder / "run").iterdir(), *(self.folder / "lib" / "kubeup").iterdir()]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


NEEDED = {"source 10.0.0.2", "source 172.16.0.0/16", "port 6443/tcp", "port 30000-32767/udp"}
OWN = "port 22/tcp"
BEFORE = [
    ([], []),
    (["port 6443/tcp", "source 10.0.0.2"], []),  # only until the next restart
    ([], ["port 6443/tcp", "source 10.0.0.2"]),  # only from the next restart on
    (["port 6443/tcp"], ["port 6443/tcp", "source 10.0.0.2"]),
]


@pytest.mark.parametrize(("runtime", "permanent"), BEFORE)
def test_what_was_open_before_is_what_is_open_afterwards(host: Host, runtime: list[str], permanent: list[str]) -> None:
    host.hold(runtime=[OWN, *runtime], permanent=[OWN, *permanent])
    for _ in range(2):  # opening again, as when an address changes, is no other story
        host.open()
        assert host.has("runtime") == host.has("permanent") == {OWN, *NEEDED}
    host.run("close")
    assert host.has("runtime") == {OWN, *runtime}
    assert host.has("permanent") == {OWN, *permanent}
    assert host.notes == []


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize(("runtime", "permanent"), BEFORE)
def test_after_a_boot_nothing_of_before_is_left(
    host: Host, runtime: list[str], permanent: list[str], in_order: bool
) -> None:
    host.hold(runtime=[OWN, *runtime], permanent=[OWN, *permanent])
    host.open()
    host.boot(in_order=in_order)
    assert host.has("runtime") == host.has("permanent") == {OWN, *NEEDED}
    host.run("close")
    # What was open until the restart alone has gone with it.
    assert host.has("runtime") == host.has("permanent") == {OWN, *permanent}
    assert host.notes == []


def test_closing_what_was_never_opened_changes_nothing(host: Host) -> None:
    host.hold(runtime=sorted(NEEDED), permanent=[])
    host.run("close")
    assert host.has("runtime") == NEEDED
    assert host.notes == []
