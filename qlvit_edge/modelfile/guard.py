"""What a model file carries to judge its own answers: the guard's data.

`calibration/guard.py` finds it and `qlvit-edge calibrate` writes it as `guard.json`; `convert`
puts it into the file's metadata; `qlvit_edge.guard` computes with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qlvit_edge.errors import CalibrationError
from qlvit_edge.modelfile.guard_tables import LARGEST, Space, Table
from qlvit_edge.reading import UnreadableFileError, read_json

GUARD_FILE = "guard.json"
_LARGEST_DISTANCE: Final = 1 << 53
_ROUNDING: Final = 2.0
"""Of a power, in its steps: processors differ in the last place of an exponential."""

View = Literal["whole image", "crop"]
"""How an image of a cell is shown to a network."""

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Distance = Annotated[int, Field(ge=0, le=_LARGEST_DISTANCE)]
_Name = Annotated[str, Field(min_length=1, max_length=200)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cluster(_Strict):
    """The known cells of one class in one group.

    Attributes:
        label: index of the class.
        group: index of the group.
        cells: how many there were.
    """

    label: int = Field(ge=0)
    group: int = Field(ge=0)
    cells: int = Field(ge=1)


class Bounds(_Strict):
    """What the median of a measure is over a run of known images.

    Attributes:
        low: the lowest.
        high: the highest.
    """

    low: _Finite
    high: _Finite

    @model_validator(mode="after")
    def _in_order(self) -> Bounds:
        if self.low > self.high:
            raise ValueError("bounds in the wrong order")
        return self


class Group(_Strict):
    """Known cells of one domain (microscope, stain, camera) in one view, and their limits.

    Attributes:
        domain: its name; "" where nobody named it.
        view: how the cells were shown, `whole image` or `crop`.
        image: largest squared distance of the image's appearance to the nearest cluster;
            beyond it the image is foreign.
        own: the same to the nearest cluster of the class that is answered; beyond it, and the
            next two, the cell is unknown.
        nearest: largest squared distance of features and appearance to the nearest cluster.
        neighbours: the same to the n-th nearest prototype.
        run_image: largest median of a run's squared distances in appearance.
        run_nearest: the same in features and appearance.
        bounds: of every measure of the guard, in their order.
    """

    domain: Annotated[str, Field(max_length=200)] = ""
    view: View
    image: _Distance
    own: _Distance
    nearest: _Distance
    neighbours: _Distance
    run_image: _Distance
    run_nearest: _Distance
    bounds: list[Bounds] = Field(default_factory=list)


class Measure(_Strict):
    """One measure of images, an integer.

    Attributes:
        name: of the measure, as `qlvit_edge.fields` has it.
        fit_low: below it an image is not fit to be judged; None for no such bound.
        fit_high: above it.
    """

    name: _Name
    fit_low: _Finite | None = None
    fit_high: _Finite | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Measure:
        if self.fit_low is not None and self.fit_high is not None and self.fit_low > self.fit_high:
            raise ValueError("limits of fitness in the wrong order")
        return self


class Degraded(_Strict):
    """Copies of known images, degraded in one way and strength; how limits of fitness were found.

    Attributes:
        kind: how; `none` of the images as they are.
        unit: what the strength is, in words.
        strength: how much.
        accuracy: of all of them.
        abstained: share of them that are not fit to be judged.
    """

    kind: _Name
    unit: Annotated[str, Field(max_length=200)]
    strength: _Finite
    accuracy: _Share
    abstained: _Share


class Evidence(_Strict):
    """How a guard was found.

    Attributes:
        data: what it was found on, in words.
        split_fingerprint: of the split whose training side that was.
        cells: by what they were used for (`training`, `held out`), each shown in two views.
        sources: photographs, slides or patients of these, where they are named.
        rate: share of known cells that it may reject, as asked for.
        rejected: share of held-out known cells that it does reject.
        rejected_by_domain: the same by domain.
        accuracy: share of right answers among held-out cells.
        accuracy_accepted: the same among those that are accepted.
        calibration_error: expected calibration error on held-out cells at temperature 1.
        calibration_error_after: the same at the temperature that was found.
        degraded: degraded copies, from which it is known when an image is not fit to be judged.
        notes: what else must be known, in words.
    """

    data: Annotated[str, Field(max_length=1000)]
    split_fingerprint: str | None = None
    cells: dict[str, int]
    sources: dict[str, int] = Field(default_factory=dict)
    rate: _Share
    rejected: _Share
    rejected_by_domain: dict[str, _Share] = Field(default_factory=dict)
    accuracy: _Share
    accuracy_accepted: _Share
    calibration_error: _Share
    calibration_error_after: _Share
    degraded: list[Degraded] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)


class Guard(_Strict):
    """The data of a guard; all that is compared on a device are integers.

    Attributes:
        version: of this structure.
        features: length of the feature vector, the model's second output, int8.
        feature_scale: real value of one step of a feature: a file has the guard's own.
        feature_zero_point: the integer that stands for the feature 0.
        logit_scale: real value of one step of a logit.
        appearance: names of the measures of an image's appearance.
        image: the space of these measures.
        cell: the space of features and these measures, in this order.
        clusters: what the rows of means are, in both spaces.
        prototypes: int16 (n, k): single known cells in the cell space.
        neighbours: which nearest prototype counts, from 1.
        temperature: by which logits are divided.
        powers: 256 integers: 2**30 * exp(-d * scale / temperature) for a logit d steps below
            the largest.
        probability: smallest probability of an accepted answer.
        groups: known cells by domain and view.
        measures: of images.
        evidence: how all this was found.
    """

    version: Literal[1] = 1
    features: int = Field(ge=1, le=4096)
    feature_scale: float = Field(gt=0, allow_inf_nan=False)
    feature_zero_point: int = Field(ge=-128, le=127)
    logit_scale: float = Field(gt=0, allow_inf_nan=False)
    appearance: list[_Name] = Field(min_length=1, max_length=64)
    image: Space
    cell: Space
    clusters: list[Cluster] = Field(min_length=1)
    prototypes: Table
    neighbours: int = Field(ge=1)
    temperature: float = Field(gt=0, allow_inf_nan=False)
    powers: list[Annotated[int, Field(ge=0, le=1 << 30)]] = Field(min_length=256, max_length=256)
    probability: _Share
    groups: list[Group] = Field(min_length=1)
    measures: list[Measure] = Field(default_factory=list)
    evidence: Evidence

    @model_validator(mode="after")
    def _fits_together(self) -> Guard:
        widths = (len(self.appearance), self.features + len(self.appearance))
        for space, width in zip((self.image, self.cell), widths, strict=True):
            if space.projection.shape[1] != width:
                raise ValueError(f"a projection is not of {width} columns")
            if space.means.shape[0] != len(self.clusters):
                raise ValueError("the means are not one row per cluster")
        if self.prototypes.shape[1] != self.cell.projection.shape[0]:
            raise ValueError("the prototypes are not of the projection's rows")
        if self.prototypes.shape[0] < self.neighbours:
            raise ValueError(f"fewer than {self.neighbours} prototypes")
        if np.abs(self.prototypes.array()).max() > LARGEST:
            raise ValueError("a prototype lies too far out")
        exact = _exact_powers(self.temperature, self.logit_scale)
        if np.abs(np.array(self.powers) - exact).max() > _ROUNDING:
            raise ValueError("the powers are not those of the temperature")
        if any(cluster.group >= len(self.groups) for cluster in self.clusters):
            raise ValueError("a cluster is of no group")
        if any(len(group.bounds) != len(self.measures) for group in self.groups):
            raise ValueError("a group has not one pair of bounds per measure")
        return self

    def of_divided_logits(self, scale: float) -> Guard:
        """Return the guard of the same logits where their own scale carries the temperature.

        Nothing is left to divide by. Powers are rounded anew, so the smallest probability is
        lowered by a millionth: what just reached it still does.

        Args:
            scale: real value of one step of a logit, divided by the temperature.
        """
        return self.model_copy(
            update={
                "logit_scale": scale,
                "temperature": 1.0,
                "powers": powers(1.0, scale),
                "probability": self.probability * (1 - 1e-6),
            }
        )

    def require_fit(self, features: int | None, classes: int) -> None:
        """Refuse to judge a model of other outputs.

        Args:
            features: length of its second output; None where it has none.
            classes: how many it knows.

        Raises:
            ValueError: the guard is another model's.
        """
        if features != self.features:
            raise ValueError(f"the guard is for {self.features} features, the file has {features}")
        if any(cluster.label >= classes for cluster in self.clusters):
            raise ValueError("the guard has cells of a class that the file does not know")


def powers(temperature: float, scale: float) -> list[int]:
    """Return a `Guard`'s powers.

    Args:
        temperature: by which logits are divided.
        scale: real value of one step of a logit.
    """
    return [int(value) for value in np.rint(_exact_powers(temperature, scale))]


def _exact_powers(temperature: float, scale: float) -> NDArray[np.float64]:
    return np.asarray(2.0**30 * np.exp(-np.arange(256) * (scale / temperature)))


class GuardFile(_Strict):
    """`guard.json`: a guard and what it belongs to.

    Attributes:
        format: version of this file.
        checkpoint_sha256: the weights.
        calibration_sha256: the calibration file.
        guard: the guard.
    """

    format: Literal[1] = 1
    checkpoint_sha256: str
    calibration_sha256: str
    guard: Guard


def load_guard(path: Path, checkpoint_sha256: str, calibration_sha256: str) -> Guard | None:
    """Read a run's guard; None where the run has none.

    Raises:
        CalibrationError: it is damaged, or was made from other weights or another calibration.
    """
    remedy = f"run `qlvit-edge calibrate {path.parent}` again, or delete {path.name}"
    try:
        found = GuardFile.model_validate(read_json(path))
    except FileNotFoundError:
        return None
    except UnreadableFileError as error:
        raise CalibrationError(path, str(error), remedy) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "guard"
        raise CalibrationError(path, f"{where}: {first['msg']}", remedy) from None
    if (found.checkpoint_sha256, found.calibration_sha256) != (
        checkpoint_sha256,
        calibration_sha256,
    ):
        raise CalibrationError(
            path, "was made from other weights or another calibration file", remedy
        )
    return found.guard
