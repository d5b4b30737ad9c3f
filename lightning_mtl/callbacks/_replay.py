"""Rows of earlier phases, trained on once more in later ones."""

from __future__ import annotations

from typing import Any

import lightning as L

from .._checks import require_number
from ..samplers import MultiTaskSampler, Plan, Rows, StandIn
from ..task import MultiTask
from ._kept_rows import kept_rows, read_rows, refuse_unreadable
from ._phase_schedule import PhaseSchedule
from ._phased import PhasedCallback


class Replay(PhasedCallback):
    """Replay rows of the sources of earlier phases in every step of a later phase (Chaudhry et al., "On tiny episodic memories in continual learning", 2019).

    Of each source some rows are kept: the first of a random order that the seed and the source's name make. In a schedule of
    `Phases` a step of a later phase holds, beside its own batch, a batch of kept rows of the sources that phases before it drew
    and it does not. The losses of their tasks count as in any other step. The rows are a function of seed, step and source, so
    nothing must be saved: a resumed run replays the same rows as an uninterrupted one. Several processes read different rows of one batch.

    The rows are read in the main process, whatever `num_workers` is, when the step begins; so keep few where reading is slow. They do
    not count as draws in the plan that `SamplingMonitor` prints.

    Args:
        rows: Rows that are kept of each source, over all processes.
        batch_size: Rows that are replayed in a step on each process, split evenly among the earlier sources. Default: `batch_size` of
            the data module.

    Raises:
        ValueError: A number below 1; no `MultiTaskDataModule` with `Phases`; or a source whose rows cannot be read by number: a
            stream, or a DataLoader with batches of its own.

    Example:
        >>> from lightning_mtl.callbacks import Replay
        >>> from lightning_mtl.samplers import Phase, Phases
        >>> one_by_one = Phases([Phase(["old"], epochs=5.0), Phase(["new"])], repeat=False)  # MultiTaskDataModule(..., sampling=one_by_one)
        >>> replay = Replay(rows=100)  # L.Trainer(callbacks=[replay])
    """

    def __init__(self, rows: int = 200, batch_size: int | None = None) -> None:
        super().__init__()
        require_number("rows", rows, "100 of each source go a long way.", at_least=1, whole=True)
        remedy = "Leave it out for that of the data module."
        require_number("batch_size", batch_size, remedy, at_least=1, whole=True, optional=True)
        self.rows, self.batch_size = rows, batch_size
        self._kept: dict[Any, tuple[list[int], Rows]] = {}

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Put rows of earlier sources into the step."""
        phase = self.current_phase(trainer)
        if phase is not None and phase.earlier:
            assert self._schedule is not None
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            size = self.batch_size or data.batch_size
            batch.update(read_rows(trainer, self.plan(self._schedule.sampler, phase.earlier, size)))

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Release the sampler and the orders."""
        super().teardown(trainer, pl_module, stage)
        self._kept = {}

    def plan(self, sampler: MultiTaskSampler, sources: tuple[str, ...], size: int) -> Plan:
        """Return which rows of these sources this rank reads in the running step.

        Args:
            sampler: The sampler that plans the steps.
            sources: The sources that are replayed.
            size: Rows of a step on each process.
        """
        step, ranks, size = sampler.running, sampler.num_replicas, size * sampler.num_replicas
        share, more = divmod(size, len(sources))
        plan: Plan = {}
        before = 0
        for i, source in enumerate(sources):
            count = share + ((i - step) % len(sources) < more)  # the remainder goes to other sources in each step
            numbers, order = self._order(sampler, source)
            place = step * -(-size // len(sources))
            rows = [numbers[k] for k in order.take(place, count, (sampler.rank - before) % ranks, ranks)]
            plan[source] = rows if rows or not sampler.fill else StandIn(numbers[:1])
            before += count
        return plan

    def _order(self, sampler: MultiTaskSampler, source: str) -> tuple[list[int], Rows]:
        """Return the rows that are kept of a source, and the order in which they are replayed, pass after pass."""
        key = sampler.seed, source, sampler.streams[source].rows
        if key not in self._kept:
            numbers = kept_rows(sampler, source, self.rows, "rows kept")
            order = Rows(len(numbers), len(numbers), name=f"replay of {source}")
            order.reseed(sampler.seed)
            self._kept[key] = numbers, order
        return self._kept[key]

    def _check(self, trainer: L.Trainer, module: MultiTask, schedule: PhaseSchedule) -> None:
        replayed = [name for phase in schedule.phases() for name in phase.earlier]
        refuse_unreadable(schedule.sampler, replayed, "Replay")
