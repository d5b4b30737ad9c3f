"""A gradient balancer made from any function of the Gramian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ._base import GradientBalancer

Weighting = Callable[[Tensor], Any]
"""A function from inner products [K, K] to weights [K], a tensor or a sequence of numbers."""


class FromGramian(GradientBalancer):
    """Use any function from the Gramian to weights, such as the weightings of TorchJD, as a gradient balancer.

    You can pass the function itself, `MultiTaskModule(..., balancer=function)`; the module wraps it in this class. If a step
    holds only some of the tasks, the function gets the Gramian of these.

    Args:
        function: Maps inner products [K, K], in float64 on the CPU, to weights [K].

    Example:
        >>> import torch
        >>> balancer = FromGramian(lambda gramian: 1 / gramian.diagonal().sqrt())
        >>> balancer(torch.diag(torch.tensor([4.0, 1.0])))
        tensor([0.5000, 1.0000])
    """

    def __init__(self, function: Weighting) -> None:
        super().__init__()
        self.function = function

    def forward(
        self, gramian: Float[Tensor, "present present"], tasks: Sequence[int] | None = None
    ) -> Float[Tensor, " present"]:
        """Call the function; see `GradientBalancer.forward`.

        Raises:
            ValueError: It does not return one weight for each task.
        """
        weights = torch.as_tensor(self.function(gramian.double())).detach()
        if weights.shape != gramian.shape[:1]:
            raise ValueError(
                f"`balancer` must return {len(gramian)} weights for a Gramian of {len(gramian)} tasks, got shape {list(weights.shape)}. "
                "Return one number for each row."
            )
        return weights.to(gramian)
