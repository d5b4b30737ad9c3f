"""Whether a task is being forgotten."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn

from .._checks import require_number
from .._lightning import scored_weights
from .._plain import escaped, file_name, plain
from ..metrics import Drop, DropAlarm
from ..samplers import MultiTaskSampler, Phases
from ..task import MultiTask, is_multi_task
from ._best_checkpoints import best_folder, write_checkpoints
from ._run_sampler import phase_of, sampler_of
from ._stages import Stages
from ._stateful import StatefulCallback
from ._validation_probe import refuse_no_validation, validation_probe

_KEPT = ("names", "steps", "scores", "alarms", "best")


class ForgettingMonitor(StatefulCallback):
    """Watch every task's score during training, and warn when a task is being forgotten.

    A task's score is its main metric on the split "validation", higher is better. Each score is compared with the best level that
    the task had (see `DropAlarm`). Of a drop beyond what the metric's own noise explains there is one warning, with the task, the
    step, the drop and the task's best checkpoint until then, which is safe to go back to. The network is kept as it was best for
    each task, in "best/<task>.ckpt" beside the Trainer's checkpoints, with the scores of all tasks at that step. Logged with the
    training losses are `train/<task>/score`, the latest score, and `train/<task>/drawdown`, the best score so far minus the latest.

    Where the sources come one phase after the other (`Phases` with repeat=False), all tasks are also evaluated before training
    and at the end of each phase. That makes the matrix of stages and tasks, with forgetting (Chaudhry et al., ECCV 2018),
    backward and forward transfer (Lopez-Paz and Ranzato, NeurIPS 2017) over the tasks in the order in which they are learned.

    Where weights are averaged (`EMAWeightAveraging`), scores and checkpoints are those of the averages.

    It only observes: a run with it ends in the same weights, bit for bit, as one without.

    Args:
        every: Steps of the optimizer between two evaluations by the monitor itself. Default: it takes the results of the Trainer's
            validations, as often as `val_check_interval` and `check_val_every_n_epoch` have them.
        rows: Rows of each source that the monitor's own evaluations read, up to the end of a batch, always the same ones, drawn at random once. Default: all.
        tolerance: A drop up to which no alarm is raised, whatever the noise, in units of the metric.
        noise: The standard deviation of a score that does not change, the same for all tasks, if it is known: drops of three of it are then found in nine of ten
            cases by the second evaluation (see `DropAlarm`). Default: it is estimated from each task's own scores.
        keep_best: Whether to keep each task's best checkpoint; without checkpoints of the Trainer none is kept.

    Raises:
        ValueError: A number out of its range, or nothing to evaluate on.

    Example:
        >>> from lightning_mtl.callbacks import ForgettingMonitor
        >>> monitor = ForgettingMonitor(every=200, rows=500)  # L.Trainer(callbacks=[monitor])
    """

    def __init__(
        self,
        every: int | None = None,
        rows: int | None = None,
        *,
        tolerance: float = 0.0,
        noise: float | None = None,
        keep_best: bool = True,
    ) -> None:
        for name, value in (("every", every), ("rows", rows)):
            require_number(name, value, "Leave it out for the default.", at_least=1, whole=True, optional=True)
        self.every, self.rows, self.tolerance, self.noise, self.keep_best = every, rows, tolerance, noise, keep_best
        self._new_alarm()  # raises for wrong numbers
        self._reset()

    def _reset(self) -> None:
        self.names: list[str] = []
        self.steps: list[int] = []
        self.scores: list[list[float]] = []
        """Scores of all tasks at these steps; NaN where there is none."""
        self.alarms: list[dict[str, Any]] = []
        self.stages = Stages([])
        self.best: dict[str, dict[str, Any]] = {}
        """Of each task the step of its best score, the scores of all tasks at it, and the checkpoint."""
        self._traces: dict[str, DropAlarm] = {}
        self._phase: int | None = None
        self._probe: Any = None
        self._folder: Path | None = None

    # Hooks of Lightning

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Start from scratch, or resume from a checkpoint; with phases, evaluate once before training."""
        if not is_multi_task(pl_module):
            raise ValueError(
                f"ForgettingMonitor must watch a module of lightning_mtl, got {type(pl_module).__name__}. Use `MultiTaskModule`."
            )
        names = [task.name for task in pl_module.tasks if task.main_metric() is not None]
        if self.starts_new_run(trainer) or self.names != names:
            self._reset()
        self.names = names
        self._probe = validation_probe(trainer, self.rows)
        phases = _sequential_sampler(trainer) is not None
        if not self.names:
            raise ValueError(
                "ForgettingMonitor must have tasks with `metrics`, got none. Give them some, or leave it out."
            )
        refuse_no_validation(trainer, self._probe, every=self.every, phases=phases)
        self._traces = {name: self._traces.get(name) or self._new_alarm() for name in self.names}
        self._folder = best_folder(trainer) if self.keep_best else None
        if self.stages.tasks != self.names:
            self.stages = Stages(self.names)
        if phases and trainer.global_step == 0:
            self.stages.initial = self._evaluate(trainer, pl_module)
        pl_module.train_log.extra_values.append(self.values)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Evaluate all tasks where a phase has ended."""
        sampler = _sequential_sampler(trainer)
        if sampler is None:
            return
        phase = phase_of(sampler)
        if self._phase is not None and phase != self._phase:
            self._end_stage(trainer, pl_module)
        self._phase = phase

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Evaluate all tasks every `every` steps."""
        step = trainer.global_step
        if self.every is not None and step % self.every == 0 and step > (self.steps[-1] if self.steps else 0):
            self._update(trainer, self._evaluate(trainer, pl_module))

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Take the scores of the Trainer's validation."""
        if self.every is None and not trainer.sanity_checking and trainer.state.fn == TrainerFn.FITTING:
            found = pl_module.scores()
            self._update(trainer, [found.get(name, math.nan) for name in self.names])

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """End the last phase."""
        if self._phase is not None and _sequential_sampler(trainer) is not None:
            self._end_stage(trainer, pl_module)

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Release the data."""
        super().teardown(trainer, pl_module, stage)
        self._probe = None

    def state_dict(self) -> dict[str, Any]:
        """Return the scores, alarms, stages and best checkpoints."""
        kept = {name: getattr(self, name) for name in _KEPT}
        traces = {name: trace.state_dict() for name, trace in self._traces.items()}
        return {**kept, "stages": self.stages.state(), "traces": traces, "phase": self._phase}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Args:
            state: The state.
        """
        self._reset()
        for name in _KEPT:
            setattr(self, name, state[name])
        self.stages, self._phase = Stages(**state["stages"]), state["phase"]
        for name, trace in state["traces"].items():
            self._traces[name] = self._new_alarm()
            self._traces[name].load_state_dict(trace)

    # Results

    def values(self) -> dict[str, float]:
        """Return the latest score of each task, and how far below its best it is."""
        shown: dict[str, float] = {}
        for name, best in self.best.items():
            at = self.names.index(name)
            latest = next(row[at] for row in reversed(self.scores) if math.isfinite(row[at]))
            key = f"train/{escaped(name)}"
            shown |= {f"{key}/score": latest, f"{key}/drawdown": best["score"] - latest}
        return shown

    def record(self) -> dict[str, Any]:
        """Return all results as plain data."""
        of_best = [self.best[name] for name in self.names if name in self.best]
        made: dict[str, Any] = plain(
            {
                "tasks": self.names,
                "higher": [True] * len(self.names),
                "steps": self.steps,
                "scores": self.scores,
                "alarms": self.alarms,
                "stages": self.stages.names,
                "matrix": self.stages.matrix,
                "initial": self.stages.initial,
                "figures": self.stages.figures(),
                "best": {
                    "tasks": [name for name in self.names if name in self.best],
                    "steps": [best["step"] for best in of_best],
                    "matrix": [best["scores"] for best in of_best],
                    "paths": [best["path"] for best in of_best],
                },
            }
        )
        return made

    # Evaluations

    def _new_alarm(self) -> DropAlarm:
        return DropAlarm(self.tolerance, noise=self.noise)

    def _evaluate(self, trainer: L.Trainer, module: MultiTask) -> list[float]:
        with scored_weights(trainer, module):
            found = module.assess(self._probe)
        return [found.get(name, math.nan) for name in self.names]

    def _update(self, trainer: L.Trainer, scores: list[float]) -> None:
        """Note the scores of all tasks, raise alarms, and keep the best checkpoints."""
        self.steps.append(trainer.global_step)
        self.scores.append(scores)
        for name, score in zip(self.names, scores, strict=True):
            if math.isfinite(score):
                self._check_for_drop(trainer, name, score)
        best = [name for name, score in zip(self.names, scores, strict=True) if self._is_best(name, score)]
        self._keep_best(trainer, best, scores)

    def _check_for_drop(self, trainer: L.Trainer, name: str, score: float) -> None:
        module: Any = trainer.lightning_module
        drop = self._traces[name].update(score, module.task_evaluation.scored.get(name))
        if drop is None:
            return
        step, best = trainer.global_step, self.best.get(name, {})
        alarm = {"task": name, "step": step, "drop": drop.drop, "tolerance": drop.tolerance, "safe": best.get("path")}
        self.alarms.append(alarm)
        if trainer.is_global_zero:
            warnings.warn(_warning(name, step, drop, best), stacklevel=1)

    def _is_best(self, name: str, score: float) -> bool:
        before = self.best.get(name)
        return math.isfinite(score) and (before is None or score > before["score"])

    def _keep_best(self, trainer: L.Trainer, names: list[str], scores: list[float]) -> None:
        """Keep the network as it is now best for these tasks."""
        paths = {} if self._folder is None else {name: self._folder / f"{file_name(name)}.ckpt" for name in names}
        write_checkpoints(trainer, list(paths.values()))
        for name in names:
            score = scores[self.names.index(name)]
            reached = {"step": trainer.global_step, "score": score, "scores": list(scores)}
            self.best[name] = {**reached, "path": str(paths[name]) if paths else None}

    def _end_stage(self, trainer: L.Trainer, module: MultiTask) -> None:
        """Add the phase that has ended to the matrix."""
        sampler = _sequential_sampler(trainer)
        assert sampler is not None
        assert self._phase is not None
        rule: Any = sampler.rule
        sources = [name for name in rule.phases[self._phase].sources if name in sampler.names]
        trained = {module.tasks[i].name for name in sources for i in module.routing.reads(name)}
        self.stages.end(self._phase, " + ".join(sources), trained, self._evaluate(trainer, module))


def _sequential_sampler(trainer: L.Trainer) -> MultiTaskSampler | None:
    """Return the sampler where sources come one phase after the other, and none comes back."""
    sampler = sampler_of(trainer)
    return sampler if sampler is not None and isinstance(sampler.rule, Phases) and not sampler.rule.repeat else None


def _warning(name: str, step: int, drop: Drop, best: Mapping[str, Any]) -> str:
    path = best.get("path")
    return (
        f"Task {name!r} is being forgotten: at step {step} its score is {drop.drop:.4g} below the level of {drop.level:.4g} "
        f"that it had, more than the {drop.tolerance:.4g} that noise explains. "
        + (f"Its best checkpoint is safe, that of step {best['step']}: {path}. " if path else "")
        + "To hold it: draw its source more often (sampling=ForgettingDriven()), or the callbacks Replay and ElasticWeightConsolidation."
    )
