"""The paper's ablation, every step on the same budget: accuracy, training time, both counts.

    python benchmarks/ablation.py --data DIR --split paper.json --split disjoint.json --out DIR
        [--size nano] [--variants mvitv2,v0,v1,v2,v3,v4] [--seeds 0,1,2]
        [--images 12000] [--minutes 10] [--side PIXELS] [--most N] [--scored N]

Every variant is trained from random weights on every split with every seed, as `peers.py` trains:
the same views, batches and moving average, a peak rate of 2e-3 with BatchNorm and 1e-3 with
LayerNorm, and the same number of images, ``--images``. A run that needs more than ``--minutes`` of
this process's processor time for them ends there; its row then says fewer images. Accuracy is that
of whole test images, mean ± standard deviation over the seeds. A finished run stays in ``--out``
and is not repeated; ``ablation.json`` and ``ablation.md`` are written after each.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contest.arguments import add_arguments, budget_of, seeds_of
from contest.members import Member, ours
from contest.runs import Runs
from contest.tasks import of_split

from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import load_split
from qlvit_edge.errors import QLViTEdgeError
from qlvit_edge.files import write_json, write_text
from qlvit_edge.model.configs import SIZES
from qlvit_edge.model.cost import Cost, count_cost

VARIANTS = "mvitv2,v0,v1,v2,v3,v4"


def spread(values: Sequence[float]) -> str:
    """Write percentages as mean ± standard deviation of the sample; one value alone as it is."""
    if not values:
        return "–"
    shown = f"{100 * float(np.mean(values)):.2f}"
    return shown if len(values) == 1 else f"{shown} ± {100 * float(np.std(values, ddof=1)):.2f}"


def lines(
    rows: Sequence[Mapping[str, Any]], costs: Mapping[str, Cost], tasks: Sequence[str]
) -> Iterator[str]:
    """Yield the lines of the Markdown table.

    Args:
        rows: what the runs gave, with their ``variant``.
        costs: by variant, in the order of the table.
        tasks: names of the splits, in the order of the columns.
    """
    heads = [
        *("variant", "M parameters, paper's way", "true", "MMAC, paper's way", "true"),
        *(f"{task}: accuracy, %" for task in tasks),
        *("images", "training, s", "seeds"),
    ]
    yield f"| {' | '.join(heads)} |"
    yield f"|---|{'---:|' * (len(heads) - 1)}"
    for variant, cost in costs.items():
        own = [row for row in rows if row["variant"] == variant]
        if not own:
            continue
        cells = [
            variant,
            f"{cost.paper_style.parameters / 1e6:.3f}",
            f"{cost.true.parameters / 1e6:.3f}",
            f"{cost.paper_style.macs / 1e6:.1f}",
            f"{cost.true.macs / 1e6:.1f}",
        ]
        for task in tasks:
            of = [row["scores"][task]["micro"] for row in own if row["task"] == task]
            cells.append(spread(of))
        images = sorted({row["images"] for row in own})
        cells.append(f"{images[0]}" if len(images) == 1 else f"{images[0]} to {images[-1]}")
        cells.append(f"{np.mean([row['seconds'] for row in own]):.0f}")
        cells.append(str(len({row["seed"] for row in own})))
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Train, score, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of class folders")
    parser.add_argument("--split", type=Path, action="append", required=True, help="file; several")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and tables")
    parser.add_argument("--size", default="nano", choices=SIZES)
    parser.add_argument("--variants", default=VARIANTS)
    add_arguments(parser, seeds="0,1,2", images=12000, minutes=10, side=None, most=0, scored=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        compare(options)
    except QLViTEdgeError as error:
        print(f"ablation: {error}", file=sys.stderr)
        sys.exit(2)


def compare(options: argparse.Namespace) -> None:
    """Train every variant on every split with every seed.

    Raises:
        QLViTEdgeError: a variant, folder or split cannot be used.
    """
    folder = scan(options.data)
    side = options.side or SIZES[options.size].input_size[0]
    members: dict[str, Member] = {
        variant: ours(f"{options.size} variant={variant}", side, len(folder.classes))
        for variant in options.variants.split(",")
    }
    configs = {name: member.config for name, member in members.items()}
    costs = {name: count_cost(config) for name, config in configs.items() if config is not None}
    budget = budget_of(options)
    runs = Runs(options.out, budget, options.device)
    tasks = [
        of_split(path.stem, folder, load_split(path), side, options.most, options.scored)
        for path in options.split
    ]
    rows: list[dict[str, Any]] = []
    for seed in seeds_of(options):
        for variant, member in members.items():
            for task in tasks:
                rows.append({"variant": variant, **runs.result(member, task, seed)})
                text = [
                    f"{options.size}, {side} px, {options.data.name}; budget of each training: "
                    f"{budget.words}.",
                    "",
                    *lines(rows, costs, [task.name for task in tasks]),
                ]
                write_text(options.out / "ablation.md", "\n".join(text) + "\n")
                write_json(options.out / "ablation.json", rows)
    print((options.out / "ablation.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
