"""How much of a gradient enters the encoder, how much goes on below, and where it is clipped."""

from __future__ import annotations

import re
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_mtl import HierarchicalModule, Levels, MultiTaskDataModule, Regression, Task
from tests.builders import columns, rows, splits
from tests.conftest import TrainerMaker

EXACT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}
NAMES = ("low", "middle", "high")
FACTORS = (0.0, 0.5, 1.0)


def module(which: tuple[str, ...] = NAMES, **options: Any) -> HierarchicalModule:
    """Three levels with a task at each, in float64."""
    torch.manual_seed(0)
    trunk = [nn.Sequential(nn.Linear(4 if i == 0 else 5, 5), nn.Tanh()) for i in range(3)]
    tasks = [Task(name, target="size", head=Regression(), level=NAMES.index(name) + 1) for name in which]
    made = HierarchicalModule(tasks, Levels(trunk, stages=["words", "syntax", "meaning"], inputs="x"), **options)
    torch.manual_seed(1)
    for p in made.parameters():
        nn.init.normal_(p, std=0.5)
    return made.double()


def batch() -> dict[str, Any]:
    return {"s": {name: column.double() for name, column in columns(rows(7)).items()}}


def gradients(of: HierarchicalModule) -> dict[str, Tensor]:
    """Add the losses up, and give each parameter's gradient, zero where it got none."""
    total: Any = sum(of.run(batch()).losses)
    total.backward()
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in of.named_parameters()
        if not name.startswith("metrics")
    }


def by_hand(of: HierarchicalModule, tap: dict[str, float], level: dict[int, float]) -> dict[str, Tensor]:
    """Add up each task's gradient for each level, times the factors that it passes on its way down from the tap."""
    names = [name for name, _ in of.named_parameters()]
    found = {name: torch.zeros_like(p) for name, p in of.named_parameters()}
    drawn = batch()["s"]
    hidden, features = drawn["x"], []
    for part in of.encoder.levels:
        hidden = part(hidden)
        features.append(hidden)
    for at, name in enumerate(NAMES, 1):
        loss = (of.heads[name](features[at - 1]) - drawn["size"]).square().mean()
        parts: Any = torch.autograd.grad(loss, list(of.parameters()), retain_graph=True, allow_unused=True)
        for parameter, gradient in zip(names, parts, strict=True):
            if gradient is None:
                continue
            factor = 1.0
            if parameter.startswith("encoder.levels."):
                end = int(parameter.split(".")[2]) + 1
                factor = tap.get(name, 1.0)
                for passed in range(end, at):  # from above it enters each of these levels
                    factor *= level.get(passed, 1.0)
            found[parameter] += factor * gradient
    return found


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("task", NAMES)
def test_what_a_task_sends_into_the_encoder_is_scaled(task: str, factor: float) -> None:
    found = gradients(module(tap_grad={task: factor}))
    expected = by_hand(module(), {task: factor}, {})
    for name, gradient in expected.items():
        assert_close(found[name], gradient, **EXACT)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("level", [1, 2, "syntax", -2])
def test_what_enters_a_level_from_above_is_scaled(level: int | str, factor: float) -> None:
    found = gradients(module(level_grad={level: factor}))
    expected = by_hand(module(), {}, {level if level == 1 else 2: factor})
    for name, gradient in expected.items():
        assert_close(found[name], gradient, **EXACT)


@pytest.mark.parametrize("tap", FACTORS)
@pytest.mark.parametrize("level", FACTORS)
def test_one_factor_is_that_of_all(tap: float, level: float) -> None:
    found = gradients(module(tap_grad=tap, level_grad=level))
    expected = by_hand(module(), dict.fromkeys(NAMES, tap), dict.fromkeys((1, 2, 3), level))
    for name, gradient in expected.items():
        assert_close(found[name], gradient, **EXACT)


def test_factors_change_no_prediction() -> None:
    plain, scaled = module(), module(tap_grad=0.0, level_grad=0.5)
    inputs = {"s": {"x": batch()["s"]["x"]}}
    given, others = plain(inputs), scaled(inputs)
    assert all(torch.equal(given[name], others[name]) for name in NAMES)


def test_a_task_that_only_probes_moves_its_head_alone(trainer: TrainerMaker) -> None:
    made = module(("middle",), tap_grad=0.0, optimizer=lambda groups: torch.optim.AdamW(groups, lr=0.1))
    first = {name: p.detach().clone() for name, p in made.named_parameters()}
    trainer(precision="64-true").fit(made, MultiTaskDataModule({"s": splits(24)}, batch_size=8, summary=False))
    for name, p in made.named_parameters():
        assert torch.equal(p, first[name]) is name.startswith("encoder"), name


# Clipping


class Norms(L.Callback):
    """Notes the norm of the gradient before it is clipped, and after."""

    def __init__(self) -> None:
        self.before: list[float] = []
        self.after: list[float] = []

    def norm(self, module: L.LightningModule) -> float:
        return float(torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]).norm())

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        self.before.append(self.norm(pl_module))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        self.after.append(self.norm(pl_module))


def loud(prediction: Tensor, target: Tensor) -> Tensor:
    return 1000 * (prediction - target).square().mean()


@pytest.mark.parametrize(
    ("top", "limit", "norm"), [(1, 3.0, 1.0), (2, 3.0, 2.0), (3, 3.0, 3.0), (3, 1.5, 1.5), (2, 9.0, 2.0)]
)
def test_a_gradient_is_clipped_at_the_depth_of_its_step(
    top: int, limit: float, norm: float, trainer: TrainerMaker
) -> None:
    made = module(NAMES[:top], clip_by_depth=limit, optimizer=lambda groups: torch.optim.SGD(groups, lr=1e-6))
    made._losses = [loud] * top
    seen = Norms()
    data = MultiTaskDataModule({"s": splits(24)}, batch_size=8, summary=False)
    trainer(precision="64-true", callbacks=[seen]).fit(made, data)
    assert min(seen.before) > 3
    assert seen.after == pytest.approx([norm] * 3, rel=1e-4)


def test_a_gradient_that_is_short_stays(trainer: TrainerMaker) -> None:
    made = module(clip_by_depth=3.0, optimizer=lambda groups: torch.optim.SGD(groups, lr=1e-6))
    made._losses = [lambda prediction, target: 1e-3 * (prediction - target).square().mean()] * 3
    seen = Norms()
    data = MultiTaskDataModule({"s": splits(24)}, batch_size=8, summary=False)
    trainer(precision="64-true", callbacks=[seen]).fit(made, data)
    assert max(seen.before) < 1
    assert seen.after == seen.before


def test_two_ways_to_clip_are_one_too_many(trainer: TrainerMaker) -> None:
    made = module(clip_by_depth=3.0)
    data = MultiTaskDataModule({"s": splits(24)}, batch_size=8, summary=False)
    with pytest.raises(ValueError, match=re.escape("`gradient_clip_val` of the Trainer must be left out with")):
        trainer(gradient_clip_val=1.0, precision="64-true").fit(made, data)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"clip_by_depth": 0.0}, "`clip_by_depth` must be finite and above 0, got 0.0. The paper's is 3."),
        ({"tap_grad": -1.0}, "`tap_grad['low']` must be finite and at least 0, got -1.0. 0 lets no gradient through."),
        ({"tap_grad": {"lwo": 0.5}}, "`tap_grad` must name tasks, got ['lwo']; tasks are ['low', 'middle', 'high']."),
        ({"level_grad": float("inf")}, "`level_grad[1]` must be finite and at least 0, got inf."),
        (
            {"level_grad": {4: 0.5}},
            "`level` must be a number from 1 to 3, or -1 to -3 from the top, or one of the names",
        ),
    ],
)
def test_factors_that_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        module(**options)
