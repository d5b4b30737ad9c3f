"""A task of a module as something that can be adapted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from .heads import through
from .module import labelled
from .task import Task


class Learner(nn.Module):
    """Encoder, head and loss of one task, in one call. Its parameters have the names that they have in the module.

    Args:
        task: The task.
        encoder: What tasks share.
        head: The task's head.
        loss: From predictions and targets to one number, or one for each row.
        losses: Modules with parameters that the loss has.
    """

    def __init__(
        self,
        task: Task,
        encoder: nn.Module,
        head: nn.Module,
        loss: Callable[..., Tensor],
        losses: Mapping[str, nn.Module],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict({task.name: head})
        self.losses = nn.ModuleDict(losses)
        self._task = task
        self._loss = loss

    def forward(self, data: Mapping[str, Any], read: bool = False) -> Any:
        """Give the loss, and predictions beside labels; or what the head's layers read.

        Args:
            data: "inputs", the columns that the encoder reads; "target"; "rows" where not all are labelled, and "words".
            read: Whether it is only read.
        """
        name = self._task.name
        features = self.encoder(data["inputs"], [name])[name]
        head: Any = self.heads[name]
        if read:
            values, mask = features if isinstance(features, tuple) else (features, None)
            values = head.read(values, mask)
            return values if head.drop is None else head.drop(values)
        prediction = through(head, features, data.get("words"))
        prediction, target, sequence = labelled(self._task, prediction, data["target"], data.get("rows"))
        loss = self._loss(prediction, target)
        answer = {"prediction": prediction, "target": target}
        return loss.mean() if loss.ndim else loss, answer if sequence is None else {**answer, "sequence": sequence}
