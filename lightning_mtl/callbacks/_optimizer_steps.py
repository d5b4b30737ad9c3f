"""The step that an optimizer would make with a gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import ASGD, SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, Optimizer, RAdam, RMSprop

_KNOWN = (ASGD, SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, RAdam, RMSprop)


def optimizer_steps(
    optimizers: Sequence[Optimizer], parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor]
) -> list[Tensor]:
    """Return the step of each parameter against its gradient, without momentum, weight decay and rectification.

    That is rate * gradient. An optimizer that scales gradients by earlier ones scales this one too, with itself included, so that
    no step is larger than the optimizer would make. The step of a parameter that such an optimizer has never moved is zero.

    Args:
        optimizers: The optimizers.
        parameters: The parameters; the step of one that no optimizer has is zero.
        gradients: The gradient of each.
    """
    groups = {id(p): (of, group) for of in optimizers for group in of.param_groups for p in group["params"]}
    return [
        _step(g, *groups[id(p)], groups[id(p)][0].state.get(p, {})) if id(p) in groups else torch.zeros_like(g)
        for p, g in zip(parameters, gradients, strict=True)
    ]


def unknown_optimizers(optimizers: Sequence[Optimizer]) -> list[str]:
    """Return the class names of optimizers whose scaling of gradients is not known here.

    Args:
        optimizers: The optimizers.
    """
    return sorted({type(of).__name__ for of in optimizers if not isinstance(of, _KNOWN)})


def _step(g: Tensor, optimizer: Optimizer, group: dict[str, Any], state: dict[str, Any]) -> Tensor:
    rate = torch.as_tensor(group["lr"], dtype=g.dtype, device=g.device)
    rate = -rate if group.get("maximize") else rate
    if isinstance(optimizer, SGD | ASGD) or not isinstance(optimizer, _KNOWN):
        return rate * g
    return rate * g / _scale(g, group, state) if state else torch.zeros_like(g)


def _scale(g: Tensor, group: dict[str, Any], state: dict[str, Tensor]) -> Tensor:
    """Return the divisor of the gradient; the gradient itself is part of it."""
    count, eps = float(state["step"]) + 1, float(group["eps"])
    scale: Tensor
    if "exp_avg_sq" in state:  # Adam and variants of it
        beta = group["betas"][1]
        squares = beta * state["exp_avg_sq"] + (1 - beta) * g.square()
        squares = torch.maximum(squares, state.get("max_exp_avg_sq", squares))
        scale = (squares / (1 - beta**count)).sqrt() + eps
    elif "exp_inf" in state:  # Adamax
        scale = torch.maximum(group["betas"][1] * state["exp_inf"], g.abs() + eps)
    elif "sum" in state:  # Adagrad
        scale = ((state["sum"] + g.square()).sqrt() + eps) * (1 + (count - 1) * group["lr_decay"])
    elif "acc_delta" in state:  # Adadelta
        squares = group["rho"] * state["square_avg"] + (1 - group["rho"]) * g.square()
        scale = (squares + eps).sqrt() / (state["acc_delta"] + eps).sqrt()
    else:  # RMSprop
        squares = group["alpha"] * state["square_avg"] + (1 - group["alpha"]) * g.square()
        mean = state["grad_avg"] * group["alpha"] + (1 - group["alpha"]) * g if group["centered"] else 0
        scale = (squares - mean * mean).sqrt() + eps
    return scale
