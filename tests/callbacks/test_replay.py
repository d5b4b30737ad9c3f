"""Rows of earlier phases come again, in every step of a later one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler

from lightning_mtl import MultiTaskDataModule, MultiTaskModule
from lightning_mtl.callbacks import Replay
from lightning_mtl.samplers import MultiTaskSampler, Phase, Phases, Proportional, Rows
from tests.builders import columns, rows, splits
from tests.conftest import TrainerMaker
from tests.phased import NAMES, Watch, data, module, resumed, same, watched


def sampler(ranks: int = 1, rank: int = 0, seed: int = 0, step: int = 7) -> MultiTaskSampler:
    """Make a plan of sources of 24, 9 and 40 rows, and stand at a step."""
    streams = {name: Rows(size, 8, name=name) for name, size in zip(NAMES, (24, 9, 40), strict=True)}
    made = MultiTaskSampler(streams, steps=60, seed=seed, num_replicas=ranks, rank=rank)
    steps = iter(made)
    for _ in range(step + 1):
        next(steps)
        made.deliver()
    return made


# Which rows


@pytest.mark.parametrize("kept", [1, 5, 12, 100])
@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_no_more_rows_are_replayed_than_are_kept(kept: int, size: int) -> None:
    replay = Replay(rows=kept)
    seen: dict[str, set[int]] = {"one": set(), "two": set()}
    for step in range(50):
        plan = replay.plan(sampler(step=step), ("one", "two"), size)
        assert sum(map(len, plan.values())) == size
        assert max(map(len, plan.values())) - min(map(len, plan.values())) <= 1
        for name, numbers in plan.items():
            seen[name] |= set(numbers)
    for name, there in (("one", 24), ("two", 9)):
        assert len(seen[name]) <= min(kept, there)
        if size * 50 >= 4 * there:  # as many draws as make some passes
            assert len(seen[name]) == min(kept, there)
        assert seen[name] <= set(range(there))


@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("step", [0, 3, 10])
def test_ranks_share_the_rows_that_one_process_replays(ranks: int, step: int) -> None:
    whole = Replay(12).plan(sampler(step=step), ("one", "two"), 4 * ranks)
    parts = [Replay(12).plan(sampler(ranks, rank, step=step), ("one", "two"), 4) for rank in range(ranks)]
    for name in whole:
        assert sorted(number for part in parts for number in part[name]) == sorted(whole[name])
    assert [sum(map(len, part.values())) for part in parts] == [4] * ranks


def test_rows_follow_from_seed_and_step() -> None:
    plans = {
        (seed, step): Replay(12).plan(sampler(seed=seed, step=step), ("one",), 4)["one"]
        for seed in (0, 1)
        for step in (3, 4)
    }
    again = Replay(12).plan(sampler(seed=0, step=3), ("one",), 4)["one"]
    assert again == plans[0, 3]
    assert len({tuple(plan) for plan in plans.values()}) == 4


def test_kept_rows_come_equally_often() -> None:
    replay, counts = Replay(12), torch.zeros(24)
    for step in range(12):
        for number in replay.plan(sampler(step=step), ("one",), 4)["one"]:
            counts[number] += 1
    assert set(counts.tolist()) == {0, 4}
    assert int((counts > 0).sum()) == 12


# Runs


def inputs_of(name: str) -> Tensor:
    return columns(rows(24, NAMES.index(name)))["x"].double()


def test_steps_hold_rows_of_earlier_phases_alone(trainer: TrainerMaker) -> None:
    before, _, _ = watched(trainer, Replay(rows=6, batch_size=5))
    assert before.sources == [{"one"}] * 4 + [{"one", "two"}] * 4 + [{"one", "two", "three"}] * 4
    seen: dict[str, set[tuple[float, ...]]] = {}
    for step, batch in enumerate(before.batches):
        now = NAMES[step // 4]
        assert len(batch[now]) == 8
        assert sum(len(x) for name, x in batch.items() if name != now) == (5 if step >= 4 else 0)
        for name, x in batch.items():
            assert bool((x[:, None] == inputs_of(name)).all(-1).any(-1).all())
            seen.setdefault(name, set()).update(map(tuple, x.tolist() if name != now else []))
    assert 0 < len(seen["one"]) <= 6
    assert 0 < len(seen["two"]) <= 6


def test_their_losses_are_those_of_a_batch_that_holds_them(trainer: TrainerMaker) -> None:
    """The gradient of a step is that of the batch with the rows in it, as any loader might have given it."""
    before, _, _ = watched(trainer, Replay(rows=6))
    made = module().double()
    made.load_state_dict({**made.state_dict(), **before.weights[5]})
    batch: dict[str, dict[str, Any]] = {}
    for name, x in before.batches[5].items():
        numbers = (x[:, None] == inputs_of(name)).all(-1).long().argmax(1).tolist()
        batch[name] = columns([rows(24, NAMES.index(name))[i] for i in numbers])
        batch[name]["x"] = batch[name]["x"].double()
    made.routing.bind(NAMES, every_task_every_step=False)
    step = made.train().run(batch)
    assert sorted(step.tasks) == [0, 1]
    loss = sum((made.tasks[i].weight * of for i, of in zip(step.tasks, step.losses, strict=True)), torch.zeros(()))
    loss.backward()  # type: ignore[no-untyped-call]
    for name, p in made.named_parameters():
        if p.grad is not None:
            torch.testing.assert_close(before.gradients[5][name], p.grad)
    assert {name for name, p in made.named_parameters() if p.grad is not None} == before.gradients[5].keys()


@pytest.mark.parametrize("workers", [0, 1])
def test_the_batch_of_the_data_module_is_the_default(workers: int, trainer: TrainerMaker) -> None:
    before, _, _ = watched(trainer, Replay(), feed=data(num_workers=workers))
    assert [len(x) for x in before.batches[6].values()] == [8, 8]
    assert sorted(len(x) for x in before.batches[9].values()) == [4, 4, 8]


def test_sources_of_the_phase_are_not_replayed(trainer: TrainerMaker) -> None:
    rule = Phases([Phase(["one"], steps=2), Phase(["one", "two"], steps=2), Phase(["one"], steps=2)], repeat=False)
    before, _, _ = watched(trainer, Replay(), feed=data(rule, steps_per_epoch=6))
    assert before.sources[:2] == [{"one"}] * 2
    assert {name for step in before.sources[2:4] for name in step} <= {"one", "two"}
    assert all(len(step) == 1 for step in before.sources[2:4])
    assert before.sources[4:] == [{"one", "two"}] * 2


def test_phases_that_are_repeated_replay_all_others(trainer: TrainerMaker) -> None:
    rule = Phases([Phase([name], steps=2) for name in NAMES])
    before, _, _ = watched(trainer, Replay(), feed=data(rule, steps_per_epoch=9))
    assert [len(step) for step in before.sources] == [1, 1, 2, 2, 3, 3, 3, 3, 3]


def test_without_earlier_phases_nothing_changes(trainer: TrainerMaker) -> None:
    rule = Phases([Phase(["one", "two"])], repeat=False)
    ends = []
    for callbacks in ([], [Replay()]):
        made = module(dropout=0.3)
        torch.manual_seed(0)
        trainer(callbacks=callbacks).fit(made, data(rule))
        ends.append(made.state_dict())
    assert same(*ends)


def test_a_twin_of_one_source_has_nothing_to_replay(trainer: TrainerMaker) -> None:
    made = module()
    twin = MultiTaskModule(made.tasks[:1], made.encoder)
    watch = Watch()
    trainer(callbacks=[Replay(), watch]).fit(twin, data())
    assert watch.sources == [{"one"}] * 12


@pytest.mark.parametrize("step", [3, 4, 6, 8, 10])
def test_a_resumed_run_ends_as_the_unbroken_one(step: int, trainer: TrainerMaker, tmp_path: Path) -> None:
    whole, again, without = resumed(trainer, lambda: Replay(rows=6), step, tmp_path / "some.ckpt")
    assert same(whole, again)
    assert not same(whole, without)


@pytest.mark.filterwarnings("ignore:You have overridden `on_after_batch_transfer`")
def test_rows_pass_the_hooks_that_batches_pass(trainer: TrainerMaker) -> None:
    made: Any = module()
    seen: list[set[str]] = []

    def after(batch: Any, dataloader_idx: int) -> Any:
        seen.append(set(batch))
        return batch

    made.on_after_batch_transfer = after
    watched(trainer, Replay(), made=made, num_sanity_val_steps=0)
    assert seen[:6] == [{"one"}] * 4 + [{"two"}, {"one"}]


# What is refused


def test_no_phases(trainer: TrainerMaker) -> None:
    with pytest.raises(ValueError, match=re.escape("`sampling` must be `Phases` for Replay, got Proportional()")):
        trainer(callbacks=[Replay()]).fit(module(), data(Proportional()))


def test_no_data_module(trainer: TrainerMaker) -> None:
    loader: DataLoader[Any] = DataLoader([{"one": columns(rows(8))}], batch_size=None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Replay must have a `MultiTaskDataModule`, which knows phases, got NoneType"):
        trainer(callbacks=[Replay()]).fit(module(), loader)


def test_sources_that_cannot_be_read_by_number(trainer: TrainerMaker) -> None:
    stream = {name: splits(24, seed) for seed, name in enumerate(NAMES)}
    flowing: dict[str, Any] = {**stream, "one": {**stream["one"], "train": iter(stream["one"]["train"])}}
    loaded = rows(24)
    ready = DataLoader(loaded, 8, sampler=RandomSampler(loaded, replacement=True))  # type: ignore[arg-type,var-annotated]
    for made, kind in ((flowing, "Flow"), ({**stream, "one": {**stream["one"], "train": ready}}, "Ready")):
        rule = Phases([Phase([name], steps=4) for name in NAMES], repeat=False)
        feed = MultiTaskDataModule(made, batch_size=8, sampling=rule, steps_per_epoch=12, summary=False)
        with pytest.raises(ValueError, match=f"Source 'one' must have rows that can be read by number .*got {kind}"):
            trainer(callbacks=[Replay()]).fit(module(), feed)


def test_a_last_stream_is_never_replayed(trainer: TrainerMaker) -> None:
    made: dict[str, Any] = {name: splits(24, seed) for seed, name in enumerate(NAMES)}
    made["three"]["train"] = iter(made["three"]["train"] * 2)
    rule = Phases([Phase([name], steps=4) for name in NAMES], repeat=False)
    feed = MultiTaskDataModule(made, batch_size=8, sampling=rule, steps_per_epoch=12, summary=False)
    watch = Watch()
    trainer(callbacks=[Replay(), watch]).fit(module(), feed)
    assert watch.sources[-1] == set(NAMES)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rows": 0}, "`rows` must be a whole number of at least 1, got 0. 100 of each source"),
        ({"batch_size": 0}, "`batch_size` must be a whole number of at least 1, got 0. Leave it out"),
    ],
)
def test_arguments_out_of_range(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        Replay(**options)
