"""Proves the bundled model files again, as they lie there, and rewrites their proof.json.

    python benchmarks/bundled_proof.py wbc-kaggle wbc-nano
    python benchmarks/bundled_proof.py blood.manifest blood-nano blood-tiny

Does what `qlvit-edge convert` does, with the default extent and budget, except that the bytes
proved are the bundled file's instead of newly written ones.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from qlvit_edge import bundled
from qlvit_edge.calibration.file import calibration_of
from qlvit_edge.cli.progress import progress_bar
from qlvit_edge.converters import convert as conversion
from qlvit_edge.converters.proof.accuracy import MAX_DROP, judge_budget
from qlvit_edge.converters.proof_images import proof_images
from qlvit_edge.files import write_json
from qlvit_edge.training.checkpoint import load_checkpoint

HERE = Path(__file__).parents[1] / "qlvit_edge" / "bundled"


def prove(name: str, data: Path) -> None:
    """Prove one bundled file on the test side of its own split and write proof.json."""
    checkpoint = load_checkpoint(bundled.resolve_run(name))
    content = bundled.resolve_model(name).read_bytes()
    conversion.embed = lambda *_: content
    proof = proof_images(checkpoint, data, None, True, progress_bar)
    extent, scales = conversion.Extent(), calibration_of(checkpoint)
    report = conversion.convert(checkpoint, scales, "fast", proof, extent, progress_bar).report
    verdict = judge_budget(report.accuracy, MAX_DROP)
    verdict.require(name)
    assert report.bytes == len(content)
    found = {**report.as_dict(), "budget": asdict(verdict), "passed": verdict.passed}
    write_json(HERE / name / "proof.json", found)
    print(f"{name}: {report.proof_images}; {verdict.outcome}: {verdict.finding}")


if __name__ == "__main__":
    for model in sys.argv[2:]:
        prove(model, Path(sys.argv[1]))
