"""The report of a run as one HTML page."""

from __future__ import annotations

from qlvit_edge.evaluation import figures, quality_page, report
from qlvit_edge.evaluation.curves import LOSS, SHARES, curves
from qlvit_edge.evaluation.run_report import VIEWS, Example, RunReport, ViewReport, mistakes
from qlvit_edge.evaluation.validation_text import percent
from qlvit_edge.text import RESEARCH_ONLY, counted

MISTAKES_SHOWN = 12
RIGHT_SHOWN = 12

_HOW = (
    "Beside each image lies a map of the class that was answered: yellow, inside the line, is "
    "what speaks most for it in this image. A map says where the network looked, not whether it "
    "was right; its positions are large, and each sees beyond its edge."
)


def render(found: RunReport) -> str:
    """Return the page for a run."""
    shown = found.views[0]
    images = counted(len(found.images), "image")
    return report.page(
        f"Run {found.name}",
        f"The float network on {images}, shown as {VIEWS[shown.view]} and as "
        f"{' and '.join(VIEWS[view.view] for view in found.views[1:]) or 'nothing else'}",
        [
            report.notice(RESEARCH_ONLY),
            *map(report.notice, found.notes),
            _tiles(found),
            report.section("Training", report.pairs(found.facts), _curves(found)),
            *(_view(found, view) for view in found.views),
            _mistakes(found),
            _right(found),
            report.footer(
                "What a converted file does on a device is measured by `qlvit-edge validate`."
            ),
        ],
    )


def _tiles(found: RunReport) -> str:
    view = found.views[0]
    quality, macro = view.quality, view.quality.macro
    micro = _interval(quality.accuracy_interval_95)
    by_class = _interval(macro.recall_interval_95)
    entries = [
        (percent(quality.accuracy), f"accuracy (micro), {micro}", ""),
        (percent(macro.recall), f"macro accuracy (mean recall), {by_class}", ""),
        (percent(macro.f1), "macro F1", ""),
        (quality_page.area(macro.auc), "macro AUC, one class against the rest", ""),
        (percent(view.calibration_error, 1), "calibration error", ""),
    ]
    return report.tiles(entries)


def _interval(interval: tuple[float, float]) -> str:
    low, high = interval
    text = f"95 % interval {100 * low:.1f} to {100 * high:.1f} %"
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _curves(found: RunReport) -> str:
    if not found.history:
        return report.paragraph("The history of the training is not in the run folder.")
    best = found.best_epoch
    return report.drawings(
        [
            curves(found.history, LOSS, "Loss", percent=False, best=best),
            curves(found.history, SHARES, "Accuracy", percent=True, best=best),
        ]
    )


def _view(found: RunReport, view: ViewReport) -> str:
    drawn = [
        *quality_page.drawings(view.quality, found.truth, view.probabilities),
        figures.reliability(view.reliability, view.calibration_error),
    ]
    return report.section(
        f"Accuracy by class: {VIEWS[view.view]}",
        *quality_page.scores(view.quality, len(found.images)),
        report.drawings(drawn),
        report.paragraph(_temperature(found, view)),
    )


def _temperature(found: RunReport, view: ViewReport) -> str:
    if not found.temperature.fitted:
        return f"Probabilities are a plain softmax: {found.temperature.origin}."
    after, before = (percent(error, 1) for error in (view.calibration_error, view.error_before))
    return (
        f"Logits are divided by a temperature of {found.temperature.value:.3f}, fitted on "
        f"{found.temperature.origin}: the calibration error is {after} with it, {before} without."
    )


def _mistakes(found: RunReport) -> str:
    view = found.views[0]
    wrong = mistakes(found.truth, view.probabilities)
    if not wrong:
        return report.section("Mistakes", report.paragraph("None: every image was right."))
    shown = [example for example in found.examples if example.number in wrong]
    first = f"; the {len(shown)} most confident first" if len(shown) > 1 else ""
    text = f"{len(wrong)} of {len(found.images)} images ({VIEWS[view.view]}){first}."
    return report.section(
        "Mistakes",
        report.paragraph(text),
        report.paragraph(_HOW),
        report.strips([_strip(found, example) for example in shown]),
    )


def _right(found: RunReport) -> str:
    view = found.views[0]
    wrong = mistakes(found.truth, view.probabilities)
    shown = [example for example in found.examples if example.number not in wrong]
    if not shown:
        return ""
    return report.section(
        "Right answers",
        report.paragraph("Of each class the one whose confidence is in the middle."),
        report.strips([_strip(found, example) for example in shown]),
    )


def _strip(found: RunReport, example: Example) -> tuple[tuple[tuple[bytes, str], ...], str, str]:
    """Return pictures, answer and truth of one image."""
    image, chances = found.images[example.number], found.views[0].probabilities[example.number]
    best = int(chances.argmax())
    line = f"{found.classes[best]} {percent(float(chances[best]), 1)}"
    small = image.relative
    if best != image.label:
        true = percent(float(chances[image.label]), 1)
        small = f"is {found.classes[image.label]} ({true}); {small}"
    return example.pictures, line, small
