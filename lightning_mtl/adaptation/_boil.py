"""BOIL."""

from __future__ import annotations

from ._gradient_descent import PartDescent


class BOIL(PartDescent):
    """Adapt only the encoder; the head does not change ("body only update in inner loop": Oh et al., ICLR 2021, section 3).

    The opposite of `ANIL`: the representation has to change for a task, because the head cannot.

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

    adapted_part = "encoder"
