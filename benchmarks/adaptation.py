"""How right a run is on another microscope before and after `adapt`, with and without labels.

::

    python benchmarks/adaptation.py wbc-nano --data pbc/ --cells 60 --judged 60 --labels 0 5 20

Of each class of a labelled folder that the run knows, some cells are fitted to and others judged:
mean recall over these classes, of whole pictures and of crops. With ``--mix`` the cells without
labels are in other proportions than one to one, as blood is.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from qlvit_edge.adaptation.answers import answers
from qlvit_edge.adaptation.cells import Cells, read_cells
from qlvit_edge.adaptation.choose import mean_recall
from qlvit_edge.adaptation.pictures import labelled_pictures
from qlvit_edge.adaptation.session import adapt
from qlvit_edge.bundled import resolve_run
from qlvit_edge.data.labelled import NO_CLASS, LabelledImage
from qlvit_edge.evaluation.class_match import parse_pairs
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.training.checkpoint import load_checkpoint


@contextmanager
def silent(description: str, total: int) -> Iterator[Callable[[], None]]:
    """No progress bar."""
    yield lambda: None


def by_class(images: Sequence[LabelledImage], seed: int) -> dict[int, list[LabelledImage]]:
    """Return the images of each class, in the order in which they are drawn."""
    rng = np.random.default_rng(seed)
    found: dict[int, list[LabelledImage]] = {}
    for index in rng.permutation(len(images)):
        found.setdefault(images[index].label, []).append(images[index])
    return dict(sorted(found.items()))


def recalls(network: QLViT, judged: Cells) -> dict[str, float]:
    """Return the mean recall on whole pictures, on crops, and of both answers together."""
    found, labels = answers(network, judged.views), judged.labels
    named = {"whole": found.probabilities[0], "crops": found.probabilities[1], "both": found.mean}
    return {
        name: round(mean_recall((chances.argmax(1) == labels).astype(float), labels), 4)
        for name, chances in named.items()
    }


def main() -> None:
    """Fit and print one line of JSON for each number of labels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cells", type=int, default=60, help="of each class, fitted to")
    parser.add_argument("--judged", type=int, default=60, help="of each class, judged")
    parser.add_argument("--labels", type=int, nargs="+", default=[0, 5, 20])
    parser.add_argument("--mix", nargs="*", default=[], metavar="CLASS=CELLS")
    parser.add_argument("--classes", nargs="*", help="only these folders")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    checkpoint = load_checkpoint(resolve_run(asked.run))
    classes, network = checkpoint.run.classes, checkpoint.run.network
    images, _ = labelled_pictures(asked.data, classes, only=asked.classes)
    mix = {name: int(count or 0) for name, count in parse_pairs(asked.mix).items()}
    drawn = by_class(images, asked.seed)
    fitted = [
        image
        for label, own in drawn.items()
        for image in own[asked.judged :][: mix.get(classes[label], asked.cells)]
    ]
    judged = read_cells(
        [image for own in drawn.values() for image in own[: asked.judged]],
        network,
        "cells",
        lambda: None,
    )
    print(json.dumps({"before": recalls(checkpoint.network, judged)}), flush=True)
    for count in asked.labels:
        known = [i for own in by_class(fitted, 1).values() for i in own[:count]]
        names = {image.relative for image in known}
        others = [replace(i, label=NO_CLASS) for i in fitted if i.relative not in names]
        labelled = read_cells(known, network, "cells", lambda: None) if known else None
        unlabelled = read_cells(others, network, "cells", lambda: None)
        found = adapt(checkpoint, unlabelled, labelled, asked.seed, silent)
        line = {
            "labels": count,
            "method": found.method,
            "after": recalls(found.network, judged),
            "steps": [
                {
                    "method": step.method,
                    "share": step.share,
                    "information": round(step.information, 4),
                    **recalls(step.network, judged),
                }
                for step in found.steps
            ],
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
