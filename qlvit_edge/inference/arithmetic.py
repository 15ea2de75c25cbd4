"""Which arithmetic a runtime computes, and where that was proved.

Two arithmetics have a specification in integers: that of the reference kernels and that of
XNNPACK. Whether kernels compute them was compared byte for byte for the runtimes in `PROVED`;
about every other one nothing is said. How the comparison was made: `docs/exactness.md`.
"""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from qlvit_edge.errors import DeviceError
from qlvit_edge.modelfile.audit import audit_integer_only
from qlvit_edge.modelfile.document import Document

ArithmeticName = Literal["reference", "xnnpack"]

PROVED = frozenset(
    {
        ("ai-edge-litert", version, architecture)
        for version in ("2.2.0", "2.3.0")
        for architecture in ("x86_64", "aarch64")
    }
)
"""(package, version, architecture) whose XNNPACK computes the XNNPACK arithmetic at every tensor,
and whose reference kernels (BUILTIN_REF) compute the reference arithmetic."""

OLDEST = (2, 2)
"""First version of ai-edge-litert that is accepted: see `require_version`."""

UNPROVED_OPERATORS = {"aarch64": frozenset({"HARD_SWISH", "SOFTMAX"})}
"""Operators whose builtin int8 kernels round by one step otherwise than on x86-64."""

_NAMES = """
ADD BATCH_MATMUL BITCAST BITWISE_XOR CAST CONCATENATION CONV_2D DEPTHWISE_CONV_2D DIV ELU EXP FLOOR
FULLY_CONNECTED GATHER HARD_SWISH LOG LOGISTIC MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL PAD PADV2
QUANTIZE REDUCE_MAX RESHAPE RIGHT_SHIFT RSQRT SLICE SOFTMAX SUB SUM TRANSPOSE
"""
WRITTEN_OPERATORS: frozenset[str] = frozenset(_NAMES.split())
"""What `convert` writes, or wrote (BITWISE_XOR), and FULLY_CONNECTED, a 1 × 1 convolution to these
kernels; of others nothing was compared, whatever a file says of itself."""

_PACKAGES = {
    "litert": ("ai-edge-litert", "ai-edge-litert-nightly"),
    "tflite-runtime": ("tflite-runtime",),
}
_UNKNOWN = "of unknown version"
_TITLES: dict[ArithmeticName, str] = {"reference": "reference", "xnnpack": "XNNPACK"}


@dataclass(frozen=True)
class RuntimeVersion:
    """A runtime as installed on this machine.

    Attributes:
        package: name of the distribution, `ai-edge-litert`.
        version: its version, or `of unknown version`.
        architecture: of the processor, as `platform.machine` names it.
    """

    package: str
    version: str
    architecture: str

    @property
    def proved(self) -> bool:
        """Whether it is one of `PROVED`."""
        return (self.package, self.version, self.architecture) in PROVED

    def __str__(self) -> str:
        return f"{self.package} {self.version} on {self.architecture}"


@dataclass(frozen=True)
class Arithmetic:
    """What a loaded model is computed by; `str` says it in words.

    Attributes:
        name: ``"reference"``, ``"xnnpack"``, or None for kernels without a specification:
            builtin ones and those of a delegate.
        runtime: the runtime with its version.
        reason: why this is not proved, in words; empty where it is.
        apart: operators of the file whose kernels here are known to round otherwise.
    """

    name: ArithmeticName | None
    runtime: RuntimeVersion
    reason: str
    apart: tuple[str, ...] = ()

    @property
    def proved(self) -> bool:
        """Whether these kernels were compared with the specification at every tensor."""
        return not self.reason

    def __str__(self) -> str:
        if self.name is None:
            return self.reason
        title = f"{_TITLES[self.name]} arithmetic"
        return f"{title}, {self.reason or f'proved for {self.runtime}'}"


def arithmetic_of_file(
    document: Document, runtime: str, *, reference: bool, partitions: int
) -> Arithmetic:
    """Return the arithmetic of a loaded `.tflite` file; arguments as of `running_arithmetic`.

    Raises:
        ModelFileError: its metadata are damaged.
    """
    from qlvit_edge.modelfile.metadata import metadata_of

    metadata = metadata_of(document)
    return running_arithmetic(
        runtime,
        integer=audit_integer_only(document).integer_only,
        reference=reference,
        partitions=partitions,
        file_format=None if metadata is None else metadata.format_version,
        operators={operator.name for operator in document.operators},
    )


def running_arithmetic(
    runtime: str,
    *,
    reference: bool,
    partitions: int,
    file_format: int | None,
    operators: Iterable[str],
    integer: bool = True,
    delegate: bool = False,
) -> Arithmetic:
    """Return the arithmetic of a loaded model.

    Args:
        runtime: `litert` or `tflite-runtime`.
        reference: whether it runs on the reference kernels.
        partitions: parts of the graph that XNNPACK took over.
        file_format: version of the converter's metadata in the file; None without them. From 2
            on `convert` proves the XNNPACK arithmetic of what it writes.
        operators: names of the file's operators.
        integer: whether every tensor of the file is an integer.
        delegate: whether a library runs parts of it.
    """
    here = runtime_version(runtime)
    if delegate:
        return Arithmetic(None, here, "arithmetic of a delegate, for which nothing is proved")
    if not reference and not partitions:
        return Arithmetic(None, here, "builtin kernels, for which no arithmetic is proved")
    name: ArithmeticName = "reference" if reference else "xnnpack"
    operators = frozenset(operators)
    foreign = sorted(operators - WRITTEN_OPERATORS)
    apart = tuple(sorted(UNPROVED_OPERATORS.get(here.architecture, frozenset()) & operators))
    if not integer:
        reason = "not proved for floats"
    elif file_format is None:
        reason = "not proved for a file of another tool"
    elif name == "xnnpack" and file_format < 2:
        reason = f"not proved for a file of format {file_format} (convert it again)"
    elif not here.proved:
        reason = f"not proved on this runtime ({here})"
    elif foreign:
        reason = f"not proved for {' and '.join(foreign[:3])}, which `convert` does not write"
    elif apart:
        reason = f"not proved on this runtime ({here}) for {' and '.join(apart)}"
    else:
        reason = ""
    return Arithmetic(name, here, reason, apart)


@functools.cache
def runtime_version(runtime: str) -> RuntimeVersion:
    """Return package, version and architecture of an installed runtime.

    Args:
        runtime: `litert` or `tflite-runtime`.
    """
    for package in _PACKAGES[runtime]:
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        return RuntimeVersion(package, version, platform.machine())
    return RuntimeVersion(_PACKAGES[runtime][0], _UNKNOWN, platform.machine())


def installed_runtimes() -> list[str]:
    """Return one line per installed runtime: its version, and whether its arithmetic is proved."""
    lines = []
    for runtime in _PACKAGES:
        here = runtime_version(runtime)
        if here.version == _UNKNOWN:
            continue
        claim = "its arithmetic is proved" if here.proved else "not proved on this runtime"
        try:
            require_version(runtime)
        except DeviceError as error:
            lines.append(f"refused: {error}")
        else:
            lines.append(f"{here}: {claim}")
    return lines


def require_version(runtime: str) -> None:
    """Refuse versions of ai-edge-litert whose kernels are known to be wrong.

    Versions 2.0.3 to 2.1.6 are up to 255 steps off in convolutions whose stride exceeds their
    kernel, and 1.x rounds otherwise.

    Raises:
        DeviceError: the installed version is older than `OLDEST`.
    """
    here = runtime_version(runtime)
    number = re.match(r"(\d+)\.(\d+)", here.version)
    if runtime != "litert" or number is None:
        return
    if (int(number[1]), int(number[2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise DeviceError(
            f"{here.package} {here.version}",
            "its convolutions are wrong by up to 255 steps where the stride exceeds the kernel",
            f"pip install 'ai-edge-litert>={oldest}'",
        )
