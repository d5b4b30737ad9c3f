"""Nash-MTL: the Nash bargaining solution."""

from __future__ import annotations

from .._checks import require_number
from ._bargaining import alpha_fair, clip_length
from ._cosines import CosineBalancer
from ._geometry import Geometry, Vector


class NashMTL(CosineBalancer):
    """Take the Nash bargaining solution, G w = 1 / w, which does not depend on the scales of the losses.

    It is the direction with the largest product of gains. Its length is always the square root of the number of tasks, so near
    a Pareto-stationary point only `max_norm`, a decaying learning rate or Adam makes the steps smaller. Reference: Navon et
    al., "Multi-task learning as a bargaining game", ICML 2022. The paper approximates the solution by a sequence of
    convex programs; here Newton's method finds it exactly.

    Args:
        max_norm: Longest allowed direction; a longer one is shortened. The paper's code uses 1. Default: no limit.

    Raises:
        ValueError: `max_norm` is not above 0.

    Example:
        >>> import torch
        >>> gradients = torch.tensor([[100.0, 0.0], [0.0, 1.0]])
        >>> NashMTL()(gradients @ gradients.T) @ gradients
        tensor([1.0000, 1.0000])
    """

    def __init__(self, max_norm: float | None = None) -> None:
        super().__init__()
        require_number("max_norm", max_norm, "None leaves the length as it is.", above=0, finite=False, optional=True)
        self.max_norm = max_norm

    def coefficients(self, gradients: Geometry) -> Vector:
        """Solve for the weights, and shorten the direction."""
        return clip_length(alpha_fair(gradients, 1.0), gradients, self.max_norm)
