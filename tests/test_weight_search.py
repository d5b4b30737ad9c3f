"""The search for fixed weights: fair arms, weights that fit the losses, and its table."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_mtl import HardSharing, MultiTaskDataModule, MultiTaskModule, Regression, Task
from lightning_mtl.balancers import FromGramian, Static, UPGrad
from lightning_mtl.cli import MultiTaskCLI
from lightning_mtl.comparison import TaskScore
from lightning_mtl.recipes import table
from lightning_mtl.weight_search import Arm, Trial, WeightSearch, draw_weights, name_of, search_weights
from tests.builders import encoder, leaning, splits, tasks
from tests.conftest import TrainerMaker

NAMES = ["loud", "quiet", "third"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("spread", [2.0, 10.0, 1000.0])
def test_weights_add_up_stay_within_the_spread_and_begin_with_equal_ones(seed: int, count: int, spread: float) -> None:
    drawn = draw_weights(NAMES[:count], 40, seed=seed, spread=spread)
    assert drawn[0] == dict.fromkeys(NAMES[:count], 1.0)
    for weights in drawn:
        assert list(weights) == NAMES[:count]
        assert sum(weights.values()) == pytest.approx(count)
        assert max(weights.values()) <= (1 + 1e-9) * spread**2 * min(weights.values())


@pytest.mark.parametrize("seed", range(3))
def test_more_trials_go_on_with_the_same_weights_and_another_seed_has_others(seed: int) -> None:
    few, many = draw_weights(NAMES, 5, seed=seed), draw_weights(NAMES, 40, seed=seed)
    for short, long in zip(few, many, strict=False):
        assert short == pytest.approx(long)
    assert draw_weights(NAMES, 5, seed=seed + 1)[1] != pytest.approx(few[1])


@pytest.mark.parametrize("seed", range(3))
def test_logarithms_of_weights_are_spread_evenly(seed: int) -> None:
    """The difference of two numbers that are uniform on [-1, 1] is below d with probability 1/2 + d/2 - d|d|/8."""
    drawn = draw_weights(NAMES[:2], 257, seed=seed)[1:]
    logs = torch.tensor([math.log10(weights["quiet"] / weights["loud"]) for weights in drawn])
    for d in (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5):
        assert (logs <= d).double().mean().item() == pytest.approx(0.5 + d / 2 - d * abs(d) / 8, abs=0.02)


def test_drawing_weights_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    draw_weights(NAMES, 9)
    assert torch.equal(before, torch.get_rng_state())


def test_balancers_are_named_by_their_class_and_functions_by_their_name() -> None:
    assert [name_of(of) for of in (UPGrad(), FromGramian(leaning), FromGramian(lambda g: g.sum(1)))] == [
        "UPGrad",
        "leaning",
        "lambda",
    ]


def found() -> WeightSearch:
    def trial(arm: str, seed: int, score: float, weights: dict[str, float] | None) -> Trial:
        tests = {"a": TaskScore("accuracy", 1, score / 2), "b": TaskScore("mse", -1, 3 - score)}
        return Trial(f"{arm}/trial{seed}", 5 + seed, score, tests, weights)

    equal = tuple(trial("equal-weights", i, score, {"a": 1.0, "b": 1.0}) for i, score in enumerate((0.5, 0.7, 0.6)))
    drawn = (
        trial("fixed-weights", 1, math.nan, {"a": 0.5, "b": 1.5}),
        trial("fixed-weights", 2, 0.9, {"a": 1.9, "b": 0.1}),
    )
    fixed = (equal[0], *drawn)
    famo = tuple(trial("FAMO", i, 0.8, None) for i in range(3))
    return WeightSearch((Arm("equal weights", equal), Arm("fixed weights", fixed), Arm("FAMO", famo)))


def test_the_highest_validation_score_wins_the_first_of_equal_ones_and_nan_never() -> None:
    assert [arm.best.run for arm in found().arms] == ["equal-weights/trial1", "fixed-weights/trial2", "FAMO/trial0"]
    assert found().best.name == "fixed weights"


def test_the_table_has_the_best_of_each_arm_beside_the_mean_of_all() -> None:
    lines = str(found()).splitlines()
    rows = {line.rsplit(maxsplit=3)[0]: line.rsplit(maxsplit=3)[1:] for line in lines[2:11]}
    assert lines[0].split() == ["equal", "weights", "fixed", "weights", "FAMO"]
    assert rows == {
        "trials": ["3", "3", "3"],
        "validation score, mean": [f"{fmean((0.5, 0.7, 0.6)):.4f}", "nan", "0.8000"],
        "standard deviation": [f"{stdev((0.5, 0.7, 0.6)):.4f}", "nan", "0.0000"],
        "best trial": ["1", "2", "0"],
        "its validation score": ["0.7000", "0.9000", "0.8000"],
        "test a accuracy": ["0.3500", "0.4500", "0.4000"],
        "test b mse, lower is better": ["2.3000", "2.1000", "2.2000"],
        "weight of a": ["1.0000", "1.9000", "-"],
        "weight of b": ["1.0000", "0.1000", "-"],
    }
    assert lines[11].startswith("Trial i of every arm has the seed 5 + i")
    assert "the best of 3" in lines[12]


def test_the_csv_has_a_row_for_each_trial(tmp_path: Path) -> None:
    found().to_csv(tmp_path / "w.csv")
    with (tmp_path / "w.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [row["arm"] for row in read] == ["equal weights"] * 3 + ["fixed weights"] * 3 + ["FAMO"] * 3
    assert [row["trial"] for row in read] == ["0", "1", "2"] * 3
    assert [row["run"] for row in read if row["best"] == "True"] == [arm.best.run for arm in found().arms]
    assert read[5] == {
        **{"arm": "fixed weights", "trial": "2", "best": "True", "run": "fixed-weights/trial2", "seed": "7"},
        **{
            "validate/score": "0.9",
            "test/a/accuracy": "0.45",
            "test/b/mse": "2.1",
            "weight/a": "1.9",
            "weight/b": "0.1",
        },
    }
    assert read[8]["weight/a"] == ""


def two_numbers(count: int, seed: int) -> list[dict[str, Any]]:
    """Rows whose number `loud` is mostly noise, and whose number `quiet` follows from x."""
    draw = torch.Generator().manual_seed(seed)
    x, noise = torch.randn(count, 2, generator=draw), torch.randn(count, generator=draw)
    return [{"x": v.tolist(), "loud": float(v[0] + 2 * n), "quiet": float(v[1])} for v, n in zip(x, noise, strict=True)]


def test_a_starved_task_gets_weights_that_serve_it(trainer: TrainerMaker) -> None:
    """A single shared number can serve one task; the loss of the one that can be learned is 1000 times smaller."""

    def build(balancer: Any) -> MultiTaskModule:
        made = [Task("loud", head=Regression()), Task("quiet", head=Regression(), weight=0.001)]
        shared = HardSharing(nn.Linear(2, 1), width=1, inputs=["x"])
        return MultiTaskModule(
            made, shared, balancer=balancer, optimizer=lambda groups: torch.optim.Adam(groups, lr=0.1)
        )

    parts = {"train": two_numbers(1000, 0), "validation": two_numbers(100, 1), "test": two_numbers(100, 2)}
    data = MultiTaskDataModule({"rows": parts}, batch_size=40, summary=False)
    search = search_weights(build, data, lambda run: trainer(), trials=3, seed=4, spread=1000.0)
    equal, fixed = search.arms
    assert all(trial.tests["quiet"].value < 0.3 for trial in equal.trials)
    assert fixed.best.tests["quiet"].value > 0.9
    assert fixed.best.score > max(equal.scores) + 0.2
    assert fixed.best.weights is not None
    assert fixed.best.weights["quiet"] > 1000 * fixed.best.weights["loud"]
    assert search.best is fixed


def test_trials_of_all_arms_have_the_same_seed_start_and_data(trainer: TrainerMaker) -> None:
    starts: dict[str, list[Tensor]] = {}
    reads: dict[str, list[Tensor]] = {}

    def build(balancer: Any) -> MultiTaskModule:
        shared = encoder(seed=torch.initial_seed() % 2**31)
        return MultiTaskModule(tasks(), shared, balancer=leaning if balancer is None else balancer)

    def make(run: str) -> L.Trainer:
        class Watch(L.Callback):
            def on_train_start(self, trainer: Any, pl_module: Any) -> None:
                starts[run] = [parameter.detach().clone() for parameter in pl_module.parameters()]
                reads[run] = []

            def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
                reads[run].append(batch["rows"]["x"])

        return trainer(callbacks=[Watch()])

    data = MultiTaskDataModule({"rows": splits()}, batch_size=20, summary=False)
    search = search_weights(build, data, make, trials=2, seed=3)
    arms = {"equal-weights": (0, 1), "fixed-weights": (1,), "leaning": (0, 1)}
    assert set(starts) == {f"{arm}/trial{number}" for arm, numbers in arms.items() for number in numbers}
    for number in (0, 1):
        for run in (f"fixed-weights/trial{number}", f"leaning/trial{number}"):
            if run in starts:
                assert_close(starts[run], starts[f"equal-weights/trial{number}"], rtol=0, atol=0)
                assert_close(reads[run], reads[f"equal-weights/trial{number}"], rtol=0, atol=0)
    assert not torch.equal(reads["leaning/trial0"][0], reads["leaning/trial1"][0])
    assert [arm.name for arm in search.arms] == ["equal weights", "fixed weights", "leaning"]
    assert [[trial.seed for trial in arm.trials] for arm in search.arms] == [[3, 4]] * 3
    assert search.arms[0].trials[0] is search.arms[1].trials[0]
    assert [trial.weights for trial in search.arms[1].trials] == draw_weights(["sign", "size"], 2, seed=3)


def test_a_trial_is_what_its_best_checkpoint_is(trainer: TrainerMaker, tmp_path: Path) -> None:
    kept: list[ModelCheckpoint] = []

    def make(run: str) -> L.Trainer:
        kept.append(ModelCheckpoint(tmp_path / run, monitor="validate/score", mode="max"))
        return trainer(max_epochs=3, enable_checkpointing=True, callbacks=[kept[-1]])

    def build(balancer: Any) -> MultiTaskModule:
        # So great a rate that the last epoch is not the best one.
        return MultiTaskModule(
            tasks(), encoder(), balancer=balancer, optimizer=lambda groups: torch.optim.SGD(groups, 0.9)
        )

    data = MultiTaskDataModule({"rows": splits()}, batch_size=20, summary=False)
    finished: list[L.Trainer] = []
    search = search_weights(build, data, make, trials=2, finish=finished.append)
    made = [*search.arms[0].trials, search.arms[1].trials[1]]
    assert [trial.score for trial in made] == pytest.approx([float(of.best_model_score or 0) for of in kept])
    assert len(finished) == len(kept) == 3
    best = MultiTaskModule.load_from_checkpoint(kept[2].best_model_path)
    assert isinstance(best.balancer, Static)
    assert best.balancer.weights == made[2].weights
    (again,) = trainer().test(best, data, verbose=False)
    assert {task: score.value for task, score in made[2].tests.items()} == pytest.approx(
        {"sign": again["test/sign/accuracy"], "size": again["test/size/r2"]}
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"trials": 1}, "`trials` must be a whole number of at least 2, got 1"),
        ({"spread": 1.0}, r"`spread` must be finite and above 1, got 1\.0"),
        ({"spread": math.inf}, "`spread` must be finite and above 1, got inf"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], says: str, trainer: TrainerMaker) -> None:
    def build(balancer: Any) -> MultiTaskModule:
        return MultiTaskModule(tasks(), encoder(), balancer=balancer)

    with pytest.raises(ValueError, match=says):
        search_weights(build, MultiTaskDataModule({"s": splits()}), lambda run: trainer(), **options)


def test_modules_that_cannot_be_weighed_are_refused(trainer: TrainerMaker) -> None:
    data = MultiTaskDataModule({"s": splits()}, summary=False)
    with pytest.raises(ValueError, match=r"at least two tasks, got \['sign'\]"):
        search_weights(lambda balancer: MultiTaskModule(tasks(["sign"]), encoder()), data, lambda run: trainer())
    with pytest.raises(ValueError, match="`build` must make the module with the balancer"):
        search_weights(lambda balancer: MultiTaskModule(tasks(), encoder()), data, lambda run: trainer())
    with pytest.raises(ValueError, match="at least one task that has `metrics`, got none"):
        search_weights(
            lambda balancer: MultiTaskModule(tasks(metrics=[]), encoder(), balancer=balancer),
            data,
            lambda run: trainer(),
        )


def test_data_that_can_be_read_once_are_refused(trainer: TrainerMaker) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield from splits()["train"]

    data = MultiTaskDataModule({"s": {**splits(), "train": rows()}}, summary=False, steps_per_epoch=2)
    with pytest.raises(ValueError, match="got generators, which can be read once"):
        search_weights(
            lambda balancer: MultiTaskModule(tasks(), encoder(), balancer=balancer), data, lambda run: trainer()
        )


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["recipe"])


QUICK = ["--trainer.enable_progress_bar=false", "--trainer.max_epochs=1", "--data.batch_size=128"]


@pytest.mark.usefixtures("_here")
def test_a_recipe_searches_beside_a_balancer_with_options_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ["--model.balancer=PCGrad", "--model.scope=parameters", "--model.width=16", "--seed_everything=7"]
    search = table.main([*QUICK, *chosen, "--weight_search=2"])
    folder = tmp_path / "runs/table/run_0"
    assert [arm.name for arm in search.arms] == ["equal weights", "fixed weights", "PCGrad"]
    assert [trial.seed for trial in search.arms[2].trials] == [7, 8]
    for trial in {trial.run: trial for arm in search.arms for trial in arm.trials}.values():
        assert (folder / trial.run / "metrics.csv").exists()
        made = MultiTaskModule.load_from_checkpoint(folder / trial.run / "checkpoints/best.ckpt")
        assert type(made.balancer).__name__ == ("PCGrad" if trial.weights is None else "Static")
        assert made.measuring.scope == ("parameters" if trial.weights is None else None)
    assert not list(folder.rglob("last.ckpt"))
    said = capsys.readouterr().out
    assert str(search) in said
    assert f"{search.best.best.run}/checkpoints/best.ckpt" in said
    with (folder / "weight_search.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 6
    assert yaml.safe_load((folder / "config.yaml").read_text())["weight_search"] == 2


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--weight_search=2", "--ckpt_path=last.ckpt"], "`--weight_search` must stand without `--ckpt_path`"),
        (["--weight_search=2", "--compare=false"], "got --ckpt_path=None, --resume=None and --compare=false"),
        (["--weight_search=2", "--model.tasks=[diagnosis]"], "at least two tasks, got ['diagnosis']"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    args: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        table.main([*QUICK, *args])
    assert says in capsys.readouterr().err


class Unbalanced(MultiTaskModule):
    """A model of the user's own, without a `balancer`."""

    def __init__(self, tasks: list[str] = ["sign", "size"]) -> None:  # noqa: B006
        super().__init__([Task(name) for name in tasks], encoder())


class Numbers(MultiTaskDataModule):
    """Data of the user's own."""

    def __init__(self) -> None:
        super().__init__({"s": splits()})


@pytest.mark.usefixtures("_here")
def test_a_model_without_a_balancer_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        MultiTaskCLI(Unbalanced, Numbers, folder="runs", args=["--weight_search=2"]).run()
    assert "`--weight_search` must be of a model that takes `balancer`, got Unbalanced" in capsys.readouterr().err
