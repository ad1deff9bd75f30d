"""Putting a bundle together, and taking it into the component cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kubeup import __version__
from kubeup.bundle.archive import SBOM, Bundle, measured, private_key, safe_name, write
from kubeup.bundle.sbom import sbom
from kubeup.components import Store, catalogue
from kubeup.errors import BundleError

Say = Callable[[str], None]

WHEELS_LIMIT = 900
"""Seconds that pip may take: some dozens of wheels come over a network, and kubeup's own is built."""


def create(
    path: Path,
    name: str,
    wanted: Mapping[str, str],
    architectures: Sequence[str],
    store: Store,
    key: Path,
    packages: Path | None = None,
    wheels: Path | None = None,
) -> None:
    """Write the bundle of a cluster called ``name``: ``wanted`` components, by name the version, from the store.

    ``packages`` and ``wheels`` are folders whose files come along. Raises ComponentError when the store lacks
    something, BundleError when the bundle cannot be written.
    """
    signing = private_key(key)
    contents: dict[str, Path | bytes] = {}
    components = [catalogue.get(component, version) for component, version in sorted(wanted.items())]
    for component in components:
        for arch in architectures:
            for artifact_name in component.artifacts:
                artifact = store.find(artifact_name, component.version, arch)
                artifact.verify()
                contents[f"blobs/{artifact.path.name}"] = artifact.path
            contents[f"index/{component.name}/{component.version}/{arch}.json"] = store.index_text(
                component.name, component.version, arch
            )
    for folder, source in (("packages", packages), ("wheels", wheels)):
        if source is not None:
            contents |= {
                f"{folder}/{file.relative_to(source)}": file for file in sorted(source.rglob("*")) if file.is_file()
            }
    for file in contents:
        try:
            safe_name(file)
        except ValueError as error:
            raise BundleError(f"{file!r} cannot be in a bundle: {error}\n    -> give that file another name") from error
    about: dict[str, Any] = {
        "cluster": name,
        "kubeup": __version__,
        "architectures": list(architectures),
        "components": dict(sorted(wanted.items())),
    }
    hashes = {file: measured(content)[1] for file, content in contents.items()}
    contents[SBOM] = sbom(f"kubeup bundle of the cluster {name}", components, hashes)
    write(path, about, contents, signing)


def take_in(bundle: Bundle, store: Store) -> int:
    """Put what the cache lacks into it; how many files that were. The bundle is verified to its end before.

    Raises BundleError, and then the cache is as it was, but for whole files that are what they are called by.
    """
    bundle.verify()
    indexes: dict[str, bytes] = {}
    taken = 0
    for name, content in bundle.read():
        folder, _, rest = name.partition("/")
        if folder == "index":
            indexes[rest] = content.read()
        elif folder == "blobs" and not store.has_blob(rest, bundle.files[name]["size"]):
            try:
                store.put_blob(rest, content)
            except OSError as error:
                raise BundleError(
                    f"the bundle cannot be taken into the component cache {store.root}: {error}\n"
                    "    -> free some space, or set KUBEUP_CACHE to a folder on a larger disk"
                ) from error
            taken += 1
    # Last: what an index names is complete.
    for rest, text in indexes.items():
        store.put_index(rest, text)
    return taken


def collect_wheels(into: Path, say: Say) -> None:
    """Wheels of kubeup and all that it needs, by pip. Raises BundleError with what pip said."""
    say("collecting kubeup's own wheels")
    source = Path(__file__).parents[2]
    with tempfile.TemporaryDirectory() as folder:
        what = f"kubeup=={__version__}"
        if (source / "pyproject.toml").exists():  # a checkout: building leaves things in it, so a copy is built
            what = str(Path(folder) / "source")
            hidden = shutil.ignore_patterns(".*", "build", "*.egg-info", "tests", "__pycache__")
            shutil.copytree(source, what, symlinks=True, ignore=hidden)
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-input", "--wheel-dir", str(into), what],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=WHEELS_LIMIT,
                # A zip has times in it: the same for the same source.
                env={**os.environ, "SOURCE_DATE_EPOCH": "315532800"},
            )
        except subprocess.TimeoutExpired as error:
            raise BundleError(
                f"kubeup's own wheels could not be had: pip was not done after {WHEELS_LIMIT} s\n"
                "    -> see whether it reaches its index; or leave them out: --no-wheels"
            ) from error
    if done.returncode:
        raise BundleError(f"kubeup's own wheels could not be had:\n{done.stderr[-2000:]}")
