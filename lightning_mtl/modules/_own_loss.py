"""The result of a loss of the user's own."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor


def checked_loss(task: str, loss: Any, prediction: Tensor, target: Tensor) -> Tensor:
    """Return the loss of a task if it is a mean, or one value for each example, that trains the network.

    Only what is known without the numbers themselves is looked at, so that no step waits for the device.

    Args:
        task: Name of the task.
        loss: What the user's function returned.
        prediction: The output of the head that it was given.
        target: The labels that it was given.

    Raises:
        ValueError: It is something else.
    """
    if not isinstance(loss, Tensor):
        _refuse(task, f"a tensor, got {type(loss).__name__}", "Compute it with torch, and return it without `.item()`.")
    if not loss.is_floating_point():
        _refuse(
            task,
            f"real numbers, got {str(loss.dtype).removeprefix('torch.')}",
            "Return the mean of the losses as a float.",
        )
    if loss.ndim and loss.shape[0] != len(target):
        if loss.numel() != 1:
            _refuse(
                task,
                f"a mean, or one value for each of the {len(target)} examples, got shape {list(loss.shape)}",
                "Return loss.mean(), or all values (reduction='none').",
            )
        loss = loss.reshape(())
    if torch.is_grad_enabled() and prediction.requires_grad and not loss.requires_grad:
        _refuse(
            task,
            "a function of the prediction that has a gradient, got one without",
            "Leave out `.detach()`, `torch.no_grad()`, `argmax` and comparisons.",
        )
    made: Tensor = loss
    return made


def _refuse(task: str, rule: str, remedy: str) -> NoReturn:
    raise ValueError(f"`loss` of task {task!r} must return {rule}. {remedy}")
