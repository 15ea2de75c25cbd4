"""All that decides whether a model may be used on a device, each as one `Check`."""

from __future__ import annotations

from collections.abc import Sequence

from qlvit_edge.evaluation.agreement import Agreement, agreement_checks
from qlvit_edge.evaluation.validation_report import Measurement
from qlvit_edge.evaluation.verdict import Check, Gates
from qlvit_edge.inference.accelerator import FEATURE_STEPS, LOGIT_STEPS
from qlvit_edge.inference.golden import GoldenReport
from qlvit_edge.measuring.conditions import Conditions
from qlvit_edge.sensors import HOT, WARM
from qlvit_edge.text import counted

GOLDEN = "golden pairs"
GOLDEN_REFERENCE = "golden pairs on reference kernels"


def checks_of(
    found: Measurement,
    gates: Gates,
    agreement: Agreement | None,
    reductions: Sequence[str],
) -> tuple[Check, ...]:
    """Return everything that was or was not examined.

    Args:
        found: the measurement.
        gates: with their outcomes.
        agreement: with another machine; None where it was not compared.
        reductions: why the images prove less than a whole test side, in parts of a sentence.
    """
    return (
        _golden_check(found),
        *_reference_check(found),
        *agreement_checks(agreement),
        _accuracy(found, gates),
        *_images(found, reductions),
        _latency(found, gates),
        *condition_checks(found.conditions),
    )


def golden_check(name: str, golden: GoldenReport) -> Check:
    """Judge golden pairs on the kernels that ran."""
    if golden.failure is not None:
        return Check(name, "failed", golden.failure)
    if golden.passed:
        return Check(name, "passed", golden.sentence.rstrip("."))
    if golden.equal is None:
        return Check(name, "not examined", f"no golden pair decides: {golden.reason}")
    return Check(name, "not examined", f"no golden pair decides: {golden.sentence.rstrip('.')}")


def _golden_check(found: Measurement) -> Check:
    """Judge them as `golden_check` does; a delegate must be as near as `run` asks of it."""
    golden = found.golden
    features = golden.feature_steps or 0.0
    if found.kernels.delegate is None or golden.logit_steps is None:
        return golden_check(GOLDEN, golden)
    if golden.logit_steps <= LOGIT_STEPS and features <= FEATURE_STEPS:
        return golden_check(GOLDEN, golden)
    text = f"logits of golden pairs are off by up to {golden.logit_steps} steps on the delegate"
    text += f" and features by {features:.1f} on average, where {LOGIT_STEPS} and "
    return Check(GOLDEN, "failed", f"{text}{FEATURE_STEPS:g} may be rounding: `run` refuses it")


def _reference_check(found: Measurement) -> list[Check]:
    """Judge them on the reference kernels, where other ones ran."""
    if found.golden_reference is not None:
        return [golden_check(GOLDEN_REFERENCE, found.golden_reference)]
    if found.no_reference is None:
        return []
    return [Check(GOLDEN_REFERENCE, "not examined", found.no_reference)]


def _accuracy(found: Measurement, gates: Gates) -> Check:
    name, accuracy = "accuracy", found.quality.accuracy
    if gates.accuracy is None:
        return Check(name, "not examined", "no --min-accuracy to reach")
    gate = gates.accuracy
    if not gate.passed:
        text = f"accuracy {100 * accuracy:.2f} % is below the gate of {100 * gate.least:.2f} %"
        return Check(name, "failed", text)
    text = f"accuracy {100 * accuracy:.2f} % reaches the gate of {100 * gate.least:.2f} %"
    if gate.within_interval:
        return Check(name, "warning", f"{text}, which lies within its 95 % interval")
    return Check(name, "passed", text)


def _images(found: Measurement, reductions: Sequence[str]) -> list[Check]:
    name, checks = "images", [Check("images", "warning", text) for text in reductions]
    if damaged := len(found.data.damaged):
        text = f"{counted(damaged, 'image')} could not be read"
        checks.insert(0, Check(name, "failed", text))
    return checks or [Check(name, "passed", "the whole test side of the split of training")]


def _latency(found: Measurement, gates: Gates) -> Check:
    name, gate = "latency", gates.latency
    if gate is None:
        return Check(name, "not examined", "no --max-latency to keep")
    shown = "nothing was timed" if gate.found_ms is None else f"{gate.found_ms:.2f} ms"
    if gate.passed:
        text = f"latency {gate.at} ({shown}) is within the budget of {gate.most_ms:g} ms"
        return Check(name, "passed", text)
    text = f"latency {gate.at} ({shown}) is above the budget of {gate.most_ms:g} ms"
    if found.conditions.busy:
        text += " while other programs ran: measure again on an idle device"
    return Check(name, "failed", text)


def condition_checks(found: Conditions) -> list[Check]:
    """Judge the state that the device was in."""
    return [_heat(found), _throttling(found), _others(found)]


def _heat(found: Conditions) -> Check:
    name, heat = "temperature", found.temperature_c
    if heat is None:
        return Check(name, "not examined", "no sensor tells it")
    if heat >= HOT:
        return Check(name, "failed", f"{heat:.0f} °C, where processors slow down from {HOT:.0f} on")
    if heat >= WARM:
        return Check(name, "warning", f"{heat:.0f} °C is warm: a long run may be slowed down")
    return Check(name, "passed", f"{heat:.0f} °C at most")


def _throttling(found: Conditions) -> Check:
    name = "throttling"
    if found.held_back is None:
        return Check(name, "not examined", "neither firmware nor kernel tells")
    if "undervoltage" in found.held_back:
        return Check(name, "failed", "the power supply gives too little: the card can be damaged")
    if found.held_back:
        words = ", ".join(found.held_back)
        return Check(name, "warning", f"the processor was held back meanwhile ({words})")
    if found.held_back_earlier:
        words = ", ".join(found.held_back_earlier)
        return Check(name, "warning", f"the processor was held back since its start ({words})")
    return Check(name, "passed", "none meanwhile, none since the start")


def _others(found: Conditions) -> Check:
    name = "other programs"
    if found.others_cores is None:
        return Check(name, "not examined", "the system does not tell what they took")
    text = f"other programs took {found.others_cores:.2f} cores"
    if found.busy:
        named = f" ({', '.join(found.busiest)})" if found.busiest else ""
        return Check(name, "warning", f"{text}{named}: times are not those of an idle device")
    return Check(name, "passed", text)
