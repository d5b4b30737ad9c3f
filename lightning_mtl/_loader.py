"""A loader of `{source: batch}`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from ._distributed import gather_objects
from ._examples import Examples
from .samplers import LAG, EvaluationSampler, MultiTaskSampler, Plan, StandIn
from .task import ROWS, Task


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
            collate_fn=_as_is,
            persistent_workers=num_workers > 0,
        )
        ahead = num_workers * (self._loader.prefetch_factor or 0)
        if ahead >= LAG:
            raise ValueError(
                f"`num_workers` must read fewer than {LAG} batches ahead, since new rates are announced so early, got "
                f"{num_workers} workers with {self._loader.prefetch_factor} batches each. Take fewer workers: they serve all "
                "sources together."
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
        for batch in self._loader:
            self.sampler.deliver()
            yield batch

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
        if self.sampler.stateful:
            saved, ranks = state.get("streams", []), self.sampler.num_replicas
            if len(saved) != ranks and any(of != saved[0] for of in saved):
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

    def _labelled(self, source: str, rows: list[int]) -> dict[str, Any]:
        columns = self.examples[source][rows]
        if isinstance(rows, StandIn):
            return columns | {ROWS: {task.name: torch.empty(0, dtype=torch.long) for task in self.tasks[source]}}
        columns[ROWS] = {}
        for task in self.tasks[source]:
            task.label(columns, f"in a batch of source {source!r}, row")
        return columns


def _as_is(batch: Any) -> Any:
    return batch
