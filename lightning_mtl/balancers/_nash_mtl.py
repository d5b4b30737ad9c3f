"""The bargaining solution."""

from __future__ import annotations

from .._checks import require
from ._bargaining import fair, shortened
from ._cosines import CosineBalancer
from ._geometry import Geometry, Vector


class NashMTL(CosineBalancer):
    """Let the tasks bargain for the direction: the solution of Nash, G w = 1 / w, which is blind to the scales of the losses.

    It is the direction of the largest product of gains, and its length is the root of the number of tasks, whatever the gradients;
    near a Pareto-stationary point, only `max_norm`, a decaying learning rate or Adam makes steps smaller. Reference: Navon et
    al., "Multi-task learning as a bargaining game", ICML 2022. The paper approximates the solution by a sequence of
    convex programs; here it is exact, by Newton's method.

    Args:
        max_norm: The direction is shortened to this length. The paper's code has 1. Default: as it is.

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
        require(max_norm is None or max_norm > 0, "max_norm", "above 0", max_norm, "None leaves the length as it is.")
        self.max_norm = max_norm

    def coefficients(self, gradients: Geometry) -> Vector:
        """Solve for the weights, and shorten the direction."""
        return shortened(fair(gradients, 1.0), gradients, self.max_norm)
