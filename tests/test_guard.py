"""The guard: its arithmetic is exact, its limits are those of held-out cells, its verdicts hold."""

from __future__ import annotations

import base64
import json
import math
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from command import run_command
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_guard import LEVELS, TinyNetwork, answers, guarded_file, noisy, tiny_guard
from tiny_metadata import plain_image

from qlvit_edge.calibration.guard import fit_guard, judge_all
from qlvit_edge.calibration.guard_limits import set_limits
from qlvit_edge.calibration.quality import Quality
from qlvit_edge.choices import VERDICTS, Verdict
from qlvit_edge.errors import CalibrationError, ModelFileError
from qlvit_edge.evaluation.guarding import Judged, measure_guarding, risk_coverage
from qlvit_edge.evaluation.metrics import expected_calibration_error
from qlvit_edge.evaluation.temperature import best_temperature
from qlvit_edge.files import write_text
from qlvit_edge.guard.judge import Judge, Places
from qlvit_edge.guard.statement import CELLS_NEEDED, RunStatement
from qlvit_edge.inference.classifier import ACCEPT_AT, Classifier
from qlvit_edge.modelfile.guard import Group, Guard, GuardFile, Measure, load_guard
from qlvit_edge.modelfile.guard_tables import LARGEST, Space, Table
from qlvit_edge.modelfile.metadata import embed, read_metadata

RNG = np.random.default_rng(7)


@pytest.fixture(scope="module")
def guard() -> Guard:
    return tiny_guard()


@pytest.fixture(scope="module")
def known(guard: Guard) -> list[np.ndarray]:
    return [noisy(plain_image("RED", level=level), RNG) for level in LEVELS]


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 40),
    shift=st.integers(0, 12),
    reach=st.sampled_from([100, 32767]),
)
@settings(max_examples=60, deadline=None)
def test_distances_are_those_of_integers_without_bounds(
    seed: int, rows: int, shift: int, reach: int
) -> None:
    rng = np.random.default_rng(seed)
    width = 30
    projection = rng.integers(-reach, reach + 1, (rows, width)).astype(np.int16)
    means = rng.integers(-LARGEST, LARGEST + 1, (4, rows)).astype(np.int32)
    vector = rng.integers(-128, 25600, width)
    space = Space(projection=Table.of(projection), shift=shift, means=Table.of(means))
    found = Places(space, means.astype(np.int64)).distances(vector.astype(np.float64))
    sums = [sum(int(p) * int(v) for p, v in zip(row, vector, strict=True)) for row in projection]
    place = [max(-LARGEST, min(LARGEST, total >> shift)) for total in sums]
    expected = [sum((int(m) - p) ** 2 for m, p in zip(mean, place, strict=True)) for mean in means]
    assert [int(value) for value in found] == expected


def test_probabilities_are_quotients_of_the_tables_integers(guard: Guard) -> None:
    logits = np.array([12, -128, 3], np.int8)
    powers = [guard.powers[12 - int(value)] for value in logits]
    found = Judge(guard).chances(logits)
    assert found.tolist() == [float(Fraction(power, sum(powers))) for power in powers]


def test_known_cells_are_accepted_and_others_called_what_they_are(
    guard: Guard, known: list[np.ndarray], tmp_path: Path
) -> None:
    with Classifier(guarded_file(tmp_path / "m.tflite", guard), isolated=False) as classifier:
        assert classifier.judges
        assert {classifier.infer(pixels).verdict for pixels in known} == {"accepted"}
        found = classifier.infer(np.full((8, 8, 3), 120, np.uint8))
    assert found.verdict == "foreign image"
    assert found.reason is not None
    assert found.reason.startswith("unlike known images: ")


def test_every_limit_has_its_verdict(guard: Guard, known: list[np.ndarray]) -> None:
    """The limits are made narrower one at a time, from the first that is looked at to the last."""
    (group,) = guard.groups
    one = known[0]
    logits, features = answer_of(one)
    assert Judge(guard).judge_input(logits, features, one).verdict == "accepted"
    cases = {
        "image": ("foreign image", "unlike known images"),
        "own": ("unknown cell", "unlike its class"),
        "nearest": ("unknown cell", "unlike known cells"),
        "neighbours": ("unknown cell", "without similar cells"),
    }
    for name, (verdict, kind) in cases.items():
        narrow = guard.model_copy(update={"groups": [group.model_copy(update={name: 0})]})
        found = Judge(narrow).judge_input(logits, features, one)
        assert (found.verdict, found.reason.partition(":")[0]) == (verdict, kind)
        assert Judge(narrow).trust(found) < 1 <= Judge(guard).trust(found)
    unsure = Judge(guard, accept_at=1.0).judge_input(logits // 40, features, one)
    assert unsure.verdict == "uncertain"
    dark = [Measure(name="light", fit_low=250)]
    blind = guard.model_copy(update={"measures": dark, "groups": [_of_one(group)]})
    assert Judge(blind).judge_input(logits, features, one).verdict == "abstained"


def _of_one(group: Group) -> Group:
    return group.model_copy(update={"bounds": group.bounds[:1]})


def answer_of(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from tiny_metadata import plain_features, plain_logits

    return plain_logits(pixels), plain_features(pixels)


def test_a_probability_that_is_asked_for_replaces_the_guards_own_and_nothing_else(
    guard: Guard, tmp_path: Path
) -> None:
    path = guarded_file(tmp_path / "m.tflite", guard)
    foreign = np.full((8, 8, 3), 120, np.uint8)
    with Classifier(path, accept_at=0.0, isolated=False) as classifier:
        assert classifier.accept_at == 0.0
        assert classifier.infer(foreign).verdict == "foreign image"
    with Classifier(path, isolated=False) as classifier:
        assert classifier.accept_at == guard.probability


def test_limits_reject_at_most_the_rate_of_held_out_cells_and_no_training_cell_beyond_it() -> None:
    wide = answers(range(150, 250), seed=3)
    for rate in (0.02, 0.1):
        guard = fit_guard(
            TinyNetwork(), answers(LEVELS), wide, Quality([], []), data="", rate=rate, split=None
        )
        assert 0 < guard.evidence.rejected <= rate
        judge = Judge(guard)
        verdicts = [judge.judge(a.logits, a.features, a.measures).verdict for a in wide]
        rejected = np.mean([verdict != "accepted" for verdict in verdicts])
        assert rejected == pytest.approx(guard.evidence.rejected)


def test_no_limit_is_narrower_than_that_of_training_cells(guard: Guard) -> None:
    judge = Judge(guard)
    near, far = judge_all(judge, answers([200] * 50)), judge_all(judge, answers(range(150, 250)))
    groups = [(group.domain, group.view) for group in guard.groups]
    (narrow,), _ = set_limits(near, near, groups, [], 0.05)
    (wide,), _ = set_limits(near, far, groups, [], 0.05)
    assert wide.image > narrow.image
    assert wide.nearest > narrow.nearest


def test_temperature_makes_probabilities_those_of_the_answers() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 2, (4000, 4))
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(4, p=row) for row in chances])
    assert best_temperature(3 * logits, labels) == pytest.approx(3, rel=0.1)
    right = logits.argmax(1) == labels
    sharp = np.exp(3 * logits) / np.exp(3 * logits).sum(1, keepdims=True)
    assert expected_calibration_error(chances.max(1), right) < 0.03
    assert expected_calibration_error(sharp.max(1), right) > 0.1


def test_tables_and_guards_that_contradict_themselves_are_refused(guard: Guard) -> None:
    whole = guard.model_dump()
    broken = [
        {"features": 4},
        {"clusters": whole["clusters"][:2]},
        {"neighbours": 10_000},
        {"powers": [1, *whole["powers"][1:]]},
        {"powers": [1 << 30, *[0] * 255]},
        {"powers": whole["powers"][::-1]},
        {"temperature": 2 * whole["temperature"]},
        {"measures": [{**whole["measures"][0], "fit_low": 2, "fit_high": 1}]},
        {"groups": []},
        {"appearance": whole["appearance"][:-1]},
    ]
    for change in broken:
        with pytest.raises(ValidationError):
            Guard.model_validate({**whole, **change})
    table = Table.of(np.zeros((2, 3), np.int16)).model_dump()
    for change in ({"data": "A" + table["data"]}, {"shape": (2, 4)}, {"dtype": "int32"}):
        with pytest.raises(ValidationError):
            Table.model_validate({**table, **change})


HOSTILE = {
    "a negative shift": ("image.shift", -1),
    "a shift too far": ("cell.shift", 41),
    "no number": ("temperature", math.nan),
    "infinite": ("groups.0.bounds.0.high", math.inf),
    "in the wrong order": ("groups.0.bounds.0.low", 1e9),
    "a negative distance": ("groups.0.image", -1),
    "an immense one": ("groups.0.own", 1 << 60),
    "a power of nothing": ("powers.0", 0),
    "a chance above one": ("probability", 1.5),
    "of no group": ("clusters.0.group", 7),
    "of no class": ("clusters.0.label", 3),
    "immense tables": ("prototypes.shape", [1 << 40, 1 << 40]),
    "prototypes of another width": ("prototypes", Table.of(np.zeros((9, 2), np.int16))),
    "a prototype far out": ("prototypes", "far"),
    "a mean far out": ("cell.means", "far"),
    "not base64": ("prototypes.data", "é!"),
    "an unknown measure": ("measures.0.name", "smell"),
    "a look that is no look": ("appearance.0", "sharpness"),
    "another scale of logits": ("logit_scale", 4.0),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_with_hostile_guard_is_refused_in_one_line(
    kind: str, guard: Guard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, value = HOSTILE[kind]
    path = guarded_file(tmp_path / "m.tflite", guard)
    content = path.read_bytes()
    held = read_metadata(content)
    assert held is not None
    tree = json.loads(held.model_dump_json())
    *way, last = [int(key) if key.isdigit() else key for key in place.split(".")]
    branch = tree["guard"]
    for key in way:
        branch = branch[key]
    if value == "far":
        rows, columns = branch[last]["shape"]
        value = Table.of(np.full((rows, columns), -(2**31), np.int32))
    branch[last] = value.model_dump() if isinstance(value, Table) else value
    hostile: Any = SimpleNamespace(model_dump_json=lambda: json.dumps(tree), labels=held.labels)
    path.write_bytes(embed(content, hostile))
    picture = tmp_path / "a.png"
    picture.write_bytes(base64.b64decode(held.golden[0].image_png))
    assert run_command("predict", picture, "--model", path) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert str(path) in said[0]


def test_a_guard_of_other_weights_is_refused(guard: Guard, tmp_path: Path) -> None:
    path = tmp_path / "guard.json"
    assert load_guard(path, "a", "b") is None
    file = GuardFile(checkpoint_sha256="a", calibration_sha256="b", guard=guard)
    write_text(path, file.model_dump_json())
    assert load_guard(path, "a", "b") == guard
    with pytest.raises(CalibrationError, match="other weights"):
        load_guard(path, "a", "c")
    write_text(path, file.model_dump_json()[:-20])
    with pytest.raises(CalibrationError):
        load_guard(path, "a", "b")


def test_golden_pairs_prove_the_verdict_too(guard: Guard, tmp_path: Path) -> None:
    with Classifier(guarded_file(tmp_path / "m.tflite", guard), isolated=False) as classifier:
        assert classifier.golden_pairs_hold()
        metadata = classifier.metadata
        pair = metadata.golden[0]
        assert pair.judgement is not None
        moved = [*pair.judgement]
        moved[1] += 1
        changed = pair.model_copy(update={"judgement": moved, "xnnpack_judgement": moved})
        other = metadata.model_copy(update={"golden": [changed, *metadata.golden[1:]]})
        object.__setattr__(classifier, "metadata", other)
        report = classifier.golden_pairs()
    assert (report.passed, report.judgements_that_differ) == (False, 1)
    assert "verdicts or distances that differ: 1" in report.sentence


def test_a_file_whose_pairs_lack_the_guards_judgement_is_refused(
    guard: Guard, tmp_path: Path
) -> None:
    from tiny_metadata import metadata

    plain = metadata(features=True)
    with pytest.raises(ValidationError, match="judgement"):
        type(plain).model_validate({**dict(plain), "guard": guard})
    old = metadata()
    with pytest.raises(ValidationError):
        type(old).model_validate({**dict(old), "guard": guard})
    with pytest.raises(ModelFileError):
        Classifier(tmp_path / "missing.tflite")


def test_a_file_without_a_guard_runs_as_before(tmp_path: Path) -> None:
    from tiny_metadata import tiny_file

    with Classifier(tiny_file(tmp_path / "m.tflite"), isolated=False) as classifier:
        found = classifier.infer(plain_image("RED"))
        assert not classifier.judges
        assert classifier.accept_at == ACCEPT_AT
    assert (found.verdict, found.judgement) == ("accepted", None)


def test_a_run_is_known_or_not_after_thirty_cells(guard: Guard, known: list[np.ndarray]) -> None:
    judge = Judge(guard)
    statement = RunStatement(guard)
    for pixels in known[: CELLS_NEEDED - 1]:
        statement.add(judge.judge_input(*answer_of(pixels), pixels))
    assert statement.finding().familiar is None
    assert "so far 29" in str(statement.finding().warning)
    statement.add(None)
    assert statement.finding().familiar is None
    statement.add(judge.judge_input(*answer_of(known[-1]), known[-1]))
    assert statement.finding().familiar is True
    assert statement.finding().warning is None


def test_a_run_that_differs_names_the_measure(guard: Guard, known: list[np.ndarray]) -> None:
    judge = Judge(guard)
    statement = RunStatement(guard)
    for pixels in known:
        dark = (pixels * 0.5).astype(np.uint8)
        statement.add(judge.judge_input(*answer_of(dark), dark))
    found = statement.finding()
    assert found.familiar is False
    assert "light" in {difference.measure for difference in found.differences}
    assert "do not rely on accepted answers" in str(found.warning)
    assert "light 9" in found.sentence or "light 10" in found.sentence


def test_a_change_in_a_long_run_is_said_and_not_forgotten(
    guard: Guard, known: list[np.ndarray]
) -> None:
    judge = Judge(guard)
    statement = RunStatement(guard)
    usual = (known * 10)[: 4 * CELLS_NEEDED]
    dark = [(pixels * 0.5).astype(np.uint8) for pixels in usual[:CELLS_NEEDED]]
    for pixels in (*usual, *dark, *usual):
        statement.add(judge.judge_input(*answer_of(pixels), pixels))
    found = statement.finding()
    assert (found.familiar, found.unlike, found.cells) == (True, CELLS_NEEDED, 9 * CELLS_NEEDED)
    assert "not of 30 of 270 cells" in found.sentence
    assert "light" in {difference.measure for difference in found.differences}
    assert str(found.warning).startswith("do not rely on all accepted answers: on the whole")


def test_risk_by_coverage_by_hand() -> None:
    trust = np.array([0.9, 0.9, 0.5, 0.2])
    right = np.array([True, False, True, False])
    points = risk_coverage(trust, right)
    assert [(p.coverage, p.risk) for p in points] == [(0.5, 0.5), (0.75, 1 / 3), (1.0, 0.5)]
    verdicts: list[Verdict | None] = ["accepted", "accepted", None, "uncertain"]
    known = [Judged(*one) for one in zip(verdicts, trust, right, strict=True)]
    found = measure_guarding(known, [Judged("unknown cell", 0.1, False)], guard=True)
    assert found.accepted_and_wrong == 0.25
    assert found.verdicts == {**dict.fromkeys(VERDICTS, 0), "accepted": 2, "uncertain": 1}
    assert found.unknown_auc == 1.0


def test_a_cell_is_judged_by_the_limits_of_the_domain_it_is_nearest_to(guard: Guard) -> None:
    lamp, led = answers(LEVELS), answers(range(90, 121), domain="led", seed=5)
    both = fit_guard(
        TinyNetwork(), [*lamp, *led], [*lamp, *led], Quality([], []), data="", rate=0.1, split=None
    )
    judge = Judge(both)
    domains = [group.domain for group in both.groups]
    for answer in (*lamp, *led):
        found = judge.judge(answer.logits, answer.features, answer.measures)
        assert domains[found.distances.group] == answer.domain
