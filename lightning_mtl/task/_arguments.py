"""What a task checks of its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._checks import require_number
from ..heads import Head


def refuse_name(name: str) -> None:
    """Reject what is no name.

    Raises:
        TypeError: It is no text.
        ValueError: It is empty.
    """
    if not isinstance(name, str):
        raise TypeError(
            f"`name` of a task must be a text, got {name!r}. Write Task({str(name)!r}), and name the column so."
        )
    if not name:
        raise ValueError(
            "`name` of a task must not be empty. Give it one, and the column beside it: Task('price', target='')."
        )


def refuse_head(task: str, head: Any) -> None:
    """Reject a head that is no `Head`.

    Raises:
        TypeError: It is none.
    """
    if head is not None and not isinstance(head, Head):
        raise TypeError(
            f"`head` of task {task!r} must be a Head, got {type(head).__name__}. Give your own layers to "
            "one, e.g. Multiclass(4, layers=...), or subclass Head."
        )


def refuse_loss(task: str, loss: Any) -> None:
    """Reject a loss that cannot be called.

    Raises:
        TypeError: It cannot.
    """
    if loss is not None and not callable(loss):
        raise TypeError(
            f"`loss` of task {task!r} must be a function of prediction and target, got {type(loss).__name__}. Give for example "
            "torch.nn.functional.huber_loss."
        )
    if isinstance(loss, type):
        raise TypeError(
            f"`loss` of task {task!r} must be a function, got the class {loss.__name__}. Make one: {loss.__name__}()."
        )


def refuse_weight(task: str, weight: float) -> None:
    """Reject a weight that is not a positive number.

    Raises:
        ValueError: It is none.
    """
    require_number("weight", weight, "Leave the task out to train without it.", above=0, of=f"task {task!r}")


def refuse_score(task: str, score: Any) -> None:
    """Reject what is neither the name of a metric nor a function.

    Raises:
        TypeError: It is neither.
    """
    if score is not None and not isinstance(score, str) and not callable(score):
        raise TypeError(
            f"`score` of task {task!r} must be the name of one of its metrics or a function of the first one's value, got {score!r}. "
            "E.g. score='f1', or score=lambda error: 1 - error / 10."
        )


def refuse_regularization(
    task: str, *, dropout: float, weight_decay: float | None, label_smoothing: float, head: bool, loss: bool
) -> None:
    """Reject a dropout, weight decay or label smoothing that is out of its range, or not the task's to choose.

    Args:
        task: Name of the task.
        dropout: Its dropout.
        weight_decay: Its weight decay.
        label_smoothing: Its label smoothing.
        head: Whether a head was given, which has a dropout and a label smoothing of its own.
        loss: Whether a loss was given.

    Raises:
        ValueError: One of them is.
    """
    of = f"task {task!r}"
    require_number("dropout", dropout, "0 turns it off.", at_least=0, below=1, of=of)
    require_number("weight_decay", weight_decay, "0 turns it off.", at_least=0, optional=True, of=of)
    require_number("label_smoothing", label_smoothing, "0 turns it off.", at_least=0, below=1, of=of)
    if dropout and head:
        raise ValueError(
            f"`dropout` of {of} must be left out beside a `head`, got {dropout}. Give it to the head: head=Regression(dropout=0.1)."
        )
    if label_smoothing and (head or loss):
        raise ValueError(
            f"`label_smoothing` of {of} must be left out beside a `head` or a `loss`, got {label_smoothing}. Give it to the head: "
            "head=Multiclass(4, label_smoothing=0.1)."
        )


def refuse_level(task: str, level: Any) -> None:
    """Reject what is neither a level nor a list of levels.

    Raises:
        ValueError: It is neither.
    """
    levels = [level] if isinstance(level, str) or not isinstance(level, Sequence) else level
    if not all(isinstance(one, int | str) and not isinstance(one, bool) for one in levels):
        raise ValueError(
            f"`level` of task {task!r} must be the number or the name of a level, or a list of these, got {level!r}."
        )
    if not isinstance(level, int) and not level:
        shown = level if isinstance(level, str) else list(level)
        raise ValueError(f"`level` of task {task!r} must name a level, got {shown!r}. Leave it out for the top.")


def refuse_feeds(task: str, feeds_from: Any) -> None:
    """Reject feeds that are not a list of other tasks' names.

    Raises:
        ValueError: They are not.
    """
    if isinstance(feeds_from, str) or task in feeds_from:
        raise ValueError(
            f"`feeds_from` of task {task!r} must be a list of names of other tasks, got {feeds_from!r}. Name tasks at "
            "lower levels."
        )
