"""Pictures of training, calibration and routes, as PNG files; validation draws its own.

Drawn with matplotlib without a display, in one plain style and the colours of
`qlvit_edge.palette`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.evaluation.curves import LOSS, SHARES, columns
from qlvit_edge.files import atomic_path
from qlvit_edge.palette import COLOURS

MOST_LAYERS = 60
_STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.dpi": 130,
    "figure.constrained_layout.use": True,
}


def plot_curves(
    history: Sequence[Mapping[str, float]], path: Path, *, best: int | None = None
) -> None:
    """Draw loss and accuracy over the epochs.

    Args:
        history: one mapping an epoch. Keys with `loss` in them go to the left picture, keys
            with `accuracy` or `recall` to the right one; `epoch`, if present, is the x axis.
        path: PNG to write.
        best: number of the epoch whose weights are kept; it gets a line.
    """
    epochs = [row.get("epoch", number) for number, row in enumerate(history, start=1)]
    with _picture(path, (9, 3.4), columns=2) as axes:
        pictures = (("Loss", LOSS, 1.0), ("Accuracy", SHARES, 100.0))
        for axis, (title, words, factor) in zip(axes, pictures, strict=True):
            keys = columns(history, words)
            for number, key in enumerate(keys):
                values = [factor * row.get(key, float("nan")) for row in history]
                few = len(history) < 25
                colour = COLOURS[number % len(COLOURS)]
                label = key.replace("_", " ")
                axis.plot(
                    epochs, values, label=label, color=colour, marker="o" if few else "", ms=3
                )
            axis.set(title=title if factor == 1 else f"{title} (%)", xlabel="epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
            if best is not None:
                axis.axvline(best, color="#888888", ls="--", lw=1, label=f"best epoch: {best}")
            if keys:
                axis.legend()


def plot_confusion(
    matrix: NDArray[np.int64],
    labels: Sequence[str],
    path: Path,
    *,
    columns: Sequence[str] | None = None,
) -> None:
    """Draw a confusion matrix: counts, coloured by the share of the row.

    Args:
        matrix: (classes, columns); rows are the truth, columns the prediction.
        labels: class names.
        path: PNG to write.
        columns: names of the columns where they are not the classes.
    """
    names = labels if columns is None else columns
    count = max(len(labels), len(names))
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = max(4.2, 0.85 * count + 1.6)
    with _picture(path, (side + 0.6, side)) as (axis,):
        axis.grid(visible=False)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(len(labels), len(names)):
            dark = shares[row, column] > 0.55
            number, share = matrix[row, column], shares[row, column]
            axis.text(
                column,
                row,
                f"{number}\n{100 * share:.1f} %" if number else "0",
                ha="center",
                va="center",
                color="white" if dark else "#222222" if number else "#aaaaaa",
                fontsize=9 if count <= 8 else 6,
            )
        axis.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(len(labels)), labels)
        axis.set(title="Confusion matrix", xlabel="predicted", ylabel="true class")
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)


def plot_latencies(
    labels: Sequence[str], milliseconds: Sequence[Sequence[float]], path: Path
) -> None:
    """Draw every row's latency: a box from p10 to p90 with the median, and a line to p99.

    Args:
        labels: names of the rows.
        milliseconds: the inferences of each row, at least one each.
        path: PNG to write.
    """
    spread = [np.percentile(values, (10, 50, 90, 99)) for values in milliseconds]
    rows = range(len(labels))
    with _picture(path, (7.2, 0.42 * len(labels) + 1.2)) as (axis,):
        for row, (low, middle, high, rare) in zip(rows, spread, strict=True):
            axis.plot([high, rare], [row, row], color="#888888", linewidth=1)
            axis.barh(row, high - low, left=low, height=0.5, color=COLOURS[5])
            axis.plot([middle, middle], [row - 0.25, row + 0.25], color=COLOURS[0])
            axis.annotate(f" {middle:.3g}", (rare, row), va="center", fontsize=8, color="#222222")
        axis.set_yticks(rows, labels)
        axis.set_ylim(len(labels) - 0.4, -0.6)
        axis.set_xlim(0, 1.12 * max(float(values[3]) for values in spread))
        axis.set(title="Latency: p10 to p90, median (number), line to p99", xlabel="milliseconds")
        axis.grid(visible=False, axis="y")


def plot_routes(points: Sequence[tuple[str, str, float, float, bool]], path: Path) -> None:
    """Draw accuracy over latency, a mark each file; hollow marks are not the network.

    Args:
        points: name, route, milliseconds, accuracy (0 to 1) and whether it passed, each.
        path: PNG to write.
    """
    routes = list(dict.fromkeys(route for _, route, *_ in points))
    with _picture(path, (8.2, 0.36 * len(points) + 1.9), columns=2) as (plane, names):
        for number, (_, route, latency, accuracy, passed) in enumerate(points, start=1):
            colour = COLOURS[routes.index(route) % len(COLOURS)]
            face = colour if passed else "none"
            plane.plot(latency, 100 * accuracy, "o", color=colour, mfc=face, ms=8)
            # Files of about the same speed and accuracy: their numbers fan out.
            place = (0, (9, -17, 21, -29)[number % 4])
            where = (latency, 100 * accuracy)
            plane.annotate(str(number), where, place, textcoords="offset points", ha="center")
        plane.set_xscale("log")
        plane.xaxis.set_major_formatter("{x:g}")
        plane.margins(0.12, 0.3)
        plane.set(title="Accuracy over latency", xlabel="milliseconds", ylabel="accuracy (%)")
        names.set_axis_off()
        names.set_ylim(len(points) + 0.6, 0.2)
        for number, (name, route, latency, accuracy, passed) in enumerate(points, start=1):
            verdict = "" if passed else "  not the network"
            text = f"{number}  {name}: {latency:.2f} ms, {accuracy:.1%}{verdict}"
            colour = COLOURS[routes.index(route) % len(COLOURS)]
            names.text(0, number, text, va="center", fontsize=9, color=colour)


def plot_layer_errors(ratios: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw several networks' signal-to-noise ratios, layer by layer, as lines.

    Args:
        ratios: network → layer → ratio in dB; layers in the network's order. Above 60 layers
            those with the lowest ratio in any network are drawn.
        path: PNG to write.
    """
    layers = list(dict.fromkeys(name for row in ratios.values() for name in row))
    lowest = [min(row.get(name, np.inf) for row in ratios.values()) for name in layers]
    shown = np.sort(np.argsort(lowest, kind="stable")[:MOST_LAYERS])
    rows = np.arange(len(shown))
    with _picture(path, (7.6, 0.17 * len(shown) + 1.4)) as (axis,):
        for number, (network, row) in enumerate(ratios.items()):
            values = [row.get(layers[index], np.nan) for index in shown]
            colour = COLOURS[number % len(COLOURS)]
            axis.plot(values, rows, color=colour, label=network, marker="o", ms=3, linewidth=1)
        axis.set_yticks(rows, [layers[index] for index in shown], fontsize=7)
        axis.set_ylim(len(shown) - 0.5, -0.5)
        few = "" if len(shown) == len(layers) else f", worst {len(shown)} of {len(layers)} tensors"
        axis.set(title=f"Signal to quantisation noise{few}", xlabel="dB")
        axis.legend(loc="upper center", bbox_to_anchor=(0.4, -0.04), ncols=len(ratios))


def plot_sensitivity(
    layers: Sequence[str],
    alone: Sequence[float],
    without: Sequence[float],
    whole: float,
    path: Path,
) -> None:
    """Draw what each layer costs: alone in integers, and alone spared.

    Args:
        layers: names, in the network's order.
        alone: relative error (0 to 1) of the logits with this layer alone in integers.
        without: with all layers but this one in integers.
        whole: with all of them.
        path: PNG to write.
    """
    rows = np.arange(len(layers))
    with _picture(path, (8.2, 0.2 * len(layers) + 1.3), columns=2) as (left, right):
        left.barh(rows, 100 * np.asarray(alone), height=0.7, color=COLOURS[5])
        left.set_yticks(rows, layers, fontsize=7)
        left.set(title="This layer alone in integers", xlabel="error of the logits (%)")
        right.barh(rows, 100 * np.asarray(without), height=0.7, color=COLOURS[4])
        right.axvline(100 * whole, color=COLOURS[1])
        right.set_yticks(rows, [])
        title = f"All but this layer (line: all, {100 * whole:.1f})"
        right.set(title=title, xlabel="error of the logits (%)")
        for axis in (left, right):
            axis.set_ylim(len(layers) - 0.4, -0.6)
            axis.grid(visible=False, axis="y")


def plot_layer_error(names: Sequence[str], values: Sequence[float], path: Path) -> None:
    """Draw the signal-to-noise ratio of each layer in the order of the network.

    Args:
        names: layer names.
        values: power of the float result over that of the integer error, in dB; the
            lowest values are the worst layers. Above 60 layers only the worst are drawn.
        path: PNG to write.
    """
    # An error of exactly 0 is an infinite ratio.
    ratios = np.minimum(np.asarray(values, np.float64), 120.0)
    worst = np.argsort(ratios, kind="stable")
    shown = np.sort(worst[:MOST_LAYERS])
    orange = set(worst[:3].tolist())
    rows = range(len(shown))
    title = "Signal to integer noise, by layer (three worst: orange)"
    if len(shown) < len(ratios):
        title += f"\n(the {len(shown)} lowest of {len(ratios)} layers)"
    with _picture(path, (7.2, 0.17 * len(shown) + 1.2)) as (axis,):
        colours = [COLOURS[1] if index in orange else COLOURS[0] for index in shown.tolist()]
        axis.barh(rows, ratios[shown], color=colours, height=0.72)
        axis.set_yticks(rows, [names[index] for index in shown], fontsize=7)
        axis.set(title=title, xlabel="signal to noise (dB), more is better")
        axis.set_ylim(len(shown) - 0.4, -0.6)
        axis.grid(visible=False, axis="y")
        axis.tick_params(axis="y", length=0)


def plot_risk_coverage(
    curves: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]], path: Path
) -> None:
    """Draw which share of the answers is wrong over the share of cells that are answered.

    Args:
        curves: by what they are of, coverage and risk as `metrics.risk_coverage` gives them.
        path: PNG to write.
    """
    with _picture(path, (6.4, 4.0)) as (axis,):
        for number, (label, (coverage, risk)) in enumerate(curves.items()):
            style = {"color": COLOURS[number % len(COLOURS)]}
            style["ls"] = ("-", "--", ":")[number // len(COLOURS) % 3]
            axis.plot(100 * coverage, 100 * risk, label=label, **style)
        axis.set(title="Risk and coverage", xlabel="cells answered (%)", ylabel="wrong (%)")
        axis.set_xlim(0, 100)
        axis.set_ylim(bottom=0)
        axis.legend()


@contextmanager
def _picture(path: Path, size: tuple[float, float], columns: int = 1) -> Iterator[tuple[Any, ...]]:
    """Yield the axes of a new figure of `size` inches and write it to `path` afterwards."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size)
        FigureCanvasAgg(figure)
        yield tuple(figure.subplots(1, columns, squeeze=False)[0])
        with atomic_path(path) as temporary:
            # Without the program's name the same figures give the same bytes.
            figure.savefig(temporary, format="png", metadata={"Software": None})
