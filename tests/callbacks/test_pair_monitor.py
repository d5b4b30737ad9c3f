"""What all monitors of pairs keep: training goes on as without them, and what they saw survives a resume."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_mtl import (
    HardSharing,
    MetaLearningModule,
    Multiclass,
    MultiTaskDataModule,
    MultiTaskModule,
    Recurrent,
    Regression,
    Source,
    Task,
)
from lightning_mtl.adaptation import MAML
from lightning_mtl.balancers import LogSum, PCGrad
from lightning_mtl.callbacks import ConflictMonitor, TransferMonitor
from lightning_mtl.callbacks._probe import without_side_effects
from tests.builders import module, rows, splits, tasks
from tests.conftest import TrainerMaker
from tests.models import text_rows

pytestmark = [
    pytest.mark.filterwarnings("ignore:Found 3 module"),  # some are frozen
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
]
Monitors = Sequence[L.Callback]


def monitors(every: int | None = 3) -> Monitors:
    return [ConflictMonitor(every), TransferMonitor(every or 3)]


def two_sources(count: int = 48) -> dict[str, Any]:
    made = splits(count)
    return {
        name: {split: [{"x": row["x"], name: row[name]} for row in of] for split, of in made.items()}
        for name in ("sign", "size")
    }


class Noise(nn.Module):
    """Draws random numbers in evaluation mode too, and counts in a buffer."""

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return x * (1 + 0.1 * (torch.rand(()) + np.random.rand() + self.count / 100))


def network(*, sources: bool = False, **options: Any) -> MultiTaskModule:
    torch.manual_seed(0)
    layers = [nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3), Noise()]
    which = [
        Task("sign", "sign" if sources else None, head=Multiclass(2)),
        Task("size", "size" if sources else None, head=Regression(), weight=0.5),
    ]
    frozen = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 8))
    made = MultiTaskModule(which, HardSharing(nn.Sequential(*layers, frozen), 8, inputs=["x"]), **options)
    frozen.requires_grad_(False).eval()
    return made


# Bit by bit


def trained(make: Callable[[], tuple[MultiTaskModule, Any]], added: Monitors, fit: TrainerMaker, **flags: Any) -> Any:
    """Train by a seed; give the weights, what was shown, modes, and the next random numbers (of Python's type checks draw some)."""
    L.seed_everything(3, verbose=False)
    of, data = make()
    trainer = fit(callbacks=[*added], log_every_n_steps=2, max_epochs=2, **flags)
    trainer.fit(of, data)
    shown = {name: float(value) for name, value in trainer.callback_metrics.items()}
    modes = [part.training for part in of.modules()]
    return dict(of.state_dict()), shown, modes, (float(np.random.rand()), float(torch.rand(())))


def fed(**drawn: Any) -> MultiTaskDataModule:
    apart = drawn.pop("apart", False)
    sources = two_sources() if apart else {"s": splits(48)}
    return MultiTaskDataModule(sources, batch_size=8, seed=0, summary=False, **drawn)


def own() -> DataLoader[Any]:
    made = []
    for seed in range(8):
        of = rows(10, seed)
        made.append({"s": {name: torch.tensor([row[name] for row in of]) for name in of[0]}})
    return DataLoader(made, batch_size=None)  # type: ignore[arg-type]


RUNS: dict[str, Callable[[], tuple[MultiTaskModule, Any]]] = {
    "one source": lambda: (network(), fed()),
    "a source in each step": lambda: (network(sources=True), fed(apart=True, batches="homogeneous")),
    "rows of both sources": lambda: (network(sources=True), fed(apart=True, batches="stratified")),
    "a batch of each source, gradients balanced": lambda: (
        network(sources=True, balancer=PCGrad()),
        fed(apart=True, batches="all"),
    ),
    "gradients balanced at the representation": lambda: (network(balancer=PCGrad()), fed()),
    "losses balanced": lambda: (network(balancer=LogSum()), fed()),
    "loaders of one's own": lambda: (network(), own()),
    "loaders of one's own, gradients of parameters": lambda: (network(balancer=PCGrad(), scope="parameters"), own()),
}


@pytest.mark.parametrize("run", RUNS)
def test_a_run_with_monitors_is_the_run_without(run: str, trainer: TrainerMaker) -> None:
    plain = trained(RUNS[run], [], trainer)
    weights, shown, modes, drawn = trained(RUNS[run], monitors(None if "gradients" in run else 3), trainer)
    assert all(torch.equal(weights[name], value) for name, value in plain[0].items())
    assert {name: value for name, value in shown.items() if name in plain[1]} == plain[1]
    assert {"train/cosine", "train/conflict_rate", "train/sign~size/affinity"} <= shown.keys()
    assert modes == plain[2]
    assert drawn == plain[3]


def test_aside_leaves_generators_modes_and_buffers_as_they_were() -> None:
    of = network().train()
    modes, count = [part.training for part in of.modules()], dict(of.named_buffers())["encoder.trunk.4.count"]
    drawn = []
    for again in (False, True):
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        with without_side_effects(of):
            assert not any(part.training for part in of.modules())
            for _ in range(3 * again):
                of.encoder({"x": torch.randn(3, 4)}, ["sign"])
                random.random()
        drawn.append((random.random(), np.random.rand(), float(torch.rand(()))))
    assert drawn[0] == drawn[1]
    assert [part.training for part in of.modules()] == modes
    assert float(count) == 0


@pytest.mark.parametrize(
    "flags", [{"precision": "64-true"}, {"precision": "bf16-mixed"}, {"accumulate_grad_batches": 2}], ids=str
)
def test_flags_of_the_trainer_change_nothing_of_it(flags: dict[str, Any], trainer: TrainerMaker) -> None:
    plain, added = trained(RUNS["one source"], [], trainer, **flags), monitors()
    weights = trained(RUNS["one source"], added, trainer, **flags)[0]
    assert all(torch.equal(weights[name], value) for name, value in plain[0].items())
    for monitor in added:
        assert isinstance(monitor, ConflictMonitor | TransferMonitor)
        figure = monitor.record()["cosine" if isinstance(monitor, ConflictMonitor) else "affinity"]
        assert all(number is not None for row in figure for number in row)


def test_texts_of_many_lengths_are_looked_at(trainer: TrainerMaker) -> None:
    def make() -> tuple[MultiTaskModule, Any]:
        data = MultiTaskDataModule({"s": Source(text_rows(), text="text")}, batch_size=6, seed=0, summary=False)
        which = [Task(name) for name in ("mood", "stars", "about")]
        return MultiTaskModule(which, HardSharing(Recurrent(8, buckets=100))), data

    weights = trained(make, [], trainer)[0]
    added = monitors(2)
    with_monitors = trained(make, added, trainer)[0]
    assert all(torch.equal(with_monitors[name], value) for name, value in weights.items())
    assert isinstance(added[0], ConflictMonitor)
    assert added[0].record()["looks"][0][2] == 4


# Resumed


@pytest.mark.parametrize("options", [{}, {"balancer": PCGrad()}], ids=str)
@pytest.mark.parametrize("every", [3, None], ids=str)
def test_a_resumed_run_ends_with_the_same_record(
    every: int | None, options: dict[str, Any], tmp_path: Path, trainer: TrainerMaker
) -> None:
    def run(resume: Path | None) -> list[Any]:
        L.seed_everything(0 if resume is None else 9, verbose=False)
        added: list[Any] = [ConflictMonitor(every), TransferMonitor(every=4)]
        keep = ModelCheckpoint(tmp_path / str(resume is None), every_n_train_steps=5, save_top_k=-1, filename="{step}")
        flags: dict[str, Any] = {"max_epochs": 3, "log_every_n_steps": 3, "enable_checkpointing": True}
        fit = trainer(callbacks=[*added, keep], **flags)
        fit.fit(network(sources=True, **options), fed(apart=True, batches="all"), ckpt_path=resume)
        return [monitor.record() for monitor in added]

    whole = run(None)
    assert run(tmp_path / "True" / "step=10.ckpt") == whole
    assert json.loads(json.dumps(whole)) == whole
    assert whole[0]["looks"][0][1] == (6 if every else 18 if options else 1)
    assert whole[1]["probes"] == 4


def test_another_fit_begins_anew_and_other_tasks_too(trainer: TrainerMaker) -> None:
    monitor = TransferMonitor(every=6)
    trainer(callbacks=[monitor]).fit(network(), fed())
    trainer(callbacks=[monitor]).fit(network(), fed())
    assert monitor.record()["probes"] == 1
    other = ConflictMonitor(every=6)
    other.load_state_dict({**ConflictMonitor(every=6).state_dict(), "names": ["a", "b", "c"]} | _of_three())
    trainer(callbacks=[other]).fit(network(), fed())
    assert other.record()["tasks"] == ["sign", "size"]
    assert other.record()["looks"] == [[1, 1], [1, 1]]


def _of_three() -> dict[str, Any]:
    return {"means": {"sums": torch.ones(3, 3, 3, 3)}}


# Nothing to see


@pytest.mark.parametrize("kind", [ConflictMonitor, TransferMonitor])
@pytest.mark.parametrize("which", [["sign"], ["sign", "size"]], ids=str)
def test_where_there_are_no_two_tasks_it_says_so_once(kind: Any, which: list[str], trainer: TrainerMaker) -> None:
    some = [task for task in tasks() if task.name in which]
    data = own()
    for batch in data:
        batch["s"]["size"][:] = torch.nan
    with pytest.warns(UserWarning) as warned:  # noqa: PT030
        trainer(callbacks=[kind(every=2)], max_epochs=2).fit(module(some), data)
    told = [str(of.message) for of in warned if f"{kind.__name__} found no two tasks" in str(of.message)]
    assert len(told) == 1


@pytest.mark.filterwarnings("ignore:No step of the first epoch had labels for two tasks")
def test_gramians_of_one_task_are_nothing_to_see(trainer: TrainerMaker) -> None:
    of = module([Task("sign", "sign"), Task("size", "size")], balancer=PCGrad(), scope="parameters")
    batches = [
        {name: {"x": torch.randn(5, 4), name: torch.ones(5).to(kind)}}
        for name, kind in (("sign", torch.long), ("size", torch.float))
    ]
    for task, head in zip(of.tasks, (Multiclass(2), Regression()), strict=True):
        task.head = head
    monitor = ConflictMonitor()
    with pytest.warns(UserWarning, match="ConflictMonitor found no two tasks"):
        trainer(callbacks=[monitor]).fit(of, DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    assert monitor.record()["looks"] == [[1, 0], [0, 1]]


# Refused


@pytest.mark.parametrize("kind", [ConflictMonitor, TransferMonitor])
def test_what_cannot_be_looked_at_is_refused(kind: Any, trainer: TrainerMaker) -> None:
    with pytest.raises(ValueError, match="`every` must be a whole number of at least 1, got 0"):
        kind(every=0)
    meta = MetaLearningModule(tasks(), HardSharing(nn.Linear(4, 8), 8, inputs=["x"]), adaptation=MAML(0.1))
    with pytest.raises(ValueError, match=f"{kind.__name__} must watch losses that are functions of the shared weights"):
        trainer(callbacks=[kind()]).fit(meta, fed())
    with pytest.raises(ValueError, match=f"{kind.__name__} must watch a module of several tasks, got BoringModel"):
        trainer(callbacks=[kind()]).fit(BoringModel())
    cut = trainer(callbacks=[kind()], strategy=ModelParallelStrategy(data_parallel_size=1, tensor_parallel_size=1))
    with pytest.raises(ValueError, match=f"{kind.__name__} must have whole parameters on each rank, got ModelParallel"):
        kind().setup(cut, module(), "fit")


def test_gramians_are_read_where_nothing_can_be_looked_at_aside(trainer: TrainerMaker) -> None:
    cut = trainer(strategy=ModelParallelStrategy(data_parallel_size=1, tensor_parallel_size=1))
    ConflictMonitor().setup(cut, module(balancer=PCGrad()), "fit")
    with pytest.raises(ValueError, match="or a gradient balancer with scope='representation'"):
        ConflictMonitor(every=5).setup(cut, module(balancer=PCGrad()), "fit")
