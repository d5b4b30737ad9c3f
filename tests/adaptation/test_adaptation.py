"""Meta-gradients: two engines, and the same unrolled by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.adaptation import ANIL, BOIL, MAML, SGD, Adam, GradientDescent, MAMLPlusPlus, MetaSGD
from tests.adaptation.problems import (
    Pupil,
    adam,
    by_hand,
    by_support,
    drawn,
    expected,
    found,
    momentum,
    perceptron,
    same,
)

ENGINES: dict[str, dict[str, Any]] = {
    "loop": {"engine": "loop"},
    "vmap": {"engine": "vmap"},
    "chunks": {"engine": "vmap", "chunk": 3},
}
Rule = Callable[[], GradientDescent]


def later(epoch: int, rule: MAMLPlusPlus) -> MAMLPlusPlus:
    rule.at_epoch(epoch)
    return rule


RULES: dict[str, tuple[Rule, dict[str, Any]]] = {
    "maml-1": (lambda: MAML(0.3), {}),
    "maml-5": (lambda: MAML(0.3, 5), {}),
    "fomaml-1": (lambda: MAML(0.3, first_order=True), {}),
    "fomaml-5": (lambda: MAML(0.3, 5, first_order=True), {}),
    "anil-1": (lambda: ANIL(0.3), {}),
    "anil-5": (lambda: ANIL(0.3, 5), {}),
    "foanil-5": (lambda: ANIL(0.3, 5, first_order=True), {}),
    "boil-1": (lambda: BOIL(0.3), {}),
    "boil-5": (lambda: BOIL(0.3, 5), {}),
    "foboil-5": (lambda: BOIL(0.3, 5, first_order=True), {}),
    "metasgd-1": (lambda: MetaSGD((0.1, 0.5)), {}),
    "metasgd-5": (lambda: MetaSGD((0.1, 0.5), 5), {}),
    "fometasgd-1": (lambda: MetaSGD((0.1, 0.5), first_order=True), {}),
    "fometasgd-5": (lambda: MetaSGD((0.1, 0.5), 5, first_order=True), {}),
    "momentum-5": (lambda: MAML(0.3, 5, optimizer=SGD(0.7)), {"turn": momentum(0.7)}),
    "fomomentum-5": (lambda: MAML(0.3, 5, first_order=True, optimizer=SGD(0.7)), {"turn": momentum(0.7)}),
    "adam-1": (lambda: MAML(0.1, optimizer=Adam(eps=1e-3)), {"turn": adam(0.9, 0.999, 1e-3)}),
    "adam-5": (lambda: MAML(0.1, 5, optimizer=Adam((0.8, 0.9))), {"turn": adam(0.8, 0.9, 1e-8)}),
    "foadam-5": (lambda: MAML(0.1, 5, first_order=True, optimizer=Adam((0.8, 0.9))), {"turn": adam(0.8, 0.9, 1e-8)}),
    "maml++": (lambda: MAMLPlusPlus(0.3, 5), {"weights": [0.2] * 5}),
    "maml++ rates": (lambda: MAMLPlusPlus(0.3, 5, multi_step_epochs=0), {}),
    "maml++ 1": (lambda: MAMLPlusPlus(0.3, 1), {}),
    "maml++ losses": (lambda: later(6, MAMLPlusPlus(0.3, 5, learn_rates=False)), {"weights": [0.12] * 4 + [0.52]}),
    "maml++ last": (lambda: later(40, MAMLPlusPlus(0.3, 5)), {"weights": [0.006] * 4 + [0.976]}),
    "maml++ first order": (lambda: later(0, MAMLPlusPlus(0.3, 5, first_order_epochs=1)), {"weights": [0.2] * 5}),
    "maml++ second order": (
        lambda: later(1, MAMLPlusPlus(0.3, 5, first_order_epochs=1)),
        {"weights": [0.2 - 0.2 / 15] * 4 + [0.2 + 4 * 0.2 / 15]},
    ),
}


class Convolution(nn.Module):
    """Two convolutions with batch norm."""

    def __init__(self, track: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 4, 3)
        self.norms = nn.ModuleList([nn.BatchNorm2d(width, track_running_stats=track) for width in (3, 4)])

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.norms[0](self.first(x)))
        return torch.tanh(self.norms[1](self.second(x))).mean((2, 3))


class Attention(nn.Module):
    """A layer of a transformer over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, activation="gelu", batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layer(x)
        return features.mean(1)


class Words(nn.Module):
    """An embedding, whose unused rows have no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm, self.position = nn.Embedding(9, 4), nn.LayerNorm(4), nn.Parameter(torch.randn(3, 4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.norm(self.table(x) + self.position)).mean(1)


Kind = tuple[Callable[[], Pupil], Any, dict[str, Any], dict[str, Any]]
KINDS: dict[str, Kind] = {
    "perceptron": (perceptron, drawn(4), {}, {}),
    "batch norm": (lambda: Pupil(Convolution(False), 4), drawn(1, 6, 6), {}, {}),
    "transductive": (lambda: Pupil(Convolution(True), 4), drawn(1, 6, 6), {"norm": "transductive"}, {}),
    "by support": (lambda: Pupil(Convolution(True), 4), drawn(1, 6, 6), {"norm": "episode"}, {"judge": by_support}),
    "attention": (lambda: Pupil(Attention(), 4), drawn(3, 4), {}, {}),
    "words": (lambda: Pupil(Words(), 4), drawn(3, words=9), {}, {}),
}


def agree(rule: Rule, turn: dict[str, Any], kind: Kind, engine: str) -> None:
    make, episodes, how, judge = kind
    pupil, made = make().double(), rule().double()
    made.build(dict(pupil.named_parameters()))
    for rate in made.parameters():  # which their first values may not tell from one another
        nn.init.uniform_(rate, 0.1, 0.5)
    written = by_hand(pupil) if how or judge else pupil
    same(found(pupil, made, episodes, **how, **ENGINES[engine]), expected(written, made, episodes, **turn, **judge))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_what_unrolling_gives(rule: str, engine: str) -> None:
    agree(*RULES[rule], KINDS["perceptron"], engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rule", ["maml-1", "maml-5", "fometasgd-5", "maml++"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "perceptron"])
def test_each_kind_of_network_is_what_unrolling_gives(kind: str, rule: str, engine: str) -> None:
    agree(*RULES[rule], KINDS[kind], engine)
