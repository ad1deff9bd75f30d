import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from kubeup.components import COMPONENTS, Artifact, Component, Store, provide, release
from kubeup.components.release import ReleaseProvider, pin, read_lock
from kubeup.errors import ComponentError

Content = Callable[[Artifact], bytes]

Mirror = tuple[str, Path]

DEMO = b"the program demo\n" * 5000
DEMOCTL = b"the program democtl\n" * 5000


def tar_gz(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def publish(mirror: Mirror, tmp_path: Path, served: bytes | None = None) -> Path:
    """Put demo (in a tar.gz) and democtl (plain) on the mirror, and return their lock file.

    ``served`` is what the mirror has instead of the democtl that the lock means.
    """
    _, folder = mirror
    archive = tar_gz({"./README": b"read me", "./demo-1.0/demo": DEMO})
    (folder / "demo.tar.gz").write_bytes(archive)
    (folder / "democtl").write_bytes(DEMOCTL if served is None else served)
    lock = tmp_path / "release.lock"
    lock.write_text(
        "".join(
            f'[[download]]\ncomponent = "demo"\nversion = "1.0"\narch = "amd64"\npath = "{path}"\n'
            f'sha256 = "{hashlib.sha256(data).hexdigest()}"\n[download.programs]\n{program} = "{member}"\n'
            for path, data, program, member in [
                ("demo.tar.gz", archive, "demo", "demo-1.0/demo"),
                ("democtl", DEMOCTL, "democtl", ""),
            ]
        )
    )
    return lock


def test_what_the_lock_names_is_put_into_the_store(
    store: Store, demo: Component, mirror: Mirror, tmp_path: Path, content: Content
) -> None:
    url, _ = mirror
    told: list[str] = []
    provider = ReleaseProvider(publish(mirror, tmp_path), url)
    provide(store, [("demo", "1.0")], provider, lambda event: told.append(event.detail))
    assert content(store.find("demo", "1.0")) == DEMO
    assert content(store.find("democtl", "1.0")) == DEMOCTL
    assert store.find("image-demo", "1.0").size > len(DEMO)
    assert f"downloading {url}democtl" in told
    assert "unpacking demo" in store.log("demo", "1.0").read_text()


def test_what_is_unpacked_can_be_run_and_nothing_else_is_left(demo: Component, mirror: Mirror, tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    ReleaseProvider(publish(mirror, tmp_path), mirror[0].rstrip("/")).provide(
        demo, "amd64", into, tmp_path / "log", lambda line: None
    )
    assert {path.name: path.stat().st_mode & 0o777 for path in into.iterdir()} == {"demo": 0o755, "democtl": 0o755}


def test_a_wrong_digest_places_nothing(store: Store, demo: Component, mirror: Mirror, tmp_path: Path) -> None:
    lock = publish(mirror, tmp_path, served=b"evil")
    with pytest.raises(ComponentError) as raised:
        provide(store, [("demo", "1.0")], ReleaseProvider(lock, mirror[0]))
    text = str(raised.value)
    assert "democtl" in text
    assert hashlib.sha256(DEMOCTL).hexdigest() in text
    assert hashlib.sha256(b"evil").hexdigest() in text
    assert store.entries() == []
    assert not (store.root / "blobs").exists()


def test_what_is_not_on_the_mirror(store: Store, demo: Component, mirror: Mirror, tmp_path: Path) -> None:
    lock = publish(mirror, tmp_path)
    (mirror[1] / "democtl").unlink()
    with pytest.raises(ComponentError, match=r"/democtl cannot be downloaded: 404"):
        provide(store, [("demo", "1.0")], ReleaseProvider(lock, mirror[0]))
    assert store.entries() == []


def test_no_mirror_at_all(store: Store, demo: Component, mirror: Mirror, tmp_path: Path) -> None:
    lock = publish(mirror, tmp_path)
    with pytest.raises(ComponentError, match=r"http://127.0.0.1:1/\S+ cannot be downloaded: "):
        provide(store, [("demo", "1.0")], ReleaseProvider(lock, "http://127.0.0.1:1"))


@pytest.mark.parametrize(
    ("archive", "message"),
    [(tar_gz({"demo": DEMO}), "no file 'demo-1.0/demo'"), (b"not a tar.gz", "cannot be unpacked")],
)
def test_an_archive_without_the_program(
    demo: Component, mirror: Mirror, tmp_path: Path, archive: bytes, message: str
) -> None:
    lock = publish(mirror, tmp_path)
    old = hashlib.sha256((mirror[1] / "demo.tar.gz").read_bytes()).hexdigest()
    (mirror[1] / "demo.tar.gz").write_bytes(archive)
    lock.write_text(lock.read_text().replace(old, hashlib.sha256(archive).hexdigest()))
    with pytest.raises(ComponentError, match=message):
        ReleaseProvider(lock, mirror[0]).provide(demo, "amd64", tmp_path, tmp_path / "log", lambda line: None)


def test_a_program_that_the_lock_does_not_name(store: Store, demo: Component, mirror: Mirror, tmp_path: Path) -> None:
    lock = publish(mirror, tmp_path)
    lock.write_text(lock.read_text().rpartition("[[download]]")[0])
    with pytest.raises(ComponentError, match="does not say where to download democtl"):
        provide(store, [("demo", "1.0")], ReleaseProvider(lock, mirror[0]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("[[download]", "cannot be read"),
        ('[[download]]\npath = "x"', "cannot be read"),
        (
            '[[download]]\ncomponent="a"\nversion="1"\narch="amd64"\npath="x"\nsha256="12"\nprograms={a=""}',
            "64 hex digits. for: x",
        ),
    ],
)
def test_an_unusable_lock(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "release.lock"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ComponentError, match=message):
        read_lock(path)


def test_pin_writes_the_lock_that_the_provider_reads(
    store: Store, demo: Component, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Content
) -> None:
    url, folder = mirror
    monkeypatch.setitem(release.LAYOUT, "demo", ("demo-{version}-{arch}.tar.gz", "bin/{program}"))
    (folder / "demo-1.0-amd64.tar.gz").write_bytes(tar_gz({"bin/demo": DEMO, "bin/democtl": DEMOCTL}))
    lock = tmp_path / "release.lock"
    lock.write_text(pin([demo], "amd64", url))
    (download,) = read_lock(lock)
    assert download.sha256 == hashlib.sha256((folder / "demo-1.0-amd64.tar.gz").read_bytes()).hexdigest()
    provide(store, [("demo", "1.0")], ReleaseProvider(lock, url))
    assert content(store.find("democtl", "1.0")) == DEMOCTL


def test_the_layout_covers_all_that_is_not_our_own() -> None:
    assert {component.name for component in COMPONENTS if not component.optional} - release.LAYOUT.keys() == {
        "approver",
        "pause",
        "probe",
        "reach",
        "snapshots",
        "unpack",
    }


def test_the_layout_of_one_file_a_program_and_of_one_for_all() -> None:
    places = {c.name: release._places(c, "amd64") for c in COMPONENTS}
    assert places["kubernetes"]["dl.k8s.io/release/v1.36.3/bin/linux/amd64/kubelet"] == {"kubelet": ""}
    assert len(places["kubernetes"]) == 6
    assert list(places["etcd"].values()) == [
        {name: f"etcd-v3.6.8-linux-amd64/{name}" for name in ("etcd", "etcdctl", "etcdutl")}
    ]
