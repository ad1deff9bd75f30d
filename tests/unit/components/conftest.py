from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import zstandard

from kubeup.components import COMPONENTS, Artifact, Component, Image, Program, Store, catalogue


@pytest.fixture
def content() -> Callable[[Artifact], bytes]:
    """What an artifact holds, unpacked."""
    return lambda artifact: zstandard.ZstdDecompressor().decompressobj().decompress(artifact.path.read_bytes())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Component:
    """A component "demo" 1.0 of two programs and an image, which is in the catalogue during the test."""
    monkeypatch.setattr(catalogue, "MODULES", tmp_path / "modules")
    component = Component(
        "demo",
        "1.0",
        programs=(Program("demo", "example.invalid/demo/v2"), Program("democtl", "example.invalid/demo/democtl")),
        images=(Image("demo", program="demo", args=("serve",)),),
    )
    component.module_dir.mkdir(parents=True)
    (component.module_dir / "go.mod").write_text("module kubeup.invalid/demo\n")
    monkeypatch.setattr(catalogue, "COMPONENTS", (*COMPONENTS, component))
    return component


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Tests are silent."""


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server on loopback: its URL, and the folder that it serves."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = type("Handler", (_Handler,), {"__init__": lambda self, *a: _Handler.__init__(self, *a, directory=folder)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", folder
        server.shutdown()
        thread.join()
