"""One training session at a terminal: images, loop, progress, final figures and pictures."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from qlvit_edge.data.folder import ImageFolder, LabelledImage
from qlvit_edge.data.loader import (
    CachedImage,
    cache_images,
    cell_view,
    check_images,
)
from qlvit_edge.data.split import Split, require_fit, select
from qlvit_edge.data.training_images import (
    list_training_images,
    read_training_images,
    write_training_images,
)
from qlvit_edge.errors import DeviceError
from qlvit_edge.evaluation import metrics, plots
from qlvit_edge.files import write_json, write_text
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.preprocess import note_on
from qlvit_edge.training import loop
from qlvit_edge.training.checkpoint import (
    BEST_FILE,
    RUN_FILE,
    SPLIT_FILE,
    RunConfig,
    load_tensors,
    load_weights,
    write_run_config,
)
from qlvit_edge.training.holdout import hold_out


def choose_device(name: str) -> torch.device:
    """Return the torch device for ``auto``, ``cpu`` or ``cuda``.

    Raises:
        DeviceError: ``cuda`` was asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("--device cuda", "PyTorch finds no CUDA device", "use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def run_training(
    run: RunConfig,
    out: Path,
    folder: ImageFolder,
    split: Split,
    device: torch.device,
    resume: bool,
) -> None:
    """Train and write everything the run folder holds; shows progress on a terminal.

    Every image is decoded before the first file is written.

    Raises:
        DataError: the split does not fit the folder, or an image does not decode.
        CheckpointError: ``resume`` does not fit.
    """
    require_fit(split, folder)
    training, validation = hold_out(
        select(folder, split.train), split, run.training.validation, run.training.seed
    )
    test = select(folder, split.test)
    with _progress() as progress:
        cached = _prepare(run, training, [*validation, *test], progress)
        if not (resume and (out / RUN_FILE).exists()):
            write_text(out / SPLIT_FILE, split.model_dump_json(indent=1) + "\n")
            write_run_config(out, run)
        listed = read_training_images(out)
        if listed is None or listed.split_fingerprint != split.fingerprint:
            _list_training_images(out, split, [*training, *validation], progress)
        report = _reporter(progress, run.training.epochs, len(cached))
        log = _log_to(sys.stderr, run.training.epochs) if progress.disable else _no_log
        state = loop.train(run, out, cached, validation, device, resume, report, log)
    _finish(run, out, state.history, test, device)


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
        console=console,
        disable=not console.is_terminal,
    )


def _prepare(
    run: RunConfig,
    training: Sequence[LabelledImage],
    others: Sequence[LabelledImage],
    progress: Progress,
) -> list[CachedImage]:
    """Decode the training images, check the others, say what is unusual about them."""
    kinds: list[str] = []
    total = len(training) + len(others)
    task = progress.add_task("preparing images", total=total, figures="")
    size = run.network.input_size
    cached = cache_images(training, size, lambda: progress.advance(task), kinds)
    check_images(others, lambda: progress.advance(task), kinds)
    progress.remove_task(task)
    if kinds:
        print(note_on(Counter(kinds)))
    return cached


def _list_training_images(
    out: Path, split: Split, images: Sequence[LabelledImage], progress: Progress
) -> None:
    """Write what is trained on into the run folder, so that it is known again by content."""
    task = progress.add_task("listing the training images", total=len(images), figures="")
    listed = list_training_images(images, split.fingerprint, lambda: progress.advance(task))
    write_training_images(out, listed)
    progress.remove_task(task)


def _reporter(progress: Progress, epochs: int, images: int) -> Callable[[loop.Progress], None]:
    """Return what draws the loop's progress, beginning at the epoch it resumes."""
    task = progress.add_task("training", total=epochs * images, figures="")

    def report(now: loop.Progress) -> None:
        figures = (
            f"epoch {now.epoch + 1}/{epochs}  loss {now.loss:.3f}  "
            f"accuracy {now.accuracy:.1%}  {now.images_per_second:.0f} images/s"
        )
        done = max(int(progress.tasks[0].completed), now.epoch * images) + now.images
        progress.update(task, completed=done, figures=figures)

    return report


def _log_to(stream: TextIO, epochs: int) -> Callable[[dict[str, float]], None]:
    """Return what writes a line an epoch: without a terminal, the log shows how far it is."""

    def log(row: dict[str, float]) -> None:
        accuracy = f"accuracy {row['training_accuracy']:.1%}"
        if "validation_accuracy" in row:
            accuracy += f", validation {row['validation_accuracy']:.1%}"
        line = f"epoch {row['epoch']}/{epochs}: loss {row['loss']:.4f}, {accuracy}"
        print(f"{line}, {row['seconds']:.1f} s", file=stream, flush=True)

    return log


def _no_log(row: dict[str, float]) -> None:
    """Leave it to the progress bar."""


def _finish(
    run: RunConfig,
    out: Path,
    history: list[dict[str, float]],
    test: Sequence[LabelledImage],
    device: torch.device,
) -> None:
    """Evaluate the best weights on the test side, whole and as crops; write figures."""
    tensors, header = load_tensors(out / BEST_FILE)
    network = QLViT(run.network)
    load_weights(network, tensors, out / BEST_FILE)
    network = network.to(device).eval()
    labels, logits = loop.predict(network, test, run.network, device)
    _, crop_logits = loop.predict(network, test, run.network, device, cell_view)
    whole = float(np.mean(logits.argmax(1) == labels))
    crop = float(np.mean(crop_logits.argmax(1) == labels))
    confusion = metrics.confusion_matrix(labels, logits.argmax(1), len(run.classes))
    summary = {
        "epochs": len(history),
        "best_epoch": header["epoch"],
        "seconds": round(sum(row["seconds"] for row in history), 1),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "test_images": len(test),  # the whole test side
        "split_fingerprint": run.split_fingerprint,
        "test_accuracy_whole_image": whole,
        "test_accuracy_cell_crop": crop,
        "confusion_matrix": confusion.tolist(),
        "classes": run.classes,
        "history": history,
    }
    write_json(out / "metrics.json", summary)
    plots.plot_curves(history, out / "curves.png")
    plots.plot_confusion(confusion, run.classes, out / "confusion.png")
    print(
        f"test accuracy {whole:.2%} (whole images), {crop:.2%} (cell crops) "
        f"on {len(test)} images; run folder: {out}"
    )
