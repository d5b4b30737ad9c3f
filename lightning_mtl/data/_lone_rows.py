"""Layers that normalise over the rows of a step, and steps with a single row of a source."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn

from .._random_state import unchanged_random_state
from ..samplers import MultiTaskSampler
from ..task import MultiTask
from ._examples import Examples

_PER_ROW = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.SyncBatchNorm)
"""Norms that read a single row; that of the last is one of all ranks."""


def refuse_lone_rows(module: MultiTask, sampler: MultiTaskSampler, rows: Mapping[str, Examples]) -> None:
    """Check that layers which normalise over the rows of a step get more than one.

    It is tried: a copy of encoder and heads reads one row, and two.

    Raises:
        ValueError: A step may hold a single row of a source, and a layer cannot read it.
    """
    if not (norms := _norms(module)):
        return
    alone = [
        name
        for name in sampler.lone_rows()
        if len(rows[name]) > 1 and _reads(module, name, rows[name], 2) and not _reads(module, name, rows[name], 1)
    ]
    if alone:
        raise ValueError(
            f"Sources {alone} must have at least two rows in each step that holds them, since {norms[0]} normalises over them; with "
            f"batches={sampler.batches!r} and these rates a process may get a single one. Raise `batch_size`, use batches='all', or "
            "take nn.LayerNorm or nn.GroupNorm."
        )


def _norms(module: MultiTask) -> list[str]:
    """Return the classes of layers that may normalise over rows."""
    parts = [part for part in module.modules() if not isinstance(part, _PER_ROW)]
    return [type(part).__name__ for part in parts if "norm" in type(part).__name__.lower()]


def _reads(module: MultiTask, source: str, rows: Examples, count: int) -> bool:
    """Return whether encoder and heads can be trained on so many rows."""
    columns = rows[list(range(count))]
    tasks = [module.tasks[i] for i in module.routing.reads(source)]
    encoder, *heads = copy.deepcopy(nn.ModuleList([module.encoder, *(task.known_head() for task in tasks)])).train()
    try:
        with unchanged_random_state(), torch.no_grad():
            features = encoder(module.routing.inputs(source, columns), [task.name for task in tasks])
            for task, head in zip(tasks, heads, strict=True):
                of = features[task.name]
                head(*(of if isinstance(of, tuple) else (of,)))
    except Exception:  # whatever is wrong with both is told when the network is trained
        return False
    return True
