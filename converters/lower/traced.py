"""Constants that know how they follow from a network's parameters: folding with a derivative.

Lowering folds parameters into the constants of a graph in NumPy. Inside `tracing` it folds arrays
that carry a PyTorch expression beside their values, so that each constant of the float graph has a
derivative by the parameters it was made of: one specification of folding, for files and for
training. What has no derivative here is refused by name, never left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qlvit_edge.errors import ConversionError

_TRACING: ContextVar[bool] = ContextVar("tracing", default=False)


@contextlib.contextmanager
def tracing() -> Iterator[None]:
    """Let `qlvit_edge.converters.lower.constants.real` return `Traced` arrays meanwhile."""
    token = _TRACING.set(True)
    try:
        yield
    finally:
        _TRACING.reset(token)


def is_traced(tensor: torch.Tensor) -> bool:
    """Whether a tensor is to be followed: inside `tracing`, where it has a derivative."""
    return _TRACING.get() and tensor.requires_grad


class Traced(np.ndarray[Any, np.dtype[np.float64]]):
    """A float64 array and the float64 expression of the same shape that it is the value of.

    Attributes:
        expression: None where NumPy made a view of it that is not followed; using that is refused.
    """

    expression: torch.Tensor | None

    @staticmethod
    def of(expression: torch.Tensor) -> Traced:
        """Return the array of a float64 expression."""
        values = expression.detach().cpu().numpy().view(Traced)
        values.expression = expression
        return values

    def __array_finalize__(self, other: object) -> None:
        self.expression = None

    def followed(self) -> torch.Tensor:
        """Return the expression.

        Raises:
            ConversionError: it was lost on the way.
        """
        if self.expression is None:
            raise _refusal("a view of it")
        return self.expression

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if ufunc in _WITHOUT_DERIVATIVE and method == "__call__":
            return getattr(ufunc, method)(*map(_values, inputs), **options)
        twin = _UFUNCS.get(ufunc)
        if twin is None or method != "__call__" or options:
            raise _refusal(f"{ufunc.__name__}, {method}")
        return Traced.of(twin(*_expressions(inputs)))

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: Any, options: Any
    ) -> Any:
        if function in (np.all, np.any, np.shape):
            return function(*map(_values, args), **options)
        twin = _FUNCTIONS.get(function)
        if twin is None:
            raise _refusal(function.__name__)
        return Traced.of(twin(*args, **options))

    def __getitem__(self, key: Any) -> Any:
        return Traced.of(self.followed()[key])

    def reshape(self, *shape: Any, **options: Any) -> Traced:
        """As of an array."""
        wanted = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        return Traced.of(self.followed().reshape(tuple(wanted)))

    def transpose(self, *axes: Any) -> Traced:
        """As of an array."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
        order = order or tuple(reversed(range(self.ndim)))
        return Traced.of(self.followed().permute(tuple(order)))

    @property
    def T(self) -> Traced:
        """As of an array."""
        return self.transpose()

    def sum(self, axis: int | tuple[int, ...] | None = None, **options: Any) -> Traced:  # type: ignore[override]
        """As of an array."""
        if options:
            raise _refusal(f"sum with {', '.join(options)}")
        followed = self.followed()
        return Traced.of(followed.sum() if axis is None else followed.sum(axis))


def _refusal(what: str) -> ConversionError:
    return ConversionError(
        "folded constant",
        f"NumPy's {what} has no derivative here",
        "add it to qlvit_edge.converters.lower.traced",
    )


def _values(x: Any) -> Any:
    return x.view(np.ndarray) if isinstance(x, Traced) else x


def _expressions(inputs: Sequence[Any]) -> list[torch.Tensor]:
    """Return all operands as expressions on the device of the first that is one."""
    device = next(x.followed().device for x in inputs if isinstance(x, Traced))
    return [
        x.followed()
        if isinstance(x, Traced)
        else torch.as_tensor(np.asarray(x, np.float64)).to(device)
        for x in inputs
    ]


def _concatenate(arrays: Sequence[Any], axis: int = 0) -> torch.Tensor:
    return torch.cat(_expressions(arrays), axis)


def _tile(x: Traced, repetitions: Any) -> torch.Tensor:
    return torch.tile(x.followed(), tuple(np.atleast_1d(repetitions).tolist()))


def _diff(x: Traced, n: int = 1, axis: int = -1) -> torch.Tensor:
    return torch.diff(x.followed(), n, axis)


def _broadcast_to(x: Traced, shape: Sequence[int]) -> torch.Tensor:
    return x.followed().broadcast_to(tuple(shape))


_UFUNCS: dict[Any, Callable[..., torch.Tensor]] = {
    np.add: torch.add,
    np.subtract: torch.subtract,
    np.multiply: torch.multiply,
    np.true_divide: torch.true_divide,
    np.matmul: torch.matmul,
    np.negative: torch.negative,
    np.sqrt: torch.sqrt,
}
_WITHOUT_DERIVATIVE = frozenset({np.equal, np.not_equal, np.isfinite, np.less, np.greater})
_FUNCTIONS: dict[Callable[..., Any], Callable[..., torch.Tensor]] = {
    np.concatenate: _concatenate,
    np.tile: _tile,
    np.diff: _diff,
    np.broadcast_to: _broadcast_to,
}


def derivative_of(values: NDArray[Any]) -> torch.Tensor | None:
    """Return the expression of a constant; None where no parameter is in it.

    Raises:
        ConversionError: it was lost on the way.
    """
    return values.followed() if isinstance(values, Traced) else None
