"""What is renewed, who is restarted for it, and in which order."""

from types import SimpleNamespace
from typing import Any

import pytest

from kubeup.cluster import CertificateSpec, new_authority
from kubeup.cluster.certificates import issue
from kubeup.deploy import gates, one_by_one, renew
from kubeup.deploy.one_by_one import APISERVER, InTurn, OneByOne
from kubeup.deploy.renew import Living, Renew, every_one, name_of, these
from kubeup.deploy.run import Run
from kubeup.errors import KubeupError, NodeError
from kubeup.host.difference import difference
from kubeup.host.reading import Reading
from kubeup.host.resources import Certificate, File, unit
from kubeup.host.session import Output
from kubeup.observer import Silent
from kubeup.roles import apiserver

SPEC = CertificateSpec("me", "kubernetes-ca", ("client",))
ONE, TWO = (
    Certificate(f"/etc/kubernetes/pki/{n}.crt", f"/etc/kubernetes/pki/{n}.key", SPEC, "1") for n in ("one", "two")
)


def test_names() -> None:
    assert name_of("/etc/kubernetes/pki/apiserver.crt") == "apiserver"
    assert name_of("/etc/etcd/peer.crt") == "etcd/peer"
    assert name_of("/var/lib/kubelet/pki/kubelet-client-current.pem") == "kubelet-client-current.pem"


@pytest.mark.parametrize(("age", "left", "why"), [(10, 9e9, ""), (4000, 9e9, "is renewed"), (10, 0, "has expired")])
def test_all_are_renewed_but_those_issued_just_now(age: float, left: float, why: str) -> None:
    assert every_one(ONE, 1e9, 1e9 + age + left, 1e9 + age) == why


def changes(world: Any, renewal: Any, **more: Any) -> Any:
    """What renewing changes on a host where all is as it shall be, but for a file that has nothing to do with it."""
    drifted = File("/etc/other", "now")
    units = [unit("a.service", "", [ONE, drifted]), unit("b.service", "", [TWO]), unit("c.service", "", [drifted])]
    desired = world.every(ONE, TWO, drifted, *units)
    reading = world.holding(world.every(ONE, TWO, File("/etc/other", "then"), *units), world.facts)
    run = SimpleNamespace(changes={"n1": difference("n1", desired, reading, renewal=renewal)}, **more)
    return Renew().changes(run)["n1"]  # type: ignore[arg-type]


def test_other_differences_stay_and_those_who_use_something_else_are_not_restarted(world: Any) -> None:
    change = changes(world, these({"one"}))
    assert [(item.action, item.name) for item in change.items] == [("change", ONE.path), ("restart", "a.service")]
    assert [name for name, _ in change.dirty] == ["a.service"]
    assert not changes(world, these({"nothing"}))


def test_with_an_expired_authority_nothing_is_renewed() -> None:
    vault = SimpleNamespace(expired=lambda name: name == "etcd-ca")
    with pytest.raises(KubeupError, match=r"etcd-ca has expired itself.*rotate-ca etcd$"):
        Living().run(SimpleNamespace(vault=vault))  # type: ignore[arg-type]
    assert renew.PHASES[0] == Living()


# One after another


class Session:
    """Notes what is done on which nodes, in their order. ``ill`` do not answer, ``busy`` do the third time only;
    ``broken`` do not work afterwards."""

    def __init__(self, ill: set[str], broken: set[str], busy: str = "") -> None:
        self.ill, self.broken, self.busy = ill, broken, busy.split()
        self.observer = Silent()
        self.done: list[Any] = []
        self.asked: list[str] = []

    def side_by_side(self, names: Any, function: Any) -> dict[str, Any]:
        def guarded(name: str) -> Any:
            try:
                return function(name)
            except Exception as error:
                return error

        return {name: guarded(name) for name in names}

    def shell(self, node: str, script: str, **_: Any) -> Output:
        self.asked.append(node)
        busy = node in self.busy and self.asked.count(node) < 3
        return Output("", "", 1 if node in self.ill or busy else 0)

    def apply(self, title: str, changes: Any, material: Any) -> None:
        if changes:
            self.done.append(tuple(changes))
            self.ill = (self.ill - set(changes)) | (self.broken & set(changes))


@pytest.fixture
def roll(world: Any, monkeypatch: Any) -> Any:
    """Changes a file that a unit uses on all nodes; what was done, in its order."""

    def roll(roles: str, *, ill: str = "", broken: str = "", restarts: bool = True, sick: str = "") -> list[Any]:
        cluster = world.cluster(roles)
        session = Session(set(ill.split()), set(broken.split()))
        old, new = File("/etc/a", "old"), File("/etc/a", "new")
        units = [unit("a.service", "", [new])] if restarts else []
        change = {
            node.name: difference(
                node.name, world.every(new, *units), world.holding(world.every(old, *units), world.facts)
            )
            for node in cluster.nodes
        }

        def works(run: Any, name: str) -> None:
            if name in session.broken:
                raise NodeError(f"{name} does not work")
            session.done.append(f"{name} works")

        monkeypatch.setattr(one_by_one, "wait_until_it_works", works)
        monkeypatch.setattr(one_by_one, "PAUSE", 0)
        monkeypatch.setattr(one_by_one, "_sick_members", lambda run: [sick] if sick else [])
        run: Any = Run(cluster, session)  # type: ignore[arg-type]
        run.vault, run.changes = None, change
        try:
            OneByOne().run(run)
        except NodeError as error:
            session.done.append(str(error))
        return session.done

    return roll


def test_masters_one_after_another_each_proven_then_all_workers(roll: Any) -> None:
    assert roll("ai i a i a") == [
        *[("n1",), "n1 works", ("n3",), "n3 works", ("n5",), "n5 works"],
        *[("n2", "n4"), "n2 works", "n4 works"],
    ]


def test_where_nothing_is_restarted_nothing_is_waited_for(roll: Any) -> None:
    assert roll("ai ai ai i", restarts=False) == [("n1", "n2", "n3", "n4")]


def test_what_does_not_work_anyway_comes_first_and_at_once(roll: Any) -> None:
    assert roll("ai ai ai", ill="n1 n2 n3") == [("n1", "n2", "n3"), "n1 works", "n2 works", "n3 works"]
    assert roll("ai ai ai", ill="n3") == [("n3",), "n3 works", ("n1",), "n1 works", ("n2",), "n2 works"]


def test_the_first_that_does_not_work_stops_it(roll: Any) -> None:
    done = roll("ai ai ai i", broken="n2")
    assert done[:3] == [("n1",), "n1 works", ("n2",)]
    assert done[3].startswith("n2 does not work")
    assert len(done) == 4


def test_no_master_is_touched_while_a_member_of_etcd_is_missing(roll: Any) -> None:
    (told,) = roll("ai ai ai", sick="the etcd member n9 is not healthy")
    assert "n9 is not healthy" in told
    assert "Nothing was touched" in told


# What `up` changes of a control plane that serves


@pytest.fixture
def turn(world: Any, monkeypatch: Any) -> Any:
    """Changes a file that kube-apiserver uses on all masters, of which ``serving`` run one; what was done."""
    monkeypatch.setattr(gates, "GATE", 0)
    monkeypatch.setattr(one_by_one, "PAUSE", 0)

    def turn(
        roles: str, serving: str, *, ill: str = "", busy: str = "", broken: str = "", service: str = APISERVER
    ) -> list[Any]:
        cluster = world.cluster(roles)
        session = Session(set(ill.split()), set(broken.split()), busy)
        old, new = File("/etc/a", "old"), File("/etc/a", "new")
        wanted = {"apiserver": ("apiserver", new), "unit": ("apiserver", unit(service, "", [new]))}
        wanted = {resource.key: (role, resource) for role, resource in wanted.values()}
        run: Any = Run(cluster, session)  # type: ignore[arg-type]
        run.vault, run.readings, run.changes = None, {}, {}
        for master in cluster.masters:
            reading = Reading(world.facts)
            if master.name in serving.split():
                reading = world.holding(world.every(old, unit(service, "", [old])), world.facts)
            run.readings[master.name] = reading
            run.changes[master.name] = difference(master.name, wanted, reading)
        try:
            InTurn("Control plane", roles=[apiserver], unit=APISERVER).run(run)
        except NodeError as error:
            session.done.append(str(error))
        return session.done

    return turn


def test_apiservers_that_serve_are_restarted_one_after_another(turn: Any) -> None:
    assert turn("ai ai ai i", serving="n1 n2 n3") == [("n1",), ("n2",), ("n3",)]


def test_a_new_control_plane_is_brought_up_side_by_side(turn: Any) -> None:
    assert turn("ai ai ai i", serving="") == [("n1", "n2", "n3")]
    assert turn("ai i", serving="n1") == [("n1",)]


def test_new_masters_and_those_that_do_not_answer_come_first(turn: Any) -> None:
    assert turn("ai ai ai ai", serving="n1 n2 n3") == [("n4",), ("n1",), ("n2",), ("n3",)]
    assert turn("ai ai ai", serving="n1 n2 n3", ill="n3") == [("n3",), ("n1",), ("n2",)]
    assert turn("ai ai ai", serving="n1 n2 n3", ill="n2 n3") == [("n2", "n3"), ("n1",)]
    assert turn("ai ai ai", serving="n1 n2 n3", ill="n1 n2 n3") == [("n1", "n2", "n3")]


def test_those_that_are_only_busy_are_not_restarted_at_once(turn: Any) -> None:
    assert turn("ai ai ai", serving="n1 n2 n3", busy="n1 n2 n3") == [("n1",), ("n2",), ("n3",)]


def test_another_service_is_restarted_side_by_side(turn: Any) -> None:
    assert turn("ai ai ai", serving="n1 n2 n3", service="kube-scheduler.service") == [("n1", "n2", "n3")]


def test_the_first_apiserver_that_does_not_come_back_stops_it(turn: Any) -> None:
    done = turn("ai ai ai", serving="n1 n2 n3", broken="n2")
    assert done[:2] == [("n1",), ("n2",)]
    assert done[2].startswith("n2 does not work within")
    assert len(done) == 3


# All certificates


def test_all_certificates_are_shown_with_their_purpose_and_issuer(world: Any) -> None:
    from kubeup.deploy.certificates import held

    cluster = world.cluster("ai")
    desired = world.desired(cluster, cluster.nodes[0])
    authorities = {name: new_authority(name) for name in ("kubernetes-ca", "etcd-ca", "front-proxy-ca")}
    trust = world.trust
    texts = {
        r.path: issue(authorities[r.spec.authority], r.spec).certificate_pem
        for _, r in desired.values()
        if isinstance(r, Certificate)
    }
    texts |= {r.path: r.content for _, r in desired.values() if isinstance(r, File) and r.path.endswith("ca.crt")}

    def shell(name: str, script: str, *paths: str) -> Output:
        return Output("\n".join(f"file {path}\n{texts[path].strip()}" for path in paths if path in texts), "", 0)

    session = SimpleNamespace(shell=shell, side_by_side=lambda names, function: {n: function(n) for n in names})
    run: Any = Run(cluster, session)  # type: ignore[arg-type]
    run.vault, run.desired = SimpleNamespace(trust=trust), lambda name: desired
    found = {c.path: c for c in held(run)}
    assert set(found) == set(texts)
    apiserver = found["/etc/kubernetes/pki/apiserver.crt"]
    assert (apiserver.purpose, apiserver.authority, apiserver.name) == ("kube-apiserver: server", False, "apiserver")
    assert apiserver.issuer == "unknown: CN=kubernetes-ca"  # the same name, and not the same key
    ca = found["/etc/kubernetes/pki/ca.crt"]
    assert (ca.purpose, ca.issuer, ca.authority) == ("authority kubernetes-ca", "kubernetes-ca", True)
