"""Predictions for earlier tasks are held to those of a copy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .._checks import require
from .._distributed import sum_dtype, sum_over_ranks, world_size
from ..inputs import WORDS
from ._anchored import refuse_cut
from ._distances import KINDS, distances
from ._phased import Phased, Turn, Turns
from ._same_inputs import refuse_other_inputs
from ._stateful import Remembering


class Distillation(Phased, Remembering):
    """Hold what the network predicts for earlier tasks, on the rows of this phase, to what it predicted before (Li and Hoiem, "Learning without forgetting", ECCV 2016, equation 1).

    When one of some `Phases` ends, encoder and heads are copied. In later phases the tasks of earlier ones, whose rows are not there
    any more, are asked about the rows that are: strength * the distance between the answers of the network and of the copy is added
    to the loss of each step. For classes that is the Kullback-Leibler divergence of probabilities softened by `temperature`, times
    its square; for numbers the squared error, in the scale of the head's output. It is the mean over the rows (or words) of all
    processes, times `Task.weight`, added up over the tasks. No rows of earlier phases are needed, but the inputs of a later phase
    must be such that earlier tasks can read them.

    It costs a pass of the copy without gradients, and a second pass of the network with them. Checkpoints hold the copy. The penalty
    is no part of the losses that are shown and balanced.

    Args:
        strength: What the distance is multiplied with; the paper's is 1.
        temperature: Softens probabilities; the paper's is 2.

    Raises:
        ValueError: A number out of its range; no `MultiTaskDataModule` with `Phases`; sources whose inputs are not those of earlier ones; a head
            of a kind that the library does not know; a `MetaLearningModule`; a gradient balancer of the scope "parameters", which makes
            gradients without the loss that the penalty is added to; or parameters that are cut over the ranks.

    Example:
        >>> from lightning_mtl.callbacks import Distillation
        >>> from lightning_mtl.samplers import Phase, Phases
        >>> one_by_one = Phases([Phase(["old"], epochs=5.0), Phase(["new"])], repeat=False)  # MultiTaskDataModule(..., sampling=one_by_one)
        >>> held = Distillation(strength=1.0)  # L.Trainer(callbacks=[held])

    Unlike in the paper, the new head is not trained alone first, and the divergence stands for the cross-entropy, from which it differs
    by a constant.
    """

    def __init__(self, strength: float, temperature: float = 2.0) -> None:
        super().__init__()
        require(0 <= strength < math.inf, "strength", "finite and at least 0", strength, "0 holds nothing.")
        require(0 < temperature < math.inf, "temperature", "finite and above 0", temperature, "The paper's is 2.")
        self.strength, self.temperature = strength, temperature
        self.teacher: Any = None
        """The copy that the network is held to; None in the first phase."""
        self._old: list[int] = []
        self._names: list[str] = []
        self._within: int | None = None
        self._turn: Turn | None = None
        self._module: Any = None

    # Hooks of Lightning

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Refuse a run in which nothing can be held."""
        if stage == "fit":
            refuse_cut(trainer, "Distillation")
            self._module = pl_module
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Take back the copy of a run that is resumed, and add to the losses."""
        if pl_module.scope == "parameters":
            raise ValueError(
                "`scope` must be 'representation' where Distillation adds to the loss, got 'parameters', which makes gradients without it. Use "
                "scope='representation', or a loss balancer."
            )
        if self.begins_anew(trainer):
            self.teacher, self._within, self._old = None, None, []
        pl_module.penalties.append(self.penalty)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Copy the network, if a phase has ended."""
        self._turn = turn = self.turn(trainer)
        if turn is None:
            return
        ended, self._within = self._within, turn.number
        if ended not in (None, turn.number):
            self._copy(pl_module, sorted(_readers(pl_module, turn.earlier)))

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Let go of the model."""
        super().teardown(trainer, pl_module, stage)
        self._module = None

    def state_dict(self) -> dict[str, Any]:
        """Give the copy."""
        names = [] if self.teacher is None else list(self._names)
        return {"within": self._within, "tasks": names, "teacher": self.teacher.state_dict() if names else {}}

    def take_back(self, state: dict[str, Any]) -> None:
        """Take back the copy.

        Args:
            state: What `state_dict` gave.
        """
        self._within, names = state["within"], [task.name for task in self._module.tasks]
        self._copy(self._module, [names.index(name) for name in state["tasks"]])
        if self.teacher is not None:
            self.teacher.load_state_dict(state["teacher"])

    # What is added to the loss

    def penalty(self, batch: Mapping[str, Any]) -> Tensor | None:
        """Measure how far the network is from the copy, on what this phase draws; all ranks must call it together.

        Args:
            batch: {source: {column: tensor}}.
        """
        if self.teacher is None or self._turn is None or not self.strength or not self._old:
            return None
        device = self._module.device
        sums: dict[int, Tensor] = {}
        counts = torch.zeros(len(self._old), dtype=sum_dtype(device), device=device)
        for source in self._turn.sources:
            for k, (far, count) in enumerate(self._apart(source, batch[source])) if source in batch else ():
                sums[k] = sums[k] + far if k in sums else far
                counts[k] += count
        shares = world_size() / sum_over_ranks(counts)
        tasks = [self._module.tasks[i] for i in self._old]
        parts = [tasks[k].weight * far * shares[k].to(far.dtype) for k, far in sums.items()]
        return self.strength * torch.stack(parts).sum() if parts else None

    def _apart(self, source: str, columns: Mapping[str, Any]) -> Iterator[tuple[Tensor, Tensor | int]]:
        """Give for each earlier task the sum of distances, and of how many rows or words."""
        module, words = self._module, columns.get(WORDS)
        inputs = module.routing.inputs(source, columns)
        with torch.no_grad():
            told = self.teacher.outputs(inputs, words)
        with _statistics_kept(module):
            said = module._answer(inputs, self._old, words)
        for name, i, new in zip(self._names, self._old, said, strict=True):
            head = module.tasks[i].known_head()
            each = distances(head.kind, new, told[name], self.temperature)
            if head.per_position and words is not None:
                there = words >= 0
                yield each.where(there, 0.0).sum(), there.sum()
            else:
                yield each.sum(), each.numel()

    # The copy

    def _copy(self, module: Any, tasks: Sequence[int]) -> None:
        self._old = list(tasks)
        self._names = [module.tasks[i].name for i in tasks]
        self.teacher = module._exported(self._old).requires_grad_(False) if tasks else None

    def _look(self, trainer: L.Trainer, module: Any, turns: Turns) -> None:
        if module.carries_gradients:
            raise ValueError(
                f"Distillation must have a module that answers without being adapted, got {type(module).__name__}. Use `MultiTaskModule`."
            )
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        for turn in turns.every():
            for i in _readers(module, turn.earlier):
                _refuse_kind(module.tasks[i])
            for now in turn.sources:
                for before in turn.earlier:
                    refuse_other_inputs(data, module, before, now)


def _readers(module: Any, sources: Sequence[str]) -> set[int]:
    return {i for source in sources for i in module.routing.reads(source)}


def _refuse_kind(task: Any) -> None:
    head = task.known_head()
    if head.kind not in KINDS:
        raise ValueError(
            f"The head of task {task.name!r} must be of a kind out of {list(KINDS)} for Distillation, got {head.kind!r}. Name the one that is most "
            "like it in its `kind`, or use Replay."
        )


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Let batch norms normalise as ever, but not count the same rows into their running statistics twice."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    for norm in norms:
        norm.track_running_stats = not norm.training
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
