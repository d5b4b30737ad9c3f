"""Episodes of a labelled dataset: some classes, with some rows of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor

from ..data import Examples
from ..samplers import EpisodeRows, EpisodeSampler
from ..task import ROWS, Task

_KEPT = 2**31
"""Bytes of a split up to which its rows are kept as tensors."""
_BLOCK = 256
"""Rows that are read together."""


class ClassEpisodes:
    """Episodes of a split whose rows have classes.

    Args:
        examples: The rows.
        sampler: What draws them.
        task: The task that reads them.
    """

    def __init__(self, examples: Examples, sampler: EpisodeSampler, task: Task) -> None:
        self.examples, self.sampler, self.task = examples, sampler, task
        self.kept = _kept(examples)

    def draw(self, split: str, step: int, count: int, picked: Sequence[int]) -> Any:
        """Draw the episodes with these numbers."""
        drawn = [self.sampler.episode(split, step, number) for number in picked]
        columns = self._read(np.concatenate([np.concatenate([of.support, of.query]) for of in drawn]))
        sizes = {(len(of.support), len(of.query)) for of in drawn}
        if len(sizes) > 1:
            return self._ragged(columns, drawn, step)
        ((shots, queries),) = sizes
        stacked = {
            name: column.reshape(len(drawn), shots + queries, *column.shape[1:]) for name, column in columns.items()
        }
        return {
            "support": self._part(stacked, slice(None, shots), [of.support_labels for of in drawn]),
            "query": self._part(stacked, slice(shots, None), [of.query_labels for of in drawn]),
            "drawn": {"seed": self.sampler.seed, "step": step},
        }

    def _read(self, rows: np.ndarray) -> dict[str, Tensor]:
        if self.kept is None:
            return _tensors(self.examples[rows.tolist()])
        numbers = torch.from_numpy(rows)
        return {name: column[numbers] for name, column in self.kept.items()}

    def _part(self, stacked: Mapping[str, Tensor], rows: slice, labels: list[np.ndarray]) -> dict[str, Any]:
        made: dict[str, Any] = {name: column[:, rows] for name, column in stacked.items()}
        return {**made, self.task.column: self._labels(np.stack(labels)), ROWS: {}}

    def _ragged(self, columns: Mapping[str, Tensor], drawn: Sequence[EpisodeRows], step: int) -> list[Any]:
        parts, start = [], 0
        for of in drawn:
            middle, end = start + len(of.support), start + len(of.support) + len(of.query)
            cut = {"support": (slice(start, middle), of.support_labels), "query": (slice(middle, end), of.query_labels)}
            parts.append(
                {
                    name: {
                        **{key: value[rows] for key, value in columns.items()},
                        self.task.column: self._labels(labels),
                        ROWS: {},
                    }
                    for name, (rows, labels) in cut.items()
                }
                | {"drawn": {"seed": self.sampler.seed, "step": step}}
            )
            start = end
        return parts

    def _labels(self, numbers: np.ndarray) -> Tensor:
        return torch.from_numpy(numbers).to(self.task.known_head().dtype)


def _kept(examples: Examples) -> dict[str, Tensor] | None:
    """Read a whole split as tensors, where its rows are data of one size.

    Texts, which are padded batch by batch, are not; nor are the rows of a dataset of the user's own, which may be drawn anew at each reading.
    """
    if not isinstance(examples.rows, datasets.Dataset | list):
        return None
    if examples.tokenizes or examples.lengths() is not None or examples.inputs.whole is not None:
        return None
    first = _tensors(examples[[0]])
    if sum(column.nbytes for column in first.values()) * len(examples) > _KEPT:
        return None
    blocks = [
        _tensors(examples[list(range(start, min(start + _BLOCK, len(examples))))])
        for start in range(0, len(examples), _BLOCK)
    ]
    shapes = {tuple((name, column.shape[1:]) for name, column in block.items()) for block in blocks}
    if len(shapes) > 1:
        return None
    return {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}


def _tensors(columns: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: column for name, column in columns.items() if isinstance(column, Tensor)}
