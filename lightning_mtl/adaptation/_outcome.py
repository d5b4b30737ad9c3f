"""What adapting to episodes gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ._problem import Parameters


@dataclass
class Outcome:
    """What adapting to some episodes gave.

    Args:
        losses: The query's losses after the last step, [episodes] each.
        answers: What was predicted for the queries, beside the labels, with a leading axis over episodes.
        gradients: The sum over the episodes of the gradients of what is minimised, by names.
        learned: The same of what the rule learns itself.
    """

    losses: list[Tensor] = field(default_factory=list)
    answers: list[dict[str, Tensor]] = field(default_factory=list)
    gradients: Parameters = field(default_factory=dict)
    learned: Parameters = field(default_factory=dict)

    def add(self, losses: Tensor, answers: dict[str, Tensor], gradients: Parameters, learned: Parameters) -> None:
        """Add what some more episodes gave."""
        self.losses.append(losses.detach())
        self.answers.append({name: value.detach() for name, value in answers.items()})
        for held, more in ((self.gradients, gradients), (self.learned, learned)):
            if held:  # not in place: autograd may give two parameters one tensor, or one number for all of a tensor
                more = dict(zip(held, torch._foreach_add(list(held.values()), [more[of] for of in held]), strict=True))
            held.update(more)

    @property
    def rows_each(self) -> int:
        """Rows of each episode's query."""
        return self.answers[0]["target"].shape[1]

    @property
    def rows(self) -> int:
        """Rows of the queries of all episodes."""
        return self.rows_each * sum(len(of) for of in self.losses)

    def total(self) -> Tensor:
        """Give the sum of the queries' losses."""
        return whole(self.losses).sum()

    def joined(self) -> dict[str, Tensor]:
        """Give the answers of all episodes, with a leading axis over them."""
        return {name: whole([of[name] for of in self.answers]) for name in self.answers[0]}


def whole(parts: Sequence[Tensor]) -> Tensor:
    """Put tensors together along their first axis, and leave one alone as it is."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
