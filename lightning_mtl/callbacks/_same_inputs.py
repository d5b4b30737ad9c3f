"""Whether tasks of one source can be asked about the rows of another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def refuse_other_inputs(data: Any, module: Any, before: str, now: str) -> None:
    """Refuse sources of which the encoder reads other columns, or columns of another kind or size.

    Args:
        data: The data module.
        module: The model.
        before: Name of a source.
        now: Name of the other one, about whose rows tasks of the first are asked.

    Raises:
        ValueError: They differ.
    """
    old, new = (_form(module, source, data.first_row(source)) for source in (before, now))
    if old != new:
        raise ValueError(
            f"Source {now!r} must have the inputs of source {before!r}, whose tasks Distillation asks about its rows, got {new} for "
            f"{old}. Use Replay or ElasticWeightConsolidation."
        )


def _form(module: Any, source: str, columns: Mapping[str, Any]) -> dict[str, str]:
    """Say what the encoder reads of a source: names, kinds and sizes of columns."""
    return {name: _sizes(column) for name, column in module.routing.inputs(source, columns).items()}


def _sizes(column: Any) -> str:
    if not isinstance(column, Tensor):
        return type(column).__name__
    last = column.shape[-1] if column.is_floating_point() and column.ndim > 1 else "any"  # texts are of any length
    return f"{str(column.dtype).removeprefix('torch.')} of {column.ndim} dimensions, the last of {last}"
