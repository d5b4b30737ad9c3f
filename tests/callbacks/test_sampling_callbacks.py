"""What changes sampling while training runs, and what watches it."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from lightning_mtl import MultiTaskDataModule, MultiTaskModule, Task
from lightning_mtl.callbacks import SamplingMonitor, SamplingSchedule
from lightning_mtl.comparison import compare
from lightning_mtl.heads import Multiclass, Regression
from lightning_mtl.samplers import (
    LAG,
    Annealed,
    DynamicTaskPrioritization,
    Exp3S,
    ForgettingDriven,
    FunctionOfStep,
    Phase,
    Phases,
    Rule,
    Signals,
    Temperature,
    Uniform,
)
from tests import builders, models
from tests.builders import module, splits
from tests.conftest import TrainerMaker

SIZES = {"sign": 200, "size": 60}


def sources() -> dict[str, Any]:
    made = {name: splits(count, seed=count) for name, count in SIZES.items()}
    return {
        name: {split: [{"x": row["x"], name: row[name]} for row in rows] for split, rows in of.items()}
        for name, of in made.items()
    }


def data(rule: Rule | None = None, **options: Any) -> MultiTaskDataModule:
    return MultiTaskDataModule(sources(), **{"batch_size": 10, "sampling": rule, "summary": False, **options})


class Asked(Rule):
    """Notes what it was asked with; draws what had the larger loss."""

    feedback = True

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def rates(self, step: int, signals: Signals) -> Tensor:
        told = {name: getattr(signals, name).tolist() for name in ("losses", "scores", "draws", "drawn_by")}
        self.seen.append({"step": step, **told})
        return signals.losses.nan_to_num(1.0)

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = list(state["seen"])


class Losses(L.Callback):
    """Notes each step's losses and sources."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        present, losses = pl_module.loss_over_ranks.last()
        names = [pl_module.tasks[i].name for i in present]
        self.steps.append(dict(zip(names, losses.tolist(), strict=True)))


@pytest.mark.parametrize("batches", ["homogeneous", "mixed"])
def test_a_rule_is_asked_with_what_happened_since_the_last_time(batches: Any, trainer: TrainerMaker) -> None:
    fed, watch = data(Asked(), batches=batches), Losses()
    run = trainer(max_epochs=3, callbacks=[watch, SamplingSchedule(every=20)], precision="64-true")
    run.fit(module(), fed)
    assert fed.sampler is not None
    asked = fed.sampler.rule.seen  # type: ignore[attr-defined]
    assert [of["step"] for of in asked] == [0, *range(20, len(watch.steps) + 1, 20)]
    for before, now in pairwise(asked):
        window = watch.steps[before["step"] : now["step"]]
        for i, name in enumerate(SIZES):
            losses = [step[name] for step in window if name in step]
            assert now["losses"][i] == pytest.approx(sum(losses) / len(losses))
            held = len(losses)  # of one source a batch of 10 rows each time
            assert now["draws"][i] == pytest.approx(held, rel=0.05) if batches == "homogeneous" else now["draws"][i] > 0
        if batches == "mixed":
            assert sum(now["draws"]) == 200
    announced = dict(fed.sampler.state_dict()["rates"]["announced"])
    last = asked[-1]
    assert announced[last["step"] + LAG] == pytest.approx([loss / sum(last["losses"]) for loss in last["losses"]])
    assert asked[1]["drawn_by"] == pytest.approx([0.5, 0.5])


def test_scores_are_those_of_the_last_validation(trainer: TrainerMaker) -> None:
    class Judged(Asked):
        judges = True

    fed, made = data(Judged()), module()
    run = trainer(max_epochs=2, callbacks=[SamplingSchedule(every=10)])
    run.fit(made, fed)
    assert fed.sampler is not None
    asked = fed.sampler.rule.seen  # type: ignore[attr-defined]
    steps = fed.sampler.steps
    first = [of for of in asked if of["step"] <= steps]
    later = [of for of in asked if of["step"] > steps]
    assert first
    assert later
    assert all(score != score for of in first for score in of["scores"])
    assert all(0 <= score <= 1 or score < 0 for of in later for score in of["scores"])
    assert len({tuple(of["scores"]) for of in later}) == 1


RULES: list[Rule] = [
    Temperature(3.0),
    Annealed(),
    Phases([Phase(["sign"], epochs=1.0), Phase(["size"])], repeat=False),
    Exp3S(),
    DynamicTaskPrioritization(),
    ForgettingDriven(Phases([Phase(["sign"], steps=5), Phase(["size"], steps=5)])),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("batches", ["homogeneous", "stratified", "mixed"])
def test_every_rule_trains_with_every_kind_of_batches(rule: Rule, batches: Any, trainer: TrainerMaker) -> None:
    fed = data(rule, batches=batches, summary=True)
    run = trainer(max_epochs=3, callbacks=[SamplingSchedule(every=10)])
    run.fit(module(), fed)
    assert fed.sampler is not None
    assert fed.sampler.delivered.step == 3 * len(fed.train_dataloader()) == run.global_step
    assert {"validate/sign/loss", "validate/size/loss"} <= set(run.callback_metrics)


def test_a_phase_lasts_its_epochs(trainer: TrainerMaker) -> None:
    fed, watch = data(RULES[2]), Losses()
    run = trainer(max_epochs=2, callbacks=[watch])
    run.fit(module(), fed)
    half = len(watch.steps) // 2
    assert {name for step in watch.steps[:half] for name in step} == {"sign"}
    assert {name for step in watch.steps[half:] for name in step} == {"size"}


def test_what_forgetting_adds_comes_to_phases_that_go_on_step_by_step(trainer: TrainerMaker) -> None:
    """Phases shorter than the questions to the rule are followed all the same."""
    turns = Phases([Phase(["sign"], steps=3), Phase(["size"], steps=2)])
    plain, added = Losses(), Losses()
    trainer(max_epochs=2, callbacks=[plain]).fit(module(), data(turns))
    trainer(max_epochs=2, callbacks=[added]).fit(module(), data(ForgettingDriven(turns, strength=0.0)))
    assert [*map(set, plain.steps)] == [*map(set, added.steps)]
    assert [*map(set, plain.steps[:5])] == [{"sign"}] * 3 + [{"size"}] * 2


# A rule of the callback's own


def test_the_rule_of_the_callback_is_followed_as_one_of_the_data_module(trainer: TrainerMaker) -> None:
    ours, theirs = Losses(), Losses()
    trainer(callbacks=[ours]).fit(module(), data(Temperature(3.0)))
    fed = data(batches="homogeneous")
    trainer(callbacks=[theirs, SamplingSchedule(Temperature(3.0))]).fit(module(), fed)
    assert ours.steps == theirs.steps
    assert isinstance(fed.sampler.rule, Temperature)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("rule", "options", "says"),
    [
        (Temperature(), {}, "must leave out sources"),
        (Phases([Phase(["sgn"], steps=1)]), {"batches": "homogeneous"}, r"got \['sgn'\] too"),
        (FunctionOfStep(lambda _: [1.0]), {"batches": "mixed"}, r"must be one for each of the sources"),
    ],
)
def test_a_rule_of_the_callback_is_checked(
    rule: Rule, options: dict[str, Any], says: str, trainer: TrainerMaker
) -> None:
    with pytest.raises(ValueError, match=says):
        trainer(callbacks=[SamplingSchedule(rule)]).fit(module(), data(**options))


# Where the callbacks come from


class Own(L.LightningModule):
    """A module that knows nothing of the library, with callbacks of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def configure_callbacks(self) -> list[L.Callback]:
        return []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return sum((self.layer(of["x"]).square().mean() for of in batch.values()), torch.zeros(()))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("loss", self.training_step(batch, batch_idx), batch_size=1)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def test_a_module_of_the_users_own_gets_them_too(trainer: TrainerMaker, capsys: pytest.CaptureFixture[str]) -> None:
    run = trainer()
    run.fit(Own(), data(Temperature(), summary=True))
    kinds = [type(callback) for callback in run.callbacks]  # type: ignore[attr-defined]
    assert kinds.count(SamplingSchedule) == kinds.count(SamplingMonitor) == 1
    said = capsys.readouterr().out
    assert "by Temperature(temperature=2.0, cap=None)" in said
    assert "Drawn in" in said


def test_a_subclass_takes_the_place_of_ours(trainer: TrainerMaker) -> None:
    class Mine(SamplingSchedule):
        pass

    run = trainer(callbacks=[Mine(every=7)])
    run.fit(module(), data(Exp3S()))
    assert sum(isinstance(callback, SamplingSchedule) for callback in run.callbacks) == 1  # type: ignore[attr-defined]


def test_a_rule_that_follows_the_run_needs_a_module_that_tells_its_losses(trainer: TrainerMaker) -> None:
    with pytest.raises(ValueError, match="Exp3S must see the losses of tasks, which Own does not report"):
        trainer().fit(Own(), data(Exp3S()))


def test_a_second_fit_goes_on_and_one_on_other_sources_begins_anew(trainer: TrainerMaker) -> None:
    watch, fed = Losses(), data(Temperature())
    run = trainer(callbacks=[watch])
    made = module()
    run.fit(made, fed)
    first = len(watch.steps)
    run.fit_loop.max_epochs = 2
    run.fit(made, fed)
    longer = Losses()
    trainer(max_epochs=2, callbacks=[longer]).fit(module(), data(Temperature()))
    assert [*map(set, watch.steps)] == [*map(set, longer.steps)]
    assert len(watch.steps) == 2 * first
    run.fit_loop.max_epochs = 3
    other = MultiTaskDataModule(
        {"size": sources()["size"], "sign": sources()["sign"]}, batch_size=5, sampling=Uniform(), summary=False
    )
    run.fit(made, other)
    assert other.sampler is not None
    assert other.sampler.delivered.step == other.sampler.steps


# What is said


def test_plan_and_draws_are_printed_and_logged(trainer: TrainerMaker, capsys: pytest.CaptureFixture[str]) -> None:
    fed = data(Temperature(), summary=True)
    run = trainer(max_epochs=2, log_every_n_steps=5)
    made = module()
    run.fit(made, fed)
    said = capsys.readouterr().out
    assert re.search(r"Sampling: batches='homogeneous' by Temperature\(.*\), 26 steps an epoch.", said)
    table = said[said.index("Drawn in 52 steps:") :]
    counts = {name: int(re.search(rf"{name} +(\d+)", table)[1]) for name in SIZES}  # type: ignore[index]
    assert fed.sampler is not None
    assert counts == {name: fed.sampler.drawn_rows(name) for name in SIZES}
    assert sum(counts.values()) == 520
    shown = run.callback_metrics
    assert sum(float(shown[f"train/{name}/rate"]) for name in SIZES) == pytest.approx(1)
    assert {name: int(shown[f"train/{name}/draws"]) for name in SIZES} == counts
    assert {name: float(shown[f"train/{name}/epochs"]) * SIZES[name] for name in SIZES} == pytest.approx(counts)
    assert sum(float(shown[f"train/{name}/loss_share"]) for name in SIZES) == pytest.approx(1)
    assert made.train_log.extra_values == []


def test_the_plan_is_what_is_drawn_where_nothing_is_left_to_chance(
    trainer: TrainerMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    fed = data(Temperature(), batches="stratified", summary=True)
    trainer().fit(module(), fed)
    said = capsys.readouterr().out
    plan, drawn = said[said.index("Sampling:") :].split("Drawn in")
    for name in SIZES:
        planned = re.search(rf"{name} +\d+ +([\d.]+) +(\d+) ", plan)
        found = re.search(rf"{name} +(\d+) +([\d.]+)", drawn)
        assert planned is not None
        assert found is not None
        assert (planned[1], planned[2]) == (found[2], found[1])


def test_sources_that_are_never_drawn_are_named(trainer: TrainerMaker, capsys: pytest.CaptureFixture[str]) -> None:
    fed = data(Phases([Phase(["sign"], steps=5)]), summary=True)
    trainer().fit(module(), fed)
    said = capsys.readouterr().out
    assert "No step draws ['size']." in said
    assert "averages of the next epoch" in said
    turns = Phases([Phase(["sign"], steps=5), Phase(["size"], steps=5)])
    trainer().fit(module(), data(ForgettingDriven(turns), summary=True))
    said = capsys.readouterr().out
    assert "No step draws" not in said
    assert "sign     200  0.5" in said


def test_nothing_is_said_where_each_step_holds_a_batch_of_every_source(
    trainer: TrainerMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer().fit(module(), data(summary=True))
    assert "Sampling:" not in capsys.readouterr().out


# Twins


def build(names: list[str] | None) -> MultiTaskModule:
    made = {"sign": Task("sign", head=Multiclass(2)), "size": Task("size", head=Regression())}
    return module([made[name] for name in names or made])


@pytest.mark.parametrize(
    ("rule", "batches"),
    [(Temperature(4.0), None), (Exp3S(), "mixed"), (FunctionOfStep(lambda _: [1.0, 3.0]), "stratified"), (None, None)],
    ids=str,
)
def test_a_twin_reads_as_much_of_its_source_as_the_network_for_all(
    rule: Rule | None, batches: Any, trainer: TrainerMaker
) -> None:
    read: dict[str, dict[str, int]] = {}

    class Reads(L.Callback):
        def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
            sampler = trainer.train_dataloader.sampler  # type: ignore[union-attr]
            read["+".join(sampler.names)] = {name: sampler.drawn_rows(name) for name in sampler.names}

    compare(build, data(rule, batches=batches), lambda run: trainer(max_epochs=3, callbacks=[Reads()]), seeds=range(1))
    for name in SIZES:
        step = 10 * 3  # the number of steps of its epochs is rounded
        assert read[name][name] == pytest.approx(read["sign+size"][name], abs=step)


def test_a_comparison_under_sampling_counts_epochs(trainer: TrainerMaker) -> None:
    with pytest.raises(ValueError, match="`limit_train_batches` and `max_steps` must be left out of a comparison"):
        compare(build, data(Temperature()), lambda run: trainer(limit_train_batches=3), seeds=range(1))


def test_a_rule_that_reads_losses_says_when_other_ranks_add_them_up(tmp_path: Path) -> None:
    def fit(sampling: Any, start: Path | None = None) -> L.Trainer:
        data = MultiTaskDataModule(
            {"a": builders.rows(20), "b": builders.rows(20, 1)}, sampling=sampling, batch_size=5, seed=0, summary=False
        )
        tasks = [Task("sign", "a", head=Multiclass(2)), Task("size", "b", head=Regression())]
        trainer = models.quiet(max_epochs=1 if start is None else 2)
        trainer.fit(builders.module(tasks), data, ckpt_path=start)
        return trainer

    for rule in (Exp3S(), Uniform()):
        path = tmp_path / f"{type(rule).__name__}.ckpt"
        fit(rule).save_checkpoint(path)
        saved = torch.load(path, weights_only=True)
        assert saved["callbacks"]["SamplingSchedule"].pop("ranks") == 1
        saved["callbacks"]["SamplingSchedule"]["ranks"] = 2
        torch.save(saved, path)
        if rule.feedback:
            with pytest.warns(
                UserWarning, match="Exp3S goes on with 1 processes, the checkpoint was written by 2: losses"
            ):
                fit(Exp3S(), path)
        else:
            fit(Uniform(), path)
