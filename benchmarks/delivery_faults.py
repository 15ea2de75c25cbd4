"""Let a device's store of models fail in installations and updates, and count bad states.

    python benchmarks/delivery_faults.py [--faults 1000] [--kills 100] [--seed 0] [--folder DIR]

Most faults are simulated, on small bundles: every step of every change of a store (installation,
start on trial, mark good, roll back) fails once by a power cut, a full or broken disk, a
read-only one or Ctrl-C, in turn until there are enough; a power cut may leave of what was not
synchronised all, nothing, or by chance some. `--kills` of them are real: `qlvit-edge models
install` of `blood-nano`, signed here, gets SIGKILL at a random moment, updates one after the other
in one store.

After every fault a run is begun on the store: the model that comes up must be, byte for byte, the
old or the new one, and the next installation must succeed. Exits 1 where one is not. The time of
an installation is that of those that were left alone.
"""

from __future__ import annotations

import argparse
import errno
import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from deliveries import CHANGES, Change, fault_of, write_bundles
from faulty_disk import OUTCOMES, ForgetfulDisk, PowerCut, SteppedDisk, raising

from qlvit_edge.delivery.keys import new_pair, trusted_keys
from qlvit_edge.delivery.store import Store
from qlvit_edge.delivery.trial import Trials
from qlvit_edge.measuring.machine import describe_machine

ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS)
WAYS = (*(f"power cut {number}" for number in range(len(OUTCOMES))), *map(os.strerror, ERRORS))
ALONE = 5
"""Installations that are left alone, for their time."""


@dataclass
class Tally:
    """What came of the faults.

    Attributes:
        faults: by kind.
        bad: states in which not the old or the new model came up, or the next one did not go in.
        seconds: of the installations that were left alone.
        early: real kills before the record was switched.
    """

    faults: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    early: int = 0


def simulate(tally: Tally, count: int, seed: int, folder: Path) -> None:
    """Let steps fail in turn."""
    bundles = folder / "bundles"
    bundles.mkdir()
    write_bundles(bundles)
    places = []
    for name, change in CHANGES.items():
        before = folder / name
        before.mkdir()
        change.before(before / "store", bundles)
        disk = SteppedDisk()
        shutil.copytree(before, folder / "try")
        change.change(folder / "try" / "store", bundles, disk)
        shutil.rmtree(folder / "try")
        steps = enumerate(disk.steps)
        places += [(name, step, what, way) for step, what in steps for way in WAYS]
    random.Random(seed).shuffle(places)
    for number, (name, step, what, way) in enumerate(itertools.cycle(places)):
        if number == count:
            return
        found = one_fault(CHANGES[name], folder / name, bundles, step, way, seed + number)
        tally.faults[way.rstrip(" 0123456789")] += 1
        tally.bad += [] if found is None else [f"{name}, {step} {what}, {way}: {found}"]


def one_fault(
    change: Change, before: Path, bundles: Path, step: int, way: str, seed: int
) -> str | None:
    """Let one step fail; returns what is wrong afterwards."""
    with tempfile.TemporaryDirectory(dir=before.parent) as name:
        root = Path(name) / "root"
        shutil.copytree(before, root)
        if not way.startswith("power cut"):
            disk = SteppedDisk(step, raising(ERRORS[WAYS.index(way) - len(OUTCOMES)]))
            with suppress(OSError):
                change.change(root / "store", bundles, disk)
            return fault_of(root / "store", bundles, change) if root.exists() else None
        forgetful = ForgetfulDisk(root, step)
        with suppress(PowerCut):
            change.change(root / "store", bundles, forgetful)
        names, contents = OUTCOMES[int(way[-1])]
        forgetful.leave(Path(name) / "after", names, contents, seed)
        return fault_of(Path(name) / "after" / "store", bundles, change)


def kill_installations(tally: Tally, count: int, seed: int, folder: Path) -> None:
    """Kill real installations of a real model, one update after the other."""
    command = [sys.executable, "-m", "qlvit_edge", "models"]
    new_pair("bench", folder / "keys", None)
    key, first = folder / "keys" / "bench.key", folder / "0.qlvit"
    sign = [*command, "sign", "blood-nano", "--key", str(key), "--out"]
    install = [*command, "install", "--store", str(folder / "store"), "--keys"]
    install += [str(folder / "keys"), "--allow-downgrade", "--json"]
    second = folder / "1.qlvit"
    for version, path in (("1.0", first), ("1.1", second)):
        subprocess.run(
            [*sign, str(path), "--version", version], check=True, stdout=DEVNULL, stderr=DEVNULL
        )
    contents = {first.read_bytes(), second.read_bytes()}
    keys = trusted_keys(folder / "keys")
    store = Store(folder / "store")

    def comes_up() -> str | None:
        runs = Trials(store, keys, lambda text: None)
        try:
            started = runs.begin()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        bundle = started.kept.bundle
        runs.mark_good(started)
        return None if bundle.head + bundle.model in contents else "came up with half a model"

    for number in range(ALONE):
        path = (first, second)[number % 2]
        done = subprocess.run([*install, str(path)], check=True, capture_output=True)
        tally.seconds.append(sum(json.loads(done.stdout)["seconds"].values()))
        comes_up()
    took = time.monotonic()
    subprocess.run([*install, str(second)], check=True, stdout=DEVNULL)
    whole = time.monotonic() - took
    chance = random.Random(seed)
    for number in range(count):
        before = store.read().active
        path = (first, second)[number % 2]
        with subprocess.Popen([*install, str(path)], stdout=DEVNULL, stderr=DEVNULL) as process:
            time.sleep(chance.uniform(0.2, 1.1) * whole)
            process.kill()
        tally.early += store.read().active == before
        tally.faults["kill -9"] += 1
        found = comes_up()
        tally.bad += [] if found is None else [f"kill {number}: {found}"]


def main() -> None:
    """Let a store fail and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where stores are made [default: /tmp's disk]")
    options = parser.parse_args()
    tally = Tally()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        for part in ("simulated", "real"):
            (Path(name) / part).mkdir()
        simulate(tally, options.faults - options.kills, options.seed, Path(name) / "simulated")
        if options.kills:
            kill_installations(tally, options.kills, options.seed, Path(name) / "real")
    print(describe_machine().words)
    for kind, number in tally.faults.items():
        print(f"{number:6} {kind}")
    print(f"{sum(tally.faults.values()):6} faults, {len(tally.bad)} bad states")
    if options.kills:
        print(f"{tally.early:6} of the kills came before the switch")
        print(f"installation: {statistics.median(tally.seconds):.2f} s, median of {ALONE}")
    for line in tally.bad[:20]:
        print(line)
    sys.exit(bool(tally.bad))


if __name__ == "__main__":
    main()
