"""Cosines, norms and conflicts of tasks' gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import DataLoader

from lightning_mtl import (
    HardSharing,
    HierarchicalModule,
    Levels,
    MultiTaskDataModule,
    MultiTaskModule,
    Regression,
    Task,
)
from lightning_mtl._plain import plain
from lightning_mtl.balancers import PCGrad
from lightning_mtl.callbacks import ConflictMonitor
from lightning_mtl.callbacks._cosine_history import CosineHistory
from lightning_mtl.callbacks._pairs import PairMeans, cosines, magnitude_similarities
from tests.balancers.gramians import SAMPLES, describe
from tests.builders import module, rows, splits, tasks
from tests.conftest import TrainerMaker

# Figures of pairs


@pytest.mark.parametrize("gradients", SAMPLES, ids=describe)
def test_cosines_and_similarities_are_those_of_the_gradients(gradients: Tensor) -> None:
    gramian, count = gradients @ gradients.T, len(gradients)
    cosine, similarity = cosines(gramian), magnitude_similarities(gramian)
    for i in range(count):
        for j in range(count):
            one, other = gradients[i], gradients[j]
            a, b = float(one.norm()), float(other.norm())
            assert_close(cosine[i, j], torch.cosine_similarity(one, other, dim=0))
            assert float(similarity[i, j]) == pytest.approx(2 * a * b / (a * a + b * b))


@pytest.mark.parametrize("gradients", SAMPLES, ids=describe)
def test_cosines_do_not_feel_lengths_and_similarities_do_not_feel_directions(gradients: Tensor) -> None:
    lengths = torch.linspace(0.01, 30, len(gradients), dtype=torch.float64)
    scaled = gradients * lengths[:, None]
    assert_close(cosines(scaled @ scaled.T), cosines(gradients @ gradients.T))
    turned = gradients.norm(dim=1, keepdim=True) * torch.eye(*gradients.shape, dtype=torch.float64)
    assert_close(magnitude_similarities(turned @ turned.T), magnitude_similarities(gradients @ gradients.T))


def test_a_gradient_of_zero_has_no_direction() -> None:
    gramian = torch.tensor([[4.0, 0.0], [0.0, 0.0]])
    assert cosines(gramian).isnan().tolist() == [[False, True], [True, True]]


def test_means_and_errors_are_those_of_the_looks_that_there_were() -> None:
    looks = torch.randn(7, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    looks[:3, 0, 1] = torch.nan
    looks[1:, 1, 0] = torch.nan
    means = PairMeans(2, 2)
    means.add(looks[:4])
    means.add(looks[4:])
    assert_close(means.mean()[0, 0], looks[:, 0, 0].mean())
    assert_close(means.mean()[0, 1], looks[3:, 0, 1].mean())
    assert_close(means.error()[0, 1], looks[3:, 0, 1].std() / 2)
    assert means.error()[1, 0].isnan()
    assert means.counts.tolist() == [[7, 4], [1, 7]]
    assert plain(means.error().tolist())[1][0] is None


def test_a_history_keeps_the_whole_run_and_few_entries() -> None:
    history = CosineHistory()
    for step in range(1, 1001):
        history.add(step, torch.full((1, 2, 2), float(step)))
        history.take_recent()
    steps = [step for step, _ in history.entries]
    assert 100 <= len(steps) <= 200
    assert steps == list(range(steps[0], steps[-1] + 1, steps[1] - steps[0]))
    assert steps[0] < 20
    assert steps[-1] > 980
    assert all(float(cosine[0, 0]) == step for step, cosine in history.entries)


# Batches that are run once more


def by_hand(network: MultiTaskModule, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Differentiate each task's loss in evaluation mode: losses, and a row of gradients for each task."""
    network.eval()
    shared = list(network.encoder.parameters())
    features = network.encoder(batch, ["sign"])["sign"]
    sign, size = network.heads["sign"], network.heads["size"]
    losses = [
        nn.functional.cross_entropy(sign(features), batch["sign"]),
        (size(features).squeeze(-1) - batch["size"]).square().mean(),
    ]
    each = [torch.autograd.grad(loss, shared, retain_graph=True) for loss in losses]
    return torch.stack(losses), torch.stack([torch.cat([g.flatten() for g in of]) for of in each])


class Wide(MultiTaskModule):
    """Of batch norm and dropout, which only count while training."""

    @staticmethod
    def made(**options: Any) -> MultiTaskModule:
        torch.manual_seed(0)
        trunk = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5))
        return MultiTaskModule(tasks(), HardSharing(trunk, 8, inputs=["x"]), **options).double()


def batches(count: int) -> list[dict[str, dict[str, Tensor]]]:
    made = []
    for seed in range(count):
        of = rows(12, seed)
        columns = {name: torch.tensor([row[name] for row in of]) for name in of[0]}
        made.append({"s": {**columns, "x": columns["x"].double(), "size": columns["size"].double()}})
    return made


def fed(of: list[Any]) -> DataLoader[Any]:
    return DataLoader(of, batch_size=None)  # type: ignore[arg-type]


def test_a_look_is_of_the_last_batch_in_evaluation_mode(trainer: TrainerMaker) -> None:
    monitor, network, made = ConflictMonitor(every=5), Wide.made(), batches(5)
    trainer(callbacks=[monitor]).fit(network, fed(made))
    _, gradients = by_hand(network, made[-1]["s"])
    found = monitor.record()
    gramian = gradients @ gradients.T
    assert_close(torch.tensor(found["cosine"], dtype=torch.float64), cosines(gramian))
    assert_close(torch.tensor(found["magnitude_similarity"], dtype=torch.float64), magnitude_similarities(gramian))
    assert found["tasks"] == ["sign", "size"]
    assert found["looks"] == [[1, 1], [1, 1]]
    assert found["history"] == [{"step": 5, "cosine": found["cosine"]}]


def test_looks_come_every_so_many_steps_of_the_optimizer(trainer: TrainerMaker) -> None:
    monitor = ConflictMonitor(every=2)
    trainer(callbacks=[monitor], accumulate_grad_batches=3, log_every_n_steps=1).fit(Wide.made(), fed(batches(21)))
    assert [entry["step"] for entry in monitor.record()["history"]] == [2, 4, 6]


def test_a_short_first_epoch_has_a_look_at_its_end(trainer: TrainerMaker) -> None:
    monitor = ConflictMonitor()
    trainer(callbacks=[monitor], max_epochs=3).fit(Wide.made(), fed(batches(4)))
    assert [entry["step"] for entry in monitor.record()["history"]] == [4]


def test_tasks_that_never_meet_in_a_step_are_compared(trainer: TrainerMaker) -> None:
    made = splits(48)
    sources = {
        name: {split: [{"x": row["x"], name: row[name]} for row in of] for split, of in made.items()}
        for name in ("sign", "size")
    }
    data = MultiTaskDataModule(sources, batch_size=8, batches="homogeneous", summary=False)
    monitor = ConflictMonitor(every=6)
    trainer(callbacks=[monitor]).fit(module([Task("sign", "sign"), Task("size", "size")]), data)
    assert monitor.record()["looks"][0][1] == 2
    assert -1 < monitor.record()["cosine"][0][1] < 1


# What cosines must be


def toward(sign: float) -> Any:
    return lambda prediction, target: sign * prediction.mean() + 0 * target.sum()


def pair(one: Sequence[float], other: Sequence[float], signs: Sequence[float] = (1.0, 1.0)) -> MultiTaskModule:
    """Two heads with these weights on what a linear trunk gives."""
    which = [Task(name, head=Regression(), loss=toward(sign)) for name, sign in zip("ab", signs, strict=True)]
    trunk = nn.Linear(4, 2)
    made = MultiTaskModule(
        which, HardSharing(trunk, 2, inputs=["x"]), optimizer=lambda groups: torch.optim.SGD(groups, lr=0.0)
    )
    for name, weights in (("a", one), ("b", other)):
        with torch.no_grad():
            next(made.heads[name].parameters()).copy_(torch.tensor([list(weights)]))
    return made


@pytest.mark.parametrize(
    ("network", "cosine", "rate"),
    [
        (lambda: pair([0.3, -2.0], [0.3, -2.0]), 1.0, 0.0),
        (lambda: pair([0.3, -2.0], [0.3, -2.0], (1.0, -1.0)), -1.0, 1.0),
        (lambda: pair([1.0, 0.0], [0.0, 5.0]), 0.0, 0.0),
    ],
    ids=["one and the same", "opposed", "orthogonal"],
)
def test_like_opposed_and_orthogonal_tasks(network: Any, cosine: float, rate: float, trainer: TrainerMaker) -> None:
    made = [{"s": {"x": torch.randn(6, 4), "a": torch.zeros(6), "b": torch.ones(6)}} for _ in range(4)]
    monitor = ConflictMonitor(every=1)
    fit = trainer(callbacks=[monitor], log_every_n_steps=2)
    fit.fit(network(), fed(made))
    found = monitor.record()
    assert found["cosine"][0][1] == found["cosine"][1][0] == pytest.approx(cosine, abs=1e-6)
    assert found["conflict_rate"] == [[0.0, rate], [rate, 0.0]]
    assert float(fit.callback_metrics["train/a~b/cosine"]) == pytest.approx(cosine, abs=1e-6)
    assert float(fit.callback_metrics["train/cosine"]) == pytest.approx(cosine, abs=1e-6)
    assert float(fit.callback_metrics["train/conflict_rate"]) == rate


def test_what_is_shown_is_of_the_looks_since_the_last_time(trainer: TrainerMaker) -> None:
    told: list[tuple[int, float]] = []

    class Listener(L.Callback):
        def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
            pl_module.train_log.listeners.append(
                lambda step, values: (
                    told.append((step, values["train/sign~size/cosine"]))
                    if "train/sign~size/cosine" in values
                    else None
                )
            )

    monitor = ConflictMonitor(every=1)
    trainer(callbacks=[monitor, Listener()], log_every_n_steps=2).fit(Wide.made(), fed(batches(6)))
    entries = monitor.record()["history"]
    assert [step for step, _ in told] == [entry["step"] for entry in entries] == [2, 4, 6]
    assert [cosine for _, cosine in told] == pytest.approx([entry["cosine"][0][1] for entry in entries])
    mean = sum(cosine for _, cosine in told) / 3
    assert monitor.record()["cosine"][0][1] == pytest.approx(mean)


def test_of_many_tasks_only_means_are_shown(trainer: TrainerMaker) -> None:
    names = [f"t{i}" for i in range(9)]
    which = [Task(name, head=Regression()) for name in names]
    network = MultiTaskModule(which, HardSharing(nn.Linear(4, 8), 8, inputs=["x"]))
    made = [{"s": {"x": torch.randn(6, 4), **{name: torch.randn(6) for name in names}}}]
    fit = trainer(callbacks=[ConflictMonitor(every=1)])
    fit.fit(network, fed(made))
    assert "train/cosine" in fit.callback_metrics
    assert not any("~" in name for name in fit.callback_metrics)


# Gramians of a balancer


class Balances(L.Callback):
    def __init__(self) -> None:
        self.cosines: list[Tensor] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if pl_module.balance.cosines is not None:
            self.cosines.append(pl_module.balance.cosines)


@pytest.mark.parametrize("options", [{}, {"scope": "parameters"}, {"refresh_every": 2}, {"sketch": 64}], ids=str)
def test_what_a_balancer_measures_is_read(options: dict[str, Any], trainer: TrainerMaker) -> None:
    monitor, watch = ConflictMonitor(), Balances()
    trainer(callbacks=[monitor, watch], log_every_n_steps=3).fit(
        Wide.made(balancer=PCGrad(), **options), fed(batches(8))
    )
    found, cosine = monitor.record(), torch.stack(watch.cosines)
    assert found["looks"][0][1] == len(watch.cosines) == (4 if "refresh_every" in options else 8)
    assert_close(torch.tensor(found["cosine"], dtype=torch.float64), cosine.mean(0))
    assert_close(torch.tensor(found["conflict_rate"], dtype=torch.float64), (cosine < 0).double().mean(0))
    assert [entry["step"] for entry in found["history"]][:2] == [3, 6]


def test_a_pair_counts_in_steps_that_have_both(trainer: TrainerMaker) -> None:
    made = batches(6)
    for batch in made[:2]:
        batch["s"]["size"][:] = torch.nan
    monitor = ConflictMonitor()
    trainer(callbacks=[monitor]).fit(Wide.made(balancer=PCGrad()), fed(made))
    assert monitor.record()["looks"] == [[6, 4], [4, 4]]


def test_given_a_rhythm_it_looks_aside_beside_a_balancer(trainer: TrainerMaker) -> None:
    monitor = ConflictMonitor(every=4)
    trainer(callbacks=[monitor]).fit(Wide.made(balancer=PCGrad()), fed(batches(8)))
    assert monitor.record()["looks"] == [[2, 2], [2, 2]]


@pytest.mark.parametrize("balancing", [{}, {"balancer": PCGrad()}, {"balancer": PCGrad(), "scope": "representation"}])
def test_tasks_of_a_hierarchy_are_compared(balancing: dict[str, Any], trainer: TrainerMaker) -> None:
    torch.manual_seed(0)
    low, high = tasks()
    low.level, high.feeds_from = 1, ["sign"]
    trunk = [nn.Sequential(nn.Linear(4, 8), nn.Tanh()), nn.Sequential(nn.Linear(8, 8), nn.Tanh())]
    network = HierarchicalModule([low, high], Levels(trunk, inputs="x"), detach_feeds=True, **balancing)
    monitor = ConflictMonitor()
    data = MultiTaskDataModule({"s": splits()}, batch_size=10, summary=False)
    trainer(callbacks=[monitor]).fit(network, data)
    found = monitor.record()
    assert -1 < found["cosine"][0][1] < 1
    # At a level, tasks are balanced against the gradient from above, not against tasks of other levels: there batches are run once more.
    assert found["looks"][0][1] == (6 if balancing and "scope" not in balancing else 1)
