"""Parameters held as far as they mattered to earlier phases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from torch import Tensor

from .._checks import require, require_number
from ..samplers import Phases
from ..task import MultiTask
from ._anchored import Anchored
from ._fisher import fisher
from ._kept_rows import kept_rows, read_rows, refuse_unreadable
from ._phase_schedule import PhaseSchedule


class ElasticWeightConsolidation(Anchored):
    """Hold parameters, each as firmly as it mattered to earlier phases (Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017, equation 3).

    When a phase ends, strength / 2 * sum F * (theta - theta')^2 is added to what is minimised from then on: theta' are the
    parameters at the end of the phase, and F is the diagonal of the Fisher information of the phase's sources. It is the empirical
    one: of the rows' own labels, not of labels that the model draws. F is the mean, over up to `rows` training rows of a source, of
    the squared gradient of a row's loss, which is that of all tasks that read the source, times `Task.weight`, as in training. The
    F of several sources of a phase are added up. The rows are run one by one, in evaluation mode and full precision, and nothing
    else is changed by it. The terms of all phases together take two tensors beside each parameter.

    Parameters that no ended phase has trained have F = 0: heads of tasks to come are free. The penalty is no part of the losses that
    are logged and balanced. Its gradient, strength * F * (theta - theta'), is added once in each step of the optimizer, before
    gradients are clipped, to parameters that have a gradient in it.

    Where strength * F is above 1 / rate, the rate being the optimizer's at that step, the gradient counts as if it were 1 / rate: a
    step of plain gradient descent then ends at theta', and no further. Without that limit, descent with a large strength diverges (at
    2 / rate), as is known of the published method; up to it, the penalty is the paper's. So a strength that is too large holds the
    parameters that matter fixed, but never breaks a run.

    Args:
        strength: How firmly parameters are held: the paper's lambda. It depends on the scale of the losses; try powers of ten.
        rows: Training rows of each source from which F is estimated, over all processes.

    Raises:
        ValueError: A number out of its range; no `MultiTaskDataModule` with `Phases`, or phases that are repeated, whose terms would
            accumulate; a source whose rows cannot be read by number; a `MetaLearningModule`, whose losses are not of single rows;
            sharded parameters; or gradients that the optimizer itself unscales.

    Example:
        >>> from lightning_mtl.callbacks import ElasticWeightConsolidation
        >>> from lightning_mtl.samplers import Phase, Phases
        >>> one_by_one = Phases([Phase(["old"], epochs=5.0), Phase(["new"])], repeat=False)  # MultiTaskDataModule(..., sampling=one_by_one)
        >>> held = ElasticWeightConsolidation(strength=100.0)  # L.Trainer(callbacks=[held])
    """

    def __init__(self, strength: float, rows: int = 200) -> None:
        super().__init__(strength)
        require_number("rows", rows, "200 are usually enough.", at_least=1, whole=True)
        self.rows = rows

    def hold(self, trainer: L.Trainer, module: MultiTask, ended: int) -> None:
        """Add the term of a phase: to the sum of all F, and to that of F * theta'."""
        assert self._schedule is not None
        named = {name: p for p, name in self._names.items()}
        for source in self._schedule.sources(ended):
            for name, of in fisher(module, self._single_rows(trainer, source), named).items():
                if not of.any():
                    continue
                total, pulled = self.held.get(name, [torch.zeros_like(of), torch.zeros_like(of)])
                self.held[name] = [total + of, pulled + of * named[name].detach()]

    def away(self, now: list[Tensor], held: list[list[Tensor]], rate: float) -> list[Tensor]:
        """Return F * (theta - theta') of all phases, limited where a step would go beyond theta'."""
        total = [of for of, _ in held]
        away = torch._foreach_mul(total, now)
        torch._foreach_sub_(away, [of for _, of in held])
        steps = torch._foreach_mul(total, self.strength * rate)
        torch._foreach_clamp_min_(steps, 1.0)
        torch._foreach_div_(away, steps)
        return list(away)

    def _single_rows(self, trainer: L.Trainer, source: str) -> Iterator[Any]:
        """Read this rank's part of the rows of a source from which F is estimated, one by one."""
        assert self._schedule is not None
        sampler = self._schedule.sampler
        numbers = kept_rows(sampler, source, self.rows, "rows of the Fisher information")
        for number in numbers[sampler.rank :: sampler.num_replicas]:
            yield read_rows(trainer, {source: [number]})

    def _check(self, trainer: L.Trainer, module: MultiTask, schedule: PhaseSchedule) -> None:
        who, rule = type(self).__name__, schedule.sampler.rule
        assert isinstance(rule, Phases)
        once = "Train each phase once, or use WeightAnchor, which holds what the last phase left."
        require(not rule.repeat, "repeat", f"False in the `Phases` of {who}, which adds a term for each", True, once)
        if module.carries_gradients:
            raise ValueError(
                f"{who} must have a module whose losses are of single rows, got {type(module).__name__}. Use `MultiTaskModule`, or "
                "WeightAnchor, which asks for no rows."
            )
        refuse_unreadable(schedule.sampler, [name for phase in schedule.phases() for name in phase.passed], who)
