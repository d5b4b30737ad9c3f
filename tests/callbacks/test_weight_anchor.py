"""Weights are held where the last phase left them."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.testing import assert_close

from lightning_mtl import Binary, HierarchicalModule, Levels, Regression, Task
from lightning_mtl.callbacks import Distillation, Replay, WeightAnchor
from lightning_mtl.samplers import Phase, Phases, Proportional
from tests.cases import over
from tests.conftest import TrainerMaker
from tests.phased import NAMES, Save, Watch, data, module, resumed, same, watched


@over("seed", range(5))
@pytest.mark.parametrize("strength", [0.1, 5.0, 20.0, 1e4])
def test_a_step_of_descent_goes_no_further_than_the_anchor(seed: int, strength: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    theta, anchor = torch.randn(2, 30, generator=draw, dtype=torch.float64)
    (away,) = WeightAnchor(strength).away([theta], [[anchor]], 0.1)
    assert_close(theta - 0.1 * strength * away, anchor + (theta - anchor) * max(0.0, 1 - 0.1 * strength))


@pytest.mark.parametrize("replayed", [False, True])
def test_the_gradient_is_that_of_the_penalty(replayed: bool, trainer: TrainerMaker) -> None:
    before, after, _ = watched(trainer, *([Replay()] if replayed else []), WeightAnchor(0.7))
    pulled: set[str] = set()
    for step, plain in enumerate(before.gradients):
        assert plain.keys() == after.gradients[step].keys()
        trained = NAMES[: step // 4]
        for name, gradient in plain.items():
            if step >= 4 and (name.startswith("encoder") or name.split(".")[1] in trained):
                theta = before.weights[step][name].clone().requires_grad_()
                at = before.starts[step // 4 * 4][name]
                (more,) = torch.autograd.grad(0.7 / 2 * (theta - at).square().sum(), theta)
                gradient = gradient + more
                pulled |= {name} if bool(more.any()) else set()
            assert_close(after.gradients[step][name], gradient, rtol=1e-12, atol=1e-14)
    parts = {name.split(".")[1] if name.startswith("heads") else "trunk" for name in pulled}
    assert parts == ({"trunk", "one", "two"} if replayed else {"trunk"})


def test_a_phase_that_comes_again_moves_the_anchor(trainer: TrainerMaker) -> None:
    held, kept = WeightAnchor(0.5), []

    class Note(L.Callback):
        def on_before_optimizer_step(self, *_: Any, **__: Any) -> None:
            kept.append({name: anchor.clone() for name, (anchor,) in held.held.items()})

    rule = Phases([Phase([name], steps=2) for name in NAMES[:2]])
    before, _, _ = watched(trainer, held, Note(), feed=data(rule))
    for step, anchors in enumerate(kept):
        heads = {name.split(".")[1] for name in anchors if name.startswith("heads")}
        assert heads == (set() if step < 2 else {"one"} if step < 4 else {"one", "two"})
        assert all(torch.equal(anchor, before.starts[step // 2 * 2][name]) for name, anchor in anchors.items())


def test_in_a_hierarchy_feeds_and_mixes_are_held_too(trainer: TrainerMaker) -> None:
    levels = Levels([nn.Sequential(nn.Linear(4, 6), nn.Tanh()), nn.Sequential(nn.Linear(6, 6), nn.Tanh())], inputs="x")
    low = Task("one", target="sign", head=Binary(), level=[1, 2])
    high = Task("two", target="size", head=Regression(), level=2)
    made = HierarchicalModule([low, high], levels)
    held = WeightAnchor(0.5)
    rule = Phases([Phase([name], steps=2) for name in NAMES[:2]], repeat=False)
    trainer(callbacks=[held]).fit(made, data(rule))
    names = {name for name, _ in made.named_parameters()}
    assert set(held.held) == {name for name in names if "two" not in name.split(".")}
    assert any(name.startswith("hierarchy.mixes.one") for name in held.held)


@pytest.mark.filterwarnings("ignore:Be aware that when using .ckpt_path")
@pytest.mark.parametrize("hold", [WeightAnchor, Distillation])
def test_a_checkpoint_that_is_tested_leaves_alone_what_is_held(
    hold: type[WeightAnchor | Distillation], trainer: TrainerMaker, tmp_path: Path
) -> None:
    made, held = module(), hold(1.0)
    run = trainer(callbacks=[held, Save(tmp_path / "early.ckpt", 2)])
    run.fit(made, data())
    before = pickle.dumps(held.state_dict())
    run.validate(made, data(), ckpt_path=tmp_path / "early.ckpt", weights_only=False, verbose=False)
    assert pickle.dumps(held.state_dict()) == before


@pytest.mark.filterwarnings("ignore:`Trainer.fit` stopped")
@pytest.mark.parametrize("hold", [WeightAnchor, Distillation])
def test_what_is_held_is_not_lost_where_nothing_is_left_to_train(
    hold: type[WeightAnchor | Distillation], trainer: TrainerMaker, tmp_path: Path
) -> None:
    first, again = hold(1.0), hold(1.0)
    run = trainer(callbacks=[first])
    run.fit(module(), data())
    run.save_checkpoint(tmp_path / "end.ckpt")
    trainer(callbacks=[again]).fit(module(), data(), ckpt_path=tmp_path / "end.ckpt")
    before, after = (of.get("held") or of["teacher"] for of in (first.state_dict(), again.state_dict()))
    assert after
    assert_close(after, before)


def test_strength_zero_changes_nothing(trainer: TrainerMaker) -> None:
    ends = []
    for callbacks in ([], [WeightAnchor(0.0)]):
        made = module(adam=True, lr=0.01, dropout=0.4)
        torch.manual_seed(0)
        trainer(callbacks=callbacks).fit(made, data())
        ends.append(made.state_dict())
    assert same(*ends)


def test_it_is_clipped_with_the_gradient(trainer: TrainerMaker) -> None:
    norms: list[float] = []

    class Last(L.Callback):
        def on_before_zero_grad(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
            found = [p.grad.norm() for p in pl_module.parameters() if p.grad is not None]
            norms.extend([float(torch.stack(found).norm())] if found else [])

    run = trainer(callbacks=[WeightAnchor(9.0), Last()], gradient_clip_val=0.05, precision="64-true")
    run.fit(module(), data())
    assert len(norms) > 5
    assert max(norms) <= 0.05 + 1e-6


def test_accumulated_batches_are_held_once(trainer: TrainerMaker) -> None:
    before, after, _ = watched(trainer, WeightAnchor(0.7), accumulate_grad_batches=2)
    assert len(before.gradients) == 6
    name = "encoder.trunk.0.weight"
    for step in range(2, 6):
        away = before.weights[step][name] - before.weights[step // 2 * 2][name]
        assert_close(after.gradients[step][name], before.gradients[step][name] + 0.7 * away, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("step", [3, 4, 6, 8, 10])
def test_a_resumed_run_ends_as_the_unbroken_one(step: int, trainer: TrainerMaker, tmp_path: Path) -> None:
    whole, again, without = resumed(trainer, lambda: WeightAnchor(5.0), step, tmp_path / "some.ckpt")
    assert same(whole, again)
    assert not same(whole, without)


def test_no_phases(trainer: TrainerMaker) -> None:
    with pytest.raises(ValueError, match=re.escape("`sampling` must be `Phases` for WeightAnchor, got Proportional()")):
        trainer(callbacks=[WeightAnchor(1.0)]).fit(module(), data(Proportional()))


def test_another_module(trainer: TrainerMaker) -> None:
    class Own(L.LightningModule):
        pass

    with pytest.raises(ValueError, match="WeightAnchor must have a module of lightning_mtl, got Own"):
        WeightAnchor(1.0).setup(trainer(), Own(), "fit")


def test_parameters_that_are_cut_over_ranks(trainer: TrainerMaker) -> None:
    run = trainer(strategy=ModelParallelStrategy(), devices=1)
    with pytest.raises(ValueError, match="WeightAnchor must have whole parameters on each rank"):
        WeightAnchor(1.0).setup(run, module(), "fit")


def test_arguments_out_of_range() -> None:
    with pytest.raises(ValueError, match=re.escape("`strength` must be finite and at least 0, got nan. 0 holds")):
        WeightAnchor(float("nan"))


def test_a_twin_of_one_source_has_nothing_to_hold(trainer: TrainerMaker) -> None:
    held, watch = WeightAnchor(1.0), Watch()
    rule = Phases([Phase([name], steps=4) for name in NAMES], repeat=False)
    made = module()
    trainer(callbacks=[held, watch]).fit(type(made)(made.tasks[:1], made.encoder), data(rule))
    assert watch.sources == [{"one"}] * 12
    assert not held.held
