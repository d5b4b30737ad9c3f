"""A task of a hierarchy, for adaptation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from ..modules import Learner


class LevelLearner(Learner):
    """A task of a hierarchy, with the levels below it and their feeds.

    Args:
        learner: The task by itself.
        hierarchy: The levels of the tasks.
        forward: Maps inputs and words to the head's output.
    """

    def __init__(self, learner: Learner, hierarchy: nn.Module, forward: Callable[..., Tensor]) -> None:
        super().__init__(
            learner._task, learner.encoder, learner.heads[learner._task.name], learner._loss, learner.losses
        )
        self.hierarchy = hierarchy
        self._forward_pass = forward

    def answer(self, data: Mapping[str, Any]) -> Tensor:
        """Return the head's output."""
        prediction: Tensor = self._forward_pass(data["inputs"], data.get("words"))
        return prediction

    def read(self, data: Mapping[str, Any]) -> Tensor:
        """Return the input of the head's layers."""
        head: Any = self.heads._modules[self._task.key]
        inputs: list[Tensor] = []
        handle = head.layers.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        try:
            self.answer(data)
        finally:
            handle.remove()
        return inputs[0]
