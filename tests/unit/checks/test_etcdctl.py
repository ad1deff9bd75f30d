"""What etcd's members say of themselves, from what etcdctl prints."""

from typing import Any

from kubeup.checks.etcdctl import described

LISTED: list[dict[str, Any]] = [
    {"ID": 2, "name": "m2", "peerURLs": ["https://10.0.0.2:2380"], "clientURLs": ["https://10.0.0.2:2379"]},
    {"ID": 1, "name": "m1", "peerURLs": ["https://10.0.0.1:2380"], "clientURLs": ["https://10.0.0.1:2379"]},
    {
        "ID": 3,
        "name": "m3",
        "peerURLs": ["https://10.0.0.3:2380"],
        "clientURLs": ["https://10.0.0.3:2379"],
        "isLearner": True,
    },
    {"ID": 4, "peerURLs": ["https://10.0.0.4:2380"]},
]


def state(member: int, **more: Any) -> dict[str, Any]:
    header = {"member_id": member, "revision": 7}
    status = {"header": header, "version": "3.6.8", "dbSize": 80, "dbSizeInUse": 60, "dbSizeQuota": 100, "leader": 2}
    return {"Endpoint": f"https://10.0.0.{member}:2379", "Status": {**status, **more}}


def test_members_are_described_by_what_each_source_knows_of_them() -> None:
    health = [
        {"endpoint": "https://10.0.0.1:2379", "health": False, "error": "deadline"},
        {"endpoint": "https://10.0.0.2:2379", "health": True, "took": "2ms"},
        {"endpoint": "https://10.0.0.3:2379", "health": False, "error": "rpc not supported for learner"},
    ]
    m0, m1, m2, m3 = described(LISTED, [state(2), state(3)], health, [{"memberID": 2, "alarm": 1}])
    assert (m0.name, m0.healthy, m0.error, m0.peer) == ("", False, "has not started yet", "https://10.0.0.4:2380")
    assert (m1.name, m1.healthy, m1.error, m1.size) == ("m1", False, "deadline", 0)
    assert (m2.leader, m2.healthy, m2.alarms, m2.quota_share) == (True, True, ("NOSPACE",), 0.8)
    assert (m3.learner, m3.healthy, m3.error, m3.leader) == (True, True, "", False)


def test_a_member_without_a_leader_leads_nobody() -> None:
    """After the quorum is lost the leader is 0 everywhere."""
    found = described(LISTED[:2], [state(1, leader=0), state(2, leader=0)], [], [])
    assert [(member.leader, member.healthy) for member in found] == [(False, False), (False, False)]
    assert {member.revision for member in found} == {7}
