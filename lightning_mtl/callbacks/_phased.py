"""What callbacks for a schedule of phases have in common."""

from __future__ import annotations

from typing import Any

import lightning as L

from ..samplers import MultiTaskSampler, Phases
from ..task import MultiTask, is_multi_task
from ._phase_schedule import PhaseSchedule, ScheduledPhase
from ._run_sampler import sampler_of


class PhasedCallback(L.Callback):
    """The base of callbacks that act from the second phase on; in a run of a single source (a twin) they do nothing."""

    def __init__(self) -> None:
        self._schedule: PhaseSchedule | None = None

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Check that the run has phases.

        Raises:
            ValueError: There are none, or the callback cannot do its work there.
        """
        self._schedule = None
        if stage == "fit":
            self._schedule = _schedule_of(trainer, pl_module, type(self).__name__)
        if self._schedule is not None:
            self._check(trainer, pl_module, self._schedule)

    def current_phase(self, trainer: L.Trainer) -> ScheduledPhase | None:
        """Return the phase of the running step; None where there are no phases."""
        sampler = sampler_of(trainer)
        if sampler is None or not isinstance(sampler.rule, Phases):
            return None
        if self._schedule is None or self._schedule.sampler is not sampler:  # the Trainer may make a new loader
            self._schedule = PhaseSchedule(sampler)
        return self._schedule.current()

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Release the sampler."""
        super().teardown(trainer, pl_module, stage)
        self._schedule = None

    def _check(self, trainer: L.Trainer, module: MultiTask, schedule: PhaseSchedule) -> None:
        """Check that the callback can do its work in this run."""


def _schedule_of(trainer: L.Trainer, module: Any, who: str) -> PhaseSchedule | None:
    """Return the phases of a run before it begins; None for a single source of a schedule.

    Raises:
        ValueError: There is no schedule of phases.
    """
    if not is_multi_task(module):
        raise ValueError(
            f"{who} must have a module of lightning_mtl, got {type(module).__name__}. Use `MultiTaskModule`."
        )
    data: Any = getattr(trainer, "datamodule", None)
    sampler = getattr(data, "sampler", None)
    if not isinstance(sampler, MultiTaskSampler):
        raise ValueError(
            f"{who} must have a `MultiTaskDataModule`, which knows phases, got {type(data).__name__}. Feed the Trainer by one."
        )
    if isinstance(sampler.rule, Phases):
        return PhaseSchedule(sampler)
    if len(sampler.names) == 1 and isinstance(data.sampling, Phases):
        return None
    raise ValueError(
        f"`sampling` must be `Phases` for {who}, got {sampler.rule}. Train in a row: "
        "sampling=Phases([Phase(['first'], epochs=5.0), Phase(['second'])], repeat=False)."
    )
