"""BOIL."""

from __future__ import annotations

from ._gradient_descent import GradientDescent
from ._inner_optimizers import InnerOptimizer


class BOIL(GradientDescent):
    """Adapt the encoder alone, the head staying as it is ("body only update in inner loop": Oh et al., ICLR 2021, section 3).

    The opposite of `ANIL`: the representation must change for a task, since the head cannot.

    Args:
        rate: See `GradientDescent`.
        steps: See `GradientDescent`.
        evaluation_steps: See `GradientDescent`.
        first_order: See `GradientDescent`.
        optimizer: See `GradientDescent`.

    Example:
        >>> BOIL(rate=0.1).adapts("heads.glyph.layers.weight"), BOIL(rate=0.1).adapts("encoder.trunk.0.weight")
        (False, True)
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
            adapted="encoder",
            optimizer=optimizer,
        )
