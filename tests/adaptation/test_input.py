"""What adaptations refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from lightning_mtl import HardSharing, MetaLearningModule, Regression, Task
from lightning_mtl.adaptation import ANIL, BOIL, MAML, SGD, Adam, GradientDescent, MAMLPlusPlus, MetaSGD, Reptile

RULES: list[Any] = [MAML, ANIL, BOIL, MetaSGD, MAMLPlusPlus, Reptile]


@pytest.mark.parametrize("rate", [0.0, -0.1, float("nan"), float("inf")])
@pytest.mark.parametrize("rule", RULES)
def test_a_rate_must_be_above_zero(rule: Callable[..., GradientDescent], rate: float) -> None:
    with pytest.raises(ValueError, match=r"`rate` must be finite and above 0, got"):
        rule(rate=rate)


@pytest.mark.parametrize("name", ["steps", "evaluation_steps"])
@pytest.mark.parametrize("rule", RULES)
def test_steps_are_not_below_zero(rule: Callable[..., GradientDescent], name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be a whole number of at least 0, got -1"):
        rule(**{name: -1})


@pytest.mark.parametrize("rate", [(0.1, 0.05), (0.0, 0.1), (0.1,), (0.1, 0.2, 0.3), (0.1, float("inf")), ()])
def test_ranges_of_rates_must_rise(rate: Any) -> None:
    with pytest.raises(
        ValueError, match=r"`rate(\[\d\])?` must be (finite and above 0|two numbers of which the second .*), got"
    ):
        MetaSGD(rate=rate)


@pytest.mark.parametrize("rate", [0.3, (0.3, 0.3), [0.01, 0.02]])
def test_first_rates_lie_in_their_range(rate: Any) -> None:
    rule = MetaSGD(rate=rate)
    rule.build({"heads.t.weight": torch.zeros(50, 3)})
    low, high = (rate, rate) if isinstance(rate, float) else rate
    (rates,) = rule.parameters()
    assert rates.shape == (50, 3)
    assert low - 1e-6 <= rates.min() <= rates.max() <= high + 1e-6


@pytest.mark.parametrize("adapted", ["nothing", ["heads.b.*", "encoder"], []])
def test_something_must_adapt(adapted: Any) -> None:
    with pytest.raises(ValueError, match=r"`adapted` of MAML must match .*, got .*'heads.t.weight'"):
        MAML(adapted=adapted).build({"heads.t.weight": torch.zeros(3)})
    with pytest.raises(ValueError, match="`adapted` of MAML must match"):
        MAML(steps=0, evaluation_steps=3, adapted=adapted).build({"heads.t.weight": torch.zeros(3)})
    MAML(steps=0, adapted=adapted).build({"heads.t.weight": torch.zeros(3)})


def test_a_module_says_at_once_that_nothing_adapts() -> None:
    encoder = HardSharing(nn.Linear(2, 3), width=3)
    with pytest.raises(ValueError, match=r"got \['trunk'\]; there are \['encoder.trunk.weight'"):
        MetaLearningModule([Task("t", head=Regression())], encoder, adaptation=MAML(adapted=["trunk"]))


@pytest.mark.parametrize("minibatch", [0, -3])
def test_a_minibatch_has_an_example(minibatch: int) -> None:
    with pytest.raises(
        ValueError, match=f"`minibatch` must be a whole number of at least 1, got {minibatch}. Leave it out"
    ):
        Reptile(minibatch=minibatch)


@pytest.mark.parametrize("name", ["multi_step_epochs", "first_order_epochs"])
def test_epochs_are_not_below_zero(name: str) -> None:
    options: dict[str, Any] = {name: -1}
    with pytest.raises(ValueError, match=f"`{name}` must be a whole number of at least 0, got -1"):
        MAMLPlusPlus(**options)


@pytest.mark.parametrize("eps", [0.0, -1e-8, float("nan")])
def test_adam_needs_an_eps(eps: float) -> None:
    with pytest.raises(ValueError, match="`eps` must be finite and above 0, got"):
        Adam(eps=eps)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_shares_lie_below_one(share: float) -> None:
    with pytest.raises(ValueError, match=r"`momentum` must be at least 0 and below 1, got"):
        SGD(share)
    with pytest.raises(ValueError, match=r"`betas\[1\]` must be at least 0 and below 1, got"):
        Adam((0.9, share))


def test_an_optimizer_must_let_gradients_pass() -> None:
    outer: Any = torch.optim.SGD
    with pytest.raises(TypeError, match=r"`?optimizer`?.*InnerOptimizer"):
        MAML(optimizer=outer)
