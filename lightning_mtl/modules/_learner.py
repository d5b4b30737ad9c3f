"""A task of a module, for adaptation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..heads import ByName, through
from ..inputs import WORDS
from ..task import Task

Columns = Mapping[str, Any]
Inputs = Callable[[Columns], dict[str, Any]]
"""Picks the columns that the encoder reads."""


class Learner(nn.Module):
    """Encoder, head and loss of one task, in one call. Its parameters have the names that they have in the module.

    Args:
        task: The task.
        encoder: The shared part.
        head: The task's head.
        loss: Maps predictions and targets to one number, or one for each row.
        losses: Modules with parameters that the loss has.
    """

    def __init__(
        self,
        task: Task,
        encoder: nn.Module,
        head: nn.Module,
        loss: Callable[..., Tensor],
        losses: Mapping[str, nn.Module] | nn.ModuleDict,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = ByName({task.name: head})
        self.losses = ByName(dict(losses.items()))
        self._task = task
        self._loss = loss

    def forward(self, data: Mapping[str, Any], read: bool = False) -> Any:
        """Return the loss, with predictions and labels; or the input of the head's layers.

        Args:
            data: "inputs", the columns that the encoder reads; "target"; "rows" where not all are labelled, and "words".
            read: Whether to return the input of the head's layers.
        """
        if read:
            return self.read(data)
        prediction = self.answer(data)
        prediction, target, sequence = labelled(self._task, prediction, data["target"], data.get("rows"))
        loss = self._loss(prediction, target)
        answer = {"prediction": prediction, "target": target}
        return loss.mean() if loss.ndim else loss, answer if sequence is None else {**answer, "sequence": sequence}

    def answer(self, data: Mapping[str, Any]) -> Tensor:
        """Return the head's output."""
        name = self._task.name
        features = self.encoder(data["inputs"], [name])[name]
        head: Any = self.heads._modules[self._task.key]
        return through(head, features, data.get("words"))

    def read(self, data: Mapping[str, Any]) -> Tensor:
        """Return the input of the head's layers."""
        name = self._task.name
        features = self.encoder(data["inputs"], [name])[name]
        values, mask = features if isinstance(features, tuple) else (features, None)
        head: Any = self.heads._modules[self._task.key]
        vectors: Tensor = head.read(values, mask)
        return vectors if head.drop is None else head.drop(vectors)


def labelled(
    task: Task, prediction: Tensor, target: Tensor, rows: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return predictions and targets that have a label: of rows, or of words with the row that each belongs to."""
    if task.head is None or not task.head.per_position:
        if prediction.shape[:1] != target.shape[:1]:
            raise ValueError(
                f"Task {task.name!r} must have a prediction for each row, got {len(prediction)} for {len(target)} labels. A `transform`, "
                "a `collate` or the encoder leaves rows out, or adds some."
            )
        return (prediction, target, None) if rows is None else (prediction[rows], target[rows], None)
    if prediction.shape[:2] != target.shape:
        raise ValueError(
            f"Task {task.name!r} must have a label for each position, got {list(target.shape)} labels for "
            f"{list(prediction.shape[:2])} positions. Name the source's `words`, or pad the labels with -100 as the encoder pads."
        )
    length = target.shape[1]
    if rows is None:
        rows = torch.arange(target.numel(), device=target.device)
    return prediction.flatten(0, 1)[rows], target.flatten()[rows], rows // length


def data_of(task: Task, columns: Columns, inputs: Inputs) -> dict[str, Any]:
    """Return what a learner reads of some rows: the encoder's columns, the labels, and where words start.

    Args:
        task: The task.
        columns: The rows.
        inputs: Picks what the encoder reads.
    """
    words = {"words": columns[WORDS]} if WORDS in columns else {}
    return {"inputs": inputs(columns), "target": task.labels_in(columns), **words}
