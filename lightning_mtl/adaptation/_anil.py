"""ANIL."""

from __future__ import annotations

from ._gradient_descent import GradientDescent
from ._inner_optimizers import InnerOptimizer


class ANIL(GradientDescent):
    """Adapt the head alone ("almost no inner loop": Raghu et al., "Rapid learning or feature reuse?", ICLR 2020, section 4).

    The encoder is learned over all tasks, through the heads' steps, and stays as it is within one.

    Args:
        rate: See `GradientDescent`.
        steps: See `GradientDescent`.
        evaluation_steps: See `GradientDescent`.
        first_order: See `GradientDescent`.
        optimizer: See `GradientDescent`.

    Example:
        >>> ANIL(rate=0.1).adapts("heads.glyph.layers.weight"), ANIL(rate=0.1).adapts("encoder.trunk.0.weight")
        (True, False)
    """

    def __init__(
        self,
        rate: float = 0.01,
        steps: int = 1,
        *,
        evaluation_steps: int | None = None,
        first_order: bool = False,
        optimizer: InnerOptimizer | None = None,
    ) -> None:
        super().__init__(
            rate,
            steps,
            evaluation_steps=evaluation_steps,
            first_order=first_order,
            adapted="head",
            optimizer=optimizer,
        )
