"""The lock files of the device, and asking about what is in them."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCKS = sorted((ROOT / "requirements").glob("device-*.txt"))


def script(name: str) -> ModuleType:
    """A program of the folder `requirements`."""
    spec = importlib.util.spec_from_file_location(f"{name}_script", ROOT / "requirements" / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


lock, audit = script("lock.py"), script("audit.py")


def test_there_is_a_lock_for_every_target() -> None:
    names = {f"device-{target.name}.txt" for target in lock.TARGETS}
    # The 32-bit system takes numpy, OpenCV and its runtime from elsewhere: no resolved lock.
    assert {path.name for path in LOCKS} == {*names, "device-bookworm-armhf.txt"}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_every_package_is_pinned_and_has_hashes(path: Path) -> None:
    text = re.sub(r"\\\n", " ", path.read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(lines) > 15
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==\S+(\s+--hash=sha256:[0-9a-f]{64})+\s*", line), line
    assert "http" not in text


@pytest.mark.parametrize("target", lock.TARGETS, ids=lambda target: target.name)
def test_what_the_package_asks_for_is_locked_in_versions_that_it_takes(target: object) -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(pyproject)["project"]
    wanted = list(project["dependencies"])
    for extra in lock.extras_there(pyproject):
        wanted += project["optional-dependencies"][extra]
    path = ROOT / "requirements" / f"device-{target.name}.txt"  # type: ignore[attr-defined]
    pinned = audit.locked(path.read_text(encoding="utf-8"))
    for line in wanted:
        requirement = Requirement(line)
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{line}: {version}; run `make lock`"
    assert "picamera2" not in pinned


def test_bookworm_keeps_to_the_numpy_of_its_picamera2() -> None:
    pins = {path.stem: audit.locked(path.read_text(encoding="utf-8")) for path in LOCKS}
    assert pins["device-bookworm-arm64"]["numpy"].startswith("1.")
    assert pins["device-trixie-arm64"]["numpy"].startswith("2.")


def test_versions_are_those_that_the_tests_ran_with() -> None:
    tested = audit.locked(lock.CONSTRAINTS.read_text(encoding="utf-8"))
    for target in lock.TARGETS:
        kept = audit.locked(lock.constraints_for(target, lock.CONSTRAINTS.read_text("utf-8")))
        assert len(tested) - len(kept) == len(target.instead)
        path = ROOT / "requirements" / f"device-{target.name}.txt"
        for name, version in audit.locked(path.read_text(encoding="utf-8")).items():
            assert kept.get(name, version) == version


# A stand-in for the program that asks: it answers what the test says, per service.
PROGRAM = """#!{python}
import json, sys
service = sys.argv[sys.argv.index("--vulnerability-service") + 1]
answer = json.loads({answers!r})[service]
if answer is None:
    sys.exit("no way to " + service)
open(sys.argv[sys.argv.index("--output") + 1], "w").write(json.dumps(answer))
"""


def asked(tmp_path: Path, **answers: object) -> int:
    program = tmp_path / "pip-audit"
    program.write_text(PROGRAM.format(python=sys.executable, answers=json.dumps(answers)))
    program.chmod(0o755)
    pinned = tmp_path / "device-x.txt"
    pinned.write_text(
        "numpy==1.26.4 \\\n    --hash=sha256:00\nclick==8.1 \\\n    --hash=sha256:00\n"
    )
    code = audit.main(["--pip-audit", str(program), str(pinned)])
    assert isinstance(code, int)
    return code


def known(name: str, version: str, *ids: str) -> dict[str, object]:
    vulnerabilities = [{"id": one, "fix_versions": ["9"]} for one in ids]
    return {"name": name, "version": version, "vulns": vulnerabilities}


BOTH = {"dependencies": [known("numpy", "1.26.4"), known("click", "8.1")]}


def test_an_audit_passes_only_when_all_were_asked_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(tmp_path, pypi=BOTH) == 0
    assert capsys.readouterr().out == ("device-x.txt: 2 packages, no known vulnerability (pypi)\n")
    assert asked(tmp_path, pypi=None, osv=BOTH) == 0


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {"dependencies": []},
        {"dependencies": [known("numpy", "1.26.4")]},
        {"dependencies": [known("numpy", "1.26.3"), known("click", "8.1")]},
        {"dependencies": [{"name": "numpy", "skip_reason": "not found"}, known("click", "8.1")]},
    ],
)
def test_a_package_that_was_not_asked_about_never_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: object
) -> None:
    assert asked(tmp_path, pypi=answer, osv=answer) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("device-x.txt: NOT AUDITED (pypi: ")
    assert said.err.count("\n") == 1


def test_a_vulnerability_is_named_with_its_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = {"dependencies": [known("numpy", "1.26.4", "PYSEC-1"), known("click", "8.1")]}
    assert asked(tmp_path, pypi=answer) == 1
    assert capsys.readouterr().out == "device-x.txt: numpy 1.26.4: PYSEC-1, mended in 9\n"


def test_nothing_to_ask_about_is_no_success(tmp_path: Path) -> None:
    empty = tmp_path / "device-x.txt"
    empty.write_text("# nothing\n")
    assert audit.main(["--pip-audit", "/nowhere", str(empty)]) == 2
