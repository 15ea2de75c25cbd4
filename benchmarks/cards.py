"""The figures of the cards of the models that have a name, made again.

    python benchmarks/cards.py blood-nano --data blood.json --untrained aml=AML --out cards

``--data`` is what the model was trained on, folder or manifest: its test side is measured, by
microscope. ``--untrained`` is a set that nothing was trained on or tuned to, such as
AML-Cytomorphology_LMU: cells of the model's classes, and others that it does not know, such as
blasts. May be given several times. ``--fields`` are annotated fields
(`images`, `labels`), from which single red cells are cut. Every image is shown whole and as the
finder's crop, to `Classifier` as anyone would. Of ``--kind hep2``, whose cells others have cut
out of grey pictures, images are shown whole alone, and degraded only as grey ones can be. Leaves
``--out``/MODEL.json and prints Markdown; ``--also`` adds what other benchmarks measured,
``--write`` puts all of it into the card.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from card_degraded import STRENGTHS, WITHOUT_COLOUR, degraded
from card_figures import Known, Unknown, as_json, known, unknown
from card_rows import Row, answered, ask, held_out, noise, red_cells, strangers
from card_text import Kind, figures, guard, inserted

from qlvit_edge import Classifier, bundled
from qlvit_edge.data.folder import LabelledImage, scan
from qlvit_edge.data.split import load_split
from qlvit_edge.evaluation.answers import View
from qlvit_edge.files import write_json, write_text
from qlvit_edge.modelfile.guard import Guard

CARDS = Path(__file__).parents[1] / "qlvit_edge" / "bundled"


Images = Sequence[tuple[LabelledImage, Row]]


@dataclass(frozen=True)
class Measured:
    """What is known of one model.

    Attributes:
        places: figures by place and view.
        unknown: of cells and pictures that it does not know, by kind.
        degraded: figures of held-out cells, by degradation.
        guard: of the file.
    """

    places: dict[str, dict[View, Known]]
    unknown: dict[str, Unknown]
    degraded: dict[str, Known]
    guard: Guard | None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        places = {
            place: {view.key: as_json(own) for view, own in views.items()}
            for place, views in self.places.items()
        }
        degraded = {way: as_json(own) for way, own in self.degraded.items()}
        return {"places": places, "unknown": as_json(self.unknown), "degraded": degraded}


def image_sets(
    model: str, labels: Sequence[str], data: Path | None, untrained: Sequence[str]
) -> tuple[dict[str, Images], dict[str, Images]]:
    """Return the images by place: of microscopes never trained on, and of the test side."""
    strange = {
        f"{name}, a microscope never trained on": strangers(scan(Path(folder)), labels)
        for name, _, folder in (entry.partition("=") for entry in untrained)
    }
    if data is None:
        return strange, {}
    split = load_split(bundled.folder_of(model) / "split.json")
    sides = held_out(scan(data), split, labels, model)
    return strange, {f"{name or data.name}, held-out sources": own for name, own in sides.items()}


def pictures(classifier: Classifier, fields: Path | None) -> list[Row]:
    """Ask about pictures that show no cell of any class."""
    shown = [("uniform noise", noise())]
    if fields is not None:
        shown.append(("single red cell", red_cells(fields)))
    return [
        answered(classifier, Row(kind, None, str(number)), picture)
        for kind, every in shown
        for number, picture in enumerate(every)
    ]


def measure(model: str, options: argparse.Namespace) -> Measured:
    """Ask one model about everything."""
    with Classifier(model) as classifier:
        strange, own = image_sets(model, classifier.labels, options.data, options.untrained)
        views, ways = tuple(View), tuple(STRENGTHS)
        if options.kind == "hep2":
            views, ways = (View.WHOLE,), WITHOUT_COLOUR
        places = {**strange, **own}
        rows = {place: ask(classifier, images, views) for place, images in places.items()}
        others = pictures(classifier, options.fields)
        copies = degraded(classifier, [entry for images in own.values() for entry in images], ways)
    shown_whole = [row for views in rows.values() for row in views[View.WHOLE]]
    return Measured(
        guard=classifier.metadata.guard,
        places={p: {view: known(own) for view, own in views.items()} for p, views in rows.items()},
        unknown=unknown([*shown_whole, *others]),
        degraded={way: known(own) for way, own in copies.items() if own},
    )


def main() -> int:
    """Print the figures that the given folders allow."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", help="names of models")
    parser.add_argument("--kind", choices=get_args(Kind), default="blood", help="what they know")
    parser.add_argument("--data", type=Path, help="what the models were trained on")
    parser.add_argument(
        "--untrained", metavar="NAME=FOLDER", action="append", default=[], help="another microscope"
    )
    parser.add_argument("--fields", type=Path, help="annotated fields of another microscope")
    parser.add_argument("--out", type=Path, required=True, help="folder for the figures as JSON")
    parser.add_argument(
        "--also", type=Path, action="append", default=[], help="Markdown of another benchmark"
    )
    parser.add_argument("--write", action="store_true", help="write them into the models' cards")
    options = parser.parse_args()
    if options.data is None and not options.untrained:
        parser.error("give --data, --untrained or both")
    options.out.mkdir(parents=True, exist_ok=True)
    also = "".join(f"{path.read_text(encoding='utf-8').strip()}\n\n" for path in options.also)
    for model in options.models:
        found = measure(model, options)
        write_json(options.out / f"{model}.json", found.as_dict())
        section = figures(
            found.places,
            found.unknown,
            found.degraded,
            "".join(guard(found.guard)) + also,
            options.kind,
        )
        print(f"# {model}\n\n{section}")
        if options.write:
            folder = CARDS / model if bundled.is_bundled(model) else bundled.folder_of(model)
            card = folder / "MODEL_CARD.md"
            write_text(card, inserted(card.read_text(encoding="utf-8"), section))
    return 0


if __name__ == "__main__":
    sys.exit(main())
