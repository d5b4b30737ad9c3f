"""When episodes are adapted to together, and when they must not be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.adaptation import MAML, Adapting, MAMLPlusPlus
from tests.adaptation.problems import Pupil, drawn, expected, perceptron, same


@pytest.mark.parametrize(("count", "known"), [(7, {}), (8, {(True, False): True}), (11, {(True, False): True})])
def test_eight_episodes_are_adapted_to_together(count: int, known: dict[tuple[bool, bool], bool]) -> None:
    pupil, rule = perceptron(), MAML(0.3, 2)
    adapter = Adapting(pupil, rule)
    adapter(drawn(4, episodes=count), training=True)
    assert adapter._vmap_is_correct == known


def test_each_order_of_derivatives_is_checked() -> None:
    pupil, rule = perceptron(), MAMLPlusPlus(0.3, 2, first_order_epochs=1).double()
    rule.build(dict(pupil.named_parameters()))
    adapter, episodes = Adapting(pupil, rule), drawn(4, episodes=8)
    for epoch in range(3):
        rule.at_epoch(epoch)
        adapter(episodes, training=True)
        adapter(episodes, training=False)
    assert adapter._vmap_is_correct == dict.fromkeys([(True, True), (True, False), (False, True), (False, False)], True)


class Recurrent(nn.Module):
    """A recurrent network, which `vmap` cannot map."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.GRU(4, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        last: Tensor = self.cells(x)[1][0]
        return last


def test_a_recurrent_network_is_adapted_one_after_another_with_one_warning() -> None:
    pupil, rule, episodes = Pupil(Recurrent(), 3).double(), MAML(0.3, 2), drawn(4, 4, episodes=8)
    right = expected(pupil, rule, episodes)
    adapter = Adapting(pupil, rule)
    with pytest.warns(UserWarning, match=r"one after another: together, it fails with .*engine='loop'"):
        adapter(episodes, training=True)
    (outcome,) = adapter(episodes, training=True)  # where a warning would be an error
    same({name: value / 8 for name, value in outcome.gradients.items()}, right)


def test_a_recurrent_network_cannot_be_asked_to_adapt_together() -> None:
    pupil = Pupil(Recurrent(), 3).double()
    with pytest.raises(RuntimeError, match=r"by `vmap`, which some layers .* Give engine='loop'"):
        Adapting(pupil, MAML(0.3), engine="vmap")(drawn(4, 4), training=True)


class _Doubled(torch.autograd.Function):
    """One of a user's own, whose rule for `vmap` is wrong."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is needed for the backward pass."""

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> Tensor:
        return 2 * given[0]

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor) -> tuple[Tensor, int]:
        return 2.001 * x, in_dims[0]


class Odd(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        doubled: Any = _Doubled.apply
        made: Tensor = doubled(super().forward(x))
        return made


@pytest.mark.parametrize("training", [True, False])
def test_what_is_wrong_together_is_found_out(training: bool) -> None:
    pupil, rule, episodes = Pupil(Odd(4, 3), 3).double(), MAML(0.3, first_order=True), drawn(4, episodes=8)
    adapter = Adapting(pupil, rule)
    with pytest.warns(UserWarning, match="the results differ"):
        (outcome,) = adapter(episodes, training=training)
    (alone,) = Adapting(pupil, rule, engine="loop")(episodes, training=training)
    assert torch.equal(outcome.total(), alone.total())


class Noise(nn.Module):
    """Noise that no mode turns off."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


def test_what_is_random_in_itself_is_adapted_one_after_another_by_the_same_numbers() -> None:
    pupil, episodes = Pupil(nn.Sequential(nn.Linear(4, 5), Noise()), 5).double(), drawn(4, episodes=8)
    torch.manual_seed(3)
    with pytest.warns(UserWarning, match="the results differ"):
        (outcome,) = Adapting(pupil, MAML(0.3))(episodes, training=True)
    torch.manual_seed(3)
    (alone,) = Adapting(pupil, MAML(0.3), engine="loop")(episodes, training=True)
    assert torch.equal(outcome.total(), alone.total())


@pytest.mark.parametrize("training", [True, False])
def test_the_check_changes_neither_random_numbers_nor_modes(training: bool) -> None:
    pupil = Pupil(nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5)), 5).double().train(training)
    episodes, losses = drawn(4, episodes=8), []
    for engine in ("auto", "vmap"):
        torch.manual_seed(3)
        (outcome,) = Adapting(pupil, MAML(0.3), engine=engine)(episodes, training=training)
        losses.append(outcome.losses[0])
    assert torch.equal(*losses)
    assert all(module.training == training for module in pupil.modules())
