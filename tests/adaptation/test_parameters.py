"""Adaptation: which parameters adapt and are learned, and how their gradients reach them."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.adaptation import ANIL, MAML, Adapting, Reptile
from tests.adaptation.problems import Pupil, drawn, expected, found, perceptron, same

BOTH = pytest.mark.parametrize("engine", ["loop", "vmap"])


class Twice(nn.Module):
    """One layer that is used twice; known by one name, or by two; or two layers of the same parameters."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        if kind == "named twice":
            self.second: nn.Module = self.first
        if kind == "tied":
            self.second = nn.Linear(4, 4)
            self.second.weight, self.second.bias = self.first.weight, self.first.bias
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.first, self.first if self.kind == "used twice" else self.second):
            x = torch.tanh(layer(x))
        return x


@BOTH
@pytest.mark.parametrize("kind", ["used twice", "named twice", "tied"])
def test_tied_weights_stay_tied(kind: str, engine: Any) -> None:
    pupil, written = (Pupil(Twice(of), 4).double() for of in (kind, "used twice"))
    held = dict(pupil.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for value, other in zip(written.parameters(), pupil.parameters(), strict=True):
            value.copy_(other)
    rule, episodes = MAML(0.3, 2), drawn(4)
    same(found(pupil, rule, episodes, engine=engine), expected(written, rule, episodes))
    after = dict(pupil.named_parameters(remove_duplicate=False))
    assert all(value is after[name] for name, value in held.items())


@BOTH
@pytest.mark.parametrize("frozen", [["encoder.0.weight"], ["encoder.2.weight", "heads.t.bias"]])
@pytest.mark.parametrize("rule", [MAML(0.3, 2), MAML(0.3, 2, first_order=True), Reptile(0.3, 2)], ids=str)
def test_frozen_parameters_neither_adapt_nor_are_learned(frozen: list[str], rule: MAML, engine: Any) -> None:
    pupil, rule, episodes = perceptron(), copy.deepcopy(rule), drawn(4)
    for name in frozen:
        pupil.get_parameter(name).requires_grad_(False)
    given = found(pupil, rule, episodes, engine=engine)
    assert given.keys() == {name for name, _ in pupil.named_parameters()} - set(frozen)
    if not rule.follows_difference:
        same(given, expected(pupil, rule, episodes))


@BOTH
@pytest.mark.parametrize("training", [True, False])
def test_nothing_adapts_where_all_that_would_is_frozen(engine: Any, training: bool) -> None:
    pupil, rule = perceptron(), ANIL(0.3)
    rule.build(dict(pupil.named_parameters()))
    pupil.heads.requires_grad_(False)
    with pytest.raises(ValueError, match=r"`adapted` of ANIL must match trained parameters.*frozen"):
        Adapting(pupil, rule, engine=engine)(drawn(4), training=training)


class Shared(nn.Module):
    """Parameters of which autograd gives one tensor for two, or one number for all of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shift, self.other, self.level = nn.Linear(4, 4), *(nn.Parameter(torch.randn(4)) for _ in "123")

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.first(x)) + (self.shift + self.other)


class Penalised(Pupil):
    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        level: Tensor = cast(Any, self.encoder).level
        return super().loss(prediction, target) + level.sum()


@BOTH
@pytest.mark.parametrize("rule", [MAML(steps=0), ANIL(0.3), ANIL(0.3, first_order=True)], ids=str)
def test_gradients_that_share_memory_add_up(rule: MAML, engine: Any) -> None:
    pupil, episodes = Penalised(Shared(), 4).double(), drawn(4)
    same(found(pupil, rule, episodes, engine=engine), expected(pupil, rule, episodes))
