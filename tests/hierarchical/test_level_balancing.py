"""Balancers in a hierarchy: at each level its tasks are weighed, and what comes from above as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils.data import DataLoader, Dataset

from lightning_mtl import Multiclass, Regression, Tagging, Task
from lightning_mtl.balancers import IMTLG, CAGrad, GradNorm, LogSum, PCGrad, UPGrad
from tests.hierarchical.levels import columns, labels, module
from tests.models import quiet

EXACT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-11}
Batch = dict[str, dict[str, Tensor]]


class Same(Dataset[Batch]):
    """The same batch in every step."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return 3

    def __getitem__(self, row: int) -> Batch:
        return {source: dict(columns) for source, columns in self.batch.items()}


def four(feeds: bool = False) -> list[Task]:
    """Make two tasks at the first level, one at the second and one at the top."""
    return [
        Task("low", head=Tagging(5), level=1),
        Task("mood", head=Regression(), level=1),
        Task("middle", head=Multiclass(3), level=2, feeds_from=["low"] if feeds else []),
        Task("high", head=Multiclass(4)),
    ]


def batch(name: str = "recurrent", *, mixed: bool = False) -> Batch:
    torch.manual_seed(4)
    inputs = columns(name)
    return {"s": {**inputs, **labels(name, inputs, mixed=mixed), "mood": torch.randn(9, dtype=torch.float64)}}


def moved(of: Any, drawn: Batch, steps: int = 1) -> dict[str, Tensor]:
    """Train for a step of plain SGD with a rate of 1: the gradient of each parameter."""
    before = {name: p.detach().clone() for name, p in of.named_parameters()}
    quiet(max_steps=steps, precision="64-true").fit(of, DataLoader(Same(drawn), batch_size=None))
    return {name: before[name] - p.detach() for name, p in of.named_parameters()}


def sgd(groups: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=1.0)


def losses_and_levels(of: Any, drawn: Batch) -> tuple[list[Tensor], list[Tensor]]:
    """Run all by hand: the losses of the tasks, and what each level gives."""
    seen: list[Tensor] = []
    state = of.encoder.prepare({"input_ids": drawn["s"]["input_ids"]})
    answers = {}
    for level in (1, 2, 3):
        state = of.encoder.step(state, level)
        seen.append(state.hidden)
        for task in of.tasks:
            if of.encoder.number(task.level) == level:
                answers[task.name] = of.heads[task.name](state.hidden, state.mask)
    losses = []
    for task in of.tasks:
        target, answer = drawn["s"][task.name], answers[task.name]
        there = target >= 0 if not target.is_floating_point() else target.isfinite()
        losses.append(task.head.loss(answer[there], target[there]))
    return losses, seen


def weighed_by_hand(of: Any, drawn: Batch, balancer: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Bring gradients down level by level, and weigh what meets there: gradients of parameters, weights by name of the row."""
    losses, levels = losses_and_levels(of, drawn)
    tops = [of.encoder.number(task.level) for task in of.tasks]
    found: dict[str, Tensor] = {}
    weights: dict[str, Tensor] = {}
    above: Tensor | None = None  # the gradient that comes down, weighed already
    for level in (3, 2, 1):
        here = [i for i, top in enumerate(tops) if top == level]
        rows = [torch.autograd.grad(losses[i], levels[level - 1], retain_graph=True)[0] for i in here]
        names = [of.tasks[i].name for i in here]
        if above is not None:
            rows.append(torch.autograd.grad(levels[level], levels[level - 1], above, retain_graph=True)[0])
            names.append(f"above level {level}")
        stacked = torch.stack(rows).flatten(1)
        given = torch.ones(1, dtype=torch.float64)
        if len(rows) > 1:
            given = balancer(stacked @ stacked.T)
            weights |= dict(zip(names, given, strict=True))
        above = (given @ stacked).view_as(levels[level - 1])
        parts = {f"encoder.levels.{level - 1}.{name}": p for name, p in of.encoder.levels[level - 1].named_parameters()}
        made = torch.autograd.grad(levels[level - 1], list(parts.values()), above, retain_graph=True)
        found |= dict(zip(parts, made, strict=True))
    return found, weights


@pytest.mark.parametrize("balancer", [UPGrad(), IMTLG(), CAGrad()], ids=lambda of: type(of).__name__)
def test_each_level_weighs_its_tasks_against_what_comes_from_above(balancer: Any) -> None:
    drawn = batch()
    of = module("recurrent", four(), balancer=balancer, scope="representation", optimizer=sgd)
    twin = module("recurrent", four())
    expected, weights = weighed_by_hand(twin, drawn, balancer)
    found = moved(of, drawn)
    for name, gradient in expected.items():
        assert_close(found[name], gradient, **EXACT)
    balance = of.balance
    assert balance is not None
    assert set(balance.tasks) == set(weights)
    for name, weight in zip(balance.tasks, balance.weights, strict=True):
        assert_close(weight, weights[name], **EXACT)


def test_heads_get_their_own_gradient() -> None:
    drawn = batch()
    of = module("recurrent", four(), balancer=UPGrad(), scope="representation", optimizer=sgd)
    plain = module("recurrent", four(), optimizer=sgd)
    found, expected = moved(of, drawn), moved(plain, drawn)
    heads = [name for name in found if name.startswith("heads.")]
    assert heads
    for name in heads:
        assert_close(found[name], expected[name], **EXACT)


def exact_by_hand(of: Any, drawn: Batch, balancer: Any) -> dict[str, Tensor]:
    step = of.run(drawn)
    parts = {
        "encoder": of.encoder,
        "hierarchy.embeddings": of.hierarchy.embeddings,
        "hierarchy.joins": of.hierarchy.joins,
    }
    shared = {f"{at}.{name}": p for at, part in parts.items() for name, p in part.named_parameters()}
    rows = []
    for loss in step.losses:
        each = torch.autograd.grad(loss, list(shared.values()), retain_graph=True, allow_unused=True)
        rows.append(
            torch.cat(
                [
                    (torch.zeros_like(p) if g is None else g).flatten()
                    for g, p in zip(each, shared.values(), strict=True)
                ]
            )
        )
    stacked = torch.stack(rows)
    flat = balancer(stacked @ stacked.T) @ stacked
    pieces = flat.split([p.numel() for p in shared.values()])
    return {name: part.view_as(p) for (name, p), part in zip(shared.items(), pieces, strict=True)}


@pytest.mark.parametrize("mixed", [False, True], ids=["all labels", "levels mixed"])
@pytest.mark.parametrize("feeds", [False, True], ids=["", "fed"])
def test_gradients_of_parameters_are_exact(feeds: bool, mixed: bool) -> None:
    drawn = batch(mixed=mixed)
    of = module("recurrent", four(feeds), balancer=UPGrad(), optimizer=sgd)
    twin, plain = module("recurrent", four(feeds)), module("recurrent", four(feeds), optimizer=sgd)
    expected = exact_by_hand(twin, drawn, UPGrad())
    found, unweighed = moved(of, drawn), moved(plain, drawn)
    for name, gradient in expected.items():
        assert_close(found[name], gradient, **EXACT)
    for name in found:  # heads are moved as ever, also by the tasks that they feed
        if name.startswith("heads."):
            assert_close(found[name], unweighed[name], **EXACT)


@pytest.mark.parametrize("options", [{"sketch": 100_000}, {"gradient_memory": 1.0}, {"refresh_every": 2}], ids=str)
def test_the_other_ways_weigh_at_the_levels_by_the_weights_of_parameters(options: Mapping[str, Any]) -> None:
    drawn = batch()
    rows = module("recurrent", four(True), balancer=UPGrad(), detach_feeds=True, optimizer=sgd)
    of = module("recurrent", four(True), balancer=UPGrad(), detach_feeds=True, optimizer=sgd, **options)
    found, expected = moved(of, drawn), moved(rows, drawn)
    if "sketch" in options:
        assert of.balance.weights == pytest.approx(rows.balance.weights, abs=0.05)
        return
    for name, gradient in expected.items():
        assert_close(found[name], gradient, **EXACT)


def test_kept_weights_are_those_of_the_last_measure() -> None:
    drawn = batch()
    of = module(
        "recurrent",
        four(),
        balancer=UPGrad(),
        refresh_every=5,
        optimizer=lambda groups: torch.optim.SGD(groups, lr=1e-3),
    )
    quiet(max_steps=1, precision="64-true").fit(of, DataLoader(Same(drawn), batch_size=None))
    weights = dict(zip(of.balance.tasks, of.balance.weights.tolist(), strict=True))
    quiet(max_steps=2, precision="64-true").fit(of, DataLoader(Same(drawn), batch_size=None))
    assert dict(zip(of.balance.tasks, of.balance.weights.tolist(), strict=True)).keys() == weights.keys()


@pytest.mark.parametrize("balancer", [GradNorm(), LogSum(), PCGrad()], ids=lambda of: type(of).__name__)
def test_every_parameter_moves(balancer: Any) -> None:
    scope = {} if isinstance(balancer, LogSum) else {"scope": "representation"}
    of = module(
        "recurrent", four(), balancer=balancer, optimizer=lambda groups: torch.optim.Adam(groups, lr=0.01), **scope
    )
    found = moved(of, batch(mixed=True), steps=3)
    assert all(change.any() for name, change in found.items() if not name.startswith("balancer."))


@pytest.mark.parametrize("scope", ["representation", "parameters"])
def test_a_balanced_hierarchy_is_saved_and_goes_on(scope: Any, tmp_path: Any) -> None:
    drawn = DataLoader(Same(batch()), batch_size=None)

    def made() -> Any:
        return module(
            "recurrent",
            four(),
            balancer=GradNorm(),
            scope=scope,
            optimizer=lambda groups: torch.optim.Adam(groups, lr=0.01),
        )

    whole, first = made(), made()
    quiet(max_epochs=2, precision="64-true").fit(whole, drawn)
    trainer = quiet(max_epochs=1, precision="64-true")
    trainer.fit(first, drawn)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = made()
    quiet(max_epochs=2, precision="64-true").fit(again, drawn, ckpt_path=tmp_path / "a.ckpt", weights_only=False)
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    loaded = type(whole).load_from_checkpoint(tmp_path / "a.ckpt")
    assert loaded.measuring.scope == scope


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"scope": "representation"}, "`detach_feeds` must be true"),
        ({"sketch": 8}, "`detach_feeds` must be true"),
        ({"scope": "representation", "weight_heads": True}, "`weight_heads` must go with scope='parameters'"),
    ],
)
def test_gradients_that_cannot_be_told_apart_are_refused(options: Mapping[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        module("recurrent", four(feeds=True), balancer=UPGrad(), **options)
