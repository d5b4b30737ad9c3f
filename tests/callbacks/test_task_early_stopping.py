"""Tasks that stop one by one: who stops when, what still moves, and what is left of it after a resume."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import lightning as L
import pytest
import torch
from jaxtyping import TypeCheckError
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, ModelPruning, StochasticWeightAveraging
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchmetrics.regression import MeanAbsoluteError

from lightning_mtl import (
    HardSharing,
    HierarchicalModule,
    Levels,
    Multiclass,
    MultiTaskDataModule,
    MultiTaskModule,
    Regression,
    Task,
)
from lightning_mtl._plain import without_masks
from lightning_mtl.balancers import FAMO
from lightning_mtl.callbacks import TaskEarlyStopping
from lightning_mtl.callbacks._patience import Patience
from lightning_mtl.samplers import LAG, Temperature
from tests.builders import columns, encoder, leaning, module, rows, splits
from tests.cases import over
from tests.conftest import TrainerMaker

NEVER = 1e9
"""A gain that no score makes: the first validation is the best one."""
Action = Literal["freeze", "drop", "vote"]


class Watch(L.Callback):
    """Notes weights of heads and trunk after each step and each validation, and which tasks each step trained."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []
        self.trained: list[set[str]] = []
        self.read: list[set[str]] = []
        self.judged: list[tuple[int, dict[str, Tensor]]] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.steps.append(copy.deepcopy(pl_module.state_dict()))
        self.trained.append({pl_module.tasks[i].name for i in pl_module.loss_over_ranks.last()[0]})
        self.read.append(set(batch))

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self.judged.append((trainer.global_step, copy.deepcopy(pl_module.state_dict())))


def tasks() -> list[Task]:
    return [Task("sign", head=Multiclass(2)), Task("size", head=Regression())]


def adam(which: list[Task] | None = None) -> MultiTaskModule:
    """A network whose optimizer moves what has a gradient of zeros: by momentum, and by its decay."""
    shared = encoder()
    torch.manual_seed(1)
    return MultiTaskModule(
        which or tasks(), shared, optimizer=lambda of: torch.optim.AdamW(of, lr=0.02, weight_decay=0.1)
    )


def together(**options: Any) -> MultiTaskDataModule:
    """One source for both tasks: five steps an epoch."""
    return MultiTaskDataModule({"s": splits(40)}, **{"batch_size": 8, "seed": 0, "summary": False, **options})


def apart(**options: Any) -> MultiTaskDataModule:
    """A source for each task."""
    made = {name: splits(count, seed=count) for name, count in (("sign", 48), ("size", 32))}
    sources = {
        name: {split: [{"x": row["x"], name: row[name]} for row in of] for split, of in source.items()}
        for name, source in made.items()
    }
    return MultiTaskDataModule(sources, **{"batch_size": 8, "seed": 0, "summary": False, **options})


def same(one: dict[str, Tensor], other: dict[str, Tensor], start: str = "") -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items() if name.startswith(start))


# Theorems: who has stopped when


@over("seed", range(20))
def test_a_task_stops_when_its_best_score_is_too_long_ago(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randn(30, generator=draw).cumsum(0).tolist()
    patience, delta = 1 + seed % 4, 0.3 * (seed % 3)
    made, stopped = Patience(delta), None
    for step, score in enumerate(scores):
        _, late = made.update(step, {"a": score}, {"a": patience})
        stopped = step if late else stopped
    best, expected = 0, None
    for step, score in enumerate(scores):
        best = step if step == 0 or score > scores[best] + delta else best
        if expected is None and step - best >= patience:
            expected = step
    assert stopped == expected == made.stopped.get("a")
    assert made.best["a"] == {"step": best, "score": scores[best]}


@over("seed", range(5))
def test_tasks_are_judged_alone_and_judging_goes_on_from_any_state(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    traces = dict(zip("abc", torch.randn(3, 12, generator=draw).tolist(), strict=True))
    patience = {"a": 1, "b": 2, "c": 3}
    whole = Patience()
    for step in range(12):
        whole.update(step, {task: trace[step] for task, trace in traces.items()}, patience)
    for task, trace in traces.items():
        alone = Patience()
        for step, score in enumerate(trace):
            alone.update(step, {task: score}, patience)
            state, alone = alone.state_dict(), Patience()
            alone.load_state_dict(state)
        assert alone.best[task] == whole.best[task]
        assert alone.stopped.get(task) == whole.stopped.get(task)


def test_a_score_that_is_no_number_is_not_better() -> None:
    made = Patience()
    assert made.update(0, {"a": math.nan, "other": 1.0}, {"a": 2}) == ([], [])
    assert made.update(1, {"a": -5.0}, {"a": 2}) == (["a"], [])
    assert made.update(2, {"a": math.nan}, {"a": 2}) == ([], [])
    assert made.update(3, {"a": math.nan}, {"a": 2}) == ([], ["a"])
    assert made.best == {"a": {"step": 1, "score": -5.0}}


# What moves


@pytest.mark.parametrize("action", ["freeze", "drop"])
def test_a_head_that_has_stopped_stands_at_its_best_bit_for_bit(action: Action, trainer: TrainerMaker) -> None:
    watch, stopping = Watch(), TaskEarlyStopping({"size": 2}, min_delta=NEVER, action=action)
    made = adam()
    trainer(max_epochs=6, callbacks=[stopping, watch]).fit(made, together())
    record = stopping.record()
    assert record["stopped"] == {"size": 15}  # the first of five steps is the best, and then two are not better
    assert record["best"]["size"]["step"] == 5
    best = dict(watch.judged)[5]
    assert all(same(step, best, "heads.size") for step in watch.steps[15:])
    assert not any(same(step, best, "heads.size") for step in watch.steps[5:15])
    assert same(made.state_dict(), best, "heads.size")
    for before, after in zip(watch.steps[14:], watch.steps[15:], strict=False):
        assert not same(after, before, "encoder")
        assert not same(after, before, "heads.sign")


@pytest.mark.filterwarnings("ignore:.*configure_model", "ignore:Swapping scheduler")
@pytest.mark.parametrize("restore", [True, False])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    "average", [EMAWeightAveraging(decay=0.8), StochasticWeightAveraging(0.02, 1)], ids=["ema", "swa"]
)
def test_an_averaged_head_stops_as_it_was_scored(
    average: L.Callback, first: bool, restore: bool, trainer: TrainerMaker
) -> None:
    """With SWA a validation scores the weights themselves, and the averages come in at the end."""
    judged: list[tuple[int, dict[str, Tensor]]] = []

    class Scored(MultiTaskModule):
        def validation_step(self, *args: Any, **kwargs: Any) -> None:
            judged.append((self.trainer.global_step, copy.deepcopy(self.state_dict())))
            super().validation_step(*args, **kwargs)

    torch.manual_seed(1)
    made = Scored(tasks(), encoder(), optimizer=lambda of: torch.optim.AdamW(of, lr=0.02, weight_decay=0.1))
    stopping = TaskEarlyStopping({"size": 1}, min_delta=NEVER, restore=restore)
    callbacks = [stopping, copy.deepcopy(average)]
    run = trainer(max_epochs=5, callbacks=callbacks if first else callbacks[::-1], num_sanity_val_steps=0)
    run.fit(made, together())
    assert stopping.record()["stopped"] == {"size": 10}
    scored = dict(judged)
    kept = scored[5 if restore else 10]
    assert all(same(kept, scored[step], "heads.size") for step in (15, 20, 25))
    assert same(kept, made.state_dict(), "heads.size")
    assert not same(scored[5], scored[10], "heads.size")


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_a_pruned_head_goes_back_to_its_best_under_its_mask(
    first: bool, whole: bool, trainer: TrainerMaker, tmp_path: Path
) -> None:
    """Names of parameters change while a run prunes, and change back when it ends; checkpoints hold weights as they are used."""
    made = adam()
    keep = ModelCheckpoint(tmp_path, save_weights_only=not whole, save_last=True)
    stopping = TaskEarlyStopping({"size": 1}, min_delta=NEVER)
    pruning = ModelPruning("random_unstructured", amount=0.5, make_pruning_permanent=whole)
    callbacks = [stopping, pruning] if first else [pruning, stopping]
    run = trainer(max_epochs=4, callbacks=[*callbacks, keep], enable_checkpointing=True)
    run.fit(made, together())
    kept, found = stopping.state_dict()["weights"]["size"], without_masks(made.heads["size"].state_dict())
    assert found.keys() == kept.keys()
    for name, value in found.items():
        assert torch.equal(value, torch.where(value == 0, value, kept[name])), name
    loaded = MultiTaskModule.load_from_checkpoint(tmp_path / "last.ckpt").state_dict()
    last = without_masks(made.state_dict())
    assert loaded.keys() == last.keys()
    assert all(torch.equal(loaded[name], of) for name, of in last.items() if not name.startswith("heads"))


def test_a_frozen_task_shapes_the_trunk_and_a_dropped_one_does_not(trainer: TrainerMaker) -> None:
    """The trunk's gradient is that of both tasks, or that of the other alone."""
    kinds: tuple[tuple[Action, float], ...] = (("freeze", 1.0), ("drop", 0.0))
    for action, counts in kinds:
        stopping = TaskEarlyStopping({"size": 1}, min_delta=NEVER, action=action, restore=False)

        class Compare(L.Callback):
            seen = 0
            batch: Any = None

            def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
                self.batch = batch["s"]

            def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
                if trainer.global_step < 10:
                    return
                type(self).seen += 1
                with torch.enable_grad():
                    answers = pl_module({"s": self.batch})
                    size = F.mse_loss(answers["size"], self.batch["size"].float())
                    loss = F.cross_entropy(answers["sign"], self.batch["sign"]) + counts * size  # noqa: B023
                    expected = torch.autograd.grad(loss, list(pl_module.encoder.parameters()))
                for of, parameter in zip(expected, pl_module.encoder.parameters(), strict=True):
                    torch.testing.assert_close(parameter.grad, of)
                assert all(p.grad is None for p in pl_module.heads["size"].parameters())
                assert all(p.grad is not None for p in pl_module.heads["sign"].parameters())

        trainer(max_epochs=4, callbacks=[stopping, Compare()]).fit(adam(), together())
        assert Compare.seen == 10


def test_a_dropped_task_is_evaluated_and_its_loss_has_left_all_steps(trainer: TrainerMaker) -> None:
    watch, stopping = Watch(), TaskEarlyStopping({"size": 1}, min_delta=NEVER, action="drop")
    made, run = adam(), trainer(max_epochs=4, callbacks=[stopping, watch], log_every_n_steps=1)
    shown: dict[int, set[str]] = {}
    made.train_log.listeners.append(lambda step, values: shown.update({step: set(values)}))
    run.fit(made, together())
    assert watch.trained == [{"sign", "size"}] * 10 + [{"sign"}] * 10
    assert "train/size/loss" in shown[10]
    assert "train/size/loss" not in shown[11]
    after = run.validate(made, together(), verbose=False)[0]
    assert after["validate/size/loss"] == pytest.approx(float(run.callback_metrics["validate/size/loss"]))
    assert made.routing.left_out == frozenset()
    later = Watch()
    trainer(callbacks=[later]).fit(made, together())
    assert later.trained == [{"sign", "size"}] * 5


@pytest.mark.parametrize("batches", ["all", "homogeneous", "stratified", "mixed"])
def test_the_source_of_a_dropped_task_is_drawn_no_more(batches: Any, trainer: TrainerMaker) -> None:
    watch, stopping = Watch(), TaskEarlyStopping({"size": 1}, min_delta=NEVER, action="drop")
    fed = apart(batches=batches, steps_per_epoch=20)
    trainer(max_epochs=6, callbacks=[stopping, watch]).fit(adam(), fed)
    assert stopping.record()["stopped"] == {"size": 40}
    gone = 40 + LAG
    assert all(trained == read for trained, read in zip(watch.trained, watch.read, strict=True))  # none is empty
    assert {name for read in watch.read[40:gone] for name in read} == {"sign", "size"}
    assert all(read == {"sign"} for read in watch.read[gone:])
    assert len(watch.read) == 120
    frozen = [{name: value for name, value in step.items() if name.startswith("heads.size")} for step in watch.steps]
    assert all(same(step, frozen[40]) for step in frozen[40:])
    assert not same(frozen[38], frozen[39]) or batches == "homogeneous"
    assert fed.sampler is not None
    assert fed.sampler.shown_rates() == [1.0, 0.0]


def test_a_source_is_left_out_when_its_last_task_is_dropped(trainer: TrainerMaker) -> None:
    """Of two tasks of a source the first leaves the steps, the second takes the source along."""
    made = {name: splits(40, seed=len(name)) for name in ("s", "other")}
    which = [
        Task("sign", "s", head=Multiclass(2)),
        Task("size", "s", head=Regression()),
        Task("more", "other", target="sign", head=Multiclass(2)),
    ]
    fed = MultiTaskDataModule(made, batch_size=8, batches="all", seed=0, summary=False)
    watch = Watch()
    stopping = TaskEarlyStopping({"size": 1, "sign": 3}, min_delta=NEVER, action="drop", stop_when=None)
    trainer(max_epochs=12, callbacks=[stopping, watch]).fit(adam(which), fed)
    assert stopping.record()["stopped"] == {"size": 10, "sign": 20}
    assert watch.trained == [{"sign", "size", "more"}] * 10 + [{"sign", "more"}] * (10 + LAG) + [{"more"}] * 8


MODELS: dict[str, Callable[[], MultiTaskModule]] = {
    "a loss balancer": lambda: module(balancer=FAMO()),
    "a gradient balancer, at the representation": lambda: module(balancer=leaning, scope="representation"),
    "a gradient balancer, of the parameters": lambda: module(balancer=leaning, scope="parameters"),
    "levels": lambda: levels(),
}


def levels() -> HierarchicalModule:
    layers = [nn.Sequential(nn.Linear(a, b), nn.Tanh()) for a, b in ((4, 7), (7, 6))]
    first, last = tasks()
    first.level, last.level, last.feeds_from = 1, 2, ["sign"]
    return HierarchicalModule([first, last], Levels(layers, inputs="x"))


@pytest.mark.parametrize("kind", MODELS)
def test_tasks_are_dropped_from_every_kind_of_model(kind: str, trainer: TrainerMaker) -> None:
    watch, stopping = Watch(), TaskEarlyStopping({"size": 1}, min_delta=NEVER, action="drop")
    made = MODELS[kind]()
    run = trainer(max_epochs=4, callbacks=[stopping, watch])
    run.fit(made, together())
    assert watch.trained == [{"sign", "size"}] * 10 + [{"sign"}] * 10
    assert same(watch.steps[10], watch.steps[-1], "heads.size")
    assert not same(watch.steps[10], watch.steps[-1], "heads.sign")
    if kind == "levels":
        assert same(watch.steps[10], watch.steps[-1], "encoder.levels.1")
    assert "validate/size/r2" in run.callback_metrics


def test_heads_with_running_averages_stand_still_too(trainer: TrainerMaker) -> None:
    layers = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 1))
    which = [Task("sign", head=Multiclass(2)), Task("size", head=Regression(layers=layers))]
    watch, stopping = Watch(), TaskEarlyStopping({"size": 1}, min_delta=NEVER)
    made = adam(which)
    trainer(max_epochs=4, callbacks=[stopping, watch]).fit(made, together())
    assert all(same(step, watch.steps[10], "heads.size") for step in watch.steps[10:])
    assert not same(watch.steps[8], watch.steps[9], "heads.size.layers.0.running_mean")
    assert all(part.training for part in made.heads.modules())


def test_a_run_that_breaks_off_leaves_running_averages_free(trainer: TrainerMaker) -> None:
    class Broken(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            if trainer.global_step == 12:
                raise RuntimeError("broken")

    layers = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 1))
    made = adam([Task("sign", head=Multiclass(2)), Task("size", head=Regression(layers=layers))])
    with pytest.raises(RuntimeError, match="broken"):
        trainer(max_epochs=4, callbacks=[TaskEarlyStopping({"size": 1}, min_delta=NEVER), Broken()]).fit(
            made, together()
        )
    assert all(part.training for part in made.heads.modules())


def test_what_a_head_shares_with_the_trunk_moves_on(trainer: TrainerMaker) -> None:
    shared = encoder()
    head = Regression(layers=nn.Linear(8, 1))
    made = MultiTaskModule([Task("sign", head=Multiclass(2)), Task("size", head=head)], shared)
    trunk: Any = shared.trunk
    tied: Any = made.heads["size"].layers
    trunk.register_parameter("tied", tied.weight)
    watch, stopping = Watch(), TaskEarlyStopping({"size": 1}, min_delta=NEVER)
    trainer(max_epochs=4, callbacks=[stopping, watch]).fit(made, together())
    assert stopping.record()["stopped"] == {"size": 10}
    assert same(watch.steps[10], watch.steps[-1], "heads.size.layers.bias")
    assert not same(watch.steps[10], watch.steps[-1], "heads.size.layers.weight")
    assert same(watch.steps[-1], made.state_dict())


# Who ends training


@pytest.mark.parametrize(("stop_when", "ends"), [("any", 10), ("majority", 20), ("all", 30), (None, 50)])
@pytest.mark.parametrize("action", ["freeze", "vote"])
def test_training_ends_when_enough_tasks_have_stopped(
    stop_when: Any, ends: int, action: Action, trainer: TrainerMaker
) -> None:
    made = splits(40)
    for split in made.values():
        for row in split:
            row["more"] = row["size"] ** 2
    which = [*tasks(), Task("more", head=Regression())]
    stopping = TaskEarlyStopping({"sign": 1, "size": 3, "more": 5}, min_delta=NEVER, action=action, stop_when=stop_when)
    run = trainer(max_epochs=10, callbacks=[stopping])
    run.fit(adam(which), MultiTaskDataModule({"s": made}, batch_size=8, seed=0, summary=False))
    expected = {"any": 10, "majority": 20, "all": 30, None: 50}[stop_when]
    assert expected == ends == run.global_step
    known = {"sign": 10, "size": 20, "more": 30}
    assert stopping.record()["stopped"] == {task: step for task, step in known.items() if step <= ends}


def test_the_last_tasks_are_not_dropped(trainer: TrainerMaker) -> None:
    watch, stopping = Watch(), TaskEarlyStopping(1, min_delta=NEVER, action="drop", stop_when=None)
    run = trainer(max_epochs=6, callbacks=[stopping, watch])
    run.fit(adam(), apart(batches="homogeneous", steps_per_epoch=5))
    assert run.global_step == 10
    watch = Watch()
    run = trainer(max_epochs=6, min_steps=20, callbacks=[TaskEarlyStopping(1, min_delta=NEVER, action="drop"), watch])
    run.fit(adam(), together())
    assert run.global_step == 20
    assert watch.trained == [{"sign", "size"}] * 20
    assert same(watch.steps[10], watch.steps[-1], "heads")
    assert not same(watch.steps[10], watch.steps[-1], "encoder")


def test_a_vote_is_nothing_but_a_vote(trainer: TrainerMaker) -> None:
    ended = []
    vote = TaskEarlyStopping(1, min_delta=NEVER, action="vote", stop_when=None, restore=False)
    both: tuple[list[L.Callback], ...] = ([], [vote])
    for callbacks in both:
        made = adam()
        trainer(max_epochs=4, callbacks=callbacks).fit(made, together())
        ended.append(made.state_dict())
    assert same(ended[0], ended[1])
    assert set(vote.record()["stopped"]) == {"sign", "size"}


@pytest.mark.parametrize("action", ["freeze", "vote"])
def test_heads_end_at_their_best_and_the_trunk_where_it_is(action: Action, trainer: TrainerMaker) -> None:
    watch = Watch()
    stopping = TaskEarlyStopping({"size": 9}, min_delta=NEVER, action=action)
    made = adam()
    trainer(max_epochs=4, callbacks=[stopping, watch]).fit(made, together())
    assert stopping.record()["stopped"] == {}
    assert same(made.state_dict(), watch.judged[0][1], "heads.size")
    assert same(made.state_dict(), watch.steps[-1], "heads.sign")
    assert same(made.state_dict(), watch.steps[-1], "encoder")
    assert not same(watch.steps[-1], watch.judged[0][1], "heads.size")


def test_scores_count_in_the_direction_of_the_metric(trainer: TrainerMaker) -> None:
    """The error of a task that learns falls, which is better; the first one is not its best."""
    task = Task("size", head=Regression(), metrics=[MeanAbsoluteError()])
    stopping = TaskEarlyStopping(1)
    trainer(max_epochs=5, callbacks=[stopping]).fit(module([task], lr=0.02), together())
    record = stopping.record()
    assert record["tasks"] == ["size"]
    assert record["best"]["size"]["step"] == 25
    assert 0 < record["best"]["size"]["score"] < 1  # a share of the error of a constant
    assert record["stopped"] == {}


def test_a_small_task_stops_while_the_large_one_learns(trainer: TrainerMaker) -> None:
    """Eight rows with labels of no meaning are learned by heart: the score on others gets worse."""
    data = splits(240)
    draw = torch.Generator().manual_seed(0)
    for split in data.values():
        for i, row in enumerate(split):
            row["size"] = float(torch.randn((), generator=draw)) if i < 8 or split is not data["train"] else None
    ended = []
    stopping = TaskEarlyStopping({"size": 2}, action="drop")
    both: tuple[list[L.Callback], ...] = ([], [stopping])
    for callbacks in both:
        torch.manual_seed(0)
        trunk = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        made = MultiTaskModule(tasks(), HardSharing(trunk, width=64, inputs=["x"]))
        made.lr = 0.01
        fed = MultiTaskDataModule({"s": data}, batch_size=60, seed=0, summary=False)
        run = trainer(max_epochs=15, callbacks=callbacks)
        run.fit(made, fed)
        ended.append(run.validate(made, fed, verbose=False)[0])
    assert stopping.record()["stopped"]["size"] < 60
    assert ended[1]["validate/size/loss"] < 0.8 * ended[0]["validate/size/loss"]
    assert ended[1]["validate/sign/loss"] < 0.2


# Resume


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
@pytest.mark.parametrize("kind", ["shared source", "own sources"])
@pytest.mark.parametrize("action", ["freeze", "drop", "vote"])
def test_a_run_that_was_interrupted_ends_as_the_unbroken_one(
    kind: str, action: Action, trainer: TrainerMaker, tmp_path: Path
) -> None:
    def fed() -> MultiTaskDataModule:
        return together() if kind == "shared source" else apart(batches="homogeneous", steps_per_epoch=20)

    every = 2 if kind == "shared source" else 9

    def run(folder: str, resume: Path | None = None) -> tuple[dict[str, Tensor], Watch, TaskEarlyStopping, int]:
        watch, stopping = Watch(), TaskEarlyStopping({"size": 1}, min_delta=NEVER, action=action)
        keep = ModelCheckpoint(tmp_path / folder, filename="{step}", every_n_train_steps=every, save_top_k=-1)
        made = adam()
        going = trainer(max_epochs=6, callbacks=[watch, stopping, keep], enable_checkpointing=True)
        going.fit(made, fed(), ckpt_path=resume)
        return made.state_dict(), watch, stopping, going.global_step

    ended, watch, stopping, steps = run("whole")
    marks = {"shared source": (8, 12), "own sources": (36, 45, 99)}[
        kind
    ]  # before the stop, after it, and when it is left out
    for mark in marks if steps >= max(marks) else [mark for mark in marks if mark < steps]:
        again, rest, other, _ = run(f"{mark}", tmp_path / "whole" / f"step={mark}.ckpt")
        assert same(ended, again)
        assert rest.read == watch.read[mark:]
        assert rest.trained == watch.trained[mark:]
        assert other.record() == stopping.record()


def test_a_new_run_begins_anew(trainer: TrainerMaker) -> None:
    stopping = TaskEarlyStopping({"size": 1}, min_delta=NEVER, stop_when=None)
    first = adam()
    trainer(max_epochs=3, callbacks=[stopping]).fit(first, together())
    assert stopping.record()["stopped"] == {"size": 10}
    second, watch = adam(), Watch()
    trainer(max_epochs=1, callbacks=[stopping, watch]).fit(second, together())
    assert stopping.record()["stopped"] == {}
    assert not same(watch.steps[0], watch.steps[-1], "heads.size")


# Refusals


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"patience": 0}, "`patience` must be a whole number of at least 1, got 0"),
        ({"patience": {"a": 0}}, r"`patience\['a'\]` must be a whole number of at least 1, got 0"),
        ({"patience": {}}, r"`patience` must be a number or \{task: number\}, got \{\}"),
        ({"min_delta": -1.0}, "`min_delta` must be finite and at least 0, got -1.0"),
        ({"action": "stop"}, "action.*'freeze', 'drop', 'vote'"),
        ({"stop_when": "most"}, "stop_when.*'all', 'any', 'majority'"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises((ValueError, TypeCheckError), match=re.compile(says, re.DOTALL)):  # the tests check annotations
        TaskEarlyStopping(**options)


def test_names_that_are_no_tasks_are_refused(trainer: TrainerMaker) -> None:
    with pytest.raises(ValueError, match=r"got 'sise'; tasks are \['sign', 'size'\]. Did you mean 'size'"):
        trainer(callbacks=[TaskEarlyStopping({"sise": 1})]).fit(module(), together())
    which = [Task("sign", head=Multiclass(2), metrics=[]), Task("size", head=Regression(), auxiliary=True)]
    for patience in ({"sign": 1}, {"size": 2}):
        with pytest.raises(ValueError, match="`patience` must name tasks with metrics"):
            trainer(callbacks=[TaskEarlyStopping(patience)]).fit(module(which), together())
    with pytest.raises(ValueError, match="`patience` must be of tasks with metrics"):
        trainer(callbacks=[TaskEarlyStopping(2)]).fit(module(which), together())


def test_runs_in_which_nothing_can_be_judged_are_refused(trainer: TrainerMaker) -> None:
    made = splits()
    del made["validation"]
    blind = MultiTaskDataModule({"s": made}, batch_size=8, summary=False)
    with pytest.raises(ValueError, match="TaskEarlyStopping must see validation scores"):
        trainer(callbacks=[TaskEarlyStopping()]).fit(module(), blind)

    class Other(L.LightningModule):
        pass

    with pytest.raises(ValueError, match="TaskEarlyStopping must have a module of lightning_mtl, got Other"):
        TaskEarlyStopping().setup(trainer(), Other(), "fit")
    run = trainer()
    run._accelerator_connector.strategy = FSDPStrategy()
    with pytest.raises(ValueError, match="TaskEarlyStopping must find the parameters of each head, got FSDPStrategy"):
        TaskEarlyStopping(action="vote").setup(run, module(), "fit")
    TaskEarlyStopping(action="vote", restore=False).setup(run, module(), "fit")


def test_sources_that_cannot_be_left_out_are_refused(trainer: TrainerMaker) -> None:
    def loaders(sources: dict[str, list[str]]) -> Any:
        made = {
            source: DataLoader(
                cast(Any, [{name: row[name] for name in ("x", *names)} for row in rows(16)]), 8, collate_fn=columns
            )
            for source, names in sources.items()
        }
        return CombinedLoader(made, "max_size_cycle"), CombinedLoader(made, "max_size")

    two = loaders({"sign": ["sign"], "size": ["size"]})
    says = r"`action` must be 'freeze' or 'vote' where .* got 'drop'. Read \['sign', 'size'\]"
    with pytest.raises(ValueError, match=says):
        trainer(callbacks=[TaskEarlyStopping({"size": 1}, action="drop")]).fit(module(), *two)
    trainer(callbacks=[TaskEarlyStopping({"size": 1}, action="freeze")]).fit(module(), *two)
    watch = Watch()
    run = trainer(max_epochs=4, callbacks=[TaskEarlyStopping({"size": 1}, min_delta=NEVER, action="drop"), watch])
    run.fit(module(), *loaders({"s": ["sign", "size"]}))
    assert watch.trained == [{"sign", "size"}] * 4 + [{"sign"}] * 4


@pytest.mark.filterwarnings("ignore:This DataLoader will create 16 worker processes")
def test_workers_that_read_too_far_ahead_are_refused(trainer: TrainerMaker) -> None:
    fed = apart(batches="homogeneous", num_workers=LAG // 2)
    with pytest.raises(ValueError, match="`num_workers` must read fewer than 32 batches ahead"):
        trainer(callbacks=[TaskEarlyStopping(action="drop")]).fit(module(), fed)


def test_rules_go_on_among_what_is_left(trainer: TrainerMaker) -> None:
    watch, stopping = Watch(), TaskEarlyStopping({"size": 1}, min_delta=NEVER, action="drop")
    fed = apart(sampling=Temperature(3.0), steps_per_epoch=20)
    trainer(max_epochs=5, callbacks=[stopping, watch]).fit(adam(), fed)
    assert all(read == {"sign"} for read in watch.read[40 + LAG :])
