"""A new task, learned from a few rows by a model that knows others."""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.utilities import move_data_to_device

from .._checks import require
from ..adaptation import Adaptation, Adapting, Norm
from ..callbacks import evaluating
from ..data import Source, fit_heads, infer_heads
from ..inputs import Inputs
from ..task import ROWS, Task
from ._learner import data_of

if TYPE_CHECKING:
    from ._multi_task import MultiTaskModule


def adapted(
    module: MultiTaskModule, task: Task, support: Any, method: Adaptation | None, steps: int | None, seed: int
) -> MultiTaskModule:
    """Learn a task; see `MultiTaskModule.adapt`."""
    require(isinstance(task, Task), "task", "a Task", task, "Make it: Task(name).")
    require(steps is None or steps >= 0, "steps", "at least 0", steps, "Leave it out for those of the method.")
    if not module.inputs:
        raise ValueError(
            "A model must know how rows become tensors to be adapted to them, and this one has not seen data yet. Fit it, or load a "
            "trained one: load_from_checkpoint(path)."
        )
    task, name = copy.copy(task), task.resolve(module.inputs)
    task.head = copy.deepcopy(task.head)
    inputs = copy.deepcopy(module.inputs[name])
    like = next((value for value in module.encoder.parameters() if value.is_floating_point()), torch.empty(0))
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
        columns = _columns(module, task, support, inputs, name)
        torch.default_generator.manual_seed(seed)
        made = module.alone(task).to(like.device, like.dtype)
        made.inputs = {name: inputs}
        usual, norm = module.usual_method(made.tasks[-1])
        _learn(made, columns, usual if method is None else copy.deepcopy(method), norm, steps)
    return made.eval()


def _columns(module: MultiTaskModule, task: Task, support: Any, inputs: Inputs, name: str) -> dict[str, Any]:
    """Read all rows as one batch, and find the head that their labels ask for."""
    source = Source({"train": support}, words=inputs.words)
    tasks = {name: [task]}
    given = task.head
    infer_heads({name: source}, tasks)
    examples = {name: source.examples("train", inputs, task.columns, name)}
    if given is None:
        module.initial_head(task)
    fit_heads({name: source}, tasks, examples, {name: inputs})
    columns = examples[name][list(range(len(examples[name])))]
    columns[ROWS] = {}
    task.label(columns, "in the support, row")
    rows = columns[ROWS].get(task.name)
    require(rows is None or len(rows) > 0, "support", "rows with labels", 0, "Label some.")
    return columns


def _learn(made: MultiTaskModule, columns: dict[str, Any], rule: Adaptation, norm: Norm, steps: int | None) -> None:
    """Adapt the last task of a module, and keep what came of it."""
    number, task = len(made.tasks) - 1, made.tasks[-1]
    rule.refuse(task.name, made.heads[task.name])
    (name,) = made.inputs
    made.routing.settle([name])
    data = data_of(task, columns, partial(made.routing.inputs, name))
    data |= {"rows": columns[ROWS][task.name]} if task.name in columns[ROWS] else {}
    rule.refuse_support(task.name, made.heads[task.name], data["target"])
    with evaluating(made):
        adapting = Adapting(made.learner(number), rule, engine="loop", norm=norm)
        rule.build(adapting.parameters)
        adapting.keep(_like(move_data_to_device(data, made.device), next(made.parameters()).dtype), steps)


def _like(data: Any, dtype: torch.dtype) -> Any:
    """Give what is read the precision of the model."""
    return {**data, "inputs": {name: of.to(dtype) if _is_float(of) else of for name, of in data["inputs"].items()}}


def _is_float(column: Any) -> bool:
    return isinstance(column, torch.Tensor) and column.is_floating_point()
