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

_MEMORY = 2**31
"""Bytes of a split up to which its rows are kept as tensors."""
_BLOCK = 256
"""Rows that are read together."""


class ClassEpisodes:
    """Episodes of a split whose rows have classes.

    Args:
        examples: The rows.
        sampler: Draws the rows of an episode.
        task: The task that reads the rows.
    """

    def __init__(self, examples: Examples, sampler: EpisodeSampler, task: Task) -> None:
        self.examples, self.sampler, self.task = examples, sampler, task
        self.kept = _whole_split(examples)

    def draw(self, split: str, step: int, count: int, picked: Sequence[int]) -> Any:
        """Draw the episodes with these numbers: with a leading axis where all have one size, else as a list."""
        drawn = [self.sampler.episode(split, step, number) for number in picked]
        columns = self._read(np.concatenate([np.concatenate([episode.support, episode.query]) for episode in drawn]))
        sizes = {(len(episode.support), len(episode.query)) for episode in drawn}
        if len(sizes) > 1:
            return self._listed(columns, drawn, step)
        ((shots, queries),) = sizes
        stacked = {
            name: column.reshape(len(drawn), shots + queries, *column.shape[1:]) for name, column in columns.items()
        }
        return {
            "support": self._part(stacked, slice(None, shots), [episode.support_labels for episode in drawn]),
            "query": self._part(stacked, slice(shots, None), [episode.query_labels for episode in drawn]),
            "drawn": {"seed": self.sampler.seed, "step": step},
        }

    def reseed(self, seed: int) -> None:
        """Change to the episodes of another seed."""
        self.sampler.seed = seed

    def facts(self) -> dict[str, Any]:
        """Return what determines the episodes beside the seed, as plain data."""
        of = self.sampler
        sizes = {"ways": of.ways, "shots": list(of.shots), "queries": of.queries, "balanced": of.balanced}
        return {**sizes, "classes": len(of.rows), "rows": sum(map(len, of.rows))}

    def _read(self, rows: np.ndarray) -> dict[str, Tensor]:
        if self.kept is None:
            return _tensors(self.examples[rows.tolist()])
        numbers = torch.from_numpy(rows)
        return {name: column[numbers] for name, column in self.kept.items()}

    def _part(self, stacked: Mapping[str, Tensor], rows: slice, labels: list[np.ndarray]) -> dict[str, Any]:
        part: dict[str, Any] = {name: column[:, rows] for name, column in stacked.items()}
        return {**part, self.task.column: self._labels(np.stack(labels)), ROWS: {}}

    def _listed(self, columns: Mapping[str, Tensor], drawn: Sequence[EpisodeRows], step: int) -> list[Any]:
        episodes, start = [], 0
        for episode in drawn:
            middle = start + len(episode.support)
            end = middle + len(episode.query)
            parts = {
                "support": (slice(start, middle), episode.support_labels),
                "query": (slice(middle, end), episode.query_labels),
            }
            episodes.append(
                {
                    name: {
                        **{key: value[rows] for key, value in columns.items()},
                        self.task.column: self._labels(labels),
                        ROWS: {},
                    }
                    for name, (rows, labels) in parts.items()
                }
                | {"drawn": {"seed": self.sampler.seed, "step": step}}
            )
            start = end
        return episodes

    def _labels(self, numbers: np.ndarray) -> Tensor:
        return torch.from_numpy(numbers).to(self.task.known_head().dtype)


def _whole_split(examples: Examples) -> dict[str, Tensor] | None:
    """Return a whole split as tensors, where all rows have one size; otherwise None.

    Texts have different sizes, since they are padded batch by batch. Rows of the user's own dataset class are read each time,
    because they may differ (random augmentation).
    """
    if not isinstance(examples.rows, datasets.Dataset | list):
        return None
    if examples.tokenizes or examples.lengths() is not None or examples.inputs.whole is not None:
        return None
    first = _tensors(examples[[0]])
    if sum(column.nbytes for column in first.values()) * len(examples) > _MEMORY:
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
