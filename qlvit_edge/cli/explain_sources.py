"""What `explain` asks: an integer file, a checkpoint, or both of one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qlvit_edge.cli.extras import require
from qlvit_edge.cli.live import show_start
from qlvit_edge.errors import MissingExtraError, ModelFileError
from qlvit_edge.inference.closing import Closing
from qlvit_edge.presence import present

if TYPE_CHECKING:
    from qlvit_edge.evaluation.explanation import Panel
    from qlvit_edge.evaluation.overlay import Pixels
    from qlvit_edge.inference.class_maps import ClassMapper
    from qlvit_edge.training.grad_cam import GradCam

INTEGER, FLOAT = "integer file", "checkpoint"
_NEEDED = ("torch", "safetensors", "captum")


class Sources(Closing):
    """Answers with their maps, of one network in one or two forms.

    Attributes:
        name: of the network.
        labels: its classes.
        channels: of the images that it reads: 3, or 1 for grey.
        described: what answers, by kind: file or folder, and hash.
    """

    def __init__(self, name: str, mapper: ClassMapper | None, grad_cam: GradCam | None) -> None:
        """Take what is there, one at least."""
        self.name = name
        self._mapper, self._grad_cam = mapper, grad_cam
        self.described: dict[str, str] = {}
        self.channels: int
        if grad_cam is not None:
            self.labels = grad_cam.labels
            self.channels = grad_cam.channels
            self.described[FLOAT] = grad_cam.source
        if mapper is not None:
            self.labels = mapper.classifier.labels
            self.channels = mapper.classifier.metadata.channels
            self.described[INTEGER] = f"{mapper.path}, SHA-256 {mapper.classifier.sha256}"

    @classmethod
    def of(cls, named: str, **options: Any) -> Sources:
        """Open what a model's name, a model file or a run folder means.

        Args:
            named: on the command line.
            options: of `ClassMapper`.

        Raises:
            QLViTEdgeError: it means nothing, or cannot be opened.
            MissingExtraError: it is a run folder, and the extra `explain` is not installed.
        """
        from qlvit_edge.inference.class_maps import ClassMapper

        run, model = _meant(named)
        grad_cam = None if run is None else _grad_cam(run, model)
        mapper = None if model is None else ClassMapper(model, **options)
        if mapper is not None:
            show_start(mapper.classifier)
        place = present(run if run is not None else model, "a run or a model")
        return cls(place.resolve().name, mapper, grad_cam)

    def panels(self, pixels: Pixels, label: str | None, *, cut: bool) -> tuple[Panel, ...]:
        """Ask about an image.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            label: class of the maps; None: the one that is answered, by the integer file where
                there is one.
            cut: whether the edge of a field cuts the cell: the answer is not accepted then.

        Raises:
            DeviceError: the runtime failed.
        """
        found = []
        if self._mapper is not None:
            own = _integer_panel(self._mapper, pixels, label, cut)
            label = own.shown
            found.append(own)
        if self._grad_cam is not None:
            found.append(_float_panel(self._grad_cam, pixels, label))
        return tuple(found)

    def close(self) -> None:
        """End the model's processes."""
        if self._mapper is not None:
            self._mapper.close()


def _integer_panel(mapper: ClassMapper, pixels: Pixels, label: str | None, cut: bool) -> Panel:
    from qlvit_edge.evaluation.explanation import Panel
    from qlvit_edge.microscope.pipeline import of_a_part

    found = mapper.explain(pixels)
    answer = found.classification
    if cut and mapper.classifier.judges:
        answer = of_a_part(answer)
    shown = label or answer.label
    return Panel(
        source=INTEGER,
        method="class map",
        label=answer.label,
        probability=answer.probability,
        shown=shown,
        positions=found.of(shown),
        input_size=found.input_size,
        verdict=answer.verdict,
        reason=answer.reason,
        noise=found.step,
    )


def _float_panel(grad_cam: GradCam, pixels: Pixels, label: str | None) -> Panel:
    from qlvit_edge.evaluation.explanation import Panel

    found = grad_cam.explain(pixels, label)
    return Panel(
        source=FLOAT,
        method="Grad-CAM",
        label=found.label,
        probability=found.probability,
        shown=label or found.label,
        positions=found.positions,
        input_size=grad_cam.input_size,
    )


def _meant(named: str) -> tuple[Path | None, Path | None]:
    """The run folder and the model file that the first argument means; one of them at least.

    Raises:
        MissingExtraError: it is a run folder, and what its checkpoint needs is not installed.
    """
    from qlvit_edge.bundled import is_named, resolve_model, resolve_run
    from qlvit_edge.evaluation.named_models import WEIGHTS

    if is_named(named):
        folder = resolve_run(named)
        model = model_in(folder)
        return (folder if model is None or (folder / WEIGHTS).is_file() else None), model
    if not Path(named).is_dir():
        return None, resolve_model(named)
    require("explain", *_NEEDED)
    return Path(named), model_in(Path(named))


def model_in(folder: Path) -> Path | None:
    """The model file in a run folder that was made of its checkpoint, and has class maps."""
    from qlvit_edge.evaluation.named_models import WEIGHTS
    from qlvit_edge.files import sha256
    from qlvit_edge.modelfile.chain import is_chain
    from qlvit_edge.modelfile.metadata import read_metadata
    from qlvit_edge.modelfile.reader import read_bytes

    weights = folder / WEIGHTS
    digest = sha256(weights.read_bytes()) if weights.is_file() else None
    made = []
    for path in sorted(folder.glob("*.tflite"), key=lambda path: path.stem != folder.name):
        try:
            content = read_bytes(path)
            metadata = None if is_chain(content) else read_metadata(content, subject=path)
        except ModelFileError as error:
            click.echo(f"note: left out: {error}", err=True)
            continue
        if is_chain(content):
            click.echo(f"note: {path}: a chain has no class maps, left out", err=True)
            continue
        if metadata is None or digest not in (None, metadata.checkpoint_sha256):
            click.echo(f"note: {path}: not made of this checkpoint, left out", err=True)
            continue
        made.append(path)
    for path in made[1:]:
        click.echo(f"note: {path}: left out beside {made[0].name}", err=True)
    return made[0] if made else None


def _grad_cam(run: Path, model: Path | None) -> GradCam | None:
    """Grad-CAM of a run's checkpoint; None where a name also means a model, which is enough.

    Raises:
        MissingExtraError: what it needs is not installed, and there is no model.
    """
    try:
        require("explain", *_NEEDED)
    except MissingExtraError as error:
        if model is None:
            raise
        click.echo(f"note: no Grad-CAM of the checkpoint: {error}", err=True)
        return None
    from qlvit_edge.training.checkpoint import load_checkpoint
    from qlvit_edge.training.grad_cam import GradCam

    return GradCam(load_checkpoint(run))
