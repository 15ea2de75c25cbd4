"""Small chains written by hand, without a network and without torch."""

from __future__ import annotations

from operator_file import BIAS, KERNEL, operator_file

from qlvit_edge.files import sha256
from qlvit_edge.modelfile.chain import write_chain
from qlvit_edge.modelfile.chain_description import Border, ChainDescription, ChainSegment
from qlvit_edge.modelfile.metadata import ModelMetadata
from qlvit_edge.preprocess import PREPROCESSING

SIDE = 4
LABELS = ["ROUND", "LOBED"]


def small_chain() -> bytes:
    """Two segments: a convolution for the Edge TPU, and what follows it on the CPU."""
    image, features, logits = (1, SIDE, SIDE, 3), (1, SIDE, SIDE, 2), (1, len(LABELS))
    files = {
        "00-tpu.tflite": operator_file(
            {"image": ("INT8", image), KERNEL: ("INT8", (2, 1, 1, 3)), BIAS: ("INT32", (2,)),
             "features": ("INT8", features)},
            [("CONV_2D", ["image", KERNEL, BIAS], ["features"])],
            ["image"],
            ["features"],
        ),
        "01-cpu.tflite": operator_file(
            {"features": ("INT8", features), "cube": ("INT8", features),
             "logits": ("INT8", logits)},
            [("EXP", ["features"], ["cube"]), ("SLICE", ["cube"], ["logits"])],
            ["features"],
            ["logits"],
        ),
    }  # fmt: skip
    ends = {"00-tpu.tflite": ("image", "features"), "01-cpu.tflite": ("features", "logits")}
    description = ChainDescription(
        segments=[
            ChainSegment(
                file=name,
                sha256=sha256(content),
                device="tpu" if "tpu" in name else "cpu",
                inputs=[ends[name][0]],
                outputs=[ends[name][1]],
                operators=1 if "tpu" in name else 2,
                macs=96 if "tpu" in name else 0,
                parameter_bytes=14 if "tpu" in name else 0,
            )
            for name, content in files.items()
        ],
        borders=[
            Border(name=name, shape=list(shape), dtype="INT8", scale=0.1, zero_point=0)
            for name, shape in (("image", image), ("features", features), ("logits", logits))
        ],
        input="image",
        output="logits",
        round_trips=1,
        border_bytes=48 + 32,
        tpu_macs_share=1.0,
        witness=["features"],
        moved_to_cpu=[],
        model=ModelMetadata(
            format_version=2,
            name="chain",
            labels=LABELS,
            input_size=(SIDE, SIDE),
            preprocessing=PREPROCESSING,
            softmax="fast",
            variant="v4",
            size_name="nano",
            checkpoint_sha256="0" * 64,
            calibration_sha256="1" * 64,
            training_data="none",
            created_by="tests",
        ),
    )
    return write_chain(description, files)
