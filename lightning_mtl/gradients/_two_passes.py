"""Gramians that are measured in separate backward passes, before the ordinary one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .._distributed import sum_dtype, sum_over_ranks, world_size
from ._cut import wide_type
from ._rows import Rows, gradients_of, pieces
from ._sketch import Sketch


def sketched_gramian(
    losses: Sequence[Tensor], tasks: Sequence[int], scales: Tensor, sketch: Sketch, count: int
) -> Tensor:
    """Return the Gramian of the sketches of all tasks' gradients, averaged over the ranks: [count, count].

    Args:
        losses: Losses with their graph.
        tasks: Their tasks.
        scales: The factor of each loss.
        sketch: The sketch of the shared parameters.
        count: Number of all tasks.
    """
    shared = sketch.parameters
    sums = torch.zeros(count, sketch.size, dtype=wide_type(shared[0].dtype), device=scales.device)
    wanted, keep = [shared] * len(tasks), [True] * len(tasks)
    for task, gradients in zip(tasks, gradients_of(losses, scales, wanted, keep), strict=True):
        sums[task] = sketch(gradients)
    sums = (sum_over_ranks(sums) / world_size()).to(sum_dtype(scales.device))
    return sums @ sums.T


def gramian_in_pieces(
    losses: Sequence[Tensor],
    tasks: Sequence[int],
    scales: Tensor,
    shared: Sequence[nn.Parameter],
    count: int,
    memory: float,
) -> Tensor:
    """Add up the Gramians of pieces of the parameters, each with gradients that fit into the memory: [count, count].

    Args:
        losses: Losses with their graph.
        tasks: Their tasks.
        scales: The factor of each loss.
        shared: The shared parameters.
        count: Number of all tasks.
        memory: How much the gradients may take, in multiples of the shared parameters.
    """
    limit = memory * sum(p.numel() for p in shared) / count
    total = torch.zeros(count, count, dtype=sum_dtype(scales.device), device=scales.device)
    keep = [True] * len(tasks)
    for piece in pieces(shared, limit):
        rows = Rows(piece, count, piece[0])
        for task, gradients in zip(tasks, gradients_of(losses, scales, [piece] * len(tasks), keep), strict=True):
            rows.add(task, gradients)
        sum_over_ranks(rows.values).div_(world_size())
        total += rows.gramian()
    return total
