"""A real browser shows our reports: pictures drawn, nothing fetched, no overflow."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_run import small_config, write_folder, write_run
from tiny_metadata import plain_image, tiny_file
from tiny_model import COLOURS

from qlvit_edge.cli import main

pytestmark = pytest.mark.slow

# Asks the finished page, inside the browser, what a reader would notice.
_PROBE = """
<script>
addEventListener("load", () => {
  const pictures = [...document.images];
  document.body.dataset.probe = [
    pictures.length,
    pictures.filter(picture => !picture.naturalWidth).length,
    document.documentElement.scrollWidth - document.documentElement.clientWidth,
    performance.getEntriesByType("resource").filter(e => !e.name.startsWith("data:")).length,
    document.querySelectorAll("svg").length,
    [...document.querySelectorAll("svg text")].filter(text => {
      const inner = text.getBoundingClientRect();
      const outer = text.ownerSVGElement.getBoundingClientRect();
      return inner.left < outer.left - 1 || inner.right > outer.right + 1
        || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1;
    }).length,
  ].join(" ");
});
</script>
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a model that confuses some colours."""
    folder = tmp_path_factory.mktemp("report")
    for label in COLOURS:
        (folder / "cells" / label).mkdir(parents=True)
        for number in range(4):
            image = plain_image("GREEN" if number == 0 else label, size=40, level=120 + 30 * number)
            name = str(folder / "cells" / label / f"a_rather_long_file_name_{number}.png")
            cv2.imwrite(name, image[:, :, ::-1])
    model = tiny_file(folder / "tiny.tflite")
    arguments = ["validate", model, "--data", folder / "cells", "--out", folder / "out"]
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == 0
    return folder / "out" / "index.html"


@pytest.fixture(scope="module")
def run_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run on every image it has."""
    root = tmp_path_factory.mktemp("run report")
    write_run(root / "run", write_folder(root / "cells", 5), small_config())
    with pytest.raises(SystemExit) as ended:
        main(["report", str(root / "run"), "--every-image"])
    assert ended.value.code == 0
    return root / "run" / "report.html"


def _browser(profile: Path, *arguments: str) -> str:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if program is None:
        pytest.fail("this test needs a browser: apt-get install chromium")
    done = subprocess.run(
        [
            program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("width", [1200, 500])
def test_page_is_whole_on_a_desk_and_narrow_screens(width: int, page: Path, tmp_path: Path) -> None:
    pictures, broken, overflow, fetched, drawings, cut_texts = _probed(page, width, tmp_path)
    assert pictures == 2
    assert broken == 0
    assert overflow <= 0
    assert fetched == 0
    assert drawings == 2 * 4 + 1  # four for whole images, four for crops, the latencies
    assert cut_texts == 0


@pytest.mark.parametrize("width", [1200, 500])
def test_page_of_a_run_is_whole_too(width: int, run_page: Path, tmp_path: Path) -> None:
    pictures, *faults, drawings, cut_texts = _probed(run_page, width, tmp_path)
    assert pictures > 10
    assert (faults[0], faults[2], cut_texts) == (0, 0, 0)
    assert faults[1] <= 0
    assert drawings == 2 * 3  # no history; confusion, ROC and reliability of either view


def _probed(page: Path, width: int, scratch: Path) -> list[int]:
    """What a browser of a width finds on a page: see `_PROBE`."""
    probed = scratch / "probed.html"
    probed.write_text(page.read_text().replace("</body>", f"{_PROBE}</body>"))
    shown = _browser(
        scratch / "profile",
        f"--window-size={width},900",
        "--virtual-time-budget=10000",
        "--dump-dom",
        probed.as_uri(),
    )
    found = re.search(r'data-probe="(\d+) (\d+) (-?\d+) (\d+) (\d+) (\d+)"', shown)
    assert found is not None
    return [int(number) for number in found.groups()]


def test_screenshot_has_text_pictures_and_colours(page: Path, tmp_path: Path) -> None:
    target = tmp_path / "page.png"
    _browser(
        tmp_path / "profile", "--window-size=1000,1800", f"--screenshot={target}", page.as_uri()
    )
    image = cv2.imread(str(target))
    assert image is not None
    assert image.shape == (1800, 1000, 3)
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 200
    # Not one blank part: every sixth of the page has ink on it.
    for part in np.array_split(image, 6):
        assert float((part.min(axis=2) < 140).mean()) > 0.002
