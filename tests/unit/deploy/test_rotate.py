"""Authorities are replaced on hosts that exist in memory alone, and kubeup is killed at any moment of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubeup.cluster import Authority, new_authority
from kubeup.cluster.certificates import certificates_of, issued_by
from kubeup.cluster.trust import ALL, AUTHORITIES, ETCD, FRONT_PROXY, KUBERNETES, SERVICE_ACCOUNTS, Trust, parse_trust
from kubeup.deploy import api_clients, one_by_one, rotate
from kubeup.deploy.api_clients import Workload
from kubeup.deploy.phases import Changing, Validate, execute
from kubeup.deploy.rotate import TOKENS_LIVE, Options
from kubeup.deploy.run import Run
from kubeup.deploy.up import PHASES
from kubeup.errors import KubeupError
from kubeup.host.reading import Entry, Reading
from kubeup.host.resources import Certificate, File, Secret
from kubeup.host.session import Output
from kubeup.observer import Silent
from kubeup.roles.authorities import TRUST

BUNDLES = {
    "/etc/kubernetes/pki/ca.crt": KUBERNETES,
    "/etc/kubernetes/pki/etcd-ca.crt": ETCD,
    "/etc/etcd/ca.crt": ETCD,
    "/etc/kubernetes/pki/front-proxy-ca.crt": FRONT_PROXY,
}


class Killed(Exception):
    """kubeup is no more."""


class Hosts:
    """A Session whose hosts really hold what is applied to them; kubeup is killed after so many ``lives`` things."""

    def __init__(self, world: Any, cluster: Any) -> None:
        self.world = world
        self.observer: Any = Silent()
        self.before_change: Any = None
        self.readings = {node.name: Reading(world.host(node)) for node in cluster.nodes}
        self.texts: dict[tuple[str, str], str] = {}
        self.issuers: dict[tuple[str, str], tuple[str, str]] = {}
        self.lives: float = float("inf")
        self.applied: list[tuple[str, tuple[str, ...]]] = []

    def read(self, *_: Any, **__: Any) -> dict[str, Reading]:
        for name, reading in self.readings.items():
            reading.texts = {path: text for (node, path), text in self.texts.items() if node == name and path == TRUST}
        return {name: replace(reading, record=dict(reading.record)) for name, reading in self.readings.items()}

    def hold(self, *_: Any) -> dict[str, str]:
        return {}

    def shell(self, node: str, script: str, *arguments: str, **_: Any) -> Output:
        if script.startswith("cat "):
            return Output(self.texts[node, arguments[0]].rstrip("\n"), "", 0)
        return Output("", "", 0)

    def side_by_side(self, names: Any, function: Any) -> dict[str, Any]:
        return {name: function(name) for name in names}

    def apply(self, title: str, changes: Any, material: Any) -> None:
        changed = {name: change for name, change in changes.items() if change}
        if changed:
            self.applied.append((title, tuple(changed)))
        for name, change in changed.items():
            if change.cluster:
                self.readings[name].record["cluster", change.cluster[0]] = Entry(change.cluster[1], "-", "-")
            for unit, _ in change.dirty:
                record = self.readings[name].record
                record["unit", unit] = replace(record["unit", unit], want="pending")
            change.dirty.clear()
            for item in change.items:
                self._one(name, item, material)

    def _one(self, name: str, item: Any, material: Any) -> None:
        if self.lives <= 0:
            raise Killed
        self.lives -= 1
        reading = self.readings[name]
        if item.action == "remove":
            del reading.record[item.key]
            self.texts.pop((name, item.key[1]), None)
            return
        match item.resource:
            case File() as file:
                self.texts[name, file.path] = file.content
            case Secret() as secret:
                self.texts[name, secret.path] = material.secret(secret.name)
            case Certificate() as certificate:
                pem = material.issue(certificate.spec, certificate.authority_fingerprint)[0]
                self.issuers[name, certificate.path] = (certificate.spec.authority, pem)
        held = self.world.holding({item.key: ("role", item.resource)} if item.key[0] != "unit" else {}, reading.facts)
        if item.key[0] == "unit":
            held = self.world.holding({item.key: ("role", replace(item.resource, inputs=()))}, reading.facts)
            held.record[item.key] = replace(
                held.record[item.key], have=f"{held.hashes[item.resource.path]} {item.combined}"
            )
        for table in ("record", "hashes", "stats", "links", "sysctls", "units"):
            getattr(reading, table).update(getattr(held, table))
        reading.modules |= held.modules
        reading.packages |= held.packages

    def trust(self, name: str = "n1") -> Trust:
        return parse_trust(self.texts[name, TRUST])

    def check(self) -> None:
        """Whatever any host shows is believed by all others: there is no outage."""
        for (node, path), (authority, pem) in self.issuers.items():
            for (other, bundle), text in self.texts.items():
                if BUNDLES.get(bundle) == authority:
                    trusted = [c for c in certificates_of(text) if issued_by(pem, c)]
                    assert trusted, f"{other} does not believe {node}'s {path}: {bundle}"
        signing = {self.readings[n].links.get("/etc/kubernetes/pki/sa.key", "") for n in self.readings}
        for name in {path.rpartition("/")[2].removesuffix(".key") for path in signing if path}:
            for master in [n for n in self.readings if (n, TRUST) in self.texts]:
                trust, verifies = self.trust(master), self.texts[master, "/etc/kubernetes/pki/sa.pub"]
                pems = [trust.pem(SERVICE_ACCOUNTS), *(o.pem for n, o in trust.others.items() if n == SERVICE_ACCOUNTS)]
                assert any(pem in verifies and rotate_key(pem) == name for pem in pems)


def rotate_key(pem: str) -> str:
    from kubeup.cluster.trust import key_name

    return key_name(SERVICE_ACCOUNTS, pem)


@pytest.fixture
def hosts(world: Any, monkeypatch: Any) -> Any:
    """Makes hosts on which a cluster is up; what asks the API is told that all is well."""
    monkeypatch.setattr(one_by_one, "_ill", lambda run, names, probe: [])
    monkeypatch.setattr(one_by_one, "_sick_members", lambda run: [])
    monkeypatch.setattr(one_by_one, "wait_until_it_works", lambda run, name: None)
    monkeypatch.setattr(Validate, "run", lambda self, run: None)
    monkeypatch.setattr("kubeup.deploy.one_by_one.preflight", lambda *_: None)
    monkeypatch.setattr(api_clients, "wait_published", lambda run, pem: {})
    monkeypatch.setattr(api_clients, "uninformed", lambda run, since: [])
    monkeypatch.setattr(api_clients, "restart_ours", lambda run, workloads: workloads)

    def make(roles: str = "ai ai ai i") -> tuple[Any, Hosts]:
        cluster = world.cluster(roles)
        hosts = Hosts(world, cluster)
        run = Run(cluster, hosts)  # type: ignore[arg-type]
        hosts.apply("up", run.changes, run.vault)
        hosts.applied.clear()
        assert not any(Run(cluster, hosts).changes.values())  # type: ignore[arg-type]
        return cluster, hosts

    return make


def go(cluster: Any, hosts: Hosts, names: Any = ALL, **options: bool) -> str:
    return rotate.rotate(Run(cluster, hosts), names, Options(**options))  # type: ignore[arg-type]


def up(cluster: Any, hosts: Hosts) -> None:
    """What `up` changes, in its phases."""
    execute([phase for phase in PHASES if isinstance(phase, Changing)], Run(cluster, hosts))  # type: ignore[arg-type]


def test_all_is_replaced_and_what_is_used_outside_is_trusted_until_a_person_says_so(hosts: Any) -> None:
    cluster, there = hosts()
    before = there.trust()
    left = go(cluster, there)
    there.check()
    now = there.trust("n2")
    assert set(now.others) == {KUBERNETES, SERVICE_ACCOUNTS}  # etcd and the front proxy have nobody outside
    assert {now.pem(name) == before.pem(name) for name in ALL} == {False}
    api = [pem for (_, path), (_, pem) in there.issuers.items() if path == "/etc/kubernetes/pki/apiserver.crt"]
    assert {issued_by(pem, before.pem(KUBERNETES)) for pem in api} == {True}  # all that kubeconfigs and pods know
    assert "kubeup kubeconfig" in left
    assert "--finish" in left

    left = go(cluster, there, finish=True)
    assert set(there.trust().others) == {SERVICE_ACCOUNTS}  # tokens of the last 24 hours
    assert "kubeup kubeconfig" in left
    go(cluster, there, finish=True, force=True)
    after = there.trust("n3")
    assert not after.others
    assert after.identity == before.identity
    assert {reading.cluster for reading in there.readings.values()} == {("demo", before.identity)}
    old = [before.pem(name) for name in AUTHORITIES]
    assert not [path for (_, path), text in there.texts.items() if any(pem in text for pem in old)]
    keys = {path for _, path in there.texts if path.endswith(".key")}
    assert keys == {f"/etc/kubernetes/pki/keys/{name}.key" for name in after.keys}  # the old ones are gone


def test_masters_come_one_after_another_and_workers_last(hosts: Any) -> None:
    cluster, there = hosts("ai ai ai i i")
    go(cluster, there, [ETCD])
    nodes = [names for title, names in there.applied if title == "Nodes"]
    assert nodes == [("n1",), ("n2",), ("n3",)] * 3  # nothing of etcd's lies on workers
    there.applied.clear()
    go(cluster, there, [KUBERNETES])
    nodes = [names for title, names in there.applied if title == "Nodes"]
    assert nodes == [("n1",), ("n2",), ("n3",), ("n4", "n5")] * 2


def test_up_in_the_middle_stops_no_two_apiservers_or_members_of_etcd_at_once(hosts: Any) -> None:
    cluster, there = hosts()
    there.lives = 20  # what is trusted is decided, and on the masters; nothing follows from it yet
    with pytest.raises(Killed):
        go(cluster, there)
    assert {other.stage for other in there.trust().others.values()} == {"next"}
    there.lives = float("inf")
    there.applied.clear()
    up(cluster, there)
    there.check()
    for service in ("etcd", "Control plane"):
        assert [names for title, names in there.applied if title == service] == [("n1",), ("n2",), ("n3",)]


@pytest.mark.parametrize("part", [n / 12 for n in range(12)])
def test_killed_at_any_moment_nothing_is_lost_and_the_same_command_goes_on(part: float, hosts: Any, whole: int) -> None:
    cluster, there = hosts()
    before = there.trust()
    there.lives = int(whole * part)
    with pytest.raises(Killed):
        go(cluster, there, finish=True, force=True)
    there.lives = float("inf")
    there.check()
    stage = max((there.trust(name) for name in ("n1", "n2", "n3")), key=lambda trust: trust.generation)
    if round(part * 12) % 2:
        up(cluster, there)  # brings what was decided last, and decides nothing
        there.check()
        assert {there.trust(name).generation for name in ("n1", "n2", "n3")} == {stage.generation}
    go(cluster, there, finish=True, force=True)
    there.check()
    after = there.trust()
    assert not after.others
    assert after.identity == before.identity
    assert {after.pem(name) == before.pem(name) for name in ALL} == {False}


@pytest.fixture(scope="module")
def whole() -> int:
    """About how many things a whole rotation changes: measured by the first test below, and held to it."""
    return 229


def test_how_much_a_rotation_changes(hosts: Any, whole: int) -> None:
    cluster, there = hosts()
    there.lives = 10_000
    go(cluster, there, finish=True, force=True)
    assert whole - 1 <= 10_000 - there.lives <= whole + 200


def test_pods_that_know_only_the_old_authority_stop_it_where_all_works(hosts: Any, monkeypatch: Any) -> None:
    cluster, there = hosts("ai")
    pods = [Workload("shop", "Deployment", "operator"), Workload("shop", "Pod", "debug")]
    monkeypatch.setattr(api_clients, "uninformed", lambda run, since: pods)
    go(cluster, there, [KUBERNETES])  # nothing that they check changes
    with pytest.raises(KubeupError, match=r"(?s)Deployment shop/operator.*--restart-pods.*--force"):
        go(cluster, there, [KUBERNETES], finish=True)
    assert {other.stage for other in there.trust().others.values()} == {"former"}
    monkeypatch.setattr(api_clients, "restart", lambda run, workloads: [w for w in workloads if w.kind == "Pod"])
    with pytest.raises(KubeupError, match="Pod shop/debug") as caught:
        go(cluster, there, [KUBERNETES], finish=True, restart_pods=True)
    assert "operator" not in str(caught.value)
    go(cluster, there, [KUBERNETES], finish=True, restart_pods=True, force=True)
    assert not there.trust().others


def test_only_what_was_asked_for_is_replaced_and_nothing_is_begun_while_something_is_under_way(hosts: Any) -> None:
    cluster, there = hosts("ai")
    before = there.trust()
    go(cluster, there, [KUBERNETES])
    go(cluster, there, [ETCD])
    assert there.trust().pem(ETCD) == before.pem(ETCD)
    assert set(there.trust().others) == {KUBERNETES}


def test_tokens_of_the_old_key_are_good_for_a_day(hosts: Any, monkeypatch: Any) -> None:
    cluster, there = hosts("ai")
    go(cluster, there, [SERVICE_ACCOUNTS])
    assert "at the latest" in go(cluster, there, [SERVICE_ACCOUNTS], finish=True)
    since = there.trust().others[SERVICE_ACCOUNTS].since
    monkeypatch.setattr("kubeup.deploy.rotate.time.time", lambda: since + TOKENS_LIVE + 1)
    assert go(cluster, there, [SERVICE_ACCOUNTS], finish=True) == "All is done."
    assert not there.trust().others


def test_an_expired_authority_is_replaced_at_once(hosts: Any, monkeypatch: Any) -> None:
    cluster, there = hosts("ai i")
    before = there.trust()
    dead = new_authority(KUBERNETES, datetime(2020, 1, 1, tzinfo=UTC), lifetime=timedelta(days=1))
    expired = replace(
        before, authorities={**before.authorities, KUBERNETES: Authority(KUBERNETES, dead.certificate_pem)}
    )
    there.texts["n1", TRUST] = expired.text()
    left = go(cluster, there, [ETCD])
    after = there.trust()
    assert not after.others
    assert after.identity == before.identity
    assert after.pem(KUBERNETES) not in (before.pem(KUBERNETES), dead.certificate_pem)
    assert after.pem(ETCD) == before.pem(ETCD)
    assert "rollout restart" in left
    there.check()


def test_no_stage_is_decided_before_the_one_before_is_everywhere(hosts: Any, monkeypatch: Any) -> None:
    cluster, there = hosts()
    one = Hosts._one
    monkeypatch.setattr(
        Hosts, "_one", lambda self, name, item, material: None if name == "n4" else one(self, name, item, material)
    )
    with pytest.raises(KubeupError, match="n4 still differ"):
        go(cluster, there)
    assert {other.stage for other in there.trust().others.values()} == {"next"}


def test_programs_that_differ_are_left_to_up(hosts: Any) -> None:
    cluster, there = hosts("ai")
    there.readings["n1"].record.pop(("blob", next(n for k, n in there.readings["n1"].record if k == "blob")))
    with pytest.raises(KubeupError, match=r"On n1 programs differ.*kubeup up"):
        go(cluster, there)
