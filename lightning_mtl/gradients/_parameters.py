"""Which parameters the tasks of a step share, and which are a task's own."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ._step_balance import BalancedModule


@dataclass(frozen=True)
class TrainedParameters:
    """The parameters of a module that are trained.

    Args:
        every: All of them.
        shared: The shared ones.
        own: For each task the other ones that its loss moves.
    """

    every: list[nn.Parameter]
    shared: list[nn.Parameter]
    own: list[list[nn.Parameter]]

    @staticmethod
    def of(module: BalancedModule) -> TrainedParameters:
        """Return those of a module."""
        every = [p for p in module.parameters() if p.requires_grad]
        shared = [p for p in module.shared().parameters() if p.requires_grad]
        return TrainedParameters(every, shared, _own(module, every, shared))


def _own(module: BalancedModule, every: list[nn.Parameter], shared: list[nn.Parameter]) -> list[list[nn.Parameter]]:
    own = [[*module.heads[task.name].parameters(), *_parameters(module.losses, task.name)] for task in module.tasks]
    of_tasks = [[p for other in sorted(module.moved_by(i)) for p in own[other]] for i in range(len(own))]
    in_shared = {id(p) for p in shared}  # a head may be tied to them
    known = in_shared | {id(p) for of in of_tasks for p in of}
    rest = [p for p in every if id(p) not in known]  # what a subclass added: each task's gradient is its own
    return [[p for p in of if p.requires_grad and id(p) not in in_shared] + rest for of in of_tasks]


def _parameters(parts: nn.ModuleDict, name: str) -> list[nn.Parameter]:
    return list(parts[name].parameters()) if name in parts else []
