"""One training session: images, loop, final figures and pictures. What it shows is a listener's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from qlvit_edge.choices import Cache
from qlvit_edge.data.folder import ImageFolder, LabelledImage
from qlvit_edge.data.image_store import ImageStore
from qlvit_edge.data.loader import (
    CachedImage,
    cache_images,
    check_images,
)
from qlvit_edge.data.split import Split, require_fit, select
from qlvit_edge.data.training_images import (
    list_training_images,
    read_training_images,
    write_training_images,
)
from qlvit_edge.errors import CheckpointError
from qlvit_edge.evaluation import metrics, plots
from qlvit_edge.evaluation.run_report import VIEWS
from qlvit_edge.files import write_json, write_text
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.preprocess import note_on
from qlvit_edge.text import counted, plain
from qlvit_edge.training import loop
from qlvit_edge.training.acceleration import Acceleration
from qlvit_edge.training.checkpoint import (
    BEST_FILE,
    LAST_FILE,
    RUN_FILE,
    SPLIT_FILE,
    Checkpoint,
    RunConfig,
    load_tensors,
    load_weights,
    read_run_config,
    write_run_config,
)
from qlvit_edge.training.event_files import event_file
from qlvit_edge.training.holdout import hold_out, with_source
from qlvit_edge.training.listener import Listener
from qlvit_edge.training.places import require_trained_images, with_places_of
from qlvit_edge.training.run_report import Trained, make_report, write_report
from qlvit_edge.training.start import kept_rows, unseen, with_what_it_saw
from qlvit_edge.training.state import Row, has_stopped, read_history, score
from qlvit_edge.training.workers import ALONE, Workers


@dataclass(frozen=True)
class Outcome:
    """What a finished training has reached.

    Attributes:
        epochs: trained.
        best_epoch: whose weights are kept.
        validation: what it was chosen by; None without validation images.
        test_images: how many.
        whole_image: accuracy on the test images.
        cell_crop: the same on the crops of their cells.
    """

    epochs: int
    best_epoch: int
    validation: float | None
    test_images: int
    whole_image: float
    cell_crop: float


def continued(run: RunConfig, out: Path, epochs: int | None) -> RunConfig:
    """Return how the run in a folder goes on: with its own number of epochs, or with more.

    More epochs than it was to have are another cycle, which begins where the last one ended or
    was stopped early.

    Args:
        run: what was asked for.
        out: a run folder.
        epochs: asked for in all; None: as many as the run has.

    Raises:
        CheckpointError: the folder's run has more epochs, or other data or options.
    """
    recorded = read_run_config(out)
    there = recorded.training
    ends = there.cycle_ends
    if epochs is not None and epochs < there.epochs:
        raise CheckpointError(
            out,
            f"holds a run of {counted(there.epochs, 'epoch')}",
            f"resume with --epochs {there.epochs} or more, or choose another --out",
        )
    if epochs is not None and epochs > there.epochs:
        history = read_history(out / LAST_FILE) if (out / LAST_FILE).exists() else []
        ended = len(history) if has_stopped(history, there) else there.epochs
        ends = (*there.earlier_cycles, ended, epochs)
    settings = run.training.model_copy(update={"epochs": ends[-1], "earlier_cycles": ends[:-1]})
    asked = run.model_copy(update={"training": settings, "golden_images": recorded.golden_images})
    before = with_places_of(recorded, run).model_copy(
        update={
            "training": there.model_copy(
                update={"epochs": settings.epochs, "earlier_cycles": settings.earlier_cycles}
            )
        }
    )
    if asked != before:
        raise CheckpointError(
            out,
            f"holds a run with other data or options ({_first_difference(before, asked)})",
            "resume with the options of that run, or choose another --out",
        )
    return asked


def _first_difference(there: RunConfig, here: RunConfig) -> str:
    """Name the first setting that differs, with both values."""
    for one, other in (
        (there, here),
        (there.training, here.training),
        (there.network, here.network),
    ):
        for name in type(one).model_fields:
            found, asked = getattr(one, name), getattr(other, name)
            if found != asked and name not in ("training", "network"):
                return f"{name.replace('_', ' ')}: {_shown(found)} there, {_shown(asked)} here"
    raise AssertionError("they are equal")


def _shown(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "not recorded" if value is None else str(value)


def run_training(
    run: RunConfig,
    out: Path,
    folder: ImageFolder,
    split: Split,
    device: torch.device,
    resume: bool,
    listener: Listener,
    *,
    tensorboard: bool = False,
    start: Checkpoint | None = None,
    cache: Cache = "memory",
    workers: Workers = ALONE,
) -> Outcome:
    """Train and write everything the run folder holds.

    Every image is decoded before the first file is written.

    Args:
        run: network and settings; where ``resume``, see `continued`.
        out: the run folder, which exists.
        folder: the images.
        split: which of them train and test.
        device: where to train.
        resume: continue what the folder holds.
        listener: told how far it is.
        tensorboard: write event files too.
        start: the run whose weights it starts from, as ``run`` records it. Test images that it
            was trained on are left out.
        cache: where decoded images are kept; a file of theirs lies in ``out``, where that is.
        workers: the processes that train together; the leader alone writes.

    Raises:
        DataError: the split does not fit the folder, or an image does not decode, or ``start``
            was trained on the whole test side.
        CheckpointError: ``resume`` does not fit, or the loss is no longer a number.
    """
    Acceleration(run.training, device)  # refused before an image is decoded
    require_fit(split, folder)
    training, validation = hold_out(
        select(folder, split.train), split, run.training.validation, run.training.seed
    )
    training = [with_source(image, split) for image in training]
    test = select(folder, split.test)
    if start is not None:
        test = _started(run, start, test, listener)
    store = ImageStore(cache, out if out.is_dir() else None, workers.size)
    cached = _prepare(run, training, [*validation, *test], listener, store)
    if workers.leads:
        _describe(run, out, split, [*training, *validation], resume, start)
    listener.begun(run.training.epochs, run.training.images_per_epoch or len(cached))
    with _events(out, resume, tensorboard and workers.leads) as write:

        def epoch_done(row: Row, best: int) -> None:
            write(row)
            listener.epoch_done(row, best)

        state = loop.train(
            *(run, out, cached, validation, device, resume, listener.batch_done, epoch_done),
            start=start,
            workers=workers,
        )
    test = [with_source(image, split) for image in test]
    return finish(run, out, state.history, folder, test, validation, device, workers)


def _describe(
    run: RunConfig,
    out: Path,
    split: Split,
    side: Sequence[LabelledImage],
    resume: bool,
    start: Checkpoint | None,
) -> None:
    """Write what is known before training; ``side`` is the split's training side."""
    listed = read_training_images(out)
    if not (resume and (out / RUN_FILE).exists()):
        write_text(out / SPLIT_FILE, split.model_dump_json(indent=1) + "\n")
        write_run_config(out, run)
    elif (recorded := read_run_config(out)) != run:
        if listed is not None and recorded.data != run.data:
            require_trained_images(side, listed, Path(run.data))
        write_run_config(out, run)
    if listed is None or listed.split_fingerprint != split.fingerprint:
        listed = list_training_images(side, split.fingerprint, _no_bar)
        write_training_images(out, with_what_it_saw(listed, start))


def _started(
    run: RunConfig, start: Checkpoint, test: Sequence[LabelledImage], listener: Listener
) -> list[LabelledImage]:
    """Say what the run started from knows; return the test images that it was not trained on."""
    left = unseen(test, start, _no_bar)
    if left is None:
        listener.noted(
            "the run started from lists no training images: those on the test side are not known"
        )
    elif len(left) < len(test):
        known = counted(len(test) - len(left), "test image")
        listener.noted(f"{known} left out: the run started from was trained on them")
    kept = kept_rows(run.classes, start)
    new = [plain(name) for row, name in enumerate(run.classes) if row not in kept]
    listener.noted(f"new to the run started from: {', '.join(new) or 'no class'}")
    return list(test) if left is None else left


def _events(
    out: Path, resume: bool, tensorboard: bool
) -> AbstractContextManager[Callable[[Row], None]]:
    if not tensorboard:
        return nullcontext(lambda row: None)
    last = out / LAST_FILE
    return event_file(out, len(read_history(last)) if resume and last.exists() else 0)


def _prepare(
    run: RunConfig,
    training: Sequence[LabelledImage],
    others: Sequence[LabelledImage],
    listener: Listener,
    store: ImageStore,
) -> list[CachedImage]:
    """Decode the training images, check the others, say what is unusual about them."""
    kinds: list[str] = []
    with listener.preparing(len(training) + len(others)) as advance:
        cached = cache_images(training, run.network.input_size, advance, kinds, store)
        check_images(others, advance, kinds)
    if kinds:
        listener.noted(note_on(Counter(kinds), run.network.channels))
    return cached


def _no_bar() -> None:
    """Listing images takes seconds: no bar."""


def finish(
    run: RunConfig,
    out: Path,
    history: list[Row],
    folder: ImageFolder,
    test: Sequence[LabelledImage],
    validation: Sequence[LabelledImage],
    device: torch.device,
    workers: Workers = ALONE,
) -> Outcome:
    """Evaluate the best weights on the test side, whole and as crops; write figures and report."""
    tensors, header = workers.from_leader(lambda: load_tensors(out / BEST_FILE))
    network = QLViT(run.network)
    load_weights(network, tensors, out / BEST_FILE)
    network = network.to(device).eval()
    best = header["epoch"]
    trained = Trained(out.resolve().name, run, network, device, history, best, workers=workers)
    outputs = [trained.outputs(view, test) for view in VIEWS]
    logits, crop_logits = (each.logits for each in outputs)
    labels = np.array([image.label for image in test])
    confusion = metrics.confusion_matrix(labels, logits.argmax(1), len(run.classes))
    validated = "validation_accuracy" in history[best - 1]
    outcome = Outcome(
        epochs=len(history),
        best_epoch=best,
        validation=score(history[best - 1]) if validated else None,
        test_images=len(test),
        whole_image=float(np.mean(logits.argmax(1) == labels)),
        cell_crop=float(np.mean(crop_logits.argmax(1) == labels)),
    )
    summary = {
        "epochs": outcome.epochs,
        "best_epoch": outcome.best_epoch,
        "seconds": round(sum(row["seconds"] for row in history), 1),
        "threads": torch.get_num_threads(),
        "processes": workers.size,
        "device": str(device),
        "test_images": outcome.test_images,
        "split_fingerprint": run.split_fingerprint,
        "test_accuracy_whole_image": outcome.whole_image,
        "test_accuracy_cell_crop": outcome.cell_crop,
        "confusion_matrix": confusion.tolist(),
        "classes": run.classes,
        "history": history,
    }
    temperature = trained.temperature(validation)
    if workers.leads:
        write_json(out / "metrics.json", summary)
        plots.plot_curves(history, out / "curves.png", best=best)
        plots.plot_confusion(confusion, run.classes, out / "confusion.png")
        write_report(out, make_report(trained, folder, test, temperature, outputs))
    return outcome
