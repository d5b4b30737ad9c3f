"""What the library uses of Lightning's private and internal parts does what the library needs: a new release is checked here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import (
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_mtl import _lightning as adapter
from lightning_mtl.samplers import EvaluationSampler
from lightning_mtl.samplers import Rows as EveryRow
from tests.conftest import TrainerMaker


class Line(L.LightningModule):
    """Fits a line, and notes what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.noted: list[Any] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.noted.append(adapter.steps_next(self.trainer))
        loss: Tensor = self.layer(batch).square().mean()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def rows(count: int = 6) -> DataLoader[Any]:
    return DataLoader(torch.ones(count, 1), batch_size=1)  # type: ignore[arg-type]


class Rows(L.LightningDataModule):
    def train_dataloader(self) -> Any:
        return rows()

    def val_dataloader(self) -> Any:
        return rows()


def test_a_module_alone_has_no_trainer(trainer: TrainerMaker) -> None:
    line = Line()
    assert adapter.trainer_of(line) is None
    run = trainer(max_steps=1)
    run.fit(line, rows())
    assert adapter.trainer_of(line) is run


def test_callbacks_come_before_those_of_the_trainer(trainer: TrainerMaker) -> None:
    calls: list[str] = []

    class Noted(L.Callback):
        def __init__(self, name: str) -> None:
            self.name = name

        def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            calls.append(self.name)

    run = trainer(max_steps=1, callbacks=[Noted("own")])
    adapter.insert_callbacks(run, [Noted("first"), Noted("second")])
    run.fit(Line(), rows())
    assert calls == ["first", "second", "own"]
    assert [of.name for of in adapter.callbacks_of(run) if isinstance(of, Noted)] == calls


def test_files_in_a_place_of_their_own_are_known(trainer: TrainerMaker, tmp_path: Path) -> None:
    counting = [
        ModelCheckpoint(tmp_path / "a", every_n_epochs=2),
        ModelCheckpoint(every_n_epochs=3, enable_version_counter=False),
    ]
    fixed = ModelCheckpoint(tmp_path / "b", filename="best", enable_version_counter=False)
    loggers = [CSVLogger(tmp_path, name="x", version="v"), CSVLogger(tmp_path, name="x")]
    made = trainer(callbacks=[*counting, fixed], logger=loggers, enable_checkpointing=True)
    assert adapter.fixed_files(made) == [str(tmp_path / "x" / "v"), str(tmp_path / "b" / "best")]


@pytest.mark.parametrize(
    ("every", "steps"), [(1, [True] * 6), (2, [False, True] * 3), (4, [False, False, False, True, False, True])]
)
def test_the_optimizer_steps_after_the_last_batch_of_a_window(
    every: int, steps: list[bool], trainer: TrainerMaker
) -> None:
    line = Line()
    trainer(accumulate_grad_batches=every).fit(line, rows())
    assert line.noted == steps


def test_ddp_expects_unused_parameters_unless_it_was_told_not_to() -> None:
    silent, told = DDPStrategy(), DDPStrategy(find_unused_parameters=False)
    assert adapter.expect_unused_parameters(silent)
    assert silent._ddp_kwargs["find_unused_parameters"]
    assert not adapter.expect_unused_parameters(told)


def test_ddp_synchronizes_gradients_or_not() -> None:
    strategy = DDPStrategy()
    wrapped: Any = nn.Linear(1, 1)
    strategy._model = wrapped
    for on in (False, True):
        adapter.synchronize_gradients(strategy, on)
        assert wrapped.require_backward_grad_sync is on
    adapter.synchronize_gradients(SingleDeviceStrategy("cpu"), False)  # which has nothing to synchronize


def test_published_values_reach_callbacks_loggers_and_the_bar(trainer: TrainerMaker) -> None:
    run = trainer(max_steps=1)
    run.fit(Line(), rows())
    adapter.publish(run, {"a": 1.0, "b": 2.0}, ["b"])
    assert {name: float(of) for name, of in run.callback_metrics.items()} == {"a": 1.0, "b": 2.0}
    assert {name: float(of) for name, of in run.logged_metrics.items()} == {"a": 1.0, "b": 2.0}
    assert run.progress_bar_metrics == {"b": 2.0}
    adapter.retract(run, ["b", "never"])
    for shown, left in ((run.callback_metrics, ["a"]), (run.logged_metrics, ["a"]), (run.progress_bar_metrics, [])):
        assert list(shown) == left


def test_the_sources_of_a_run_are_those_of_its_data_module(trainer: TrainerMaker) -> None:
    found: list[Any] = []

    class Named(Rows):
        sources = ("a", "b")
        sampler = "sampler"

    class Watching(Line):
        def on_train_start(self) -> None:
            found.append((adapter.sources_of_run(self.trainer), adapter.sampler_of_data(self.trainer)))

    for data in (Named(), Rows()):
        adapter.hide_val_dataloader(data, hide=True)
        trainer(max_steps=1).fit(Watching(), data)
    trainer(max_steps=1).fit(Watching(), rows())
    assert found == [(("a", "b"), "sampler"), (None, None), (None, None)]


def test_batches_are_labelled_before_they_move_unless_the_module_does_it_itself(trainer: TrainerMaker) -> None:
    class Own(Line):
        def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return batch

    seen: list[int] = []

    def label(batch: Any, dataloader_idx: int) -> Any:
        seen.append(dataloader_idx)
        return batch

    for module in (Line(), Own()):
        adapter.label_on_cpu(module, label)
        trainer(max_steps=2).fit(module, rows())
    assert seen == [0, 0]


def test_a_batch_is_placed_as_the_trainer_places_it(trainer: TrainerMaker) -> None:
    class Doubling(Line):
        def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return 2 * batch

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            self.noted += [batch, adapter.placed(self, torch.ones(1, 1))]
            loss: Tensor = self.layer(batch).square().mean()
            return loss

    module = Doubling()
    trainer(max_steps=1, precision="64-true").fit(module, rows())
    assert [(of.dtype, of.item()) for of in module.noted] == [(torch.float64, 2.0)] * 2


def test_a_loader_that_is_due_is_made_at_once(trainer: TrainerMaker) -> None:
    made: list[int] = []

    class Counting(L.LightningDataModule):
        def train_dataloader(self) -> Any:
            made.append(self.trainer.current_epoch if self.trainer else -1)
            return rows()

    class Making(Line):
        def on_train_start(self) -> None:
            adapter.make_due_loader(self.trainer)

    trainer(max_epochs=2).fit(Making(), Counting())
    assert made == [0]


@pytest.mark.parametrize(("end", "steps"), [({"epochs": 2}, 12), ({"steps": 3}, 3), ({}, 18)])
def test_a_trainer_ends_earlier(end: dict[str, int], steps: int, trainer: TrainerMaker) -> None:
    run = trainer(max_epochs=3)
    adapter.shorten(run, **end)
    run.fit(Line(), rows())
    assert run.global_step == steps


def test_a_hidden_validation_is_skipped_and_comes_back(trainer: TrainerMaker) -> None:
    data = Rows()
    for hide in (True, True, False, True, False):
        adapter.hide_val_dataloader(data, hide=hide)
        assert is_overridden("val_dataloader", data) is not hide
    assert isinstance(data.val_dataloader(), DataLoader)
    adapter.hide_val_dataloader(data, hide=True)
    run = trainer(max_steps=1)
    run.fit(Line(), data)
    assert not run.enable_validation


def test_workers_of_a_loader_of_ours_end_with_the_run(trainer: TrainerMaker) -> None:
    class Loader(adapter.WorkersOfLoader):
        def __init__(self) -> None:
            self._loader = DataLoader(torch.ones(4, 1), num_workers=1, persistent_workers=True)  # type: ignore[arg-type]

        def __len__(self) -> int:
            return 4

        def __iter__(self) -> Any:
            return iter(self._loader)

    loader = Loader()
    trainer().fit(Line(), loader)
    assert loader._iterator is None


def test_a_schedule_of_accumulation_counts_by_its_largest_size() -> None:
    schedule = GradientAccumulationScheduler({0: 1, 4: 3})
    run = L.Trainer(callbacks=[schedule], accelerator="cpu", logger=False, enable_checkpointing=False)
    assert adapter.accumulation_of(run) == 3
    plain = L.Trainer(accumulate_grad_batches=2, accelerator="cpu", logger=False, enable_checkpointing=False)
    assert adapter.accumulation_of(plain) == 2


@pytest.mark.filterwarnings("ignore:Swapping scheduler")
def test_the_last_pass_of_an_average_has_no_backward_pass(trainer: TrainerMaker) -> None:
    class Normed(Line):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))  # type: ignore[assignment]

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            self.noted.append(adapter.skips_backward(self.trainer))
            loss: Tensor = self.layer(batch.repeat(2, 1) * torch.arange(1.0, 3)[:, None]).square().mean()
            return loss

    normed = Normed()
    average = StochasticWeightAveraging(0.1, swa_epoch_start=1)
    trainer(max_epochs=2, callbacks=[average], enable_model_summary=False).fit(normed, rows(2))
    assert normed.noted == [False] * 4 + [True] * 2


@pytest.mark.filterwarnings("ignore:Swapping scheduler")
def test_averages_are_known_while_a_fit_runs(trainer: TrainerMaker) -> None:
    """Of what they are for, `tests/callbacks` says so."""

    class Averaged(Line):
        def on_validation_end(self) -> None:
            now, kept = self.layer.weight.detach().clone(), adapter.scored_copy(self.trainer).layer.weight
            assert len(adapter.averaged_copies(self.trainer)) == 2
            assert not torch.equal(now, kept)
            with adapter.scored_weights(self.trainer, self):
                self.noted.append(self.layer.weight.detach().clone())
            assert torch.equal(now, self.layer.weight)
            alone: dict[str, Any] = {"state_dict": self.state_dict()}
            adapter.save_scored_weights(self.trainer, self, alone)
            assert torch.equal(alone["state_dict"]["layer.weight"], kept)
            whole: dict[str, Any] = {"state_dict": {}, "callbacks": {}}
            adapter.save_scored_weights(self.trainer, self, whole)
            assert not whole["state_dict"]

        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            self.noted = [self.layer.weight.detach().clone()]

    line = Averaged()
    averages = [EMAWeightAveraging(decay=0.5), StochasticWeightAveraging(0.1, swa_epoch_start=1)]
    run = trainer(max_epochs=2, callbacks=averages, num_sanity_val_steps=0)
    run.fit(line, rows(), rows(1))
    assert torch.equal(*line.noted)
    assert adapter.scored_copy(run) is None


def test_a_compiled_module_trains_without_compilation(trainer: TrainerMaker) -> None:
    class Uncompiled(Line):
        def setup(self, stage: str) -> None:
            self.noted.append(adapter.uncompile_training(self))

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            self.noted.append(torch.compiler.is_compiling())
            return super().training_step(batch, batch_idx)

    line = Uncompiled()
    trainer(max_steps=1).fit(line, rows())
    compiled: Any = torch.compile(line, backend="eager")
    trainer(max_steps=1).fit(compiled, rows())
    flags = [of for of in line.noted if isinstance(of, bool)]
    assert flags == [False, False, True, True, False, True]


def test_fabric_is_known() -> None:
    line, fabric = Line(), L.Fabric(accelerator="cpu", devices=1)
    assert adapter.fabric_of(line) is None
    fabric.setup(line)
    assert adapter.fabric_of(line) is fabric


def test_a_static_graph_is_found() -> None:
    assert adapter.has_static_graph(DDPStrategy(static_graph=True))
    assert not adapter.has_static_graph(DDPStrategy())
    assert not adapter.has_static_graph(SingleDeviceStrategy())


def test_processes_of_its_own_are_not_connected_early() -> None:
    """Those that something else started are, in `tests/cli`."""
    strategy = L.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False).strategy
    adapter.connect_ranks(strategy)
    adapter.connect_ranks(SingleDeviceStrategy())
    assert not torch.distributed.is_initialized()


class Resumed(Line):
    """Notes its validations, and whether one was run at the start."""

    def on_train_start(self) -> None:
        self.noted.append(adapter.run_missed_validation(self.trainer))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(batch).square().mean()
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.noted.append((self.trainer.current_epoch, self.trainer.global_step))
        assert adapter.batches_done(self.trainer) == self.trainer.global_step


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`", "ignore:You're resuming from a checkpoint")
def test_a_validation_that_was_due_is_run_at_the_start(trainer: TrainerMaker, tmp_path: Path) -> None:
    """Of whole runs `tests/modules` says so."""
    options: dict[str, Any] = {"max_epochs": 2, "val_check_interval": 3, "num_sanity_val_steps": 0}
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    first = Resumed()
    trainer(enable_checkpointing=True, callbacks=[keep], **options).fit(first, rows(), rows(1))
    assert first.noted == [False, (0, 3), (0, 6), (1, 9), (1, 12)]
    later = first.noted[2:]
    for step, noted in ((3, [(0, 3), True, *later]), (4, [False, *later]), (6, [later[0], True, *later[1:]])):
        again = Resumed()
        trainer(**options).fit(again, rows(), rows(1), ckpt_path=tmp_path / f"step={step}.ckpt")
        assert again.noted == noted


def test_a_checkpoint_that_is_judged_is_known(trainer: TrainerMaker) -> None:
    class Judged(Line):
        def on_train_batch_end(self, *args: Any) -> None:
            found = [adapter.checkpoint_reads(self.trainer, start) for start in ("train/", "validate/")]
            self.noted.append((self.trainer.global_step, *found))

    line = Judged()
    keep = ModelCheckpoint(monitor="train/loss", every_n_train_steps=2, save_top_k=0)
    trainer(enable_checkpointing=True, callbacks=[keep], max_steps=3).fit(line, rows())
    assert [of for of in line.noted if isinstance(of, tuple)] == [
        (1, False, False),
        (2, True, False),
        (3, False, False),
    ]


def test_numbers_of_rows_are_known_of_the_latest_batches_of_each_process() -> None:
    """That Lightning asks for them, `tests/modules` says."""
    told: list[int] = []
    for rank in range(2):
        streams = {"a": EveryRow(201, 8, shuffle=False, ranks=2)}
        plans = adapter.PlannedRows(EvaluationSampler(streams, num_replicas=2, rank=rank), ["a"])
        for _ in range(2):
            drawn = iter(plans)
            ahead = [next(drawn) for _ in range(5)]
            for step in range(len(plans)):
                plans.deliver()
                assert plans.seen_batch_indices[step] == ahead[step]["a"]
                assert plans[max(0, step - 1)] == ahead[max(0, step - 1)]["a"]
                ahead += [plan] if (plan := next(drawn, None)) else []
            assert len(ahead) == len(plans) == 26
            assert len(plans._drawn) < 9
        told += [row for plan in ahead for row in plan["a"]]
    assert sorted(told) == list(range(201))


def test_a_use_has_a_test() -> None:
    """Each function and class of the adapter is named in this file."""
    own = {name for name, of in vars(adapter).items() if getattr(of, "__module__", "") == adapter.__name__}
    here = Path(__file__).read_text()
    assert own
    assert all(f"adapter.{name}" in here for name in own)
