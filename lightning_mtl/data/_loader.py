"""A loader of `{source: batch}`."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from .._distributed import gather_objects
from .._lightning import PlannedRows
from ..samplers import LAG, EvaluationSampler, MultiTaskSampler, Plan, StandIn
from ..task import ROWS, Task, label_tasks
from ._examples import Examples
from ._sent_tensors import sent_by_value
from ._step_loader import StepLoader


class MultiTaskLoader(StepLoader):
    """Iterates over `{source: batch}`, read by one pool of workers; Lightning leaves it as it is.

    Its state is that of the sampler after the last batch that was delivered, however far the workers have read ahead; in a step of a
    Trainer, that before its batch.

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
        plans = PlannedRows(sampler, list(sampler.streams)) if isinstance(sampler, EvaluationSampler) else None
        self.batch_sampler = plans  # Lightning looks for it beside `sampler`
        super().__init__(
            _PlannedBatches(examples, tasks),
            sampler if plans is None else plans,
            num_workers=num_workers,
            pin_memory=pin_memory,
            collate=sent_by_value if num_workers else _as_is,
        )
        if isinstance(sampler, MultiTaskSampler) and sampler.rule.feedback:
            self.refuse_reading_far_ahead()

    def refuse_reading_far_ahead(self) -> None:
        """Check that workers do not read batches before the rates of these batches are announced.

        Raises:
            ValueError: Workers read further ahead.
        """
        workers, each = self._loader.num_workers, self._loader.prefetch_factor or 0
        if workers * each >= LAG:
            raise ValueError(
                f"`num_workers` must read fewer than {LAG} batches ahead, since new rates are announced so early, got "
                f"{workers} workers with {each} batches each. Take fewer workers: they serve all sources together."
            )

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[dict[str, dict[str, Any]]]:
        self._seed_workers()
        yield from super().__iter__()

    def deliver(self) -> None:
        """Count the batch that is delivered next."""
        self.sampler.deliver()
        if self.batch_sampler is not None:
            self.batch_sampler.deliver()

    def read(self, plan: Plan) -> dict[str, dict[str, Any]]:
        """Read rows beside those of the steps, in this process, and note which of them have labels.

        Args:
            plan: {source: numbers of its rows}.
        """
        batch: dict[str, dict[str, Any]] = self._loader.dataset[plan]
        return batch

    def _seed_workers(self) -> None:
        """Seed the workers differently in each run, on each rank, and in each part of a run that was resumed."""
        sampler = self.sampler
        parts = (sampler.seed, sampler.delivered.step) if isinstance(sampler, MultiTaskSampler) else ()
        self._loader.generator.manual_seed(random.Random(repr((*parts, sampler.rank))).getrandbits(63))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the sampler; where streams have a state of their own, those of all ranks."""
        if not isinstance(self.sampler, MultiTaskSampler):
            return {}
        state = self.sampler.state_dict(before_last=self.is_in_step)
        return state | {"streams": gather_objects(state["streams"])} if self.sampler.stateful else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume with the step after the last delivered one.

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
                    f"A checkpoint whose processes read streams of their own must be resumed on as many processes, got {ranks} today and "
                    f"{len(saved)} in the checkpoint. Use {len(saved)}."
                )
            state = state | {"streams": saved[self.sampler.rank % len(saved)]}
        self.sampler.load_state_dict(state)


class _PlannedBatches(Dataset[dict[str, dict[str, Any]]]):
    """Reads the batch of a step's plan, and notes which rows have labels."""

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
        label_tasks(self.tasks[source], columns, f"in a batch of source {source!r}, row")
        return columns


def _as_is(batch: Any) -> Any:
    return batch
