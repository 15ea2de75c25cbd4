"""The int8 file against the float32 files of the same network, in turns.

    python benchmarks/latency.py [--size nano|tiny|paper] [--threads 1] [--rounds 40]
    python benchmarks/latency.py --model FILE.tflite --run RUN

Without ``--run`` the network has random weights, and its ranges come from the bundled crops:
times do not depend on them. Two float32 files are compared, both of the same lowering and,
where they differ, in the form that is faster in float: the *same network*, whose softmax rounds
to powers of two (eq. 6), and a rival with the *plain softmax* of eq. 10, which is not what was
trained but what a float user would run. The files take turns as `qlvit-edge benchmark` does it;
the ratio is the median of those of each round.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from networks import build, twin, untrained

from qlvit_edge.inference.worker import Case
from qlvit_edge.measuring.benchmark import measure, report
from qlvit_edge.measuring.machine import describe_machine
from qlvit_edge.model.configs import SIZES
from qlvit_edge.training.checkpoint import load_checkpoint

WARM_UP = 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="nano")
    parser.add_argument("--run", type=Path, help="trained run; default: random weights")
    parser.add_argument("--model", type=Path, help="int8 file of that run; default: built here")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.model and not options.run:
        parser.error("--model needs the --run it was converted from, for its float32 twin")
    checkpoint = load_checkpoint(options.run) if options.run else untrained(options.size)
    content = {
        "int8": options.model.read_bytes() if options.model else build(checkpoint),
        "same network, float32": twin(checkpoint, "log2"),
        "plain softmax, float32": twin(checkpoint, "float"),
    }
    with tempfile.TemporaryDirectory() as folder:
        cases = []
        for index, (name, data) in enumerate(content.items()):
            path = Path(folder) / f"{index}.tflite"
            path.write_bytes(data)
            cases.append(Case(name, path, options.threads))
        machine = describe_machine()
        rows = measure(cases, options.rounds, WARM_UP)
    found = report(rows, machine, options.rounds, WARM_UP)
    if options.json:
        print(json.dumps(found.as_dict(), indent=2, ensure_ascii=False))
        return
    trained = "trained" if options.run else "untrained"
    print(f"{checkpoint.run.network.size}, {trained}; {found.machine.words}")
    print(f"{options.threads} thread(s), {options.rounds} rounds of {found.repeats} in turns")
    for row in found.rows:
        print(
            f"{row.case.model:22} median {row.percentile(50):8.3f} ms, "
            f"p90 {row.percentile(90):8.3f} ms, "
            f"{row.facts.bytes:>9} bytes, {row.facts.kernels_used}; to int8 {row.ratio(50):.2f} "
            f"(p10 {row.ratio(10):.2f}, p90 {row.ratio(90):.2f})"
        )


if __name__ == "__main__":
    main()
