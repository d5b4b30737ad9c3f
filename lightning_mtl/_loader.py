"""A loader of `{source: batch}`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch.utils.data import DataLoader, Dataset

from ._examples import Examples
from .sampler import AllSourcesSampler, Plan
from .task import ROWS, Task


class MultiTaskLoader:
    """Iterates over `{source: batch}`, read by one pool of workers; Lightning leaves it as it is.

    Its workers start at the first step, so an epoch that Lightning announces late is not missed. Its state is the number of
    steps taken in this epoch, so a run that was saved within an epoch goes on with the next step.
    """

    def __init__(
        self,
        examples: Mapping[str, Examples],
        tasks: Mapping[str, Sequence[Task]],
        sampler: AllSourcesSampler,
        *,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.sampler = sampler
        self.batch_sampler = None  # Lightning looks for it beside `sampler`
        self._taken = 0
        self._loader = DataLoader(
            _Batches(examples, tasks),
            batch_size=None,
            sampler=sampler,
            num_workers=num_workers,
            pin_memory=pin_memory,
            collate_fn=_as_is,
            persistent_workers=num_workers > 0,
        )

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[dict[str, dict[str, Any]]]:
        self._taken = self.sampler.skip
        for batch in self._loader:
            self._taken += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Tell how many steps of this epoch were taken."""
        return {"taken": self._taken % len(self)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Leave out the steps that were taken, once."""
        self.sampler.skip = self._taken = state["taken"]


class _Batches(Dataset[dict[str, dict[str, Any]]]):
    """Reads a step's plan as a batch, and notes the rows that have labels."""

    def __init__(self, examples: Mapping[str, Examples], tasks: Mapping[str, Sequence[Task]]) -> None:
        self.examples = dict(examples)
        self.tasks = {name: tuple(tasks[name]) for name in examples}

    def __getitem__(self, plan: Plan) -> dict[str, dict[str, Any]]:
        return {name: self._labelled(name, rows) for name, rows in plan.items()}

    def _labelled(self, source: str, rows: list[int]) -> dict[str, Any]:
        columns = self.examples[source][rows]
        columns[ROWS] = {}
        for task in self.tasks[source]:
            task.label(columns, f"in a batch of source {source!r}, row")
        return columns


def _as_is(batch: Any) -> Any:
    return batch
