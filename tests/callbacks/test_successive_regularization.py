"""What lower tasks have learned is held while higher ones are trained."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import DataLoader

from lightning_mtl import Binary, HierarchicalModule, Levels, MultiTaskDataModule, MultiTaskModule, Regression, Task
from lightning_mtl.callbacks import SuccessiveRegularization
from lightning_mtl.samplers import Explicit, FunctionOfStep, Phase, Phases, Proportional, Rule
from tests.builders import columns, splits
from tests.builders import module as flat_module
from tests.conftest import TrainerMaker

IN_TURN = Phases([Phase(["low"], steps=3), Phase(["high"], steps=3)])
DELTAS: dict[str, Any] = {"delta": 0.3, "head_delta": 0.7}


class Embedded(Levels):
    """Levels that stand on something: a layer of level 0."""

    def __init__(self) -> None:
        super().__init__([nn.Sequential(nn.Linear(4, 6), nn.Tanh()), nn.Sequential(nn.Linear(6, 5), nn.Tanh())])
        self.embedding = nn.Linear(4, 4)

    def prepare(self, inputs: dict[str, Any]) -> Any:
        return super().prepare({"x": self.embedding(inputs["x"])})


def module(feeds: bool = True, lr: float = 0.1, adam: bool = False, **options: Any) -> HierarchicalModule:
    torch.manual_seed(0)
    low = Task("low", target="sign", head=Binary(), level=1)
    high = Task("high", target="size", head=Regression(), level=2, feeds_from=["low"] if feeds else [])

    def optimizer(groups: Any) -> Any:
        if adam:
            return torch.optim.AdamW(groups, lr=lr, weight_decay=0.1)
        return torch.optim.SGD(groups, lr=lr)

    return HierarchicalModule([low, high], Embedded(), optimizer=optimizer, feed_width=3, **options)


def data(rule: Rule | None = IN_TURN, **options: Any) -> MultiTaskDataModule:
    made = {name: splits(24, seed) for seed, name in enumerate(("low", "high"))}
    feed = {"batch_size": 8, "sampling": rule, "seed": 0, "summary": False, "steps_per_epoch": 12}
    return MultiTaskDataModule(made, **{**feed, **options})


class Before(L.Callback):
    """Notes tasks, epoch, weights and gradients of each step; stands before and behind the callback that adds to gradients."""

    def __init__(self) -> None:
        self.tasks: list[list[int]] = []
        self.epochs: list[int] = []
        self.weights: list[dict[str, Tensor]] = []
        self.gradients: list[dict[str, Tensor]] = []

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        self.tasks.append(sorted(pl_module.loss_over_ranks.tasks_of_step()))
        self.epochs.append(trainer.current_epoch)
        named = dict(pl_module.named_parameters())
        self.weights.append({name: p.detach().clone() for name, p in named.items()})
        self.gradients.append({name: p.grad.clone() for name, p in named.items() if p.grad is not None})


def watched(
    trainer: TrainerMaker, held: SuccessiveRegularization, made: HierarchicalModule, feed: Any, **options: Any
) -> tuple[Before, Before]:
    """Train, and give what was before and after the callback in each step."""
    before, after = Before(), Before()
    run = trainer(callbacks=[before, held, after], precision="64-true", **{"max_epochs": 2, **options})
    run.fit(made, **feed) if isinstance(feed, dict) else run.fit(made, feed)
    return before, after


def strength(name: str, tasks: Sequence[int]) -> float:
    """Say by hand how firmly a parameter is held while some tasks are trained."""
    level = 1 if 0 in tasks else 2
    if name.startswith("encoder.embedding"):
        return 0.3
    if level == 2 and name.startswith("encoder.levels.0"):
        return 0.3
    return 0.7 if level == 2 and "low" in name.split(".") else 0.0


def anchors_by_hand(anchor: str, seen: Before, decay: float) -> list[dict[str, Tensor]]:
    """Find what parameters are held at in each step."""
    found: list[dict[str, Tensor]] = []
    kept: dict[str, Tensor] = {}
    for step, weights in enumerate(seen.weights):
        if anchor == "average":
            kept = {name: decay * kept[name] + (1 - decay) * w for name, w in weights.items()} if kept else weights
        elif anchor == "epoch":
            kept = weights if step == 0 or seen.epochs[step] != seen.epochs[step - 1] else kept
        elif step and seen.tasks[step] != seen.tasks[step - 1]:
            kept = weights
        found.append(kept)
    return found


@pytest.mark.parametrize("anchor", ["task", "epoch", "average"])
@pytest.mark.parametrize("feeds", [True, False])
def test_the_gradient_is_that_of_the_penalty(anchor: Any, feeds: bool, trainer: TrainerMaker) -> None:
    held = SuccessiveRegularization(**DELTAS, anchor=anchor, decay=0.8)
    before, after = watched(trainer, held, module(feeds), data())
    assert {tuple(tasks) for tasks in before.tasks} == {(0,), (1,)}
    anchors = anchors_by_hand(anchor, before, 0.8)
    pulled = set()
    for step, plain in enumerate(before.gradients):
        assert plain.keys() == after.gradients[step].keys()
        for name, gradient in plain.items():
            delta = strength(name, before.tasks[step])
            if delta and anchors[step]:
                theta = before.weights[step][name].clone().requires_grad_()
                penalty = delta * (theta - anchors[step][name]).square().sum()
                (more,) = torch.autograd.grad(penalty, theta)
                gradient = gradient + more
                pulled |= {name} if bool(more.any()) else set()
            assert_close(after.gradients[step][name], gradient, rtol=1e-12, atol=1e-14)
    assert {name.split(".low")[0] for name in pulled} >= {"encoder.embedding.weight", "encoder.levels.0.0.0.weight"}
    assert {"heads", "hierarchy.embeddings"} & {name.split(".low")[0] for name in pulled} == (
        {"heads", "hierarchy.embeddings"} if feeds else set()
    )


def test_steps_of_plain_descent_follow_the_closed_form(trainer: TrainerMaker) -> None:
    """Without a loss to add_penalty_gradient at them, what is held goes back by the factor 1 - 2 * lr * delta in each step."""
    made = module(tap_grad={"high": 0.0}, feeds=False)
    held = SuccessiveRegularization(delta=0.5, anchor="epoch")
    name, seen = "encoder.levels.0.0.0.weight", Before()

    class Pushed(L.Callback):
        def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
            p = dict(pl_module.named_parameters())[name]
            p.grad = torch.zeros_like(p)
            if trainer.global_step == 0:
                p.grad += 1.0

    run = trainer(callbacks=[Pushed(), held, seen], precision="64-true", max_epochs=1)
    run.fit(made, data(Explicit({"low": 0.0, "high": 1.0})))
    start, (first, *rest) = seen.weights[0][name], [weights[name] for weights in seen.weights[1:]]
    assert_close(first - start, torch.full_like(start, -0.1))
    for step, now in enumerate(rest, 1):
        assert_close(now - start, (1 - 2 * 0.1 * 0.5) ** step * (first - start))


def test_a_switch_moves_the_anchor_and_nothing_else_does(trainer: TrainerMaker) -> None:
    held = SuccessiveRegularization(**DELTAS)
    kept: list[dict[str, Tensor]] = []

    class Watch(Before):
        def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
            super().on_before_optimizer_step(trainer, pl_module, optimizer)
            kept.append(held.anchors)

    watch = Watch()
    trainer(callbacks=[held, watch], max_epochs=2, precision="64-true").fit(module(), data())
    assert len(kept) == 24
    for step, anchors in enumerate(kept):
        phase = step // 3 * 3
        assert set(anchors) == ({name for name in watch.weights[0] if is_below(name)} if step >= 3 else set())
        for name, anchor in anchors.items():
            assert torch.equal(anchor, watch.weights[phase][name])
        assert watch.tasks[step] == [step // 3 % 2]


def is_below(name: str) -> bool:
    return name.startswith(("encoder.embedding", "encoder.levels.0")) or "low" in name.split(".")


def test_a_step_of_several_levels_holds_what_lies_below_the_lowest(trainer: TrainerMaker) -> None:
    before, after = watched(trainer, SuccessiveRegularization(**DELTAS, anchor="epoch"), module(), data(None))
    assert {tuple(tasks) for tasks in before.tasks} == {(0, 1)}
    changed = {
        name
        for one, other in zip(before.gradients, after.gradients, strict=True)
        for name in one
        if not torch.equal(one[name], other[name])
    }
    assert changed == {"encoder.embedding.weight", "encoder.embedding.bias"}


def test_accumulated_batches_are_held_once(trainer: TrainerMaker) -> None:
    held = SuccessiveRegularization(**DELTAS)
    before, after = watched(trainer, held, module(), data(), accumulate_grad_batches=3)
    anchors = anchors_by_hand("task", before, 0.0)
    assert [tasks for (tasks,) in before.tasks] == [0, 1] * 4
    for step in range(1, 8):
        for name, gradient in before.gradients[step].items():
            away = before.weights[step][name] - anchors[step][name]
            expected = gradient + 2 * strength(name, before.tasks[step]) * away
            assert_close(after.gradients[step][name], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("anchor", ["task", "epoch", "average"])
def test_an_idle_head_stays_bit_for_bit(anchor: Any, trainer: TrainerMaker) -> None:
    seen = Before()
    made = module(feeds=False, lr=0.01, adam=True)
    rule = Phases([Phase(["low"], steps=3), Phase(["high"], steps=6)], repeat=False)
    held = SuccessiveRegularization(**DELTAS, anchor=anchor)
    trainer(callbacks=[held, seen], max_epochs=1).fit(made, data(rule))
    head = [name for name in seen.weights[0] if name.startswith("heads.low")]
    assert head
    for name in head:
        assert not torch.equal(seen.weights[0][name], seen.weights[3][name])
        for weights in seen.weights[4:]:
            assert torch.equal(weights[name], seen.weights[3][name])
        assert torch.equal(dict(made.named_parameters())[name], seen.weights[3][name])


def test_it_is_clipped_with_the_gradient(trainer: TrainerMaker) -> None:
    norms: list[float] = []

    class Last(L.Callback):
        def on_before_zero_grad(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
            found = [p.grad.norm() for p in pl_module.parameters() if p.grad is not None]
            norms.extend([float(torch.stack(found).norm())] if found else [])

    held = SuccessiveRegularization(delta=1e6, anchor="epoch")
    run = trainer(callbacks=[held, Last()], gradient_clip_val=0.5, precision="64-true")
    run.fit(module(), data())
    assert len(norms) > 5
    assert max(norms) <= 0.5 + 1e-6


# Resume


@pytest.mark.parametrize("anchor", ["task", "epoch", "average"])
@pytest.mark.parametrize("step", [5, 6, 14])
def test_a_resumed_run_ends_as_the_unbroken_one(anchor: Any, step: int, trainer: TrainerMaker, tmp_path: Path) -> None:
    class Save(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
            if trainer.global_step == step:
                trainer.save_checkpoint(tmp_path / "some.ckpt")

    def run(*more: L.Callback, **options: Any) -> tuple[dict[str, Tensor], SuccessiveRegularization]:
        held, made = SuccessiveRegularization(**DELTAS, anchor=anchor, decay=0.8), module(adam=True, lr=0.01)
        trainer(callbacks=[held, *more], max_epochs=2).fit(made, data(), **options)
        return made.state_dict(), held

    whole, kept = run(Save())
    resumed, again = run(ckpt_path=tmp_path / "some.ckpt")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert kept.anchors.keys() == again.anchors.keys()
    assert all(torch.equal(value, again.anchors[name]) for name, value in kept.anchors.items())
    without = module(adam=True, lr=0.01)
    trainer(max_epochs=2).fit(without, data())
    assert any(not torch.equal(value, without.state_dict()[name]) for name, value in whole.items())


def test_another_run_begins_without_anchors(trainer: TrainerMaker) -> None:
    held = SuccessiveRegularization(**DELTAS)
    ends = []
    for _ in range(2):
        made = module()
        trainer(callbacks=[held]).fit(made, data())
        ends.append(made.state_dict())
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


# Loaders of the user's own


def own_batches(source: str, count: int, column: str) -> list[dict[str, Tensor]]:
    rows = splits(8 * count)["train"]
    return [columns([{"x": row["x"], column: row[column]} for row in rows[i : i + 8]]) for i in range(0, len(rows), 8)]


def own_loader(*runs: tuple[str, int]) -> DataLoader[Any]:
    """Make a loader of some batches of one source, then some of the other."""
    target = {"low": "sign", "high": "size"}
    batches = [{source: batch} for source, count in runs for batch in own_batches(source, count, target[source])]
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def test_with_own_loaders_other_tasks_are_a_switch(trainer: TrainerMaker) -> None:
    loader = own_loader(("low", 2), ("high", 3), ("low", 2))
    held = SuccessiveRegularization(**DELTAS)
    seen = Before()
    kept: list[dict[str, Tensor]] = []

    class Watch(L.Callback):
        def on_before_optimizer_step(self, *_: Any, **__: Any) -> None:
            kept.append(held.anchors)

    trainer(callbacks=[seen, held, Watch()]).fit(module(), loader)
    assert [tasks for (tasks,) in seen.tasks] == [0, 0, 1, 1, 1, 0, 0]
    for step, since in enumerate([None, None, 2, 2, 2, 5, 5]):
        assert bool(kept[step]) is (since is not None)
        assert all(torch.equal(anchor, seen.weights[since or 0][name]) for name, anchor in kept[step].items())


def test_own_loaders_without_a_switch_say_so(trainer: TrainerMaker) -> None:
    both = [
        {"low": low, "high": high}
        for low, high in zip(own_batches("low", 3, "sign"), own_batches("high", 3, "size"), strict=True)
    ]
    with pytest.warns(UserWarning, match="All steps of the first epoch trained the same tasks"):
        trainer(callbacks=[SuccessiveRegularization()]).fit(module(), DataLoader(both, batch_size=None))  # type: ignore[arg-type]


# What is refused


REFUSED: dict[str, Callable[[], MultiTaskDataModule]] = {
    "a batch of each source": lambda: data(None),
    "sources drawn at random": lambda: data(Proportional()),
    "phases of several sources": lambda: data(Phases([Phase(["low"], steps=2), Phase(["low", "high"], steps=2)])),
    "one source in all phases": lambda: data(Phases([Phase(["low"], steps=2)])),
    "a function": lambda: data(FunctionOfStep(lambda step: {"low": step % 2 + 0.0, "high": 1.0 - step % 2})),
}


@pytest.mark.parametrize("name", REFUSED)
def test_schedules_without_switches_are_refused(name: str, trainer: TrainerMaker) -> None:
    made = REFUSED[name]()
    with pytest.raises(
        ValueError, match="`anchor` must be 'epoch' or 'average' where tasks don't come in turn, got 'task'"
    ):
        trainer(callbacks=[SuccessiveRegularization()]).fit(module(), made)
    trainer(callbacks=[SuccessiveRegularization(anchor="average")], max_steps=2).fit(module(), REFUSED[name]())


def test_a_phase_whose_other_source_has_rate_zero_is_a_turn(trainer: TrainerMaker) -> None:
    rule = Phases([Phase(["low", "high"], steps=2, rates={"low": 1.0, "high": 0.0}), Phase(["high"], steps=2)])
    held = SuccessiveRegularization()
    trainer(callbacks=[held]).fit(module(), data(rule))
    assert held.anchors


def test_a_model_without_levels_is_refused(trainer: TrainerMaker) -> None:
    with pytest.raises(ValueError, match="must have a `HierarchicalModule`, got MultiTaskModule"):
        trainer(callbacks=[SuccessiveRegularization()]).fit(flat_module(), MultiTaskDataModule({"s": splits(24)}))
    assert isinstance(flat_module(), MultiTaskModule)


def test_parameters_that_are_cut_over_ranks_are_refused(trainer: TrainerMaker) -> None:
    run = trainer(strategy=ModelParallelStrategy(), devices=1)
    with pytest.raises(ValueError, match="whole parameters on each rank, got ModelParallelStrategy, which shards them"):
        SuccessiveRegularization().setup(run, module(), "fit")


@pytest.mark.parametrize("fused", [True, False])
def test_gradients_that_the_optimizer_unscales_are_refused(fused: bool, trainer: TrainerMaker) -> None:
    made = module()
    made._optimizer = lambda groups: torch.optim.AdamW(groups, fused=fused)
    scaling = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu"))
    run = trainer(plugins=[scaling], callbacks=[SuccessiveRegularization()])
    if fused:
        with pytest.raises(ValueError, match="The optimizer must leave the unscaling of gradients to the Trainer"):
            run.fit(made, data())
    else:
        run.fit(made, data())
        assert run.global_step == 12


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"delta": -1.0}, "`delta` must be finite and at least 0, got -1.0. 0 holds nothing."),
        ({"head_delta": float("nan")}, "`head_delta` must be finite and at least 0, got nan."),
        ({"decay": 1.0}, "`decay` must be at least 0 and below 1, got 1.0. 0.999 looks back"),
    ],
)
def test_arguments_out_of_range(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        SuccessiveRegularization(**options)
