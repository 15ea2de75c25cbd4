"""Whether an image is fit to be judged: the measures, and how their limits are found."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from command import run_command
from numpy.typing import NDArray
from tiny_guard import guarded_file, noisy, tiny_guard
from tiny_metadata import plain_image

from qlvit_edge.calibration import degradations
from qlvit_edge.calibration.degradations import DEGRADATIONS
from qlvit_edge.calibration.quality import LEAST_IMAGES, View, find_quality, never_rising
from qlvit_edge.camera.base import Frame
from qlvit_edge.evaluation.guarding import Judged, measure_guarding
from qlvit_edge.evaluation.validation_text import verdict_sentences
from qlvit_edge.fields.appearance import APPEARANCE
from qlvit_edge.fields.finder import Cell
from qlvit_edge.fields.quality import CUT, QUALITY, image_measures, kind_of, unfit
from qlvit_edge.guard.judge import Judge
from qlvit_edge.inference.classifier import Classification
from qlvit_edge.microscope.fitness import OF_THE_BACKGROUND, frame_finding
from qlvit_edge.microscope.pipeline import ClassifiedCell, Pipeline, of_a_part
from qlvit_edge.microscope.records import FrameRecord
from qlvit_edge.modelfile.guard import (
    Bounds,
    Cluster,
    Evidence,
    Group,
    Guard,
    Measure,
    Space,
    Table,
    powers,
)

Image = NDArray[np.uint8]
BY_NAME = {way.name: way for way in DEGRADATIONS}


def smear(seed: int = 0, side: int = 96) -> Image:
    """A stained cell on a light background, with chromatin to be sharp about."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] - side / 2 + rng.uniform(-6, 6, (2, 1, 1))
    away = np.hypot(x, y)
    grain = cv2.GaussianBlur(rng.normal(0, 1, (side, side)), (0, 0), 1.0)
    nucleus = (away < side * rng.uniform(0.2, 0.26)) * (0.9 + grain)
    cytoplasm = (away < side * 0.36) * 0.35
    absorbed = np.array([0.75, 1.1, 0.35])
    density = (nucleus + cytoplasm)[..., None] * absorbed * rng.uniform(0.8, 1.2)
    light = np.array([226.0, 220.0, 216.0]) * np.exp(-density)
    light += rng.normal(0, 0.7, light.shape)
    return np.asarray(np.clip(light + 0.5, 0, 255).astype(np.uint8))


def measured(image: Image) -> dict[str, int]:
    """The measures of an image, all of them integers."""
    found = image_measures(image)
    assert all(type(value) is int for value in found.values())
    return found


def test_defocus_lowers_sharpness_step_by_step() -> None:
    values = [
        measured(BY_NAME["defocus"].apply(smear(), strength))["sharpness"]
        for strength in BY_NAME["defocus"].strengths
    ]
    assert [measured(smear())["sharpness"], *values] == sorted(
        [measured(smear())["sharpness"], *values], reverse=True
    )
    assert values[-1] < 2700


def test_sharpness_does_not_depend_on_the_strength_of_the_stain() -> None:
    plain = measured(smear())["sharpness"]
    for strength in (0.6, 1.5):
        other = measured(BY_NAME["weaker stain"].apply(smear(), strength))["sharpness"]
        assert abs(other - plain) < 0.05 * plain


def test_noise_does_not_hide_defocus() -> None:
    blurred = BY_NAME["defocus"].apply(smear(), 3.5)
    noisy = measured(BY_NAME["noise"].apply(blurred, 3))
    assert noisy["sharpness"] < measured(smear())["sharpness"]
    assert noisy["noise"] - measured(blurred)["noise"] == pytest.approx(900, rel=0.1)


def test_colour_is_counted_in_hundredths_of_a_doubling() -> None:
    image = smear()
    halved = image.copy()
    halved[..., 0] //= 2
    plain, red = measured(image), measured(halved)
    assert plain["warmth"] - red["warmth"] == pytest.approx(100, abs=2)
    assert red["tint"] - plain["tint"] == pytest.approx(100, abs=2)
    assert plain["stain"] == red["stain"]


def test_light_is_the_brightest_channel_and_clipping_counts_values() -> None:
    image = np.full((40, 40, 3), 100, np.uint8)
    image[:10, :, 2] = 255
    assert measured(image)["clipped"] == 1000 // 12
    assert measured(image)["light"] == 255
    assert measured(image)["warmth"] < 0


@pytest.mark.parametrize("channels", [1, 3])
def test_an_empty_field_has_no_sharpness(channels: int) -> None:
    found = measured(np.full((32, 48, channels), 200, np.uint8))
    assert (found["sharpness"], found["noise"], found["stain"]) == (0, 0, 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2)])
def test_a_picture_of_one_row_or_column_is_measured(size: tuple[int, int]) -> None:
    found = image_measures(np.full((*size, 3), 200, np.uint8))
    assert (found["detail"], found["sharpness"], found["light"]) == (0, 0, 200)


def test_the_limit_itself_is_still_judged() -> None:
    limits = [Measure(name="sharpness", fit_low=2700), Measure(name="light", fit_high=250)]
    assert unfit({"sharpness": 2700, "light": 250}, limits) == ""
    finding = unfit({"sharpness": 2699, "light": 255}, limits)
    assert finding == "out of focus: sharpness 2699, judged from 2700"
    assert kind_of(finding) == "out of focus"
    assert unfit({"light": 251}, limits) == "too bright: light 251, judged up to 250"


def test_a_guard_without_limits_abstains_from_nothing() -> None:
    black = measured(np.zeros((32, 32, 3), np.uint8))
    assert unfit(black, [Measure(name=name) for name in QUALITY]) == ""


def test_never_rising_pools_what_rises() -> None:
    assert never_rising([0.9, 0.8, 0.84, 0.5]) == pytest.approx([0.9, 0.82, 0.82, 0.5])
    assert never_rising([0.5, 0.6, 0.7]) == pytest.approx([0.6] * 3)


@pytest.mark.parametrize("way", DEGRADATIONS, ids=lambda way: str(way.name))
def test_degradations_keep_shape_and_type_and_do_something(way: degradations.Degradation) -> None:
    for image in (smear(), smear()[..., 1:2]):
        degraded = way.apply(image, way.strengths[-1])
        assert degraded.shape == image.shape
        assert degraded.dtype == np.uint8
        if image.shape[2] == 3 or ("ier light" not in way.name and "er light" not in way.name):
            assert (degraded != image).any()


VIEWS = [View(smear(seed), 0, "one microscope") for seed in range(LEAST_IMAGES)]


def short_ladder(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Try these ways only."""
    ways = [BY_NAME[name] for name in names]
    monkeypatch.setattr("qlvit_edge.calibration.quality.DEGRADATIONS", ways)


def bounds(measures: list[Measure]) -> set[str]:
    """The limits that were set."""
    low = {f"{m.name} low" for m in measures if m.fit_low is not None}
    return low | {f"{m.name} high" for m in measures if m.fit_high is not None}


def test_only_what_costs_accuracy_gets_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    short_ladder(monkeypatch, "defocus", "less light", "redder light")

    def sees_detail(pixels: Image) -> int:
        return 0 if image_measures(pixels)["sharpness"] > 2900 else 1

    found = find_quality(sees_detail, VIEWS)
    assert bounds(found.measures) == {"sharpness low"}
    by_strength = {(row.kind, row.strength): row for row in found.degraded}
    assert by_strength["none", 1.0].abstained <= 0.02
    assert by_strength["defocus", 5].abstained > 0.9
    assert by_strength["less light", 0.2].abstained == 0
    assert by_strength["less light", 0.2].accuracy == 1


def test_a_network_that_nothing_disturbs_never_abstains(monkeypatch: pytest.MonkeyPatch) -> None:
    short_ladder(monkeypatch, "more light", "bluer light", "noise")
    found = find_quality(lambda _: 0, VIEWS)
    assert bounds(found.measures) == set()
    assert all(row.abstained == 0 for row in found.degraded)


def test_where_no_class_is_known_the_undegraded_answer_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short_ladder(monkeypatch, "less light")
    unlabelled = [View(view.pixels, -1, view.group) for view in VIEWS]
    found = find_quality(lambda pixels: int(pixels.max() > 150), unlabelled)
    assert found.degraded[0].accuracy == 1
    assert bounds(found.measures) == {"light low"}


def test_a_dim_microscope_is_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    short_ladder(monkeypatch, "less light")
    dim = [View((v.pixels * 0.6).astype(np.uint8), 0, "dim") for v in VIEWS]
    found = find_quality(lambda pixels: int(pixels.max() < 100), [*VIEWS, *dim])
    (light,) = [m for m in found.measures if m.name == "light"]
    assert light.fit_low is not None
    assert light.fit_low <= min(image_measures(view.pixels)["light"] for view in dim)


def test_too_few_images_set_no_limit() -> None:
    found = find_quality(lambda _: 0, VIEWS[: LEAST_IMAGES - 1])
    assert bounds(found.measures) == set()
    assert [measure.name for measure in found.measures] == list(QUALITY)


def classified(verdict: str, reason: str | None = None, *, cut: bool = False) -> ClassifiedCell:
    """A cell with a verdict."""
    answer = Classification("neutrophil", 0.9, {"neutrophil": 0.9}, verdict, reason)  # type: ignore[arg-type]
    return ClassifiedCell(Cell(0, 0, 9, 9, 50.0, cut), answer)


def test_a_part_of_a_cell_is_not_accepted() -> None:
    part = of_a_part(classified("accepted").classification)
    assert (part.verdict, part.reason, part.label) == ("abstained", CUT, "neutrophil")
    unknown = classified("unknown cell", "unlike its class: 2 times").classification
    assert of_a_part(unknown) == unknown


def test_a_frame_is_as_fit_as_half_of_its_cells() -> None:
    limits = [Measure(name="light", fit_low=150), Measure(name="warmth", fit_high=60)]
    guard = SimpleNamespace(measures=limits)
    blurred = classified("abstained", "out of focus: sharpness 2600, judged from 2700")
    good, cut = classified("accepted"), classified("abstained", CUT)
    field = np.full((60, 80, 3), 220, np.uint8)

    def finding(image: Image, *cells: ClassifiedCell) -> str | None:
        return frame_finding(image, cells, guard)  # type: ignore[arg-type]

    assert finding(field, blurred, good) == "out of focus"
    assert finding(field, blurred, good, good) is None
    assert finding(field, cut, cut) is None
    assert finding(field) is None
    assert finding(field // 2) == "too dark"
    assert finding((field * (1.0, 0.9, 0.6)).astype(np.uint8)) == "off in colour"
    assert frame_finding(field // 2, [], None) is None


def test_a_background_is_judged_by_measures_that_there_are() -> None:
    assert set(QUALITY) > OF_THE_BACKGROUND


def lenient_guard(limits: list[Measure]) -> Guard:
    """A guard that takes every cell for a known one, in images within the limits."""
    nothing = np.zeros((1, 1), np.int32)
    far = 1 << 50
    group = Group(
        view="crop",
        image=far,
        nearest=far,
        neighbours=far,
        own=far,
        run_image=far,
        run_nearest=far,
        bounds=[Bounds(low=-1e9, high=1e9) for _ in limits],
    )
    evidence = Evidence(
        data="none",
        cells={},
        rate=0,
        rejected=0,
        accuracy=1,
        accuracy_accepted=1,
        calibration_error=0,
        calibration_error_after=0,
    )

    def space(width: int) -> Space:
        projection = Table.of(np.ones((1, width), np.int16))
        return Space(projection=projection, shift=0, means=Table.of(nothing))

    return Guard(
        features=4,
        feature_scale=1,
        feature_zero_point=0,
        logit_scale=0.1,
        appearance=list(APPEARANCE),
        image=space(len(APPEARANCE)),
        cell=space(4 + len(APPEARANCE)),
        clusters=[Cluster(label=0, group=0, cells=1)],
        prototypes=Table.of(nothing.astype(np.int16)),
        neighbours=1,
        temperature=1,
        powers=powers(1, 0.1),
        probability=0.5,
        groups=[group],
        measures=limits,
        evidence=evidence,
    )


@pytest.mark.parametrize(
    ("way", "reason"),
    [("defocus", "out of focus"), ("less light", "too dark"), ("redder light", "off in colour")],
)
def test_a_degraded_cell_is_abstained_from_and_a_good_one_is_not(way: str, reason: str) -> None:
    limits = [
        Measure(name="sharpness", fit_low=2720),
        Measure(name="light", fit_low=150),
        Measure(name="warmth", fit_high=60),
    ]
    judge = Judge(lenient_guard(limits))
    logits, features = np.array([90, -90], np.int8), np.zeros(4, np.int8)
    good = judge.judge_input(logits, features, smear())
    assert good.verdict == "accepted"
    degraded = BY_NAME[way].apply(smear(), BY_NAME[way].strengths[-1])
    judgement = judge.judge_input(logits, features, degraded)
    assert judgement.verdict == "abstained"
    assert kind_of(judgement.reason) == reason


class Says:
    """A classifier that accepts every cell."""

    judges: bool

    def __init__(self, *, judges: bool) -> None:
        self.judges = judges

    def prepare(self, image: Image) -> Image:
        return image

    def infer(self, pixels: Image) -> Classification:
        return classified("accepted").classification


@pytest.mark.parametrize("judges", [True, False])
def test_only_a_model_with_a_guard_abstains_from_cut_cells(judges: bool) -> None:
    field = np.full((240, 320, 3), 225, np.uint8)
    for centre in ((160, 120), (8, 120)):
        cv2.circle(field, centre, 22, (110, 70, 170), -1)
    for centre in ((60, 50), (240, 60), (90, 200), (250, 190)):
        cv2.circle(field, centre, 26, (205, 150, 140), -1)
    pipeline = Pipeline(Says(judges=judges), cell_size=0.3)  # type: ignore[arg-type]
    found = pipeline.process(Frame(field, 0, 0.0, "field.png"))
    by_cut = {cell.cell.cut: cell.classification for cell in found}
    assert by_cut[False].verdict == "accepted"
    assert by_cut[True].verdict == ("abstained" if judges else "accepted")
    assert by_cut[True].reason == (CUT if judges else None)


def test_validation_counts_by_reason_and_judges_the_rest() -> None:
    blurred = Judged("abstained", 0.0, False, "out of focus: sharpness 2600, judged from 2700")
    dark = Judged("abstained", 0.0, True, "too dark: light 100, judged from 140")
    answers = [blurred, blurred, dark, Judged("accepted", 1.2, True), Judged(None, 0.0, False)]
    found = measure_guarding(answers, [], guard=True)
    assert found.abstained == {"out of focus": 2, "too dark": 1}
    assert found.accuracy_of_fit == 0.5
    assert found.risk_coverage[0].risk == 0
    sentences = "; ".join(verdict_sentences(found))
    assert "not fit to be judged: 2 out of focus, 1 too dark; right 50.0 % of the others" in (
        sentences.replace("50.0%", "50.0 %")
    )
    none = measure_guarding([Judged("accepted", 1.2, True)], [], guard=True)
    assert "not fit" not in "; ".join(verdict_sentences(none))


def test_a_run_counts_cells_and_frames_by_reason() -> None:
    blurred = classified("abstained", "out of focus: sharpness 2600, judged from 2700")
    field = Frame(np.full((60, 80, 3), 220, np.uint8), 0, 0.0, "field.png")
    record = FrameRecord.of(field, [blurred, classified("accepted")], unfit="out of focus")
    assert record.abstained() == ["out of focus"]
    assert record.unfit == "out of focus"
    assert FrameRecord.of(field, []).unfit is None


@pytest.fixture
def guarded(tmp_path: Path) -> Path:
    """The tiny model with a guard that judges no picture of less light than 150."""
    guard = tiny_guard()
    limits = [Measure(name=name, fit_low=150 if name == "light" else None) for name in QUALITY]
    return guarded_file(tmp_path / "m.tflite", guard.model_copy(update={"measures": limits}))


@pytest.fixture
def lit_and_dark(tmp_path: Path) -> Path:
    """Two known pictures and a dark one, in folders of their class."""
    rng = np.random.default_rng(3)
    folder = tmp_path / "cells"
    for name, label, level in (("a", "RED", 200), ("b", "BLUE", 195), ("c", "RED", 100)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        image = noisy(plain_image(label, level=level), rng)
        cv2.imwrite(str(folder / label / f"{name}.png"), image[:, :, ::-1])
    return folder


DARK = "too dark: light "


def test_run_stores_and_sums_up_what_is_not_judged(
    guarded: Path, lit_and_dark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results.sqlite"
    asked = ("run", guarded, "--camera", lit_and_dark, "--out", out, "--find", "none")
    assert run_command(*asked) == 0
    shown = capsys.readouterr().out
    assert "1 cell not fit to be judged: 1 too dark\n" in shown
    assert "1 frame not fit to be judged: 1 too dark\n" in shown
    assert re.search(r"not fit to be judged │ +1 │", shown)
    with closing(sqlite3.connect(out)) as results:
        cells = results.execute("SELECT verdict, reason FROM cells").fetchall()
        frames = results.execute("SELECT source, unfit FROM frame_list").fetchall()
    assert sorted(verdict for verdict, _ in cells) == ["abstained", "accepted", "accepted"]
    (reason,) = [text for verdict, text in cells if verdict == "abstained"]
    assert reason.startswith(DARK)
    assert {source for source, unfit in frames if unfit == "too dark"} == {"RED/c.png"}
    assert run_command(*asked, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["abstained"] == {"too dark": 1}
    assert summary["unfit_frames"] == {"too dark": 1}


def test_predict_says_why_it_does_not_judge(
    guarded: Path, lit_and_dark: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("predict", lit_and_dark, "--model", guarded) == 0
    shown = capsys.readouterr().out
    assert f"abstained: {DARK}" in shown
    assert "3 images: 2 accepted, 0 not sure, 1 abstained" in shown
    assert run_command("predict", lit_and_dark, "--model", guarded, "--csv") == 0
    remarks = [row["remark"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))]
    assert sum(remark.startswith(DARK) for remark in remarks) == 1
    assert remarks.count("") == 2
    assert run_command("predict", lit_and_dark, "--model", guarded, "--json") == 0
    reasons = [record["reason"] for record in json.loads(capsys.readouterr().out)]
    assert reasons.count(None) == 2


def test_validate_reports_what_it_does_not_judge(
    guarded: Path, lit_and_dark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    green = lit_and_dark / "GREEN"
    green.mkdir()
    cv2.imwrite(str(green / "d.png"), plain_image("GREEN")[:, :, ::-1])
    out = tmp_path / "report"
    assert run_command("validate", guarded, "--data", lit_and_dark, "--out", out) in (0, 1)
    assert "not fit to be judged: 1 too dark; right 100.0% of the others" in (
        capsys.readouterr().out.replace("100.0 %", "100.0%")
    )
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert '"abstained": {"too dark": 1}' in json.dumps(report)


@pytest.mark.parametrize(("needed", "harmless_strengths"), [(120, 0), (100, 1)])
def test_a_limit_spares_known_images_and_harmless_copies(
    needed: int, harmless_strengths: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known images have very different light; the dimmest, 124, are answered rightly."""
    short_ladder(monkeypatch, "less light")
    lamps = np.linspace(0.55, 1, len(VIEWS))
    dim = [
        View((view.pixels * lamp).astype(np.uint8), 0, "one microscope")
        for view, lamp in zip(VIEWS, lamps, strict=True)
    ]

    def fails_in_less_light(pixels: Image) -> int:
        return int(image_measures(pixels)["light"] < needed)

    found = find_quality(fails_in_less_light, dim)
    plain, *degraded = found.degraded
    assert plain.abstained <= 0.03
    harmless = [row for row in degraded if row.accuracy > plain.accuracy - 0.02]
    assert len(harmless) == harmless_strengths
    assert all(row.abstained <= 0.1 for row in harmless)
    assert any(row.abstained > 0.5 for row in found.degraded)
