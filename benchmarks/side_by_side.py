"""QLViT beside int8 networks of keras.applications, and beside itself in other runtimes.

    python benchmarks/side_by_side.py --python TENSORFLOW_PYTHON [--sizes paper,tiny,nano]
                                      [--write docs/benchmarks.md] [--plot docs/side-by-side.png]

For each size one run in which everything takes turns, one thread: our int8 file and its float32
twin, MobileNetV2, MobileNetV3-small and EfficientNetV2-B0 at the same input size (random
weights, TensorFlow's full-integer conversion), and the same QLViT in ONNX Runtime (float32 and
dynamic int8) and PyTorch. Where a trained model of the size is bundled it is the one that is
timed, and its accuracy is shown; nothing else here was trained on the data, so its accuracy is
not known. `--write` puts the table between the markers of a Markdown file.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from networks import build, twin, untrained
from rivals import KERAS, Called, keras_file, same_network

from qlvit_edge import bundled
from qlvit_edge.converters.routes.environment import find_python
from qlvit_edge.files import atomic_path, write_text
from qlvit_edge.inference.worker import Case, Worker
from qlvit_edge.measuring.benchmark import take_turns
from qlvit_edge.measuring.machine import describe_machine
from qlvit_edge.modelfile.metadata import metadata_of
from qlvit_edge.modelfile.reader import read_document
from qlvit_edge.palette import COLOURS
from qlvit_edge.training.checkpoint import Checkpoint, load_checkpoint

WARM_UP = 2
NAME = "side by side"
FILE_ACCURACY, FLOAT_ACCURACY = "integer, test split", "float, test split"
OURS = "QLViT"


@dataclass(frozen=True)
class Line:
    """One row of the table.

    Attributes:
        network: what runs, and where.
        side: input size in pixels.
        p50: milliseconds.
        ratio: to our int8 file, median over the rounds.
        size: bytes of the file (PyTorch: of the weights).
        macs: multiply-accumulates of the file's operators; None where it is no .tflite.
        partitions: parts that XNNPACK took over; None likewise.
        left: operators outside them; None likewise.
        accuracy: on held-out images, where the network was trained; else None.
    """

    network: str
    side: int
    p50: float
    ratio: float
    size: int
    macs: int | None
    partitions: int | None
    left: int | None
    accuracy: float | None


def main() -> None:
    """Convert, measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", type=Path, help="Python with TensorFlow; default: found")
    parser.add_argument("--sizes", default="paper,tiny,nano")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--write", type=Path, help="Markdown file to put the table into")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    python = find_python(options.python)
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes.split(","):
            lines += compare(size, python, Path(folder), options.rounds)
    text = f"{describe_machine().words}; one thread, {options.rounds} rounds in turns.\n\n"
    text += table(lines)
    print(text)
    if options.write:
        put(options.write, text)
    if options.plot:
        draw(lines, options.plot)


def ours(size: str, folder: Path) -> tuple[Checkpoint, Path]:
    """Return a network of the size and its int8 file: the bundled one, or of random weights."""
    name = f"blood-{size}"
    if bundled.is_bundled(name):
        return load_checkpoint(bundled.resolve_run(name)), bundled.resolve_model(name)
    checkpoint = untrained(size)
    path = folder / f"{size}.tflite"
    path.write_bytes(build(checkpoint))
    return checkpoint, path


def compare(size: str, python: Path, folder: Path, rounds: int) -> list[Line]:
    """Measure everything at one size in turns; our int8 file is the first line."""
    checkpoint, own = ours(size, folder)
    side = checkpoint.run.network.input_size[0]
    floating = folder / f"{size}-float32.tflite"
    floating.write_bytes(twin(checkpoint, "log2"))
    cases = [Case(f"{OURS} {size}, int8", own), Case(f"{OURS} {size}, float32", floating)]
    classes = checkpoint.run.network.classes
    cases += [
        Case(f"{name}, int8", keras_file(python, name, side, classes, folder)) for name in KERAS
    ]
    others = same_network(checkpoint, threads=1)
    with ExitStack() as running:
        workers = [running.enter_context(Worker(case)) for case in cases]
        times, ratios = take_turns([*workers, *others], rounds, WARM_UP)
    metadata = metadata_of(read_document(own))
    trained = {} if metadata is None else metadata.accuracy
    integer, real = trained.get(FILE_ACCURACY), trained.get(FLOAT_ACCURACY)
    accuracies = [integer, real, *(None for _ in KERAS)]
    accuracies += [None if "int8" in other.name else real for other in others]
    medians = [
        (float(np.median(t)), float(np.median(r))) for t, r in zip(times, ratios, strict=True)
    ]
    lines = [
        of_file(case, worker, side, *median, accuracy)
        for case, worker, median, accuracy in zip(
            cases, workers, medians[: len(cases)], accuracies[: len(cases)], strict=True
        )
    ]
    rest = zip(others, medians[len(cases) :], accuracies[len(cases) :], strict=True)
    return lines + [of_call(o, size, side, *median, accuracy) for o, median, accuracy in rest]


def of_file(
    case: Case, worker: Worker, side: int, p50: float, ratio: float, accuracy: float | None
) -> Line:
    """Return the line of a .tflite file."""
    document = read_document(case.path)
    return Line(
        case.model,
        side,
        p50,
        ratio,
        document.size,
        document.macs,
        worker.first_run.partitions,
        worker.first_run.operators_left,
        accuracy,
    )


def of_call(
    other: Called, size: str, side: int, p50: float, ratio: float, accuracy: float | None
) -> Line:
    """Return the line of another runtime."""
    network = f"{OURS} {size}: {other.name}"
    return Line(network, side, p50, ratio, other.size, None, None, None, accuracy)


def table(lines: list[Line]) -> str:
    """Return the lines as a Markdown table."""
    heads = ("network", "px", "ms", "× ours", "kB", "MMAC", "partitions + operators", "accuracy")
    rows = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    for line in lines:
        cells = [
            line.network,
            str(line.side),
            f"{line.p50:.2f}",
            f"{line.ratio:.2f}",
            f"{line.size / 1e3:.0f}",
            "–" if line.macs is None else f"{line.macs / 1e6:.1f}",
            "–" if line.partitions is None else f"{line.partitions} + {line.left}",
            "not known" if line.accuracy is None else f"{line.accuracy:.2%}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def put(path: Path, text: str, name: str = NAME) -> None:
    """Replace what stands between the markers of a file.

    Raises:
        SystemExit: the file has no markers.
    """
    content = path.read_text(encoding="utf-8")
    if not _marked(name).search(content):
        raise SystemExit(f"{path}: no markers <!-- {name} -->; add them where the table belongs")
    new = f"<!-- {name} -->\n{text}\n<!-- end of {name} -->"
    write_text(path, _marked(name).sub(lambda _: new, content))


def between(content: str, name: str = NAME) -> str:
    """Return what stands between the markers in a Markdown text; '' where there are none."""
    found = _marked(name).search(content)
    return found[1] if found else ""


def _marked(name: str) -> re.Pattern[str]:
    return re.compile(
        f"<!-- {re.escape(name)} -->(.*?)<!-- end of {re.escape(name)} -->", re.DOTALL
    )


def draw(lines: list[Line], path: Path) -> None:
    """Draw latency against accuracy; those not trained on the data stand in a strip below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 3))
    unknown = sorted((line for line in lines if line.accuracy is None), key=lambda line: line.p50)
    for line in lines:
        own = line.network.startswith(OURS)
        colour = COLOURS[0] if own else COLOURS[1]
        height = unknown.index(line) if line.accuracy is None else 100 * line.accuracy
        axis = below if line.accuracy is None else above
        face = "none" if line.accuracy is None else colour
        axis.scatter([line.p50], [height], facecolors=face, edgecolors=colour, s=28)
        label = f"  {line.network}, {line.side} px"
        axis.annotate(label, (line.p50, height), fontsize=7, va="center")
    above.set(title="Latency against accuracy (%)", ylabel="accuracy", xscale="log")
    above.margins(y=0.4)
    below.set(xlabel="milliseconds, one thread", title="not trained on the data: accuracy unknown")
    below.set_yticks([])
    low, high = min(line.p50 for line in lines), max(line.p50 for line in lines)
    below.set_xlim(low / 1.5, high * 8)
    for axis in (above, below):
        axis.title.set_fontsize(10)
        axis.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
