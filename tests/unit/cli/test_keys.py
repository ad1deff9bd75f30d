"""Where passphrases and keys come from."""

from pathlib import Path

import pytest
import typer

from kubeup.cli import keys
from kubeup.errors import KubeupError


@pytest.fixture(autouse=True)
def no_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(keys.VARIABLE, raising=False)


def opens(lock: object, unlock: object) -> bool:
    return unlock.unlock(lock.lock(b"k" * 32)) == b"k" * 32  # type: ignore[attr-defined, no-any-return]


def test_a_file_comes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "word"
    file.write_text("correct horse\nnot this\n")
    monkeypatch.setenv(keys.VARIABLE, "something else")
    lock = keys.lock(file, None)
    assert opens(lock, keys.unlock(file, None))
    monkeypatch.setenv(keys.VARIABLE, "correct horse")
    assert opens(lock, keys.unlock(None, None))


def test_without_a_terminal_nothing_is_asked() -> None:
    with pytest.raises(KubeupError, match="no terminal to ask for one: say --passphrase-file FILE, or set KUBEUP_PASS"):
        keys.lock(None, None)


def test_short_ones_are_refused_when_encrypting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(keys.VARIABLE, "short")
    with pytest.raises(KubeupError, match="5 characters: use 8 or more"):
        keys.lock(None, None)
    keys.unlock(None, None)


def test_empty_and_missing_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name, what in (("empty", "no passphrase in its first line"), ("nothing", "cannot be read: No such file")):
        with pytest.raises(KubeupError, match=what):
            keys.lock(tmp_path / name, None)
    with pytest.raises(KubeupError, match="cannot be read"):
        keys.lock(None, tmp_path / "nothing")
    with pytest.raises(typer.BadParameter):
        keys.lock(tmp_path / "empty", tmp_path / "empty")
