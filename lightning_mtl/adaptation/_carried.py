"""A loss with given gradients, so that a backward pass finds gradients that were computed before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class _Carried(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: Sequence[Tensor], scale: float, *parameters: Tensor) -> Tensor:
        ctx.gradients, ctx.scale = gradients, scale
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        return None, None, None, *torch._foreach_mul(ctx.gradients, grads[0] * ctx.scale)


def carried(
    loss: Tensor, gradients: Mapping[str, Tensor], parameters: Mapping[str, Tensor], scale: float = 1.0
) -> Tensor:
    """Return the loss with these gradients.

    A backward pass adds them to `.grad`, times the incoming gradient. So clipping, accumulation, gradient scaling and DDP work as
    with any other gradients.

    Args:
        loss: A scalar, without a graph.
        gradients: Gradients by names of parameters.
        parameters: The parameters of these names.
        scale: Factor of the gradients.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
        >>> loss = carried(torch.tensor(5.0), {"w": torch.tensor([10.0, 20.0])}, {"w": weight})
        >>> (2 * loss).backward()
        >>> weight.grad
        tensor([20., 40.])
    """
    if not gradients:
        return loss
    cast = [gradient.to(parameters[name].dtype) for name, gradient in gradients.items()]
    apply: Any = _Carried.apply
    result: Tensor = apply(loss, cast, scale, *(parameters[name] for name in gradients))
    return result
