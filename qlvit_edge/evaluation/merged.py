"""The validation reports of several devices compared: same bytes, accuracy, latency, verdicts.

Reports of other model files or other images are refused: what stands in one table was measured
alike. Devices of one arithmetic must give the same bytes; between arithmetics only answers can
be compared, and differ on a few images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from qlvit_edge.errors import DataError
from qlvit_edge.evaluation.agreement import compare
from qlvit_edge.evaluation.predictions import Predictions, read_predictions
from qlvit_edge.evaluation.stored_report import StoredReport
from qlvit_edge.evaluation.validation_text import percent
from qlvit_edge.evaluation.verdict import Check, State, Verdict, judge
from qlvit_edge.files import sha256
from qlvit_edge.text import RESEARCH_ONLY, counted

FORMAT = 1
_ARITHMETICS = {"xnnpack": "XNNPACK's arithmetic", "reference": "the reference arithmetic"}
_STATES: dict[str, State] = {
    "may be used": "passed",
    "may be used with reservations": "warning",
    "may not be used": "failed",
}


@dataclass(frozen=True)
class Device:
    """One device's report, and how its answers compare.

    Attributes:
        name: of the device; its number is added where several are called alike.
        report: what it said.
        same_bytes: whether all outputs are those of the first device of its arithmetic; None
            where no arithmetic is proved there, or it is itself the first.
        bytes_differ: images of which they are not; None where its predictions are not at hand.
        answers_differ: images with another answer or verdict than on the first of all devices;
            None likewise.
    """

    name: str
    report: StoredReport
    same_bytes: bool | None
    bytes_differ: int | None
    answers_differ: int | None


@dataclass(frozen=True)
class Merged:
    """Several devices.

    Attributes:
        verdict: whether the model may be used on all of them.
        checks: all that decides on that.
        devices: in the order in which they were named.
    """

    verdict: Verdict
    checks: tuple[Check, ...]
    devices: tuple[Device, ...]

    def as_dict(self) -> dict[str, object]:
        """Return the comparison for JSON."""
        first = self.devices[0].report
        return {
            "format": FORMAT,
            "verdict": asdict(self.verdict),
            "checks": [asdict(check) for check in self.checks],
            "model": {"name": first.model.name, "sha256": first.model.sha256},
            "data_sha256": first.predictions.data_sha256,
            "devices": [_device_dict(device) for device in self.devices],
        }


def _device_dict(device: Device) -> dict[str, object]:
    said = device.report.model_dump(exclude={"model", "format"})
    return {
        "name": device.name,
        "same_bytes": device.same_bytes,
        "bytes_differ": device.bytes_differ,
        "answers_differ": device.answers_differ,
        **said,
    }


def merge(reports: Sequence[tuple[Path, StoredReport]]) -> Merged:
    """Compare reports.

    Args:
        reports: from `stored_report.read_report`, with their files.

    Raises:
        DataError: fewer than two, one twice, or of other models, images or views.
    """
    _require_comparable(reports)
    given = [_predictions(path, report) for path, report in reports]
    names = _names([report for _, report in reports])
    devices = []
    for number, (path, report) in enumerate(reports):
        same, of_bytes = _same_bytes(number, reports, given)
        others = None
        if number and given[0] is not None and (own := given[number]) is not None:
            others = compare(given[0], own).answers_that_differ
        devices.append(Device(names[number], report, same, of_bytes, others))
        if others == 0 and report.accuracy != reports[0][1].accuracy:
            finding = f"counts other answers as right than {reports[0][0]}, whose answers are alike"
            raise DataError(path, finding, "say of folders which class they are, alike everywhere")
    checks = tuple(_checks(devices))
    first = reports[0][1]
    summary = f"{counted(len(devices), 'device')} on the same {counted(first.images, 'image')}"
    return Merged(judge(summary, checks), checks, tuple(devices))


def _require_comparable(reports: Sequence[tuple[Path, StoredReport]]) -> None:
    if len(reports) < 2:
        path = reports[0][0]
        raise DataError(path, "one report alone compares with nothing", "give two or more")
    first_path, first = reports[0]
    seen: dict[str, Path] = {}
    for path, report in reports:
        same = sha256(report.model_dump_json().encode("utf-8"))
        if same in seen:
            raise DataError(path, f"is the same report as {seen[same]}", "give each one once")
        seen[same] = path
        if report.model.sha256 != first.model.sha256:
            finding = f"is of another model file than {first_path} ({report.model.sha256[:12]}…, "
            finding += f"there {first.model.sha256[:12]}…)"
            raise DataError(path, finding, "compare reports of one model file")
        if report.predictions.data_sha256 != first.predictions.data_sha256:
            finding = f"is of other images than {first_path}, by name or content"
            raise DataError(path, finding, "validate on the same images everywhere")
        if report.input != first.input:
            finding = f"judges {report.input}, {first_path} {first.input}"
            raise DataError(path, finding, "give --find-cells everywhere or nowhere")
        if report.data.classes != first.data.classes:
            finding = f"counts its images to other classes than {first_path}"
            raise DataError(path, finding, "say of folders which class they are, alike everywhere")
        if report.acceptance != first.acceptance:
            finding = f"accepts answers from another probability on than {first_path}"
            raise DataError(path, finding, "give --accept-at everywhere or nowhere")


def _predictions(path: Path, report: StoredReport) -> Predictions | None:
    """Return what lies beside a report, if it is what the report was made from."""
    beside = path.with_name(report.predictions.file)
    if not beside.exists():
        return None
    found = read_predictions(beside)
    if found.outputs_sha256 != report.predictions.outputs_sha256:
        finding = f"is not what {path} was written with"
        raise DataError(beside, finding, "keep the files of one validation together")
    return found


def _names(reports: Sequence[StoredReport]) -> list[str]:
    names = [report.device for report in reports]
    return [
        name if names.count(name) == 1 else f"{name} {1 + names[:number].count(name)}"
        for number, name in enumerate(names)
    ]


def _same_bytes(
    number: int,
    reports: Sequence[tuple[Path, StoredReport]],
    given: Sequence[Predictions | None],
) -> tuple[bool | None, int | None]:
    """Compare a device with the first one of its arithmetic."""
    own = reports[number][1].predictions
    if own.arithmetic is None:
        return None, None
    first = next(
        index
        for index, (_, one) in enumerate(reports)
        if one.predictions.arithmetic == own.arithmetic
    )
    if first == number:
        return None, None
    theirs = reports[first][1].predictions.outputs_sha256
    views = own.outputs_sha256.keys() & theirs.keys()
    same = bool(views) and all(own.outputs_sha256[view] == theirs[view] for view in views)
    there, here = given[first], given[number]
    if there is None or here is None:
        return same, 0 if same else None
    found = compare(there, here)
    return same, max(found.outputs_that_differ, found.inputs_that_differ)


def _checks(devices: Sequence[Device]) -> Iterator[Check]:
    yield from map(_verdict_check, devices)
    for arithmetic in _ARITHMETICS:
        group = [one for one in devices if one.report.predictions.arithmetic == arithmetic]
        if group:
            yield _bytes_check(arithmetic, group)
    for device in devices:
        if device.report.predictions.arithmetic is None:
            text = f"{device.name} computes no proved arithmetic ({device.report.kernels.used})"
            yield Check("same bytes", "not examined", text)
    yield from _answers_checks(devices)
    yield from _asked_checks([device.report for device in devices])


def _verdict_check(device: Device) -> Check:
    report = device.report
    outcome, failed = report.verdict.outcome, report.checks_in("failed")
    text = f"{device.name}: {outcome}"
    if failed:
        return Check("verdict", "failed", f"{text} ({', '.join(failed)})")
    words = [", ".join(report.checks_in("warning"))]
    if missed := report.checks_in("not examined"):
        words.append(f"not examined: {', '.join(missed)}")
    reasons = "; ".join(filter(None, words))
    return Check("verdict", _STATES[outcome], f"{text} ({reasons})" if reasons else text)


def _bytes_check(arithmetic: str, group: Sequence[Device]) -> Check:
    name, words = "same bytes", _ARITHMETICS[arithmetic]
    if len(group) == 1:
        text = f"{group[0].name} alone computes {words}"
        return Check(name, "not examined", text)
    other = [device for device in group if device.same_bytes is False]
    if other:
        said = ", ".join(f"{one.name} ({_number_of(one.bytes_differ)})" for one in other)
        text = f"{said}: not the bytes of {group[0].name}, as {words} must give"
        return Check(name, "failed", text)
    names = ", ".join(device.name for device in group)
    return Check(name, "passed", f"{names}: the same bytes, {words}")


def _answers_checks(devices: Sequence[Device]) -> Iterator[Check]:
    name, first = "same answers", devices[0].name
    unknown = [device.name for device in devices[1:] if device.answers_differ is None]
    other = [device for device in devices[1:] if device.answers_differ]
    for device in other:
        text = f"{_number_of(device.answers_differ)} answered otherwise on {device.name} than on "
        yield Check(name, "warning", f"{text}{first}")
    if unknown:
        text = f"predictions.json not beside the reports of {first} and {', '.join(unknown)}"
        yield Check(name, "not examined", text)
    elif not other:
        yield Check(name, "passed", f"every image is answered alike on all {len(devices)} devices")


def _asked_checks(reports: Sequence[StoredReport]) -> Iterator[Check]:
    """Warn where devices passed by what is not alike."""
    least = {100 * one.gate.least for one in reports if one.gate is not None}
    most = {one.latency_gate.most_ms for one in reports if one.latency_gate is not None}
    for asked, what, unit in (
        (least, "--min-accuracy", "%"),
        (most, "--max-latency", "ms"),
    ):
        if len(asked) > 1:
            values = ", ".join(f"{value:g}" for value in sorted(asked))
            yield Check("what was asked", "warning", f"{what} was not alike ({values} {unit})")


def _number_of(count: int | None) -> str:
    return "how many images is not known" if count is None else counted(count, "image")


def bytes_words(device: Device) -> str:
    """Say whether a device gives the bytes that it must."""
    if device.report.predictions.arithmetic is None:
        return "not claimed"
    if device.same_bytes is None:
        return "the first"
    return "same" if device.same_bytes else f"other: {_number_of(device.bytes_differ)}"


def lines(found: Merged) -> list[str]:
    """Return the comparison for a terminal; the verdict comes first."""
    said = [f"{found.verdict.outcome.upper()}: {found.verdict.sentence}"]
    said += [f"{check.state:<12} {check.name}: {check.text}" for check in found.checks]
    for device in found.devices:
        report = device.report
        low, high = (percent(end, 1) for end in report.accuracy_interval_95)
        said.append(
            f"{device.name}: accuracy {percent(report.accuracy)} (95 % between {low} and {high}), "
            f"bytes {bytes_words(device)}, latency {report.latency_words}, {report.heat_words}; "
            f"{report.kernels.used} of {report.kernels.runtime}"
        )
    return [*said, RESEARCH_ONLY]
