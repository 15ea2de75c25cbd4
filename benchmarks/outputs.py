"""What models make of images on this machine, as JSON that machines can be compared by.

    python benchmarks/outputs.py MODEL.tflite... --images DIR [--limit N] --out FILE

For every image the hash of its decoded pixels and of the network's input, and for every model
the logits on the default and on the reference kernels. Only device-side code runs.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np

from qlvit_edge.modelfile.reader import read_bytes
from qlvit_edge.preprocess import IMAGE_SUFFIXES, decode, preprocess
from qlvit_edge.runtime.interpreter import Interpreter, Kernels

PACKAGES = ("ai-edge-litert", "numpy", "opencv-python-headless")


def digest(values: np.ndarray | bytes) -> str:
    """Hash bytes, or an array's values in row-major order."""
    content = values if isinstance(values, bytes) else np.ascontiguousarray(values).tobytes()
    return hashlib.sha256(content).hexdigest()


def spread(paths: list[Path], limit: int | None) -> list[Path]:
    """Choose `limit` paths, evenly."""
    if limit is None or limit >= len(paths):
        return paths
    return [paths[i * len(paths) // limit] for i in range(limit)]


def outputs(models: list[Path], folder: Path, limit: int | None) -> dict[str, Any]:
    """Run everything; see the module's text for what comes back."""
    found = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in IMAGE_SUFFIXES]
    names = {str(path.relative_to(folder)): path for path in spread(found, limit)}
    decoded = {name: decode(path) for name, path in names.items()}
    result: dict[str, Any] = {
        "machine": platform.machine(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "images": {name: digest(image) for name, image in decoded.items()},
        "models": {},
    }
    for path in models:
        content = read_bytes(path)
        entry: dict[str, Any] = {"sha256": digest(content)}
        result["models"][path.stem] = entry
        for kernels in (Kernels.AUTO, Kernels.REFERENCE):
            interpreter = Interpreter(content, kernels=kernels)
            size = (interpreter.input.shape[1], interpreter.input.shape[2])
            views = {name: preprocess(image, size) for name, image in decoded.items()}
            entry["inputs"] = {name: digest(view) for name, view in views.items()}
            entry[kernels.value] = {
                "ran": interpreter.kernels_used,
                "logits": {
                    name: " ".join(map(str, interpreter.invoke(view)[0].tolist()))
                    for name, view in views.items()
                },
            }
    return result


def main() -> None:
    """Write the outputs as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    found = outputs(options.models, options.images, options.limit)
    options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
