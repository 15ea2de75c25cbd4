"""The integer specification against default and reference kernels, at every tensor, on test images.

    python benchmarks/exactness.py RUN --data DIR [--images 200]

Both softmax forms are lowered with the run's calibration and run on images of its test split,
evenly chosen. Prints the tensors compared and those that differ anywhere; exit code 1 if any do.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np

from qlvit_edge.calibration.file import load_calibration
from qlvit_edge.converters.lower.checkpoint import integer_graph
from qlvit_edge.converters.one_arithmetic import one_arithmetic
from qlvit_edge.converters.proof.equality import Specification, prove_equal
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import load_split, require_fit, select
from qlvit_edge.integer.log2_softmax import Form
from qlvit_edge.preprocess import load
from qlvit_edge.training.checkpoint import CALIBRATION_FILE, SPLIT_FILE, load_checkpoint


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=200)
    options = parser.parse_args()
    checkpoint = load_checkpoint(options.run)
    calibration = load_calibration(options.run / CALIBRATION_FILE, checkpoint.sha256)
    folder = scan(options.data)
    split = load_split(options.run / SPLIT_FILE)
    require_fit(split, folder)
    test = select(folder, split.test)
    chosen = np.unique(np.linspace(0, len(test) - 1, options.images).round().astype(int))
    size, channels = checkpoint.run.network.input_size, checkpoint.run.network.channels
    views = np.stack([load(test[index].path, size, channels) for index in chosen])
    failed = False
    for form, arithmetic in product(get_args(Form), get_args(Specification)):
        began = time.perf_counter()
        graph = one_arithmetic(integer_graph(checkpoint, calibration, form)).graph
        result = prove_equal(graph, write_tflite(graph), views, arithmetic)
        failed |= bool(result.unequal)
        print(
            f"{form:5}, {arithmetic:9}: {result.images} images × {result.tensors} tensors = "
            f"{result.images * result.tensors} compared, "
            f"{sum(result.unequal.values())} unequal ({time.perf_counter() - began:.0f} s)"
        )
        for name, count in result.unequal.items():
            print(f"  {name}: {count} images")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
