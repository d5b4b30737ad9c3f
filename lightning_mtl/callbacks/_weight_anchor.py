"""All weights held where the last phase left them."""

from __future__ import annotations

from collections.abc import Iterator

import lightning as L
import torch
from torch import Tensor, nn

from ..task import MultiTask
from ._anchored import Anchored


class WeightAnchor(Anchored):
    """Hold all weights alike where the last phase left them (L2-SP: Li, Grandvalet and Davoine, "Explicit inductive bias for transfer learning with convolutional networks", ICML 2018, equation 2).

    From the second of some `Phases` on, strength / 2 * |theta - theta'|^2 is added to what is minimised, theta' being the
    weights when the phase before ended: those that tasks share, and the heads and losses of tasks that were trained in earlier
    phases. A new task has no anchor. It is `ElasticWeightConsolidation` with a Fisher information of 1, anchored at the last
    switch alone: simpler, without rows to be read again, but all weights count alike, whether they matter or not.

    The penalty is no part of the losses that are logged and balanced. Its gradient, strength * (theta - theta'), is added once in each
    step of the optimizer, before gradients are clipped, to parameters that have a gradient in it. A strength above 1 / rate, the rate
    being the optimizer's at that step, counts as 1 / rate: a step of plain gradient descent then ends at theta', and no further.

    Args:
        strength: How firmly weights are held: alpha in the paper.

    Raises:
        ValueError: A strength below 0; no `MultiTaskDataModule` with `Phases`; sharded parameters; or gradients that the optimizer
            itself unscales.

    Example:
        >>> from lightning_mtl.callbacks import WeightAnchor
        >>> from lightning_mtl.samplers import Phase, Phases
        >>> one_by_one = Phases([Phase(["old"], epochs=5.0), Phase(["new"])], repeat=False)  # MultiTaskDataModule(..., sampling=one_by_one)
        >>> held = WeightAnchor(strength=0.01)  # L.Trainer(callbacks=[held])
    """

    def __init__(self, strength: float) -> None:
        super().__init__(strength)

    def hold(self, trainer: L.Trainer, module: MultiTask, ended: int) -> None:
        """Set the anchors of what tasks share, and of the tasks of phases that have ended."""
        phase = self.current_phase(trainer)
        passed = () if phase is None else phase.passed
        trained = {i for source in passed for i in module.routing.reads(source)}
        kept = dict.fromkeys(p for part in _parts(module, trained) for p in part.parameters() if p in self._names)
        self.held = {self._names[p]: [p.detach().clone()] for p in kept}

    def away(self, now: list[Tensor], held: list[list[Tensor]], rate: float) -> list[Tensor]:
        """Return theta - theta', limited where a step would go beyond theta'."""
        away = torch._foreach_sub(now, [of for (of,) in held])
        if self.strength * rate > 1:
            torch._foreach_div_(away, self.strength * rate)
        return list(away)


def _parts(module: MultiTask, tasks: set[int]) -> Iterator[nn.Module]:
    """Return what tasks share, and what belongs to these tasks alone."""
    yield module.shared()
    hierarchy = getattr(module, "hierarchy", None)
    own = [module.heads, module.losses, *([] if hierarchy is None else [hierarchy.mixes])]
    for name in (module.tasks[i].name for i in tasks):
        yield from (of[name] for of in own if name in of)
