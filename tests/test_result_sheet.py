"""The page of a run says what is stored of it, runs nothing, and prints to one sheet of paper."""

from __future__ import annotations

import base64
import json
import re
import time
from contextlib import closing
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from sqlite3 import connect
from typing import Any

import cv2
import numpy as np
import pytest
from browser import Browser
from command import refused, run_command
from results_rows import rows
from reviewed_run import OF_SAMPLE, SAMPLE, found, sign_run, write_run

from qlvit_edge.exchange.sheet import render
from qlvit_edge.exchange.sheet_reading import read_sheet
from qlvit_edge.fields.finder import Cell
from qlvit_edge.inference.classifier import Classification
from qlvit_edge.microscope.pipeline import ClassifiedCell
from qlvit_edge.review.store import ReviewStore

CALIBRATION = json.dumps(
    {
        **{"file": "left-40x.toml", "sha256": "cd" * 32, "um_per_pixel": 0.2173},
        **{"uncertainty_percent": 1.9, "measured_on": "2026-11-20"},
        "method": "stage micrometer with lines every 10 µm, found by their period",
    }
)


class Parsed(HTMLParser):
    """Tags with their attributes, and the rows of tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._in = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        self._in = tag in ("td", "th")
        if self._in:
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self._in:
            self.rows[-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._in = False


def words(text: str) -> str:
    """What a reader reads."""
    body = text.partition("<body")[2].partition(">")[2]
    return " ".join(unescape(re.sub("<[^>]*>", " ", body)).split())


def report(path: Path, out: Path, *more: object) -> str:
    assert run_command("results", "report", path, "--out", out, *more) == 0
    return out.read_text(encoding="utf-8")


def kept_folder(folder: Path) -> Path:
    (folder / "kept").mkdir()
    return folder / "kept"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Six cells in two frames, two of which people have decided on."""
    path = tmp_path / "r.sqlite"
    write_run(
        path,
        [found("RED"), found("RED"), found("BLUE", x=30)],
        [found("RED", "unknown cell"), found("BLUE", "uncertain"), found("BLUE")],
        info=replace(OF_SAMPLE, calibration=CALIBRATION),
        keep=kept_folder(tmp_path),
    )
    with ReviewStore(path) as store:
        store.change(1, [3], "RED", reason="granules", by="Ann")
        store.exclude(1, [1], reason="smudge", by="Ann")
    return path


def test_a_preliminary_page_says_what_people_and_the_model_count(path: Path) -> None:
    text = report(path, path.with_name("x.html"))
    said = words(text)
    for part in (
        f"{SAMPLE} run 1",
        "PRELIMINARY collected, not signed For research use only, not for diagnosis.",
        "Operator Olga",
        f"Model file {'ab' * 32}",
        "0.2173 µm per pixel ± 1.9 %, stage micrometer",
        f"calibration left-40x.toml, SHA-256 {'cd' * 8}…",
        "Beside the model's count: unclassed 1, unknown cell 1.",
        "Beside people's count: excluded 1, not looked at 4.",
        "not corrected: the results file does not hold the model's mistakes",
        "2 frames, 0 damaged and left out, 0 not fit to be judged.",
        "excluded cell 1: RED 75%",
        "RED cell 3: BLUE 75%",
    ):
        assert part in said, part
    (head,) = rows(path, "SELECT hash FROM review_heads")
    assert f"Record 2 of the review: {head[0]}" in said
    table = {row[0]: row[1:] for row in Parsed(text).rows}
    assert table["RED"][:6] == ["1", "100.0 %", "2.5–100.0", "2", "50.0 %", "6.8–93.2"]
    assert table["BLUE"][:6] == ["0", "0.0 %", "0.0–97.5", "2", "50.0 %", "6.8–93.2"]
    assert (table["counted"][0], table["counted"][3]) == ("1", "4")
    assert rows(path, "SELECT count(*) FROM reviews") == [(2,)]


def test_the_page_runs_and_fetches_nothing(path: Path) -> None:
    page = Parsed(report(path, path.with_name("x.html")))
    names = {name for name, _ in page.tags}
    assert not names & {"script", "iframe", "object", "embed", "link", "form", "a", "base"}
    policy = [tag["content"] for name, tag in page.tags if tag.get("http-equiv")]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    pictures = [str(tag["src"]) for name, tag in page.tags if name == "img"]
    assert len(pictures) == 6
    for picture in pictures:
        kind, _, content = picture.partition(",")
        assert kind == "data:image/jpeg;base64"
        image = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
    assert not [name for _, tag in page.tags for name in tag if name.startswith("on")]


def test_what_files_say_is_text_on_the_page(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    nasty = "<script>alert(1)</script>\"'&\x1b[31m"
    info = replace(OF_SAMPLE, sample=nasty, model=nasty, camera=nasty, kernels=nasty)
    write_run(path, [found(nasty)], info=info, keep=kept_folder(tmp_path))
    text = report(path, tmp_path / "x.html")
    assert "script" not in {name for name, _ in Parsed(text).tags}
    assert "\x1b" not in text
    assert words(text).count("<script>alert(1)") >= 5


def test_a_signed_page_is_recorded_and_names_who_signed(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sign_run(path)
    out = path.with_name("x.html")
    assert run_command("results", "report", path, "--out", out) == 2
    assert "--by" in capfd.readouterr().err
    assert not out.exists()
    said = words(report(path, out, "--by", "Bob"))
    assert "SIGNED by Ann 20" in said
    assert "Signature of Ann, date" in said
    assert "PRELIMINARY" not in said
    ((last,),) = rows(path, "SELECT content FROM reviews ORDER BY number DESC LIMIT 1")
    record = json.loads(last)
    assert (record["kind"], record["to"], record["by"]) == ("export", "x.html", "Bob")


def test_a_run_that_is_changed_while_its_page_is_written_does_not_leave(
    path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_run(path)

    def render_slowly(sheet: Any) -> str:
        with ReviewStore(path) as store:
            store.reopen(1, reason="wrong slide", by="Ann")
        sign_run(path, by="Bob")
        return render(sheet)

    monkeypatch.setattr("qlvit_edge.exchange.sheet.render", render_slowly)
    out = path.with_name("x.html")
    line = refused(capfd, "results", "report", path, "--out", out, "--by", "Ann")
    assert "was changed meanwhile" in line
    assert not out.exists()


def test_cells_seen_twice_are_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    write_run(path, [found()], [found()], [found("BLUE")])
    with closing(connect(path)) as connection, connection:
        connection.execute("UPDATE cells SET unique_cell = min(id, 2), doubtful = id = 1")
    sheet = read_sheet(path, None, None)
    assert sheet.model.cells == 2
    assert "2 found, each once: 2 unique, 1 doubtful" in words(render(sheet))


def test_without_pictures_the_page_says_why(tmp_path: Path) -> None:
    path, out = tmp_path / "r.sqlite", tmp_path / "x.html"
    write_run(path, [found()])
    assert "No pictures: the frames of this run were not kept." in words(report(path, out))
    write_run(path, [found()], keep=kept_folder(tmp_path))
    next((tmp_path / "kept").iterdir()).unlink()
    assert "the frames that were kept are not there any more" in words(report(path, out))
    write_run(path, [])
    assert "No pictures: no cell was found." in words(report(path, out))


def many_classes(path: Path, labels: list[str], sample: str, kept: Path) -> None:
    """A signed run of many cells; every part of its page is long."""

    def cell(label: str, index: int) -> ClassifiedCell:
        shares = dict.fromkeys(labels, 0.2 / (len(labels) - 1)) | {label: 0.8}
        verdict = ("accepted", "accepted", "unknown cell")[index % 3]
        answer = Classification(label, 0.8, shares, verdict)  # type: ignore[arg-type]
        return ClassifiedCell(Cell(index % 40, index % 28, 20, 16, 150.0), answer)

    info = replace(
        OF_SAMPLE,
        sample=sample,
        operator="Olga Operatorová-Schmidt",
        calibration=CALIBRATION,
        camera="rtsp://camera.lab.example.org:8554/microscope/left",
        runtime="ai-edge-litert 2.3.0",
        kernels="XNNPACK (16 partitions, 93 builtin operators)",
    )
    frames = [
        [cell(label, 7 * row + column) for column, label in enumerate(labels)] for row in range(3)
    ]
    write_run(path, *frames, info=info, keep=kept)
    with ReviewStore(path) as store:
        store.change(1, [1, 2, 3], labels[-1], reason="looked again", by="Ann Reader")
        store.exclude(1, [4, 5], reason="smudge", by="Ann Reader")
    sign_run(path, by="Ann Reader")


LONG = [
    f"{how} {kind}"
    for how in ("immature", "band-shaped", "segmented", "reactive or atypical")
    for kind in (
        "neutrophil of the granulocytic series",
        "lymphocyte of the lymphatic series",
        "monocyte with vacuoles, monocytic series",
        "eosinophil of the granulocytic series",
        "basophil of the granulocytic series",
    )
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("labels", "sample"),
    [
        ([f"class {number}" for number in range(7)], "S-0815"),
        (LONG[:7], "S-0815 " + "0123456789" * 19),
        (LONG, ("LABORATORY/2026/" + "0123456789-" * 17)[:200]),
    ],
)
def test_a_browser_prints_one_sheet(tmp_path: Path, labels: list[str], sample: str) -> None:
    path = tmp_path / "r.sqlite"
    many_classes(path, labels, sample, kept_folder(tmp_path))
    sheet = read_sheet(path, 1, None)
    mistakes_known = replace(
        sheet.model,
        not_corrected=None,
        held_out_cells=1244,
        classes=tuple(
            replace(one, corrected=0.05, corrected_limits=(0.012, 0.134))
            for one in sheet.model.classes
        ),
    )
    sheets = {"as is": sheet, "corrected": replace(sheet, model=mistakes_known)}
    for name, one in sheets.items():
        (tmp_path / f"{name}.html").write_text(render(one), encoding="utf-8")
    # 186 mm are 703 pixels of CSS: as wide as the paper between its margins.
    with Browser(tmp_path / "profile", width=703, height=1040) as browser:
        browser.call("Page.enable")
        browser.call("Emulation.setEmulatedMedia", media="print")
        for name in sheets:
            browser.call("Page.navigate", url=(tmp_path / f"{name}.html").as_uri())
            _wait_until_complete(browser)
            options = {"preferCSSPageSize": True, "printBackground": True}
            pdf = base64.b64decode(browser.call("Page.printToPDF", **options)["data"])
            assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 1
            (box,) = re.findall(rb"/MediaBox\s*\[([^]]*)\]", pdf)
            width, height = (float(part) / 72 * 25.4 for part in box.split()[2:])
            assert (width, height) == (pytest.approx(210, abs=0.5), pytest.approx(297, abs=0.5))
            found = browser.call("Runtime.evaluate", expression=_PROBE, returnByValue=True)
            assert found["result"]["value"] == {"pictures": 10, "broken": 0, "tooWide": False}


_PROBE = """({
  pictures: document.images.length,
  broken: [...document.images].filter(one => !one.naturalWidth).length,
  tooWide: document.documentElement.scrollWidth > document.documentElement.clientWidth,
})"""


def _wait_until_complete(browser: Browser) -> None:
    for _ in range(100):
        asked = "location.protocol + document.readyState"
        state = browser.call("Runtime.evaluate", expression=asked)["result"]["value"]
        if state == "file:complete":
            return
        time.sleep(0.1)
    pytest.fail("the page was not loaded within 10 s")
