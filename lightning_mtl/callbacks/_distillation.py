"""Predictions for earlier tasks held to those of a copy of the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .._checks import require_number
from .._distributed import sum_dtype, sum_over_ranks, world_size
from ..inputs import WORDS
from ..task import MultiTask
from ._anchored import refuse_sharded
from ._distances import KINDS, distances
from ._phase_schedule import PhaseSchedule, ScheduledPhase
from ._phased import PhasedCallback
from ._same_inputs import refuse_other_inputs
from ._stateful import StatefulCallback


class Distillation(PhasedCallback, StatefulCallback):
    """Hold the network's predictions for earlier tasks, on the rows of this phase, to its earlier ones (Li and Hoiem, "Learning without forgetting", ECCV 2016, equation 1).

    When one of some `Phases` ends, encoder and heads are copied. In later phases the tasks of earlier ones, whose rows are no longer
    drawn, predict the rows that are drawn: strength * the distance between the predictions of the network and of the copy is added
    to the loss of each step. For classes that is the Kullback-Leibler divergence of probabilities softened by `temperature`, times
    its square; for numbers the squared error, in the scale of the head's output. It is the mean over the rows (or words) of all
    processes, times `Task.weight`, added up over the tasks. No rows of earlier phases are needed, but earlier tasks must be able
    to read the inputs of a later phase.

    It costs a forward pass of the copy without gradients, and a second forward and backward pass of the network. Checkpoints hold
    the copy. The penalty is no part of the losses that are logged and balanced.

    Args:
        strength: Factor of the distance; the paper's is 1.
        temperature: Softens probabilities; the paper's is 2.

    Raises:
        ValueError: A number out of its range; no `MultiTaskDataModule` with `Phases`; sources whose inputs are not those of earlier ones; a head
            of a kind that the library does not know; a `MetaLearningModule`; a gradient balancer of the scope "parameters", which makes
            gradients without the loss that the penalty is added to; or sharded parameters.

    Example:
        >>> from lightning_mtl.callbacks import Distillation
        >>> from lightning_mtl.samplers import Phase, Phases
        >>> one_by_one = Phases([Phase(["old"], epochs=5.0), Phase(["new"])], repeat=False)  # MultiTaskDataModule(..., sampling=one_by_one)
        >>> held = Distillation(strength=1.0)  # L.Trainer(callbacks=[held])

    Unlike in the paper, the new head is not trained alone first, and the divergence replaces the cross-entropy, from which it differs
    by a constant.
    """

    def __init__(self, strength: float, temperature: float = 2.0) -> None:
        super().__init__()
        require_number("strength", strength, "0 holds nothing.", at_least=0)
        require_number("temperature", temperature, "The paper's is 2.", above=0)
        self.strength, self.temperature = strength, temperature
        self.teacher: Any = None
        """The copy that the network is held to; None in the first phase."""
        self._earlier_tasks: list[int] = []
        self._names: list[str] = []
        self._last_phase: int | None = None
        self._phase: ScheduledPhase | None = None
        self._module: Any = None

    # Hooks of Lightning

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Check that the run has phases, and whole parameters on each rank."""
        if stage == "fit":
            refuse_sharded(trainer, "Distillation")
            self._module = pl_module
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Restore the copy of a run that is resumed, and register the penalty."""
        if pl_module.scope == "parameters":
            raise ValueError(
                "`scope` must be 'representation' where Distillation adds to the loss, got 'parameters', which makes gradients without it. Use "
                "scope='representation', or a loss balancer."
            )
        if self.starts_new_run(trainer):
            self.teacher, self._last_phase, self._earlier_tasks = None, None, []
        pl_module.penalties.append(self.penalty)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Copy the network if a phase has ended."""
        self._phase = phase = self.current_phase(trainer)
        if phase is None:
            return
        ended, self._last_phase = self._last_phase, phase.number
        if ended not in (None, phase.number):
            self._copy_model(pl_module, sorted(_readers(pl_module, phase.earlier)))

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Release the model."""
        super().teardown(trainer, pl_module, stage)
        self._module = None

    def state_dict(self) -> dict[str, Any]:
        """Return the copy."""
        names = [] if self.teacher is None else list(self._names)
        return {"within": self._last_phase, "tasks": names, "teacher": self.teacher.state_dict() if names else {}}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Restore the copy.

        Args:
            state: What `state_dict` returned.
        """
        self._last_phase, names = state["within"], [task.name for task in self._module.tasks]
        self._copy_model(self._module, [names.index(name) for name in state["tasks"]])
        if self.teacher is not None:
            self.teacher.load_state_dict(state["teacher"])

    # The penalty

    def penalty(self, batch: Mapping[str, Any]) -> Tensor | None:
        """Return the weighted distance between network and copy, on what this phase draws; all ranks must call it together.

        Args:
            batch: {source: {column: tensor}}.
        """
        if self.teacher is None or self._phase is None or not self.strength or not self._earlier_tasks:
            return None
        device = self._module.device
        sums: dict[int, Tensor] = {}
        counts = torch.zeros(len(self._earlier_tasks), dtype=sum_dtype(device), device=device)
        for source in self._phase.sources:
            for k, (total, count) in enumerate(self._distances(source, batch[source])) if source in batch else ():
                sums[k] = sums[k] + total if k in sums else total
                counts[k] += count
        shares = world_size() / sum_over_ranks(counts)
        tasks = [self._module.tasks[i] for i in self._earlier_tasks]
        parts = [tasks[k].weight * total * shares[k].to(total.dtype) for k, total in sums.items()]
        return self.strength * torch.stack(parts).sum() if parts else None

    def _distances(self, source: str, columns: Mapping[str, Any]) -> Iterator[tuple[Tensor, Tensor | int]]:
        """Return for each earlier task the sum of distances, and the number of rows or words that they are of."""
        module, words = self._module, columns.get(WORDS)
        inputs = module.routing.inputs(source, columns)
        with torch.no_grad():
            old = self.teacher.outputs(inputs, words)
        with _fixed_statistics(module):
            answers = module.head_outputs(inputs, self._earlier_tasks, words)
        for name, i, new in zip(self._names, self._earlier_tasks, answers, strict=True):
            head = module.tasks[i].known_head()
            each = distances(head.kind, new, old[name], self.temperature)
            if head.per_position and words is not None:
                present = words >= 0  # the rest is padding
                yield each.where(present, 0.0).sum(), present.sum()
            else:
                yield each.sum(), each.numel()

    # The copy

    def _copy_model(self, module: Any, tasks: Sequence[int]) -> None:
        self._earlier_tasks = list(tasks)
        self._names = [module.tasks[i].name for i in tasks]
        self.teacher = module.exported(self._earlier_tasks).requires_grad_(False) if tasks else None

    def _check(self, trainer: L.Trainer, module: MultiTask, schedule: PhaseSchedule) -> None:
        if module.carries_gradients:
            raise ValueError(
                f"Distillation must have a module that predicts without being adapted, got {type(module).__name__}. Use `MultiTaskModule`."
            )
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        for phase in schedule.phases():
            for i in _readers(module, phase.earlier):
                _refuse_kind(module.tasks[i])
            for now in phase.sources:
                for before in phase.earlier:
                    refuse_other_inputs(data, module, before, now)


def _readers(module: MultiTask, sources: Sequence[str]) -> set[int]:
    """Return the numbers of the tasks that read these sources."""
    return {i for source in sources for i in module.routing.reads(source)}


def _refuse_kind(task: Any) -> None:
    head = task.known_head()
    if head.kind not in KINDS:
        raise ValueError(
            f"The head of task {task.name!r} must be of a kind out of {list(KINDS)} for Distillation, got {head.kind!r}. Name the one that is most "
            "like it in its `kind`, or use Replay."
        )


@contextmanager
def _fixed_statistics(module: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch norms, which have seen these rows already; norms in training normalise as before."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    for norm in norms:
        norm.track_running_stats = not norm.training
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
