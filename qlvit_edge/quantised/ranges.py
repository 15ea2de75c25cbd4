"""The ranges of a network's tensors as parameters of its training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from qlvit_edge.converters.idioms.scales import NO_ANCHOR, NO_RANGE, Range, look_up


class TrainedRanges(nn.Module):
    """Ranges that move: what an integer graph is lowered with (a `Scales`), and their gradients.

    Attributes:
        anchors: by softmax name; they stay.
        moved: (N, 2), how far each end is from where it began, in widths of that range: so one
            learning rate suits all of them.
        start: (N, 2), where the ends began.
    """

    start: Tensor

    def __init__(self, ranges: Mapping[str, Range], anchors: Mapping[str, int]) -> None:
        """Begin with ranges and anchors by name; zero is in every range."""
        super().__init__()
        self._index = {name: index for index, name in enumerate(ranges)}
        self.anchors = dict(anchors)
        ends = torch.tensor(
            [(min(low, 0.0), max(high, 0.0)) for low, high in ranges.values()], dtype=torch.float64
        ).reshape(-1, 2)
        self.register_buffer("start", ends)
        self.moved = nn.Parameter(torch.zeros_like(ends))

    def ends(self) -> dict[str, Tensor]:
        """Return the ends of every range, (2,) float64, with their derivative."""
        width = (self.start[:, 1:] - self.start[:, :1]).clamp(min=1e-12)
        placed = self.start + self.moved * width
        return {name: placed[index] for name, index in self._index.items()}

    def table(self) -> dict[str, Range]:
        """Return the ranges as numbers, by name."""
        found = {name: end.detach().tolist() for name, end in self.ends().items()}
        return {name: (min(low, 0.0), max(high, 0.0)) for name, (low, high) in found.items()}

    @torch.no_grad()
    def keep_zero_inside(self) -> None:
        """Bring ends back that a step of training took past zero, and keep a tenth of the width."""
        width = (self.start[:, 1] - self.start[:, 0]).clamp(min=1e-12)
        low = (self.start[:, 0] + self.moved[:, 0] * width).clamp(max=0.0)
        high = (self.start[:, 1] + self.moved[:, 1] * width).clamp(min=0.0)
        shrunk = 0.1 * width / (high - low).clamp(min=1e-12)
        grown = shrunk.clamp(min=1.0)
        self.moved[:, 0] = (low * grown - self.start[:, 0]) / width
        self.moved[:, 1] = (high * grown - self.start[:, 1]) / width

    def anchor(self, name: str) -> int:
        """See `Scales`."""
        return look_up(self.anchors, name, NO_ANCHOR)

    def range(self, name: str) -> Range:
        """See `Scales`."""
        index = look_up(self._index, name, NO_RANGE)
        low, high = self.start[index] + self.moved[index].detach() * (
            self.start[index, 1] - self.start[index, 0]
        ).clamp(min=1e-12)
        return min(float(low), 0.0), max(float(high), 0.0)
