"""Episodes as they are read: of rows with classes, or of functions."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import datasets
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..data import Examples
from ..families import Family
from ..samplers import EpisodeRows, EpisodeSampler
from ..task import ROWS, Task

_KEPT = 2**31
"""Bytes of a split up to which its rows are kept as tensors."""
_BLOCK = 256


EpisodePlan = tuple[int, int, Sequence[int]]
"""Number of a step, how many episodes it has on all ranks, and the numbers of those to make."""


@runtime_checkable
class Drawing(Protocol):
    """Where the episodes of a source come from."""

    def draw(self, split: str, step: int, count: int, picked: Sequence[int]) -> Any:
        """Make episodes of a step.

        Args:
            split: Name of the split.
            step: Number of the step.
            count: How many episodes the step has on all ranks.
            picked: Numbers of those to make.
        """
        ...


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


class FamilyEpisodes:
    """Episodes of functions.

    Args:
        family: The functions.
        shots: Points of a support; two numbers for one in between that each step draws.
        queries: Points of a query.
        task: The task that reads them.
        seed: What the draws depend on.
    """

    def __init__(self, family: Family, shots: tuple[int, int], queries: int, task: Task, seed: int) -> None:
        self.family, self.shots, self.queries, self.task, self.seed = family, shots, queries, task, seed
        self._last: tuple[Any, Any] = (None, None)

    def draw(self, split: str, step: int, count: int, picked: Sequence[int]) -> Any:
        """Draw all functions of the step, and pick some."""
        key = (split, step, count)
        if self._last[0] != key:
            draws = random.Random(repr((self.seed, split, step)))
            generator = torch.Generator().manual_seed(draws.getrandbits(63))
            shots = draws.randint(*self.shots)
            self._last = key, self.family.episodes(count, shots, self.queries, generator)
        whole = len(picked) == count
        parts: dict[str, Any] = {
            name: {
                "x": part["x"] if whole else part["x"][picked],
                self.task.column: part["y"] if whole else part["y"][picked],
                ROWS: {},
            }
            for name, part in self._last[1].items()
        }
        return {**parts, "drawn": {"seed": self.seed, "step": step}}


class EpisodeLoader:
    """Iterates over `{source: episodes}`; its state is how many steps it handed out, whatever workers have read ahead.

    Args:
        drawings: Where the episodes of each source come from.
        split: Name of the split.
        plans: What each step of a pass draws: number of the step, of its episodes, and which of them; from the step that it is given on.
        length: Steps of a pass.
        num_workers: Processes that read ahead.
    """

    def __init__(
        self,
        drawings: Mapping[str, Drawing],
        split: str,
        plans: Callable[[int], Iterator[EpisodePlan]],
        length: int,
        *,
        num_workers: int = 0,
    ) -> None:
        self.delivered = 0
        self._length = length
        self._loader = DataLoader(
            _Steps(drawings, split),
            batch_size=None,
            sampler=_Plans(self, plans),
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            generator=torch.Generator().manual_seed(0),  # else it would draw from the random state of training
        )

    @property
    def _iterator(self) -> Any:
        """What Lightning looks for to end the workers when a run is over."""
        return self._loader._iterator

    @_iterator.setter
    def _iterator(self, iterator: Any) -> None:
        self._loader._iterator = iterator

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._loader:
            self.delivered += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Give how many steps were handed out."""
        return {"delivered": self.delivered}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on after the last step that was handed out."""
        self.delivered = state["delivered"]


class _Plans:
    """The steps of a pass, from the one that comes next."""

    def __init__(self, loader: EpisodeLoader, plans: Callable[[int], Iterator[EpisodePlan]]) -> None:
        self._loader, self._plans = loader, plans

    def __iter__(self) -> Iterator[EpisodePlan]:
        return self._plans(self._loader.delivered)


class _Steps(Dataset[dict[str, Any]]):
    """Reads a step's plan as a batch."""

    def __init__(self, drawings: Mapping[str, Drawing], split: str) -> None:
        self.drawings, self.split = dict(drawings), split

    def __getitem__(self, plan: EpisodePlan) -> dict[str, Any]:
        return {name: drawing.draw(self.split, *plan) for name, drawing in self.drawings.items()}


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
