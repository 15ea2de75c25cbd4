"""What training on as integers wins back: float, calibrated and trained integers, three seeds.

    python benchmarks/quantised_fine_tuning.py --run runs/wbc --data cells/ --observer percentile

The run is calibrated with one observer on a few of its training images, the integer graph is
measured on the test side, trained on as `qlvit-edge train --quantise` does, and measured again.
Seeds decide which images are shown, in which order and how varied. Net changed images: those that
floats answer rightly and integers do not, less those the other way round.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch

from qlvit_edge.bundled import resolve_run
from qlvit_edge.calibration.collect import observe
from qlvit_edge.calibration.file import Calibration
from qlvit_edge.calibration.images import choose_images
from qlvit_edge.choices import INTEGER_SOFTMAXES, OBSERVERS
from qlvit_edge.data.choose import of_every_class
from qlvit_edge.data.folder import ImageFolder, scan
from qlvit_edge.data.split import Split, load_split, select
from qlvit_edge.quantised.session import Integers, quantised_run, run_quantised
from qlvit_edge.training.checkpoint import SPLIT_FILE, load_checkpoint
from qlvit_edge.training.listener import Listener


def main() -> None:
    """Measure and print; with --json, write the figures too."""
    options = _options()
    torch.set_num_threads(options.threads)
    start = load_checkpoint(resolve_run(options.run))
    split = load_split(start.folder / SPLIT_FILE)
    folder = scan(options.data)
    if options.images is not None:
        split = _fewer(split, folder, options.images)
    if options.calibration is not None:
        calibration = Calibration.model_validate_json(options.calibration.read_text())
    else:
        images, _ = choose_images(folder, [split], options.calibration_images)
        calibration = observe(start, images, lambda: None).calibration
    calibration = calibration.model_copy(update={"observer": options.observer})
    rows: list[dict[str, object]] = []
    for seed in range(options.seeds):
        began = time.process_time()
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
            draw=seed,
        )
        with tempfile.TemporaryDirectory() as out:
            found = run_quantised(
                *(run, Path(out), start, calibration, folder, split, torch.device("cpu")),
                False,
                Listener(),
            )
        rows.append({"seed": seed, **vars(found), "seconds": time.process_time() - began})
        _print(seed, found)
    changed = sum(int(str(row["changed"])) for row in rows)
    before = sum(int(str(row["changed_before"])) for row in rows)
    print(f"net changed over {len(rows)} seeds: calibrated {before}, trained {changed}")
    if options.json is not None:
        options.json.write_text(json.dumps({"observer": options.observer, "rows": rows}, indent=1))


def _fewer(split: Split, folder: ImageFolder, count: int) -> Split:
    """Return a split of which each side has fewer images, evenly over the classes."""
    sides = {
        side: [image.relative for image in of_every_class(select(folder, names), count)]
        for side, names in (("train", split.train), ("test", split.test))
    }
    return split.model_copy(update=sides)


def _print(seed: int, found: Integers) -> None:
    print(
        f"seed {seed}: {found.test_images} images, float {found.floats:.2%}, "
        f"calibrated {found.calibrated:.2%} ({found.changed_before:+d}), "
        f"trained {found.quantised:.2%} ({found.changed:+d}), epoch {found.best_epoch}",
        flush=True,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True, help="run folder or bundled name")
    parser.add_argument("--data", type=Path, required=True, help="folder of images")
    parser.add_argument("--observer", choices=OBSERVERS, default="percentile")
    parser.add_argument("--softmax", choices=INTEGER_SOFTMAXES, default=INTEGER_SOFTMAXES[0])
    parser.add_argument("--calibration-images", type=int, default=64)
    parser.add_argument("--calibration", type=Path, help="calibration file, not to observe again")
    parser.add_argument("--images", type=int, help="of each side of the split  [default: all]")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images-per-epoch", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
