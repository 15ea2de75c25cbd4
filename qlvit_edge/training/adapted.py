"""What a run records that was fitted to another microscope."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

Method = Literal["nothing", "statistics", "self-training", "head", "fine-tuning"]
"""Ways of fitting, the simplest first; each but the last two includes those before it."""

IN_WORDS: Final[dict[Method, str]] = {
    "nothing": "weights unchanged",
    "statistics": "statistics found anew",
    "self-training": "statistics found anew, trained on its own answers",
    "head": "head fitted to labelled cells",
    "fine-tuning": "trained on labelled cells",
}

CELLS_FOLDER: Final = "cells"
"""In a run folder: pictures of some of the cells, none of them named after a class."""

_Share = Annotated[float, Field(ge=0, le=1)]


class Recalls(BaseModel):
    """Mean recall over labelled classes, with its 95 % interval.

    Attributes:
        value: the mean.
        low: end of the interval.
        high: the other end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: _Share
    low: _Share
    high: _Share


class Adapted(BaseModel):
    """From what, how and to what a run was fitted.

    Attributes:
        name: of the run that it was fitted from.
        checkpoint_sha256: of that run's weights.
        images: name of the folder of unlabelled pictures; None where there were none.
        method: what was done.
        share: of the new statistics in those that it has; 0 where they are the old ones.
        cells: unlabelled ones that were used.
        labelled: labelled cells by class.
        fields: whether the unlabelled ones were cut out of fields of view.
        changed: share of the unlabelled cells that it answers otherwise than before.
        before: mean recall on the labelled cells before; None without labels.
        after: the same after, by cross-validation.
        seed: of everything random.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    checkpoint_sha256: str
    images: str | None = None
    method: Method
    share: _Share = 0.0
    cells: int = Field(ge=0)
    labelled: dict[str, int] = Field(default_factory=dict)
    fields: bool = False
    changed: _Share
    before: Recalls | None = None
    after: Recalls | None = None
    seed: int = 0

    @property
    def words(self) -> str:
        """All of that in one phrase, for cards and files."""
        count = sum(self.labelled.values())
        cells = [f"{self.cells} unlabelled"] if self.cells else []
        cells += [f"{count} labelled"] if count else []
        where = f" of {self.images}" if self.images else ""
        return f"{self.name}, fitted to {' and '.join(cells)} cells{where}: {IN_WORDS[self.method]}"
