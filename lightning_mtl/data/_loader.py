"""A loader of `{source: batch}`."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .._distributed import gather_objects
from ..samplers import LAG, EvaluationSampler, MultiTaskSampler, Plan, StandIn
from ..task import ROWS, Task
from ._examples import Examples

_SMALL = 2**18
"""Bytes of a tensor up to which copying is faster than sharing memory."""
_SENT = {torch.bool, torch.uint8, torch.int8, torch.short, torch.int, torch.long, torch.half, torch.float, torch.double}
"""Kinds of numbers that numpy knows too."""


class MultiTaskLoader:
    """Iterates over `{source: batch}`, read by one pool of workers; Lightning leaves it as it is.

    Its workers start at the first step, so what Lightning announces late (the epoch, the state of a checkpoint) is not missed.
    Its state is where the batches stand that it handed out, whatever the workers have read ahead.

    Raises:
        ValueError: Workers read further ahead than new rates are announced.
    """

    def __init__(
        self,
        examples: Mapping[str, Examples],
        tasks: Mapping[str, Sequence[Task]],
        sampler: MultiTaskSampler | EvaluationSampler,
        *,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.sampler = sampler
        self.batch_sampler = None  # Lightning looks for it beside `sampler`
        self._loader = DataLoader(
            _Batches(examples, tasks),
            batch_size=None,
            sampler=sampler,
            num_workers=num_workers,
            pin_memory=pin_memory,
            collate_fn=_by_value if num_workers else _as_is,
            persistent_workers=num_workers > 0,
            generator=torch.Generator(),  # else it would draw from the random state of training, and once more after a resume
        )
        if isinstance(sampler, MultiTaskSampler) and sampler.rule.feedback:
            self.refuse_haste()

    def refuse_haste(self) -> None:
        """Look whether rates can be announced before they are read.

        Raises:
            ValueError: Workers read further ahead.
        """
        workers, each = self._loader.num_workers, self._loader.prefetch_factor or 0
        if workers * each >= LAG:
            raise ValueError(
                f"`num_workers` must read fewer than {LAG} batches ahead, since new rates are announced so early, got "
                f"{workers} workers with {each} batches each. Take fewer workers: they serve all sources together."
            )

    @property
    def _iterator(self) -> Any:
        """What Lightning looks for to end the workers when a run is over."""
        return self._loader._iterator

    @_iterator.setter
    def _iterator(self, iterator: Any) -> None:
        self._loader._iterator = iterator

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[dict[str, dict[str, Any]]]:
        self._seed_workers()
        for batch in self._loader:
            self.sampler.deliver()
            yield batch

    def read(self, plan: Plan) -> dict[str, dict[str, Any]]:
        """Read rows beside those of the steps, in this process, and note which of them have labels.

        Args:
            plan: {source: numbers of its rows}.
        """
        batch: dict[str, dict[str, Any]] = self._loader.dataset[plan]
        return batch

    def _seed_workers(self) -> None:
        """Let what workers draw for themselves differ between runs, ranks, and the parts of a run that was resumed."""
        sampler = self.sampler
        parts = (sampler.seed, sampler.delivered.step) if isinstance(sampler, MultiTaskSampler) else ()
        self._loader.generator.manual_seed(random.Random(repr((*parts, sampler.rank))).getrandbits(63))

    def state_dict(self) -> dict[str, Any]:
        """Give where the batches stand that were handed out; with streams of their own state, on every rank."""
        if not isinstance(self.sampler, MultiTaskSampler):
            return {}
        state = self.sampler.state_dict()
        return state | {"streams": gather_objects(state["streams"])} if self.sampler.stateful else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the step after the last one that was handed out.

        Raises:
            ValueError: The state is of other sources, sizes or batches, or of another number of ranks where a source has a
                state on each.
        """
        if not isinstance(self.sampler, MultiTaskSampler):
            return
        self.sampler.refuse_other(state)
        if self.sampler.stateful:
            saved, ranks = state["streams"], self.sampler.num_replicas
            if len(saved) != ranks and any(stream.own for stream in self.sampler.streams.values()):
                raise ValueError(
                    f"A checkpoint whose processes read streams of their own must be resumed on as many, got {ranks} today and "
                    f"{len(saved)} in the checkpoint. Use {len(saved)}."
                )
            state = state | {"streams": saved[self.sampler.rank % len(saved)]}
        self.sampler.load_state_dict(state)


class _Batches(Dataset[dict[str, dict[str, Any]]]):
    """Reads a step's plan as a batch, and notes the rows that have labels."""

    def __init__(self, examples: Mapping[str, Examples], tasks: Mapping[str, Sequence[Task]]) -> None:
        self.examples = dict(examples)
        self.tasks = {name: tuple(tasks[name]) for name in examples}

    def __getitem__(self, plan: Plan) -> dict[str, dict[str, Any]]:
        return {name: self._labelled(name, rows) for name, rows in plan.items() if rows}

    def _labelled(self, source: str, rows: list[Any]) -> dict[str, Any]:
        try:
            columns = self.examples[source][rows]
        except ValueError as error:
            raise ValueError(f"Source {source!r}, in a batch: {error}") from error
        if isinstance(rows, StandIn):
            return columns | {ROWS: {task.name: torch.empty(0, dtype=torch.long) for task in self.tasks[source]}}
        columns[ROWS] = {}
        for task in self.tasks[source]:
            task.label(columns, f"in a batch of source {source!r}, row")
        return columns


def _as_is(batch: Any) -> Any:
    return batch


def _by_value(batch: Any) -> Any:
    """Mark the small tensors of a batch to be sent as numbers."""
    if type(batch) is dict:
        return {name: _by_value(value) for name, value in batch.items()}
    plain = type(batch) is Tensor and batch.is_cpu and batch.layout is torch.strided and not batch.requires_grad
    return _Numbers(batch) if plain and batch.dtype in _SENT and batch.nbytes <= _SMALL else batch


class _Numbers:
    """A tensor that a worker sends as numbers, and that arrives as a tensor.

    On its own torch lays every tensor into shared memory, and the receiver asks for the file and maps it: for small ones that
    takes several times as long as to copy them.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __reduce__(self) -> tuple[Any, ...]:
        return torch.from_numpy, (self.tensor.numpy(force=True),)
