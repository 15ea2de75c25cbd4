"""Attacks on the files of text that people and other programs write: CSV, JSON, TOML."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from frame import Target, refused_or
from tiny_guard import tiny_guard

from qlvit_edge.calibration.file import Calibration, TensorCalibration, load_calibration
from qlvit_edge.camera.calibration import (
    CameraCalibration,
    Light,
    PixelScale,
    now,
    read_calibration,
    write_calibration,
)
from qlvit_edge.camera.flat_field import TERMS
from qlvit_edge.data.manifest import Manifest, ManifestImage, images_in_manifest
from qlvit_edge.data.sets import read_sets
from qlvit_edge.data.source_map import read_source_map
from qlvit_edge.data.split import Split, fingerprint, load_split
from qlvit_edge.differential.analyser import analyser_of
from qlvit_edge.evaluation.class_match import read_class_map
from qlvit_edge.model.configs import size_config
from qlvit_edge.modelfile.guard import GuardFile, load_guard
from qlvit_edge.reference.history import read_history
from qlvit_edge.reference.reference_set import read_reference
from qlvit_edge.training.checkpoint import RunConfig, read_run_config
from qlvit_edge.training.settings import TrainingSettings

LABELS = ("neutrophil", "lymphocyte", "monocyte")
_WORDS = [
    *(b'"', b"'", b",", b"\n", b"\r", b"=", b"{", b"[", b"]", b"}", b"null", b"true", b'"\\ud800"'),
    *(b"\x1b[31m", b"\xff\xfe", b"\0", b"\xef\xbb\xbf", b'{"a":', b"[[", b"..", b"/", b"-0", b'""'),
]

_CELLS = b"file,x_px,y_px,width_px,height_px,label\n"
PICTURE = bytes(cv2.imencode(".png", np.full((48, 64, 3), 200, np.uint8))[1])
PICTURE_BYTES = len(PICTURE)
RECORD = {
    **{"format": 1, "at": "2026-01-01T08:00:00+00:00", "reference": "a" * 64, "model": "m"},
    **{"model_sha256": "b" * 64, "program": "p", "runtime": "r", "kernels": "k", "labelled": 9},
    **{"located": 8, "compared": 8, "agreed": 7, "extra": 0, "answers": ["RED", None]},
    **{"counts": {"RED": 6}, "measures": {"red": 187.5}},
}


def _document(
    name: str, file: str, seeds: Callable[[], Sequence[bytes]], read: Callable[[Path], object]
) -> Target:
    """An attack on what reads one file, which is called as people call it."""

    def prepare(folder: Path) -> tuple[Sequence[bytes], Callable[[bytes], bool]]:
        (folder / "a.png").write_bytes(PICTURE)
        path = folder / file

        def examine(content: bytes) -> bool:
            path.write_bytes(content)
            return refused_or(lambda: read(path))

        return seeds(), examine

    return Target(name, prepare, _WORDS)


def _camera() -> bytes:
    lamp = dict.fromkeys(("red", "green", "blue"), 200.0)
    flat = {f"flat_{name}": [0.0] * len(TERMS) for name in lamp}
    scale = PixelScale(
        date=now(),
        um_per_pixel=0.1,
        uncertainty_percent=1.0,
        method="typed in",
        measured=1,
        frames=1,
    )
    content = CameraCalibration(
        **{"program": "p", "camera": "c", "source": "usb:0", "width": 64, "height": 48},
        light=Light(date=now(), frames=3, **lamp, **flat),
        scale=scale,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "camera.toml"
        write_calibration(path, content)
        return path.read_bytes()


def _split() -> bytes:
    names = ["a/1.png"], ["b/2.png"], list[str]()
    sides = dict(zip(("train", "test", "left_out"), names, strict=True))
    print_ = fingerprint(*names)
    split = Split(seed=1, test_fraction=0.5, classes=["a", "b"], fingerprint=print_, **sides)
    return split.model_dump_json().encode()


def _manifest(size: int) -> bytes:
    image = {
        "name": "a/set/1.png",
        "file": "a.png",
        "domain": "d",
        "size": size,
        "sha256": "0" * 64,
    }
    return Manifest(classes=["a"], images=[ManifestImage(**image)]).model_dump_json().encode()


def _calibration() -> bytes:
    tensor = TensorCalibration(minmax=(-1.0, 1.0), percentile=(-0.5, 0.5))
    found = Calibration(
        **{"checkpoint_sha256": "a" * 64, "observer": "percentile", "images": {"a": "b"}},
        **{
            "views": ["plain"],
            "tensors": {"x": tensor},
            "weights": {"w": [0.1]},
            "anchors": {"s": 3},
        },
    )
    return found.model_dump_json().encode()


def _guard() -> bytes:
    file = GuardFile(checkpoint_sha256="a" * 64, calibration_sha256="b" * 64, guard=tiny_guard())
    return file.model_dump_json().encode()


def _run_config() -> bytes:
    settings: dict[str, Any] = {"epochs": 2, "batch": 8, "peak_rate": 0.001, "weight_decay": 0.05}
    settings |= {"validation": 0.1, "seed": 1}
    config = RunConfig(
        network=size_config("nano"),
        training=TrainingSettings(**settings),
        **{"classes": list(LABELS), "data": "d", "split_fingerprint": "f"},
    )
    return config.model_dump_json().encode()


TARGETS = (
    _document(
        "analyser",
        "analyser.toml",
        lambda: [b"[differential]\nneutrophil = 62\nlymphocytes = 30.5\n'other' = 7.5\n"],
        lambda path: analyser_of(str(path), LABELS),
    ),
    _document(
        "class-map",
        "map.csv",
        lambda: [b"folder,class\nNEU,neutrophil\nLY,lymphocyte\nART,\n"],
        read_class_map,
    ),
    _document(
        "class-map-json",
        "map.json",
        lambda: [b'{"NEU": "neutrophil", "LY": "lymphocyte", "ART": null}'],
        read_class_map,
    ),
    _document(
        "reference-set",
        "cells.csv",
        lambda: [
            b'file,x_px,y_px,width_px,height_px,label\na.png,1,2,30,40,RED\n"a.png",3,4,5,6,"B,B"\n'
        ],
        lambda path: read_reference(path.parent),
    ),
    _document(
        "reference-history",
        "history.jsonl",
        lambda: [b"\n".join([json.dumps(RECORD).encode()] * 3) + b"\n"],
        read_history,
    ),
    _document("camera-calibration", "camera.toml", lambda: [_camera()], read_calibration),
    _document("split", "split.json", lambda: [_split()], load_split),
    _document("manifest", "manifest.json", lambda: [_manifest(PICTURE_BYTES)], images_in_manifest),
    _document(
        "source-map",
        "sources.csv",
        lambda: [b"class,file,source,confident\na,1.png,s1,1\na,2.png,s2,0\n"],
        read_source_map,
    ),
    _document(
        "sets",
        "sets.toml",
        lambda: [b'[[folder]]\npath = "a"\ndomain = "d"\n[folder.classes]\nNEU = "neutrophil"\n'],
        read_sets,
    ),
    _document(
        "calibration",
        "calibration.json",
        lambda: [_calibration()],
        lambda path: load_calibration(path, "a" * 64),
    ),
    _document(
        "guard",
        "guard.json",
        lambda: [_guard()],
        lambda path: load_guard(path, "a" * 64, "b" * 64),
    ),
    _document(
        "run-config", "run.json", lambda: [_run_config()], lambda path: read_run_config(path.parent)
    ),
    _document(
        "size-file",
        "size.toml",
        lambda: [b'like = "nano"\nmlp-ratio = 2\n', b'like = "tiny"\n'],
        lambda path: size_config(str(path)),
    ),
)
