"""What models make of images on this machine, as JSON that machines can be compared by.

    python benchmarks/outputs.py MODEL.tflite... --images DIR [--limit N] [--tensors 12] --out FILE

For every image the hash of its decoded pixels and of the network's input. For every model, on the
default and on the reference kernels, the logits of every image; and, of `--tensors` images evenly
chosen, every tensor that an operator makes: a hash for each image over all tensors, and a short
one for each tensor over those images, in the order of the operators. Default kernels show their
inner tensors in a twin, the same file with all of them as outputs. And whether the golden pairs
hold. Only device-side code runs.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qlvit_edge.inference.golden import compare_golden
from qlvit_edge.inference.interpreter import Interpreter, Kernels
from qlvit_edge.inference.twin import Twin
from qlvit_edge.modelfile.metadata import read_metadata
from qlvit_edge.modelfile.reader import read_bytes, read_document
from qlvit_edge.preprocess import IMAGE_SUFFIXES, decode, preprocess

PACKAGES = ("ai-edge-litert", "numpy", "opencv-python-headless")
SHORT = 8  # hexadecimal digits of a hash that only names the tensor at fault


def digest(values: np.ndarray | bytes) -> str:
    """Hash bytes, or an array's values in row-major order."""
    content = values if isinstance(values, bytes) else np.ascontiguousarray(values).tobytes()
    return hashlib.sha256(content).hexdigest()


def spread(names: list[Any], limit: int | None) -> list[Any]:
    """Choose `limit` entries, evenly."""
    if limit is None or limit >= len(names):
        return names
    return [names[i * len(names) // limit] for i in range(limit)]


def made_tensors(model: bytes) -> list[str]:
    """Return the names of the tensors that operators make, in the order of the operators."""
    main = read_document(model).subgraphs[0]
    return [main.tensors[index].name for op in main.operators for index in op.outputs]


def every_tensor(model: bytes, kernels: Kernels) -> Callable[[np.ndarray], Mapping[str, Any]]:
    """Return what gives every tensor of an image on the asked-for kernels."""
    if kernels is Kernels.AUTO:
        return Twin(model, Interpreter(model)).tensors
    interpreter = Interpreter(model, kernels=kernels, keep_all_tensors=True)

    def tensors(view: np.ndarray) -> Mapping[str, np.ndarray]:
        interpreter.invoke(view)
        return interpreter.tensors()

    return tensors


def checksums(model: bytes, kernels: Kernels, views: dict[str, np.ndarray]) -> dict[str, Any]:
    """Hash every tensor of some images: by image, and by tensor in short."""
    run, names = every_tensor(model, kernels), made_tensors(model)
    of_tensors = [hashlib.sha256() for _ in names]
    of_images = {}
    for image, view in views.items():
        values, whole = run(view), hashlib.sha256()
        for name, of_tensor in zip(names, of_tensors, strict=True):
            content = np.ascontiguousarray(values[name]).tobytes()
            of_tensor.update(content)
            whole.update(content)
        of_images[image] = whole.hexdigest()
    short = " ".join(of_tensor.hexdigest()[:SHORT] for of_tensor in of_tensors)
    return {"images": of_images, "tensors": short}


def outputs(models: list[Path], folder: Path, limit: int | None, tensors: int) -> dict[str, Any]:
    """Run everything; see the module's text for what comes back."""
    found = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in IMAGE_SUFFIXES]
    # The images of the tensors are chosen from all, so that a limit does not change them.
    names = {str(path.relative_to(folder)): path for path in found}
    whole = spread(list(names), tensors)
    chosen = {*spread(list(names), limit), *whole}
    decoded = {name: decode(path) for name, path in names.items() if name in chosen}
    result: dict[str, Any] = {
        "machine": platform.machine(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "images": {name: digest(image) for name, image in decoded.items()},
        "models": {},
    }
    for path in models:
        content = read_bytes(path)
        metadata = read_metadata(content, subject=path)
        entry: dict[str, Any] = {"sha256": digest(content)}
        result["models"][path.stem] = entry
        for kernels in (Kernels.AUTO, Kernels.REFERENCE):
            interpreter = Interpreter(content, kernels=kernels)
            size = (interpreter.input.shape[1], interpreter.input.shape[2])
            views = {name: preprocess(image, size) for name, image in decoded.items()}
            entry["inputs"] = {name: digest(view) for name, view in views.items()}
            entry[kernels.value] = {
                "ran": interpreter.kernels_used,
                "arithmetic": str(interpreter.arithmetic),
                "logits": {
                    name: " ".join(map(str, interpreter.invoke(view)[0].tolist()))
                    for name, view in views.items()
                },
                "golden": compare_golden(metadata, interpreter).as_dict(),
                "every_tensor": checksums(content, kernels, {name: views[name] for name in whole}),
            }
    return result


def main() -> None:
    """Write the outputs as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--tensors", type=int, default=12)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    found = outputs(options.models, options.images, options.limit, options.tensors)
    options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
