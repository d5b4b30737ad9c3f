"""A model as plain data: what a checkpoint or a folder needs to rebuild it with nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..encoders import Encoder
from ..inputs import Inputs
from ..task import Task
from ._description import custom_objects, describe
from ._format import FORMAT, Description, refuse_custom
from ._inputs import describe_inputs, rebuild_inputs, tokenizer_of
from ._rebuilding import rebuild
from ._tasks import describe_task, rebuild_task


def described(
    tasks: Sequence[Task],
    encoder: Encoder,
    inputs: Mapping[str, Inputs],
    balancing: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    module: str = "MultiTaskModule",
) -> Description:
    """Describe a model.

    Args:
        tasks: Its tasks.
        encoder: Its encoder.
        inputs: How rows become what the encoder reads, by source.
        balancing: The balancer and its settings.
        arguments: Other arguments of the module.
        module: The class of this library that it is of.
    """
    shared = describe(encoder)
    tokenizer = tokenizer_of(encoder, shared)
    return {
        "format": FORMAT,
        "tasks": [describe_task(task) for task in tasks],
        "encoder": shared,
        "inputs": {name: describe_inputs(of, tokenizer) for name, of in inputs.items()},
        "balancing": {name: describe(value) for name, value in (balancing or {}).items()},
        "arguments": describe(dict(arguments or {})),
        "module": module,
    }


def parts_of(
    description: Mapping[str, Any],
    tasks: Sequence[Task] | None,
    encoder: Encoder | None,
    where: str,
    others: Collection[str] = (),
) -> dict[str, Any]:
    """Rebuild tasks and encoder; those given take the place of those described.

    Args:
        description: What `described` returned; it is empty for format 0.
        tasks: Tasks that replace those of the same name; without a `head` they take the one described.
        encoder: An encoder that replaces the one described.
        where: What is read, for error messages.
        others: Names of other arguments that are given.

    Raises:
        ValueError: Something is a class of the user's own, or is not described, and is not given.
    """
    given = {task.name: task for task in tasks or ()}
    if "tasks" not in description:
        if tasks is None or encoder is None:
            raise ValueError(
                f"`tasks` and `encoder` must be given for {where}, which does not describe them (it was written by lightning-mtl "
                "0.1). Give them as they were in training."
            )
        return {"tasks": list(given.values()), "encoder": encoder}
    if unknown := [name for name in given if name not in {of["name"] for of in description["tasks"]}]:
        raise ValueError(
            f"`tasks` must be tasks of {where}, got {unknown}. Add a new one afterwards: module.add_task(...)."
        )
    made = [rebuild_task(of, given.get(of["name"]), where) for of in description["tasks"]]
    if encoder is None:
        if custom := custom_objects(description["encoder"], "encoder"):
            refuse_custom(custom, where, "encoder=HardSharing(MyTrunk(...))")
        encoder = rebuild(description["encoder"])
    more = {name: of for name, of in description.get("arguments", {}).items() if name not in others}
    if custom := custom_objects(more):
        refuse_custom(custom, where, ", ".join(f"{path.split('.')[0]}=..." for path in custom))
    return {"tasks": made, "encoder": encoder, **rebuild(more)}


def balancing_of(description: Mapping[str, Any]) -> dict[str, Any]:
    """Rebuild the balancer and its settings; a balancer of the user's own is left out (see `lost_balancer`)."""
    found = description.get("balancing", {})
    return {} if custom_objects(found) else rebuild(found)


def lost_balancer(description: Mapping[str, Any]) -> str | None:
    """Return the name of the balancer of the user's own with which a model was trained, if there was one."""
    return next(iter(custom_objects(description.get("balancing", {})).values()), None)


def inputs_of(description: Mapping[str, Any], encoder: Encoder) -> dict[str, Inputs]:
    """Rebuild how rows become what the encoder reads."""
    return {name: rebuild_inputs(of, encoder.tokenizer) for name, of in description.get("inputs", {}).items()}
