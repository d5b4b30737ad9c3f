"""A table of the level of each task, what feeds it, and what share of the encoder's work it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .._table import table
from ..callbacks import evaluating
from ..encoders import LevelledEncoder
from ._hierarchy import Hierarchy


def level_map(
    hierarchy: Hierarchy,
    encoder: LevelledEncoder,
    sources: Sequence[str | None],
    inputs: Mapping[str, Any] | None = None,
) -> str:
    """Return a table of a hierarchy, from the bottom to the top.

    Args:
        hierarchy: The levels of the tasks.
        encoder: The encoder.
        sources: The source of each task.
        inputs: Some rows of the encoder's columns, to count its work with. Default: work is left out.
    """
    work = None if inputs is None else level_work(encoder, inputs)
    header = ["task", "level", "source", "fed by", "runs", "parameters", "share of work"]
    rows = [
        [
            name,
            " + ".join(_named(encoder, level) for level in hierarchy.levels[i]),
            sources[i] or "",
            ", ".join(hierarchy.names[lower] for lower in hierarchy.fed.get(hierarchy.top[i], ())) or "-",
            _modules(encoder, hierarchy.top[i]),
            f"{_parameters(encoder, hierarchy.top[i]):,}",
            "?" if work is None else f"{sum(work[: hierarchy.top[i] + 1]) / sum(work):.0%}",
        ]
        for i, name in sorted(enumerate(hierarchy.names), key=lambda of: hierarchy.top[of[0]])
    ]
    top = max(hierarchy.top)
    unused = (
        ""
        if top == len(encoder.levels)
        else f"\nNo task sits above level {top} of {len(encoder.levels)}: what lies there is never run."
    )
    return table(header, rows) + unused


def level_work(encoder: LevelledEncoder, inputs: Mapping[str, Any]) -> list[float]:
    """Count the floating point operations of each level, from 0, for some rows.

    Matrix products and convolutions are counted. For a level without any (a recurrent layer with a fused kernel), it is
    twice the parameters times the positions.
    """
    work: list[float] = []
    with evaluating(encoder), torch.no_grad():
        state, count = _counted(lambda: encoder.prepare(dict(inputs)))
        work.append(count)
        for level in range(1, len(encoder.levels) + 1):
            before = state
            state, count = _counted(lambda level=level, before=before: encoder.step(before, level))
            work.append(count or _recurrent(encoder.levels[level - 1], before.hidden))
    return work


def _counted(run: Any) -> tuple[Any, float]:
    with FlopCounterMode(display=False) as counter:
        given = run()
    return given, float(counter.get_total_flops())


def _recurrent(level: nn.Module, hidden: Tensor) -> float:
    positions = hidden.shape[0] * (hidden.shape[1] if hidden.ndim == 3 else 1)
    return 2.0 * positions * sum(p.numel() for p in level.parameters() if p.ndim > 1)


def _named(encoder: LevelledEncoder, level: int) -> str:
    return f"{level} ({encoder.stages[level - 1]})" if encoder.stages else str(level)


def _modules(encoder: LevelledEncoder, top: int) -> str:
    return f"levels[0:{top}]" if top > 1 else "levels[0]"


def _parameters(encoder: LevelledEncoder, top: int) -> int:
    return sum(p.numel() for level in range(top + 1) for p in encoder.parameters_of(level))


def first_rows(column: Any) -> Any:
    """Return the first two rows of a column, to count work with."""
    return column[:2] if isinstance(column, Tensor) else column
