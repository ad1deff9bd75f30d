"""A plan as people and machines see it."""

import json
from types import SimpleNamespace
from typing import Any

from kubeup.cli.plan import as_data, as_text, current_texts
from kubeup.host.difference import Change, Item
from kubeup.host.reading import Entry, Stat
from kubeup.host.resources import File, Secret, unit

FILE = File("/etc/a.conf", "one\nnew\nthree\n")
SERVICE = unit("a.service", "[Unit]\n", [FILE])
ENTRY = Entry("want", "digest -", "absent")
CHANGES = {
    "n1": Change(
        "n1",
        [
            Item("change", FILE.key, "shall be another", "base", FILE, ENTRY),
            Item("add", ("file", "/etc/ca.key"), "is not there", "authorities", Secret("/etc/ca.key", "ca", "1")),
            Item("restart", SERVICE.key, "uses /etc/a.conf", "base", SERVICE, ENTRY),
            Item("remove", ("link", "/opt/old"), "no longer wanted", entry=ENTRY),
        ],
    ),
    "n2": Change("n2"),
}


def test_text() -> None:
    assert as_text(CHANGES, {"n1": {"/etc/a.conf": "one\nold\nthree\n"}}).splitlines() == [
        "n1: 1 to add, 1 to change, 1 to restart, 1 to remove",
        "  ~ file     /etc/a.conf  (shall be another)",
        "      --- now",
        "      +++ then",
        "      @@ -1,3 +1,3 @@",
        "       one",
        "      -old",
        "      +new",
        "       three",
        "  + file     /etc/ca.key",
        "  ↻ unit     a.service  (uses /etc/a.conf)",
        "  - link     /opt/old  (no longer wanted)",
        "n2: nothing to do",
        "4 differences.",
    ]


def test_text_of_nothing() -> None:
    assert as_text({"n2": Change("n2")}, {}).splitlines() == [
        "n2: nothing to do",
        "Nothing to do: all hosts are as the inventory says.",
    ]


def test_data() -> None:
    data = json.loads(json.dumps(as_data(CHANGES)))
    assert data["n2"] == []
    assert data["n1"][0] == {
        "action": "change",
        "kind": "file",
        "name": "/etc/a.conf",
        "why": "shall be another",
        "role": "base",
    }
    assert [item["action"] for item in data["n1"]] == ["change", "add", "restart", "remove"]


def test_only_texts_that_change_are_read() -> None:
    read: list[tuple[Any, ...]] = []

    def side_by_side(names: Any, function: Any) -> dict[str, Any]:
        return {name: function(name) for name in names}

    def reading(names: list[str], contents: tuple[str, ...]) -> dict[str, Any]:
        read.append((*names, *contents))
        return {name: SimpleNamespace(texts=dict.fromkeys(contents, "now")) for name in names}

    def run(mode: int) -> Any:
        readings = {"n1": SimpleNamespace(stats={"/etc/a.conf": Stat(mode, "root:root", 1, 1, "regular file")})}
        session = SimpleNamespace(side_by_side=side_by_side, read=reading)
        return SimpleNamespace(changes=CHANGES, session=session, readings={**readings, "n2": SimpleNamespace(stats={})})

    assert current_texts(run(0o600)) == {}  # it may hold a secret that what comes in its place does not
    assert read == []
    assert current_texts(run(0o644)) == {"n1": {"/etc/a.conf": "now"}}
    assert read == [("n1", "/etc/a.conf")]
