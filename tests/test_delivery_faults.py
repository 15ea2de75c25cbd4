"""A store at every step of every change: power cut, kill -9, a disk that fails, Ctrl-C."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from deliveries import CHANGES, NEW, OLD, fault_of, installed, pass_trial, trials, write_bundles
from faulty_disk import OUTCOMES, ForgetfulDisk, PowerCut, SteppedDisk, raising

from qlvit_edge.delivery.disk import Disk
from qlvit_edge.delivery.store import Store
from qlvit_edge.errors import DeviceError

HELPERS = Path(__file__).parent / "helpers"

each_change = pytest.mark.parametrize("name", CHANGES)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    write_bundles(folder)
    return folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is one: nothing here is about the real disk's time."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


class Bench:
    """A store that is made once and copied for each fault."""

    def __init__(self, name: str, folder: Path, bundles: Path) -> None:
        self.change, self.bundles, self.folder = CHANGES[name], bundles, folder
        (folder / "before").mkdir()
        self.change.before(folder / "before" / "store", bundles)
        self._made = 0

    def fresh(self) -> Path:
        """A new folder with the store of before."""
        self._made += 1
        copy = self.folder / str(self._made)
        shutil.copytree(self.folder / "before", copy)
        return copy

    def steps(self) -> list[str]:
        """The steps of the change where nothing fails."""
        disk = SteppedDisk()
        self.change.change(self.fresh() / "store", self.bundles, disk)
        return disk.steps


@each_change
def test_after_a_power_cut_at_any_step_an_old_or_the_new_model_runs(
    name: str, folder: Path, bundles: Path
) -> None:
    bench = Bench(name, folder, bundles)
    steps = bench.steps()
    assert any(step.startswith("rename state.json") for step in steps)
    wrong = []
    for number, step in enumerate([*steps, "end"]):
        root = bench.fresh()
        disk = ForgetfulDisk(root, number)
        change = bench.change
        if step == "end":  # what was done is done for good
            change.change(root / "store", bundles, disk)
            change = replace(change, outcomes=change.outcomes[-1:])
        else:
            with pytest.raises(PowerCut):
                bench.change.change(root / "store", bundles, disk)
        for outcome in (0, 2, 3):  # that nothing was forgotten is the case of the interrupts
            names, contents = OUTCOMES[outcome]
            after = root.with_name(f"{root.name}-{outcome}")
            disk.leave(after, names, contents, seed=number)
            goes_on = outcome == number % 8
            found = fault_of(after / "store", bundles, change, goes_on=goes_on)
            wrong += [] if found is None else [f"{number} {step}, {outcome}: {found}"]
    assert not wrong


@each_change
def test_a_disk_that_fails_at_any_step_leaves_an_old_or_the_new_model(
    name: str, folder: Path, bundles: Path
) -> None:
    check_faults(Bench(name, folder, bundles), raising(errno.ENOSPC), OSError)


@each_change
def test_an_interrupt_at_any_step_leaves_an_old_or_the_new_model(
    name: str, folder: Path, bundles: Path
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    check_faults(Bench(name, folder, bundles), interrupt, KeyboardInterrupt)


def check_faults(bench: Bench, fault: Callable[[], None], kind: type[BaseException]) -> None:
    """Let each step fail once."""
    wrong = []
    for number, step in enumerate(bench.steps()):
        store = bench.fresh() / "store"
        with suppress(kind):
            bench.change.change(store, bench.bundles, SteppedDisk(number, fault))
        if store.exists():
            found = fault_of(store, bench.bundles, bench.change, goes_on=number % 3 == 0)
            wrong += [] if found is None else [f"{number} {step}: {found}"]
    assert not wrong


def test_a_store_that_forgets_to_wait_is_found_out(folder: Path, bundles: Path) -> None:
    """Without synchronising a file before its rename, half a model would run."""

    class Hasty(ForgetfulDisk):
        def sync_file(self, descriptor: int) -> None:
            pass

    bench = Bench("installation", folder, bundles)
    root = bench.fresh()
    disk = Hasty(root)
    bench.change.change(root / "store", bundles, disk)
    disk.leave(folder / "after", 1.0, 0.0)
    assert fault_of(folder / "after" / "store", bundles, bench.change) is not None


def test_the_benchmark_counts_states_that_are_bad(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import delivery_faults

    tally = delivery_faults.Tally()
    (folder / "right").mkdir()
    delivery_faults.simulate(tally, 15, 0, folder / "right")
    assert sum(tally.faults.values()) == 15
    assert not tally.bad
    monkeypatch.setattr(ForgetfulDisk, "sync_file", lambda self, descriptor: None)
    (folder / "wrong").mkdir()
    delivery_faults.simulate(tally, 30, 0, folder / "wrong")
    assert tally.bad


KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from deliveries import CHANGES
from faulty_disk import SteppedDisk, kill
store, bundles, step = Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5])
CHANGES[sys.argv[2]].change(store, bundles, SteppedDisk(step, kill))
"""


@pytest.mark.parametrize(("name", "share"), [("installation", 0.7), ("roll back", 0.5)])
def test_after_a_kill_an_old_or_the_new_model_runs(
    name: str, share: float, folder: Path, bundles: Path
) -> None:
    bench = Bench(name, folder, bundles)
    step = int(share * len(bench.steps()))
    store = bench.fresh() / "store"
    command = [sys.executable, "-c", KILLED, HELPERS, name, store, bundles, str(step)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    assert fault_of(store, bundles, bench.change) is None


@pytest.mark.parametrize("what", ["start", "mark good"])
def test_what_is_written_down_holds_through_a_power_cut(
    what: str, folder: Path, bundles: Path
) -> None:
    bench = Bench("mark good", folder, bundles)
    root = bench.fresh()
    disk = ForgetfulDisk(root)
    runs = trials(root / "store", disk)
    started = runs.begin()
    if what == "mark good":
        runs.mark_good(started)
    disk.leave(folder / "after", 0.0, 0.0)
    state = Store(folder / "after" / "store").read()
    assert state.running is not None
    told = (state.starts, state.running.standing)
    assert told == ((1, "trial") if what == "start" else (0, "good"))


def test_what_a_killed_installation_switched_to_is_made_sure_of(
    folder: Path, bundles: Path
) -> None:
    bench = Bench("installation over a trial", folder, bundles)
    steps = bench.steps()
    renamed = max(n for n, step in enumerate(steps) if step == "rename state.json")
    root = bench.fresh()
    disk = ForgetfulDisk(root, renamed + 1)
    with pytest.raises(PowerCut):
        installed(root / "store", bundles, NEW, disk)
    disk.go_on()
    assert installed(root / "store", bundles, NEW, disk).outcome == "already installed"
    disk.leave(folder / "after", 0.0, 0.0)
    running = Store(folder / "after" / "store").read().running
    assert running is not None
    assert running.version == NEW


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, bundles: Path) -> None:
    store = tmp_path / "store"
    installed(store, bundles, OLD)
    pass_trial(store)
    before = sorted(path.name for path in (store / "models").iterdir())
    steps = SteppedDisk()
    installed(tmp_path / "other", bundles, NEW, steps)
    at = steps.steps.index("write")
    with pytest.raises(OSError, match="No space left") as error:
        installed(store, bundles, NEW, SteppedDisk(at, raising(errno.ENOSPC)))
    assert "/head" in str(error.value.filename)
    assert sorted(path.name for path in (store / "models").iterdir()) == before


def test_two_installations_do_not_mix(tmp_path: Path, bundles: Path) -> None:
    store = tmp_path / "store"
    installed(store, bundles, OLD)
    with Store(store).installing(), pytest.raises(DeviceError, match="another model is being"):
        installed(store, bundles, NEW)
    installed(store, bundles, NEW)


def test_the_record_waits_for_whoever_changes_it(
    tmp_path: Path, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    installed(store, bundles, OLD)
    monkeypatch.setattr("qlvit_edge.delivery.store._WAIT_SECONDS", 0.1)
    with (
        Store(store).changing(),
        pytest.raises(DeviceError, match="another command is changing it"),
    ):
        installed(store, bundles, NEW)
    assert Store(store, Disk()).read().running is not None
