"""Predictions for earlier tasks are held to those of a copy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, kl_divergence
from torch.testing import assert_close

from lightning_mtl import (
    Binary,
    HardSharing,
    HierarchicalModule,
    Levels,
    MetaLearningModule,
    MultiTaskDataModule,
    MultiTaskModule,
    Recurrent,
    Regression,
    Source,
    Task,
    Vocabulary,
)
from lightning_mtl.adaptation import MAML
from lightning_mtl.callbacks import Distillation, Replay
from lightning_mtl.callbacks._distances import distances
from lightning_mtl.inputs import WORDS
from lightning_mtl.samplers import Phase, Phases, Proportional
from tests.builders import leaning, splits
from tests.cases import over
from tests.conftest import TrainerMaker
from tests.models import word_rows
from tests.phased import IN_A_ROW, NAMES, Watch, data, module, resumed, same, watched

# Theorems


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@over("seed", range(5))
def test_distances_are_divergences(seed: int, temperature: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    new, old = torch.randn(2, 7, 4, generator=draw, dtype=torch.float64) * 4
    t = temperature
    of_classes = kl_divergence(Categorical(logits=old / t), Categorical(logits=new / t)) * t**2
    assert_close(distances("multiclass", new, old, t), of_classes)
    of_yes = kl_divergence(Bernoulli(logits=old / t), Bernoulli(logits=new / t)) * t**2
    assert_close(distances("binary", new[:, 0], old[:, 0], t), of_yes[:, 0])
    assert_close(distances("multilabel", new, old, t), of_yes.mean(1))
    assert_close(distances("regression", new[:, 0], old[:, 0], t), (new - old)[:, 0] ** 2)
    assert_close(distances("regression", new, old, t), ((new - old) ** 2).mean(1))
    of_words = kl_divergence(Categorical(logits=old[None] / t), Categorical(logits=new[None] / t)) * t**2
    assert_close(distances("tagging", new[None], old[None], t), of_words)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "tagging", "arcs", "regression"])
def test_what_agrees_is_no_distance_apart_and_pulls_nowhere(kind: str) -> None:
    old = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if kind == "arcs":
        old[:, :, 1] = -torch.inf
    new = old.clone().requires_grad_()
    each = distances(kind, new, old, 2.0)
    each.sum().backward()  # type: ignore[no-untyped-call]
    assert_close(each.detach(), torch.zeros_like(each))
    assert new.grad is not None
    assert_close(new.grad, torch.zeros_like(new))
    other = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    other = other.masked_fill(old.isinf(), -torch.inf).requires_grad_()
    away = distances(kind, other, old, 2.0)
    assert bool((away > 0).all())
    (gradient,) = torch.autograd.grad(away.sum(), other)
    assert bool(gradient.isfinite().all())


def test_the_gradient_of_softened_classes_keeps_its_size() -> None:
    """For a high temperature it is that of half the squared distance of centred logits, over the number of classes."""
    new, old = torch.randn(2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    apart = new - old - (new - old).mean(-1, keepdim=True)
    assert_close(distances("multiclass", new, old, 1e5), apart.square().sum(-1) / 2 / 4, rtol=1e-4, atol=1e-6)


# Runs


def copy_of(state: dict[str, Tensor]) -> MultiTaskModule:
    made = module().double()
    made.load_state_dict(state)
    made.routing.bind(NAMES, every_task_every_step=False)
    return made


def outputs(of: MultiTaskModule, x: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
    trunk: Any = of.encoder.trunk
    features = trunk(x)
    heads: Any = of.heads
    return {name: heads[name](features) for name in tasks}


def apart(name: str, new: Tensor, old: Tensor) -> Tensor:
    """Write the distance of the three kinds of heads by hand, at a temperature of 3."""
    if name == "three":
        return (new - old).square().mean()
    if name == "one":
        return kl_divergence(Bernoulli(logits=old / 3), Bernoulli(logits=new / 3)).mean() * 9
    return kl_divergence(Categorical(logits=old / 3), Categorical(logits=new / 3)).mean() * 9


@pytest.mark.parametrize("replayed", [False, True])
def test_the_gradient_is_that_of_the_written_out_loss(replayed: bool, trainer: TrainerMaker) -> None:
    rule = Phases([Phase([name], steps=4) for name in ("three", "one", "two")], repeat=False)
    callbacks: list[L.Callback] = [Replay()] if replayed else []
    held, _, _ = watched(trainer, *callbacks, Distillation(0.6, temperature=3.0), feed=data(rule))
    plain = Columns()
    watched(trainer, *callbacks, Distillation(0.6, temperature=3.0), plain, feed=data(rule))
    order = ("three", "one", "two")
    for step in range(12):
        made, teacher = copy_of(held.starts[step]), copy_of(held.starts[step // 4 * 4]).eval()
        batch = plain.seen[step]
        run = made.train().run(batch)
        pairs = zip(run.tasks, run.losses, strict=True)
        loss = sum((made.tasks[i].weight * of for i, of in pairs), torch.zeros(()))
        old, now = order[: step // 4], order[step // 4]
        new, told = (outputs(of, batch[now]["x"], old) for of in (made, teacher))
        for name in old:
            weight = made.tasks[NAMES.index(name)].weight
            loss = loss + 0.6 * weight * apart(name, new[name], told[name].detach())
        named = dict(made.named_parameters())
        expected = dict(zip(named, torch.autograd.grad(loss, list(named.values()), allow_unused=True), strict=True))
        assert {name for name, of in expected.items() if of is not None} == held.gradients[step].keys()
        for name, gradient in held.gradients[step].items():
            assert_close(gradient, expected[name], rtol=1e-6, atol=1e-9)


class Columns(L.Callback):
    """Notes the batches of the steps."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append(batch)


def test_running_statistics_count_rows_once(trainer: TrainerMaker) -> None:
    ends = []
    for callbacks in ([], [Distillation(1e-12)]):
        _, _, made = watched(trainer, *callbacks)
        ends.append({name: of for name, of in made.state_dict().items() if "running" in name or "tracked" in name})
    assert len(ends[0]) == 3
    for name, of in ends[0].items():
        assert_close(ends[1][name], of)


def test_the_copy_is_that_of_the_last_switch(trainer: TrainerMaker) -> None:
    held = Distillation(1.0)
    before, _, _ = watched(trainer, held)
    state = held.teacher.state_dict()
    assert {name.split(".")[1] for name in state if name.startswith("heads")} == {"one", "two"}
    assert all(torch.equal(of, before.starts[8][name]) for name, of in state.items())
    assert not any(p.requires_grad or part.training for part in held.teacher.modules() for p in part.parameters())


def test_it_holds_predictions(trainer: TrainerMaker) -> None:
    """The stronger it is, the nearer the old task's answers stay to what they were."""
    rule = Phases([Phase(["one"], steps=4), Phase(["three"])], repeat=False)
    x = torch.tensor([row["x"] for row in splits(24, 2)["train"]], dtype=torch.float64)
    far = []
    for strength in (0.0, 1.0, 30.0):
        before, _, made = watched(trainer, Distillation(strength), feed=data(rule, steps_per_epoch=40))
        old, new = (outputs(copy_of(of).eval(), x, ["one"])["one"] for of in (before.starts[4], made.state_dict()))
        far.append(float(distances("binary", new, old, 2.0).mean().detach()))
    assert far[0] > far[1] > 2 * far[2]


def test_words_of_rows_of_different_length(trainer: TrainerMaker) -> None:
    made = {name: Source({"train": word_rows(24, seed)}, words="words") for seed, name in enumerate(NAMES[:2])}
    tasks = [Task("one", target="tags"), Task("two", target="long")]
    torch.manual_seed(0)
    of = MultiTaskModule(tasks, HardSharing(Recurrent(8, embedding=6, tokenizer=Vocabulary(100))))
    rule = Phases([Phase(["one"], steps=3), Phase(["two"])], repeat=False)
    feed = MultiTaskDataModule(made, batch_size=8, sampling=rule, steps_per_epoch=6, summary=False)
    held, batches = Distillation(1.0, temperature=3.0), Columns()
    found: list[tuple[Tensor, Tensor]] = []

    class Look(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
            told = held.penalty(batch)
            if batch_idx == 5 and told is not None:
                batch = batch["two"]
                inputs, words = pl_module.routing.inputs("two", batch), batch[WORDS]
                new, old = pl_module.head_outputs(inputs, [0], words)[0], held.teacher.outputs(inputs, words)["one"]
                found.append((told.detach(), apart("two", new[words >= 0], old[words >= 0]).detach()))

    trainer(callbacks=[held, Look(), batches]).fit(of, feed)
    ((told, expected),) = found
    assert float(told) > 0
    assert_close(told, expected)


def test_levels(trainer: TrainerMaker) -> None:
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Linear(4, 6), nn.Tanh()), nn.Sequential(nn.Linear(6, 5), nn.Tanh())]
    low = Task("one", target="sign", head=Binary(), level=1)
    high = Task("two", target="size", head=Regression(), level=2, feeds_from=["one"])
    made = HierarchicalModule([low, high], Levels(layers, inputs="x"))
    held, batches = Distillation(1.0, temperature=3.0), Columns()
    rule = Phases([Phase(["two"], steps=3), Phase(["one"])], repeat=False)
    trainer(callbacks=[held, batches]).fit(made, data(rule))
    batch = batches.seen[-1]
    held._module = made  # of which it has let go
    made.train()
    told = held.penalty(batch)
    assert told is not None
    with torch.no_grad():
        new = made({"two": {"x": batch["one"]["x"]}}, ["two"])["two"]
    inputs = {"x": batch["one"]["x"]}
    assert_close(told.detach(), (new - held.teacher.outputs(inputs)["two"]).square().mean())
    assert float(told.detach()) > 0


def test_strength_zero_changes_nothing(trainer: TrainerMaker) -> None:
    ends = []
    for callbacks in ([], [Distillation(0.0)]):
        made = module(adam=True, lr=0.01, dropout=0.4)
        torch.manual_seed(0)
        trainer(callbacks=callbacks).fit(made, data())
        ends.append(made.state_dict())
    assert same(*ends)


def test_nothing_is_left_behind(trainer: TrainerMaker) -> None:
    made, held, ends = module(), Distillation(1.0), []
    for _ in range(2):
        made = module()
        trainer(callbacks=[held]).fit(made, data())
        ends.append(made.state_dict())
        assert made.penalties == []
    assert same(*ends)


def test_a_run_that_broke_off_leaves_nothing_behind(trainer: TrainerMaker) -> None:
    class Broken(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
            pl_module.penalties.append(own)
            raise RuntimeError("broken")

    def own(batch: Any) -> None:
        held.append(list(made.penalties))

    made, again = module(), Distillation(1.0)
    held: list[list[Any]] = []
    with pytest.raises(RuntimeError, match="broken"):
        trainer(callbacks=[Distillation(1.0), Broken()]).fit(made, data())
    assert len(made.penalties) == 2
    trainer(callbacks=[again]).fit(made, data())
    assert held[0] == [own, again.penalty]  # the user's own stays
    assert made.penalties == [own]


def test_a_callback_of_the_users_own_may_add_a_penalty_from_the_start(trainer: TrainerMaker) -> None:
    class Own(L.Callback):
        steps, calls = 0, 0

        def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
            pl_module.penalties.append(self.penalty)

        def on_train_batch_end(self, *_: Any) -> None:
            self.steps += 1
            if self.steps == 3:
                raise RuntimeError("broken")

        def penalty(self, batch: Any) -> None:
            self.calls += 1

    made, own = module(), Own()
    with pytest.raises(RuntimeError, match="broken"):
        trainer(callbacks=[own]).fit(made, data())
    trainer(callbacks=[own]).fit(made, data())
    assert own.calls == own.steps == 15  # once in each step, though it was added twice
    assert made.penalties == []


@pytest.mark.parametrize("step", [3, 4, 6, 8, 10])
def test_a_resumed_run_ends_as_the_unbroken_one(step: int, trainer: TrainerMaker, tmp_path: Path) -> None:
    whole, again, without = resumed(trainer, lambda: Distillation(2.0), step, tmp_path / "some.ckpt")
    assert same(whole, again)
    assert not same(whole, without)


@pytest.mark.filterwarnings("ignore:No two tasks read the same examples")
@pytest.mark.filterwarnings("ignore:No step of the first epoch had labels for two tasks")
def test_a_gate_at_the_representation_weighs_the_step_alone(trainer: TrainerMaker) -> None:
    rule = Phases([Phase(["one"], steps=4), Phase(["two", "three"])], repeat=False)
    made = module(balancer=leaning, scope="representation")
    before, _, _ = watched(trainer, Distillation(1.0), made=made, feed=data(rule, batches="stratified"))
    assert "heads.one.layers.weight" in before.gradients[-1]


# Functions of the user's own


def test_own_penalties_are_added(trainer: TrainerMaker) -> None:
    seen: list[set[str]] = []
    ends = []
    for extra in (0.0, 3.0):
        made = module(lr=0.1)

        def penalty(batch: Any, made: MultiTaskModule = made, extra: float = extra) -> Tensor | None:
            seen.append(set(batch))
            if not extra:
                return None
            weight: Tensor = made.state_dict(keep_vars=True)["encoder.trunk.0.weight"]
            return extra * weight.square().sum()

        made.penalties.append(penalty)
        before, _, _ = watched(trainer, made=made)
        ends.append(before)
    assert seen[:12] == ends[0].sources
    name = "encoder.trunk.0.weight"
    more = ends[1].gradients[0][name] - ends[0].gradients[0][name]
    assert_close(more, 6 * ends[0].weights[0][name])


# What is refused


def test_no_phases(trainer: TrainerMaker) -> None:
    with pytest.raises(ValueError, match=re.escape("`sampling` must be `Phases` for Distillation, got Proportional()")):
        trainer(callbacks=[Distillation(1.0)]).fit(module(), data(Proportional()))


@pytest.mark.filterwarnings("ignore:.*have the same inputs as rows of")
@pytest.mark.parametrize("odd", ["x of five", "another column", "whole numbers"])
def test_other_inputs(odd: str, trainer: TrainerMaker) -> None:
    made: dict[str, Any] = {name: splits(24, seed) for seed, name in enumerate(NAMES)}
    for part in made["two"].values():
        for row in part:
            row["x"] = [0.0, *row["x"]] if odd == "x of five" else row["x"]
            row["x"] = [int(value > 0) for value in row["x"]] if odd == "whole numbers" else row["x"]
            row.update({"y": 1.0} if odd == "another column" else {})
    feed = MultiTaskDataModule(made, sampling=IN_A_ROW, steps_per_epoch=12, summary=False)
    with pytest.raises(
        ValueError, match="Source 'two' must have the inputs of source 'one', whose tasks predict its rows"
    ):
        trainer(callbacks=[Distillation(1.0)]).fit(module(), feed)


class Odd(Regression):
    kind = "odd"


def test_heads_of_an_unknown_kind(trainer: TrainerMaker) -> None:
    of = module()
    tasks = [Task("one", target="size", head=Odd(), metrics=[]), *of.tasks[1:]]
    with pytest.raises(ValueError, match=r"The head of task 'one' must be of a kind out of \['binary'"):
        trainer(callbacks=[Distillation(1.0)]).fit(MultiTaskModule(tasks, of.encoder), data())


def test_gradients_that_are_made_without_the_loss(trainer: TrainerMaker) -> None:
    rule = Phases([Phase(["one"], steps=4), Phase(["two", "three"])], repeat=False)
    made = module(balancer=leaning, scope="parameters")
    with pytest.raises(ValueError, match="`scope` must be 'representation' where Distillation adds to the loss"):
        trainer(callbacks=[Distillation(1.0)]).fit(made, data(rule, batches="stratified"))


def test_a_module_that_is_adapted(trainer: TrainerMaker) -> None:
    of = module()
    meta = MetaLearningModule(of.tasks, of.encoder, adaptation=MAML(0.1))
    with pytest.raises(ValueError, match="must have a module that predicts without being adapted, got MetaLearning"):
        trainer(callbacks=[Distillation(1.0)]).fit(meta, data())


def test_parameters_that_are_cut_over_ranks(trainer: TrainerMaker) -> None:
    run = trainer(strategy=ModelParallelStrategy(), devices=1)
    with pytest.raises(ValueError, match="Distillation must have whole parameters on each rank"):
        Distillation(1.0).setup(run, module(), "fit")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"strength": -1.0}, "`strength` must be finite and at least 0, got -1.0. 0 holds nothing."),
        ({"strength": 1.0, "temperature": 0.0}, "`temperature` must be finite and above 0, got 0.0. The paper's is 2."),
    ],
)
def test_arguments_out_of_range(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        Distillation(**options)


def test_a_twin_of_one_source_has_nothing_to_hold(trainer: TrainerMaker) -> None:
    made, held, watch = module(), Distillation(1.0), Watch()
    trainer(callbacks=[held, watch]).fit(MultiTaskModule(made.tasks[:1], made.encoder), data())
    assert watch.sources == [{"one"}] * 12
    assert held.teacher is None
