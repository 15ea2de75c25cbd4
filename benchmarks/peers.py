"""QLViT beside networks of other families: trained alike, converted, counted, one table, one plot.

    make peers-env onnx2tf-env
    .venv-peers/bin/python benchmarks/peers.py --data DIR --out DIR --python TENSORFLOW_PYTHON
        --cache ARM64_CACHE [--minutes 5] [--side 64] [--seeds 0] [--member "nano kv_pool=2,2,1,1"]
        [--peers resnet18,regnet,mobilenetv2,vit,swin,convnext] [--tasks microscopes,paper]
        [--stages train,files,count,time] [--write docs/peers.md]

DIR of ``--data`` holds ``wbc-kaggle``, ``pbc`` and ``aml``. Every network is trained twice from
random weights on the same budget, with the same views and schedule: on the paper's split of
wbc-kaggle, and on the sources of wbc-kaggle and pbc that are not held out. The second network is
asked about the held-out sources and about ``aml``, a microscope that nothing here trains on; it is
the one that is converted (ours by our converter; the others, and what ours cannot lower, by ONNX,
onnx2tf and TensorFlow), counted on emulated Cortex processors and timed.

Whatever is finished stays in ``--out`` and is not repeated; ``peers.json``, ``peers.md`` and
``peers.svg`` are written after each step. Without ``--python`` no stock file is made, without
``--cache`` nothing is counted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from contest.arguments import add_arguments, budget_of, seeds_of
from contest.families import PEERS, peer
from contest.files import FLOAT, INTEGER, OUR_ROUTE, asked, costs, instructions, make, times
from contest.members import Member, ours
from contest.pages import CPUS, accuracy_table, cost_table, plot
from contest.runs import Runs
from contest.tasks import Task, of_microscopes, of_split
from side_by_side import put

from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import load_split, stratified_split
from qlvit_edge.errors import QLViTEdgeError
from qlvit_edge.files import write_json, write_text

MEMBERS = ("nano", "tiny", "nano variant=mvitv2")
TASKS = "microscopes,paper"
STAGES = "train,files,count,time"
NOT_DEFAULT = "int8 file, answers of the kernels without XNNPACK"
ROUNDS = 15
"""In which the float files take turns."""


def members(options: argparse.Namespace) -> list[Callable[[int], Member]]:
    """Return the networks by number of classes, ours first.

    Raises:
        QLViTEdgeError: one of them is not known, or `transformers` is missing.
    """
    found: list[Callable[[int], Member]] = [
        partial(ours, text, options.side) for text in options.member or MEMBERS
    ]
    for name in filter(None, options.peers.split(",")):
        if name not in PEERS:
            raise QLViTEdgeError(name, "is no network of --peers", f"one of {', '.join(PEERS)}")
        found.append(partial(peer, name, options.side))
    return found


def tasks(options: argparse.Namespace) -> list[Task]:
    """Read the images of the tasks; the one whose networks are converted is the first."""
    found = [of_microscopes(options.data, options.side, options.most, options.scored)]
    if "paper" in options.tasks.split(","):
        folder = scan(options.data / "wbc-kaggle")
        split = load_split(options.split) if options.split else stratified_split(folder, 0.2, 0)
        found.append(of_split("paper", folder, split, options.side, options.most, options.scored))
    return found


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of three folders")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--split", type=Path, help="of wbc-kaggle  [default: drawn with seed 0]")
    parser.add_argument("--member", action="append", help="network of ours; several")
    parser.add_argument("--peers", default=",".join(PEERS), help="networks of other families")
    add_arguments(parser, seeds="0", images=0, minutes=5, side=64, most=400, scored=100)
    parser.add_argument("--tasks", default=TASKS, help="paper may be left out")
    parser.add_argument("--stages", default=STAGES)
    parser.add_argument("--python", type=Path, help="Python with onnx2tf and TensorFlow")
    parser.add_argument("--cache", type=Path, help="of `make cortex`")
    parser.add_argument("--write", type=Path, help="page to put tables and plots into")
    return parser.parse_args()


class Comparison:
    """One row per network; written after every step.

    Attributes:
        rows: what is known, in the order of the table.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        """Begin without rows."""
        self._options = options
        self._budget = budget_of(options)
        self._runs = Runs(options.out, self._budget, options.device)
        self._files = options.out / "files"
        self._files.mkdir(exist_ok=True)
        self.rows: list[dict[str, Any]] = []

    def train(self, of: Callable[[int], Member], learned: Sequence[Task], seed: int) -> None:
        """Train a network on every task; its row. ``of`` gives it by number of classes."""
        found = [self._runs.result(of(len(task.classes)), task, seed) for task in learned]
        member = of(len(learned[0].classes))
        name = member.name if self._options.seeds == "0" else f"{member.name}, seed {seed}"
        self.rows.append(
            {
                "name": name,
                "ours": member.config is not None,
                "seed": seed,
                "rate": member.rate,
                "images": found[0]["images"],
                "scores": {kind: one for run in found for kind, one in run["scores"].items()},
                **costs(member, self._options.side),
                "reasons": {},
            }
        )
        self.write()

    def convert(self, row: dict[str, Any], member: Member, task: Task) -> None:
        """Write a network's files, and ask the integer one."""
        record = self._files / f"{member.key}-{row['seed']}.json"
        if record.exists():
            row.update(json.loads(record.read_text(encoding="utf-8")))
            return
        say(f"{row['name']}: files")
        network = self._runs.network(member, task, row["seed"])
        folder = self._files / str(row["seed"])
        folder.mkdir(exist_ok=True)
        made = make(member, network, task, self._options.python, folder)
        known: dict[str, Any] = {
            "route": made.route,
            "reasons": made.reasons,
            "paths": {form: str(path) for form, path in made.paths.items()},
        }
        if INTEGER in made.paths:
            path = made.paths[INTEGER]
            try:
                scores, refused = asked(path, task)
                known["integer"] = {"bytes": path.stat().st_size, "scores": scores}
                if refused:
                    known["reasons"][NOT_DEFAULT] = refused
            except QLViTEdgeError as error:
                known["reasons"]["int8 file"] = str(error)
        row.update(known)
        if self._options.python or made.route == OUR_ROUTE:
            write_json(record, known)
        self.write()

    def count(self, row: dict[str, Any], member: Member) -> None:
        """Count the integer file; where it does not run, the float one."""
        record = self._files / f"{member.key}-{row['seed']}-counted.json"
        if record.exists():
            known = json.loads(record.read_text(encoding="utf-8"))
            row.update({**known, "reasons": {**row["reasons"], **known["reasons"]}})
            return
        runs = "integer" in row and NOT_DEFAULT not in row["reasons"]
        forms = [(INTEGER, "int8")] if runs else []
        for form, shown in [*forms, (FLOAT, "float32")]:
            if form not in row.get("paths", {}):
                continue
            say(f"{row['name']}: instructions, {shown}")
            try:
                path = Path(row["paths"][form])
                found = instructions(path, self._options.cache, self._files)
            except QLViTEdgeError as error:
                row["reasons"][f"instructions, {shown}"] = str(error)
                continue
            row.update({"instructions": found, "counted": shown})
            break
        known = {name: row[name] for name in ("instructions", "counted") if name in row}
        if row.get("paths"):
            write_json(record, {**known, "reasons": row["reasons"]})
        self.write()

    def time(self) -> None:
        """Let the float files take turns; the first row is what the others are compared with."""
        having = [row for row in self.rows if FLOAT in row.get("paths", {})]
        paths = {row["name"]: Path(row["paths"][FLOAT]) for row in having}
        if paths:
            say("float32 files take turns")
            found = times(paths, ROUNDS)
            for row in having:
                row["float_ms"] = found[row["name"]]
            self.write()

    def write(self) -> None:
        """Write what is known as JSON, as Markdown and as a drawing per processor."""
        out, options = self._options.out, self._options
        questions = list(dict.fromkeys(kind for row in self.rows for kind in row["scores"]))
        text = [
            f"{options.side} px; budget of each training: {self._budget.words}; up to "
            f"{options.most or 'all'} training images per class and microscope. Percent: micro; "
            "macro (95 % interval over sources).",
            "",
            *accuracy_table(self.rows, questions),
            "",
            *cost_table(self.rows),
        ]
        write_text(out / "peers.md", "\n".join(text) + "\n")
        write_json(out / "peers.json", {"budget": vars(self._budget), "rows": self.rows})
        for cpu, short in CPUS.items():
            write_text(out / f"peers-{short.lower()}.svg", plot(self.rows, cpu))


def say(line: str) -> None:
    """Say what is done now."""
    print(line, file=sys.stderr, flush=True)


def compare(options: argparse.Namespace) -> None:
    """Do every stage that was asked for.

    Raises:
        QLViTEdgeError: a network, folder or split cannot be used.
    """
    stages = options.stages.split(",")
    learned = tasks(options)
    comparison = Comparison(options)
    entries = []
    for seed in seeds_of(options):
        for member in members(options):
            comparison.train(member, learned, seed)
            entries.append((comparison.rows[-1], member(len(learned[0].classes))))
    for row, member in entries:
        if "files" in stages:
            comparison.convert(row, member, learned[0])
        if "count" in stages and options.cache:
            comparison.count(row, member)
    if "time" in stages:
        comparison.time()
    text = (options.out / "peers.md").read_text(encoding="utf-8")
    print(text)
    if options.write:
        put(options.write, text, "peers")
        for short in CPUS.values():
            name = f"peers-{short.lower()}.svg"
            drawing = (options.out / name).read_text(encoding="utf-8")
            write_text(options.write.parent / "pictures" / name, drawing)


def main() -> None:
    """Train, convert, count, time, write."""
    options = arguments()
    torch.set_num_threads(1)
    try:
        compare(options)
    except QLViTEdgeError as error:
        print(f"peers: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
