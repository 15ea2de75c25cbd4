"""Making a bundle: a model that gives its golden pairs here, what it answers, and a signature."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qlvit_edge.delivery.bundle import pack, signed_bytes
from qlvit_edge.delivery.examination import recorded_self_test
from qlvit_edge.delivery.manifest import MOST_MODEL_BYTES, NAME, Manifest, Target, is_version
from qlvit_edge.delivery.store import now
from qlvit_edge.errors import DataError, ModelFileError
from qlvit_edge.files import sha256
from qlvit_edge.modelfile.chain import is_chain, metadata_in
from qlvit_edge.modelfile.reader import read_bytes
from qlvit_edge.version import installed_version

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_PROCESSORS: tuple[Target, ...] = ("x86_64", "aarch64", "armv7l")


@dataclass(frozen=True)
class Naming:
    """What a bundle is called and for.

    Attributes:
        version: numbers with dots between.
        name: None: as the model's file calls it.
        targets: what it may be installed on; none named: every processor, of a chain the Edge TPU.
        budget_ms: milliseconds of an inference; None: no budget.
    """

    version: str
    name: str | None = None
    targets: Sequence[Target] = ()
    budget_ms: float | None = None


def sign(path: Path, key: Ed25519PrivateKey, naming: Naming) -> tuple[Manifest, bytes]:
    """Return the bundle of a model that is right here, with its manifest.

    Raises:
        ModelFileError: the model cannot be used, has no golden pairs, or does not give them here.
        DataError: name or version is none.
        DeviceError: the runtime is not there.
    """
    if not is_version(naming.version):
        remedy = "write numbers with dots between, such as 1.4.0"
        raise DataError("--version", f"{naming.version!r} is no version", remedy)
    content = read_bytes(path)
    if len(content) > MOST_MODEL_BYTES:
        raise ModelFileError(path, f"has {len(content):,} bytes", "give a smaller model")
    metadata = metadata_in(content, subject=path)
    if metadata is None or not metadata.golden:
        finding = "holds no golden pairs, by which a device could tell that it is right"
        raise ModelFileError(path, finding, "give a model made by `qlvit-edge convert`")
    name = metadata.name if naming.name is None else naming.name
    if re.fullmatch(NAME, name) is None:
        remedy = "give one of letters, digits, '.', '_' and '-' with --name"
        raise DataError(name, "is no name for a bundle", remedy)
    chain = is_chain(content)
    targets = list(naming.targets) or (["edgetpu"] if chain else list(_PROCESSORS))
    if "edgetpu" in targets and not chain:
        finding = "is for the processor: an Edge TPU runs chains"
        raise DataError(path, finding, "leave out --target edgetpu, or give a chain")
    manifest = Manifest(
        name=name,
        version=naming.version,
        targets=targets,
        kind="chain" if chain else "tflite",
        bytes=len(content),
        sha256=sha256(content),
        budget_ms=naming.budget_ms,
        self_test=recorded_self_test(path),
        signed=now(),
        program=f"qlvit-edge {installed_version()}",
    )
    text = manifest.model_dump_json(indent=1).encode("utf-8")
    return manifest, pack(text, key.sign(signed_bytes(text)), content)
