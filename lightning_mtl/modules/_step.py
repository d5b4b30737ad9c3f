"""What one batch gave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(slots=True)
class Step:
    """What one batch gave: for each task that has labels in it, its loss, and what it predicted for which labels.

    Beside predictions and labels of words stands the number of the row that each word belongs to.
    """

    tasks: list[int] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    answers: list[tuple[Tensor, Tensor, Tensor | None]] = field(default_factory=list)
    passes: list[int] = field(default_factory=list)
    """For each loss the pass through the encoder that it comes from; without it all losses may hang together."""
    features: Tensor | None = None
    """What the encoder gave, for a batch without labels to hang on."""
    idle: dict[int, Tensor] = field(default_factory=dict)
    """Zeros that hang on heads which were run for no label's sake (see `TaskModule.sharded`)."""

    def in_order(self) -> Step:
        """Bring the tasks into the order of their numbers."""
        if self.tasks == sorted(self.tasks):
            return self
        order = sorted(range(len(self.tasks)), key=self.tasks.__getitem__)
        columns: Any = (self.tasks, self.losses, self.answers, self.passes)
        tasks, losses, answers, passes = ([of[i] for i in order] if of else [] for of in columns)
        return Step(tasks, losses, answers, passes, self.features, self.idle)

    def kept(self) -> list[bool]:
        """Say of each loss whether the graph it hangs on is needed by a later one."""
        last = len(self.losses) - 1
        if not self.passes:
            return [i < last for i in range(last + 1)]
        return [number in self.passes[i + 1 :] for i, number in enumerate(self.passes)]
