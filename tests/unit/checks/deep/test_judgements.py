"""What deep checks conclude from what they have seen."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubeup.checks.deep.refusals import answered, etcd_answers
from kubeup.checks.deep.scheduler import Decision, _is, _one_of, decisions
from kubeup.checks.deep.upkeep import judge_certificates, judge_clocks, judge_members
from kubeup.checks.etcdctl import Member

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def pod(name: str, node: str = "", *conditions: dict[str, str]) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {"nodeName": node} if node else {},
        "status": {"conditions": list(conditions)},
    }


def test_what_the_scheduler_has_decided() -> None:
    refused = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: no"}
    gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
    found = decisions([pod("a", "n1"), pod("b", "", refused), pod("c"), pod("d", "", gated)])
    assert found == {"a": Decision(node="n1"), "b": Decision(refusal="0/1 nodes: no")}


@pytest.mark.parametrize(
    ("decision", "node", "refused", "wrong"),
    [
        (Decision("a"), "a", "", ""),
        (Decision("b"), "a", "", "the pod p is on b, not on a"),
        (Decision("", "full"), "a", "", "the pod p is on no node, not on a: full"),
        (Decision("", "had untolerated taint"), "", "untolerated taint", ""),
        (Decision("a"), "", "untolerated taint", "the pod p was placed, and had to be refused (untolerated taint)"),
        (Decision("", "full"), "", "untolerated taint", "the pod p was refused, but not for untolerated taint: full"),
    ],
)
def test_a_pod_is_where_it_shall_be(decision: Decision, node: str, refused: str, wrong: str) -> None:
    assert _is({"p": decision}, "p", node, refused) == ([wrong] if wrong else [])


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ([Decision("a"), Decision("b"), Decision("", "anti-affinity rules")], 0),
        ([Decision("b"), Decision("", "anti-affinity rules"), Decision("a")], 0),
        ([Decision("a"), Decision("a"), Decision("", "anti-affinity rules")], 1),
        ([Decision("a"), Decision("b"), Decision("b")], 1),
        ([Decision("a"), Decision("b"), Decision("", "Insufficient cpu")], 1),
        ([Decision("", "anti-affinity rules")] * 3, 1),
    ],
)
def test_each_node_takes_one_of_several_pods(found: list[Decision], wrong: int) -> None:
    names = ("p", "q", "r")
    assert len(_one_of(dict(zip(names, found, strict=True)), names, {"a", "b"}, "anti-affinity")) == wrong


@pytest.mark.parametrize(
    ("status", "error", "wrong"),
    [
        (401, "", ""),
        (403, "", "u lets the anonymous in, though it grants them nothing there (403)"),
        (200, "", "u answers 200 to the anonymous"),
        (0, "connection refused", "u gave no answer: connection refused"),
    ],
)
def test_who_shows_no_certificate_is_told_so(status: int, error: str, wrong: str) -> None:
    assert answered([{"url": "u", "status": status, "error": error}]) == ([wrong] if wrong else [])


@pytest.mark.parametrize(
    ("status", "body", "error", "wrong"),
    [
        (0, "", 'Get "u": remote error: tls: certificate required', ""),
        (400, "Client sent an HTTP request to an HTTPS server.\n", "", ""),
        (0, "", 'Get "u": EOF', ""),
        (200, '{"etcdserver":"3.6.8"}', "", "u answers to who shows no certificate (200)"),
        (404, "", "", "u answers to who shows no certificate (404)"),
        (
            0,
            "",
            "tls: failed to verify certificate: x509: unknown",
            "u: tls: failed to verify certificate: x509: unknown",
        ),
        (0, "", "connection refused", "u: connection refused"),
    ],
)
def test_etcd_opens_to_nobody_without_a_certificate(status: int, body: str, error: str, wrong: str) -> None:
    answer = {"url": "u", "status": status, "body": body, "error": error}
    assert etcd_answers([answer]) == ([wrong] if wrong else [])


def member(name: str, **more: Any) -> Member:
    return Member(**{"name": name, "id": name, "endpoint": "", "peer": "", "healthy": True, "quota": 100, **more})


def test_etcd_is_well() -> None:
    assert judge_members([member("a", leader=True, size=79), member("b")]) == []
    assert judge_members([member("a", leader=True, size=80)])[0].startswith("a's database takes 80% of its quota")
    assert judge_members([member("a", leader=True), member("b", healthy=False, error="refused")]) == [
        "b is not healthy: refused"
    ]
    assert judge_members([member("a", leader=True, alarms=("NOSPACE",))]) == ["a has the alarm NOSPACE"]
    assert judge_members([member("a")]) == ["no member leads"]
    assert judge_members([member("a", leader=True), member("b", learner=True)]) == ["b is a learner, which has no vote"]


@pytest.mark.parametrize(
    ("offsets", "wrong"),
    [
        ({"a": (5.0, 0.1), "b": (5.2, 0.1), "c": (4.9, 0.1)}, []),  # this machine's own clock does not count
        ({"a": (0.0, 0.1), "b": (0.0, 0.1), "c": (7.0, 0.1)}, ["c's clock is 7.0 s ahead of"]),
        ({"a": (0.0, 0.1), "b": (-3.0, 0.1), "c": (0.1, 0.1)}, ["b's clock is 3.0 s behind"]),
        ({"a": (0.0, 0.1), "b": (0.0, 0.1), "c": (2.0, 1.5)}, []),  # a host that was slow to answer
        ({"a": (0.0, 0.0), "b": (4.0, 0.0)}, ["a's clock is 2.0 s behind", "b's clock is 2.0 s ahead of"]),
    ],
)
def test_clocks_agree(offsets: dict[str, tuple[float, float]], wrong: list[str]) -> None:
    found = judge_clocks(offsets)
    assert len(found) == len(wrong)
    assert all(one.startswith(words) for one, words in zip(found, wrong, strict=True))


@dataclass
class Certificate:
    host: str
    name: str
    end: datetime
    soon: bool = False

    def ends_soon(self, now: datetime) -> bool:
        return self.soon


def test_certificates_have_life_left() -> None:
    far = Certificate("n1", "far", NOW + timedelta(days=300))
    near = Certificate("n1", "near", NOW + timedelta(days=200))
    assert judge_certificates([far, near], NOW) == ([], "near on n1, in 200 days")
    ending = Certificate("n2", "apiserver", NOW + timedelta(days=3, hours=1), soon=True)
    today = Certificate("n2", "etcd", NOW + timedelta(hours=1), soon=True)
    over = Certificate("n2", "kubelet", NOW - timedelta(hours=1), soon=True)
    assert judge_certificates([ending, far, today, over], NOW)[0] == [
        "apiserver on n2 ends in 3 days",
        "etcd on n2 ends today",
        "kubelet on n2 has expired",
    ]
