"""Attributes of version 0.1 go on working for one release, with a warning."""

from __future__ import annotations

from typing import Any

import pytest

from lightning_mtl import MultiTaskDataModule
from tests.builders import module, splits
from tests.conftest import TrainerMaker


@pytest.mark.parametrize(
    ("old", "new"), [("also_shown", "train_log.extra_values"), ("shown_to", "train_log.listeners")]
)
def test_a_former_list_is_the_list_that_took_its_place(old: str, new: str) -> None:
    made: Any = module()
    with pytest.warns(FutureWarning, match=rf"module.{old}` is now `module.{new}`"):
        former = getattr(made, old)
    assert former is getattr(made.train_log, new.split(".")[1])


def test_what_is_put_into_a_former_list_is_logged(trainer: TrainerMaker) -> None:
    made: Any = module()
    told: list[dict[str, float]] = []
    with pytest.warns(FutureWarning):
        made.also_shown.append(lambda: {"own": 3.0})
    with pytest.warns(FutureWarning):
        made.shown_to.append(lambda step, values: told.append(values))
    trainer(max_steps=2, log_every_n_steps=1).fit(made, MultiTaskDataModule({"table": splits()}, summary=False))
    assert [values["own"] for values in told] == [3.0, 3.0]


def test_former_methods_are_those_of_the_step(trainer: TrainerMaker) -> None:
    made: Any = module()
    for old, new in (("last_losses", made.loss_over_ranks.last), ("step_tasks", made.loss_over_ranks.tasks_of_step)):
        with pytest.warns(FutureWarning, match=old):
            assert getattr(made, old) == new


def test_asking_the_class_does_not_warn() -> None:
    assert type(module()).also_shown.new == "train_log.extra_values"
