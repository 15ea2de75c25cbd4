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
