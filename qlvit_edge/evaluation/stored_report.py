"""A report.json of `validate`, read again: what comparing devices needs of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qlvit_edge.errors import DataError
from qlvit_edge.evaluation.predictions import Digest
from qlvit_edge.evaluation.verdict import LATENCY_AT, Check, Outcome, State, judge
from qlvit_edge.reading import UnreadableFileError, read_json
from qlvit_edge.tomlfile import first_mistake

_Word = Annotated[str, Field(max_length=4096)]
_Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    """A report has more than is read here."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class VerdictPart(_Part):
    """Whether the model may be used there, and why not."""

    outcome: Outcome
    failures: list[str]
    reservations: list[str]


class CheckPart(_Part):
    """One thing that decided on that."""

    name: _Word
    state: State
    text: str


class ModelPart(_Part):
    """Which model file it was."""

    sha256: Digest
    name: _Word | None


class KernelPart(_Part):
    """What executed it."""

    used: _Word
    runtime: _Word
    arithmetic: _Word


class MachinePart(_Part):
    """What the machine is."""

    processor: _Word
    system: _Word
    cores: int
    packages: dict[str, str]


class PredictionPart(_Part):
    """What stands for all answers.

    Attributes:
        file: the name of the file with them.
        arithmetic: the one that ran and is proved; None without.
        data_sha256: which images they are of.
        outputs_sha256: of the network's outputs, by view.
    """

    file: Literal["predictions.json"]
    arithmetic: Literal["reference", "xnnpack"] | None
    data_sha256: Digest
    outputs_sha256: dict[str, Digest]


class ConditionPart(_Part):
    """In what state the device was."""

    temperature_c: float | None
    held_back: list[str] | None
    others_cores: float | None
    busy: bool


class DataPart(_Part):
    """What was shown."""

    images: Annotated[int, Field(ge=1)]
    classes: dict[str, int]
    input: _Word


class AcceptancePart(_Part):
    """From which probability on answers were accepted."""

    accept_at: float | None


class GatePart(_Part):
    """The accuracy that was asked for."""

    least: _Share


class LatencyGatePart(_Part):
    """The latency that was allowed."""

    most_ms: float


class GuardingPart(_Part):
    """What came of the guard: images by verdict, and the share accepted and wrong."""

    verdicts: dict[str, int]
    accepted_and_wrong: _Share


class StoredReport(_Part):
    """A report as far as it is compared; the fields are those of report.json."""

    format: Literal[2]
    verdict: VerdictPart
    checks: Annotated[list[CheckPart], Field(min_length=1)]
    device: _Word
    date: _Word
    accuracy: _Share
    accuracy_interval_95: tuple[_Share, _Share]
    data: DataPart
    guarding: GuardingPart
    latency_ms: dict[str, float] | None
    model: ModelPart
    kernels: KernelPart
    machine: MachinePart
    predictions: PredictionPart
    conditions: ConditionPart
    acceptance: AcceptancePart
    gate: GatePart | None
    latency_gate: LatencyGatePart | None

    @model_validator(mode="after")
    def _verdict_follows(self) -> Self:
        """Refuse a verdict that is not that of the checks below it."""
        checks = [Check(one.name, one.state, one.text) for one in self.checks]
        follows = judge("", checks).outcome
        if follows != self.verdict.outcome:
            raise ValueError(f"by its checks the model {follows}, not {self.verdict.outcome}")
        return self

    def checks_in(self, state: State) -> list[str]:
        """Return the names of what came out so, each once."""
        return list(dict.fromkeys(check.name for check in self.checks if check.state == state))

    @property
    def images(self) -> int:
        """How many of the model's classes were measured."""
        return self.data.images

    @property
    def input(self) -> str:
        """What was judged of each, in words."""
        return self.data.input

    @property
    def abstained(self) -> float:
        """Share of the images that the guard found not fit to be judged."""
        return self.guarding.verdicts.get("abstained", 0) / self.images

    @property
    def latency_words(self) -> str:
        """Median and the percentile that a budget is for."""
        found = self.latency_ms or {}
        shown = [f"{at} {found[at]:.2f} ms" for at in ("p50", LATENCY_AT) if at in found]
        return ", ".join(shown) or "not measured"

    @property
    def heat_words(self) -> str:
        """Temperature and throttling."""
        heat, held_back = self.conditions.temperature_c, self.conditions.held_back
        warm = "temperature not told" if heat is None else f"{heat:.0f} °C"
        if held_back is None:
            return f"{warm}, throttling not told"
        return f"{warm}, {'held back: ' + ', '.join(held_back) if held_back else 'not held back'}"


def read_report(path: Path) -> tuple[Path, StoredReport]:
    """Read a report.json, with its path.

    Raises:
        DataError: it is not one, or of a version that has no verdict on the use of a model.
    """
    remedy = "give the report.json that `qlvit-edge validate` writes"
    try:
        return path, StoredReport.model_validate(read_json(path))
    except FileNotFoundError:
        raise DataError(path, "no such file", remedy) from None
    except UnreadableFileError as error:
        raise DataError(path, str(error), remedy) from None
    except ValidationError as error:
        finding = first_mistake(error, lambda _: StoredReport.model_fields)
        raise DataError(path, f"it is no report of `validate` ({finding})", remedy) from None
