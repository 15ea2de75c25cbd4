"""Sources of images whose file names are running numbers: contiguous blocks of them.

The cells of one specimen are numbered one after another, but where one specimen ends is not said.
Blocks stand for specimens; the images on either side of a border are not confident, so that a
split by sources leaves them out of both sides::

    python benchmarks/id_blocks.py hep2/ --out blocks.csv
    qlvit-edge data split hep2/ --groups blocks.csv --out split.json
"""

from __future__ import annotations

import csv
from pathlib import Path

import click

from qlvit_edge.files import atomic_path


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="CSV to write.")
@click.option("--blocks", type=click.IntRange(2), default=10, show_default=True, help="Per class.")
@click.option(
    "--border",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="Images on either side of a border that belong to no block for sure.",
)
def main(directory: Path, out: Path, blocks: int, border: int) -> None:
    """Write the sources (class, file, source, confident) of a folder of numbered images."""
    with atomic_path(out) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("class", "file", "source", "confident"))
        for folder in sorted(path for path in directory.iterdir() if path.is_dir()):
            images = sorted(folder.iterdir(), key=lambda path: int(path.stem))
            for place, image in enumerate(images):
                block = place * blocks // len(images)
                near = {(place + step) * blocks // len(images) for step in (-border, border)}
                is_sure = near & set(range(blocks)) <= {block}
                writer.writerow((folder.name, image.name, f"{folder.name} {block}", int(is_sure)))


if __name__ == "__main__":
    main()
