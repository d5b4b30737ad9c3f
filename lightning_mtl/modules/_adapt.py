"""A new task, learned from a few rows by a model that knows others."""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.utilities import move_data_to_device

from .._checks import require, require_number
from ..adaptation import Adaptation, Adapting, Norm
from ..callbacks import evaluating
from ..data import Source, fit_heads, infer_heads
from ..inputs import Inputs, refuse_not_finite
from ..task import ROWS, Task, in_precision, precision_of
from ._learner import data_of

if TYPE_CHECKING:
    from ._multi_task import MultiTaskModule


def adapt(
    module: MultiTaskModule,
    task: Task,
    support: Any,
    *,
    method: Adaptation | None = None,
    steps: int | None = None,
    seed: int = 0,
) -> MultiTaskModule:
    """Learn a new task from a few examples; this module does not change.

    Args:
        module: The module.
        task: The new task. Without a `head` it gets the one that fits its labels; a meta-learned head of the same kind and size is copied.
        support: Rows with the columns of the source that the task reads, and its target: mappings in a list, a DataFrame, a
            `datasets.Dataset`, or the path of a file.
        method: How it is learned, one of `lightning_mtl.adaptation`. Default: in a `MetaLearningModule` the adaptation that it was trained
            for; else a new head on the unchanged encoder, `ANIL(rate=0.01, steps=100, optimizer=Adam())`.
        steps: How many steps to take. Default: those of the method in evaluation.
        seed: Seed of the weights of a new head.

    Returns:
        A module for this task alone, with a copy of the encoder (in a hierarchy, with the tasks that feed it). It predicts, evaluates, saves, and can
        be trained on. Batch norms have the support's statistics, unless the method was learned with running ones.

    Raises:
        ValueError: The rows lack a column or labels, the source is not known, or the method does not suit the task.

    Example:
        >>> import lightning as L
        >>> from lightning_mtl import BagOfWords, HardSharing, MultiTaskDataModule, MultiTaskModule, Source, Task
        >>> rows = [{"text": "good day", "mood": "happy"}, {"text": "bad night", "mood": "sad"}] * 20
        >>> module = MultiTaskModule([Task("mood")], HardSharing(BagOfWords()))
        >>> quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        >>> trainer = L.Trainer(max_epochs=20, enable_model_summary=False, accelerator="cpu", **quiet)
        >>> trainer.fit(module, MultiTaskDataModule({"texts": Source(rows, text="text")}, batch_size=8, summary=False))
        >>> few = [{"text": "day", "time": "light"}, {"text": "night", "time": "dark"}]
        >>> times = module.adapt(Task("time"), few)
        >>> times.predict("a good night")["time"]["label"]
        'dark'
    """
    require(isinstance(task, Task), "task", "a Task", task, "Make it: Task(name).")
    remedy = "Leave it out for those of the method."
    require_number("steps", steps, remedy, at_least=0, whole=True, optional=True)
    require_number("seed", seed, "0 is the default.", whole=True)
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
        # In half precision the small numbers of an optimizer would vanish.
        adapted = module.alone(task).to(like.device, torch.promote_types(like.dtype, torch.float32))
        adapted.inputs = {name: inputs}
        usual, norm = module.usual_method(adapted.tasks[-1])
        _learn(adapted, columns, usual if method is None else copy.deepcopy(method), norm, steps)
        adapted.to(like.dtype)
    return adapted.eval()


def _columns(module: MultiTaskModule, task: Task, support: Any, inputs: Inputs, name: str) -> dict[str, Any]:
    """Read all rows as one batch, and infer the head from their labels."""
    source = Source({"train": support}, words=inputs.words)
    tasks = {name: [task]}
    given = task.head
    infer_heads({name: source}, tasks)
    examples = {name: source.examples("train", inputs, task.columns, name)}
    if given is None:
        module.initial_head(task)
    fit_heads({name: source}, tasks, examples, {name: inputs})
    columns = examples[name][list(range(len(examples[name])))]
    numbers = {column: of for column, of in columns.items() if column not in task.label_columns}
    refuse_not_finite(numbers, "in the support, row", range(len(examples[name])))
    columns[ROWS] = {}
    task.label(columns, "in the support, row")
    rows = columns[ROWS].get(task.name)
    require(rows is None or len(rows) > 0, "support", "rows with labels", 0, "Label some.")
    return columns


def _learn(module: MultiTaskModule, columns: dict[str, Any], rule: Adaptation, norm: Norm, steps: int | None) -> None:
    """Adapt the last task of a module, and keep the adapted parameters."""
    number, task = len(module.tasks) - 1, module.tasks[-1]
    rule.refuse(task.name, module.heads[task.name])
    (name,) = module.inputs
    module.routing.bind_batch([name])
    data = data_of(task, columns, partial(module.routing.inputs, name))
    data |= {"rows": columns[ROWS][task.name]} if task.name in columns[ROWS] else {}
    rule.refuse_support(task.name, module.heads[task.name], data["target"])
    with evaluating(module):
        adapting = Adapting(module.learner(number), rule, engine="loop", norm=norm)
        rule.build(adapting.parameters)
        placed = move_data_to_device(data, module.device)
        adapting.keep({**placed, "inputs": in_precision(placed["inputs"], precision_of(module.encoder))}, steps)
