"""Calibration: observers find the right ranges, on the right images, for the right network."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from command import refused, run_command
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from small_run import small_config, write_folder, write_run

from qlvit_edge.calibration import collect
from qlvit_edge.calibration.file import Calibration, load_calibration
from qlvit_edge.calibration.images import choose_images, files_elsewhere
from qlvit_edge.calibration.observers import (
    OBSERVERS,
    AnchorObserver,
    Histogram,
    TensorObserver,
    entropy_range,
    mse_range,
    percentile_range,
)
from qlvit_edge.calibration.observers.clipping import divergence, expected_error
from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import Split, load_split, stratified_split
from qlvit_edge.errors import CalibrationError
from qlvit_edge.files import sha256
from qlvit_edge.integer.uniform import dequantise, quantise, uniform_parameters
from qlvit_edge.preprocess import decode
from qlvit_edge.training.checkpoint import FORMAT, load_checkpoint, save_tensors

values = arrays(np.float32, st.integers(1, 60), elements=st.floats(-100, 100, width=32))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with its calibration; its data lies beside it."""
    root = tmp_path_factory.mktemp("calibrated")
    write_run(root / "run", write_folder(root / "cells", 5), small_config())
    assert run_command("calibrate", root / "run", "--images", 8) == 0
    return root / "run"


@pytest.fixture
def run(calibrated: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(calibrated, tmp_path / "run"))


@given(st.lists(values, min_size=1, max_size=4))
def test_minmax_keeps_the_extremes(parts: list[np.ndarray]) -> None:
    observer = _observed(parts)
    everything = np.concatenate(parts)
    assert observer.ranges()["minmax"] == (everything.min(), everything.max())


def _observed(parts: list[np.ndarray]) -> TensorObserver:
    observer = TensorObserver()
    for part in parts:
        observer.update(part)
    return observer


@given(st.lists(values, min_size=1, max_size=4), st.sampled_from([0.05, 1.0, 10.0]))
def test_percentile_agrees_with_numpy_within_a_bin(parts: list[np.ndarray], tail: float) -> None:
    histogram = _observed(parts).histogram
    low, high = percentile_range(histogram, tail)
    everything = np.concatenate(parts).astype(np.float64)
    width = histogram.width
    # NumPy's neighbours of the quantile: the observer gives a bin that holds one of them.
    for found, share in ((low, tail), (high, 100 - tail)):
        below = np.percentile(everything, share, method="lower")
        above = np.percentile(everything, share, method="higher")
        assert below - 1.001 * width <= found <= above + 1.001 * width


@pytest.mark.parametrize("name", ["percentile", "mse", "entropy", "moving"])
def test_rare_extremes_are_left_out_by_all_but_minmax(name: str) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(0, 1, 1000).astype(np.float32) for _ in range(100)]
    parts[7][0] = 40.0
    ranges = _observed(parts).ranges()
    assert ranges["minmax"][1] == 40
    assert 2 < ranges[name][1] < 36
    assert -5.5 < ranges[name][0] < -2


@given(values, values)
@example(np.array([-1e-45], np.float32), np.array([5.0], np.float32))
def test_counts_survive_a_doubled_span(small: np.ndarray, large: np.ndarray) -> None:
    histogram = Histogram()
    histogram.update(small)
    histogram.update(large * np.float32(1000))
    assert histogram.counts.sum() == len(small) + len(large)
    assert histogram.span > max(np.abs(small).max(), np.abs(large * np.float32(1000)).max())
    # A bin of the doubled span holds what its two halves held: same bins as all at once.
    at_once = Histogram()
    at_once.update(np.concatenate([large * np.float32(1000), small]))
    assert at_once.span == histogram.span
    assert np.array_equal(at_once.counts, histogram.counts)


@given(st.lists(values, min_size=1, max_size=3))
def test_mse_and_entropy_are_never_worse_than_minmax_by_their_own_measure(
    parts: list[np.ndarray],
) -> None:
    observer = _observed(parts)
    histogram, extremes = observer.histogram, (observer.low, observer.high)
    chosen = mse_range(histogram, extremes)
    assert expected_error(histogram, chosen) <= expected_error(histogram, extremes)
    spread = entropy_range(histogram, extremes)
    assert divergence(histogram, spread) <= divergence(histogram, extremes)
    for low, high in (chosen, spread):
        assert min(extremes[0], 0) <= low <= high <= max(extremes[1], 0)


def test_expected_error_is_the_measured_error_of_the_quantiser() -> None:
    x = np.random.default_rng(1).normal(0.5, 2, 200_000).astype(np.float32)
    histogram = _observed([x]).histogram
    for candidate in ((-9.0, 9.0), (-2.0, 3.0), (0.0, 6.0)):
        parameters = uniform_parameters(*candidate)
        real = dequantise(quantise(x, parameters), parameters)
        measured = float(np.square(real - x).mean())
        assert expected_error(histogram, candidate) == pytest.approx(measured, rel=0.03)


def test_mse_finds_the_best_of_all_pairs_of_ends() -> None:
    x = np.random.default_rng(2).laplace(0, 1, 50_000).astype(np.float32)
    observer = _observed([x])
    found = expected_error(observer.histogram, observer.ranges()["mse"])
    shares = np.linspace(0.1, 1, 25)
    every = [
        expected_error(observer.histogram, (observer.low * a, observer.high * b))
        for a in shares
        for b in shares
    ]
    assert found <= 1.02 * min(every)


def test_moving_average_weighs_the_first_image_as_any_other() -> None:
    same = _observed([np.array([-1, 3], np.float32)] * 5).ranges()["moving"]
    assert same == pytest.approx((-1, 3))
    parts = [np.array([-1, 3], np.float32), np.array([-2, 5], np.float32)]
    assert _observed(parts).ranges()["moving"] == pytest.approx((-1.5, 4.0), rel=0.01)


def test_anchor_follows_where_the_mass_is() -> None:
    flat, peaked = AnchorObserver(1), AnchorObserver(1)
    flat.update(np.full((1, 512, 3), 2.0**-9))
    one_hot = np.full((1, 512, 3), 2.0**-15)
    one_hot[:, 0] = 1.0
    peaked.update(one_hot)
    assert peaked.anchor() == 0
    assert flat.anchor() >= 2
    levels = np.exp2(-np.arange(flat.anchor(), flat.anchor() + 8.0))
    assert 2.0**-9 in levels


def test_calibration_file_records_what_it_was_made_from(calibrated: Path) -> None:
    checkpoint = load_checkpoint(calibrated)
    calibration = load_calibration(calibrated / "calibration.json", checkpoint.sha256)
    assert calibration.checkpoint_sha256 == sha256((calibrated / "best.safetensors").read_bytes())
    data, split = Path(checkpoint.run.data), load_split(calibrated / "split.json")
    assert len(calibration.images) == 8
    for name, digest in calibration.images.items():
        assert digest == sha256((data / name).read_bytes())
        assert name in split.train
    classes = [name.split("/")[0] for name in calibration.images]
    assert [classes.count(name) for name in checkpoint.run.classes] == [2, 2, 2, 2]
    assert calibration.unusual == {}
    assert calibration.agreement is not None
    assert calibration.agreement > 0.8


def test_calibration_holds_every_observers_weights_and_the_error_per_tensor(
    calibrated: Path,
) -> None:
    content = json.loads((calibrated / "calibration.json").read_text())
    calibration = Calibration.model_validate(content)
    for name, tensor in calibration.tensors.items():
        assert tensor.minmax[0] <= tensor.percentile[1], name
        assert tensor.minmax[0] <= tensor.minmax[1]
        assert all(getattr(tensor, observer) is not None for observer in OBSERVERS)
    errors = [t.sqnr_db for t in calibration.tensors.values() if t.sqnr_db is not None]
    # The maps of single kernels are asked for by other graphs than this one.
    assert len(errors) > 0.7 * len(calibration.tensors)
    assert np.median(errors) > 15
    assert all(len(scales) >= 1 and min(scales) > 0 for scales in calibration.weights.values())
    widths = {len(scales) for scales in calibration.weights.values()}
    assert set(small_config().widths) <= widths
    assert calibration.anchors
    for name, anchor in calibration.anchors.items():
        assert int(np.argmin(calibration.anchor_errors[name])) == anchor
    picture = decode(calibrated / "calibration.png")
    assert picture.std() > 5


def test_calibrating_twice_gives_the_same_file(calibrated: Path, run: Path) -> None:
    before = (calibrated / "calibration.json").read_bytes()
    (run / "calibration.json").unlink()
    assert run_command("calibrate", run, "--images", 8) == 0
    assert (run / "calibration.json").read_bytes() == before


@pytest.mark.parametrize("observer", OBSERVERS)
def test_the_chosen_observer_decides_the_range(observer: str, run: Path) -> None:
    assert run_command("calibrate", run, "--images", 8, "--observer", observer) == 0
    calibration = load_calibration(run / "calibration.json", load_checkpoint(run).sha256)
    ranges = calibration.ranges()
    assert ranges == {name: getattr(t, observer) for name, t in calibration.tensors.items()}
    others = [name for name in OBSERVERS if name != observer]
    for other in others:
        assert ranges != {name: getattr(t, other) for name, t in calibration.tensors.items()}


def test_a_file_of_the_first_format_is_read(run: Path) -> None:
    path, sha = run / "calibration.json", load_checkpoint(run).sha256
    content = json.loads(path.read_text())
    before = load_calibration(path, sha)
    content |= {"format": 1, "observer": "percentile"}
    del content["anchor_errors"]
    for tensor in content["tensors"].values():
        for name in ("mse", "entropy", "moving"):
            del tensor[name]
    path.write_text(json.dumps(content))
    old = load_calibration(path, sha)
    assert old.ranges() == {name: t.percentile for name, t in before.tensors.items()}
    path.write_text(json.dumps(content | {"observer": "mse"}))
    with pytest.raises(CalibrationError, match="has no range by mse"):
        load_calibration(path, sha)


def _split(run: Path) -> Split:
    return load_split(run / "split.json")


def test_test_images_are_never_chosen_by_name_or_by_content(run: Path, tmp_path: Path) -> None:
    split = _split(run)
    data = shutil.copytree(load_checkpoint(run).run.data, tmp_path / "copied")
    # The first training image of each class is replaced by a copy of a test image.
    copied = []
    for tested in split.test:
        victim = next(n for n in split.train if n.split("/")[0] == tested.split("/")[0])
        shutil.copy(data / tested, data / victim)
        copied.append(victim)
    chosen = {image.relative for image in choose_images(scan(Path(data)), [split], 100)[0]}
    assert chosen == set(split.train) - set(copied)


def test_test_images_in_another_format_and_folder_are_not_calibrated_on(
    run: Path, tmp_path: Path
) -> None:
    split, data = _split(run), Path(load_checkpoint(run).run.data)
    elsewhere = Path(shutil.copytree(data, tmp_path / "elsewhere"))
    for path in [*elsewhere.glob("*/*.png")]:
        assert cv2.imwrite(str(path.with_name(f"copy-{path.stem}.bmp")), cv2.imread(str(path)))
        path.unlink()
    chosen, refused_images = choose_images(
        scan(elsewhere), [split], 100, files_elsewhere(elsewhere, data, split)
    )
    expected = {str(Path(n).with_name(f"copy-{Path(n).stem}.bmp")) for n in split.train}
    assert {image.relative for image in chosen} == expected
    assert refused_images == len(split.test)


def test_images_whose_source_is_not_sure_are_never_chosen(run: Path) -> None:
    split, folder = _split(run), scan(Path(load_checkpoint(run).run.data))
    weak = split.train[::3]
    kept = [name for name in split.train if name not in weak]
    grouped = split.model_copy(
        update={"grouped": True, "groups": {n: n for n in kept}, "left_out": weak, "train": kept}
    )
    images, refused = choose_images(folder, [grouped], 100)
    assert {image.relative for image in images} == set(kept)
    assert refused == len(split.test) + len(weak)


def test_every_class_is_chosen_however_many_there_are(tmp_path: Path) -> None:
    for label in range(12):
        (tmp_path / f"class {label:02}").mkdir()
        for index in range(2 if label == 5 else 6):
            pixels = np.full((4, 4, 3), (label, index, 0), np.uint8)
            assert cv2.imwrite(str(tmp_path / f"class {label:02}" / f"{index}.png"), pixels)
    folder = scan(tmp_path)
    split = stratified_split(folder, 0.2, 0)

    def chosen(count: int) -> list[int]:
        labels = [image.label for image in choose_images(folder, [split], count)[0]]
        return [labels.count(label) for label in range(12)]

    assert chosen(5) == [1] * 12  # one each is the least
    assert chosen(12) == [1] * 12
    assert sum(chosen(14)) == 14
    assert set(chosen(14)) == {1, 2}
    assert chosen(34) == [3] * 5 + [1] + [3] * 6  # what one class lacks the others give
    assert chosen(1000) == [5] * 5 + [1] + [5] * 6


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_tensor_that_overflows_is_refused_and_named(
    value: float, run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Overflowing(collect.Interpreter):
        def tensors(self) -> dict[str, np.ndarray]:
            kept = super().tensors()
            kept["block1/residual"].flat[3] = value
            return kept

    monkeypatch.setattr(collect, "Interpreter", Overflowing)
    before = (run / "calibration.json").read_bytes()
    line = refused(capfd, "calibrate", run)
    named = r"block1/residual: is infinite or not a number on EOSINOPHIL/\d+\.png; .*--rate"
    assert re.search(named, line)
    assert (run / "calibration.json").read_bytes() == before


def test_images_that_no_split_knows_are_accepted(run: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "elsewhere", 3)
    for image in scan(other).images:
        image.path.rename(image.path.with_name(f"new{image.path.name}"))
    content = {sha256(p.read_bytes()) for p in Path(load_checkpoint(run).run.data).rglob("*.png")}
    kept, _ = choose_images(scan(other), [_split(run)], 100)
    assert len(kept) == 12  # same content as images of the run, but none of this folder's tests
    assert content


def test_a_folder_of_test_images_only_is_refused(run: Path) -> None:
    split = _split(run)
    everything = split.model_copy(update={"test": [*split.train, *split.test], "train": []})
    folder = scan(Path(load_checkpoint(run).run.data))
    with pytest.raises(CalibrationError, match="test images of the split only"):
        choose_images(folder, [split, everything], 10)


def test_test_images_of_another_split_are_left_out_too(run: Path, tmp_path: Path) -> None:
    own = _split(run)
    other = stratified_split(scan(Path(load_checkpoint(run).run.data)), 0.4, 7)
    (tmp_path / "other.json").write_text(other.model_dump_json())
    assert run_command("calibrate", run, "--split", tmp_path / "other.json") == 0
    calibration = load_calibration(run / "calibration.json", load_checkpoint(run).sha256)
    assert not set(calibration.images) & {*own.test, *other.test}
    assert set(own.train) & set(other.test)


def test_nothing_is_proved_on_images_that_were_trained_on(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = scan(Path(load_checkpoint(run).run.data))
    other = stratified_split(folder, 0.25, 7)
    assert set(other.test) & set(_split(run).train)
    (tmp_path / "other.json").write_text(other.model_dump_json())
    out = tmp_path / "x.tflite"
    line = refused(capfd, "convert", run, "--out", out, "--split", tmp_path / "other.json")
    assert "trained on" in line
    assert not out.exists()


def test_a_calibration_of_another_checkpoint_is_refused(run: Path) -> None:
    with pytest.raises(CalibrationError, match="another checkpoint"):
        load_calibration(run / "calibration.json", "0" * 64)
    save_tensors(run / "best.safetensors", {"x": torch.zeros(1)}, {"format": FORMAT})
    with pytest.raises(CalibrationError, match="calibrate this run again"):
        load_calibration(run / "calibration.json", sha256((run / "best.safetensors").read_bytes()))


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[]", "has format None"),
        ('{"format": 4}', "has format 4, this version reads"),
        ('{"format": 1}', "checkpoint_sha256: Field required"),
    ],
)
def test_a_damaged_calibration_is_refused(content: str, finding: str, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(content)
    with pytest.raises(CalibrationError, match=finding):
        load_calibration(path, "0" * 64)


def test_a_calibration_with_numbers_that_are_none_is_refused(run: Path) -> None:
    path = run / "calibration.json"
    content = json.loads(path.read_text())
    name = next(iter(content["tensors"]))
    content["tensors"][name]["minmax"] = [float("nan"), 1.0]
    path.write_text(json.dumps(content))
    with pytest.raises(CalibrationError, match=r"calibration\.json"):
        load_calibration(path, load_checkpoint(run).sha256)
