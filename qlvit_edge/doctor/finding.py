"""What a check is asked about, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["ok", "warning", "fail", "not checked"]

DEFAULT_MODEL = "blood-nano"


@dataclass(frozen=True)
class Place:
    """The device, and what is to run on it.

    Attributes:
        model: a model file, or the name of a bundled one.
        results: the results file that a run is to write; None: not said.
        camera: the source that a run is to use; None: not said.
        hours: how long a run is to last.
        encoding: of what the command prints.
        root: where `/proc`, `/sys`, `/dev`, `/etc` and `/usr` lie.
    """

    model: str = DEFAULT_MODEL
    results: Path | None = None
    camera: str | None = None
    hours: float = 8.0
    encoding: str = "utf-8"
    root: Path = Path("/")

    @property
    def folder(self) -> Path:
        """The folder that the results lie in; the working folder where nothing is said."""
        return Path.cwd() if self.results is None else self.results.absolute().parent


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: what was looked at, in a word or two.
        state: `ok`, `warning` (works, but), `fail`, or `not checked`.
        text: what was found; of what was not checked, why.
        remedy: what to do about it; "" where nothing is to be done.
    """

    check: str
    state: State
    text: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.state in ("warning", "fail") and not self.remedy:
            raise ValueError(f"{self.check}: no remedy")


def passed(findings: list[Finding]) -> bool:
    """Tell whether nothing fails; warnings and what was not checked do not count."""
    return all(finding.state != "fail" for finding in findings)


def read(path: Path) -> str | None:
    """Return a small text of `/proc` or `/sys` without its last line break; None if hidden."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
