"""What the arms of a comparison cost, counted to the byte."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import lightning as L
import pytest
import torch
from torch.optim import SGD, AdamW

from lightning_mtl import MultiTaskDataModule, MultiTaskModule
from lightning_mtl.arms import compare_arms
from lightning_mtl.comparison import ArmCost, Comparison, Cost, compare, costs_of
from lightning_mtl.comparison._cost import cost_table
from tests.builders import encoder, splits, tasks
from tests.conftest import TrainerMaker

TRUNK, SIGN, SIZE = 4 * 8 + 8, 8 * 2 + 2, 8 + 1
STATES: dict[str, tuple[Callable[[Any], Any], Callable[[int, int], int]]] = {
    "plain SGD keeps nothing": (lambda groups: SGD(groups, lr=0.1), lambda numbers, tensors: 0),
    "momentum is as large as the weights": (
        lambda groups: SGD(groups, lr=0.1, momentum=0.9),
        lambda numbers, tensors: 4 * numbers,
    ),
    "AdamW keeps two moments, and a step for each tensor": (
        lambda groups: AdamW(groups, lr=0.1),
        lambda numbers, tensors: 8 * numbers + 4 * tensors,
    ),
}


def cost(seconds: float, weights: int = 4, peak: int | None = None, machine: str = "a") -> Cost:
    return Cost(seconds, weights // 4, weights, weights, 2 * weights, peak, machine)


def compared(
    trainer: TrainerMaker, optimizer: Callable[[Any], Any], frozen: bool = False, **options: Any
) -> Comparison:
    def build(names: list[str] | None) -> MultiTaskModule:
        module = MultiTaskModule(tasks(names or ("sign", "size")), encoder(), optimizer=optimizer)
        module.encoder.requires_grad_(not frozen)
        return module

    data = MultiTaskDataModule({"s": splits()}, summary=False)
    return compare(build, data, lambda run: trainer(**options), seeds=range(2))


@pytest.mark.parametrize("kind", STATES)
def test_bytes_are_those_of_the_arithmetic(kind: str, trainer: TrainerMaker) -> None:
    optimizer, state = STATES[kind]
    found = compared(trainer, optimizer).costs
    assert found is not None
    together, alone = found["multi-task"], found["single-task"]
    assert (together.networks, together.parameters) == (1, TRUNK + SIGN + SIZE)
    assert together.training == 2 * 4 * (TRUNK + SIGN + SIZE) + state(TRUNK + SIGN + SIZE, 6)
    assert together.serving == 4 * (TRUNK + SIGN + SIZE)
    assert (alone.networks, alone.parameters) == (2, 2 * TRUNK + SIGN + SIZE)
    assert alone.training == 2 * 4 * (TRUNK + SIGN) + state(TRUNK + SIGN, 4)  # the larger twin
    assert alone.serving == 4 * (2 * TRUNK + SIGN + SIZE)
    assert together.peak is alone.peak is None


def test_what_is_frozen_has_neither_gradients_nor_state(trainer: TrainerMaker) -> None:
    found = compared(trainer, lambda groups: AdamW(groups, lr=0.1), frozen=True).costs
    assert found is not None
    ((one,), _) = found["multi-task"].runs
    assert (one.weights, one.gradients) == (4 * (TRUNK + SIGN + SIZE), 4 * (SIGN + SIZE))
    assert one.optimizer == 8 * (SIGN + SIZE) + 4 * 4


def test_buffers_are_weights_and_double_precision_is_twice_as_large(trainer: TrainerMaker) -> None:
    found = compared(trainer, lambda groups: SGD(groups, lr=0.1), precision="64-true").costs
    assert found is not None
    assert found["multi-task"].serving == 8 * (TRUNK + SIGN + SIZE)

    def normed() -> MultiTaskModule:
        module = MultiTaskModule(tasks(("sign",)), encoder())
        module.encoder.append = torch.nn.BatchNorm1d(8)  # two parameters and two averages of 8, and a count of 8 bytes
        return module

    data = MultiTaskDataModule({"s": splits()}, summary=False)
    arms = compare_arms({"a": normed, "b": normed}, data, lambda run: trainer(), seeds=[0]).costs
    assert arms is not None
    assert arms["a"].serving == arms["b"].serving == 4 * (TRUNK + SIGN + 4 * 8) + 8


def test_seconds_are_those_of_training_and_add_up_over_twins(trainer: TrainerMaker) -> None:
    class Slow(L.Callback):
        def setup(self, *args: Any, **options: Any) -> None:
            time.sleep(0.3)  # reading data is no training

        def on_train_epoch_start(self, *args: Any) -> None:
            time.sleep(0.1)

    found = compared(trainer, lambda groups: SGD(groups, lr=0.1), callbacks=[Slow()]).costs
    assert found is not None
    for arm in found.values():
        each = [of.seconds for run in arm.runs for of in run]
        assert min(each) >= 0.1
        assert arm.seconds == pytest.approx(sum(each) / 2)


def test_an_arm_is_its_largest_network_in_training_and_all_of_them_in_serving() -> None:
    arm = ArmCost(((cost(1.0, 4, 7), cost(2.0, 8, 9)), (cost(3.0, 4, 8), cost(4.0, 8, 9))))
    assert (arm.seconds, arm.training, arm.serving, arm.peak) == (5.0, 32, 12, 9)
    after = ArmCost(arm.runs, (cost(10.0, 40), cost(20.0, 40)))
    assert (after.seconds, after.training, after.serving, after.peak) == (20.0, 160, 12, None)
    assert costs_of({"a": [[cost(1.0)], [None]]}) is None


def test_the_table_stands_under_the_comparison(trainer: TrainerMaker) -> None:
    found = compared(trainer, lambda groups: SGD(groups, lr=0.1))
    lines = str(found).splitlines()
    below = lines.index("") + 1
    assert lines[below - 1 : below] == [""]
    assert lines[below - 2].startswith("delta_m")
    said = [line.split() for line in lines[below + 2 : below + 4]]
    assert said[0] == ["multi-task,", "one", "network", "<1", "67", "536", "B", "268", "B"]
    assert said[1] == ["single-task,", "2", "networks", "<1", "107", "464", "B", "428", "B"]
    record = json.loads(json.dumps(found.record(), allow_nan=False))["costs"]
    assert record["single-task"]["parameters"] == 107
    assert record["multi-task"]["seconds"] > 0


def test_seconds_of_other_machines_are_marked_and_a_gpu_has_a_column() -> None:
    here, there = ArmCost(((cost(1234.5, 2**22),),)), ArmCost(((cost(2.0, 4, machine="b"),),))
    assert "different machines" in cost_table({"a": here, "b": there})
    alike = cost_table({"a": here, "b": here})
    assert "different machines" not in alike
    assert "1,234" in alike
    assert "4.0 MiB" in alike
    assert "GPU" not in alike
    assert "peak on GPU" in cost_table({"a": ArmCost(((cost(1.0, 4, 2048),),)), "b": here})
