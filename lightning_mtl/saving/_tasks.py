"""Tasks and their heads as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..heads import Head
from ..task import Task
from ._description import custom_objects, describe
from ._format import Description, refuse_custom
from ._rebuilding import rebuild

_OPTIONS = ("level", "auxiliary", "feeds_from", "weight_decay")
"""Arguments of a task that earlier checkpoints may lack."""


def describe_task(task: Task) -> Description:
    """Describe a task, with what its head has learned from the data."""
    head = task.known_head()
    return {
        "name": task.name,
        "source": task.source,
        "target": task.target if isinstance(task.target, str | None) else list(task.target),
        "weight": task.weight,
        "level": task.level,
        "auxiliary": task.auxiliary,
        "feeds_from": list(task.feeds_from),
        "weight_decay": task.weight_decay,
        "loss": describe(task.loss),
        "metrics": describe(task.metrics),
        "score": describe(task.score),
        "head": {"layers": describe(head), "learned": head.learned()},
    }


def rebuild_task(of: Mapping[str, Any], given: Task | None, where: str) -> Task:
    """Rebuild a task; one that is given takes its place, and without a `head` takes the head described.

    Args:
        of: What `describe_task` returned.
        given: The user's task of the same name, if there is one.
        where: What is read, for error messages.

    Raises:
        ValueError: Something that is needed is of the user's own class.
    """
    name = of["name"]
    if given is not None and given.head is not None:
        return given
    needed = {"head": of["head"]["layers"]} if given is not None else {**of, "head": of["head"]["layers"]}
    if custom := custom_objects(
        {key: needed.get(key) for key in ("head", "loss", "metrics", "score")}, f"task {name!r}"
    ):
        refuse_custom(custom, where, f"tasks=[Task({name!r}, loss=..., metrics=..., score=..., head=...)]")
    head = rebuilt_head(of["head"])
    if given is not None:
        return Task(
            name,
            given.source or of["source"],
            target=given.target or of["target"],
            head=given.fit_out(head),
            loss=given.loss,
            metrics=given.metrics,
            weight=given.weight,
            score=given.score,
            **{key: getattr(given, key) for key in _OPTIONS},
        )
    return Task(
        name,
        of["source"],
        target=of["target"],
        head=head,
        loss=rebuild(of["loss"]),
        metrics=rebuild(of["metrics"]),
        weight=of["weight"],
        score=rebuild(of.get("score")),
        **{key: of[key] for key in _OPTIONS if key in of},
    )


def head_of(description: Mapping[str, Any], task: str) -> Description | None:
    """Return the description of a task's head, if there is one."""
    return next((of["head"] for of in description.get("tasks", ()) if of["name"] == task), None)


def rebuilt_head(description: Mapping[str, Any]) -> Head:
    """Rebuild a head, with what it had learned."""
    head: Head = rebuild(description["layers"])
    head.restore(description["learned"])
    return head


def is_alike(head: Head, description: Mapping[str, Any]) -> bool:
    """Return whether a head is of the kind and size of the one described."""
    described_class = description["layers"].get("class", "").rsplit(".", 1)[-1]
    other = rebuilt_head(description) if described_class == type(head).__name__ else None
    if other is None or other.outputs != head.outputs or head.names not in (None, other.called):
        return False
    return all(getattr(head, of, None) == getattr(other, of, None) for of in ("scaled", "class_weight", "pos_weight"))


def is_other(task: Task, description: Mapping[str, Any]) -> bool:
    """Return whether a description has another head for this task: of another kind, or with other names of labels."""
    found = head_of(description, task.name)
    return found is not None and task.head is not None and not is_alike(task.head, found)
