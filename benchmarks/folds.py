"""How right a network is on sources that it does not know: every source is tested once.

    python benchmarks/folds.py --data DIR/wbc-kaggle --groups source_map.csv --out DIR
    python benchmarks/folds.py --data DIR/hep2 --groups blocks.csv --out DIR
    python benchmarks/folds.py --root DIR --scored-domain wbc-kaggle --out DIR
        [--folds 5] [--seeds 0] [--member nano] [--minutes 10] [--images N] [--side PIXELS]

The sources (photographs, specimens) are divided into folds, drawn with the seed; for each fold a
network is trained from random weights on the others, as `peers.py` trains, and asked about whole
images of the fold. With ``--root`` the images are those of ``sets/blood.toml``: the folds are those
of ``--scored-domain``, and the other microscopes are on the training side of all of them.

The figure is the macro average recall over all images, each answered by the network that knew no
copy of it, with a 95 % interval over sources (whole ones drawn again, 1000 times); several seeds
give mean and standard deviation. A finished fold stays in ``--out`` and is not repeated;
``folds.json`` and ``folds.md`` are written after each.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contest import partition
from contest.arguments import add_arguments, budget_of, seeds_of
from contest.members import ours
from contest.runs import Runs
from contest.scores import judge
from contest.tasks import TRAINED, Questions, fewer, of_microscope
from unseen import microscopes

from qlvit_edge.data.folder import scan
from qlvit_edge.data.labelled import LabelledImage
from qlvit_edge.data.source_map import read_source_map
from qlvit_edge.errors import DataError, QLViTEdgeError
from qlvit_edge.files import write_json, write_text
from qlvit_edge.model.configs import SIZES


def images_of(
    options: argparse.Namespace,
) -> tuple[Sequence[str], list[LabelledImage], list[LabelledImage]]:
    """Return the classes, the images that are divided, and those that all folds train on.

    Raises:
        DataError: a folder, table or microscope cannot be used.
    """
    if options.root is not None:
        classes, (trained,) = microscopes.read((TRAINED,), options.root)
        by_name = {one.name: list(one.images) for one in trained}
        if options.scored_domain not in by_name:
            raise DataError(options.scored_domain, "is none of the microscopes", ", ".join(by_name))
        divided = by_name.pop(options.scored_domain)
        return classes, divided, [image for images in by_name.values() for image in images]
    folder = scan(options.data)
    sources = read_source_map(options.groups).sources
    known = [
        replace(image, source=sources[image.relative])
        for image in folder.images
        if image.relative in sources
    ]
    if not known:
        raise DataError(options.groups, f"names no image of {options.data}", "check the two")
    return folder.classes, known, []


def together(runs: Sequence[dict[str, Any]], divided: Sequence[LabelledImage]) -> dict[str, Any]:
    """Return the figures of all folds of a seed as one: each image was answered once."""
    answered = {
        name: answer
        for run in runs
        for answers in run["answers"].values()
        for name, answer in answers.items()
    }
    asked = [image for image in divided if image.relative in answered]
    questions = Questions(
        [image.relative for image in asked],
        np.zeros((len(asked), 0, 0, 3), np.uint8),
        np.array([image.label for image in asked]),
        [image.source for image in asked],
    )
    found = judge(np.array([answered[name] for name in questions.names]), questions)
    return {**found, "folds": [next(iter(run["scores"].values()))["macro"] for run in runs]}


def text_of(title: str, seeds: dict[int, dict[str, Any]]) -> str:
    """Return the Markdown of what is known."""
    lines = [title, "", "| seed | images | sources | micro, % | macro, % | each fold |"]
    lines.append("|---:|---:|---:|---:|---:|---|")
    for seed, found in seeds.items():
        low, high = found["interval"]
        lines.append(
            f"| {seed} | {found['images']} | {found['sources']} | {100 * found['micro']:.2f} "
            f"| {100 * found['macro']:.2f} ({100 * low:.2f} to {100 * high:.2f}) "
            f"| {', '.join(f'{100 * one:.1f}' for one in found['folds'])} |"
        )
    macros = [100 * found["macro"] for found in seeds.values()]
    if len(macros) > 1:
        lines += ["", f"macro: {np.mean(macros):.2f} ± {np.std(macros, ddof=1):.2f}"]
    return "\n".join(lines) + "\n"


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of class folders, with --groups")
    parser.add_argument("--groups", type=Path, help="CSV: class,file,source,confident")
    parser.add_argument("--root", type=Path, help="folder of the microscopes' folders")
    parser.add_argument("--scored-domain", default="wbc-kaggle", help="divided, with --root")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--member", default="nano", help="size and changes, as of peers.py")
    add_arguments(parser, seeds="0", images=0, minutes=10, side=None, most=0, scored=0)
    options = parser.parse_args()
    if (options.data is None) == (options.root is None) or bool(options.data) != bool(
        options.groups
    ):
        parser.error("give --data with --groups, or --root")
    if options.folds < 2:
        parser.error("--folds: 2 or more")
    return options


def main() -> None:
    """Divide, train, score, write."""
    options = arguments()
    torch.set_num_threads(1)
    try:
        print(compare(options))
    except QLViTEdgeError as error:
        print(f"folds: {error}", file=sys.stderr)
        sys.exit(2)


def compare(options: argparse.Namespace) -> str:
    """Train and ask every fold of every seed; returns the table.

    Raises:
        QLViTEdgeError: the images or the network cannot be used.
    """
    classes, divided, always = images_of(options)
    size = options.member.split()[0]
    side = options.side or (SIZES[size].input_size[0] if size in SIZES else 96)
    member = ours(options.member, side, len(classes))
    budget = budget_of(options)
    runs = Runs(options.out, budget, options.device)
    seeds: dict[int, dict[str, Any]] = {}
    text = ""
    for seed in seeds_of(options):
        parts = partition.folds(divided, options.folds, seed)
        done = []
        for number, part in enumerate(parts):
            rest = [image for other in parts if other is not part for image in other]
            training = fewer([*rest, *always], options.most)
            asked = fewer(part, options.scored)
            task = of_microscope(f"fold {number}", classes, training, asked, side)
            done.append(runs.result(member, task, seed))
            seeds[seed] = together(done, divided)
            title = (
                f"{member.name}, {side} px, {options.folds} folds over sources; budget of each "
                f"training: {budget.words}."
            )
            text = text_of(title, seeds)
            write_text(options.out / "folds.md", text)
            write_json(options.out / "folds.json", {"title": title, "seeds": seeds})
    return text


if __name__ == "__main__":
    main()
