"""Whether tasks of one source can predict the rows of another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..task import MultiTask


def refuse_other_inputs(data: Any, module: MultiTask, before: str, now: str) -> None:
    """Check that the encoder reads the same columns of two sources, of the same kinds and sizes.

    Args:
        data: The data module.
        module: The model.
        before: Name of a source.
        now: Name of the other one, whose rows tasks of the first predict.

    Raises:
        ValueError: The columns differ.
    """
    old, new = (_form(module, source, data.first_row(source)) for source in (before, now))
    if old != new:
        raise ValueError(
            f"Source {now!r} must have the inputs of source {before!r}, whose tasks predict its rows in Distillation, got {new} for "
            f"{old}. Use Replay or ElasticWeightConsolidation."
        )


def _form(module: MultiTask, source: str, columns: Mapping[str, Any]) -> dict[str, str]:
    """Return what the encoder reads of a source: names, kinds and sizes of columns."""
    return {name: _size(column) for name, column in module.routing.inputs(source, columns).items()}


def _size(column: Any) -> str:
    if not isinstance(column, Tensor):
        return type(column).__name__
    last = column.shape[-1] if column.is_floating_point() and column.ndim > 1 else "any"  # texts are of any length
    return f"{str(column.dtype).removeprefix('torch.')} of {column.ndim} dimensions, the last of {last}"
