"""Bad input of sampling is refused before the first step: the parameter, the rule, the value, the remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jaxtyping
import lightning as L
import pytest
from torch.utils.data import DataLoader, WeightedRandomSampler

from lightning_mtl import Multiclass, MultiTaskDataModule, Regression, Source, Task
from lightning_mtl.samplers import (
    Annealed,
    DynamicTaskPrioritization,
    Exp3S,
    Explicit,
    ForgettingDriven,
    FunctionOfStep,
    Phase,
    Phases,
    Rule,
    Temperature,
    Uniform,
)
from tests.builders import columns, module, rows, splits
from tests.conftest import TrainerMaker


def sources(**changed: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"sign": splits(60), "size": splits(20, seed=5)}
    return made | changed


def without_validation() -> dict[str, Any]:
    return {name: of["train"] for name, of in sources().items()}


class Steps(L.Callback):
    count = 0

    def on_train_batch_start(self, *_: Any) -> None:
        self.count += 1


BAD: dict[str, tuple[Callable[[], MultiTaskDataModule], str]] = {
    "an empty source": (
        lambda: MultiTaskDataModule(sources(size={"train": []}), sampling=Uniform()),
        "Split 'train' of source 'size' must have rows, got none",
    ),
    "a negative rate": (
        lambda: MultiTaskDataModule(sources(), sampling=Explicit({"sign": -1.0, "size": 1.0})),
        r"`rates\['sign'\]` must be finite and at least 0, got -1.0",
    ),
    "a rate that is no number": (
        lambda: MultiTaskDataModule(sources(), sampling=FunctionOfStep(lambda _: [1.0, float("nan")])),
        "Rates of FunctionOfStep must be finite and not negative",
    ),
    "rates of nothing": (
        lambda: MultiTaskDataModule(sources(), sampling=FunctionOfStep(lambda _: [0.0, 0.0])),
        "Rates of FunctionOfStep must not all be zero",
    ),
    "a rate that turns bad in a later epoch": (
        lambda: MultiTaskDataModule(sources(), sampling=FunctionOfStep(lambda step: [1.0, -float(step > 6)])),
        "must be finite and not negative, got .* at step 7",
    ),
    "a temperature of nought": (
        lambda: MultiTaskDataModule(sources(), sampling=Temperature(0.0)),
        "`temperature` must be above 0, got 0.0",
    ),
    "a phase of no source": (
        lambda: MultiTaskDataModule(sources(), sampling=Phases([Phase([], steps=1)])),
        r"`sources` must be names of sources, got \[\]",
    ),
    "a phase with a typo": (
        lambda: MultiTaskDataModule(sources(), sampling=Phases([Phase(["sgn"], steps=1), Phase(["size"], steps=1)])),
        r"`sampling` must name sources out of \['sign', 'size'\], got \['sgn'\] too",
    ),
    "counts that starve a source": (
        lambda: MultiTaskDataModule(
            sources(), sampling=Explicit({"sign": 99.0, "size": 1.0}), batches="stratified", batch_size=8
        ),
        r"must give each source a row of the 8 in a global batch, got none for \['size'\]",
    ),
    "batches smaller than the number of sources": (
        lambda: MultiTaskDataModule(sources(), batches="stratified", batch_size=1),
        "got 1 rows for the sources",
    ),
    "a single source": (
        lambda: MultiTaskDataModule({"s": splits()}, sampling=Uniform()),
        r"`sampling` must have several sources to choose from, got \['s'\]",
    ),
    "a rule without effect": (
        lambda: MultiTaskDataModule(sources(), sampling=Temperature(), batches="all"),
        "`sampling` must leave out sources, e.g. Phases, where batches='all'",
    ),
    "batches of a source's own": (
        lambda: MultiTaskDataModule(sources(size=Source(splits(20), batch_size=4)), batches="mixed"),
        "Source 'size' must have no batches of its own where batches='mixed'",
    ),
    "passes of no source": (
        lambda: MultiTaskDataModule(sources(), steps_per_epoch={"szie": 1.0}, sampling=Uniform()),
        r"`steps_per_epoch` must name one of the sources \['sign', 'size'\]",
    ),
    "scores without validation": (
        lambda: MultiTaskDataModule(without_validation(), sampling=ForgettingDriven()),
        "ForgettingDriven must see validation scores, got a run without validation",
    ),
    "more read ahead than announced": (
        lambda: MultiTaskDataModule(sources(), sampling=Exp3S(), num_workers=16),
        "`num_workers` must read fewer than 32 batches ahead",
    ),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.filterwarnings("ignore:This DataLoader will create 16 worker processes")
@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no")
def test_it_is_refused_before_the_first_step(case: str, trainer: TrainerMaker) -> None:
    make, says = BAD[case]
    steps = Steps()
    run = trainer(callbacks=[steps], max_epochs=3)
    with pytest.raises(ValueError, match=says):
        run.fit(module(), make())
    assert steps.count == 0


WRONG_TYPES: list[tuple[dict[str, Any], str]] = [
    ({"batches": "mixd"}, "`batches` must be one of ['all', 'homogeneous', 'stratified', 'mixed'], got 'mixd'"),
    (
        {"sampling": Temperature},
        "`sampling` must be a rule of lightning_mtl.samplers, or of a class of yours that inherits from its `Rule`",
    ),
    ({"sampling": "uniform"}, "got 'uniform'. Write e.g. Temperature(2.0)"),
    ({"steps_per_epoch": "long"}, "`steps_per_epoch` must be a number, one of ['longest', 'shortest', 'proportional']"),
    ({"steps_per_epoch": 100.0}, "or {source: passes}, got 100.0"),
]


@pytest.mark.parametrize(("given", "says"), WRONG_TYPES)
def test_what_is_of_another_type_is_refused(given: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # a user's run checks no types
    rows = [{"x": 1.0, "y": 0}] * 8
    with pytest.raises(ValueError, match=re.escape(says)):
        MultiTaskDataModule({"a": rows, "b": rows}, **given)


def test_scores_whose_best_is_not_one(trainer: TrainerMaker) -> None:
    from torchmetrics import MeanAbsoluteError

    tasks = [
        Task("sign", head=Multiclass(2)),
        Task("size", head=Regression(), metrics={"mae": MeanAbsoluteError()}),
    ]
    fed = MultiTaskDataModule(sources(), sampling=DynamicTaskPrioritization(), summary=False)
    with pytest.raises(
        ValueError, match=r"must have tasks whose first metric is best at 1, .* got others for \['size'\]"
    ):
        trainer().fit(module(tasks), fed)


def test_annealing_needs_an_end(trainer: TrainerMaker) -> None:
    fed = MultiTaskDataModule(sources(), sampling=Annealed(), summary=False)
    with pytest.raises(ValueError, match="`epochs` must be known"):
        trainer(max_epochs=-1, max_steps=10).fit(module(), fed)


def test_batches_that_cannot_be_sharded() -> None:
    weighted = WeightedRandomSampler([1.0] * 20, 20)
    loader: DataLoader[Any] = DataLoader(rows(20), 4, sampler=weighted, collate_fn=columns)  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match="must have a plain sampler to be sharded over 2 ranks, got WeightedRandomSampler"
    ):
        Source({"train": loader}).ready_batches("train", "s", 2)


def test_a_rule_that_follows_the_run_and_batches_that_stay_the_same(trainer: TrainerMaker) -> None:
    fed = MultiTaskDataModule(sources(), sampling=Exp3S(), summary=False)
    with pytest.raises(ValueError, match="must not follow a run whose epochs are all the same"):
        trainer(overfit_batches=3).fit(module(), fed)


def test_a_rule_of_the_users_own_is_a_rule() -> None:
    class Own(Rule):
        def rates(self, step: int, signals: Any) -> Any:
            return {"size": 3.0, "sign": 1.0}

    fed = MultiTaskDataModule(sources(), sampling=Own(), summary=False)
    fed.setup("fit")
    assert fed.train_dataloader().sampler.rates.at(0) == [0.25, 0.75]  # type: ignore[union-attr]
