"""A run on one page of paper: HTML that needs nothing else, runs nothing, and prints to one A4."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from qlvit_edge.differential.differential import ClassShare, Differential
from qlvit_edge.exchange.sheet_cells import ShownCell
from qlvit_edge.exchange.sheet_style import DENSITIES, STYLE
from qlvit_edge.exchange.standing import scale_in_words
from qlvit_edge.review.cells import FrameSummary
from qlvit_edge.review.rows import in_words
from qlvit_edge.review.store import ReviewedRun
from qlvit_edge.text import RESEARCH_ONLY, counted, plain

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_LONGEST_CLASS, _LONGEST = 60, 160
_LETTERS_OF_A_LINE = 28
_LINES = (13, 21)
"""Lines of the table up to which it is set wide, and close."""


@dataclass(frozen=True)
class Sheet:
    """What stands on it.

    Attributes:
        seen: the run.
        frames: what is stored of its frames.
        model: the model's differential, corrected where its mistakes are known.
        cells: to show.
        no_cells: why there are none.
    """

    seen: ReviewedRun
    frames: FrameSummary
    model: Differential
    cells: Sequence[ShownCell]
    no_cells: str | None


def render(sheet: Sheet) -> str:
    """Return the page."""
    run = sheet.seen.run
    title = f"{run.sample}, run {run.run}" if run.sample is not None else f"Run {run.run}"
    blocks = (_head, _facts, _differential, _beside, _frames, _gallery, _signing, _foot)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title, None)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f'<body class="{_density(sheet)}">\n'
        + "\n".join(block(sheet) for block in blocks)
        + "\n</body>\n</html>\n"
    )


def _text(value: object, longest: int | None = _LONGEST) -> str:
    """A text harmless in HTML, cut where it is longer than what there is room for."""
    text = plain(str(value))
    if longest is not None and len(text) > longest:
        text = f"{text[: longest - 1]}…"
    return escape(text)


def _density(sheet: Sheet) -> str:
    lines = sum(
        math.ceil(min(len(label), _LONGEST_CLASS) / _LETTERS_OF_A_LINE) for label in _labels(sheet)
    )
    return DENSITIES[sum(lines > limit for limit in _LINES)]


def _head(sheet: Sheet) -> str:
    run, status = sheet.seen.run, sheet.seen.status
    sample = run.sample or "sample not named"
    kind = ' class="long"' if len(sample) > 40 else ""
    word, mood = ("SIGNED", "") if status.is_signed else ("PRELIMINARY", " preliminary")
    if status.is_signed:
        at = (status.signed_at or "")[:19].replace("T", " ")
        said = f"by {_text(' and '.join(status.signed_by), None)}<small>{escape(at)} UTC</small>"
    else:
        said = escape(f"{status.state}, not signed")
    return (
        f"<header><h1{kind}><small>Differential of classified cells</small>{_text(sample, None)}"
        f"<small>{_text(_when(sheet))}</small></h1>"
        f'<div class="state{mood}"><b>{word}</b>{said}'
        f"<i>{escape(RESEARCH_ONLY)}</i></div></header>"
    )


def _when(sheet: Sheet) -> str:
    run = sheet.seen.run
    began = in_words(run.started)[:19].replace("T", " ")
    ended = "" if run.ended is None else f" to {in_words(run.ended)[11:19]}"
    return f"run {run.run}, {began}{ended} UTC, {run.outcome}"


def _facts(sheet: Sheet) -> str:
    run, frames = sheet.seen.run, sheet.frames
    short = {
        "Operator": run.operator or "not named",
        "Cells": f"{len(sheet.seen.cells)} found, {_doubtful(sheet)}",
        "Model": run.model,
        "Accepted": f"answers from {frames.accept_at:.1%} on",
        "Kernels": f"{run.kernels} ({run.runtime})",
        "Program": run.program,
    }
    wide = {
        "Camera": run.camera,
        "Scale": f"{scale_in_words(sheet.seen)}{_calibration(sheet)}",
        "Guard": run.statement or "the model has no guard: foreign cells and stains are not told",
    }
    items = [f"<dt>{name}</dt><dd>{_text(value)}</dd>" for name, value in short.items()]
    items.append(f'<dt>Model file</dt><dd class="wide"><code>{_text(run.model_sha256)}</code></dd>')
    items += [
        f'<dt>{name}</dt><dd class="wide">{_text(value, 220)}</dd>' for name, value in wide.items()
    ]
    return f"<dl>{''.join(items)}</dl>"


def _doubtful(sheet: Sheet) -> str:
    cells = sheet.seen.cells
    if all(cell.unique_cell is None for cell in cells):
        return "not matched across frames"
    whole = [cell for cell in cells if cell.unique_cell is not None and not cell.cut]
    doubtful = sum(bool(cell.doubtful) for cell in whole)
    others = {
        "seen only in part": sum(cell.unique_cell is not None and cell.cut for cell in cells),
        "in frames without a place": sum(cell.unique_cell is None for cell in cells),
    }
    parts = [f"each once: {len(whole)} unique, {doubtful} doubtful"]
    return "; ".join(parts + [f"{number} {said}" for said, number in others.items() if number])


def _calibration(sheet: Sheet) -> str:
    told = sheet.seen.run.calibration_facts
    name, digest = told.get("file") or told.get("name"), told.get("sha256")
    said = "" if name is None else f"; calibration {name}"
    return said if digest is None else f"{said}, SHA-256 {str(digest)[:16]}…"


def _labels(sheet: Sheet) -> list[str]:
    """Classes of the model's count, then those that only people gave."""
    people = [one.label for one in sheet.seen.differential().classes]
    model = [one.label for one in sheet.model.classes]
    return [*model, *(label for label in people if label not in model)]


def _differential(sheet: Sheet) -> str:
    people, model = sheet.seen.differential(), sheet.model
    corrected = model.not_corrected is None
    groups = [("confirmed or changed by people", 3), ("accepted answers of the model", 3)]
    groups += [("corrected for mistakes", 2)] if corrected else []
    over = "".join(f'<th class="over" colspan="{wide}">{name}</th>' for name, wide in groups)
    columns = ["cells", "share", "95 %", "cells", "share", "95 %"]
    columns += ["share", "95 %"] if corrected else []
    heads = "".join(f"<th>{name}</th>" for name in columns)
    by_people = {one.label: one for one in people.classes}
    by_model = {one.label: one for one in model.classes}
    rows = "".join(
        _row(label, by_people.get(label), by_model.get(label), corrected)
        for label in _labels(sheet)
    )
    rest = "<td></td>" * (5 if corrected else 3)
    return (
        '<h2>Differential</h2><div class="scroll"><table>'
        f'<thead><tr><th class="name"></th>{over}<th></th></tr>'
        f'<tr><th class="name">class</th>{heads}<th></th></tr></thead><tbody>{rows}</tbody>'
        f'<tfoot><tr><th class="name">counted</th><td class="first">{people.cells}</td>'
        f"<td></td><td></td><td class='first'>{model.cells}</td>{rest}</tr></tfoot></table></div>"
    )


def _row(label: str, people: ClassShare | None, model: ClassShare | None, corrected: bool) -> str:
    cells = [*_counted(people), *_counted(model)]
    if corrected:
        cells += ["", ""]
        if model is not None and model.corrected is not None:
            limits = model.corrected_limits or (0.0, 1.0)
            cells[-2:] = [f"{100 * model.corrected:.1f} %", _between(limits)]
    marked = "".join(
        f'<td class="first">{cell}</td>' if index % 3 == 0 else f"<td>{cell}</td>"
        for index, cell in enumerate(cells)
    )
    drawn = people if people is not None and people.share is not None else model
    name = f'<th class="name">{_text(label, _LONGEST_CLASS)}</th>'
    return f'<tr>{name}{marked}<td class="bar">{_bar(drawn)}</td></tr>'


def _counted(one: ClassShare | None) -> list[str]:
    if one is None or one.share is None:
        return ["0", "", ""]
    return [str(one.count), f"{100 * one.share:.1f} %", _between(one.limits)]


def _between(limits: tuple[float, float]) -> str:
    return f"{100 * limits[0]:.1f}–{100 * limits[1]:.1f}"


def _bar(one: ClassShare | None) -> str:
    """A share as a bar with its interval as a line; of people, or where there is none the model."""
    if one is None or one.share is None:
        return ""
    low, high = (f"{100 * limit:.2f}" for limit in one.limits)
    return (
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect width="100" height="10" fill="#eef1f4"/>'
        f'<rect width="{100 * one.share:.2f}" height="10" fill="#8fc1de"/>'
        f'<path d="M{low} 5H{high}" stroke="#000" stroke-width="1.6"/></svg>'
    )


def _beside(sheet: Sheet) -> str:
    model, people = sheet.model, sheet.seen.differential()
    cells = sheet.seen.cells
    theirs = {
        "excluded": sum(cell.decision is not None and cell.final is None for cell in cells),
        "not looked at": sum(cell.decision is None for cell in cells),
        **people.apart,
        **people.beside,
    }
    lines = [
        f"Beside the model's count: {_numbers({**model.beside, **model.apart})}.",
        f"Beside people's count: {_numbers(theirs)}.",
    ]
    if model.not_corrected is not None:
        lines.append(f"The model's count is not corrected: {model.not_corrected}.")
    else:
        known = counted(model.held_out_cells, "cell")
        lines.append(f"The model's mistakes are known from {known} that it was not trained on.")
    lines.append(
        "Intervals of counts are exact (Clopper and Pearson). Bars show people's count or, where "
        "there is none, the model's."
    )
    return "".join(f"<p>{_text(line, 400)}</p>" for line in lines)


def _numbers(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items() if number) or "none"


def _frames(sheet: Sheet) -> str:
    frames = sheet.frames
    said = f"{counted(frames.frames, 'frame')}, {frames.dropped} damaged and left out"
    unfit = sum(frames.unfit.values())
    said += f", {unfit} not fit to be judged"
    if unfit:
        reasons = sorted(frames.unfit.items(), key=lambda item: (-item[1], item[0]))
        said += f" ({', '.join(f'{reason}: {number}' for reason, number in reasons)})"
    return f"<p>{_text(said, 300)}.</p>"


def _gallery(sheet: Sheet) -> str:
    title = "<h2>Corrected by people, then least certain</h2>"
    if sheet.no_cells is not None:
        return f"{title}<p>No pictures: {_text(sheet.no_cells)}.</p>"
    return f'{title}<div class="cells">{"".join(map(_figure, sheet.cells))}</div>'


def _figure(shown: ShownCell) -> str:
    cell = shown.cell
    people = "not looked at"
    if cell.decision is not None:
        people = "excluded" if cell.final is None else cell.final
    return (
        f'<figure><img src="{shown.picture}" alt="cell {cell.id}"><b>{_text(people, 24)}</b>'
        f"cell {cell.id}: {_text(cell.label, 24)} {cell.probability:.0%}</figure>"
    )


def _signing(sheet: Sheet) -> str:
    names: Iterator[str] = iter(sheet.seen.status.signed_by)
    fields = "".join(
        f"<div>Signature{_by(next(names, None))}, date</div>"
        for _ in range(max(2, len(sheet.seen.status.signed_by)))
    )
    return f'<div class="sign">{fields}</div>'


def _by(name: str | None) -> str:
    return "" if name is None else f" of {_text(name, 60)}"


def _foot(sheet: Sheet) -> str:
    seen = sheet.seen
    said = "No record of a review."
    if seen.head is not None:
        said = f"Record {seen.status.records} of the review: <code>{_text(seen.head)}</code>"
    return f"<footer>{said}</footer>"
