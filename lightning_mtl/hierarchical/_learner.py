"""A task of a hierarchy as something that can be adapted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from ..modules import Learner


class LevelLearner(Learner):
    """A task of a hierarchy, with the levels below it and what is fed into them.

    Args:
        learner: The task by itself.
        hierarchy: Who sits where.
        forward: From inputs and words to the head's output.
    """

    def __init__(self, learner: Learner, hierarchy: nn.Module, forward: Callable[..., Tensor]) -> None:
        super().__init__(
            learner._task, learner.encoder, learner.heads[learner._task.name], learner._loss, learner.losses
        )
        self.hierarchy = hierarchy
        self._forward_pass = forward

    def answer(self, data: Mapping[str, Any]) -> Tensor:
        """Give the head's output."""
        prediction: Tensor = self._forward_pass(data["inputs"], data.get("words"))
        return prediction

    def read(self, data: Mapping[str, Any]) -> Tensor:
        """Give what the head's layers read: what passes into them."""
        head: Any = self.heads[self._task.name]
        seen: list[Tensor] = []
        handle = head.layers.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        try:
            self.answer(data)
        finally:
            handle.remove()
        return seen[0]
