"""What a new task takes over from a module that was meta-learned."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from ..adaptation import Adaptation, Norm
from ..task import Task

if TYPE_CHECKING:
    from ._module import MetaLearningModule


def usual_method(module: MetaLearningModule, task: Task) -> tuple[Adaptation, Norm]:
    """Return the trained adaptation; what it learned for the head of a single task is transferred to the new head."""
    rule = copy.deepcopy(module.adaptation)
    if len(module.tasks) == 1:
        own = {f"heads.{task.key}.{name}": value for name, value in task.known_head().named_parameters()}
        rule.succeed(f"heads.{module.tasks[0].key}.", f"heads.{task.key}.", own)
    return rule, module.norm


def initial_head(module: MetaLearningModule, task: Task) -> None:
    """Set the head of a new task to the meta-learned head of a single task, if it predicts as many numbers of the same kind."""
    head, found = module.tasks[0].known_head(), task.known_head()
    if len(module.tasks) > 1 or (head.kind, head.outputs) != (found.kind, found.outputs):
        return
    if head.kind == "regression":  # its scale is part of what was learned
        task.head = copy.deepcopy(head)
        task.head.fitted = True
    else:
        found.layers, found.readout = copy.deepcopy(head.layers), head.readout
