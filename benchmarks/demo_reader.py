"""Reviews and signs the last run of a results file through the command line, looking at nothing.

    python benchmarks/demo_reader.py demo/results.sqlite demo/blood-nano.tflite demo/sheet.html

For `make demo`: which commands a reader gives, and what they leave. Accepted cells are confirmed,
all others are left out, and the records say that no person did that.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

NAME = "demo script, no person"
REASON = "not accepted, and nobody looked"


def command(*words: str, quietly: bool = False) -> str:
    """Run `qlvit-edge results`; return what it printed, and show both unless ``quietly``."""
    given = ["qlvit-edge", "results", *words]
    if not quietly:
        print(f"+ {shlex.join(given)}", flush=True)
    done = subprocess.run(given, stdout=subprocess.PIPE, text=True, check=True)
    if not quietly:
        print(done.stdout, end="", flush=True)
    return done.stdout


def main(results: str, model: str, sheet: str) -> None:
    """Decide on every cell, sign, write the sheet and check the file."""
    cells = json.loads(command("show", results, "--cells", "--json", quietly=True))["cells"]
    accepted = [cell["id"] for cell in cells if cell["verdict"] == "accepted"]
    others = [cell["id"] for cell in cells if cell["verdict"] != "accepted"]
    review = ("review", results, "--by", NAME)
    if accepted:
        command(*review, *_named(accepted), "--confirm")
    if others:
        command(*review, *_named(others), "--exclude", "--reason", REASON)
    command(*review, "--done")
    command("sign", results, "--by", NAME)
    command("report", results, "--model", model, "--out", sheet, "--by", NAME)
    command("verify", results)


def _named(cells: list[int]) -> list[str]:
    return [word for cell in cells for word in ("--cell", str(cell))]


if __name__ == "__main__":
    main(*sys.argv[1:])
