"""How large packets may be on the way between the nodes: pods' links are made for what all of it takes."""

from __future__ import annotations

from dataclasses import replace

from kubeup.deploy.run import Run
from kubeup.host.session import Output

# A datagram as large as this host's link takes, that must not be fragmented, to a port where nobody listens. Where the
# way is narrower, whoever cannot pass it on says how large it may be, and the kernel keeps that for a while. (Twice: it
# may get lost, and the first may only make the kernel ask who has the address.)
_WAY = """
mtu=$1; shift
command -v bash >/dev/null && command -v ip >/dev/null || exit 0
send() { bash -c 'dd if=/dev/zero bs="$1" count=1 >/dev/udp/"$2"/9' sh $((mtu - 28)) "$1" 2>/dev/null; }
for round in 1 2; do
    for to in "$@"; do send "$to"; done
    sleep 0.2
done
for to in "$@"; do ip -4 route get "$to" | awk '{for (i = 1; i < NF; i++) if ($i == "mtu") print $(i + 1)}'; done
exit 0
"""

MANY = 200
"""How many other nodes are asked for at most: those of a large cluster share few ways."""


def measure(run: Run) -> None:
    """Find out how large packets between the nodes may be, where it is not known of one that is looked at, or anew.

    It becomes a fact of the hosts, and what they hold follows from it; the hosts themselves are not changed. Nothing is
    done where the inventory says the size, where there is no flannel, or where no host says what its link takes. With
    `--deep` all is measured anew.
    """
    cluster = run.cluster
    nodes = [node for node in run.nodes if node in cluster.nodes]
    facts = {node.name: run.readings[node.name].facts for node in nodes}
    own = {node.name: mtu for node in nodes if (mtu := facts[node.name].mtu_of(node.address))}
    known = all(facts[name].path_mtu for name in own) and not run.deep
    if cluster.cni == "none" or cluster.flannel.mtu or not own or known or len(cluster.nodes) == 1:
        return
    # Where the two ends of a link take different sizes, nobody tells them.
    smallest = min(own.values())

    def ask(name: str) -> Output:
        others = [str(node.address) for node in cluster.nodes if node.name != name][:MANY]
        return run.session.shell(name, _WAY, str(own[name]), *others, timeout=60)

    answers = run.session.side_by_side(own, ask)
    for name, answer in answers.items():
        told = [int(line) for line in answer.stdout.split() if line.isdigit()] if isinstance(answer, Output) else []
        path_mtu = min([smallest, *told])
        run.readings[name].facts = replace(facts[name], path_mtu=path_mtu)
    run.look_again()
