"""What a restore decides before and between what it does on hosts."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from kubeup.backup import Backup, Manifest, Snapshot
from kubeup.checks.preflight import RESTORING, Subject, half_restored
from kubeup.cluster import Authority, CertificateSpec
from kubeup.cluster.certificates import certificates_of, issued_by
from kubeup.cluster.trust import ALL, AUTHORITIES, KUBERNETES, key_name
from kubeup.components import Store
from kubeup.deploy.backup import counted, kept
from kubeup.deploy.drill import settings
from kubeup.deploy.restore import MARGIN, RestoreData, _parts, _subnets, refuse_unfit
from kubeup.deploy.run import BACKUP, Run
from kubeup.deploy.up import PHASES
from kubeup.deploy.vault import Vault, holding
from kubeup.errors import KubeupError, PreflightError
from kubeup.host.reading import Reading
from kubeup.host.session import Output
from kubeup.observer import Silent
from kubeup.roles.authorities import TRUST, key_path

SNAPSHOT = Snapshot("etcd.db", 544, "abc", lambda: iter([b"data"]))
MANIFEST = Manifest(
    "demo", "id", "2026-11-21T15:00:00+00:00", "0.1.0", {"kubernetes": "1.36.3"}, "192.168.3.0/24", 7, 3
)


def backup(manifest: Manifest = MANIFEST, inventory: str = "nodes: []\n") -> Backup:
    return Backup(Path("b"), manifest, inventory, {}, SNAPSHOT)


def test_data_are_replaced_between_what_needs_no_etcd_and_etcd() -> None:
    before, etcd, masters, nodes = ([phase.title for phase in part] for part in _parts(PHASES))
    assert before[-1] == "Hosts"
    assert etcd[:2] == ["Members", "etcd"]
    assert masters[0] == "Control plane"
    assert (nodes[0], nodes[-1]) == ("Nodes", "Validation")
    assert [*before, *etcd, *masters, *nodes] == [phase.title for phase in PHASES]


def test_other_networks_of_services_are_refused(world: Any) -> None:
    refuse_unfit(world.cluster("ai"), backup())
    with pytest.raises(PreflightError, match=r"service_cidr is 10\.1\.0\.0/16, and the addresses"):
        refuse_unfit(world.cluster("ai", service_cidr="10.1.0.0/16"), backup())


@pytest.mark.parametrize(("was", "ok"), [("1.36.0", True), ("1.35.4", True), ("1.34.9", False), ("1.37.0", False)])
def test_versions_that_cannot_read_the_objects_are_refused(world: Any, was: str, ok: bool) -> None:
    cluster, saved = world.cluster("ai"), backup(replace(MANIFEST, versions={"kubernetes": was}))
    if ok:
        refuse_unfit(cluster, saved)
    else:
        with pytest.raises(PreflightError, match="only the same or the next minor version"):
            refuse_unfit(cluster, saved)


WORDS = {
    "printf 'job": "look",
    "snapshot status /var/lib/kubeup": "judge",
    "member/snap/db": "revision",
    "systemctl stop": "stop",
    "snapshot restore": "replace",
    "rm -f /var/lib/kubeup/restore/halt": "unhalt",
    'printf "%s\\n" "$2"': "note",
}
"""What a script does, by a part of it."""


class Hosts:
    """Hosts that note jobs, in place of a session; ``ran`` is what was done on each, by what its script says."""

    def __init__(self, revision: str = "900", **job: Any) -> None:
        self.noted = dict.fromkeys(("n1", "n2", "n3"), "")
        self.restored: dict[str, str] = {}
        self.revision = revision
        self.ran: list[tuple[str, str]] = []
        self.bumps: set[str] = set()
        self.observer = Silent()
        self.fail: tuple[str, str] | None = None
        if job:
            self.noted["n2"] = json.dumps(job)

    def side_by_side(self, names: Any, do: Callable[[str], Any]) -> dict[str, Any]:
        return {name: do(name) for name in list(names)}

    def stream(self, name: str, script: str, *arguments: str, **_: Any) -> Output:
        self.ran.append((name, "send"))
        return Output("", "", 0)

    def shell(self, name: str, script: str, *arguments: str, **_: Any) -> Output:
        what = next(word for part, word in WORDS.items() if part in script)
        if (name, what) == self.fail:
            return Output("", "killed", None)
        self.ran.append((name, what))
        match what:
            case "look":
                restored = self.restored.get(name, "")
                return Output(f"job\t{self.noted[name]}\nhalted\t\nrestored\t{restored}\nsha256\t\n", "", 0)
            case "judge":
                return Output('{"revision":500}', "", 0)
            case "revision":  # of data that were replaced it is another
                return Output(self.revision if name not in self.restored else str(9 * MARGIN), "", 0)
            case "note":
                self.noted[name] = arguments[1]
            case "replace":
                self.restored[name] = arguments[1]
                self.bumps.add(arguments[5])
        return Output("", "", 0)


@pytest.fixture
def restored(world: Any) -> Callable[[Hosts], None]:
    cluster = world.cluster("ai ai ai i")

    def go(hosts: Hosts) -> None:
        run = Run(cluster, hosts, held=True)  # type: ignore[arg-type]
        RestoreData(SNAPSHOT, "kubeup etcd restore").run(run)

    return go


def order(hosts: Hosts) -> list[str]:
    return list(dict.fromkeys(what for _, what in hosts.ran))


def test_nothing_is_stopped_before_the_snapshot_was_judged_and_the_job_noted(restored: Callable[..., None]) -> None:
    hosts = Hosts()
    restored(hosts)
    assert order(hosts) == ["look", "send", "judge", "note", "stop", "revision", "replace", "unhalt"]
    for what in order(hosts):
        assert sorted({name for name, did in hosts.ran if did == what}) == ["n1", "n2", "n3"], what


def test_revisions_grow_past_all_that_were_ever_seen_and_alike_everywhere(restored: Callable[..., None]) -> None:
    hosts = Hosts(revision=str(5 * MARGIN))
    restored(hosts)
    assert hosts.bumps == {str(6 * MARGIN - 500)}
    fresh = Hosts(revision="")
    restored(fresh)
    assert fresh.bumps == {str(MARGIN)}


@pytest.mark.parametrize("moment", ["judge", "note", "stop", "revision", "replace", "unhalt"])
def test_a_killed_one_is_gone_on_with_under_its_id(restored: Callable[..., None], moment: str) -> None:
    hosts = Hosts()
    hosts.fail = ("n2", moment)
    with pytest.raises(KubeupError):
        restored(hosts)
    noted = {json.loads(text)["id"] for text in hosts.noted.values() if text}
    hosts.fail = None
    restored(hosts)
    assert len(hosts.bumps) == 1, "members with different revisions would never agree again"
    assert len(set(hosts.restored.values())) == 1
    if noted:
        assert set(hosts.restored.values()) == noted


def test_one_that_was_done_is_not_done_again(restored: Callable[..., None]) -> None:
    hosts = Hosts()
    restored(hosts)
    hosts.ran.clear()
    restored(hosts)
    assert order(hosts) == ["look"]


@pytest.mark.parametrize("other", [{"sha256": "other"}, {"command": "kubeup restore"}])
def test_another_one_that_was_begun_is_told(restored: Callable[..., None], other: dict[str, str]) -> None:
    job = {"id": "1", "command": "kubeup etcd restore", "begun": "2026-11-21T15:00:00Z", "sha256": "abc", **other}
    hosts = Hosts(**job)
    with pytest.raises(KubeupError, match=r"was begun here at 2026-11-21T15:00:00Z and has not ended"):
        restored(hosts)
    assert order(hosts) == ["look"]


def test_other_jobs_refuse_what_is_half_restored(world: Any) -> None:
    node = world.cluster("ai").nodes[0]
    reading = Reading(world.host(node))
    subject = Subject(world.cluster("ai"), node, reading, cast(Any, None), cast(Any, None))
    assert list(half_restored(subject)) == []
    reading.texts[RESTORING] = json.dumps({"command": "kubeup restore", "begun": "2026-11-21"})
    ((what, remedy),) = half_restored(subject)
    assert "was begun at 2026-11-21" in what
    assert "`kubeup restore FILE`" in remedy


def never(_: str, __: str) -> str:
    raise AssertionError("there is nobody to ask")


def begun(vault: Vault) -> None:
    vault.succeed(ALL)


def taken_over(vault: Vault) -> None:
    begun(vault)
    vault.trust = vault.trust.taken_over(ALL, 1)


def leaving(vault: Vault) -> None:
    taken_over(vault)
    vault.trust = vault.trust.leaving((KUBERNETES,))


def forgotten(vault: Vault) -> None:
    leaving(vault)
    vault.trust = vault.trust.without(ALL)


@pytest.mark.parametrize("stage", [lambda vault: None, begun, taken_over, leaving, forgotten])
def test_a_backups_authorities_are_a_masters(stage: Callable[[Vault], None], world: Any, tmp_path: Path) -> None:
    """A new cluster made of it trusts and signs as the old one did, also in the middle of replacing an authority."""
    old = Vault({}, Store(tmp_path), never, lambda _: "amd64")
    stage(old)
    files = kept(old)
    masters = {"n1": Reading(world.facts), BACKUP: holding(files, world.facts)}
    new = Vault(masters, Store(tmp_path), lambda node, path: files[path] if node == BACKUP else "", lambda _: "amd64")
    assert new.trust == replace(old.trust, first=old.trust.identity)
    assert set(files) == {TRUST, *(key_path(name) for name in old.trust.keys)}
    assert [new.secret(name) for name in new.trust.keys] == [old.secret(name) for name in old.trust.keys]
    # What it issues on is believed by all: the API's certificate by those outside, too.
    for name in AUTHORITIES:
        issued = new.issue(CertificateSpec("me", name, ("client",)))[0]
        assert any(issued_by(issued, pem) for pem in certificates_of(old.trust.bundle_pem(name)))
    serving = Authority(KUBERNETES, old.trust.serving)
    issued = new.issue(CertificateSpec("api", KUBERNETES, ("server",), dns_names=("api",)), serving.fingerprint)[0]
    assert issued_by(issued, serving.certificate_pem)
    # What has not come to its end goes on: the successors' keys are there for the next stage.
    for name, other in new.trust.others.items():
        assert other.stage != "next" or "PRIVATE KEY" in new.secret(key_name(name, other.pem))


def test_keys_of_etcd_are_counted_by_kind() -> None:
    keys = (
        "/registry/secrets/a/b\n\n/registry/secrets/a/c\n\n/registry/example.com/things/a/b\n/registry/namespaces/a\n"
    )
    assert counted(keys) == {"example.com/things": 1, "namespaces": 1, "secrets": 2}


def test_flannels_subnets_are_known_by_their_hosts() -> None:
    def b64(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    kvs = [{"key": b64("/s/1"), "value": b64('{"PublicIP": "10.0.0.9"}')}, {"key": b64("/s/2"), "value": b64("broken")}]
    assert list(_subnets({"kvs": kvs})) == [("/s/1", "10.0.0.9")]
    assert list(_subnets({})) == []


def test_a_drill_takes_the_settings_but_not_the_hosts() -> None:
    inventory = "name: prod\nnodes: [{ai: a@b}]\nssh: {user: x}\napi: {address: 1.2.3.4}\nservice_cidr: 10.9.0.0/16\n"
    manifest = replace(MANIFEST, versions={"kubernetes": "1.35.4", "other": "1"})
    assert settings(backup(manifest, inventory)) == {
        "service_cidr": "10.9.0.0/16",
        "versions": {"kubernetes": "1.35.4"},
    }
