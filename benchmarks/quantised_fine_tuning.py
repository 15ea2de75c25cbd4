"""What training on as integers wins back: float, calibrated and trained integers, three seeds.

    python benchmarks/quantised_fine_tuning.py --run runs/wbc --data cells/ --observer percentile

The run is calibrated with one observer on a few of its training images, the integer graph is
measured on the test side, trained on as `qlvit-edge train --quantise` does, and measured again.
Seeds decide which images are shown, in which order and how varied. Net changed images: those that
floats answer rightly and integers do not, less those the other way round.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from qlvit_edge.bundled import resolve_run
from qlvit_edge.calibration.collect import observe
from qlvit_edge.calibration.file import Calibration
from qlvit_edge.calibration.images import choose_images
from qlvit_edge.choices import INTEGER_SOFTMAXES, OBSERVERS
from qlvit_edge.data.choose import of_every_class
from qlvit_edge.data.folder import LabelledImage, scan
from qlvit_edge.data.loader import CachedImage, cache_images
from qlvit_edge.data.split import load_split, select
from qlvit_edge.quantised.answers import integer_answers
from qlvit_edge.quantised.judge import Judge
from qlvit_edge.quantised.loop import fine_tune
from qlvit_edge.quantised.ranges import TrainedRanges
from qlvit_edge.quantised.session import quantised_run
from qlvit_edge.quantised.student import Student
from qlvit_edge.training.checkpoint import SPLIT_FILE, Checkpoint, RunConfig, load_checkpoint
from qlvit_edge.training.holdout import hold_out
from qlvit_edge.training.prediction import predict


@dataclass(frozen=True)
class Task:
    """What all seeds have in common.

    Attributes:
        start: the float run.
        calibration: of it.
        run: settings of the fine-tuning, of seed 0.
        cached: training images.
        judged: images that the epoch is chosen by.
        varied: the same, as they are varied.
        test: test images.
        floats: whether the float run is right, by test image.
        calibrated: the same of its integers as calibrated.
    """

    start: Checkpoint
    calibration: Calibration
    run: RunConfig
    cached: list[CachedImage]
    judged: list[LabelledImage]
    varied: list[CachedImage]
    test: list[LabelledImage]
    floats: NDArray[np.bool_]
    calibrated: NDArray[np.bool_]

    def student(self) -> Student:
        """Return the run as it was calibrated."""
        assert self.run.quantised is not None
        ranges = TrainedRanges(self.calibration.ranges(), self.calibration.anchors)
        return Student(copy.deepcopy(self.start.network), ranges, self.run.quantised.form)

    def right(self, student: Student) -> NDArray[np.bool_]:
        """Return whether a student's integers are right, by test image."""
        return right(student, self.test, self.run)


def right(student: Student, test: list[LabelledImage], run: RunConfig) -> NDArray[np.bool_]:
    """Return whether a student's integers are right, by image."""
    found = integer_answers(student.integer_graph(), test, run.network)
    return np.asarray(found.logits.argmax(1) == found.labels)


def main() -> None:
    """Measure and print; with --json, write the figures too."""
    options = _options()
    torch.set_num_threads(options.threads)
    task = _task(options)
    before = int(task.floats.sum()) - int(task.calibrated.sum())
    print(
        f"{len(task.test)} test images: float {task.floats.mean():.2%}, calibrated by "
        f"{options.observer} {task.calibrated.mean():.2%} ({before:+d} lost, net)",
        flush=True,
    )
    rows = [_trained(task, seed) for seed in options.seeds]
    lost = sum(int(row["lost"]) for row in rows)
    print(f"lost, net, over {len(rows)} seeds: calibrated {before * len(rows)}, trained {lost}")
    if options.json is not None:
        figures = {"observer": options.observer, "images": len(task.test), "rows": rows}
        figures |= {"float": float(task.floats.mean()), "calibrated": float(task.calibrated.mean())}
        options.json.write_text(json.dumps(figures, indent=1))


def _trained(task: Task, seed: int) -> dict[str, float]:
    """Fine-tune with one seed and measure."""
    began = time.process_time()
    assert task.run.quantised is not None
    drawn = task.run.quantised.model_copy(update={"draw": seed})
    run = task.run.model_copy(update={"quantised": drawn})
    kept: list[tuple[Student, int]] = []
    with tempfile.TemporaryDirectory() as out:
        fine_tune(
            *(run, Path(out), task.student(), task.cached),
            *(partial(Judge, run, task.judged, task.varied), False),
            report=lambda now: None,
            keep=lambda best, epoch: kept.append((copy.deepcopy(best), epoch)),
            epoch_done=lambda row, best: None,
        )
    best, epoch = kept[-1]
    answers = task.right(best)
    lost = int(task.floats.sum()) - int(answers.sum())
    seconds = time.process_time() - began
    print(
        f"seed {seed}: trained {answers.mean():.2%} ({lost:+d} lost, net), epoch {epoch}, "
        f"{seconds:.0f} s of CPU",
        flush=True,
    )
    return {"seed": seed, "trained": float(answers.mean()), "lost": lost, "epoch": epoch}


def _task(options: argparse.Namespace) -> Task:
    start = load_checkpoint(resolve_run(options.run))
    split, folder = load_split(start.folder / SPLIT_FILE), scan(options.data)
    settings = start.run.training
    training, held = hold_out(
        select(folder, split.train), split, settings.validation, settings.seed
    )
    training = of_every_class(training, options.images or len(training))
    test = select(folder, split.test)
    test = of_every_class(test, options.test_images or len(test))
    if options.calibration is not None:
        calibration = Calibration.model_validate_json(options.calibration.read_text())
    else:
        images, _ = choose_images(folder, [split], options.calibration_images)
        calibration = observe(start, images, lambda: None).calibration
    calibration = calibration.model_copy(update={"observer": options.observer})
    run = quantised_run(
        start,
        calibration,
        split,
        data=folder.root,
        form=options.softmax,
        epochs=options.epochs,
        batch=options.batch,
        rate=options.rate,
        images_per_epoch=options.images_per_epoch,
    )
    network, judged = run.network, of_every_class(held, options.judge_images)
    labels, logits = predict(start.network, test, network, torch.device("cpu"))
    ranges = TrainedRanges(calibration.ranges(), calibration.anchors)
    return Task(
        start,
        calibration,
        run,
        cached=cache_images(training, network.input_size, lambda: None, []),
        judged=judged,
        varied=cache_images(judged, network.input_size, lambda: None, []),
        test=test,
        floats=np.asarray(logits.argmax(1) == labels),
        calibrated=right(Student(start.network, ranges, options.softmax), test, run),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True, help="run folder or bundled name")
    parser.add_argument("--data", type=Path, required=True, help="folder of images")
    parser.add_argument("--observer", choices=OBSERVERS, default="percentile")
    parser.add_argument("--softmax", choices=INTEGER_SOFTMAXES, default=INTEGER_SOFTMAXES[0])
    parser.add_argument("--calibration-images", type=int, default=64)
    parser.add_argument("--calibration", type=Path, help="calibration file, not to observe again")
    parser.add_argument("--images", type=int, help="that are trained on  [default: all]")
    parser.add_argument("--test-images", type=int, help="that are measured on  [default: all]")
    parser.add_argument("--judge-images", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images-per-epoch", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=5e-5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
