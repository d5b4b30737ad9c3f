"""Where gradients are measured: what the data, the strategy and the balancer allow."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import lightning as L
from lightning.pytorch.callbacks import BaseFinetuning

from .._lightning import callbacks_of
from ._measuring import Measuring, Scope
from ._step_balance import BalancedModule


def scope_for(module: BalancedModule, *, levels: bool, one_source: bool, sources: Sequence[str]) -> Scope:
    """Return the scope that suits the data: the representation, where all tasks of a step read the same one of the same examples."""
    read = [name for name in sources if module.routing.reads(name)]
    one = not levels and module.encoder.shares_features and (one_source or len(read) == 1)
    return "representation" if one else "parameters"


def refuse_frozen_encoder(module: BalancedModule, trainer: L.Trainer) -> None:
    """Check that there are shared parameters that are trained.

    Raises:
        ValueError: There are none.
    """
    unfrozen = any(isinstance(callback, BaseFinetuning) for callback in callbacks_of(trainer))
    known = list(module.encoder.parameters())  # some are made later, when the data is known
    if known and not unfrozen and not any(p.requires_grad for p in known):
        raise ValueError(
            "`balancer` must find shared parameters that are trained, got an encoder that is frozen. Leave the balancer out."
        )


def refuse_scope(scope: Scope | None, measuring: Measuring, module: BalancedModule, trainer: L.Trainer) -> None:
    """Check that the strategy lets the balancer measure there.

    Raises:
        ValueError: It does not.
    """
    strategy = type(trainer.strategy).__name__
    if scope == "parameters" and module.sharded:
        raise ValueError(
            f"`scope` must be 'representation' where parameters are sharded over the ranks ({strategy}), got "
            f"{measuring.scope or 'parameters (chosen, since tasks read different features)'!r}. Give scope='representation'."
        )
    if "DeepSpeed" in strategy and (scope == "parameters" or measuring.weight_heads):
        raise ValueError(
            f"`scope` must be 'representation', and `weight_heads` false, under {strategy}, which runs a backward pass of its own, got "
            f"{scope!r} and {measuring.weight_heads}. Leave both out."
        )


def refuse_accumulation(measuring: Measuring, batches: int) -> None:
    """Check that gradients are not accumulated where they are measured piece by piece.

    Raises:
        ValueError: They are.
    """
    if measuring.gradient_memory and batches != 1:
        raise ValueError(
            "`gradient_memory` must be left out with accumulation, for which gradients are held from batch to batch, got "
            f"accumulate_grad_batches={batches}. Leave one of them out."
        )


def refuse_lone_tasks(module: BalancedModule, scope: Scope | None, sources: Sequence[str], *, one_source: bool) -> None:
    """Check that steps have two tasks to balance; warn where these read different examples.

    Raises:
        ValueError: Each step has a single task.
    """
    alone = all(len(module.routing.reads(name)) < 2 for name in sources)
    if alone and one_source:
        raise ValueError(
            f"`balancer` must find two tasks in a step to balance their gradients, got steps of a single one: each holds one of the "
            f"sources {list(sources)}. Use MultiTaskDataModule(batches='all'), or a loss balancer."
        )
    if alone and scope == "representation":
        warnings.warn(
            "No two tasks read the same examples: at the representation their gradients have nothing in common, and only "
            "their lengths count. scope='parameters' measures angles too.",
            stacklevel=2,
        )
