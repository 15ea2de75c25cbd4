"""How right a network is on a microscope that it was not trained on: leave one out.

    python benchmarks/unseen_microscope.py --data DIR --out build/unseen --seeds 0,1,2
    python benchmarks/unseen_microscope.py --data DIR --out build/unseen --steps 400 \
        --ablate standard --ablate stain --ablate style --ablate grey=0.2

DIR holds the folders that two files name, as `qlvit-edge data merge` reads them: those of
`sets/blood.toml` (``wbc-kaggle``, ``pbc``), of which one microscope after the other is left out,
and those of `sets/aml.toml` (``aml``), which are never trained on. For each microscope that is left
out it trains on the others, as `qlvit-edge train` does, and scores all; ``--leave-out none`` leaves
none out. Figures are
macro recall over the classes that training and the scored microscope share (the network may
answer with any class that it has), on whole images and on the finder's crops, with the network's
own BatchNorm statistics and with those re-estimated on the scored cells without their labels; risk
over coverage; and, at the default threshold, the share accepted, accepted and wrong, and of unknown
cells (blasts, smudges, classes that training had not) accepted. Several seeds give median and
range.

``--ablate`` trains once more with one thing changed: the name of a part of the augmentation leaves
it out, NAME=SHARE applies it to that share of the views, ``standard`` is the augmentation for one
microscope, ``unbalanced`` draws every image equally often.

Every training is a run folder below ``--out`` and is not repeated; ``results.json``, ``results.md``
and ``risk_coverage.png`` are written after each.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import torch
from unseen import microscopes, tables, trial

from qlvit_edge.bundled import resolve_run
from qlvit_edge.choices import AUGMENT_PARTS
from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.files import write_json, write_text
from qlvit_edge.text import counted
from qlvit_edge.training.checkpoint import load_checkpoint

SETS = tuple(Path(__file__).parent / "sets" / name for name in ("blood.toml", "aml.toml"))


def changed(name: str) -> dict[str, Any]:
    """Return the settings that an argument of ``--ablate`` changes."""
    if name == tables.RECIPE:
        return {}
    if name == "standard":
        return {"augment": "standard"}
    if name == "unbalanced":
        return {"balance": "none"}
    part, _, share = name.partition("=")
    if part not in AUGMENT_PARTS:
        known = ", ".join(("standard", "unbalanced", *AUGMENT_PARTS))
        raise argparse.ArgumentTypeError(f"{part!r} is none of {known}")
    try:
        return {"augment_shares": {part: float(share or 0)}}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{name!r} is not NAME=SHARE") from None


def _change(name: str) -> str:
    changed(name)
    return name


class Comparison:
    """Trains and scores; keeps what it has found in ``results.json``."""

    def __init__(
        self, data: Path, sets: Sequence[Path], out: Path, effort: trial.Effort, scored: int
    ) -> None:
        """Read the microscopes and what an earlier call has found.

        Args:
            data: folder of the microscopes' folders.
            sets: TOML files of those that are trained on, and of those that are scored only.
            out: folder for runs and results.
            effort: of each training.
            scored: images of each class of a microscope that are scored at most; 0: all.
        """
        self.out, self.effort, self.scored = out, effort, scored
        self.classes, (trained, scored_only) = microscopes.read(sets, data)
        self.microscopes = {one.name: one for one in (*trained, *scored_only)}
        self.sides = {one.name: microscopes.sides(one) for one in trained}
        self.cells: dict[tuple[str, bool], trial.Cells] = {}
        self.rows: list[tables.Row] = []
        self.effort_shown = {
            "size": trial.network_config(effort, 2).size,
            **{name: getattr(effort, name) for name in ("steps", "batch", "rate", "most")},
            "start": None if effort.start is None else effort.start.sha256,
            "scored": scored,
        }
        if (out / "results.json").exists():
            found = json.loads((out / "results.json").read_text(encoding="utf-8"))
            if found["effort"] != self.effort_shown:
                raise SystemExit(f"{out} holds results of another effort: choose another --out")
            self.rows = found["rows"]

    def run(self, left_out: str, change: str, seed: int) -> None:
        """Train without a microscope, with one change, and score."""
        key = {"left_out": left_out, "change": change, "seed": seed}
        if tables.select(self.rows, **key):
            return
        print(f"without {left_out}, {change}, seed {seed}", flush=True)
        trained = [name for name in self.sides if name != left_out]
        settings = {"seed": seed, "augment": "microscopes", "balance": "domains"}
        checkpoint = trial.train(
            self.classes,
            [image for name in trained for image in self.sides[name][0]],
            [image for name in trained for image in self.sides[name][1]],
            {**settings, **changed(change)},
            self.effort,
            self.out / "runs" / f"without {left_out}, {change}, seed {seed}",
        )
        for name in self.microscopes:
            for found in trial.score(checkpoint, self._cells(name, name in trained), self.classes):
                self.rows.append(
                    {**key, "microscope": name, "unseen": name not in trained, **found}
                )
                if found["view"] == "cell crop":
                    recall = f"{found['macro_recall']:.1%}"
                    print(f"  {name}, {found['statistics']} statistics: {recall}", flush=True)
        self.write()

    def _cells(self, name: str, held_out: bool) -> trial.Cells:
        """Return the cells of a microscope that are scored: all, or of held-out sources."""
        if (name, held_out) not in self.cells:
            images: Sequence[LabelledImage] = self.microscopes[name].images
            chosen = microscopes.fewer(self.sides[name][1] if held_out else images, self.scored)
            size = trial.network_config(self.effort, 2).input_size
            self.cells[name, held_out] = trial.prepare(chosen, size)
        return self.cells[name, held_out]

    def write(self) -> None:
        """Write the results, their tables and the figure."""
        write_json(self.out / "results.json", {"effort": self.effort_shown, "rows": self.rows})
        write_text(self.out / "results.md", "\n".join(self.lines()) + "\n")
        tables.draw(self.rows, self.out / "risk_coverage.png")

    def lines(self) -> Iterator[str]:
        """Yield the lines of the tables."""
        effort = self.effort_shown
        seeds = len(tables.distinct(self.rows, "seed"))
        yield (
            f"{effort['size']}, {effort['steps']} steps of {effort['batch']} images, up to "
            f"{effort['most'] or 'all'} images per class and microscope, {counted(seeds, 'seed')}: "
            "percent, median (range)."
        )
        for table in (tables.main_table, tables.risk_table, tables.change_table):
            yield ""
            yield from table(self.rows)


def main() -> None:
    """Train, score and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the three folders")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and results")
    parser.add_argument("--sets", type=Path, default=SETS[0], help="TOML file of those trained on")
    parser.add_argument("--only-scored", type=Path, default=SETS[1], help="TOML file of the others")
    parser.add_argument("--leave-out", help="microscopes, or none  [default: each of --sets]")
    parser.add_argument("--seeds", default="0", help="of trainings, separated by commas")
    parser.add_argument("--model", default="nano", help="size of the network")
    parser.add_argument("--from", dest="start", help="run or bundled name to start from")
    parser.add_argument("--steps", type=int, default=800, help="of each training")
    parser.add_argument("--batch", type=int, default=64, help="images in one step")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--most", type=int, default=400, help="images per class and microscope")
    parser.add_argument("--scored", type=int, default=100, help="images scored per class")
    parser.add_argument("--ablate", type=_change, action="append", default=[], metavar="NAME")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    start = None if arguments.start is None else load_checkpoint(resolve_run(arguments.start))
    values = {name: getattr(arguments, name) for name in ("steps", "batch", "rate", "most")}
    effort = trial.Effort(size=arguments.model, start=start, **values)
    arguments.out.mkdir(parents=True, exist_ok=True)
    sets = (arguments.sets, arguments.only_scored)
    comparison = Comparison(arguments.data, sets, arguments.out, effort, arguments.scored)
    left_out = arguments.leave_out.split(",") if arguments.leave_out else [*comparison.sides]
    for name in left_out:
        if name not in (*comparison.sides, "none"):
            parser.error(f"--leave-out {name}: choose of {', '.join(comparison.sides)}, none")
    for seed in map(int, arguments.seeds.split(",")):
        for change in (tables.RECIPE, *arguments.ablate):
            for name in left_out:
                comparison.run(name, change, seed)
    print("\n".join(comparison.lines()))


if __name__ == "__main__":
    main()
