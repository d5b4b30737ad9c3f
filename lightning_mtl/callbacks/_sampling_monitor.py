"""The planned draws of each source, and the actual ones."""

from __future__ import annotations

import math
from typing import Any

import lightning as L

from .._plain import escaped
from .._table import table
from ..samplers import MultiTaskSampler
from ..task import is_multi_task
from ._run_sampler import sampler_of


class SamplingMonitor(L.Callback):
    """Print the sampling plan before training and the draws after it, and log them during training; where there are several sources.

    Nothing is printed where each step holds a batch of every source. Logged for each task are `train/<task>/rate`, the share of
    its source in the next step (of the steps, or of the rows where batches are stratified or mixed; 1 where the step holds a
    batch of every source that is not left out); `train/<task>/draws`, the rows of its source that were drawn since training began; and
    `train/<task>/epochs`, the passes over it. `MultiTaskDataModule` adds this callback by itself.
    """

    def __init__(self) -> None:
        self._sampler: MultiTaskSampler | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Print the plan."""
        sampler = sampler_of(trainer)
        self._sampler = sampler if sampler is not None and len(sampler.names) > 1 else None
        if self._sampler is not None and self._prints(trainer):
            print(plan(self._sampler))
        if self._sampler is not None and is_multi_task(pl_module):
            self._readers = {name: pl_module.routing.readers(name) for name in self._sampler.names}
            self._names = [task.name for task in pl_module.tasks]
            pl_module.train_log.extra_values.append(self.values)

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Release the sampler."""
        self._sampler = None

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Use the new loader, where the Trainer made one."""
        if self._sampler is not None:
            self._sampler = sampler_of(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the draws."""
        if self._sampler is not None and self._sampler.delivered.step and self._prints(trainer):
            print(draws(self._sampler))

    def values(self) -> dict[str, float]:
        """Return rate, draws and passes of each task's source."""
        assert self._sampler is not None
        rates = self._sampler.shown_rates()
        shown: dict[str, float] = {}
        for i, (source, readers) in enumerate(self._readers.items()):
            for task in (self._names[reader] for reader in readers):
                shown[f"train/{escaped(task)}/rate"] = rates[i]
                shown[f"train/{escaped(task)}/draws"] = float(self._sampler.drawn_rows(source))
                shown[f"train/{escaped(task)}/epochs"] = self._sampler.drawn_passes(source)
        return {name: value for name, value in shown.items() if not math.isnan(value)}

    def _prints(self, trainer: L.Trainer) -> bool:
        assert self._sampler is not None
        varies = self._sampler.batches != "all" or not self._sampler.rule.constant
        return varies and trainer.is_global_zero and getattr(getattr(trainer, "datamodule", None), "summary", True)


def plan(sampler: MultiTaskSampler) -> str:
    """Return a table of how the next epoch will be sampled."""
    rates = sampler.epoch_rates()
    rows = []
    for (name, drawn), stream, rate in zip(
        sampler.epoch_draws(rates).items(), sampler.streams.values(), rates, strict=True
    ):
        size, passes = ("-", "-") if stream.rows is None else (f"{stream.rows:,}", f"{drawn / stream.rows:.2f}")
        rows.append([name, size, f"{rate:.3f}", f"{drawn:,.0f}", passes])
    resumed = f", from step {sampler.delivered.step:,} on" if sampler.delivered.step else ""
    lines = [f"Sampling: batches={sampler.batches!r} by {sampler.rule}, {sampler.taken:,} steps an epoch{resumed}."]
    lines.append(table(("source", "rows", "rate", "draws/epoch", "passes/epoch"), rows))
    if sampler.rule.feedback:
        lines.append("Rates follow the run; these are the first ones.")
    elif not sampler.rule.constant:
        lines.append("Rates follow the step; these are averages of the next epoch.")
    if sampler.never:
        lines.append(f"No step draws {sampler.never}.")
    return "\n".join(lines)


def draws(sampler: MultiTaskSampler) -> str:
    """Return a table of what was drawn since training began."""
    counts = {name: sampler.drawn_rows(name) for name in sampler.names}
    total = max(sum(counts.values()), 1)
    rows = [
        [name, f"{count:,}", f"{count / total:.3f}", "-" if passes != passes else f"{passes:.2f}"]
        for name, count in counts.items()
        for passes in (sampler.drawn_passes(name),)
    ]
    header = ("source", "drawn", "share", "passes")
    return f"Drawn in {sampler.delivered.step:,} steps:\n{table(header, rows)}"
