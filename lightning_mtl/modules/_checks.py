"""What a module requires of its tasks, its data and the strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..encoders import Encoder, Tabular
from ..inputs import Inputs
from ..task import Task


def refuse_bad_tasks(tasks: Sequence[Task]) -> None:
    """Check that there are tasks, with different names.

    Raises:
        TypeError: They are not a list of tasks.
        ValueError: There is no task, or two have the same name.
    """
    if isinstance(tasks, str | Task | Mapping) or not all(isinstance(task, Task) for task in tasks):
        raise TypeError(f"`tasks` must be a list of Task, got {tasks!r}. Make them: [Task(name), ...].")
    names = [task.name for task in tasks]
    if not names:
        raise ValueError("`tasks` must hold at least one Task, got none.")
    if doubled := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"`tasks` must have different names, got {sorted(doubled)} more than once. Rename one.")


def refuse_unknown_heads(tasks: Sequence[Task]) -> None:
    """Check that every task has a head.

    Raises:
        ValueError: One has none.
    """
    for task in tasks:
        task.known_head()


def refuse_no_encoder(encoder: Any) -> None:
    """Check that an encoder is one.

    Raises:
        TypeError: It is not.
    """
    if not isinstance(encoder, Encoder):
        raise TypeError(
            f"`encoder` must be an Encoder, got {type(encoder).__name__}. Share it whole: "
            "HardSharing(encoder, width=<size of its features>)."
        )


def column_sizes(encoder: Encoder, inputs: Mapping[str, Inputs]) -> dict[str, int]:
    """Return the sizes of input columns that depend on the data.

    Raises:
        ValueError: Tables that one `Tabular` reads have different numbers of features.
    """
    sizes: dict[str, int] = {}
    one_table = isinstance(getattr(encoder, "trunk", None), Tabular)
    for source, of in inputs.items():
        for name, size in of.sizes().items():
            if one_table and sizes.setdefault(name, size) != size:
                raise ValueError(
                    f"Sources of one `Tabular` must have the same columns, got {sizes[name]} features in one source and {size} in "
                    f"{source!r}. Make one table of them, in which cells may be empty, or train a model for each."
                )
            sizes[name] = size
    return sizes


def refuse_lost_balancer(name: str | None) -> None:
    """Check that the balancer with which a model was trained is there.

    Raises:
        ValueError: The checkpoint could not hold it.
    """
    if name:
        raise ValueError(
            f"`balancer` must be given to train on a model that was trained with {name}, a function or class of your "
            "own, which its checkpoint does not hold. Load it with balancer=..., or with balancer=None to train without."
        )
