"""Makes docs/demo.jpg: four frames of the simulated microscope as `make demo` leaves them.

python benchmarks/demo_picture.py demo/frames docs/demo.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

SIDE = 2


def main(frames: Path, out: Path) -> None:
    """Tile frames taken evenly from the folder."""
    paths = sorted(frames.glob("*.jpg"))
    chosen = [paths[index * len(paths) // SIDE**2] for index in range(SIDE**2)]
    images = [cv2.imread(str(path)) for path in chosen]
    rows = [np.hstack(images[row * SIDE : (row + 1) * SIDE]) for row in range(SIDE)]
    picture = cv2.resize(np.vstack(rows), None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out), picture, [cv2.IMWRITE_JPEG_QUALITY, 82])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
