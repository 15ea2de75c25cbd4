"""Operations whose kernels round differently on x86-64 and arm64, near ties.

What such an operation rounds is an accumulator with few possible values. So whether the two forms
ever differ can be found out by trying them all: :mod:`qlvit_edge.converters.one_arithmetic`.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from qlvit_edge.converters.graph import Array, Operation
from qlvit_edge.integer.xnnpack import Form


class TwoForms(Operation):
    """An operation of two forms."""

    @abstractmethod
    def has_forms(self) -> bool:
        """Whether this one, with its types and scales, runs on kernels that have two forms."""

    @abstractmethod
    def accumulators(self) -> Array:
        """Return every value (n,) that can be rounded, whatever the inputs hold.

        Raises:
            ConversionError: there are too many to try.
        """

    @abstractmethod
    def rounded(self, accumulators: Array, form: Form) -> Array:
        """Bring accumulators, of any shape, to the output's type."""

    def disagreements(self, accumulators: Array) -> int:
        """Return how many of the accumulators the forms round differently."""
        x86, arm64 = (self.rounded(accumulators, form) for form in ("x86", "arm64"))
        return int(np.count_nonzero(x86 != arm64))
