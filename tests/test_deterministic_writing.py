"""The same network gives the same bytes, whatever process and hash seed writes them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HELPERS = Path(__file__).parent / "helpers"
CODE = """
import hashlib, sys
import numpy as np
from random_networks import observed, random_network
from small_run import small_config
from tiny_metadata import metadata
from qlvit_edge.converters.idioms.numerics import Int8
from qlvit_edge.converters.idioms.scales import ScaleTable
from qlvit_edge.converters.idioms.writer import Writer
from qlvit_edge.converters.lower import lower
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.modelfile.metadata import embed
for changes in ({}, {"variant": "v3", "norm": "layer", "channels": 1, "kv_pool": (2, 2, 1, 1)}):
    config = small_config(classes=3, **changes)
    network = random_network(config, 0)
    ranges, anchors = observed(network, 0)
    graph = lower(network, Writer("net", Int8(ScaleTable(ranges, anchors))))
    bare = write_tflite(graph)
    named = metadata(golden=False).model_copy(
        update={"input_size": config.input_size, "accuracy": {"b": 0.5, "a": 1.0}}
    )
    for content in (bare, embed(bare, named)):
        print(len(content), hashlib.sha256(content).hexdigest())
"""


def test_two_processes_with_other_hash_seeds_write_the_same_bytes() -> None:
    def written(seed: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-P", "-W", "ignore", "-c", CODE],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(HELPERS)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    first, second = written("1"), written("4242")
    assert len(first) == 4
    assert len(set(first)) == 4
    assert first == second


REPEATED = """
import gc, sys
import numpy as np
from tiny_model import tiny_model
from qlvit_edge.converters.graph import Graph, Tensor
from qlvit_edge.converters.ops.elementwise import Add
from qlvit_edge.converters.tflite import write_tflite
from qlvit_edge.inference.twin import with_all_outputs
x = Tensor("x", (1, 3), "float32")
half = Tensor("half", (1, 3), "float32", data=np.full((1, 3), 0.5, np.float32))
total = Add(inputs=(x, half), name="total")
graph = Graph("sum", (x,), (total.output,), (total,))
model = tiny_model()
for write in (lambda: write_tflite(graph), lambda: with_all_outputs(model)):
    write()
    gc.collect()
    before = sys.getrefcount(None)
    for _ in range(1000):
        write()
    gc.collect()
    print(sys.getrefcount(None) - before)
"""


def test_writing_again_and_again_takes_no_references_of_none_away() -> None:
    """CPython 3.11 does where subclasses are made anew; it crashed long after."""
    lost = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", REPEATED],
        env={**os.environ, "PYTHONPATH": str(HELPERS)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert len(lost) == 2
    assert all(abs(int(count)) < 300 for count in lost)
