"""A bundle's bill of materials, in SPDX 2.3 as JSON: what is in it, and of which Go modules its programs are built."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kubeup import __version__
from kubeup.components.catalogue import Component

CREATED = "1980-01-01T00:00:00Z"
"""Not a time: the same contents give the same bytes."""


def modules(component: Component) -> list[tuple[str, str]]:
    """The Go modules, with their versions, whose content building a component took, as its go.sum pins them."""
    path = component.module_dir / "go.sum"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return sorted({(name, version) for name, version, _ in lines if not version.endswith("/go.mod")})


def sbom(name: str, components: Sequence[Component], files: Mapping[str, str]) -> bytes:
    """The document of a bundle called ``name``; ``files`` are the SHA-256 of its files by name."""
    packages: list[dict[str, Any]] = []
    relations: list[dict[str, str]] = []
    for component in components:
        own = _id("component", component.name, component.version)
        packages.append(_package(own, component.name, component.version))
        relations.append(_relation("SPDXRef-DOCUMENT", "DESCRIBES", own))
        for module, version in modules(component):
            identity = _id("go", module, version)
            packages.append(_package(identity, module, version, f"pkg:golang/{module}@{version}"))
            relations.append(_relation(own, "DEPENDS_ON", identity))
    for path in files:
        folder, _, file = path.partition("/")
        if folder in ("packages", "wheels") and file.endswith((".deb", ".rpm", ".whl")):
            base = file.rpartition("/")[2]
            identity = _id(folder, file, files[path][:12])
            packages.append({**_package(identity, base, ""), "packageFileName": path, "checksums": [_sum(files[path])]})
            relations.append(_relation("SPDXRef-DOCUMENT", "DESCRIBES", identity))
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://kubeup.invalid/bundle/{digest}",
        "creationInfo": {"created": CREATED, "creators": [f"Tool: kubeup-{__version__}"]},
        "packages": list({package["SPDXID"]: package for package in packages}.values()),
        "files": [
            {"SPDXID": _id("file", path, ""), "fileName": f"./{path}", "checksums": [_sum(sha256)]}
            for path, sha256 in sorted(files.items())
        ],
        "relationships": list(_unique(relations)),
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def _package(identity: str, name: str, version: str, purl: str = "") -> dict[str, Any]:
    reference = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}
    return {
        "SPDXID": identity,
        "name": name,
        **({"versionInfo": version} if version else {}),
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        **({"externalRefs": [reference]} if purl else {}),
    }


def _sum(sha256: str) -> dict[str, str]:
    return {"algorithm": "SHA256", "checksumValue": sha256}


def _id(*parts: str) -> str:
    text = "-".join(part for part in parts if part)
    plain = re.sub(r"[^A-Za-z0-9.-]", "-", text)
    # Two names may differ in a character alone that is not allowed here.
    return f"SPDXRef-{plain}" if plain == text else f"SPDXRef-{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _relation(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def _unique(relations: Sequence[dict[str, str]]) -> Iterator[dict[str, str]]:
    seen = set()
    for relation in relations:
        key = tuple(relation.values())
        if key not in seen:
            seen.add(key)
            yield relation
