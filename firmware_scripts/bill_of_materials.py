"""Write the software bill of materials of a wheelhouse, as CycloneDX 1.6 in JSON.

    python firmware_scripts/bill_of_materials.py WHEELHOUSE [--out FILE]

One component per wheel: name, version, licence as its metadata states it, SHA-256 of the file, and
what of the wheelhouse it depends on. Libraries that a wheel carries in compiled form (below its
folder `*.libs`) are listed inside of it by name and SHA-256: their versions are not known. The
same wheels give the same bytes. Exit code 2 for a folder without wheels or with a damaged one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import uuid
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

OURS = "qlvit-edge"
PIECE = 1 << 20
_LICENCE = "License :: OSI Approved :: "
_REQUIRED = re.compile(r"[A-Za-z0-9._-]+")
_BUNDLED = re.compile(r"[^/]+\.libs/[^/]+")


class WheelhouseError(Exception):
    """A folder or a wheel that no bill of materials can be written of; one line says why."""


def normalised(name: str) -> str:
    """Return a package's name as package URLs write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def metadata_of(archive: zipfile.ZipFile, wheel: Path) -> Message:
    """Return a wheel's own metadata.

    Raises:
        WheelhouseError: it has none, or neither name nor version.
    """
    names = [
        name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)
    ]
    if len(names) != 1:
        raise WheelhouseError(f"{wheel}: is no wheel (it has no METADATA); download it again")
    found = HeaderParser().parsestr(archive.read(names[0]).decode("utf-8", "replace"))
    if not found["Name"] or not found["Version"]:
        raise WheelhouseError(f"{wheel}: its METADATA names no package; download it again")
    return found


def licences_of(metadata: Message) -> list[dict[str, Any]]:
    """Return what a wheel says of its licence: an SPDX expression, or names as it writes them."""
    if expression := metadata["License-Expression"]:
        return [{"expression": expression.strip()}]
    classifiers = metadata.get_all("Classifier", [])
    names = [one.removeprefix(_LICENCE) for one in classifiers if one.startswith(_LICENCE)]
    if not names and (text := (metadata["License"] or "").strip()):
        names = [text.splitlines()[0][:100]]
    return [{"license": {"name": name}} for name in names]


def bundled_in(archive: zipfile.ZipFile) -> list[dict[str, Any]]:
    """Return the compiled libraries that a wheel carries beside its own code."""
    found = []
    for name in sorted(archive.namelist()):
        if _BUNDLED.fullmatch(name):
            digest = hashlib.sha256()
            with archive.open(name) as file:
                while piece := file.read(PIECE):
                    digest.update(piece)
            hashes = [{"alg": "SHA-256", "content": digest.hexdigest()}]
            found.append({"type": "file", "name": name, "hashes": hashes})
    return found


def required_by(metadata: Message) -> set[str]:
    """Return the names of the packages that a wheel asks for, with extras only for our own."""
    ours = normalised(metadata["Name"]) == OURS
    found = set()
    for line in metadata.get_all("Requires-Dist", []):
        name = _REQUIRED.match(line)
        if name and (ours or "extra ==" not in line):
            found.add(normalised(name.group()))
    return found


def component_of(wheel: Path) -> tuple[dict[str, Any], set[str]]:
    """Return a wheel's component, and the names of what it requires.

    Raises:
        WheelhouseError: it is damaged or no wheel.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            metadata, bundled = metadata_of(archive, wheel), bundled_in(archive)
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise WheelhouseError(f"{wheel}: cannot be read ({error}); download it again") from None
    name, version = normalised(metadata["Name"]), metadata["Version"]
    component: dict[str, Any] = {
        "type": "application" if name == OURS else "library",
        "bom-ref": f"pkg:pypi/{name}@{version}",
        "name": name,
        "version": version,
        "hashes": [{"alg": "SHA-256", "content": sha256_of(wheel)}],
        "purl": f"pkg:pypi/{name}@{version}",
        "properties": [{"name": "qlvit-edge:file", "value": wheel.name}],
    }
    if licences := licences_of(metadata):
        component["licenses"] = licences
    if bundled:
        component["components"] = bundled
    return component, required_by(metadata)


def bill_of(wheelhouse: Path) -> dict[str, Any]:
    """Return the bill of materials of a folder of wheels.

    Raises:
        WheelhouseError: it holds none, or a damaged one, or two of one package.
    """
    wheels = sorted(wheelhouse.glob("*.whl"))
    if not wheels:
        raise WheelhouseError(f"{wheelhouse}: holds no wheel; build it with `make wheelhouse`")
    found: dict[str, tuple[dict[str, Any], set[str]]] = {}
    for wheel in wheels:
        component, required = component_of(wheel)
        name = component["name"]
        if name in found:
            raise WheelhouseError(f"{wheel}: {name} is there twice; leave one")
        found[name] = component, required
    identity = "".join(component["hashes"][0]["content"] for component, _ in found.values())
    bill: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, identity)}",
        "version": 1,
        "components": [component for name, (component, _) in found.items() if name != OURS],
        "dependencies": [
            {
                "ref": component["bom-ref"],
                "dependsOn": [found[one][0]["bom-ref"] for one in sorted(required & found.keys())],
            }
            for component, required in found.values()
        ],
    }
    if OURS in found:
        bill["metadata"] = {"component": found[OURS][0]}
    return bill


def summary(bill: dict[str, Any]) -> Iterator[str]:
    """Give what there is to know about a bill of materials, for people."""
    components = bill["components"]
    unnamed = [one["name"] for one in components if "licenses" not in one]
    carried = sum(len(one.get("components", [])) for one in components)
    yield f"{len(components)} packages, {carried} compiled libraries inside of them"
    if unnamed:
        yield f"without a licence in their metadata: {', '.join(unnamed)}"


def main() -> int:
    """Write it whole, or not at all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wheelhouse", type=Path)
    parser.add_argument("--out", type=Path, help="default: WHEELHOUSE/bom.cdx.json")
    options = parser.parse_args()
    out = options.out or options.wheelhouse / "bom.cdx.json"
    aside = out.with_name(f"{out.name}.new")
    try:
        bill = bill_of(options.wheelhouse)
        aside.write_text(json.dumps(bill, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(aside, out)
    except (WheelhouseError, OSError) as error:
        aside.unlink(missing_ok=True)
        print(f"bill of materials: {error}", file=sys.stderr)
        return 2
    print(f"{out}: {'; '.join(summary(bill))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
