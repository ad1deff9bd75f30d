"""etcdctl on a member, over SSH, and what etcd says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeup.cluster import Cluster, Node
from kubeup.errors import HostsFailed, KubeupError
from kubeup.host.session import Output, Session, failure

OWN = "https://127.0.0.1:2379"
"""A member's own client URL, on its host."""

ETCDCTL = (
    "/opt/kubeup/bin/etcdctl --cacert=/etc/etcd/ca.crt --cert=/etc/etcd/root.crt --key=/etc/etcd/root.key "
    "--command-timeout=5s"
)

ALARMS = {1: "NOSPACE", 2: "CORRUPT"}  # etcd's api/etcdserverpb/rpc.proto, AlarmType


@dataclass(frozen=True)
class Member:
    """One member of etcd as it shows itself. Sizes in bytes; what an unhealthy one does not tell is 0 or empty.

    ``in_use`` is what the database would take after `defrag`; at ``quota`` etcd takes no more writes.
    """

    name: str
    id: str
    endpoint: str
    peer: str
    healthy: bool
    learner: bool = False
    leader: bool = False
    version: str = ""
    size: int = 0
    in_use: int = 0
    quota: int = 0
    revision: int = 0
    alarms: tuple[str, ...] = ()
    error: str = ""

    @property
    def quota_share(self) -> float:
        """How much of the quota the database takes, 0 to 1."""
        return self.size / self.quota if self.quota else 0.0


class Etcdctl:
    """etcdctl on the first of the cluster's members whose host and etcd answer."""

    def __init__(self, cluster: Cluster, session: Session) -> None:
        self._session = session
        self._names = [node.name for node in own_members(cluster)]

    def run(self, *arguments: str, endpoints: str = OWN, timeout: float = 60) -> Output:
        """Run etcdctl there. Another member is tried when one's host or etcd does not answer."""
        return self.run_on_any(*arguments, endpoints=endpoints, timeout=timeout)[1]

    def run_on_any(self, *arguments: str, endpoints: str = OWN, timeout: float = 60) -> tuple[str, Output]:
        """The same, with the name of the node that it was run on."""
        name, output = "", Output("", "there is no member", None)
        for name in self._names:
            output = self.on(name, *arguments, endpoints=endpoints, timeout=timeout)
            if output.ok:
                break
        return name, output

    def on(self, name: str, *arguments: str, endpoints: str = OWN, timeout: float = 60) -> Output:
        """Run etcdctl on this member's host."""
        return self._session.shell(name, f'{ETCDCTL} --endpoints="$@"', endpoints, *arguments, timeout=timeout)

    def checked(self, *arguments: str, endpoints: str = OWN, timeout: float = 60) -> str:
        """What etcdctl prints when it succeeds. Raises HostsFailed."""
        name, output = self.run_on_any(*arguments, endpoints=endpoints, timeout=timeout)
        if not output.ok:
            raise HostsFailed("asking etcd", [failure(name, f"etcdctl {' '.join(arguments)}", output)])
        return output.stdout

    def members(self) -> list[Member]:
        """All members, healthy or not, in the order of their names. Raises HostsFailed when none answers."""
        # Serializable: also a member that has lost its quorum knows who the others are.
        asker, output = self.run_on_any("member", "list", "--consistency=s", "--write-out=json")
        if not output.ok:
            raise HostsFailed("asking etcd", [failure(asker, "etcdctl member list", output)])
        listed = json.loads(output.stdout)["members"]
        endpoints = ",".join(url for member in listed for url in member.get("clientURLs", [])[:1])

        def ask(what: str) -> Output:
            # They exit with 1 when one member does not answer, and print what the others say all the same.
            return self.on(asker, *what.split(), "--write-out=json", endpoints=endpoints)

        # All at once: one that is dead costs each of them its whole time limit.
        answers = self._session.side_by_side(("endpoint status", "endpoint health", "alarm list"), ask)
        status, health, alarms = map(_json, answers.values())
        return described(listed, status or [], health or [], (alarms or {}).get("alarms", []))


def own_members(cluster: Cluster) -> Sequence[Node]:
    """The hosts of etcd's members. Raises KubeupError where etcd is not kubeup's."""
    if not cluster.members:
        raise KubeupError(
            f"the etcd of {cluster.name} is one that kubeup only uses ({', '.join(cluster.etcd_endpoints)}): "
            "its data are saved and restored where it is run"
        )
    return cluster.members


def _json(output: Output | Exception) -> Any:
    try:
        return json.loads(output.stdout) if isinstance(output, Output) else None
    except ValueError:
        return None


def described(
    listed: Sequence[Mapping[str, Any]],
    status: Sequence[Mapping[str, Any]],
    health: Sequence[Mapping[str, Any]],
    alarms: Sequence[Mapping[str, Any]],
) -> list[Member]:
    """Members from what etcdctl prints as JSON for `member list`, `endpoint status` and `health`, and `alarm list`."""
    states = {entry["Status"]["header"]["member_id"]: entry["Status"] for entry in status}
    healths = {entry["endpoint"]: entry for entry in health}
    found = []
    for member in listed:
        own = member["ID"]
        endpoint = next(iter(member.get("clientURLs", [])), "")
        state = states.get(own, {})
        told = healths.get(endpoint, {})
        # A learner takes no client's requests, so its health cannot be asked for: that it answers has to do.
        learner = bool(member.get("isLearner"))
        found.append(
            Member(
                name=member.get("name", ""),
                id=f"{own:x}",
                endpoint=endpoint,
                peer=next(iter(member.get("peerURLs", [])), ""),
                healthy=bool(state) if learner else bool(told.get("health")),
                learner=learner,
                leader=bool(state) and state.get("leader") == own,
                version=state.get("version", ""),
                size=state.get("dbSize", 0),
                in_use=state.get("dbSizeInUse", 0),
                quota=state.get("dbSizeQuota", 0),
                revision=state.get("header", {}).get("revision", 0),
                alarms=tuple(
                    ALARMS.get(a.get("alarm", 0), "unknown alarm") for a in alarms if a.get("memberID") == own
                ),
                error="has not started yet" if not endpoint else "" if learner else told.get("error", ""),
            )
        )
    return sorted(found, key=lambda member: member.name)
