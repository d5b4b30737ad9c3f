"""The result of adapting to episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ._problem import Parameters


@dataclass
class Outcome:
    """The result of adapting to some episodes.

    Args:
        losses: The query's losses after the last step, [episodes] each.
        answers: Predictions for the queries and their labels, with a leading axis over episodes.
        gradients: Gradients of the minimised loss by names of parameters, summed over the episodes.
        learned: The same for the parameters that the rule learns itself.
    """

    losses: list[Tensor] = field(default_factory=list)
    answers: list[dict[str, Tensor]] = field(default_factory=list)
    gradients: Parameters = field(default_factory=dict)
    learned: Parameters = field(default_factory=dict)

    def add(self, losses: Tensor, answers: dict[str, Tensor], gradients: Parameters, learned: Parameters) -> None:
        """Add the results of more episodes."""
        self.losses.append(losses.detach())
        self.answers.append({name: value.detach() for name, value in answers.items()})
        for held, more in ((self.gradients, gradients), (self.learned, learned)):
            if held:  # not in place: autograd may return the same tensor for two parameters, or an expanded one
                more = dict(zip(held, torch._foreach_add(list(held.values()), [more[of] for of in held]), strict=True))
            held.update(more)

    @property
    def rows_each(self) -> int:
        """Number of rows of each episode's query."""
        return self.answers[0]["target"].shape[1]

    @property
    def rows(self) -> int:
        """Number of rows of the queries of all episodes."""
        return self.rows_each * sum(len(of) for of in self.losses)

    def total(self) -> Tensor:
        """Return the sum of the queries' losses."""
        return whole(self.losses).sum()

    def joined(self) -> dict[str, Tensor]:
        """Return the predictions and labels of all episodes, with a leading axis over episodes."""
        return {name: whole([of[name] for of in self.answers]) for name in self.answers[0]}


def whole(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate tensors along their first axis; a single one is returned as it is."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
