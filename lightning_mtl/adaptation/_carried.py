"""Brings gradients that are known already to where a backward pass looks for them."""

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
    """Give a loss whose gradients are these.

    A backward pass adds them to `.grad`, times the gradient that comes in: clipping, accumulation, scaling and DDP act on them as on any.

    Args:
        loss: A scalar, without a graph.
        gradients: By names of parameters.
        parameters: The parameters of these names.
        scale: What the gradients are multiplied with.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
        >>> loss = carried(torch.tensor(5.0), {"w": torch.tensor([10.0, 20.0])}, {"w": weight})
        >>> (2 * loss).backward()
        >>> weight.grad
        tensor([20., 40.])
    """
    if not gradients:
        return loss
    given = [gradient.to(parameters[name].dtype) for name, gradient in gradients.items()]
    carry: Any = _Carried.apply
    answer: Tensor = carry(loss, given, scale, *(parameters[name] for name in gradients))
    return answer
