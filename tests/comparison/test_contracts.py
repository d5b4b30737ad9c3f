"""What callers give to comparisons is asked back before the first network is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torchmetrics.classification import MulticlassRecall
from torchmetrics.regression import MeanAbsoluteError

from lightning_mtl import Multiclass, MultiTaskDataModule, MultiTaskModule, Regression, Task
from lightning_mtl.arms import compare_arms
from lightning_mtl.comparison import NewModules, NewTrainers, as_folder, compare, refuse_seeds, score
from lightning_mtl.comparison._run_names import run_names
from lightning_mtl.weight_search import search_weights
from tests.builders import encoder, rows, splits, tasks
from tests.conftest import TrainerMaker

STEPS: list[str] = []


class Counting(L.Callback):
    def on_train_batch_end(self, *args: Any) -> None:
        STEPS.append("step")


@pytest.fixture(autouse=True)
def _untrained() -> None:
    STEPS.clear()


def quiet(**options: Any) -> L.Trainer:
    off = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False, "logger": False}
    given = {"callbacks": [], **options}
    return L.Trainer(
        **{"accelerator": "cpu", "max_epochs": 1, **off, **given, "callbacks": [Counting(), *given["callbacks"]]}
    )


def build(names: list[str] | None = None) -> MultiTaskModule:
    return MultiTaskModule(tasks(names or ("sign", "size")), encoder())


def data(**parts: Any) -> MultiTaskDataModule:
    return MultiTaskDataModule({"s": {**splits(), **parts}}, batch_size=20, summary=False)


@pytest.mark.parametrize(
    ("seeds", "says"),
    [
        ([], "at least one seed, got none"),
        ([0, 1, 0], r"must be different, got \[0\] more than once"),
        ([1, np.int64(1)], "must be different"),
        ([0.5], "must be whole numbers from 0 to 4294967295"),
        (["1"], "got '1'"),
        ("123", "got '123'"),
        ([True, 0], "got True"),
        ([-1], "got -1"),
        ([2**32], "got 4294967296"),
        (3, r"got 3. seeds=range\(3\) are the first 3"),
        (None, "got None"),
    ],
)
def test_seeds_are_different_whole_numbers(seeds: Any, says: str) -> None:
    with pytest.raises(ValueError, match=f"`seeds` .*{says}"):
        refuse_seeds(seeds)


def test_every_use_asks_for_seeds() -> None:
    for use in (
        lambda: compare(build, data(), lambda run: quiet(), seeds=[0, 0]),
        lambda: score(build, data(), lambda run: quiet(), seeds=[0, 0]),
        lambda: compare_arms({"a": build, "b": build}, data(), lambda run: quiet(), seeds=[0, 0]),
    ):
        with pytest.raises(ValueError, match="`seeds` must be different"):
            use()


def test_seeds_may_be_of_any_kind_of_whole_number() -> None:
    assert refuse_seeds(np.arange(3)) == refuse_seeds(iter([0, 1, 2])) == (0, 1, 2)
    assert refuse_seeds([2**32 - 1]) == (2**32 - 1,)


def shared_encoder() -> Callable[..., MultiTaskModule]:
    one = encoder()
    return lambda names=None: MultiTaskModule(tasks(names or ("sign", "size")), one)


def same() -> Callable[..., MultiTaskModule]:
    one = build()
    return lambda names=None: one


def other_metric(names: list[str] | None) -> MultiTaskModule:
    metric = MulticlassRecall(2) if names else None
    made = {"sign": Task("sign", head=Multiclass(2), metrics=metric), "size": Task("size", head=Regression())}
    return MultiTaskModule([made[name] for name in names or made], encoder())


@pytest.mark.parametrize(
    ("of", "says"),
    [
        (lambda: lambda names: build(), r"got \['sign', 'size'\] for \['sign'\]"),
        (lambda: lambda names: build(["size"] if names else None), r"got \['size'\] for \['sign'\]"),
        (shared_encoder, "must make a new module for each run, got one with weights of an earlier one"),
        (same, "must make a new module for each run"),
        (lambda: lambda names: None, "must make a MultiTaskModule, got NoneType"),
        (
            lambda: other_metric,
            "the same first metric in all networks, got 'accuracy' for all tasks and 'MulticlassRecall'",
        ),
        (lambda: lambda names: MultiTaskModule(tasks(metrics=[]), encoder()), "at least one task that has `metrics`"),
    ],
)
def test_build_makes_new_modules_for_the_tasks_it_gets(of: Callable[[], Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        compare(of(), data(), lambda run: quiet(), seeds=[0])
    assert not STEPS


def test_modules_that_are_gone_do_not_count_and_frozen_weights_may_be_shared() -> None:
    frozen = encoder().requires_grad_(False)
    made: NewModules[MultiTaskModule] = NewModules(lambda: MultiTaskModule(tasks(), frozen))
    assert made() is not made()
    many: NewModules[MultiTaskModule] = NewModules(build)
    for _ in range(3):
        many()


def one(**options: Any) -> Callable[[str], L.Trainer]:
    made = quiet(**options)
    return lambda run: made


def used() -> Callable[[str], L.Trainer]:
    def make(run: str) -> L.Trainer:
        made = quiet()
        made.fit(build(), data())
        STEPS.clear()
        return made

    return make


def part_of_all(part: Any, **options: Any) -> Callable[[str], L.Trainer]:
    where = "logger" if isinstance(part, CSVLogger) else "callbacks"
    return lambda run: quiet(**{where: part if where == "logger" else [part]}, **options)


@pytest.mark.parametrize(
    ("of", "says"),
    [
        (one, "must make a new Trainer for each run"),
        (used, "that has been used for another .1 epochs, 3 steps"),
        (lambda: quiet(), "`trainer` must be a function that makes a Trainer, got Trainer"),
        (lambda: lambda run: None, "must make a Trainer for the run 'multi-task/seed0', got NoneType"),
        (
            lambda: part_of_all(EarlyStopping("validate/score")),
            "new loggers and callbacks for each run, got a EarlyStopping",
        ),
        (lambda: part_of_all(CSVLogger("logs")), "new loggers and callbacks for each run, got a CSVLogger"),
        (lambda: part_of_all(ModelCheckpoint("here"), enable_checkpointing=True), "got a ModelCheckpoint"),
        (lambda: lambda run: quiet(logger=CSVLogger("logs", version="v")), "files of its own, got '.*logs"),
        (
            lambda: (
                lambda run: quiet(
                    callbacks=[ModelCheckpoint("here", filename="best", enable_version_counter=False)],
                    enable_checkpointing=True,
                )
            ),
            "files of its own, got '.*here/best'",
        ),
        (lambda: lambda run: quiet(max_epochs=0), "`max_epochs` must be above 0"),
        (lambda: lambda run: quiet(max_steps=0), "`max_steps` must be above 0"),
        (lambda: lambda run: quiet(limit_train_batches=0), "`limit_train_batches` must be above 0"),
        (lambda: lambda run: quiet(limit_test_batches=0), "`limit_test_batches` must be above 0"),
        (
            lambda: lambda run: quiet(callbacks=[EarlyStopping("validate/score")], limit_val_batches=0),
            "`limit_val_batches` must be above 0 where",
        ),
        (lambda: lambda run: L.Trainer(barebones=True, accelerator="cpu", max_epochs=1), "`barebones` must be false"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*barebones", "ignore:Checkpoint directory", "ignore:`max_epochs")
def test_trainer_makes_a_new_one_for_each_run(
    of: Callable[[], Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=says):
        two_of(of())


def two_of(make: Any) -> None:
    made = NewTrainers(make)
    for run in ("multi-task/seed0", "sign/seed0"):
        made(run)


def test_a_module_is_no_function() -> None:
    with pytest.raises(ValueError, match="must be a function that makes a module, got MultiTaskModule"):
        NewModules(build())


def test_trainers_are_asked_in_every_use() -> None:
    uses: list[Callable[..., Any]] = [
        lambda make: compare(build, data(), make, seeds=[0]),
        lambda make: score(build, data(), make, seeds=[0, 1]),
        lambda make: compare_arms({"a": build, "b": build}, data(), make, seeds=[0]),
        lambda make: search_weights(
            lambda balancer: MultiTaskModule(tasks(), encoder(), balancer=balancer), data(), make
        ),
    ]
    for use in uses:
        with pytest.raises(ValueError, match="`max_epochs` must be above 0"):
            use(lambda run: quiet(max_epochs=0))


def test_a_new_logger_without_a_version_and_checkpoints_that_count_are_no_fault(tmp_path: Path) -> None:
    made = NewTrainers(
        lambda run: quiet(
            logger=CSVLogger(tmp_path),
            callbacks=[ModelCheckpoint(tmp_path, monitor="validate/score")],
            enable_checkpointing=True,
        )
    )
    assert made("a/seed0") is not made("a/seed1")


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no test": ({"test": None}, "Source 's' must have a split 'test', on which task 'sign' is measured"),
    "a class": ({"test": [*rows(9), {"x": [0.0] * 4, "sign": 2, "size": 1.0}]}, "test"),
    "an infinite number": ({"test": [*rows(9), {"x": [0.0] * 4, "sign": 1, "size": float("inf")}]}, "test"),
    "one row": ({"test": rows(1)}, "at least 2 labels in split 'test'"),
    "one label": ({"test": [{**row, "size": None if i else 1.0} for i, row in enumerate(rows(9))]}, "Task 'size'"),
    "NaN": ({"test": [{**rows(1)[0], "x": [float("nan")] * 4}, *rows(9)]}, "test"),
    "no column": ({"test": [{"x": row["x"], "sign": row["sign"]} for row in rows(9)]}, "size"),
}


@pytest.mark.parametrize("kind", BAD)
def test_the_test_split_is_looked_at_before_anything_is_trained(kind: str) -> None:
    parts, says = BAD[kind]
    made = {name: of for name, of in {**splits(), **parts}.items() if of is not None}

    def given() -> MultiTaskDataModule:
        return MultiTaskDataModule({"s": made}, batch_size=20, summary=False)

    def make(run: str) -> L.Trainer:
        return quiet()

    uses: list[Callable[[], Any]] = [
        lambda: compare(build, given(), make, seeds=[0]),
        lambda: compare_arms({"a": build, "b": build}, given(), make, seeds=[0]),
        lambda: search_weights(lambda balancer: MultiTaskModule(tasks(), encoder(), balancer=balancer), given(), make),
    ]
    for use in uses:
        with pytest.raises(ValueError, match=says):
            use()
    assert not STEPS


def test_the_validation_split_is_looked_at_where_a_checkpoint_waits_for_it(tmp_path: Path) -> None:
    few = [{**row, "size": None if i else 1.0} for i, row in enumerate(rows(20, 100))]

    def keep(run: str) -> L.Trainer:
        best = ModelCheckpoint(tmp_path / run, monitor="validate/score")
        return quiet(callbacks=[best], enable_checkpointing=True)

    uses: list[Callable[[], Any]] = [
        lambda: compare(build, data(validation=few), keep, seeds=[0]),
        lambda: compare_arms({"a": build, "b": build}, data(validation=few), keep, seeds=[0]),
    ]
    for use in uses:
        with pytest.raises(ValueError, match="'size' must have at least 2 labels in split 'validation'"):
            use()
    none = MultiTaskDataModule({"s": {"train": rows(), "test": rows(20)}}, summary=False)
    with pytest.raises(ValueError, match="must have a split 'validation'"):
        score(build, none, keep)
    assert not STEPS


def test_runs_have_folders_of_their_own() -> None:
    names = ["multi-task", "two-stage-a", "a", "a/b", "a_b", "..", "", " ", "x" * 300, "a\\b", "two-stage-a/b"]
    found = run_names(names)
    taken = [*found.values(), "multi-task", *(f"two-stage-{name}" for name in found.values())]
    assert list(found) == names
    assert len(set(taken)) == len(taken)
    assert all(as_folder(name) == name for name in taken if name and len(name) < 100)
    assert found["a"] == "a"


@pytest.mark.parametrize(
    ("arms", "says"),
    [
        ({"difference": build, "b": build}, "other than .* which are columns of the table, got 'difference'"),
        ({"a/b": build, "a_b": build}, "must differ as names of folders"),
        ({"a": build, "b": lambda: build(["sign"])}, "networks for the same tasks"),
        ({"a": build, "b": lambda: other_metric(["sign", "size"])}, "the same first metric in all networks"),
    ],
)
def test_arms_are_two_networks_for_the_same_tasks(arms: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        compare_arms(arms, data(), lambda run: quiet(), seeds=[0])
    with pytest.raises(ValueError, match="`also` must be a list of results"):
        compare_arms({"a": build, "b": build}, data(), lambda run: quiet(), seeds=[0], also=["las"])
    assert not STEPS


def test_what_is_known_after_each_seed_is_enough_to_go_on(trainer: TrainerMaker) -> None:
    known: list[Any] = []
    whole = compare(build, data(), lambda run: trainer(), seeds=[3, 4], after_seed=known.append)
    assert [of.seeds for of in known] == [(3,), (3, 4)]
    runs: list[str] = []

    def make(run: str) -> L.Trainer:
        runs.append(run)
        return trainer()

    resumed = compare(build, data(), make, seeds=[3, 4], done=type(whole).from_record(known[0].record()))
    assert {run.split("/")[1] for run in runs} == {"seed4"}
    assert resumed.tasks == whole.tasks
    assert resumed.costs is not None
    arms = {"a": build, "b": build}
    both = compare_arms(arms, data(), lambda run: trainer(), seeds=[3, 4], after_seed=known.append)
    assert compare_arms(arms, data(), make, seeds=[3, 4], done=known[2]).tasks == both.tasks
    assert both.sizes is not None


def test_a_metric_of_its_own_kind_is_compared(trainer: TrainerMaker) -> None:
    def made(names: list[str] | None) -> MultiTaskModule:
        return MultiTaskModule([Task("size", head=Regression(), metrics=MeanAbsoluteError())], encoder())

    (task,) = compare(made, data(), lambda run: trainer(), seeds=[0]).tasks
    assert (task.metric, task.sign, task.best) == ("MeanAbsoluteError", -1, None)
