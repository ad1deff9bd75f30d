import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from kubeup.components import Image
from kubeup.components.images import writer
from kubeup.components.store import Counted

PROGRAM = b"\x7fELF and so on" * 12_345
DEMO = Image("demo", program="demod", args=("serve",))


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "demod"
    path.write_bytes(PROGRAM)
    return path


def archive_of(image: Image, program: Path) -> bytes:
    buffer = io.BytesIO()
    writer(image, "1.0", "arm64", program)(buffer)
    return buffer.getvalue()


def unpack(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def follow(files: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    """The blob that a descriptor means, when its digest and size are right."""
    algorithm, digest = descriptor["digest"].split(":")
    blob = files[f"blobs/{algorithm}/{digest}"]
    assert hashlib.sha256(blob).hexdigest() == digest
    assert len(blob) == descriptor["size"]
    return blob


def test_the_archive_leads_from_the_index_to_the_program(program: Path) -> None:
    files = unpack(archive_of(DEMO, program))
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == "kubeup.local/demo:1.0"
    assert entry["platform"] == {"architecture": "arm64", "os": "linux"}

    manifest = json.loads(follow(files, entry))
    config = json.loads(follow(files, manifest["config"]))
    assert (config["architecture"], config["os"]) == ("arm64", "linux")
    assert config["config"]["Entrypoint"] == ["/demod", "serve"]
    assert config["config"]["User"] == "65532:65532"

    (layer,) = manifest["layers"]
    assert layer["mediaType"].endswith(".tar")  # not compressed, so its digest is the diff id too
    assert config["rootfs"]["diff_ids"] == [layer["digest"]]
    with tarfile.open(fileobj=io.BytesIO(follow(files, layer))) as tar:
        (file,) = tar.getmembers()
        assert (file.name, file.mode, file.uid, file.gid, file.mtime) == ("demod", 0o755, 0, 0, 0)
        assert tar.extractfile(file).read() == PROGRAM  # type: ignore[union-attr]


def test_every_blob_has_a_use(program: Path) -> None:
    files = unpack(archive_of(DEMO, program))
    blobs = {name.rpartition("/")[2] for name in files if name.startswith("blobs/")}
    assert len(files) == len(blobs) + 2
    text = b"".join(data for name, data in files.items() if len(data) < 5000)
    assert [blob for blob in blobs if blob.encode() not in text] == []


def test_the_same_program_gives_the_same_bytes(program: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.write_bytes(PROGRAM)
    other.chmod(0o600)
    assert archive_of(DEMO, program) == archive_of(DEMO, other)
    other.write_bytes(PROGRAM + b"!")
    assert archive_of(DEMO, program) != archive_of(DEMO, other)


def test_an_image_for_root_names_no_user(program: Path) -> None:
    files = unpack(archive_of(Image("demo", program="demod", user=""), program))
    (entry,) = json.loads(files["index.json"])["manifests"]
    config = json.loads(follow(files, json.loads(follow(files, entry))["config"]))
    assert "User" not in config["config"]


def test_a_large_program_is_streamed(tmp_path: Path) -> None:
    program = tmp_path / "demod"
    with open(program, "wb") as file:
        file.truncate(40 << 20)
    pieces: list[int] = []

    class Sink(Counted):
        def write(self, data: bytes, /) -> int:
            pieces.append(len(data))
            return super().write(data)

    sink = Sink()
    writer(DEMO, "1.0", "amd64", program)(sink)
    assert sink.size > 40 << 20
    assert max(pieces) <= 1 << 20
