"""Makes docs/pictures/page.jpg: the live page of a simulated run over the bundled fields.

python benchmarks/page_picture.py docs/pictures/page.jpg
python benchmarks/page_picture.py page.png --width 390 --seconds 20

It needs Chromium and the extra `page`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from browser import Browser
from taken_picture import save

from qlvit_edge.bundled import FIELDS

HEIGHT = 1560
"""Of the window: without scrolling on a wide one."""

_ACCEPTED = "document.getElementById('cells-rows').textContent.includes('accepted')"


def main(out: Path, width: int, seconds: float, seed: int) -> None:
    """Run for a while, then take the picture and stop."""
    with tempfile.TemporaryDirectory() as folder:
        source = f"simulated:{FIELDS}?stage=hand&seed={seed}&fps=8"
        command = [
            *(sys.executable, "-m", "qlvit_edge", "run", "blood-nano", "--camera", source),
            *("--out", f"{folder}/results.sqlite", "--serve", "127.0.0.1:0", "--stop-at", "100"),
            *("--sample", "S-0815", "--operator", "A. Example"),
        ]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as run:
            assert run.stderr is not None
            link = next(line for line in run.stderr if line.startswith("page: ")).split()[1]
            with Browser(Path(folder) / "browser", width=width, height=HEIGHT) as browser:
                browser.open(link)
                browser.wait("!document.getElementById('frame').hidden")
                time.sleep(seconds)
                browser.wait(_ACCEPTED)
                taken = browser.picture()
            run.terminate()
            run.communicate(timeout=30)
    save(taken, out)


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("out", type=Path)
    asked.add_argument("--width", type=int, default=1280)
    asked.add_argument("--seconds", type=float, default=20.0)
    asked.add_argument("--seed", type=int, default=2)
    options = asked.parse_args()
    main(options.out, options.width, options.seconds, options.seed)
