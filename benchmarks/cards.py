"""The figures of the bundled models' cards, made again.

    python benchmarks/cards.py blood-nano --data blood.json --untrained aml=AML --out cards

``--data`` is what the model was trained on, folder or manifest: its test side is measured, by
microscope. ``--untrained`` is a set that nothing was trained on or tuned to, such as
AML-Cytomorphology_LMU: cells of the model's classes, and others that it does not know, such as
blasts. May be given several times. ``--fields`` are annotated fields
(`images`, `labels`), from which single red cells are cut. Every image is shown whole and as the
finder's crop, to `Classifier` as anyone would. Leaves ``--out``/MODEL.json and prints Markdown;
``--also`` adds what other benchmarks measured, ``--write`` puts all of it into the card.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from card_figures import Known, Unknown, as_json, known, unknown
from card_rows import Row, answered, ask, held_out, noise, red_cells, strangers
from card_text import figures, inserted

from qlvit_edge import Classifier, bundled
from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import load_split
from qlvit_edge.evaluation.answers import View
from qlvit_edge.files import write_json, write_text

CARDS = Path(__file__).parents[1] / "qlvit_edge" / "bundled"


def places(
    model: str, classifier: Classifier, data: Path | None, untrained: list[str]
) -> dict[str, Any]:
    """Ask about every set of cells; returns rows by place and view."""
    found: dict[str, dict[View, list[Row]]] = {}
    for name, _, folder in (entry.partition("=") for entry in untrained):
        images = strangers(scan(Path(folder)), classifier.labels)
        found[f"{name}, a microscope never trained on"] = ask(classifier, images)
    if data is not None:
        split = load_split(bundled.FOLDER / model / "split.json")
        for domain, images in held_out(scan(data), split, classifier.labels).items():
            found[f"{domain or data.name}, held-out sources"] = ask(classifier, images)
    return found


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


def measure(
    model: str, options: argparse.Namespace
) -> tuple[dict[str, dict[View, Known]], dict[str, Unknown]]:
    """Return the figures of one model: by place and view, and of what it does not know."""
    with Classifier(model) as classifier:
        rows = places(model, classifier, options.data, options.untrained)
        others = pictures(classifier, options.fields)
    found = {
        place: {view: known(own) for view, own in views.items()} for place, views in rows.items()
    }
    shown_whole = [row for views in rows.values() for row in views[View.WHOLE]]
    return found, unknown([*shown_whole, *others])


def main() -> int:
    """Print the figures that the given folders allow."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", help="names of bundled models")
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
    for model in options.models:
        found, others = measure(model, options)
        by_place = {
            place: {view.key: as_json(own) for view, own in views.items()}
            for place, views in found.items()
        }
        write_json(options.out / f"{model}.json", {"places": by_place, "unknown": as_json(others)})
        also = "".join(f"{path.read_text(encoding='utf-8').strip()}\n\n" for path in options.also)
        section = figures(found, others, also)
        print(f"# {model}\n\n{section}")
        if options.write:
            card = CARDS / model / "MODEL_CARD.md"
            write_text(card, inserted(card.read_text(encoding="utf-8"), section))
    return 0


if __name__ == "__main__":
    sys.exit(main())
