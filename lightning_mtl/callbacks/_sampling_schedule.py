"""Sampling rates that change while training runs."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor

from .._distributed import gather_objects, of_first_rank
from ..samplers import MultiTaskSampler, Rule, asked
from ._loss_history import LossHistory

_GUARDED = 3
"""Steps in which the ranks compare their plans."""


class SamplingSchedule(L.Callback):
    """Change how often sources are drawn while training runs, and keep the state of sampling in checkpoints.

    Every `every` training batches a rule that depends on how training goes is given the losses since the last time, the latest
    validation scores and the draws, all of them averaged over the ranks, and its new rates are announced: they hold from the
    32nd step after it, on every rank, for any number of workers, and so after a resume. `MultiTaskDataModule` adds this
    callback by itself, with the rule of its `sampling`; add your own to give it another rule or another `every`.

    Args:
        rule: The rule. Default: `sampling` of the data module.
        every: Training batches between two questions to a rule that depends on feedback.

    Raises:
        ValueError: `every` is below 1, there is no data module whose sampling could be changed, or the ranks plan different
            steps.

    Example:
        >>> from lightning_mtl.callbacks import SamplingSchedule
        >>> from lightning_mtl.samplers import Uniform
        >>> schedule = SamplingSchedule(Uniform(), every=100)  # L.Trainer(callbacks=[schedule])
    """

    def __init__(self, rule: Rule | None = None, *, every: int = 50) -> None:
        if every < 1:
            raise ValueError(f"`every` must be at least 1, got {every}.")
        self.rule, self.every = rule, every
        self._loader: Any = None
        self._saved: dict[str, Any] | None = None
        self._guarded = 0
        self._history = LossHistory(())
        self._window: list[Tensor] = []
        self._scores: dict[str, float] = {}
        self._asked: tuple[int, tuple[int, ...]] = (0, ())

    @property
    def _sampler(self) -> MultiTaskSampler | None:
        return None if self._loader is None else self._loader.sampler

    # Hooks of Lightning

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take hold of the loader, whose workers did not start yet, and bring it to where the run stands."""
        trainer.fit_loop.setup_data()  # a new loader that is due is made now: later, some resumed runs are not told of it
        saved, self._saved = self._saved, None
        before, self._loader = self._loader, None
        self._guarded = 0
        if not trainer.ckpt_path:  # then only a second fit of the same Trainer goes on, if it has the same sources
            same = before is not None and trainer.global_step > 0 and before.sampler.made_of == _made_of(trainer)
            saved = self._state(before) if same else None
        self._take(trainer, pl_module, saved)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Bring a new loader, where the Trainer made one for this epoch, to where the old one stood."""
        if self._loader is not None and self._loader is not trainer.train_dataloader:
            self._take(trainer, pl_module, self.state_dict())

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Compare the plans of the ranks, in the first steps."""
        sampler = self._sampler
        if sampler is None or self._guarded >= _GUARDED or trainer.world_size == 1:
            return
        self._guarded += 1
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
        """Note the losses; now and then ask the rule for new rates."""
        sampler = self._sampler
        if sampler is None or not sampler.rule.feedback:
            return
        step = sampler.delivered.step
        self._history.append(step, *pl_module.last_losses())
        if step % self.every == 0:
            self._ask(sampler, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Note the scores."""
        if self._sampler is not None and self._sampler.rule.judges and not trainer.sanity_checking:
            self._scores = pl_module.scores()

    def state_dict(self) -> dict[str, Any]:
        """Give the state of sampling, and what the rule will be asked with; all ranks must call it together."""
        return {} if self._loader is None else self._state(self._loader)

    def _state(self, loader: Any) -> dict[str, Any]:
        self._read()
        return {
            "loader": loader.state_dict(),
            "losses": torch.cat(self._window).tolist() if self._window else [],
            "scores": self._scores,
            "asked": [self._asked[0], list(self._asked[1])],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until there is a loader."""
        self._saved = state_dict or None

    # What the rule sees

    def _take(self, trainer: L.Trainer, pl_module: L.LightningModule, saved: dict[str, Any] | None) -> None:
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
            self._refuse_blindness(sampler.rule, trainer, pl_module)
        self._history = LossHistory(tuple(task.name for task in getattr(pl_module, "tasks", ())))
        self._window, self._scores, self._asked = [], {}, (0, sampler.delivered.places)
        if saved is not None:
            loader.load_state_dict(saved["loader"])
            self._window = [torch.tensor(saved["losses"], dtype=torch.float64)] if saved["losses"] else []
            self._scores, self._asked = dict(saved["scores"]), (saved["asked"][0], tuple(saved["asked"][1]))

    def _refuse_blindness(self, rule: Rule, trainer: L.Trainer, module: Any) -> None:
        name = type(rule).__name__
        if not hasattr(module, "last_losses"):
            raise ValueError(
                f"{name} must see the losses of tasks, which {type(module).__name__} does not tell. Use a module of lightning_mtl."
            )
        if rule.judges and not trainer.enable_validation:
            raise ValueError(
                f"{name} must see validation scores, got a run without validation. Give the sources a split 'validation', or use a "
                "rule that does without, e.g. Exp3S."
            )
        unfit = [task.name for task in module.tasks if task.main_metric() is None or task.main_metric()[1] < 0]
        if rule.best_is_one and unfit:
            raise ValueError(
                f"{name} must have tasks whose first metric is best at 1, e.g. accuracy, R2 or a correlation, got others for {unfit}. "
                "Put such a one first in their `metrics`."
            )

    def _read(self) -> None:
        """Bring the losses since the last reading from the device, averaged over the ranks; NaN where a task had none."""
        if len(self._history):
            losses, there = self._history.read()
            self._history.clear()
            self._window.append(losses.masked_fill(~there, torch.nan).double())

    def _ask(self, sampler: MultiTaskSampler, module: Any) -> None:
        self._read()
        signals, (step, places) = sampler.signals, self._asked
        now = sampler.delivered
        readers = [list(module.routing.readers(name)) for name in sampler.names]
        weights = torch.tensor([task.weight for task in module.tasks], dtype=torch.float64)
        means = torch.cat(self._window).nanmean(0) * weights
        scores = torch.tensor([self._scores.get(task.name, torch.nan) for task in module.tasks], dtype=torch.float64)
        signals.losses = torch.stack([_total(means[of]) for of in readers])
        signals.scores = torch.stack([scores[of].nanmean() for of in readers])
        signals.draws, signals.drawn_by = sampler.draws_since(places), sampler.rates.mean(step, now.step)
        rates = asked(sampler.rule, now.step, signals)
        sampler.rates.announce(now.step, torch.tensor(of_first_rank(rates.tolist()), dtype=torch.float64))
        self._window, self._asked = [], (now.step, now.places)


def _made_of(trainer: L.Trainer) -> dict[str, Any] | None:
    sampler = getattr(trainer.train_dataloader, "sampler", None)
    return sampler.made_of if isinstance(sampler, MultiTaskSampler) else None


def _total(losses: Tensor) -> Tensor:
    """Add up what is known; NaN where nothing is."""
    return losses.nansum() if bool((~losses.isnan()).any()) else losses.new_tensor(torch.nan)
