"""Whatever a model does, only its own process comes to harm."""

from __future__ import annotations

import gc
import os
import pickle
import platform
import signal
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import refused, run_command
from odd_models import (
    divided_by_nothing,
    filled_by_pixels,
    multiplied,
    shaped_by_pixels,
    shaped_by_the_batch,
    tiled,
    traps_on_white,
    with_a_past,
)
from tiny_metadata import plain_image, plain_logits, tiny_file
from tiny_model import COLOURS, tiny_model

from qlvit_edge import Classifier
from qlvit_edge.bundled import FIELDS
from qlvit_edge.errors import DeviceError, InferenceLostError, ModelFileError
from qlvit_edge.inference import child as child_module
from qlvit_edge.inference import isolation, network
from qlvit_edge.inference.allowance import Allowance
from qlvit_edge.inference.chain import open_isolated
from qlvit_edge.inference.child import Child, ChildLostError, run_limited
from qlvit_edge.inference.interpreter import Interpreter, Kernels
from qlvit_edge.inference.loaded import LoadedModel
from qlvit_edge.modelfile.reader import read_document

WHITE = np.full((8, 8, 3), 255, np.uint8)
BLACK = np.zeros((8, 8, 3), np.uint8)
ANY = Allowance(any_operator=True, load_seconds=20.0, inference_seconds=5.0)
RED = plain_image("RED")


def process_of(model: LoadedModel) -> int:
    return model.remote.pid


def running(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Wait for a process to end."""
    deadline = time.monotonic() + seconds
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not running(pid)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors do not trap")
def test_a_model_that_crashes_on_certain_pixels_is_lost_and_comes_back() -> None:
    with open_isolated(traps_on_white(), subject="odd.tflite", allowance=ANY) as model:
        before = model.invoke(RED)
        with pytest.raises(InferenceLostError, match=r"^odd\.tflite: the runtime crashed .*SIGFPE"):
            model.invoke(WHITE)
        with pytest.raises(InferenceLostError, match="SIGFPE"):  # until it is started again
            model.invoke(RED)
        model.restart()
        assert np.array_equal(model.invoke(RED), before)


def test_a_crash_while_loading_is_the_files_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "first_run", os.abort)
    with pytest.raises(ModelFileError, match="SIGABRT"):
        open_isolated(tiny_model())


@pytest.mark.parametrize(
    ("number", "strikes", "starts"),
    [(signal.SIGKILL, 1, 2), (signal.SIGKILL, 9, 2), (signal.SIGSEGV, 9, 1)],
)
def test_a_process_that_is_killed_while_it_begins_is_started_once_more(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    number: signal.Signals,
    strikes: int,
    starts: int,
) -> None:
    begun: list[int] = []

    def struck(memory: int | None) -> Child:
        child = Child(memory)
        begun.append(child.pid)
        if len(begun) <= strikes:
            os.kill(child.pid, number)
        return child

    monkeypatch.setattr(isolation, "Child", struck)
    model = tiny_file(tmp_path / "m.tflite")
    if strikes == 1:
        Classifier(model).close()
    else:
        with pytest.raises(ModelFileError, match=number.name):
            Classifier(model)
    assert len(begun) == starts


def test_a_hang_ends_at_the_limit() -> None:
    began = time.monotonic()
    with pytest.raises(ModelFileError, match="no answer within"):
        open_isolated(
            multiplied(2000, 100), kernels=Kernels.BUILTIN, allowance=Allowance(load_seconds=1.5)
        )
    assert time.monotonic() - began < 15


def test_an_inference_has_a_limit_of_its_own() -> None:
    with open_isolated(tiny_model(), allowance=ANY) as model:
        pid = process_of(model)
        os.kill(pid, signal.SIGSTOP)  # as native code that does not come back
        model.remote._seconds = 0.2
        with pytest.raises(InferenceLostError, match=r"no answer within 0\.2 s"):
            model.invoke(RED)
        assert gone(pid)


def test_memory_is_limited_where_the_file_says_what_it_takes() -> None:
    with pytest.raises(ModelFileError):
        open_isolated(tiled(30_000_000, honest=True))
    with open_isolated(tiled(10, honest=True)) as model:
        assert model.invoke(RED).shape == (1, 3)


def test_the_limit_of_memory_is_the_one_that_was_given() -> None:
    assert run_limited("m", 400_000_000, 20, bytes, 1_000_000) == bytes(1_000_000)
    with pytest.raises(ModelFileError, match="more than the 400 MB of memory"):
        run_limited("m", 400_000_000, 20, bytearray, 800_000_000)
    assert Allowance().memory(1_000_000, 2) == 512 * 2**20 + 4_000_000 + 2 * 16 * 2**20
    assert Allowance(memory_bytes=5).memory(1_000_000, 2) == 5


def test_a_process_that_ran_out_of_memory_does_not_keep_it() -> None:
    with open_isolated(tiny_model(), allowance=Allowance(memory_bytes=400_000_000)) as model:
        pid = process_of(model)
        with pytest.raises(InferenceLostError, match="more than the 400 MB of memory"):
            model.remote._ask(20.0, bytearray, 800_000_000)
        assert gone(pid)


def test_slow_models_have_twenty_times_their_first_inference() -> None:
    assert Allowance().inference(0.01) == 10
    assert Allowance().inference(3.0) == 60


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        (filled_by_pixels(), "FILL takes its size from another operator"),
        (tiled(1000, honest=False), "TILE asks for 8000, the file says 8"),
        (traps_on_white(), "FLOOR_MOD, which is not allowed to run.*--allow-operators FLOOR_MOD"),
    ],
)
def test_what_images_do_not_need_is_refused_before_native_code(
    content: bytes, finding: str
) -> None:
    with pytest.raises(ModelFileError, match=finding):
        open_isolated(content)


@pytest.mark.parametrize(
    "operator", ["SLICE", "STRIDED_SLICE", "RESHAPE", "EXPAND_DIMS", "SUM", "SPLIT"]
)
def test_no_shape_is_taken_from_pixels(operator: str) -> None:
    content = shaped_by_pixels(operator)
    with pytest.raises(ModelFileError, match=f"operator {operator} takes its shape from pixels"):
        Interpreter(content)
    assert Allowance(operators=frozenset({operator})).require(read_document(content), "m") is None


@pytest.mark.parametrize(
    ("how", "finding"),
    [
        ("variable", "it keeps values from one image to the next"),
        ("unmade", "ADD reads what no operator before it makes"),
        ("twice", "ADD writes what has a value already"),
        ("constant", "ADD writes what has a value already"),
    ],
)
def test_nothing_is_left_from_the_image_before(how: str, finding: str) -> None:
    with pytest.raises(ModelFileError, match=finding):
        Interpreter(with_a_past(how))


def test_a_shape_computed_from_the_size_of_the_batch_runs() -> None:
    with open_isolated(shaped_by_the_batch()) as model:
        assert model.invoke(RED).shape == (1, 3)


@pytest.mark.parametrize("limit", [0, -1.0, float("nan")])
def test_limits_that_limit_nothing_are_refused(limit: float) -> None:
    for name in ("memory_bytes", "load_seconds", "inference_seconds"):
        with pytest.raises(ValueError, match="must be above 0"):
            Allowance(**{name: limit})


def test_limits_may_be_as_large_as_one_likes() -> None:
    endless = Allowance(memory_bytes=10**30, load_seconds=float("inf"), inference_seconds=1e300)
    with open_isolated(tiny_model(), allowance=endless) as model:
        assert model.invoke(RED).shape == (1, 3)


def test_a_file_whose_operator_fails_is_named() -> None:
    with pytest.raises(DeviceError, match=r"^odd\.tflite: it did not run \(.*zero"):
        open_isolated(divided_by_nothing(), subject="odd.tflite")


def test_an_operator_can_be_allowed_by_name() -> None:
    allowed = Allowance(operators=frozenset({"FILL"}), inference_seconds=5.0)
    with open_isolated(filled_by_pixels(), allowance=allowed) as model:
        assert np.array_equal(model.invoke(BLACK)[0], plain_logits(BLACK))
        with pytest.raises(DeviceError, match=r"FILL|memory|crashed"):
            model.invoke(WHITE)  # 4 GB


def test_a_child_ends_with_its_owner_even_in_the_middle_of_an_inference(tmp_path: Path) -> None:
    """The owner is killed while the child hangs: no thread and no read would notice that."""
    path = tmp_path / "slow.tflite"
    path.write_bytes(multiplied(1500, 60))
    code = (
        "import sys; from pathlib import Path\n"
        "from qlvit_edge.inference import isolation\n"
        "from qlvit_edge.inference.chain import open_isolated\n"
        "real = isolation.Child\n"
        "def told(memory):\n"
        "    child = real(memory); print(child.pid, flush=True); return child\n"
        "isolation.Child = told\n"
        "open_isolated(Path(sys.argv[1]), kernels='builtin')\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        time.sleep(0.6)
        assert running(pid)
        owner.kill()
    assert gone(pid)


def test_a_child_does_not_hear_ctrl_c() -> None:
    with open_isolated(tiny_model()) as model:
        pid = process_of(model)
        assert os.getsid(pid) != os.getsid(0)
        os.kill(pid, signal.SIGINT)
        assert np.array_equal(model.invoke(RED)[0], plain_logits(RED))


def test_children_end_when_nobody_needs_them() -> None:
    model = open_isolated(tiny_model())
    pid = process_of(model)
    model.close()
    assert not running(pid)
    model.close()
    with pytest.raises(InferenceLostError, match="closed"):
        model.invoke(RED)
    other = open_isolated(tiny_model())
    pid = process_of(other)
    del other
    gc.collect()
    assert not running(pid)


def test_an_interrupted_call_does_not_answer_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_isolated(tiny_model()) as model:
        model.invoke(BLACK)

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(child_module, "_wait", interrupt)
            with pytest.raises(KeyboardInterrupt):
                model.invoke(RED)
        assert np.array_equal(model.invoke(WHITE)[0], plain_logits(WHITE))


def test_a_forked_process_has_a_child_of_its_own() -> None:
    with open_isolated(tiny_model()) as model:
        expected = model.invoke(RED).tobytes()
        taken, given = os.pipe()
        pid = os.fork()
        if pid == 0:
            answer = b"failed"
            try:
                answer = model.invoke(RED).tobytes()
                model.close()
            finally:
                os.write(given, answer)
                os._exit(0)
        os.waitpid(pid, 0)
        assert os.read(taken, 100) == expected
        os.close(taken)
        os.close(given)
        assert model.invoke(RED).tobytes() == expected


def test_what_a_broken_child_answers_is_not_believed() -> None:
    child = Child()
    try:
        with pytest.raises(ChildLostError, match="nonsense"):
            child.call(10, os.stat, "/")
    finally:
        child.close()
    with pytest.raises(pickle.UnpicklingError, match="getcwd"):
        child_module._Plain(BytesIO(pickle.dumps(_Trojan()))).load()
    # What modules of the package import is within reach, by name and behind dots.
    ways = [
        ("qlvit_edge.inference.child", "subprocess.Popen"),
        ("qlvit_edge.inference.child", "threading.Thread"),
        ("qlvit_edge.files", "Path"),
        ("builtins", "eval"),
        ("pathlib", "os.system"),
    ]
    for module, name in ways:
        asked = b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name))
        with pytest.raises(pickle.UnpicklingError, match="is not taken from a child"):
            child_module._Plain(BytesIO(b"\x80\x04" + asked + b"\x93.")).load()


class _Trojan:
    """Asks who unpickles it to call a function."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.getcwd, ()


def test_errors_and_plain_values_come_back(tmp_path: Path) -> None:
    values = {"a": (1, 2.5, "ä", None, {3}, tmp_path), "b": np.arange(3.0), "c": np.float64(2)}
    back = run_limited("m", None, 20, dict, values)
    assert np.array_equal(back.pop("b"), values.pop("b"))
    assert back == values
    with pytest.raises(ValueError, match="invalid literal"):
        run_limited("m", None, 20, int, "x")
    error = pickle.loads(pickle.dumps(InferenceLostError("a", "b", "c")))
    assert (type(error), str(error)) == (InferenceLostError, "a: b; c")


def test_isolated_models_say_what_their_process_holds() -> None:
    with open_isolated(tiny_model()) as model:
        peak, bare = model.peak_bytes(), model.remote.bare_bytes
        assert peak is not None
        assert bare is not None
        assert 10e6 < bare <= peak < 80e6
    with pytest.raises(ValueError, match="open it isolated"):
        _ = Interpreter(tiny_model()).remote


def test_commands_end_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "odd.tflite"
    path.write_bytes(traps_on_white())
    limits = ("--allow-operators", "FLOOR_MOD,CAST", "--model-seconds", "20")
    fields = ("--camera", FIELDS, "--out", tmp_path / "r.sqlite", "--frames", "1")
    assert run_command("run", path, *fields, *limits) == 0
    assert "not allowed to run" in refused(capfd, "run", path, *fields)
    monkeypatch.setattr(network, "first_run", os.abort)
    assert "SIGABRT" in refused(capfd, "run", path, *fields, *limits)
    assert "SIGABRT" in refused(capfd, "benchmark", path, *limits)
    for label in COLOURS:
        folder = tmp_path / "cells" / label
        folder.mkdir(parents=True)
        for name in ("0.png", "1.png"):
            cv2.imwrite(str(folder / name), plain_image(label)[:, :, ::-1])
    arguments = ("validate", path, "--data", tmp_path / "cells", "--out", tmp_path / "report")
    assert "not allowed to run" in refused(capfd, *arguments)
    assert run_command("inspect", path, "--summary") == 0
    assert "not known" in capfd.readouterr().out


def test_a_trial_comes_before_native_code_in_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qlvit_edge.inference import trial

    path = tiny_file(tmp_path / "m.tflite")
    opened: list[object] = []
    real = trial.open_isolated

    def counted(*arguments: object, **options: object) -> object:
        opened.append(arguments)
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(trial, "open_isolated", counted)
    monkeypatch.setattr(trial, "_passed", set())
    for _ in range(2):
        assert Classifier(path, isolated=False).classify(RED).label == "RED"
    assert len(opened) == 1
    Classifier(path, isolated=False, kernels="reference")
    assert len(opened) == 2


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors do not trap")
def test_a_file_that_fails_its_trial_is_not_run_here(tmp_path: Path) -> None:
    path = tmp_path / "odd.tflite"
    path.write_bytes(traps_on_white())
    with pytest.raises(ModelFileError, match=r"not run on every image.*SIGFPE"):
        Classifier(path, isolated=False, allowance=ANY)


def test_what_the_runtimes_own_python_raises_is_the_files_fault() -> None:
    """A name that is no UTF-8."""
    content = tiny_model().replace(b"logits", b"l\xff\xfeits")
    for isolated in (True, False):
        with pytest.raises(ModelFileError, match="UnicodeDecodeError"):
            Interpreter(content, isolated=isolated)


def test_a_process_that_cannot_be_started_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "_CHILD", ["/nowhere/python"])
    with pytest.raises(DeviceError, match=r"process: it cannot be started \(No such file"):
        open_isolated(tiny_model())
