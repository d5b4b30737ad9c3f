"""The parameters of a module, in groups for its optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import lightning as L
import torch
from torch import nn
from torch.optim import Optimizer

from .._plain import escaped
from ._fine_tuning import FineTuning

MakeOptimizer = Callable[[Iterable[Any]], Optimizer]


@dataclass(frozen=True)
class ParameterGroups:
    """The groups "trunk" and "heads", "heads/<task>" for a head with a weight decay of its own, and one for each learned rule.

    Args:
        module: The model.
        heads: The heads, by the names of tasks.
        rules: Other modules with learned parameters (balancer, adaptation), by the names of their groups, without decay.
        decays: Weight decays of heads, by the names of tasks.
        lr: The rate of all groups. Default: the optimizer's own.
        levels: Where the encoder has levels, the module and all parameters of each.
        stages: Names of the levels, if they have any.
    """

    module: nn.Module
    heads: nn.ModuleDict
    rules: Mapping[str, nn.Module]
    decays: Mapping[str, float]
    lr: float | None = None
    levels: Sequence[tuple[nn.Module, list[nn.Parameter]]] = ()
    stages: Sequence[str] = ()

    def optimizer(self, make: MakeOptimizer | None) -> Optimizer:
        """Make the optimizer: by default AdamW at a rate of 0.001.

        Raises:
            ValueError: A task has a weight decay, and the optimizer has none.
        """
        decays = {f"heads/{escaped(task)}": decay for task, decay in self.decays.items()}
        rate = {} if self.lr is None else {"lr": self.lr}
        groups: list[dict[str, Any]] = [
            {"params": params, "name": name, **rate} for name, params in self._of_network(decays).items() if params
        ]
        for group in groups:
            group |= {"weight_decay": decays[group["name"]]} if group["name"] in decays else {}
        groups += [
            {"params": params, "name": name, "weight_decay": 0.0} for name, params in self._of_rules().items() if params
        ]
        optimizer = (make or torch.optim.AdamW)(groups)
        if decays and "weight_decay" not in optimizer.defaults:
            raise ValueError(
                f"`weight_decay` of a task must be left out with {type(optimizer).__name__}, which has none, got {decays}. Use "
                "an optimizer that has one, e.g. AdamW."
            )
        return optimizer

    def _of_rules(self) -> dict[str, list[nn.Parameter]]:
        return {name: [p for p in rule.parameters() if p.requires_grad] for name, rule in self.rules.items()}

    def _of_network(self, decays: Iterable[str]) -> dict[str, list[nn.Parameter]]:
        task_of = {id(p): task for task, head in self.heads.items() for p in head.parameters()}
        in_rules = {id(p) for params in self._of_rules().values() for p in params}
        groups: dict[str, list[nn.Parameter]] = {"trunk": [], "heads": [], **{name: [] for name in decays}}
        for parameter in self.module.parameters():
            if parameter.requires_grad and id(parameter) not in in_rules:
                task = task_of.get(id(parameter))
                own = "heads" if task is None else f"heads/{escaped(task)}"
                own = own if own in groups else "heads"
                groups["trunk" if task is None else own].append(parameter)
        return groups

    def fine_tuning(self, options: FineTuning, trainer: L.Trainer) -> dict[str, Any]:
        """Make the optimizer and the schedule of fine-tuning.

        Raises:
            ValueError: The Trainer does not say when the run ends.
        """
        steps = trainer.estimated_stepping_batches
        if not 0 < steps < math.inf:
            raise ValueError(
                "`max_epochs` or `max_steps` of the Trainer must end the run for `FineTuning`, whose rates fall to the end, got "
                f"max_epochs={trainer.max_epochs} and max_steps={trainer.max_steps}. Set one of them."
            )
        return (options if self.lr is None else replace(options, lr=self.lr)).configure(
            self.module,
            self.heads,
            int(steps),
            # A fused step unscales the gradients itself, and Lightning then refuses to clip them.
            fused=trainer.precision != "16-mixed",
            rules=self.rules,
            levels=self.levels,
            stages=self.stages,
            decays=self.decays,
        )
