"""Whether this device answers as another machine did, image by image.

Where the same proved arithmetic ran on both, everything must be the same to the byte: nearly
equal is unequal. Elsewhere nothing is claimed of the bytes, and the answers must be the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from qlvit_edge.evaluation.predictions import PredictedImage, Predictions, Shown
from qlvit_edge.evaluation.verdict import Check
from qlvit_edge.text import counted

MOST_NAMED = 20


@dataclass(frozen=True)
class Difference:
    """An image that is answered otherwise in some view.

    Attributes:
        image: its name here.
        view: in which it is.
        recorded: the other machine's answer and verdict; None where it found no cell.
        here: this one's.
        steps: by how much the farthest logit differs; None where one found no cell.
    """

    image: str
    view: str
    recorded: str | None
    here: str | None
    steps: float | None


@dataclass(frozen=True)
class Agreement:
    """How two machines' answers compare.

    Attributes:
        device: name of the other machine.
        machine: what it is, in words.
        runtime: what executed the model there, in words.
        date: of its predictions.
        exact: whether all must be the same to the byte.
        arithmetic: the one that both computed; None where they are not the same or none is
            proved.
        compared: images that both were shown in the judged view, whatever their names.
        missing: images of the other machine that are not here.
        added: images here that the other machine was not shown.
        views: in which they were compared.
        inputs_that_differ: compared images of which the networks were not fed the same pixels.
        outputs_that_differ: compared images whose logits or features are not the same bytes.
        answers_that_differ: compared images whose answer or verdict is another.
        largest_difference: of a logit, in steps of its output.
        differences: the first images of those that differ where they must not, those with
            another answer before the others.
    """

    device: str
    machine: str
    runtime: str
    date: str
    exact: bool
    arithmetic: str | None
    compared: int
    missing: int
    added: int
    views: tuple[str, ...]
    inputs_that_differ: int
    outputs_that_differ: int
    answers_that_differ: int
    largest_difference: float
    differences: tuple[Difference, ...]


def compare(recorded: Predictions, own: Predictions) -> Agreement:
    """Compare this machine's predictions with recorded ones of the same model.

    Args:
        recorded: of the other machine.
        own: of this one.
    """
    same = own.arithmetic if own.arithmetic == recorded.arithmetic else None
    there, here = recorded.by_file, own.by_file
    both = [
        file
        for file, image in here.items()
        if file in there and own.judged in image.views and own.judged in there[file].views
    ]
    inputs: set[str] = set()
    outputs: set[str] = set()
    answers: set[str] = set()
    differences, largest, views = [], 0.0, dict.fromkeys([own.judged])
    for file in both:
        for view, shown, before in _pairs(here[file], there[file]):
            views[view] = None
            steps, words = _steps(before, shown), (_words(before), _words(shown))
            largest = max(largest, steps or 0.0)
            fed = _input(before) != _input(shown)
            given = _bytes(before) != _bytes(shown)
            said = words[0] != words[1]
            inputs |= {file} if fed else set()
            outputs |= {file} if given else set()
            answers |= {file} if said else set()
            if fed or said or (given and same is not None):
                differences.append(Difference(here[file].image, view, *words, steps))
    return Agreement(
        device=recorded.device,
        machine=recorded.machine,
        runtime=recorded.runtime,
        date=recorded.date,
        exact=same is not None,
        arithmetic=same,
        compared=len(both),
        missing=len(there.keys() - here.keys()),
        added=len(here.keys() - there.keys()),
        views=tuple(views),
        inputs_that_differ=len(inputs),
        outputs_that_differ=len(outputs),
        answers_that_differ=len(answers),
        largest_difference=largest,
        differences=tuple(sorted(differences, key=_otherwise_answered)[:MOST_NAMED]),
    )


def _pairs(
    here: PredictedImage, there: PredictedImage
) -> list[tuple[str, Shown | None, Shown | None]]:
    """Return the views that both machines have of an image."""
    return [
        (view, shown, there.views[view])
        for view, shown in here.views.items()
        if view in there.views
    ]


def _steps(before: Shown | None, shown: Shown | None) -> float | None:
    if before is None or shown is None or len(before.logits) != len(shown.logits):
        return None
    return float(max(abs(a - b) for a, b in zip(before.logits, shown.logits, strict=True)))


def _input(shown: Shown | None) -> str | None:
    return None if shown is None else shown.input


def _bytes(shown: Shown | None) -> object:
    return None if shown is None else shown.same_bytes


def _words(shown: Shown | None) -> str | None:
    return None if shown is None else f"{shown.answer}, {shown.verdict}"


def _otherwise_answered(difference: Difference) -> bool:
    """Sorts images with another answer to the front."""
    return difference.recorded == difference.here


def agreement_checks(found: Agreement | None) -> list[Check]:
    """Return what agreement with another machine says about this one."""
    name = "agreement"
    if found is None:
        return [Check(name, "not examined", "no --compare with another machine's predictions")]
    if not found.compared:
        text = f"{found.device} was not shown the images as they are judged here"
        return [Check(name, "not examined", text)]
    checks = [_answers(found)]
    if found.inputs_that_differ:
        text = f"{_share(found.inputs_that_differ, found)} not decoded, cropped or scaled as on "
        checks.append(Check("images as fed", "failed", f"{text}{found.device}"))
    if found.missing:
        text = f"{counted(found.missing, 'image')} of {found.device} not shown here"
        checks.append(Check(name, "warning", text))
    if found.added:
        text = f"{counted(found.added, 'image')} here not shown on {found.device}"
        checks.append(Check(name, "warning", text))
    return checks


def _answers(found: Agreement) -> Check:
    name, steps = "agreement", f"{found.largest_difference:g} LSB"
    if found.answers_that_differ:
        text = f"{_share(found.answers_that_differ, found)} answered otherwise than on "
        text += f"{found.device} ({_example(found)})"
        kernels = "" if found.exact else f"; there ran {found.runtime}: not one proved arithmetic"
        return Check(name, "failed", text + kernels)
    if not found.outputs_that_differ and found.exact:
        text = f"the same bytes as on {found.device} for {_all(found)}"
        return Check(name, "passed", text)
    if found.exact:
        text = f"{_share(found.outputs_that_differ, found)} not the same bytes as on "
        text += f"{found.device} (logits up to {steps} apart), as one proved arithmetic "
        return Check(name, "failed", f"{text}must give")
    bytes_too = (
        f"{_share(found.outputs_that_differ, found)} other bytes, logits up to {steps} apart"
    )
    if not found.outputs_that_differ:
        bytes_too = "the same bytes too"
    text = f"the same answers as on {found.device} for {_all(found)}, {bytes_too}; the bytes need "
    return Check(name, "warning", f"{text}not be the same: not one proved arithmetic on both")


def _all(found: Agreement) -> str:
    return "the one image" if found.compared == 1 else f"all {found.compared:,} images"


def _share(count: int, found: Agreement) -> str:
    return f"{count:,} of {counted(found.compared, 'image')}"


def _example(found: Agreement) -> str:
    first = found.differences[0]
    return (
        f"{first.image}: {first.here or 'no cell found'}, there {first.recorded or 'no cell found'}"
    )
