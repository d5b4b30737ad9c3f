"""Sampling rates that change during training."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from .._checks import require_number
from .._distributed import gather_objects, of_first_rank, world_size
from .._lightning import make_due_loader
from ..samplers import MultiTaskSampler, Rule, asked
from ..task import MultiTask, is_multi_task
from ._loss_history import LossHistory

_COMPARED_STEPS = 3
"""First steps, in which the ranks compare their plans."""


class SamplingSchedule(L.Callback):
    """Change how often sources are drawn during training, and keep the state of sampling in checkpoints.

    A rule may depend on feedback. Every `every` training batches it gets the losses since the last time, the latest validation
    scores and the draws, all averaged over the ranks, and its new rates are announced. They are used from the 32nd step after
    that, on every rank, for any number of workers, and the same after a resume. `MultiTaskDataModule` adds this callback by
    itself, with the rule of its `sampling`; add your own for another rule or another `every`.

    Args:
        rule: The rule. Default: `sampling` of the data module.
        every: Training batches between two updates of the rates by a rule that depends on feedback.

    Raises:
        ValueError: `every` is below 1, there is no data module whose sampling could be changed, or the ranks plan different
            steps.

    Example:
        >>> from lightning_mtl.callbacks import SamplingSchedule
        >>> from lightning_mtl.samplers import Uniform
        >>> schedule = SamplingSchedule(Uniform(), every=100)  # L.Trainer(callbacks=[schedule])
    """

    def __init__(self, rule: Rule | None = None, *, every: int = 50) -> None:
        require_number("every", every, "50 is the default.", at_least=1, whole=True)
        self.rule, self.every = rule, every
        self._loader: Any = None
        self._saved: dict[str, Any] | None = None
        self._compared = 0
        self._history = LossHistory(())
        self._losses: list[Tensor] = []
        self._scores: dict[str, float] = {}
        self._updated_at: tuple[int, tuple[int, ...]] = (0, ())
        """Step and places of the sampler at the last update of the rates."""

    @property
    def _sampler(self) -> MultiTaskSampler | None:
        return None if self._loader is None else self._loader.sampler

    # Hooks of Lightning

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find the loader, whose workers have not started yet, and restore its state."""
        make_due_loader(trainer)
        saved, self._saved = self._saved, None
        before, self._loader = self._loader, None
        self._compared = 0
        if not trainer.ckpt_path:  # then only a second fit of the same Trainer resumes, if it has the same sources
            same = before is not None and trainer.global_step > 0 and before.sampler.made_of == _made_of(trainer)
            saved = self._state(before) if same else None
        self._attach(trainer, pl_module, saved)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give a new loader, where the Trainer made one for this epoch, the state of the old one."""
        if self._loader is not None and self._loader is not trainer.train_dataloader:
            self._attach(trainer, pl_module, self.state_dict())

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Compare the plans of the ranks in the first steps."""
        sampler = self._sampler
        if sampler is None or self._compared >= _COMPARED_STEPS or trainer.world_size == 1:
            return
        self._compared += 1
        at = sampler.delivered
        plans = gather_objects({**sampler.made_of, "seed": sampler.seed, "step": at.step, "drawn": list(at.places)})
        for what, here in plans[0].items():
            other = next((rank for rank, plan in enumerate(plans) if plan[what] != here), None)
            if other is not None:
                raise ValueError(
                    f"The ranks must plan the same steps, got {what}: {here} on rank 0 and {plans[other][what]} on rank {other}. "
                    "Give all of them the same data, in the same order (shuffled by a seed, if at all), and the same seed."
                )

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Note the losses; update the rates when it is time."""
        sampler = self._sampler
        if sampler is None or not sampler.rule.feedback:
            return
        step = sampler.delivered.step
        self._history.append(step, *pl_module.loss_over_ranks.last())
        if step % self.every == 0:
            self._update_rates(sampler, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Note the scores."""
        if self._sampler is not None and self._sampler.rule.judges and not trainer.sanity_checking:
            self._scores = pl_module.scores()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of sampling, and the feedback for the next update; all ranks must call it together."""
        return {} if self._loader is None else self._state(self._loader)

    def _state(self, loader: Any) -> dict[str, Any]:
        self._read_losses()
        return {
            "loader": loader.state_dict(),
            "losses": torch.cat(self._losses).tolist() if self._losses else [],
            "scores": self._scores,
            "asked": [self._updated_at[0], list(self._updated_at[1])],
            "ranks": world_size(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until there is a loader."""
        self._saved = state_dict or None

    # Feedback for the rule

    def _attach(self, trainer: L.Trainer, pl_module: L.LightningModule, saved: dict[str, Any] | None) -> None:
        """Use the Trainer's loader, and restore a state."""
        loader: Any = trainer.train_dataloader
        if not isinstance(getattr(loader, "sampler", None), MultiTaskSampler):
            if self.rule is not None:
                raise ValueError(
                    f"`rule` of SamplingSchedule must have a `MultiTaskDataModule` to work on, got {type(loader).__name__}. Feed the "
                    "Trainer by one."
                )
            return
        self._loader, sampler = loader, loader.sampler
        if sampler.rule.feedback:
            _refuse_missing_feedback(sampler.rule, trainer, pl_module)
        self._history = LossHistory(tuple(task.name for task in getattr(pl_module, "tasks", ())))
        self._losses, self._scores, self._updated_at = [], {}, (0, sampler.delivered.places)
        if saved is not None:
            _warn_of_other_ranks(sampler.rule, saved.get("ranks", trainer.world_size), trainer.world_size)
            loader.load_state_dict(saved["loader"])
            self._losses = [torch.tensor(saved["losses"], dtype=torch.float64)] if saved["losses"] else []
            self._scores, self._updated_at = dict(saved["scores"]), (saved["asked"][0], tuple(saved["asked"][1]))

    def _read_losses(self) -> None:
        """Read the losses since the last reading, averaged over the ranks; NaN where a task had none."""
        if len(self._history):
            losses, there = self._history.read()
            self._history.clear()
            self._losses.append(losses.masked_fill(~there, torch.nan).double())

    def _update_rates(self, sampler: MultiTaskSampler, module: MultiTask) -> None:
        self._read_losses()
        signals, (step, places) = sampler.signals, self._updated_at
        now = sampler.delivered
        readers = [list(module.routing.readers(name)) for name in sampler.names]
        weights = torch.tensor([task.weight for task in module.tasks], dtype=torch.float64)
        means = torch.cat(self._losses).nanmean(0) * weights
        scores = torch.tensor([self._scores.get(task.name, torch.nan) for task in module.tasks], dtype=torch.float64)
        signals.losses = torch.stack([_known_sum(means[of]) for of in readers])
        signals.scores = torch.stack([scores[of].nanmean() for of in readers])
        signals.draws, signals.drawn_by = sampler.draws_since(places), sampler.rates.mean(step, now.step)
        rates = asked(sampler.rule, now.step, signals)
        sampler.rates.announce(now.step, torch.tensor(of_first_rank(rates.tolist()), dtype=torch.float64))
        self._losses, self._updated_at = [], (now.step, now.places)


def _warn_of_other_ranks(rule: Rule, saved: int, today: int) -> None:
    """Warn where a rule reads losses that other ranks add up: they differ in the last digits, and so may the rates."""
    if rule.feedback and saved != today:
        rank_zero_warn(
            f"{type(rule).__name__} goes on with {today} processes, the checkpoint was written by {saved}: losses are added up in another "
            "order, so rates may differ in their last digits, and sooner or later other rows are drawn than in an unbroken run. For "
            "equal draws resume on as many processes, or use a rule without feedback."
        )


def _refuse_missing_feedback(rule: Rule, trainer: L.Trainer, module: L.LightningModule) -> None:
    name = type(rule).__name__
    if not is_multi_task(module):
        raise ValueError(
            f"{name} must see the losses of tasks, which {type(module).__name__} does not report. Use a module of lightning_mtl."
        )
    if rule.judges and not trainer.enable_validation:
        raise ValueError(
            f"{name} must see validation scores, got a run without validation. Give the sources a split 'validation', or use a "
            "rule that does without, e.g. Exp3S."
        )
    unfit = [task.name for task in module.tasks if (task.main_metric() or ("", -1))[1] < 0]
    if rule.best_is_one and unfit:
        raise ValueError(
            f"{name} must have tasks whose first metric is best at 1, e.g. accuracy, R2 or a correlation, got others for {unfit}. "
            "Put such a metric first in their `metrics`."
        )


def _made_of(trainer: L.Trainer) -> dict[str, Any] | None:
    sampler = getattr(trainer.train_dataloader, "sampler", None)
    return sampler.made_of if isinstance(sampler, MultiTaskSampler) else None


def _known_sum(losses: Tensor) -> Tensor:
    """Return the sum of what is not NaN; NaN where all is."""
    return losses.nansum() if bool((~losses.isnan()).any()) else losses.new_tensor(torch.nan)
