"""One training session at a terminal: images, loop, progress, final figures and pictures."""

from __future__ import annotations

from pathlib import Path

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
from qlvit_edge.data.loader import cache_images, cell_view, evaluation_batches
from qlvit_edge.data.split import Split, select
from qlvit_edge.errors import DataError, DeviceError
from qlvit_edge.evaluation import metrics, plots
from qlvit_edge.files import write_json
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.training import loop
from qlvit_edge.training.checkpoint import BEST_FILE, RunConfig, load_tensors, load_weights
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

    Raises:
        DataError: the split does not fit the folder, or an image does not decode.
        CheckpointError: ``resume`` does not fit.
    """
    if list(split.classes) != list(folder.classes):
        raise DataError(
            folder.root,
            f"has classes {', '.join(folder.classes)}, the split {', '.join(split.classes)}",
            "make a split of this folder with `qlvit-edge data split`",
        )
    training, validation = hold_out(
        select(folder, split.train), split, run.training.validation, run.training.seed
    )
    test = select(folder, split.test)
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("preparing images", total=len(training), figures="")
        cached = cache_images(training, run.network.input_size, lambda: progress.advance(task))
        progress.remove_task(task)
        task = progress.add_task("training", total=run.training.epochs * len(cached), figures="")

        def report(now: loop.Progress) -> None:
            figures = (
                f"epoch {now.epoch + 1}/{run.training.epochs}  loss {now.loss:.3f}  "
                f"accuracy {now.accuracy:.1%}  {now.images_per_second:.0f} images/s"
            )
            done = now.epoch * len(cached)
            if progress.tasks[0].completed < done:
                progress.update(task, completed=done)
            progress.update(task, advance=now.images, figures=figures)

        state = loop.train(run, out, cached, validation, device, resume, report)
    _finish(run, out, state.history, test, device)


def _finish(
    run: RunConfig,
    out: Path,
    history: list[dict[str, float]],
    test: list[LabelledImage],
    device: torch.device,
) -> None:
    """Evaluate the best weights on the test side, whole and as crops; write figures."""
    tensors, header = load_tensors(out / BEST_FILE)
    network = QLViT(run.network)
    load_weights(network, tensors, out / BEST_FILE)
    network = network.to(device).eval()
    size = run.network.input_size
    labels, logits = loop.predict(network, test, size, device)
    crops = evaluation_batches(test, size, loop.EVALUATION_BATCH, cell_view)
    _, crop_logits = loop.predict(network, test, size, device, crops)
    predictions = logits.argmax(1)
    count = len(run.classes)
    confusion = metrics.confusion_matrix(labels, predictions, count)
    summary = {
        "epochs": len(history),
        "best_epoch": header["epoch"],
        "seconds": round(sum(row["seconds"] for row in history), 1),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "test_images": len(test),
        "test_accuracy_whole_image": float(np.mean(predictions == labels)),
        "test_accuracy_cell_crop": float(np.mean(crop_logits.argmax(1) == labels)),
        "confusion_matrix": confusion.tolist(),
        "classes": run.classes,
        "history": history,
    }
    write_json(out / "metrics.json", summary)
    plots.plot_curves(history, out / "curves.png")
    plots.plot_confusion(confusion, run.classes, out / "confusion.png")
    print(
        f"test accuracy {summary['test_accuracy_whole_image']:.2%} (whole images), "
        f"{summary['test_accuracy_cell_crop']:.2%} (cell crops) on {len(test)} images; "
        f"run folder: {out}"
    )
