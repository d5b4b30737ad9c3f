"""Bugs that were found in other libraries of multi-task learning, and losses that happen silently around multi-source loaders.

Each test is named after one; letters (a) to (j) are those of other libraries. (j), validation on several processes, is
`test_ranks.py::test_j_validation_runs_on_two_processes`.
"""

from __future__ import annotations

import multiprocessing
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from scipy.stats import chisquare
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau
from torch.testing import assert_close

from lightning_mtl import HardSharing, MultiTaskDataModule, MultiTaskModule
from lightning_mtl.callbacks import SamplingSchedule
from lightning_mtl.samplers import BATCHES, Annealed, Batches, Explicit, Temperature, Uniform
from tests.builders import encoder, module, rows, tasks
from tests.conftest import TrainerMaker


def sources(sign: int = 30, size: int = 12) -> dict[str, Any]:
    """Two sources with a task each; every row knows its number."""
    made = {}
    for seed, (name, count) in enumerate({"sign": sign, "size": size}.items()):
        splits = {"train": rows(count, seed), "validation": rows(11 + seed, seed + 10)}
        made[name] = {
            split: [{"x": row["x"], name: row[name], "id": i} for i, row in enumerate(of)]
            for split, of in splits.items()
        }
    return made


def data(of: Mapping[str, Any] | None = None, **options: Any) -> MultiTaskDataModule:
    return MultiTaskDataModule(of or sources(), **{"batch_size": 6, "summary": False, **options})


class Watch(L.Callback):
    """Notes which rows each step read, at which rates; saves once."""

    def __init__(self, save_at: int | None = None, path: Path | None = None) -> None:
        self.save_at, self.path = save_at, path
        self.steps: list[dict[str, list[int]]] = []
        self.epochs: list[int] = []
        self.rates: list[list[float]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.steps.append({name: part["id"].tolist() for name, part in batch.items()})
        self.epochs.append(trainer.current_epoch)
        sampler = trainer.datamodule.sampler
        self.rates.append(sampler.rates.at(sampler.running))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.save_at:
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch + 1 == -(self.save_at or 0):
            trainer.save_checkpoint(self.path)

    def rows(self, source: str, epoch: int | None = None) -> list[int]:
        of = zip(self.epochs, self.steps, strict=True)
        return [row for at, step in of if epoch in (None, at) for row in step.get(source, [])]


def fit(
    trainer: TrainerMaker,
    fed: MultiTaskDataModule,
    made: MultiTaskModule | None = None,
    watch: Watch | None = None,
    ckpt_path: Path | None = None,
    callbacks: tuple[L.Callback, ...] = (),
    **options: Any,
) -> tuple[MultiTaskModule, Watch, L.Trainer]:
    made, watch = made or module(), watch or Watch()
    run = trainer(callbacks=[watch, *callbacks], num_sanity_val_steps=0, **options)
    run.fit(made, fed, ckpt_path=ckpt_path)
    return made, watch, run


# Bugs of other libraries


def test_a_uneven_sources_under_a_temperature_finish_with_the_shares_asked_for(trainer: TrainerMaker) -> None:
    fed = data(sources(90, 10), batch_size=2, sampling=Temperature(2.0), steps_per_epoch=200)
    _, watch, _ = fit(trainer, fed, max_epochs=2)
    drawn = Counter(name for step in watch.steps for name in step)
    assert drawn.total() == 400
    assert chisquare([drawn["sign"], drawn["size"]], [300, 100]).pvalue > 1e-3  # square roots of 90 and 10


def test_b_every_row_of_the_large_source_is_drawn_in_mixed_batches(trainer: TrainerMaker) -> None:
    fed = data(sources(200, 20), batch_size=16, sampling=Uniform(), batches="mixed")
    _, watch, _ = fit(trainer, fed, max_epochs=5)
    for name, count in (("sign", 200), ("size", 20)):
        drawn = Counter(watch.rows(name))
        assert len(drawn) == count
        assert max(drawn.values()) - min(drawn.values()) <= 1


@pytest.mark.parametrize("batches", BATCHES)
@pytest.mark.parametrize("options", [{}, {"batch_size": 7}, {"steps_per_epoch": "shortest"}], ids=str)
def test_c_the_announced_length_is_delivered(batches: Batches, options: dict[str, Any], trainer: TrainerMaker) -> None:
    class Counts(L.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.announced = trainer.num_training_batches, trainer.estimated_stepping_batches

    counts, fed = Counts(), data(batches=batches, **options)
    _, watch, run = fit(trainer, fed, callbacks=(counts,), max_epochs=2)
    assert counts.announced == (len(fed.train_dataloader()), run.global_step)
    assert Counter(watch.epochs) == dict.fromkeys(range(2), counts.announced[0])


def test_d_the_composition_of_batches_changes_between_epochs(trainer: TrainerMaker) -> None:
    _, watch, _ = fit(trainer, data(sources(48, 48), batch_size=4), max_epochs=2)
    for name in ("sign", "size"):
        first, second = ({frozenset(step[name]) for step in watch.steps[i : i + 12]} for i in (0, 12))
        assert len(first & second) <= 1


def test_e_a_resume_goes_on_at_the_same_exponent(trainer: TrainerMaker, tmp_path: Path) -> None:
    def fed(**options: Any) -> MultiTaskDataModule:
        return data(sampling=Annealed(start=1.0, end=0.0), batches="mixed", steps_per_epoch=8, **options)

    whole, watch, _ = fit(trainer, fed(), watch=Watch(19, tmp_path / "saved"), max_epochs=4)
    resumed, rest, _ = fit(trainer, fed(seed=5), ckpt_path=tmp_path / "saved", max_epochs=4)
    ratios = [(30 / 12) ** (1 - epoch / 3) for epoch in watch.epochs]
    assert [rate / (1 - rate) for rate, _ in watch.rates] == pytest.approx(ratios)
    assert rest.rates == watch.rates[19:]
    assert rest.steps == watch.steps[19:]
    assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_f_a_resume_keeps_the_patience_of_a_task(trainer: TrainerMaker, tmp_path: Path) -> None:
    def stopping() -> EarlyStopping:
        return EarlyStopping("validate/size/mae", mode="min", patience=3, min_delta=100.0)

    _, _, whole = fit(trainer, data(), watch=Watch(13, tmp_path / "saved"), callbacks=(stopping(),), max_epochs=20)
    again = stopping()
    _, rest, resumed = fit(trainer, data(), ckpt_path=tmp_path / "saved", callbacks=(again,), max_epochs=20)
    assert whole.current_epoch == resumed.current_epoch == 4  # nothing gets better by 100 after the first epoch
    assert again.wait_count == 3
    assert len(rest.steps) == whole.global_step - 13


@pytest.mark.parametrize("names", [["size"], ["sign", "size"]], ids=str)
@pytest.mark.parametrize("learns", [True, False])
def test_g_a_plateau_scheduler_follows_the_score(names: list[str], learns: bool, trainer: TrainerMaker) -> None:
    """The main metric of `size` is an error, lower is better; the score turns it round."""

    class Plateau(MultiTaskModule):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.01, maximize=not learns)
            scheduler = ReduceLROnPlateau(optimizer, mode="max", factor=0.5, patience=0, threshold=0.0)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "validate/score"}}

    class Scores(L.Callback):
        def __init__(self) -> None:
            self.scores: list[float] = []

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            self.scores.append(float(trainer.callback_metrics["validate/score"]))

    shown = Scores()
    of = {name: sources()[name] for name in names}
    _, _, run = fit(trainer, data(of), Plateau(tasks(names), encoder()), callbacks=(shown,), max_epochs=4)
    best, rate = shown.scores[0], 0.01
    for score in shown.scores[1:]:
        rate, best = (rate, score) if score > best else (rate / 2, best)
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(rate)
    assert (shown.scores[-1] > shown.scores[0]) is learns
    assert (rate > 0.004) is learns


def test_h_two_evaluations_in_a_row_are_equal(trainer: TrainerMaker) -> None:
    trunk = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.BatchNorm1d(8))
    made = MultiTaskModule(tasks(), HardSharing(trunk, width=8, inputs=["x"]))
    fed = data(num_workers=1)
    fit(trainer, fed, made)
    run = trainer()
    figures = [run.validate(made, fed, verbose=False) for _ in range(2)]
    assert figures[0] == figures[1]
    assert figures[0] == trainer().validate(made, fed, verbose=False)
    assert len(figures[0][0]) > 4


def test_i_two_heads_see_the_same_features_of_one_batch() -> None:
    made = module()
    seen: dict[str, list[Tensor]] = {"trunk": [], "sign": [], "size": []}
    shared: Any = made.encoder
    parts: dict[str, nn.Module] = {"trunk": shared.trunk, **dict(made.heads.items())}
    for name, part in parts.items():
        part.register_forward_hook(lambda _, given, out, to=seen[name]: to.extend([*given, out]))
    fed = MultiTaskDataModule({"s": rows(8)}, batch_size=8)
    fed.setup("fit")
    batch = made.routing.label(next(iter(fed.train_dataloader())))
    before = {name: column.clone() for name, column in batch["s"].items() if isinstance(column, Tensor)}
    step = made.run(batch)
    assert step.tasks == (0, 1)
    (read, features), (first, _), (second, _) = seen.values()  # each ran once
    assert torch.equal(read, before["x"])
    assert torch.equal(first, features)
    assert torch.equal(second, features)
    assert_close({name: batch["s"][name] for name in before}, before, rtol=0, atol=0)


# What is lost silently around loaders of several sources


def test_a_shorter_source_has_a_new_order_each_time_round(trainer: TrainerMaker) -> None:
    _, watch, _ = fit(trainer, data(sources(60, 12)))
    passes = [tuple(watch.rows("size")[start : start + 12]) for start in range(0, 60, 12)]
    assert len(set(passes)) == 5
    assert all(sorted(order) == list(range(12)) for order in passes)


def test_sources_of_one_size_have_orders_of_their_own(trainer: TrainerMaker) -> None:
    _, watch, _ = fit(trainer, data(sources(30, 30)), max_epochs=2)
    assert len({tuple(watch.rows(name, epoch)) for name in ("sign", "size") for epoch in range(2)}) == 4


@pytest.mark.parametrize("batches", BATCHES)
def test_nothing_is_read_and_thrown_away_at_the_end_of_an_epoch(batches: Batches, trainer: TrainerMaker) -> None:
    fed = data(batches=batches, num_workers=2, steps_per_epoch=4)
    _, watch, _ = fit(trainer, fed, max_epochs=4)
    for name, count in (("sign", 30), ("size", 12)):
        read = watch.rows(name)
        for start in range(0, len(read), count):
            part = read[start : start + count]
            assert len(set(part)) == len(part)


def test_a_short_epoch_does_not_read_its_first_rows_again(trainer: TrainerMaker) -> None:
    _, watch, _ = fit(trainer, data(), max_epochs=2, limit_train_batches=2)
    assert len(watch.steps) == 4
    assert len(set(watch.rows("sign"))) == 24


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("save_at", [3, -1], ids=["within an epoch", "at its end"])
def test_a_resume_reads_the_next_batch_and_the_next_epoch(
    workers: int, save_at: int, trainer: TrainerMaker, tmp_path: Path
) -> None:
    fed = data(num_workers=workers, sampling=Uniform())
    _, watch, _ = fit(trainer, fed, watch=Watch(save_at, tmp_path / "saved"), max_epochs=3)
    first = save_at if save_at > 0 else watch.epochs.count(0)
    again = data(num_workers=2 - workers, sampling=Uniform(), seed=8)
    _, rest, _ = fit(trainer, again, ckpt_path=tmp_path / "saved", max_epochs=3)
    assert rest.steps == watch.steps[first:]
    assert rest.epochs == watch.epochs[first:]


def test_a_step_estimate_read_before_the_resume_does_not_lose_the_place(trainer: TrainerMaker, tmp_path: Path) -> None:
    class Cycle(MultiTaskModule):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters())
            self.estimate = int(self.trainer.estimated_stepping_batches)
            scheduler = OneCycleLR(optimizer, 0.1, total_steps=self.estimate)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def made() -> Cycle:
        torch.manual_seed(3)
        return Cycle(tasks(), encoder())

    whole, watch, run = fit(trainer, data(), made(), watch=Watch(7, tmp_path / "saved"), max_epochs=3)
    assert whole.estimate == run.global_step == 15
    resumed, rest, _ = fit(trainer, data(seed=2), made(), ckpt_path=tmp_path / "saved", max_epochs=3)
    assert rest.steps == watch.steps[7:]
    assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)


def decaying() -> MultiTaskModule:
    return MultiTaskModule(tasks(), encoder(), optimizer=lambda groups: torch.optim.AdamW(groups, weight_decay=0.1))


def test_the_head_of_a_source_that_is_never_drawn_does_not_move(trainer: TrainerMaker) -> None:
    made = decaying()
    before = {name: value.clone() for name, value in made.heads.state_dict().items()}
    fit(trainer, data(sampling=Explicit({"sign": 1.0, "size": 0.0}), steps_per_epoch=10), made, max_epochs=2)
    after = made.heads.state_dict()
    assert {name.split(".")[0] for name in after if torch.equal(after[name], before[name])} == {"size"}
    assert all(not torch.equal(after[name], before[name]) for name in after if name.startswith("sign"))


def test_a_head_moves_in_the_steps_of_its_source_alone(trainer: TrainerMaker) -> None:
    class Moves(L.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.moved: list[set[str]] = []
            self.at = self.weights(pl_module)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            now = self.weights(pl_module)
            self.moved.append({name for name in now if not torch.equal(now[name], self.at[name])})
            self.at = now

        @staticmethod
        def weights(of: MultiTaskModule) -> dict[str, Tensor]:
            return {name: nn.utils.parameters_to_vector(head.parameters()).detach() for name, head in of.heads.items()}

    moves = Moves()
    _, watch, _ = fit(trainer, data(sampling=Uniform(), steps_per_epoch=20), decaying(), callbacks=(moves,))
    assert moves.moved == [set(step) for step in watch.steps]
    assert {frozenset(step) for step in watch.steps} == {frozenset({"sign"}), frozenset({"size"})}


def test_processes_plan_alike_without_a_seed_for_everything() -> None:
    plans = []
    for seed in range(2):
        torch.manual_seed(seed)
        random.seed(seed)
        fed = data(sampling=Uniform(), batches="mixed")
        fed.setup("fit")
        plans.append([{name: part["id"].tolist() for name, part in batch.items()} for batch in fed.train_dataloader()])
    assert plans[0] == plans[1]


@pytest.mark.parametrize("options", [{}, {"use_distributed_sampler": False}], ids=str)
def test_lightning_neither_wraps_nor_rebuilds_the_loader(options: dict[str, Any], trainer: TrainerMaker) -> None:
    """On two processes test_ranks.py would fail, where it did; it tells each new epoch to what plans the steps."""

    class Loaders(L.Callback):
        def __init__(self) -> None:
            self.seen: list[tuple[Any, int]] = []

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            self.seen.append((trainer.train_dataloader, trainer.train_dataloader.sampler.epoch))

    made: list[Any] = []

    class Keeps(MultiTaskDataModule):
        def train_dataloader(self) -> Any:
            made.append(super().train_dataloader())
            return made[-1]

    loaders = Loaders()
    _, _, run = fit(
        trainer, Keeps(sources(), batch_size=6, summary=False), callbacks=(loaders,), max_epochs=3, **options
    )
    assert {id(loader) for loader, _ in loaders.seen} == {id(made[-1])}
    held: Any = run.train_dataloader
    assert held.sampler is made[-1].sampler
    assert [epoch for _, epoch in loaders.seen] == [0] * 5 + [1] * 5 + [2] * 5


def test_workers_end_with_the_run(trainer: TrainerMaker) -> None:
    """Lightning ends those of a loader in which it finds them; others would wait for the garbage collector."""
    before = set(multiprocessing.active_children())
    fed, during = data(num_workers=2), []

    class Workers(L.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            during.append({*multiprocessing.active_children()} - before)

    _, watch, run = fit(trainer, fed, callbacks=(Workers(),), max_epochs=2, limit_train_batches=3)
    run.validate(module(), fed, verbose=False)
    assert during[0] & during[1]
    assert not {*multiprocessing.active_children()} - before
    assert len(watch.steps) == 6


def test_a_rule_that_a_callback_brings_holds_from_the_first_step_on(trainer: TrainerMaker) -> None:
    """Though workers would have read ahead by then."""
    fed = data(sampling=Uniform(), num_workers=2, steps_per_epoch=12)
    schedule = SamplingSchedule(Explicit({"sign": 0.0, "size": 1.0}))
    _, watch, _ = fit(trainer, fed, callbacks=(schedule,))
    assert [set(step) for step in watch.steps] == [{"size"}] * 12


def test_figures_of_a_validation_weigh_rows_whatever_the_batches(trainer: TrainerMaker) -> None:
    made = module()
    of = sources()
    figures = [trainer().validate(made, data(of, batch_size=size), verbose=False)[0] for size in (2, 5, 20)]
    for other in figures[1:]:
        assert other == pytest.approx(figures[0], rel=1e-5)
