"""The two-stage arm: each task goes on by itself from the network for all tasks."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.testing import assert_close

from lightning_mtl import HierarchicalModule, Levels, MultiTaskDataModule, MultiTaskModule, Task
from lightning_mtl.comparison import ArmCost, Comparison, Cost, TaskComparison, compare
from lightning_mtl.comparison._two_stage import fine_tuning_share
from tests.builders import encoder, splits
from tests.conftest import TrainerMaker

A = TaskComparison("a", "accuracy", 1, (0.5, 0.6, 0.7), (0.6, 0.7, 0.9), (0.71, 0.8, 0.9))
B = TaskComparison("b", "mse", -1, (2.0, 2.0, 4.0), (1.0, 3.0, 4.0), (3.1, 3.0, 5.0))


def build(names: list[str] | None) -> MultiTaskModule:
    """Heads are those that the data module finds."""
    return MultiTaskModule([Task(name) for name in names or ["sign", "size"]], encoder(seed=torch.initial_seed()))


def data() -> MultiTaskDataModule:
    return MultiTaskDataModule({"s": splits()}, batch_size=20, summary=False)


def state(module: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


class Watch(L.Callback):
    """Notes the weights at the first step, and how many steps there were."""

    def __init__(self) -> None:
        self.start: dict[str, Tensor] = {}
        self.steps = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.start = state(pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.steps = trainer.global_step


@pytest.mark.parametrize("options", [{}, {"precision": "64-true"}, {"watched": True}], ids=str)
def test_a_second_stage_begins_with_the_weights_that_were_tested(
    options: dict[str, Any], trainer: TrainerMaker, tmp_path: Path
) -> None:
    watches: dict[str, Watch] = {}
    ends: dict[str, dict[str, Tensor]] = {}
    names: dict[L.Trainer, str] = {}
    watched, options = options.get("watched", False), {k: v for k, v in options.items() if k != "watched"}

    def make(run: str) -> L.Trainer:
        watches[run] = Watch()
        # A checkpoint of the epoch that is worst is not the last one.
        keep = [ModelCheckpoint(tmp_path / run, monitor="validate/score", mode="min")] if watched else []
        made = trainer(max_epochs=3, callbacks=[watches[run], *keep], enable_checkpointing=watched, **options)
        names[made] = run
        return made

    def finish(run: L.Trainer) -> None:
        ends[names[run]] = state(run.lightning_module)

    found = compare(build, data(), make, seeds=(3, 4), finish=finish, two_stage=True)
    assert set(watches) == {
        f"{arm}/seed{seed}"
        for arm in ("multi-task", "sign", "size", "two-stage-sign", "two-stage-size")
        for seed in (3, 4)
    }
    for seed in (3, 4):
        joint = ends[f"multi-task/seed{seed}"]
        for task in ("sign", "size"):
            start = watches[f"two-stage-{task}/seed{seed}"].start
            assert {name.split(".")[1] for name in start if name.startswith("heads.")} == {task}
            assert_close(start, {name: joint[name] for name in start}, rtol=0, atol=0)
            assert not torch.equal(watches[f"{task}/seed{seed}"].start[ENCODER], start[ENCODER])
            assert not torch.equal(ends[f"two-stage-{task}/seed{seed}"][ENCODER], start[ENCODER])
            assert watches[f"{task}/seed{seed}"].steps == 3 * 3
            assert watches[f"two-stage-{task}/seed{seed}"].steps == 2 * 3  # half of three epochs, rounded up
    assert all(task.two_stage is not None and len(task.two_stage) == 2 for task in found.tasks)


ENCODER = "encoder.trunk.0.weight"


@pytest.mark.parametrize(
    ("share", "limits", "steps"),
    [
        (0.5, {"max_epochs": 4}, 6),
        (0.25, {"max_epochs": 4}, 3),
        (2.0, {"max_epochs": 2}, 12),
        (0.5, {"max_epochs": -1, "max_steps": 7}, 4),
        (0.01, {"max_epochs": 3}, 3),
    ],
)
def test_the_share_is_one_of_the_twin_s_epochs_or_steps(
    share: float, limits: dict[str, int], steps: int, trainer: TrainerMaker
) -> None:
    watches: dict[str, Watch] = {}

    def make(run: str) -> L.Trainer:
        watches[run] = Watch()
        return trainer(callbacks=[watches[run]], **limits)

    compare(build, data(), make, seeds=[0], two_stage=share)
    assert watches["two-stage-sign/seed0"].steps == steps


def test_the_other_arms_are_as_they_are_without_it(trainer: TrainerMaker) -> None:
    without, with_it = (
        compare(build, data(), lambda run: trainer(max_epochs=2), seeds=(0, 1), two_stage=stage)
        for stage in (False, True)
    )
    assert [(t.single, t.multi) for t in without.tasks] == [(t.single, t.multi) for t in with_it.tasks]
    assert without.staged is None
    assert "two-stage" not in str(without)


def test_tasks_at_levels_of_a_hierarchy_go_on_by_themselves(trainer: TrainerMaker) -> None:
    def levels(names: list[str] | None) -> MultiTaskModule:
        torch.manual_seed(0)
        trunk = Levels([torch.nn.Linear(4, 8), torch.nn.Linear(8, 8)], inputs="x")
        made = {"sign": Task("sign", level=1), "size": Task("size", level=2)}
        return HierarchicalModule([made[name] for name in names or made], trunk)

    found = compare(levels, data(), lambda run: trainer(), seeds=[0], two_stage=True)
    assert all(task.two_stage is not None for task in found.tasks)


def test_its_differences_are_those_to_single_task(tmp_path: Path) -> None:
    costs = {
        "multi-task": ArmCost(((Cost(3.0, 1, 4, 4, 0, None, "m"),),)),
        "two-stage": ArmCost(((Cost(1.0, 1, 4, 4, 0, None, "m"),) * 2,), (Cost(3.0, 1, 4, 4, 0, None, "m"),)),
    }
    found = Comparison((0, 1, 2), (A, B), costs=costs)
    staged = found.staged
    assert staged is not None
    assert [task.verdict for task in staged.tasks] == ["gains", "loses"]
    assert [task.difference.mean for task in staged.tasks] == pytest.approx([0.61 / 3, 3.1 / 3])
    lines = str(found).splitlines()
    assert lines[0].split()[-5:] == ["two-stage", "difference", "[95%", "interval]", "both", "stages"][-5:]
    assert lines[2].split()[-4:] == ["+0.2033", str(A.staged.difference).split()[1], *["+0.2177]", "gains"]]  # type: ignore[union-attr]
    assert lines[5].startswith("delta_m of the two-stage arm in percent")
    assert "two-stage, 2 networks after one        5" in str(found)
    found.to_csv(tmp_path / "c.csv")
    with (tmp_path / "c.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["two_stage_verdict"] for row in rows] == ["gains", "loses", staged.delta_m.verdict]
    assert float(rows[0]["two_stage"]) == pytest.approx(2.41 / 3)
    assert float(rows[2]["two_stage_difference"]) == staged.delta_m.mean
    record = json.loads(json.dumps(found.record(), allow_nan=False))
    assert record["arms"] == ["single-task", "multi-task", "two-stage"]
    assert record["tasks"][0]["two_stage"] == [0.71, 0.8, 0.9]
    assert record["tasks"][1]["two_stage_difference"]["verdict"] == "loses"
    found.plot(tmp_path / "c.png")
    replaced = Comparison((0, 1, 2), tuple(t.staged for t in (A, B) if t.staged))
    replaced.plot(tmp_path / "two.png")
    assert (tmp_path / "c.png").read_bytes() != (tmp_path / "two.png").read_bytes()


def test_shares() -> None:
    assert [fine_tuning_share(value) for value in (False, True, 0.3)] == [0.0, 0.5, 0.3]
    for wrong in (-0.5, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="`two_stage` must be true, false or a positive share"):
            fine_tuning_share(wrong)


def test_what_cannot_go_on_is_refused(trainer: TrainerMaker) -> None:
    def narrower(names: list[str] | None) -> MultiTaskModule:
        return MultiTaskModule([Task(name) for name in names or ["sign", "size"]], encoder(8 if names is None else 4))

    with pytest.raises(ValueError, match=r"`build` must give a twin the encoder .* got others: \['encoder.trunk.0.w"):
        compare(narrower, data(), lambda run: trainer(), seeds=[0], two_stage=True)
    endless = {"max_epochs": -1, "max_time": {"seconds": 1}}
    with pytest.raises(ValueError, match="`trainer` must end training by `max_epochs` or `max_steps`"):
        compare(build, data(), lambda run: trainer(**endless), seeds=[0], two_stage=True)
