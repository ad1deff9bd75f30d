"""Bundles: the same bytes for the same contents, and nothing of one that is not what was signed is used."""

import errno
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from kubeup.bundle import new_key, open_bundle
from kubeup.bundle.archive import MANIFEST, SIGNATURE, private_key, write
from kubeup.bundle.making import collect_wheels, create, take_in
from kubeup.bundle.sbom import modules
from kubeup.components import Store, catalogue
from kubeup.components.store import copy_from
from kubeup.deploy.bundled import Fits, taken
from kubeup.errors import BundleError, ComponentError

WANTED = {"unpack": "1.0.0", "pause": "1.0.0"}


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    private, public = tmp_path / "bundle.key", tmp_path / "bundle.pub"
    new_key(private, public)
    return private, public


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A cache with two components whose programs are a line of text."""
    made = Store(tmp_path / "cache")
    for name, version in WANTED.items():
        component = catalogue.get(name, version)
        with made.providing(name, version, "amd64") as folder:
            contents = {}
            for artifact in component.artifacts:
                (folder / artifact).write_text(f"{artifact} {version}\n" * 1000)
                contents[artifact] = copy_from(folder / artifact)
            made.put(name, version, "amd64", "recipe", contents, component.packing)
    return made


@pytest.fixture
def bundle(tmp_path: Path, store: Store, keys: tuple[Path, Path]) -> Path:
    path = tmp_path / "site.kubeup"
    packages = tmp_path / "packages" / "debian-12"
    packages.mkdir(parents=True)
    (packages / "haproxy_2.6_amd64.deb").write_text("a package")
    create(path, "demo", WANTED, ["amd64"], store, keys[0], packages.parent)
    return path


def test_the_same_contents_are_the_same_bytes(
    tmp_path: Path, bundle: Path, store: Store, keys: tuple[Path, Path]
) -> None:
    again = tmp_path / "again.kubeup"
    create(again, "demo", WANTED, ["amd64"], store, keys[0], tmp_path / "packages")
    assert again.read_bytes() == bundle.read_bytes()


def test_an_empty_cache_is_filled_from_it(tmp_path: Path, bundle: Path, keys: tuple[Path, Path]) -> None:
    other = Store(tmp_path / "other")
    opened = open_bundle(bundle, keys[1])
    assert take_in(opened, other) == 3
    for name in ("kubeup-unpack", "pause", "image-pause"):
        other.find(name, "1.0.0").verify()
    assert other.holds("pause", "1.0.0", "amd64", "recipe")
    assert take_in(opened, other) == 0  # what is there is not taken again


def test_its_bill_of_materials_names_what_is_in_it(bundle: Path, keys: tuple[Path, Path]) -> None:
    found = {name: content.read() for name, content in open_bundle(bundle, keys[1]).read()}
    document = json.loads(found["sbom.spdx.json"])
    assert document["spdxVersion"] == "SPDX-2.3"
    names = {(package["name"], package.get("versionInfo")) for package in document["packages"]}
    assert {("unpack", "1.0.0"), ("github.com/klauspost/compress", "v1.18.0"), ("haproxy_2.6_amd64.deb", None)} <= names
    identities = [each["SPDXID"] for each in (*document["packages"], *document["files"])]
    assert len(identities) == len(set(identities))
    assert {each["fileName"].removeprefix("./") for each in document["files"]} == found.keys() - {"sbom.spdx.json"}


def test_go_modules_are_read_from_go_mod() -> None:
    pinned = dict(modules(catalogue.get("etcd")))
    assert pinned["go.etcd.io/etcd/server/v3"] == "v3.6.8"
    assert len(pinned) > 20


def rewritten(path: Path, change: Any) -> Path:
    """The bundle with its members (name, content) as ``change`` returns them."""
    with tarfile.open(path) as tar:
        members = [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    other = path.with_name("altered.kubeup")
    with tarfile.open(other, "w") as tar:
        for name, content in change(members):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return other


def _byte(members: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return [(n, c[:-1] + bytes([c[-1] ^ 1]) if n.startswith("blobs/") else c) for n, c in members]


def _missing(members: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return [(n, c) for n, c in members if not n.endswith(".deb")]


def _more(members: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return [*members, ("packages/debian-12/evil.deb", b"x")]


def _twice(members: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return [*members, (MANIFEST, b"{}")]


def _manifest(members: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return [(n, c.replace(b'"demo"', b'"Demo"') if n == MANIFEST else c) for n, c in members]


def _unsigned(members: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return [(n, c) for n, c in members if n != SIGNATURE]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_byte, "was altered or is damaged: blobs/"),
        (_missing, "haproxy_2.6_amd64.deb is missing"),
        (_more, "evil.deb is not in its manifest"),
        (_twice, "manifest.json is not in its manifest"),
        (_manifest, "was altered, or signed with another key"),
        (_unsigned, "is not signed"),
    ],
)
def test_an_altered_bundle_is_refused_and_leaves_the_cache_alone(
    tmp_path: Path, bundle: Path, keys: tuple[Path, Path], change: Any, what: str
) -> None:
    other = Store(tmp_path / "other")
    with pytest.raises(BundleError, match=what):
        taken(rewritten(bundle, change), keys[1], other)
    assert not (tmp_path / "other").exists()


def test_one_that_was_cut_off_is_refused(tmp_path: Path, bundle: Path, keys: tuple[Path, Path]) -> None:
    cut = tmp_path / "cut.kubeup"
    cut.write_bytes(bundle.read_bytes()[:6000])
    with pytest.raises(BundleError, match=r"cannot be read|missing|altered|not a bundle"):
        taken(cut, keys[1], Store(tmp_path / "other"))


def test_another_key_or_none_is_refused(tmp_path: Path, bundle: Path) -> None:
    new_key(tmp_path / "k", tmp_path / "p")
    with pytest.raises(BundleError, match="signed with another key"):
        taken(bundle, tmp_path / "p", Store(tmp_path / "other"))
    with pytest.raises(BundleError, match="whose signature"):
        taken(bundle, None, Store(tmp_path / "other"))


@pytest.mark.parametrize("content", [b"", b"not a tar", b"x" * 20000])
def test_what_is_no_bundle_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(BundleError, match="is not a bundle"):
        open_bundle(path, None)
    with pytest.raises(BundleError, match="there is no bundle"):
        open_bundle(tmp_path / "gone", None)


@pytest.mark.parametrize(
    "name",
    [
        "index/../../../outside.json",
        "index/pause/../amd64.json",
        "index//etc/x.json",
        "index/pause/1.0.0/amd64.json/more",
        "blobs/../../outside",
        "blobs/pause.zst",
        "packages/../../outside",
        "packages/debian-12//x.deb",
        "wheels/\x1b[2Jx.whl",
        "/etc/passwd",
        "more/x",
    ],
)
def test_a_name_that_no_bundle_has_is_refused_though_it_is_signed(
    tmp_path: Path, keys: tuple[Path, Path], name: str
) -> None:
    path, about = tmp_path / "b", {"cluster": "demo", "kubeup": "0.1.0", "architectures": ["amd64"], "components": {}}
    write(path, about, {name: b"{}"}, private_key(keys[0]))
    with pytest.raises(BundleError, match=r"malformed at 'files'.*no file of a bundle is called so"):
        taken(path, keys[1], Store(tmp_path / "deep" / "er" / "cache"))
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize(
    ("change", "where"),
    [
        *(({key: None}, f"'{key}'") for key in ("cluster", "kubeup", "architectures", "components", "files")),
        ({"files": {"wheels/x": {"size": 1}}}, "'files' 'wheels/x' 'sha256'"),
        ({"files": {"wheels/x": {"size": -1, "sha256": "0" * 64}}}, "'files' 'wheels/x' 'size'"),
        ({"cluster": "\x1b[2J"}, "'cluster'"),
        ({"architectures": "amd64"}, "'architectures'"),
        ({"components": {"etcd": 3}}, "'components' 'etcd'"),
    ],
)
def test_a_manifest_that_lacks_something_is_refused(tmp_path: Path, bundle: Path, change: Any, where: str) -> None:
    def altered(members: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        manifest = {**json.loads(members[0][1]), **change}
        told = {key: value for key, value in manifest.items() if value is not None}
        return [(MANIFEST, json.dumps(told).encode()), *members[1:]]

    with pytest.raises(BundleError, match=f"is not a bundle: its manifest is malformed at {where}"):
        open_bundle(rewritten(bundle, altered), None)


def test_one_for_another_architecture_is_refused(world: Any, bundle: Path, keys: tuple[Path, Path]) -> None:
    class Reads:
        readings = {"n1": type("R", (), {"facts": type("F", (), {"arch": "arm64"})})}  # noqa: RUF012

    with pytest.raises(BundleError, match="is for amd64, and n1 is arm64"):
        Fits(open_bundle(bundle, keys[1])).run(Reads())  # type: ignore[arg-type]


def test_a_full_disk_is_told_and_leaves_nothing_half(
    tmp_path: Path, bundle: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Store(tmp_path / "other")

    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(BundleError, match=r"No space left.*\n.*free some space"):
        take_in(open_bundle(bundle, keys[1]), other)
    assert not [path for path in (tmp_path / "other").rglob("*") if path.is_file()]
    with pytest.raises(BundleError, match="cannot be written"):
        write(tmp_path / "new.kubeup", {}, {"a": b"b"}, private_key(keys[0]))
    assert not list(tmp_path.glob("*new.kubeup*"))


def test_a_file_whose_name_would_be_refused_later_is_refused_when_it_is_made(
    tmp_path: Path, store: Store, keys: tuple[Path, Path]
) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "two\nlines.deb").touch()
    with pytest.raises(BundleError, match=r"'packages/two\\nlines.deb' cannot be in a bundle"):
        create(tmp_path / "b", "demo", WANTED, ["amd64"], store, keys[0], tmp_path / "more")
    assert not (tmp_path / "b").exists()


def test_what_the_cache_lacks_is_told(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    with pytest.raises(ComponentError, match="run `kubeup components fetch`"):
        create(tmp_path / "b", "demo", WANTED, ["amd64"], Store(tmp_path / "empty"), keys[0])


def test_keys_are_never_overwritten_and_the_private_one_is_ones_own(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    assert keys[0].stat().st_mode & 0o777 == 0o600
    with pytest.raises(BundleError, match="cannot be written"):
        new_key(*keys)
    with pytest.raises(BundleError, match="no key to sign with"):
        private_key(keys[1])


@pytest.mark.parametrize("public", ["there", "no/folder/bundle.pub"])
def test_a_key_whose_public_half_cannot_be_written_does_not_stay(tmp_path: Path, public: str) -> None:
    (tmp_path / "there").write_text("another")
    with pytest.raises(BundleError, match=f"{public} cannot be written"):
        new_key(tmp_path / "bundle.key", tmp_path / public)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_text() == "another"


def test_a_pip_that_does_not_end_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(command: list[str], timeout: float, **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", endless)
    with pytest.raises(BundleError, match=r"pip was not done after 900 s\n.*--no-wheels"):
        collect_wheels(tmp_path / "wheels", lambda text: None)


def by_hand(folder: Path, bundle: Path, public: Path) -> subprocess.CompletedProcess[str]:
    """The commands of docs/air-gapped.md that take kubeup out of a bundle, run in a folder; all but the installing."""
    folder.mkdir()
    (folder / "site.kubeup").symlink_to(bundle)
    (folder / "bundle.pub").symlink_to(public)
    text = (Path(__file__).parents[3] / "docs" / "air-gapped.md").read_text()
    block = text[text.index("    tar -xf site.kubeup manifest.json") : text.index("    python3 -m venv")]
    script = "".join(line.removeprefix("    ") for line in block.splitlines(keepends=True)) + "true"
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)


def _openssl() -> bool:
    """Whether there is one that can verify ed25519."""
    try:
        said = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    return not said.startswith(("OpenSSL 0", "OpenSSL 1", "LibreSSL"))


@pytest.mark.skipif(not _openssl(), reason="there is no OpenSSL 3 here")
def test_what_is_taken_out_by_hand_is_what_was_signed(tmp_path: Path, store: Store, keys: tuple[Path, Path]) -> None:
    (tmp_path / "wheels").mkdir()
    for name in ("kubeup-0.1.0-py3-none-any.whl", "other-1.0-py3-none-any.whl"):
        (tmp_path / "wheels" / name).write_text(name)
    path = tmp_path / "site.kubeup"
    create(path, "demo", WANTED, ["amd64"], store, keys[0], wheels=tmp_path / "wheels")

    done = by_hand(tmp_path / "good", path, keys[1])
    assert (done.returncode, done.stderr) == (0, "")
    assert {f.name: f.read_text() for f in (tmp_path / "good" / "wheels").iterdir()} == {
        f.name: f.read_text() for f in (tmp_path / "wheels").iterdir()
    }

    def another(members: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        return [(n, b"evil" if n.startswith("wheels/kubeup") else c) for n, c in members]

    assert by_hand(tmp_path / "altered", rewritten(path, another), keys[1]).returncode != 0
    assert by_hand(tmp_path / "manifest", rewritten(path, _manifest), keys[1]).returncode != 0
    newer = rewritten(path, lambda members: [*members, ("wheels/kubeup-9.0-py3-none-any.whl", b"evil")])
    assert by_hand(tmp_path / "more", newer, keys[1]).returncode == 0
    assert not (tmp_path / "more" / "wheels" / "kubeup-9.0-py3-none-any.whl").exists()
