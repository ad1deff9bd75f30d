"""The cluster that the tests in this folder share: brought up once, by a user with sudo, and destroyed by the last."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from kubeup.lab import Lab

from ..conftest import labs_for
from ..snapshot import Snapshot, take_all
from ..support import DIFFERENT, Deployed, kubeup

OPS = {"user": "ops", "key": "./id_ed25519", "known_hosts": "./known_hosts"}

FOREIGN_FILES = {
    # Where kubeup puts files too:
    "/etc/sysctl.d/10-foreign.conf": "# somebody's\n",
    "/etc/modules-load.d/foreign.conf": "# somebody's\n",
    "/etc/systemd/system/foreign.service": "[Service]\nExecStart=/bin/sleep infinity\n",
    "/opt/foreign/data": "somebody's\n",
    # Where kubeup wants a file of its own:
    "/etc/crictl.yaml": "# somebody's own\nruntime-endpoint: unix:///run/other.sock\n",
}
FOREIGN_RULES = (
    "iptables -t filter -A INPUT -p tcp --dport 4444 -m comment --comment foreign -j DROP",
    "iptables -t nat -A POSTROUTING -s 10.99.0.0/24 -m comment --comment foreign -j RETURN",
    "nft add table inet foreign",
    "nft 'add chain inet foreign input { type filter hook input priority 5 ; }'",
    "nft add rule inet foreign input tcp dport 4445 drop",
)


@dataclass
class Shared(Deployed):
    """The shared cluster, with what its hosts held before it."""

    before: Mapping[str, Snapshot] = field(default_factory=dict)
    after_plan: Mapping[str, Snapshot] = field(default_factory=dict)


@pytest.fixture(scope="package")
def cluster(engine: None, say: Callable[[str], None]) -> Iterator[Shared]:
    """Three hosts in the "ai i i" model with a cluster on them: leave it as you found it."""
    with labs_for(say) as new_lab:
        lab = new_lab(settings={"ssh": OPS})
        shared = Shared(lab)
        for name in shared.names:
            prepare(lab, name)
        shared.before = take_all(lab)
        shared.story["plan"] = kubeup("plan", inventory=lab.inventory, code=DIFFERENT)
        shared.after_plan = take_all(lab)
        shared.story["up"] = kubeup("up", inventory=lab.inventory)
        say(f"the shared cluster is up after {shared.story['up'].seconds:.0f} s")
        yield shared


def prepare(lab: Lab, name: str) -> None:
    """Put things on a host that are not kubeup's, and have sshd log every command."""
    for path, text in FOREIGN_FILES.items():
        lab.exec(name, "sh", "-c", 'mkdir -p "$(dirname "$1")"; cat >"$1"', "sh", path, stdin=text)
    add_foreign_rules(lab, name)
    lab.exec(
        name, "sh", "-c",
        "echo 'LogLevel VERBOSE' >/etc/ssh/sshd_config.d/test.conf; systemctl reload ssh; systemctl daemon-reload",
    )  # fmt: skip


def add_foreign_rules(lab: Lab, name: str) -> None:
    """Put packet filter rules on a host that are not kubeup's."""
    for rule in FOREIGN_RULES:
        lab.exec(name, "sh", "-c", rule)
