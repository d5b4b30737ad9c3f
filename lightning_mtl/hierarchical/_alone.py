"""A hierarchy for one task."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..saving import without_lost_balancer
from ..task import Task

if TYPE_CHECKING:
    from ._module import HierarchicalModule


def network_for(module: HierarchicalModule, task: Task, cls: type[HierarchicalModule]) -> HierarchicalModule:
    """Make a module for one task at its level, with copies of the levels below it and of the tasks that feed them.

    Args:
        module: The module.
        task: The task, with a head.
        cls: The class of what is made.
    """
    own: dict[str, Any] = module.arguments()
    whole = cls([*module.tasks, task], copy.deepcopy(module.encoder), **own)
    whole.load_state_dict(without_lost_balancer(whole, module.state_dict()), strict=False)
    whole.hierarchy.succeed(copy.deepcopy(module.hierarchy))
    of = whole.hierarchy
    sitting = {of.top.index(level) for level in of.fed if level <= of.top[-1]}  # who says what a level is fed
    kept = [whole.tasks[i] for i in sorted({*of.closure([len(module.tasks)]), *sitting})]
    for below in kept:
        feeding = of.fed.get(of.top[of.names.index(below.name)], ())
        below.feeds_from, below.auxiliary = tuple(of.names[i] for i in feeding), below.name != task.name
    if isinstance(own["tap_grad"], Mapping):
        own["tap_grad"] = {name: of for name, of in own["tap_grad"].items() if name in {each.name for each in kept}}
    made = cls(kept, whole.encoder, **own)
    made.load_state_dict(whole.state_dict(), strict=False)
    return made
