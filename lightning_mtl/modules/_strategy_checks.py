"""What strategies, `torch.compile` and optimizers must know of a step, before the first one."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from lightning.fabric.strategies.deepspeed import DeepSpeedStrategy
from lightning.fabric.strategies.fsdp import FSDPStrategy
from lightning.fabric.strategies.model_parallel import ModelParallelStrategy
from lightning.pytorch.strategies import DDPStrategy

from .._lightning import expect_unused_parameters, fabric_of, has_static_graph, uncompile_training
from ..gradients import weighs_gradients

if TYPE_CHECKING:
    from ._base import TaskModule


def fit_to_strategy(module: TaskModule) -> None:
    """Let DDP expect steps without some tasks, and run a step whose gradients are made in Python as it is.

    Raises:
        ValueError: DDP was told that all steps have one graph and use all parameters, and they do not.
    """
    strategy = module.trainer.strategy
    varies = module.has_unused_parameters or not module.routing.every_task_every_step
    own_gradients = module.carries_gradients or (weighs_gradients(module.balancer) and len(module.tasks) > 1)
    if has_static_graph(strategy) and (varies or own_gradients):
        raise ValueError(
            "`static_graph` of DDPStrategy must be false where gradients are weighed or carried, or a step can lack labels for a task: "
            "its backward passes differ, and ranks would drift apart. Leave it out (strategy='ddp')."
        )
    if varies:
        _expect_missing_tasks(strategy)
    if own_gradients and uncompile_training(module):
        warnings.warn(
            "torch.compile(module) leaves `training_step` as it is where gradients are weighed or carried: a compiled one would keep those of "
            "an earlier step. Compile the encoder instead, before the module is made: encoder.compile().",
            stacklevel=2,
        )


def refuse_line_search(module: TaskModule) -> None:
    """Check that no optimizer compares values of the loss along a gradient that is not the loss's own.

    Raises:
        ValueError: One does.
    """
    searching = [
        of for of in module.trainer.optimizers if any(group.get("line_search_fn") for group in of.param_groups)
    ]
    if searching and weighs_gradients(module.balancer) and len(module.tasks) > 1:
        raise ValueError(
            f"`line_search_fn` of {type(searching[0]).__name__} must be None where {type(module.balancer).__name__} weighs gradients, which "
            "are then not those of the loss that the search looks at. Leave it out, or balance losses."
        )


def fit_to_fabric(module: TaskModule) -> None:
    """Under Fabric, which calls no hooks, let a step know the ranks, and keep nothing for a log.

    Raises:
        ValueError: The step needs hooks of a Trainer.
    """
    fabric = fabric_of(module)
    if fabric is None:
        return
    if module.balancer is not None:
        raise ValueError(
            f"`balancer` must be None under Fabric, which tells a module neither of steps nor of its backward pass, got "
            f"{type(module.balancer).__name__}. Train with L.Trainer(...).fit(module, ...)."
        )
    sharded = isinstance(fabric.strategy, FSDPStrategy | ModelParallelStrategy | DeepSpeedStrategy)
    if sharded or (module.carries_gradients and fabric.world_size > 1):
        raise ValueError(
            f"`strategy` of Fabric must leave each process a whole {type(module).__name__} whose gradients its own backward pass makes, got "
            f"{type(fabric.strategy).__name__} on {fabric.world_size} processes. Train with L.Trainer(...).fit(module, ...)."
        )
    module.loss_over_ranks.world_size = fabric.world_size
    module.loss_over_ranks.start()
    module.train_log.history.clear()


def _expect_missing_tasks(strategy: Any) -> None:
    if isinstance(strategy, DDPStrategy) and not expect_unused_parameters(strategy):
        raise ValueError(
            "`find_unused_parameters` of DDPStrategy must be true where a step can lack labels for a task, got False. "
            "Leave it out (strategy='ddp'): it is then set where it is needed."
        )
