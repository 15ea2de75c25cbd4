"""The figures of a model's card in Markdown, from those of `card_figures.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from card_figures import Interval, Known, Unknown

from qlvit_edge.evaluation.answers import View
from qlvit_edge.modelfile.guard import Guard

BEGIN, END = "<!-- figures: by benchmarks/cards.py -->\n", "<!-- end of the figures -->\n"
Places = Mapping[str, Mapping[View, Known]]

Kind = Literal["blood", "hep2"]

_NOT_KNOWN: Mapping[Kind, tuple[str, ...]] = {
    "blood": (
        "**Your microscope**: nothing here was measured on it. A guard that was made on two "
        "microscopes can be blind on a third, and its thresholds are those of the two.",
        "**Cells of no class** (plasma cells, atypical lymphocytes, smudge cells, parasites, "
        "artefacts): some are noticed, some are not.",
        "**Patients**: sources are photographs and slides; how many patients they are of is not "
        "said by either data set.",
    ),
    "hep2": (
        "**Your microscope**: nothing here was measured on it; all images are of one laboratory.",
        "**Patterns of no class** (cytoplasmic and mixed patterns, dividing cells, artefacts): "
        "some are noticed, some are not. A serum often has two patterns; one answer names one.",
        "**Specimens**: sources are runs of consecutive file numbers within a class, which stand "
        "for specimens; how many these are of is not said by the data set.",
        "**Fields**: the cells were cut out by others. The finder of this package looks for "
        "stained white cells and finds none here.",
    ),
}

BLASTS = ("myeloblast", "monoblast", "promyelocyte-bilobed")


def percent(share: float) -> str:
    """Write a share as `91.9 %`."""
    return f"{100 * share:.1f} %"


def interval(figure: Interval | None) -> str:
    """Write a figure as `91.9 % (86.6–95.4)`."""
    if figure is None:
        return "–"
    value, low, high = figure
    return f"{percent(value)} ({100 * low:.1f}–{100 * high:.1f})"


def table(header: list[str], rows: list[list[str]]) -> Iterator[str]:
    """Write a table of Markdown, with an empty line after it."""
    yield f"| {' | '.join(header)} |\n"
    yield f"|{'---|' * len(header)}\n"
    yield from (f"| {' | '.join(row)} |\n" for row in rows)
    yield "\n"


def accuracy(places: Places) -> Iterator[str]:
    """Macro recall by place and view, whatever the verdict."""
    yield "Macro recall, whatever the verdict; 95 % intervals by bootstrap over sources:\n\n"
    rows = []
    header = ["images", "whole image"]
    if any(View.CROPS in views for views in places.values()):
        header.append("crop by the finder, as in `run`")
    for place, views in places.items():
        whole = views[View.WHOLE]
        size = f"{whole.images} images of {whole.sources} sources, {len(whole.recalls)} classes"
        row = [f"{place}: {size}", interval(whole.macro_recall)]
        if (crops := views.get(View.CROPS)) is not None:
            lost = f"; no cell found in {crops.without_cell}" if crops.without_cell else ""
            row.append(interval(crops.macro_recall) + lost)
        rows.append(row)
    yield from table(header, rows)


def verdicts(places: Places, view: View) -> Iterator[str]:
    """What is accepted, how much of that is right, and how far probabilities are off."""
    yield "What the verdict does, on whole images:\n\n"
    rows = [
        [
            place,
            percent(1 - known.accepted[0]),
            interval(known.accepted_right),
            interval(known.accepted_wrong),
            percent(known.calibration_error),
        ]
        for place, known in ((place, views[view]) for place, views in places.items())
    ]
    header = ["images", "not accepted", "right, of the accepted", "accepted and wrong, of all"]
    yield from table([*header, "calibration error"], rows)


def risk(places: Places, view: View) -> Iterator[str]:
    """Risk and coverage."""
    yield "Share of wrong answers among the most probable ones:\n\n"
    shares = list(next(iter(places.values()))[view].risk)
    rows = [
        [place, *(percent(views[view].risk[share]) for share in shares)]
        for place, views in places.items()
    ]
    yield from table(["most probable", *(f"{share:.0%}" for share in shares)], rows)


def classes(places: Places, view: View) -> Iterator[str]:
    """Recall by class."""
    yield "Recall by class, on whole images (right of all):\n\n"
    names = sorted({name for views in places.values() for name in views[view].recalls})
    rows = []
    for name in names:
        found = [views[view].recalls.get(name) for views in places.values()]
        rows.append([name, *("–" if f is None else f"{f[0]} of {f[1]}" for f in found)])
    yield from table(["class", *places], rows)


def strangers(unknown: Mapping[str, Unknown]) -> Iterator[str]:
    """What becomes of cells that it does not know."""
    yield "Cells and pictures that it does not know, shown whole:\n\n"
    rows = []
    for kind, found in unknown.items():
        named = ", ".join(f"{count} as {label}" for label, count in found.accepted_as.items())
        rows.append([kind, str(found.images), str(found.accepted), named or "–"])
    yield from table(["shown", "images", "accepted", "accepted as"], rows)


def degraded(found: Mapping[str, Known]) -> Iterator[str]:
    """What becomes of cells that are out of focus, too dark, off in colour."""
    if not found:
        return
    yield "Degraded copies of held-out cells, shown whole:\n\n"
    rows = [
        [
            way,
            percent(sum(right for right, _ in own.recalls.values()) / own.images),
            percent(1 - own.accepted[0]),
            percent(own.accepted_wrong[0]),
        ]
        for way, own in found.items()
    ]
    images = next(iter(found.values())).images
    header = [f"{images} cells", "right, whatever the verdict", "not accepted"]
    yield from table([*header, "accepted and wrong, of all"], rows)


def guard(found: Guard | None) -> Iterator[str]:
    """How the file's guard was found."""
    if found is None:
        yield "The file carries no guard: every answer of 0.8 and above is accepted.\n\n"
        return
    own = found.evidence
    shares = own.rejected_by_domain.items()
    parts = [f"{name or 'all'} {percent(share)}" for name, share in shares]
    domains = ", ".join(parts) or "no microscopes named"
    yield (
        f"The file carries a guard, found on {own.data}, that may reject {percent(own.rate)} of "
        f"known cells. Of those held out for it, it rejects {percent(own.rejected)} "
        f"({domains}). Calibration error {percent(own.calibration_error)} "
        f"before, {percent(own.calibration_error_after)} after fitting the temperature.\n\n"
    )


def not_known(unknown: Mapping[str, Unknown], kind: Kind) -> Iterator[str]:
    """The sentences that every card ends with."""
    shown = [unknown[name] for name in BLASTS if name in unknown]
    yield "### What is not known\n\n"
    if shown:
        taken, total = sum(u.accepted for u in shown), sum(u.images for u in shown)
        yield (
            f"- **Blasts** ({', '.join(BLASTS)}): {taken} of {total} were accepted as normal "
            "cells. No figure here bounds how many of a patient's blasts would be.\n"
        )
    yield from (f"- {sentence}\n" for sentence in _NOT_KNOWN[kind])


def figures(
    places: Places,
    unknown: Mapping[str, Unknown],
    copies: Mapping[str, Known],
    extra: str = "",
    kind: Kind = "blood",
) -> str:
    """Return the whole section; `extra` is Markdown to put before what is not known."""
    view = View.WHOLE
    parts = [accuracy(places), verdicts(places, view), risk(places, view), classes(places, view)]
    text = "".join(line for part in (*parts, degraded(copies), strangers(unknown)) for line in part)
    return text + extra + "".join(not_known(unknown, kind))


def inserted(card: str, section: str) -> str:
    """Return a card with its figures replaced.

    Raises:
        ValueError: the card lacks the two marks.
    """
    head, begin, rest = card.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the card lacks {BEGIN.strip()} or {END.strip()}")
    return f"{head}{begin}\n{section}\n{end}{tail}"
