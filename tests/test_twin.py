"""The twin shows every tensor of the default kernels, and runs in the partitions of its model."""

from __future__ import annotations

import numpy as np
import pytest

from qlvit_edge import bundled
from qlvit_edge.errors import ModelFileError
from qlvit_edge.inference.interpreter import Interpreter, Kernels
from qlvit_edge.inference.twin import Twin, with_all_outputs
from qlvit_edge.modelfile.reader import read_document

MODEL = bundled.resolve_model("blood-nano").read_bytes()


def view() -> np.ndarray:
    shape = Interpreter(MODEL).input.shape[1:]
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_every_tensor_comes_out_and_the_logits_are_the_models() -> None:
    real = Interpreter(MODEL)
    kept = Twin(MODEL, real).tensors(view())
    operators = read_document(MODEL).operators
    assert len(kept) == len(operators)
    assert real.partitions > 0
    np.testing.assert_array_equal(kept[real.output.name], real.invoke(view()))


def test_a_model_without_a_delegate_shows_the_same_without_a_twin() -> None:
    """What is left to builtin kernels: the twin keeps them apart from XNNPACK's."""
    kept = Twin(MODEL, Interpreter(MODEL)).tensors(view())
    builtin = Interpreter(MODEL, kernels=Kernels.BUILTIN, keep_all_tensors=True)
    builtin.invoke(view())
    without = builtin.tensors()
    assert kept.keys() <= without.keys()
    equal = [name for name, values in kept.items() if np.array_equal(without[name], values)]
    assert 0 < len(equal) < len(kept)


def test_other_partitions_are_refused() -> None:
    with pytest.raises(ModelFileError, match="with all tensors as outputs XNNPACK takes"):
        Twin(MODEL, Interpreter(MODEL, kernels=Kernels.BUILTIN))


def test_constants_stay_as_they_are() -> None:
    before, after = read_document(MODEL), read_document(with_all_outputs(MODEL))
    assert [tensor.name for tensor in before.tensors] == [tensor.name for tensor in after.tensors]
    assert [op.name for op in before.operators] == [op.name for op in after.operators]
