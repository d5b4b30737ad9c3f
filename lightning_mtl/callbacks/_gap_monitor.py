"""The gap between the training loss and the validation loss of each task."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean
from typing import Any

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn

from .._plain import escaped, plain
from ..metrics import Drop, DropAlarm
from ..task import is_multi_task
from ._stateful import StatefulCallback


@dataclass
class _Trace:
    """The losses of a task so far: its alarm, and its lowest validation loss."""

    alarm: DropAlarm
    lowest: float = math.inf
    trained: float | None = None
    """Its training loss at the lowest validation loss."""
    risen: Drop | None = None
    """A rise for which there was no warning yet, since the training loss had risen too."""
    heard: list[float] = field(default_factory=list)
    """Training losses that were logged since the last validation."""
    gap: float | None = None

    def update(self, train: float | None, validate: float) -> Drop | None:
        """Add a validation, and return the rise of its loss, if that is an alarm and the training loss fell."""
        found = self.alarm.update(-validate) or self._still_risen(validate)
        if validate < self.lowest:
            self.lowest, self.trained = validate, train
        elif self.trained is None:
            self.trained = train  # the first that is logged after it
        fell = train is not None and self.trained is not None and train < self.trained
        self.risen = None if fell else found
        return found if fell else None

    def _still_risen(self, validate: float) -> Drop | None:
        """Return the rise for which there was no warning yet, unless the loss has come back."""
        if self.risen is None or validate + self.risen.level <= self.risen.tolerance:
            return None
        return replace(self.risen, drop=validate + self.risen.level)


class GapMonitor(StatefulCallback):
    """Compare the training loss of each task with its validation loss, and warn once of each task that overfits.

    At each validation the two are compared. The training loss is the mean of those logged since the last validation (see
    `log_every_n_steps`; what is logged at the end of an epoch comes after its validation, and counts for the next). The gap is the
    validation loss minus the training loss; it is logged as `train/<task>/gap`. A gap alone is no alarm, since dropout and label
    smoothing make one too. There is an alarm if the validation loss has risen from its best level by more than its own noise explains
    (see `lightning_mtl.metrics.DropAlarm`), while the training loss is lower than it was at the lowest validation loss.

    Losses that were not logged yet when a run was killed are missing when it is resumed. `auxiliary` tasks are not evaluated, and not
    watched. It only observes: a run with it ends in the same weights, bit for bit.

    Args:
        tolerance: The smallest rise of a validation loss that matters.

    Raises:
        ValueError: A tolerance below 0, a run without validation, or a module that does not report the losses of tasks.

    Example:
        >>> from lightning_mtl.callbacks import GapMonitor
        >>> monitor = GapMonitor()  # L.Trainer(callbacks=[monitor])
        >>> monitor.record()
        {'tasks': [], 'steps': [], 'train': [], 'validate': [], 'alarms': []}
    """

    def __init__(self, tolerance: float = 0.0) -> None:
        DropAlarm(tolerance)  # raises for a wrong number
        self.tolerance = tolerance
        self._reset([])

    def _reset(self, tasks: list[str]) -> None:
        self._traces = {task: _Trace(DropAlarm(self.tolerance)) for task in tasks}
        self._noted: dict[str, list[Any]] = {"steps": [], "train": [], "validate": [], "alarms": []}

    def record(self) -> dict[str, Any]:
        """Return the losses at each validation, and the alarms, as plain data."""
        return {"tasks": list(self._traces), **{name: list(noted) for name, noted in self._noted.items()}}

    # Hooks of Lightning

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Register for the losses that the module logs; start from scratch, or resume."""
        if not is_multi_task(pl_module):
            raise ValueError(
                f"GapMonitor must have a module of lightning_mtl, which reports the losses of tasks, got {type(pl_module).__name__}. Use one."
            )
        if not trainer.enable_validation:
            raise ValueError(
                "GapMonitor must see validation losses, got a run without validation. Give the sources a split 'validation'."
            )
        watched = [task.name for i, task in enumerate(pl_module.tasks) if not task.auxiliary]
        new_run = self.starts_new_run(trainer)
        if list(self._traces) != watched or new_run:
            self._reset(watched)
        pl_module.train_log.listeners.append(self.hear)
        pl_module.train_log.extra_values.append(self.values)

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Compare the losses of each task."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        shown, step = trainer.callback_metrics, trainer.global_step
        train: list[float | None] = []
        validate: list[float | None] = []
        for task, trace in self._traces.items():
            key = f"validate/{escaped(task)}/loss"
            train.append(fmean(trace.heard) if trace.heard else None)
            validate.append(plain(float(shown[key])) if key in shown else None)
            trace.heard = []
            self._compare(task, step, train[-1], validate[-1], warn=trainer.is_global_zero)
        for name, value in (("steps", step), ("train", train), ("validate", validate)):
            self._noted[name].append(value)

    def hear(self, step: int, values: Mapping[str, float]) -> None:
        """Note the training losses that are logged."""
        for task, trace in self._traces.items():
            if (loss := values.get(f"train/{escaped(task)}/loss")) is not None:
                trace.heard.append(loss)

    def values(self) -> dict[str, float]:
        """Return the latest gap of each task."""
        return {
            f"train/{escaped(task)}/gap": trace.gap for task, trace in self._traces.items() if trace.gap is not None
        }

    def state_dict(self) -> dict[str, Any]:
        """Return losses and alarms so far."""
        traces = {
            task: {
                **vars(trace),
                "alarm": trace.alarm.state_dict(),
                "risen": trace.risen and asdict(trace.risen),
                "heard": list(trace.heard),
            }
            for task, trace in self._traces.items()
        }
        return {"seen": {name: list(noted) for name, noted in self._noted.items()}, "traces": traces}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Args:
            state: The state.
        """
        self._reset(list(state["traces"]))
        self._noted = {name: list(noted) for name, noted in state["seen"].items()}
        for task, of in state["traces"].items():
            alarm, risen = DropAlarm(self.tolerance), of["risen"]
            alarm.load_state_dict(of["alarm"])
            self._traces[task] = _Trace(**{**of, "alarm": alarm, "risen": risen and Drop(**risen)})

    def _compare(self, task: str, step: int, train: float | None, validate: float | None, *, warn: bool) -> None:
        if validate is None:
            return
        trace = self._traces[task]
        trace.gap = trace.gap if train is None else validate - train
        found = trace.update(train, validate)
        if found is None or any(alarm["task"] == task for alarm in self._noted["alarms"]):
            return
        alarm = {"task": task, "step": step, "gap": trace.gap, "rise": found.drop, "tolerance": found.tolerance}
        self._noted["alarms"].append(alarm)
        if warn:
            warnings.warn(
                f"Task {task!r} overfits at step {step}: its validation loss lies {found.drop:.3g} above its best level, of which chance explains "
                f"{found.tolerance:.3g}, and {trace.gap:.3g} above its training loss, which fell. Try Task(dropout=, weight_decay=, "
                "label_smoothing=), or stop it at its best: TaskEarlyStopping().",
                stacklevel=1,
            )
