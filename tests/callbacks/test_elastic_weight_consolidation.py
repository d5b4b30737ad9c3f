"""What mattered to earlier phases is held, as firmly as it mattered."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lightning_mtl import MetaLearningModule, MultiTaskDataModule, MultiTaskModule
from lightning_mtl.adaptation import MAML
from lightning_mtl.callbacks import ElasticWeightConsolidation, Replay
from lightning_mtl.callbacks._fisher import fisher
from lightning_mtl.callbacks._probe import without_side_effects
from lightning_mtl.samplers import Phase, Phases
from tests.builders import columns, rows, splits
from tests.conftest import TrainerMaker
from tests.phased import IN_A_ROW, NAMES, Watch, data, module, resumed, same, watched

SEEDS = range(5)


def by_hand(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Square the gradient of each row of a source, one after the other, and average; without any code of ours but the layers."""
    made = module().double()
    made.load_state_dict(state)
    made.eval()
    at = NAMES.index(name)
    squares = {of: torch.zeros_like(p) for of, p in made.named_parameters()}
    for row in rows(24, at):
        made.zero_grad()
        trunk: Any = made.encoder.trunk
        answer: Any = made.heads[name](trunk(torch.tensor([row["x"]], dtype=torch.float64)))
        target = torch.tensor([row["size" if name == "three" else "sign"]])
        losses: Any = (F.binary_cross_entropy_with_logits, F.cross_entropy, F.mse_loss)
        wanted = target if name == "two" else target.double()
        (made.tasks[at].weight * losses[at](answer, wanted)).backward()
        for of, p in made.named_parameters():
            squares[of] += 0 if p.grad is None else p.grad**2 / 24
    return squares


# Theorems


@pytest.mark.parametrize("seed", SEEDS)
def test_fisher_is_the_mean_of_squared_gradients(seed: int) -> None:
    made = module().double()
    torch.manual_seed(seed)
    for value in made.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.1, 2)
    made.routing.bind(NAMES, every_task_every_step=False)
    for name in NAMES:
        single = [{name: columns([row])} for row in rows(24, NAMES.index(name))]
        for batch in single:
            batch[name]["x"] = batch[name]["x"].double()
        found = fisher(made, single, dict(made.named_parameters()))
        expected = by_hand(made.state_dict(), name)
        for of, value in found.items():
            assert_close(value, expected[of], rtol=1e-6, atol=1e-12)  # labels are in float32
        assert float(sum(of.sum() for of in expected.values())) > 1e-3


def test_without_labels_nothing_matters() -> None:
    made = module()
    made.routing.bind(NAMES, every_task_every_step=False)
    none = {"three": {"x": torch.ones(1, 4), "size": torch.tensor([torch.nan])}}
    assert not any(of.any() for of in fisher(made, [none, none], dict(made.named_parameters())).values())
    labelled = {"three": {"x": torch.ones(1, 4), "size": torch.ones(1)}}
    alone, beside = (fisher(made, some, dict(made.named_parameters())) for some in ([labelled], [labelled, none]))
    assert same(alone, beside)
    assert any(of.any() for of in alone.values())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("strength", [0.1, 1.0, 30.0, 1e6])
def test_a_step_of_descent_goes_no_further_than_the_anchor(seed: int, strength: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    terms = [torch.rand(50, generator=draw).double() ** 8 * 10 for _ in range(3)]
    anchors = [torch.randn(50, generator=draw).double() for _ in range(3)]
    theta = torch.randn(50, generator=draw).double().requires_grad_()
    total = sum(terms, torch.zeros(())).clamp(min=1e-300)
    middle = sum((f * a for f, a in zip(terms, anchors, strict=True)), torch.zeros(())) / total
    held = [sum(terms, torch.zeros(())), sum((f * a for f, a in zip(terms, anchors, strict=True)), torch.zeros(()))]
    rate = 0.05
    (away,) = ElasticWeightConsolidation(strength).away([theta.detach()], [held], rate)
    after = theta.detach() - rate * strength * away
    assert bool(((after - middle).abs() <= (theta.detach() - middle).abs() + 1e-12).all())
    assert bool(((after - middle) * (theta.detach() - middle) >= -1e-12).all())
    penalty = sum((f * (theta - a) ** 2).sum() for f, a in zip(terms, anchors, strict=True)) * strength / 2
    (exact,) = torch.autograd.grad(penalty, theta)  # type: ignore[arg-type]
    free = strength * total * rate <= 1
    assert_close((strength * away)[free], exact[free], rtol=1e-9, atol=1e-9)
    assert_close(after[~free], middle[~free], rtol=1e-9, atol=1e-9)
    assert bool(free.any()) or strength > 100


def test_what_looks_at_a_module_leaves_it_as_it_was() -> None:
    class Restless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(3)
            self.register_buffer("calls", torch.zeros(()))

        calls: Tensor

        def forward(self, x: Tensor) -> Tensor:
            self.calls += torch.rand(())
            out: Tensor = self.norm(x)
            return out

    made = Restless()
    made.norm.eval()
    torch.manual_seed(3)
    before, drawn = {name: of.clone() for name, of in made.state_dict().items()}, torch.rand(5)
    torch.manual_seed(3)
    with pytest.raises(ValueError, match="got 4D input"), without_side_effects(made):  # also where a row cannot be run
        made(torch.ones(2, 3, 1, 1))
    with without_side_effects(made):
        assert not made.training
        made(torch.ones(2, 3))
    assert same(before, made.state_dict())
    assert torch.equal(torch.rand(5), drawn)
    assert [made.training, made.norm.training] == [True, False]


# Runs


@pytest.mark.parametrize("replayed", [False, True])
def test_the_gradient_is_that_of_the_penalty(replayed: bool, trainer: TrainerMaker) -> None:
    held = ElasticWeightConsolidation(strength=0.7)
    first = [Replay()] if replayed else []
    before, after, _ = watched(trainer, *first, held)
    terms: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
    pulled: set[str] = set()
    for step, plain in enumerate(before.gradients):
        if step in (4, 8):
            terms.append((by_hand(before.starts[step], NAMES[step // 4 - 1]), before.starts[step]))
        assert plain.keys() == after.gradients[step].keys()
        for name, gradient in plain.items():
            theta = before.weights[step][name].clone().requires_grad_()
            penalty = sum(((of[name] * (theta - at[name]) ** 2).sum() for of, at in terms), 0 * theta.sum())
            (more,) = torch.autograd.grad(0.7 / 2 * penalty, theta)
            pulled |= {name} if float(more.abs().max()) > 1e-6 else set()
            assert_close(after.gradients[step][name], gradient + more, rtol=1e-6, atol=1e-9)
    parts = {name.split(".")[1] if name.startswith("heads") else "trunk" for name in pulled}
    assert parts == ({"trunk", "one", "two"} if replayed else {"trunk"})


def test_heads_of_tasks_to_come_are_free(trainer: TrainerMaker) -> None:
    held = ElasticWeightConsolidation(strength=1.0)
    sizes: list[int] = []

    class Count(L.Callback):
        def on_before_optimizer_step(self, *_: Any, **__: Any) -> None:
            sizes.append(sum(len(of) for of in held.held.values()))

    watched(trainer, held, Count())
    owners = {name.split(".")[1] for name in held.held if name.startswith("heads")}
    assert owners == {"one", "two"}
    trunk = sum(name.startswith("encoder") for name in held.held)
    assert sizes[0] == 0
    assert sizes[4] == 2 * (trunk + 2)
    assert sizes[8] == 2 * (trunk + 4)


def test_strength_zero_changes_nothing(trainer: TrainerMaker) -> None:
    ends = []
    for callbacks in ([], [ElasticWeightConsolidation(0.0)]):
        made = module(adam=True, lr=0.01, dropout=0.4)
        torch.manual_seed(0)
        trainer(callbacks=callbacks).fit(made, data())
        ends.append(made.state_dict())
    assert same(*ends)


def test_large_strengths_hold_what_mattered(trainer: TrainerMaker) -> None:
    held = ElasticWeightConsolidation(1e9)
    before, _, made = watched(trainer, held)
    name = "encoder.trunk.0.weight"
    away = (made.state_dict()[name] - before.starts[4][name]).abs()
    assert bool(away.isfinite().all())
    start = (before.starts[4][name] - before.starts[0][name]).abs()
    free, _, other = watched(trainer)
    freely = (other.state_dict()[name] - free.starts[4][name]).abs()
    assert float(away.mean()) < float(freely.mean()) / 2
    assert float(start.mean()) > 0


@pytest.mark.parametrize("step", [3, 4, 6, 8, 10])
def test_a_resumed_run_ends_as_the_unbroken_one(step: int, trainer: TrainerMaker, tmp_path: Path) -> None:
    whole, again, without = resumed(trainer, lambda: ElasticWeightConsolidation(20.0, rows=10), step, tmp_path / "a")
    assert same(whole, again)
    assert not same(whole, without)


def test_another_run_begins_with_nothing(trainer: TrainerMaker) -> None:
    held, ends = ElasticWeightConsolidation(5.0), []
    for _ in range(2):
        made = module()
        trainer(callbacks=[held]).fit(made, data())
        ends.append(made.state_dict())
    assert same(*ends)


def test_a_phase_of_several_sources_adds_up_theirs(trainer: TrainerMaker) -> None:
    rule = Phases([Phase(["one", "two"], steps=4), Phase(["three"])], repeat=False)
    held = ElasticWeightConsolidation(0.1)
    before, _, _ = watched(trainer, held, feed=data(rule))
    found = [by_hand(before.starts[4], name) for name in ("one", "two")]
    for name, (total, pulled) in held.held.items():
        expected = found[0][name] + found[1][name]
        assert_close(total, expected, rtol=1e-6, atol=1e-12)
        assert_close(pulled, expected * before.starts[4][name], rtol=1e-6, atol=1e-12)


def test_a_twin_of_one_source_has_nothing_to_hold(trainer: TrainerMaker) -> None:
    made, held, watch = module(), ElasticWeightConsolidation(1.0), Watch()
    trainer(callbacks=[held, watch]).fit(MultiTaskModule(made.tasks[:1], made.encoder), data())
    assert watch.sources == [{"one"}] * 12
    assert not held.held


# What is refused


def test_phases_that_are_repeated(trainer: TrainerMaker) -> None:
    says = "`repeat` must be False in the `Phases` of ElasticWeightConsolidation, which adds a term for each, got True."
    with pytest.raises(ValueError, match=re.escape(says)):
        trainer(callbacks=[ElasticWeightConsolidation(1.0)]).fit(module(), data(Phases(IN_A_ROW.phases)))


def test_streams(trainer: TrainerMaker) -> None:
    made: dict[str, Any] = {name: splits(24, seed) for seed, name in enumerate(NAMES)}
    made["one"]["train"] = iter(made["one"]["train"] * 3)
    feed = MultiTaskDataModule(made, sampling=IN_A_ROW, steps_per_epoch=12, summary=False)
    with pytest.raises(ValueError, match="Source 'one' must have rows that can be read by number for ElasticWeight"):
        trainer(callbacks=[ElasticWeightConsolidation(1.0)]).fit(module(), feed)


def test_losses_that_are_not_of_single_rows(trainer: TrainerMaker) -> None:
    of = module()
    meta = MetaLearningModule(of.tasks, of.encoder, adaptation=MAML(0.1))
    with pytest.raises(ValueError, match="must have a module whose losses are of single rows, got MetaLearningModule"):
        trainer(callbacks=[ElasticWeightConsolidation(1.0)]).fit(meta, data())


def test_parameters_that_are_cut_over_ranks(trainer: TrainerMaker) -> None:
    run = trainer(strategy=ModelParallelStrategy(), devices=1)
    with pytest.raises(ValueError, match="whole parameters on each rank, got ModelParallelStrategy, which shards them"):
        ElasticWeightConsolidation(1.0).setup(run, module(), "fit")


def test_gradients_that_the_optimizer_unscales(trainer: TrainerMaker) -> None:
    made = module()
    made._optimizer = lambda groups: torch.optim.AdamW(groups, fused=True)
    scaling = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu"))
    with pytest.raises(ValueError, match="to the Trainer where ElasticWeightConsolidation adds to them"):
        trainer(plugins=[scaling], callbacks=[ElasticWeightConsolidation(1.0)]).fit(made, data())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"strength": -1.0}, "`strength` must be finite and at least 0, got -1.0. 0 holds nothing."),
        ({"strength": float("inf")}, "`strength` must be finite and at least 0, got inf."),
        ({"strength": 1.0, "rows": 0}, "`rows` must be a whole number of at least 1, got 0. 200 are usually enough."),
    ],
)
def test_arguments_out_of_range(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        ElasticWeightConsolidation(**options)
