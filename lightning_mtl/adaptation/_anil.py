"""ANIL."""

from __future__ import annotations

from ._gradient_descent import PartDescent


class ANIL(PartDescent):
    """Adapt only the head ("almost no inner loop": Raghu et al., "Rapid learning or feature reuse?", ICLR 2020, section 4).

    The encoder is trained over all tasks, through the steps of the heads, and does not change within a task.

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

    adapted_part = "head"
