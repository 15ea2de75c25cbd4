"""Makes docs/pictures/review.jpg: the review of a simulated run over the bundled fields.

python benchmarks/review_picture.py docs/pictures/review.jpg
python benchmarks/review_picture.py review.png --width 390

It needs Chromium and the extra `page`.
"""

from __future__ import annotations

import argparse
import base64
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from browser import Browser
from taken_picture import save

from qlvit_edge.bundled import FIELDS
from qlvit_edge.page.address import Address
from qlvit_edge.page.server import ReviewServer

HEIGHT = 800
_SEEN = """document.querySelector('.tile') !== null && [...document.querySelectorAll('.tile')]
.every((one) => one.matches('.seen') || one.getBoundingClientRect().bottom > innerHeight)"""


def main(out: Path, width: int, frames: int) -> None:
    """Run, change two cells, select two others, and take the picture."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.sqlite"
        command = [
            *(sys.executable, "-m", "qlvit_edge", "run", "blood-nano", "--out", str(results)),
            *("--camera", f"simulated:{FIELDS}?seed=2", "--frames", str(frames)),
            *("--sample", "S-0815", "--operator", "A. Example", "--keep", f"{folder}/kept"),
        ]
        subprocess.run(command, check=True, capture_output=True)
        with (
            ReviewServer(results, Address("127.0.0.1", 0), note=print) as page,
            Browser(Path(folder) / "browser", width=width, height=HEIGHT) as browser,
        ):
            browser.open(f"{page.welcome.link}review")
            browser.wait("!document.getElementById('who').hidden")
            browser.type("A. Reader")
            browser.press("Enter", "\r")
            browser.wait(_SEEN)
            for key in "ce-df":
                browser.press(key, key)
            browser.wait("document.querySelectorAll('.tile.changed').length === 2")
            browser.wait("!document.getElementById('left').textContent.startsWith('storing')")
            taken = base64.b64decode(browser.call("Page.captureScreenshot")["data"])
    save(taken, out)


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("out", type=Path)
    asked.add_argument("--width", type=int, default=1280)
    asked.add_argument("--frames", type=int, default=80)
    options = asked.parse_args()
    main(options.out, options.width, options.frames)
