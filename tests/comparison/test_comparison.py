"""The comparison of one network with its twins: honest arms, right intervals."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from lightning_mtl import Multiclass, MultiTaskDataModule, MultiTaskModule, Regression, Task
from lightning_mtl.arms import compare_arms
from lightning_mtl.comparison import Comparison, Interval, TaskComparison, compare, t_quantile
from tests.builders import encoder, splits
from tests.conftest import TrainerMaker

A = TaskComparison("a", "accuracy", 1, (0.5, 0.6, 0.7), (0.6, 0.7, 0.9))
B = TaskComparison("b", "mse", -1, (2.0, 2.0, 4.0), (1.0, 3.0, 4.0))


@pytest.mark.parametrize("degrees", [1, 2, 4, 9, 30])
def test_quantiles_are_those_of_student(degrees: int) -> None:
    assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), abs=2e-4)
    for tail in (0.005, 0.025 / 30, 1e-4):
        assert t_quantile(degrees, tail) == pytest.approx(stats.t.ppf(1 - tail, degrees), rel=1e-4)


@pytest.mark.parametrize(
    "values", [[math.inf, 1.0], [math.inf, -math.inf], [math.nan], [-math.inf, 2.0, 3.0], [math.nan, 1.0]]
)
def test_what_is_not_finite_is_no_evidence(values: list[float]) -> None:
    found = Interval.of(values)
    assert found.verdict == "no evidence"
    assert found.record() == {"mean": None, "low": None, "high": None}


def test_intervals_are_those_of_a_paired_test() -> None:
    made = stats.ttest_rel(A.multi, A.single).confidence_interval(0.95)
    assert (A.difference.low, A.difference.high) == pytest.approx((made.low, made.high), abs=1e-4)
    assert A.difference.mean == pytest.approx(0.4 / 3)


def test_verdicts_follow_the_direction_of_the_metric() -> None:
    up = TaskComparison("a", "m", 1, (1.0, 1.1, 1.2), (2.0, 2.1, 2.3))
    down = TaskComparison("a", "m", -1, up.single, up.multi)
    assert (up.verdict, down.verdict, B.verdict) == ("gains", "loses", "no evidence")
    assert Interval.of([1.0]).verdict == "no evidence"  # a single seed is no evidence


def test_delta_m_is_the_mean_relative_gain() -> None:
    found = Comparison((0, 1, 2), (A, B)).delta_m
    per_seed = [(20 + 50) / 2, (100 / 6 - 50) / 2, (200 / 7 + 0) / 2]
    assert found.mean == pytest.approx(sum(per_seed) / 3)
    assert found.low == pytest.approx(stats.t.interval(0.95, 2, found.mean, stats.sem(per_seed))[0], abs=1e-2)


def test_the_table_the_csv_and_the_plot(tmp_path: Path) -> None:
    found = Comparison((0, 1, 2), (A, B))
    lines = str(found).splitlines()
    assert lines[2].split() == [
        "a",
        "accuracy",
        "0.6000",
        "0.7333",
        "+0.1333",
        "[-0.0101,",
        "+0.2768]",
        "no",
        "evidence",
    ]
    assert lines[-1].startswith("delta_m in percent +")
    assert lines[-1].endswith("paired seeds: 3")
    assert "[one seed]" in str(Comparison((0,), (TaskComparison("a", "m", 1, (1.0,), (2.0,)),)))
    found.to_csv(tmp_path / "c.csv")
    with (tmp_path / "c.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [row["task"] for row in read] == ["a", "b", "delta_m"]
    assert float(read[1]["difference"]) == 0.0
    found.plot(tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_the_record_is_json_that_holds_all_that_was_found() -> None:
    """Every figure can be computed from it anew; what JSON has no number for is null."""
    zero = TaskComparison("zero", "m", 1, (0.0, 0.5, 0.5), (0.1, 0.5, 0.5))
    found = Comparison((3, 4, 5), (A, B, zero))
    record = json.loads(json.dumps(found.record(), allow_nan=False))
    assert (record["seeds"], record["arms"]) == ([3, 4, 5], ["single-task", "multi-task"])
    for told, of in zip(record["tasks"], found.tasks, strict=True):
        read = TaskComparison(told["task"], told["metric"], told["sign"], (*told["single"],), (*told["multi"],))
        assert read == of
        assert told["difference"] == vars(of.difference)
        assert told["verdict"] == of.verdict
    assert record["delta_m"]["mean"] == found.delta_m.mean
    assert Comparison.from_record(record) == found
    alone = Comparison((0,), (TaskComparison("a", "m", 1, (1.0,), (2.0,)),)).record()
    assert alone["delta_m"] == {"mean": 100.0, "low": None, "high": None, "verdict": "no evidence"}


def test_arms_get_the_same_data_budget_and_seeds(trainer: TrainerMaker) -> None:
    seen: dict[str, list[Any]] = {}

    def build(tasks: list[str] | None) -> MultiTaskModule:
        made = {"sign": Task("sign", "long", head=Multiclass(2)), "size": Task("size", "short", head=Regression())}
        return MultiTaskModule([made[name] for name in tasks or made], encoder(seed=torch.initial_seed()))

    def make(run: str) -> L.Trainer:
        seen[run] = []

        class Watch(L.Callback):
            def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
                seen[run].append({source: part["x"] for source, part in batch.items()})

        return trainer(max_epochs=2, callbacks=[Watch()])

    def part(count: int, seed: int) -> dict[str, Any]:
        return splits(count, seed)

    data = MultiTaskDataModule({"long": part(40, 0), "short": part(12, 7)}, batch_size=8, summary=False)
    found = compare(build, data, make, seeds=(3, 4))
    assert set(seen) == {f"{arm}/seed{seed}" for arm in ("multi-task", "sign", "size") for seed in (3, 4)}
    for seed in (3, 4):
        together = seen[f"multi-task/seed{seed}"]
        assert len(together) == 10  # two epochs of five steps
        for task, source in (("sign", "long"), ("size", "short")):
            assert_close([step[source] for step in seen[f"{task}/seed{seed}"]], [step[source] for step in together])
            assert all(set(step) == {source} for step in seen[f"{task}/seed{seed}"])
    assert not torch.equal(seen["sign/seed3"][0]["long"], seen["sign/seed4"][0]["long"])
    assert data.steps_per_epoch is None
    assert [task.task for task in found.tasks] == ["sign", "size"]
    assert all(len(task.single) == len(task.multi) == 2 for task in found.tasks)


def test_twins_do_not_read_the_other_targets(trainer: TrainerMaker) -> None:
    inputs: set[str] = set()

    def build(tasks: list[str] | None) -> MultiTaskModule:
        made = {"sign": Task("sign", head=Multiclass(2)), "size": Task("size", head=Regression())}
        module = MultiTaskModule([made[name] for name in tasks or made], encoder())
        module.encoder.register_forward_pre_hook(lambda _, args: inputs.update(args[0]))
        return module

    compare(build, MultiTaskDataModule({"s": splits()}, summary=False), lambda run: trainer(), seeds=[0])
    assert inputs == {"x"}


def test_the_best_checkpoint_is_tested(trainer: TrainerMaker, tmp_path: Path) -> None:
    tested: list[str] = []

    def make(run: str) -> L.Trainer:
        keep = L.pytorch.callbacks.ModelCheckpoint(tmp_path / run, monitor="validate/score", mode="max")
        made = trainer(max_epochs=2, enable_checkpointing=True, callbacks=[keep])
        tested.append(run)
        return made

    def finish(run: L.Trainer) -> None:
        assert run.ckpt_path
        assert Path(run.ckpt_path).exists()

    def build(tasks: list[str] | None) -> MultiTaskModule:
        return MultiTaskModule([Task("sign", head=Multiclass(2))], encoder())

    found = compare(build, MultiTaskDataModule({"s": splits()}, summary=False), make, seeds=[0], finish=finish)
    assert len(tested) == 2
    assert found.tasks[0].single == found.tasks[0].multi  # one task: both arms are the same run


@pytest.mark.parametrize(
    ("seeds", "metrics", "says"),
    [([], None, "`seeds` must hold at least one seed"), ([0], [], "at least one task that has `metrics`")],
)
def test_bad_arguments_are_refused(seeds: list[int], metrics: Any, says: str, trainer: TrainerMaker) -> None:
    def build(tasks: list[str] | None) -> MultiTaskModule:
        return MultiTaskModule([Task("sign", head=Multiclass(2), metrics=metrics)], encoder())

    with pytest.raises(ValueError, match=says):
        compare(build, MultiTaskDataModule({"s": splits()}), lambda run: trainer(), seeds=seeds)


class Logging(MultiTaskModule):
    """Logs a result of both tasks."""

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        self.log("test/both/share", 0.25)


def test_two_networks_are_compared_seed_by_seed(trainer: TrainerMaker, tmp_path: Path) -> None:
    """An arm is what it gives alone, both get the same data and seeds, and equal arms give equal results."""
    runs: list[str] = []

    def make(run: str) -> L.Trainer:
        runs.append(run)
        return trainer()

    def build(kind: type[MultiTaskModule] = MultiTaskModule, width: int = 8) -> MultiTaskModule:
        return kind([Task("sign", head=Multiclass(2)), Task("size", head=Regression())], encoder(width))

    data = MultiTaskDataModule({"s": splits()}, batch_size=10, summary=False)
    both = compare_arms({"a": build, "b": build}, data, make, seeds=(3, 4))
    assert runs == ["a/seed3", "b/seed3", "a/seed4", "b/seed4"]
    assert all(task.single == task.multi for task in both.tasks)
    wide = compare_arms({"narrow": build, "wide": lambda: build(width=16)}, data, make, seeds=(3, 4))
    assert [task.single for task in wide.tasks] == [task.single for task in both.tasks]
    assert any(task.single != task.multi for task in wide.tasks)
    assert wide.sizes is not None
    assert wide.sizes[0] < wide.sizes[1]
    assert str(wide).splitlines()[0].split()[2:4] == ["narrow", "wide"]
    assert [line.split()[:3] for line in str(wide).splitlines()[-3:-1]] == [
        [arm, "<1", str(size)] for arm, size in zip(("narrow", "wide"), wide.sizes, strict=True)
    ]
    wide.to_csv(tmp_path / "c.csv")
    with (tmp_path / "c.csv").open() as file:
        assert next(csv.reader(file))[2:4] == ["narrow", "wide"]
    logged = compare_arms(
        {"a": lambda: build(Logging), "b": lambda: build(Logging)}, data, make, seeds=(3,), also=["both/share"]
    )
    assert logged.tasks[-1] == TaskComparison("both", "share", 1, (0.25,), (0.25,))


def test_arms_that_cannot_be_compared_are_refused(trainer: TrainerMaker) -> None:
    def build(head: str) -> MultiTaskModule:
        return MultiTaskModule([Task(head, head=Multiclass(2) if head == "sign" else Regression())], encoder())

    data = MultiTaskDataModule({"s": splits()}, batch_size=10, summary=False)
    make = lambda run: trainer()  # noqa: E731
    with pytest.raises(ValueError, match=r"`arms` must be two networks, got \['a'\]"):
        compare_arms({"a": lambda: build("sign")}, data, make)
    with pytest.raises(ValueError, match="`seeds` must hold at least one seed"):
        compare_arms({"a": lambda: build("sign"), "b": lambda: build("sign")}, data, make, seeds=())
    with pytest.raises(
        ValueError, match=r"the same tasks, with `metrics`, got 'a' with \['sign'\] and 'b' with \['size'\]"
    ):
        compare_arms({"a": lambda: build("sign"), "b": lambda: build("size")}, data, make, seeds=(0,))


@pytest.mark.parametrize("single", [(0.0, 0.0), (0.001, -0.002), (0.0, 0.5)])
def test_delta_m_is_not_ruled_by_a_score_near_zero_and_names_it(single: tuple[float, ...]) -> None:
    steady = TaskComparison("steady", "accuracy", 1, (0.80, 0.82), (0.81, 0.83), best=1.0)
    shaky = TaskComparison("shaky", "r2", 1, single, (single[0] + 0.03, single[1] + 0.05), best=1.0)
    found = Comparison((0, 1), (steady, shaky))
    assert 0 < found.delta_m.mean < 5
    assert "in percent of another scale, since single-task is near zero: shaky (of distance to the best value)" in str(
        found
    )
    assert "near zero" not in str(Comparison((0, 1), (steady,)))


def test_a_metric_that_the_test_split_does_not_define_is_left_out_and_named() -> None:
    known = TaskComparison("known", "accuracy", 1, (0.50, 0.50), (0.55, 0.55))
    undefined = TaskComparison("undefined", "r2", 1, (0.5, math.nan), (0.5, math.nan))
    found = Comparison((0, 1), (known, undefined))
    assert found.delta_m.mean == pytest.approx(10)
    assert "left out of delta_m: undefined" in str(found)
    assert undefined.verdict == "no evidence"


def test_seeds_are_joined() -> None:
    whole, (one, other) = Comparison((0, 1, 2), (A, B)), ((0, 1), (2,))
    parts = [
        Comparison(seeds, tuple(replace(of, single=of.single[at], multi=of.multi[at]) for of in (A, B)))
        for seeds, at in ((one, slice(2)), (other, slice(2, 3)))
    ]
    assert parts[0].joined(parts[1]) == whole
    with pytest.raises(ValueError, match="`done` must hold other seeds, got \\[0, 1\\] in both"):
        parts[0].joined(parts[0])
    with pytest.raises(ValueError, match="`done` must be a comparison of the same networks"):
        parts[0].joined(Comparison((2,), (A,)))


def test_a_task_of_any_name_has_a_row_of_its_own(tmp_path: Path) -> None:
    Comparison((0,), (replace(A, task="delta_m", single=(0.5,), multi=(0.6,)),)).to_csv(tmp_path / "c.csv")
    with (tmp_path / "c.csv").open() as file:
        assert [row["task"] for row in csv.DictReader(file)] == ["delta_m", "delta_m of all tasks"]
    assert list(tmp_path.iterdir()) == [tmp_path / "c.csv"]  # no part of it is left
