"""The int8 file against the float32 file of the same network, run in turns.

    python benchmarks/latency.py [--size nano|paper] [--threads 1] [--rounds 200]
    python benchmarks/latency.py --model FILE.tflite --run RUN

Without ``--run`` the network has random weights, and its ranges come from the bundled crops:
times do not depend on them. Two float32 files are compared, both of the same lowering and,
where they differ, in the form that is faster in float: the *same network*, whose softmax rounds
to powers of two (eq. 6), and a rival with the *plain softmax* of eq. 10, which is not what was
trained but what a float user would run. Each is run in turns with the int8 file, the first one
alternating; every round gives one ratio, and the median of the ratios is the result.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from qlvit_edge import bundled
from qlvit_edge.calibration.collect import calibrate, integer_graph
from qlvit_edge.calibration.file import load_calibration
from qlvit_edge.converters.float_builder import FloatBuilder, Softmax
from qlvit_edge.converters.lower import lower
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.data.folder import scan
from qlvit_edge.model.configs import SIZES, size_config
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.preprocess import load
from qlvit_edge.runtime.interpreter import Interpreter
from qlvit_edge.training.checkpoint import (
    CALIBRATION_FILE,
    Checkpoint,
    RunConfig,
    TrainingSettings,
    load_checkpoint,
)

CALIBRATION_IMAGES = 4
WARM_UP = 5
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")


def untrained(size: str) -> Checkpoint:
    """Return a network of random weights (seed 0) as if it had been read from a run folder."""
    torch.manual_seed(0)
    config = size_config(size)
    settings = TrainingSettings(
        epochs=0, batch=1, peak_rate=0, weight_decay=0, validation=0, seed=0
    )
    run = RunConfig(
        network=config, classes=[], data="", split_fingerprint="", training=settings
    )  # fmt: skip
    return Checkpoint(Path(size), run, QLViT(config).eval(), "")


def build(checkpoint: Checkpoint) -> bytes:
    """Return the int8 file, `fast` softmax, with the run's calibration or one on the crops."""
    path = checkpoint.folder / CALIBRATION_FILE
    if path.is_file():
        calibration = load_calibration(path, checkpoint.sha256)
    else:
        images = scan(bundled.CROPS).images
        few = images[:: -(-len(images) // CALIBRATION_IMAGES)]
        calibration = calibrate(checkpoint, few, "minmax", lambda: None)
    return write_tflite(integer_graph(checkpoint, calibration, "fast"))


def twin(checkpoint: Checkpoint, softmax: Softmax) -> bytes:
    """Return the float32 file of the network, its softmax in codes or plain."""
    return write_tflite(lower(checkpoint.network, FloatBuilder("twin", softmax=softmax)))


def run_in_turns(
    files: dict[str, Interpreter], image: NDArray[np.uint8], rounds: int
) -> dict[str, NDArray[np.float64]]:
    """Return the milliseconds of every round for every file."""
    inputs = {name: image.astype(file.input.dtype) for name, file in files.items()}
    times: dict[str, list[float]] = {name: [] for name in files}
    for index in range(-WARM_UP, rounds):
        order = list(files) if index % 2 else list(reversed(files))
        for name in order:
            began = time.perf_counter()
            files[name].invoke(inputs[name])
            if index >= 0:
                times[name].append(1e3 * (time.perf_counter() - began))
    return {name: np.array(values) for name, values in times.items()}


def processor() -> str:
    """Name the processor and those of its instruction sets that matter here."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    facts = {key.strip(): value for key, _, value in (line.partition(":") for line in lines)}
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    name = (facts.get("model name") or platform.machine()).strip()
    return f"{name} ({', '.join(i for i in INSTRUCTIONS if i in flags) or 'no known sets'})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="nano")
    parser.add_argument("--run", type=Path, help="trained run; default: random weights")
    parser.add_argument("--model", type=Path, help="int8 file of that run; default: built here")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.model and not options.run:
        parser.error("--model needs the --run it was converted from, for its float32 twin")
    checkpoint = load_checkpoint(options.run) if options.run else untrained(options.size)
    content = {
        "int8": options.model.read_bytes() if options.model else build(checkpoint),
        "same network, float32": twin(checkpoint, "log2"),
        "plain softmax, float32": twin(checkpoint, "float"),
    }
    files = {name: Interpreter(c, threads=options.threads) for name, c in content.items()}
    network = checkpoint.run.network
    view = load(scan(bundled.CROPS).images[0].path, network.input_size, network.channels)
    times: dict[str, NDArray[np.float64]] = {}
    ratios: dict[str, NDArray[np.float64]] = {}
    for name in list(files)[1:]:
        pair = run_in_turns({"int8": files["int8"], name: files[name]}, view, options.rounds)
        times = {**pair, **times}
        ratios[name] = pair[name] / pair["int8"]
    figures = {
        "network": f"{checkpoint.run.network.size}, {'trained' if options.run else 'untrained'}",
        "processor": processor(),
        "versions": {p: importlib.metadata.version(p) for p in ("ai-edge-litert", "numpy")},
        "threads": options.threads,
        "rounds": options.rounds,
        "files": {
            name: {
                "median_ms": round(float(np.median(values)), 3),
                "p90_ms": round(float(np.percentile(values, 90)), 3),
                "kernels": files[name].kernels_used,
                "bytes": len(content[name]),
            }
            for name, values in times.items()
        },
        "ratio_p10_p50_p90": {
            name: [round(float(np.percentile(values, p)), 3) for p in (10, 50, 90)]
            for name, values in ratios.items()
        },
    }
    if options.json:
        print(json.dumps(figures, indent=2, ensure_ascii=False))
        return
    versions = ", ".join(f"{p} {v}" for p, v in figures["versions"].items())  # type: ignore[attr-defined]
    print(f"{figures['network']}; {figures['processor']}; {versions}")
    print(f"{options.threads} thread(s), {options.rounds} rounds in turns")
    for name, facts in figures["files"].items():  # type: ignore[attr-defined]
        print(
            f"{name:22} median {facts['median_ms']:8.3f} ms, p90 {facts['p90_ms']:8.3f} ms, "
            f"{facts['bytes']:>9} bytes, {facts['kernels']}"
        )
    for name, (low, middle, high) in figures["ratio_p10_p50_p90"].items():  # type: ignore[attr-defined]
        print(f"{name} / int8: median {middle} (p10 {low}, p90 {high})")


if __name__ == "__main__":
    main()
