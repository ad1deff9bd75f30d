"""How a tutorial is followed (tests/cluster/tutorial.py): without a cluster."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

TESTS = Path(__file__).parents[1]
FIRST_APP = TESTS.parent / "docs" / "first-app.md"


@pytest.fixture(scope="module")
def tutorial() -> Any:
    spec = importlib.util.spec_from_file_location("tutorial", TESTS / "cluster" / "tutorial.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["tutorial"] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


SMALL = """\
# Small

```yaml
# note.txt
hello
```

```console
$ address=10.0.0.7
$ cat note.txt; echo web-{pod} {ip}; sort \\
    note.txt
hello
web-x7bkz 10.0.0.1
hello
```
"""


def small(**what: str) -> str:
    return SMALL.replace("{pod}", what.get("pod", "x7bkz")).replace("{ip}", what.get("ip", "$address"))


def followed(tutorial: Any, folder: Path, text: str) -> str:
    path = folder / "small.md"
    path.write_text(text)
    tutorial.follow(path, folder, {}, lambda line: None)
    return path.read_text()


def test_files_are_written_and_commands_share_a_shell(tutorial: Any, tmp_path: Path) -> None:
    followed(tutorial, tmp_path, small())
    assert (tmp_path / "note.txt").read_text() == "hello\n"


def test_names_and_addresses_may_differ(tutorial: Any, tmp_path: Path) -> None:
    followed(tutorial, tmp_path, small(pod="qqqqq", ip="192.168.9.250"))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("echo web-", "echo wab-", "--- shown\nhello\nweb-x7bkz 10.0.0.1\nhello\n--- printed\nhello\nwab-x7bkz"),
        ("cat note.txt;", "cat note.txt &&\n", "$"),  # half a command
        ("cat note.txt;", "false;", "printed"),
        ("    note.txt", "    gone.txt", "exit code 2 from cat note.txt"),
    ],
)
def test_what_differs_or_fails_is_told(tutorial: Any, tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(AssertionError) as caught:
        followed(tutorial, tmp_path, small().replace(old, new))
    assert says in str(caught.value)


def test_what_is_printed_can_be_written_into_it(tutorial: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tutorial.WRITE, "1")
    empty = small().replace("hello\nweb-x7bkz 10.0.0.1\nhello\n```", "```")
    assert followed(tutorial, tmp_path, empty) == small().replace("10.0.0.1\n", "10.0.0.7\n")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("pod/web-6f7b8c9d4-x7bkz 1/1 Running 0 12s", "pod/web-54d5c8b7f9-hq2zp   1/1 Running 0   2m5s"),
        ("web 192.168.3.7 <none> 80:31234/TCP 3s", "web 192.168.3.99 <none> 80:30001/TCP 0s"),
        ("b\na", "a\nb\n"),
    ],
)
def test_what_differs_from_run_to_run_is_the_same(tutorial: Any, one: str, other: str) -> None:
    assert tutorial.stable(one) == tutorial.stable(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("web 1/2", "web 2/2"), ("web-x7bkz Running", "web-x7bkz Pending"), ("80:31234/TCP", "81:31234/TCP")],
)
def test_what_matters_is_not(tutorial: Any, one: str, other: str) -> None:
    assert tutorial.stable(one) != tutorial.stable(other)


def test_the_first_application_is_whole(tutorial: Any) -> None:
    steps = list(tutorial.steps(FIRST_APP.read_text()))
    files = {step.name: step.text for step in steps if step.name}
    assert set(files) == {"web-rc.yaml", "web.yaml", "web-ingress.yaml", "web-hpa.yaml"}
    kinds = [yaml.safe_load(text)["kind"] for text in files.values()]
    assert kinds == ["ReplicationController", "Deployment", "Ingress", "HorizontalPodAutoscaler"]
    commands = "\n".join(step.text for step in steps if not step.name)
    for name in files:
        assert f"kubectl apply -f {name}" in commands
    # Every command shows what it prints, but for those that print nothing.
    silent = ("port=", "address=", "vip=", "openssl", "kubectl delete $(")
    assert [step.text for step in steps if not step.name and not step.output and not step.text.startswith(silent)] == []
