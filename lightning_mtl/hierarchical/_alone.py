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
        cls: The class of the new module.
    """
    own: dict[str, Any] = module.arguments()
    whole = cls([*module.tasks, task], copy.deepcopy(module.encoder), **own)
    whole.load_state_dict(without_lost_balancer(whole, module.state_dict()), strict=False)
    whole.hierarchy.succeed(copy.deepcopy(module.hierarchy))
    hierarchy = whole.hierarchy
    fed = hierarchy.fed
    # What feeds a level follows from `feeds_from` of a task at it, which must be kept.
    at_fed_levels = {hierarchy.top.index(level) for level in fed if level <= hierarchy.top[-1]}
    kept = [whole.tasks[i] for i in sorted({*hierarchy.closure([len(module.tasks)]), *at_fed_levels})]
    for below in kept:
        feeding = fed.get(hierarchy.top[hierarchy.names.index(below.name)], ())
        below.feeds_from, below.auxiliary = tuple(hierarchy.names[i] for i in feeding), below.name != task.name
    if isinstance(own["tap_grad"], Mapping):
        names = {each.name for each in kept}
        own["tap_grad"] = {name: factor for name, factor in own["tap_grad"].items() if name in names}
    alone = cls(kept, whole.encoder, **own)
    alone.load_state_dict(whole.state_dict(), strict=False)
    return alone
