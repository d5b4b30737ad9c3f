"""The diagonal of the Fisher information: how much each parameter matters to what was learned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .._distributed import sum_over_ranks
from ..task import MultiTask
from ._probe import without_side_effects


def fisher(module: MultiTask, rows: Iterable[Any], parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Average the squared gradients of the losses of single rows, over the labelled rows of all ranks.

    Args:
        module: The model; it is run in evaluation mode, and left as it was.
        rows: Batches of one row each, of this rank.
        parameters: The parameters by name.

    Returns:
        For each name a tensor of the parameter's shape, in float32 or wider.
    """
    wanted = list(parameters.values())
    squares = [torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32)) for p in wanted]
    count = 0
    with module.routing.no_task_left_out(), without_side_effects(module):  # tasks that were dropped have learned too
        for row in rows:
            step = module.run(row)
            losses = [module.tasks[i].weight * loss for i, loss in zip(step.tasks, step.losses, strict=True)]
            count += bool(losses)
            _add_squares(squares, wanted, losses)
    total = sum_over_ranks(squares[0].new_tensor(count)).clamp(min=1) if squares else 1
    return {name: sum_over_ranks(of) / total for name, of in zip(parameters, squares, strict=True)}


def _add_squares(squares: Sequence[Tensor], parameters: Sequence[nn.Parameter], losses: Sequence[Tensor]) -> None:
    loss = sum(losses, torch.zeros(()))
    if loss.requires_grad:  # else all that it depends on is frozen
        for square, gradient in zip(squares, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
            if gradient is not None:
                square.add_(gradient.to(square.dtype).square())
