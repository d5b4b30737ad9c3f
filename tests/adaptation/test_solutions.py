"""Adaptation: closed forms, finite differences, and what must hold of any rule."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lightning_mtl.adaptation import (
    ANIL,
    BOIL,
    MAML,
    SGD,
    Adam,
    Adapting,
    Episode,
    GradientDescent,
    MAMLPlusPlus,
    MetaSGD,
    Reptile,
)
from tests.adaptation.problems import Pupil, drawn, found, perceptron, same, single

BOTH = pytest.mark.parametrize("engine", ["loop", "vmap"])


class Line(Pupil):
    """f = w x, by squared error."""

    def __init__(self, width: int = 3) -> None:
        super().__init__(nn.Identity(), width, 1)
        self.heads["t"] = nn.Linear(width, 1, bias=False)
        self.double()

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(prediction.squeeze(-1), target)

    @property
    def weight(self) -> Tensor:
        return self.get_parameter("heads.t.weight").detach()[0]


def lines(count: int = 1) -> Episode:
    def part(rows: int) -> dict[str, Any]:
        x = torch.randn(count, rows, 3).double()
        return {"inputs": {"x": x}, "target": torch.randn(count, rows).double()}

    return part(5), part(7)


def whole(part: Any) -> tuple[Tensor, Tensor]:
    return part["inputs"]["x"][0], part["target"][0]


def slope(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    return 2 * x.T @ (x @ weight - y) / len(y)


# Closed forms

NAME = "heads.t.weight"


@BOTH
@pytest.mark.parametrize("first_order", [False, True])
def test_a_line_adapts_and_is_learned_in_closed_form(engine: Any, first_order: bool) -> None:
    pupil, episodes, rate = Line(), lines(), 0.1
    (x, y), (new, sought) = map(whole, episodes)
    adapted = pupil.weight - rate * slope(x, y, pupil.weight)
    (outcome,) = Adapting(pupil, MAML(rate), engine=engine)(episodes, training=False)
    assert_close(outcome.joined()["prediction"][0, :, 0], new @ adapted)
    through = torch.eye(3).double() if first_order else torch.eye(3).double() - rate * 2 * x.T @ x / len(y)
    given = found(pupil, MAML(rate, first_order=first_order), episodes, engine=engine)
    same(given, {NAME: (through @ slope(new, sought, adapted))[None]})


@BOTH
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_reptile_goes_where_steps_on_a_quadratic_lead(engine: Any, steps: int) -> None:
    pupil, episodes, rate = Line(), lines(), 0.1
    x, y = (torch.cat(parts) for parts in zip(*map(whole, episodes), strict=True))
    best = torch.linalg.solve(x.T @ x, x.T @ y)
    shrunk = torch.matrix_power(torch.eye(3).double() - rate * 2 * x.T @ x / len(y), steps)
    moved = (pupil.weight - best - shrunk @ (pupil.weight - best)) / rate
    same(found(pupil, Reptile(rate, steps), episodes, engine=engine), {NAME: moved[None]}, 1e-9)


@BOTH
def test_reptiles_minibatches_go_round(engine: Any) -> None:
    pupil, episodes = Line(), lines()
    x, y = (torch.cat(parts) for parts in zip(*map(whole, episodes), strict=True))
    weight = pupil.weight
    for rows in ([0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 0, 1, 2], [3, 4, 5, 6, 7]):
        weight = weight - 0.1 * slope(x[rows], y[rows], weight)
    rule = Reptile(0.1, 4, minibatch=5)
    same(found(pupil, rule, episodes, engine=engine), {NAME: ((pupil.weight - weight) / 0.1)[None]})


@pytest.mark.parametrize(("rows", "minibatch"), [(6, 4), (7, 3), (5, 5), (4, 9)])
def test_reptile_uses_each_example_as_often(rows: int, minibatch: int) -> None:
    numbers = {"target": torch.arange(rows)}
    rule = Reptile(minibatch=minibatch)
    seen = torch.cat([rule.part(numbers, number)["target"] for number in range(rows)])
    assert len(set(seen.bincount().tolist())) == 1


@BOTH
@pytest.mark.parametrize("inner", [SGD(), SGD(0.8), Adam(), Adam((0.5, 0.7), 1e-4)], ids=lambda of: str(vars(of)))
def test_inner_optimizers_do_as_those_of_torch(inner: Any, engine: Any) -> None:
    pupil, episodes = Line(), lines()
    x, y = (torch.cat(parts) for parts in zip(*map(whole, episodes), strict=True))
    weight = nn.Parameter(pupil.weight.clone())
    kind: Any = torch.optim.SGD if isinstance(inner, SGD) else torch.optim.Adam
    outer = kind([weight], lr=0.05, **vars(inner))
    for _ in range(6):
        outer.zero_grad()
        torch.autograd.backward(F.mse_loss(x @ weight, y))
        outer.step()
    given = found(pupil, Reptile(0.05, 6, optimizer=inner), episodes, engine=engine)
    same(given, {NAME: ((pupil.weight - weight.detach()) / 0.05)[None]}, 1e-6)  # `eps` within the root


# Finite differences


def objective(pupil: nn.Module, rule: GradientDescent, episodes: Episode) -> float:
    (outcome,) = Adapting(pupil, rule, engine="loop")(episodes, training=False)
    return float(torch.cat(outcome.losses).mean())


@BOTH
@pytest.mark.parametrize("rule", [MAML(0.4, 2), MetaSGD((0.1, 0.5), 2)], ids=["maml", "metasgd"])
def test_meta_gradients_are_finite_differences(rule: GradientDescent, engine: Any) -> None:
    pupil = Pupil(nn.Sequential(nn.Linear(2, 3), nn.Tanh()), 3).double()
    episodes, step = drawn(2, episodes=2), 1e-5
    rule.double().build(dict(pupil.named_parameters()))
    differences = {}
    for name, value in [*pupil.named_parameters(), *rule.named_parameters()]:
        differences[name] = torch.zeros_like(value)
        for place, number in enumerate(value.detach().flatten().tolist()):
            sides = []
            for side in (number + step, number - step):
                value.data.view(-1)[place] = side
                sides.append(objective(pupil, rule, episodes))
            value.data.view(-1)[place] = number
            differences[name].view(-1)[place] = (sides[0] - sides[1]) / (2 * step)
    same(found(pupil, rule, episodes, engine=engine), differences, 1e-6)


# What must hold


def test_second_derivatives_come_after_the_epochs_without() -> None:
    rule, orders = MAMLPlusPlus(first_order_epochs=2), []
    for epoch in range(4):
        rule.at_epoch(epoch)
        orders.append(rule.first_order)
    assert orders == [True, True, False, False]


def plain(pupil: nn.Module, episodes: Episode) -> dict[str, Tensor]:
    leaves = dict(pupil.named_parameters())
    count = len(episodes[0]["target"])
    loss = sum((pupil(single(episodes, i)[1])[0] for i in range(count)), torch.zeros(())) / count
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


@BOTH
@pytest.mark.parametrize("first_order", [False, True])
def test_without_steps_it_is_the_gradient_of_the_querys_loss(engine: Any, first_order: bool) -> None:
    pupil, episodes = perceptron(), drawn(4)
    same(found(pupil, MAML(steps=0, first_order=first_order), episodes, engine=engine), plain(pupil, episodes))


@BOTH
@pytest.mark.parametrize("first_order", [False, True])
def test_a_small_rate_comes_near_it_in_proportion(engine: Any, first_order: bool) -> None:
    pupil, episodes = perceptron(), drawn(4)
    bare = plain(pupil, episodes)

    def apart(rate: float) -> Tensor:
        given = found(pupil, MAML(rate, 2, first_order=first_order), episodes, engine=engine)
        return torch.cat([(given[name] - bare[name]).flatten() for name in bare])

    assert_close(2 * apart(1e-5), apart(2e-5), rtol=0, atol=1e-3 * float(apart(2e-5).abs().max()))
    assert float(apart(1e-5).abs().max()) > 0


@BOTH
def test_order_of_episodes_is_irrelevant(engine: Any) -> None:
    pupil, episodes = perceptron(), drawn(4)
    order = torch.randperm(5)
    turned = torch.utils._pytree.tree_map(lambda x: x[order], episodes)
    rule = MAML(0.3, 2)
    same(found(pupil, rule, turned, engine=engine), found(pupil, rule, episodes, engine=engine), 1e-13)


@BOTH
@pytest.mark.parametrize("pattern", ["head", ["heads.*"], ["heads.t.weight", "*.t.b*"]])
def test_anil_is_maml_of_the_head_and_boil_of_the_encoder(engine: Any, pattern: Any) -> None:
    pupil, episodes = perceptron(), drawn(4)
    alike = found(pupil, MAML(0.3, 2, adapted=pattern), episodes, engine=engine)
    same(alike, found(pupil, ANIL(0.3, 2), episodes, engine=engine), 0)
    body = found(pupil, MAML(0.3, 2, adapted=["encoder.0.*", "encoder.2.*"]), episodes, engine=engine)
    same(body, found(pupil, BOIL(0.3, 2), episodes, engine=engine), 0)


@BOTH
def test_meta_sgd_with_one_rate_is_maml(engine: Any) -> None:
    pupil, episodes, rule = perceptron(), drawn(4), MetaSGD(0.3, 3)
    rule.build(dict(pupil.named_parameters()))
    given = found(pupil, rule, episodes, engine=engine)
    bare = found(pupil, MAML(0.3, 3), episodes, engine=engine)
    same({name: given[name] for name in bare}, bare)
