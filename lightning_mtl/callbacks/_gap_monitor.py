"""How far the training loss of each task falls away from its validation loss."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean
from typing import Any

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn

from .._plain import plain
from ..metrics import Drop, DropAlarm
from ._stateful import Remembering


@dataclass
class _Trace:
    """What is known of a task: its alarm, and how it stood at its lowest validation loss."""

    alarm: DropAlarm
    lowest: float = math.inf
    trained: float | None = None
    """Its training loss then."""
    risen: Drop | None = None
    """A rise for which there was no warning yet, since the training loss had risen too."""
    heard: list[float] = field(default_factory=list)
    """Training losses that were shown since the last validation."""
    gap: float | None = None

    def take(self, train: float | None, validate: float) -> Drop | None:
        """Take in a validation, and tell by how much the loss has risen, if it has while that of training fell."""
        found = self.alarm.update(-validate) or self._still(validate)
        if validate < self.lowest:
            self.lowest, self.trained = validate, train
        elif self.trained is None:
            self.trained = train  # what is shown first after it
        fell = train is not None and self.trained is not None and train < self.trained
        self.risen = None if fell else found
        return found if fell else None

    def _still(self, validate: float) -> Drop | None:
        """Give the rise for which there was no warning yet, unless the loss has come back."""
        if self.risen is None or validate + self.risen.level <= self.risen.tolerance:
            return None
        return replace(self.risen, drop=validate + self.risen.level)


class GapMonitor(Remembering):
    """Watch the training loss of each task against its validation loss, and warn once of each task that overfits.

    At each validation the two are compared: the training loss is the mean of what was shown since the last one (see
    `log_every_n_steps`; what is shown at the end of an epoch comes after its validation, and counts for the next), and the gap is
    how far that of validation lies above it. It is logged as `train/<task>/gap`. A gap alone is no alarm, for dropout and label
    smoothing make one too. The alarm is that the validation loss has risen from its best level by more than its own noise explains (see
    `lightning_mtl.metrics.DropAlarm`), while the training loss is below what it was at the lowest validation loss.

    Losses that were not shown yet when a run broke off are not heard when it goes on. `auxiliary` tasks are not evaluated, and not
    watched. It only looks: a run with it ends in the same weights, bit for bit.

    Args:
        tolerance: The least rise of a validation loss that matters.

    Raises:
        ValueError: A tolerance below 0, a run without validation, or a module that does not tell the losses of tasks.

    Example:
        >>> from lightning_mtl.callbacks import GapMonitor
        >>> monitor = GapMonitor()  # L.Trainer(callbacks=[monitor])
        >>> monitor.record()
        {'tasks': [], 'steps': [], 'train': [], 'validate': [], 'alarms': []}
    """

    def __init__(self, tolerance: float = 0.0) -> None:
        DropAlarm(tolerance)  # which refuses what it cannot be
        self.tolerance = tolerance
        self._forget([])

    def _forget(self, tasks: list[str]) -> None:
        self._traces = {task: _Trace(DropAlarm(self.tolerance)) for task in tasks}
        self._seen: dict[str, list[Any]] = {"steps": [], "train": [], "validate": [], "alarms": []}

    def record(self) -> dict[str, Any]:
        """Give the losses at each validation, and the alarms, as plain data."""
        return {"tasks": list(self._traces), **{name: list(seen) for name, seen in self._seen.items()}}

    # Hooks of Lightning

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Listen to what the module shows; forget another run."""
        if not hasattr(pl_module, "shown_to"):
            raise ValueError(
                f"GapMonitor must have a module of lightning_mtl, which tells the losses of tasks, got {type(pl_module).__name__}. Use one."
            )
        if not trainer.enable_validation:
            raise ValueError(
                "GapMonitor must see validation losses, got a run without validation. Give the sources a split 'validation'."
            )
        watched = [task.name for i, task in enumerate(pl_module.tasks) if not task.auxiliary]
        anew = self.begins_anew(trainer)
        if list(self._traces) != watched or anew:
            self._forget(watched)
        pl_module.shown_to.append(self.hear)
        pl_module.also_shown.append(self.values)

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Compare."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        shown, step = trainer.callback_metrics, trainer.global_step
        train: list[float | None] = []
        validate: list[float | None] = []
        for task, trace in self._traces.items():
            key = f"validate/{task}/loss"
            train.append(fmean(trace.heard) if trace.heard else None)
            validate.append(plain(float(shown[key])) if key in shown else None)
            trace.heard = []
            self._judge(task, step, train[-1], validate[-1], loud=trainer.is_global_zero)
        for name, seen in (("steps", step), ("train", train), ("validate", validate)):
            self._seen[name].append(seen)

    def hear(self, step: int, values: Mapping[str, float]) -> None:
        """Note the training losses that are shown."""
        for task, trace in self._traces.items():
            if (loss := values.get(f"train/{task}/loss")) is not None:
                trace.heard.append(loss)

    def values(self) -> dict[str, float]:
        """Give the latest gap of each task."""
        return {f"train/{task}/gap": trace.gap for task, trace in self._traces.items() if trace.gap is not None}

    def state_dict(self) -> dict[str, Any]:
        """Give all that it knows."""
        traces = {
            task: {
                **vars(trace),
                "alarm": trace.alarm.state_dict(),
                "risen": trace.risen and asdict(trace.risen),
                "heard": list(trace.heard),
            }
            for task, trace in self._traces.items()
        }
        return {"seen": {name: list(seen) for name, seen in self._seen.items()}, "traces": traces}

    def take_back(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave.

        Args:
            state: The state.
        """
        self._forget(list(state["traces"]))
        self._seen = {name: list(seen) for name, seen in state["seen"].items()}
        for task, of in state["traces"].items():
            alarm, risen = DropAlarm(self.tolerance), of["risen"]
            alarm.load_state_dict(of["alarm"])
            self._traces[task] = _Trace(**{**of, "alarm": alarm, "risen": risen and Drop(**risen)})

    # Who overfits

    def _judge(self, task: str, step: int, train: float | None, validate: float | None, *, loud: bool) -> None:
        if validate is None:
            return
        trace = self._traces[task]
        trace.gap = trace.gap if train is None else validate - train
        found = trace.take(train, validate)
        if found is None or any(alarm["task"] == task for alarm in self._seen["alarms"]):
            return
        alarm = {"task": task, "step": step, "gap": trace.gap, "rise": found.drop, "tolerance": found.tolerance}
        self._seen["alarms"].append(alarm)
        if loud:
            warnings.warn(
                f"Task {task!r} overfits at step {step}: its validation loss lies {found.drop:.3g} above its best level, of which chance explains "
                f"{found.tolerance:.3g}, and {trace.gap:.3g} above its training loss, which fell. Try Task(dropout=, weight_decay=, "
                "label_smoothing=), or stop it at its best: TaskEarlyStopping().",
                stacklevel=1,
            )
