"""The comparison of several devices as one HTML page."""

from __future__ import annotations

from qlvit_edge.evaluation import report
from qlvit_edge.evaluation.merged import Device, Merged, bytes_words
from qlvit_edge.evaluation.validation_page import MOODS, checks_section
from qlvit_edge.evaluation.validation_text import percent
from qlvit_edge.evaluation.verdict import Outcome
from qlvit_edge.text import RESEARCH_ONLY, counted

_SHORT: dict[Outcome, str] = {
    "may be used": "yes",
    "may be used with reservations": "reserved",
    "may not be used": "no",
}


def render(found: Merged) -> str:
    """Return the page for a comparison."""
    first = found.devices[0].report
    name = first.model.name or "The model"
    verdict = found.verdict
    return report.page(
        f"{name} on {counted(len(found.devices), 'device')}",
        f"{counted(first.images, 'image')} ({first.input}), the same model file and images on each",
        [
            report.verdict(verdict.outcome, verdict.sentence, MOODS[verdict.outcome]),
            checks_section(found.checks),
            report.notice(RESEARCH_ONLY),
            _answers(found),
            _speed(found),
            *map(_about, found.devices),
            report.footer(f"SHA-256 of the model file {first.model.sha256}"),
        ],
    )


def _answers(found: Merged) -> str:
    rows = []
    for device in found.devices:
        own = device.report
        low, high = own.accuracy_interval_95
        rows.append(
            [
                device.name,
                _SHORT[own.verdict.outcome],
                percent(own.accuracy),
                f"{percent(low, 1)} to {percent(high, 1)}",
                percent(own.guarding.accepted_and_wrong, 1),
                percent(own.abstained, 1),
                bytes_words(device),
                "–" if device.answers_differ is None else str(device.answers_differ),
            ]
        )
    header = ["device", "may be used", "accuracy", "95 % interval", "accepted, wrong", "abstained"]
    header += ["bytes", "other answers"]
    text = (
        "Bytes: logits and features of every image against the first device of the same "
        f"arithmetic. Other answers: images with another class or verdict than on "
        f"{found.devices[0].name}."
    )
    return report.section("Answers", report.table(header, rows), report.paragraph(text))


def _speed(found: Merged) -> str:
    rows = []
    for device in found.devices:
        own, state = device.report, device.report.conditions
        latency = own.latency_ms or {}
        times = [f"{latency[at]:.2f}" if at in latency else "–" for at in ("p50", "p90", "p99")]
        heat = "not told" if state.temperature_c is None else f"{state.temperature_c:.0f} °C"
        held = "not told" if state.held_back is None else ", ".join(state.held_back) or "no"
        others = "not told" if state.others_cores is None else f"{state.others_cores:.2f} cores"
        rows.append([device.name, *times, heat, held, f"{others}{', busy' if state.busy else ''}"])
    header = ["device", "p50 ms", "p90 ms", "p99 ms", "temperature", "held back", "other programs"]
    return report.section("Latency and state", report.table(header, rows))


def _about(device: Device) -> str:
    own = device.report
    packages = ", ".join(f"{name} {version}" for name, version in own.machine.packages.items())
    entries = [
        ("processor", f"{own.machine.processor}, {counted(own.machine.cores, 'core')}"),
        ("system", own.machine.system),
        ("kernels", f"{own.kernels.used} of {own.kernels.runtime}"),
        ("arithmetic", own.kernels.arithmetic),
        ("packages", packages),
        ("measured", own.date.replace("T", " ")),
    ]
    return report.section(device.name, report.pairs(entries))
