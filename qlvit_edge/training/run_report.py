"""The report of a run: its network on test images, with maps of what it saw in some of them.

`train` writes it at its end, `qlvit-edge report` for any run folder and other images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from qlvit_edge.data.folder import ImageFolder, LabelledImage
from qlvit_edge.data.loader import cell_view, whole_view
from qlvit_edge.data.names import hint
from qlvit_edge.evaluation.explanation import Panel, cards
from qlvit_edge.evaluation.overlay import Pixels
from qlvit_edge.evaluation.run_page import MISTAKES_SHOWN, RIGHT_SHOWN, render
from qlvit_edge.evaluation.run_report import (
    Example,
    Outputs,
    RunReport,
    Temperature,
    ViewName,
    ViewReport,
    fitted_temperature,
    measure_view,
    mistakes,
    right_ones,
)
from qlvit_edge.evaluation.validation_text import ONE_SOURCE
from qlvit_edge.files import json_text, write_text
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.preprocess import decode, preprocess
from qlvit_edge.training.checkpoint import RunConfig
from qlvit_edge.training.grad_cam import class_maps
from qlvit_edge.training.prediction import predict
from qlvit_edge.training.varying import to_input
from qlvit_edge.training.workers import ALONE, Workers

REPORT_PAGE, REPORT_JSON = "report.html", "report.json"

Panels = Callable[[Pixels, str], Sequence[Panel]]
"""Maps of a class over an image (H, W, 3) uint8 RGB, given the class's name."""


@dataclass(frozen=True)
class Trained:
    """A run's network with all that its report says of the training.

    Attributes:
        name: of the run.
        run: its configuration.
        network: in evaluation mode.
        device: where that is.
        history: one row per epoch; empty where it is not known.
        best_epoch: whose weights these are; None where that is not known.
        facts: further ones: name and finding.
        workers: the processes that share the images and all get all answers.
    """

    name: str
    run: RunConfig
    network: QLViT
    device: torch.device
    history: Sequence[Mapping[str, float]] = ()
    best_epoch: int | None = None
    facts: Sequence[tuple[str, str]] = ()
    workers: Workers = ALONE

    def outputs(self, view: ViewName, images: Sequence[LabelledImage]) -> Outputs:
        """Show images (at least one) to the network.

        Raises:
            DataError: an image does not decode.
        """
        shown = whole_view if view == "whole_image" else cell_view
        _, logits = predict(
            self.network, images, self.run.network, self.device, shown, self.workers
        )
        return Outputs(view, logits.astype(float))

    def temperature(self, held_out: Sequence[LabelledImage]) -> Temperature:
        """Fit a temperature to images that were neither trained on nor are tested on."""
        if not held_out:
            return Temperature(origin="no images were held out from training to fit a temperature")
        logits = [self.outputs(view, held_out).logits for view in _VIEWS]
        labels = torch.tensor([image.label for image in held_out]).numpy()
        origin = f"{len(held_out)} images that training held out, each in both views"
        return fitted_temperature(logits, labels, origin)

    def panel(self, pixels: Pixels, label: str) -> list[Panel]:
        """Return the class map of the float network; see `Panels`."""
        config = self.run.network
        fed = preprocess(pixels, config.input_size, config.channels)[None]
        maps = class_maps(self.network, to_input(fed, self.device))[0]
        chances = torch.from_numpy(maps.mean((1, 2))).softmax(0)
        best = int(chances.argmax())
        return [
            Panel(
                source="checkpoint",
                method="class map",
                label=self.run.classes[best],
                probability=float(chances[best]),
                shown=label,
                positions=maps[self.run.classes.index(label)],
                input_size=config.input_size,
            )
        ]


_VIEWS: tuple[ViewName, ...] = ("whole_image", "cell_crop")


def make_report(
    trained: Trained,
    folder: ImageFolder,
    test: Sequence[LabelledImage],
    temperature: Temperature,
    outputs: Sequence[Outputs] | None = None,
    *,
    panels: Panels | None = None,
    notes: Sequence[str] = (),
) -> RunReport:
    """Measure a run and pick what is worth looking at.

    Args:
        trained: the run.
        folder: where the images are.
        test: images with their sources, at least one, labelled as the run numbers its classes.
        temperature: of the probabilities.
        outputs: of these images in each view, where they are known already.
        panels: maps of some images; None: the float network's class map.
        notes: what must be said besides.

    Raises:
        DataError: an image does not decode.
    """
    classes = tuple(trained.run.classes)
    given = outputs or [trained.outputs(view, test) for view in _VIEWS]
    views = [measure_view(each, test, classes, temperature) for each in given]
    return RunReport(
        name=trained.name,
        facts=tuple(_facts(trained, folder)),
        notes=(*notes, *_notes(trained, folder, test, views[0])),
        classes=classes,
        images=tuple(test),
        views=tuple(views),
        temperature=temperature,
        history=tuple(trained.history),
        best_epoch=trained.best_epoch,
        examples=tuple(_examples(classes, test, views[0], panels or trained.panel)),
    )


def write_report(out: Path, found: RunReport) -> Path:
    """Write report.html and report.json into a folder; returns the page's path."""
    page, figures = render(found), json_text(found.as_dict())
    write_text(out / REPORT_JSON, figures + "\n")
    write_text(out / REPORT_PAGE, page)
    return out / REPORT_PAGE


def _examples(
    classes: Sequence[str], test: Sequence[LabelledImage], view: ViewReport, panels: Panels
) -> list[Example]:
    """Return the most confident mistakes and some right answers, with maps."""
    truth = torch.tensor([image.label for image in test]).numpy()
    chosen = mistakes(truth, view.probabilities)[:MISTAKES_SHOWN]
    chosen += right_ones(truth, view.probabilities, RIGHT_SHOWN)
    found = []
    for number in chosen:
        pixels = decode(test[number].path)
        answer = classes[int(view.probabilities[number].argmax())]
        drawn = panels(pixels, answer)
        captions = ["image", *(f"{panel.method}, {panel.source}" for panel in drawn)]
        pictures = zip(cards(pixels, drawn), captions, strict=True)
        found.append(Example(number, tuple(pictures)))
    return found


def _facts(trained: Trained, folder: ImageFolder) -> list[tuple[str, str]]:
    run = trained.run
    network, training = run.network, run.training
    height, width = network.input_size
    parameters = sum(tensor.numel() for tensor in trained.network.parameters())
    found = [
        (
            "network",
            f"{network.size} {network.variant}, {height} × {width} × {network.channels}, "
            f"{parameters:,} parameters",
        ),
        ("classes", ", ".join(run.classes)),
        ("measured on", folder.root.name),
        ("trained on", Path(run.data).name),
        ("split of training", run.split_fingerprint[:12]),
        (
            "settings",
            f"batch {training.batch}, peak rate {training.peak_rate:g}, balance "
            f"{training.balance}, augmentation {training.augment}, seed {training.seed}",
        ),
    ]
    if trained.history:
        best = "" if trained.best_epoch is None else f", best epoch {trained.best_epoch}"
        found.append(("epochs", f"{len(trained.history)} of {training.epochs}{best}"))
    if run.started_from is not None:
        found.append(("started from", str(run.started_from)))
    if run.quantised is not None:
        made = f"softmax {run.quantised.form}, calibrated by {run.quantised.observer}"
        found.append(
            ("trained as integers", f"{made}; the figures here are of its weights in float")
        )
    if run.adapted_from is not None:
        found.append(("fitted", run.adapted_from.words))
    if run.unknown_cells:
        found.append(("cells it does not know", ", ".join(run.unknown_cells)))
    return [*found, *trained.facts]


def _notes(
    trained: Trained, folder: ImageFolder, test: Sequence[LabelledImage], view: ViewReport
) -> list[str]:
    """Say what makes the figures less than they seem."""
    found = []
    missing = [name for name, own in view.quality.classes.items() if not own.images]
    if missing:
        found.append(
            f"There is no test image of {', '.join(missing)}: means are over the other classes."
        )
    if not any(image.source for image in test):
        named = hint(replace(folder, images=tuple(test)))
        why = "" if named is None else f" Names suggest {named.groups:,} sources."
        found.append(
            "No sources of the images are known: intervals count images as independent, and are "
            f"too narrow if some are copies or of one patient.{why} Say which belong together in "
            "a manifest, or with --groups or --groups-from-name."
        )
    elif view.quality.sources == 1 and len(test) > 1:
        found.append(ONE_SOURCE)
    settings = trained.run.training
    if trained.history and len(trained.history) < settings.epochs and not settings.patience:
        found.append(f"Training has not ended: {len(trained.history)} of {settings.epochs} epochs.")
    return found
