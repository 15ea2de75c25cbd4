"""Runtime, kernels, arithmetic, the model's golden pairs, and a test on bundled images."""

from __future__ import annotations

from qlvit_edge.choices import RuntimeName
from qlvit_edge.doctor.finding import DEFAULT_MODEL, Finding, Place, read
from qlvit_edge.errors import DeviceError, ModelFileError

_NEEDED_BY_XNNPACK = (
    "proc/cpuinfo",
    "sys/devices/system/cpu/possible",
    "sys/devices/system/cpu/present",
)
"""What its cpuinfo library reads. Without it XNNPACK may take no part of a model: on x86-64 it does
so where /proc/cpuinfo is gone (ProcSubset=pid), and still goes on where /sys alone is hidden."""

_VISIBLE = "run where /sys and /proc are visible: not in a chroot or a service that hides them"

LEAST_FIELD_CELLS = 15
LEAST_CROPS_RIGHT = 22
"""Of the bundled images: 17 cells are found, and 25 of 32 crops are right with `blood-nano`.
Another decoder of JPEG moves a value by one, and a border case with it; more is a fault."""


def check_processor(place: Place) -> list[Finding]:
    """Can XNNPACK read what the processor is?"""
    hidden = hidden_from_xnnpack(place)
    if hidden:
        text = f"{hidden} cannot be read: XNNPACK may stay off, and every answer take longer"
        return [Finding("processor", "warning", text, _VISIBLE)]
    return [Finding("processor", "ok", "XNNPACK can read what it is")]


def hidden_from_xnnpack(place: Place) -> str:
    """Return which of the files that XNNPACK reads are hidden here, in words; "" where none is."""
    return ", ".join(f"/{name}" for name in _NEEDED_BY_XNNPACK if not read(place.root / name))


def check_runtime(place: Place) -> list[Finding]:
    """Is a runtime there, does it load, and is its arithmetic proved?"""
    from qlvit_edge.inference.arithmetic import runtime_version
    from qlvit_edge.inference.native import load_runtime

    reasons = []
    for name in _RUNTIMES:
        try:
            load_runtime(name)
        except DeviceError as error:
            reasons.append(error)
            continue
        here = runtime_version(name)
        return [
            Finding("runtime", "ok", f"{here} loads"),
            proof_finding(str(here), proved=here.proved),
        ]
    text, _, remedy = str(reasons[0]).partition("; ")
    return [Finding("runtime", "fail", text, remedy)]


_RUNTIMES: tuple[RuntimeName, ...] = ("litert", "tflite-runtime")


def proof_finding(runtime: str, *, proved: bool) -> Finding:
    """Judge whether a runtime's kernels were shown to compute the specification."""
    if proved:
        return Finding("arithmetic", "ok", f"proved for {runtime}")
    remedy = "golden pairs still tell of one model; for a proof: requirements/constraints.txt"
    return Finding("arithmetic", "warning", f"not proved for {runtime}", remedy)


def check_model(place: Place) -> list[Finding]:
    """Does the model file run here, on which kernels, and does it give its golden pairs?"""
    from qlvit_edge.inference.classifier import Classifier

    try:
        classifier = Classifier(place.model, runtime=_usable())
    except (ModelFileError, DeviceError) as error:
        text, _, remedy = str(error).partition("; ")
        return [Finding("model", "fail", text, remedy)]
    with classifier:
        labels = ", ".join(classifier.labels)
        guard = "with a guard" if classifier.judges else "without a guard: accepts unknown cells"
        golden = classifier.golden_pairs()
        return [
            Finding("model", "ok", f"{place.model} runs ({labels}; {guard})"),
            kernels_finding(
                classifier.kernels_used,
                missing=classifier.xnnpack_missing,
                hidden=hidden_from_xnnpack(place),
            ),
            golden_finding(golden.passed, golden.sentence),
        ]


def kernels_finding(used: str, *, missing: bool, hidden: str = "") -> Finding:
    """Judge which kernels run.

    Args:
        used: in words.
        missing: XNNPACK was to be expected but runs nothing.
        hidden: what it could not read.
    """
    if missing:
        why = f", as {hidden} cannot be read" if hidden else ""
        text = f"{used}: XNNPACK, the default, runs no part of the model{why}"
        return Finding("kernels", "warning", text, f"{_VISIBLE}; expect it to be slow until then")
    return Finding("kernels", "ok", used)


def golden_finding(passed: bool | None, sentence: str) -> Finding:
    """Judge golden pairs; None for those that need not be equal on these kernels."""
    text = sentence.rstrip(".")
    if passed is None:
        remedy = "convert the model again, on a runtime whose arithmetic is proved"
        return Finding("golden pairs", "warning", text, remedy)
    if passed:
        return Finding("golden pairs", "ok", text)
    remedy = "do not measure with it here: compare `qlvit-edge --version` with the converting "
    return Finding("golden pairs", "fail", text, f"{remedy}machine's, and convert again")


def check_images(place: Place) -> list[Finding]:
    """Are cells found and named in the images that the package brings?"""
    from qlvit_edge.bundled import CROPS, FIELDS
    from qlvit_edge.camera.base import Frame
    from qlvit_edge.inference.classifier import Classifier
    from qlvit_edge.microscope.pipeline import Pipeline
    from qlvit_edge.preprocess import decode

    with Classifier(DEFAULT_MODEL, runtime=_usable()) as classifier:
        pipeline = Pipeline(classifier)
        fields = sorted(FIELDS.glob("*.jpg"))
        found = sum(
            len(pipeline.process(Frame(decode(path), number, 0.0, path.name)))
            for number, path in enumerate(fields)
        )
        crops = sorted(CROPS.glob("*/*.png"))
        right = sum(classifier.classify(path).label == path.parent.name for path in crops)
    return [images_finding(found, right, len(crops))]


def images_finding(found: int, right: int, crops: int) -> Finding:
    """Judge what came of the bundled images.

    Args:
        found: cells in the bundled fields.
        right: bundled crops that are called what they are.
        crops: how many there are.
    """
    text = f"{found} cells found in the bundled fields, {right} of {crops} bundled crops right"
    if found < LEAST_FIELD_CELLS or right < LEAST_CROPS_RIGHT:
        text += f", where at least {LEAST_FIELD_CELLS} and {LEAST_CROPS_RIGHT} must be"
        return Finding("self-test", "fail", text, "install the package again, then report it")
    return Finding("self-test", "ok", text)


def _usable() -> RuntimeName:
    """The default runtime where it loads, else its fallback."""
    from qlvit_edge.inference.native import load_runtime

    try:
        load_runtime("litert")
    except DeviceError:
        return "tflite-runtime"
    return "litert"
