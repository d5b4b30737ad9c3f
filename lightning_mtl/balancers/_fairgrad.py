"""FairGrad: alpha-fair gains."""

from __future__ import annotations

from .._checks import require_number
from ._bargaining import alpha_fair, clip_length
from ._cosines import CosineBalancer
from ._geometry import Geometry, Vector


class FairGrad(CosineBalancer):
    """Share the gains alpha-fairly: G w = w^(-1/alpha), so the weight of task k is its gain to the power of -alpha.

    With alpha near 0 all weights are 1, alpha = 1 is `NashMTL`, and the larger alpha is, the more the task with the smallest
    gain counts. Reference: Ban and Ji, "Fair resource allocation in multi-task learning", ICML 2024. It is solved exactly,
    by Newton's method, while the paper's code fits least squares.

    Args:
        alpha: Degree of fairness. 2 is a common choice.
        max_norm: Longest allowed direction; a longer one is shortened. Default: no limit.

    Raises:
        ValueError: `alpha` is not above 0 and finite, or `max_norm` not above 0.

    Example:
        >>> import torch
        >>> gradients = torch.tensor([[1.0, 2.0, -0.5], [-1.5, 0.3, 0.8]])
        >>> FairGrad()(gradients @ gradients.T)
        tensor([0.4403, 0.6187])
    """

    def __init__(self, alpha: float = 2.0, max_norm: float | None = None) -> None:
        super().__init__()
        require_number("alpha", alpha, "1 is NashMTL.", above=0)
        require_number("max_norm", max_norm, "None leaves the length as it is.", above=0, finite=False, optional=True)
        self.alpha, self.max_norm = alpha, max_norm

    def coefficients(self, gradients: Geometry) -> Vector:
        """Solve for the weights, and shorten the direction."""
        return clip_length(alpha_fair(gradients, self.alpha), gradients, self.max_norm)
