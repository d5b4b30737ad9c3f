"""What an optimizer makes of a gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def factors(optimizers: Sequence[Optimizer], parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Say what the gradient of each parameter is multiplied by in a step of its optimizer, apart from momentum and decay.

    It is the learning rate; of optimizers that keep squares of gradients (those of the family of Adam), divided by sqrt(v / (1 - beta_2^t)) + eps.
    A parameter that such an optimizer never moved stays where it is.

    Args:
        optimizers: The optimizers.
        parameters: The parameters; one that no optimizer has stays where it is.
    """
    groups = {id(p): (of, group) for of in optimizers for group in of.param_groups for p in group["params"]}
    return [_factor(p, *groups[id(p)]) if id(p) in groups else torch.zeros_like(p) for p in parameters]


def _factor(p: nn.Parameter, optimizer: Optimizer, group: dict[str, Any]) -> Tensor:
    rate = torch.as_tensor(group["lr"], dtype=p.dtype, device=p.device)
    if "betas" not in group:
        return rate
    state = optimizer.state.get(p, {})
    squares: Tensor | None = state.get("max_exp_avg_sq", state.get("exp_avg_sq"))
    if squares is None:
        return rate if state else torch.zeros_like(rate)
    share: float = 1 - group["betas"][1] ** float(state["step"])
    return rate / ((squares / share).sqrt() + float(group["eps"]))
