"""The accuracy figures of README and of the bundled models' cards, made again.

    python benchmarks/cards.py --wbc wbc-kaggle --pbc pbc --out cards

The White Blood Cell set is `paultimothymooney/blood-cells` on Kaggle, the folder of its training
images (``EOSINOPHIL`` … ``NEUTROPHIL``). The other microscope is the PBC set (Acevedo et al. 2020,
Mendeley Data, doi:10.17632/snkd93bnjr.1), one folder per class (``eosinophil`` …); its 2 200 images
are named in ``names/pbc.txt``. Runs `qlvit-edge validate` as a user does, on whole images and on
the finder's crops, and prints one line per figure; reports are left below ``--out``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from qlvit_edge import bundled

MODELS = ("wbc-nano", "wbc-tiny")
NAMES = Path(__file__).parent / "names" / "pbc.txt"
_COMMAND = [sys.executable, "-P", "-c", "from qlvit_edge.cli import main; main()"]


def link_pbc(source: Path, target: Path) -> Path:
    """Link the named PBC images into folders called as the models' classes are."""
    for name in NAMES.read_text(encoding="utf-8").split():
        folder, _, file = name.partition("/")
        (target / folder.upper()).mkdir(parents=True, exist_ok=True)
        (target / folder.upper() / file).symlink_to((source / name).absolute())
    return target


def figures(model: str, place: str, options: list[str], out: Path) -> Iterator[str]:
    """Measure one model on one set of images, whole and as crops; yield a line each."""
    for way, flag in (("whole images", []), ("finder's crops", ["--find-cells"])):
        report = out / f"{model} {place} {way}".replace(" ", "-")
        command = [*_COMMAND, "validate", model, *options, *flag, "--out", str(report)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found = json.loads((report / "report.json").read_text(encoding="utf-8"))
        images = found["data"]["images"]
        low, high = found["accuracy_interval_95"]
        recalls = ", ".join(
            f"{name.lower()} {own['recall']:.1%}" for name, own in found["classes"].items()
        )
        yield (
            f"{model}, {place}, {way}: {found['accuracy']:.2%} of {images} images "
            f"(95 %: {low:.1%} to {high:.1%}); recall: {recalls}"
        )


def main() -> None:
    """Print the figures that the given folders allow."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wbc", type=Path, help="folder of the White Blood Cell set")
    parser.add_argument("--pbc", type=Path, help="folder of the PBC set")
    parser.add_argument("--out", type=Path, required=True, help="folder for the reports")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for model in MODELS:
            places: dict[str, list[str]] = {}
            if arguments.wbc is not None:
                split = bundled.FOLDER / model / "split.json"
                places["test side"] = ["--data", str(arguments.wbc), "--split", str(split)]
            if arguments.pbc is not None:
                folder = Path(name) / model
                places["other microscope"] = ["--data", str(link_pbc(arguments.pbc, folder))]
            for place, options in places.items():
                for line in figures(model, place, options, arguments.out):
                    print(line, flush=True)


if __name__ == "__main__":
    main()
