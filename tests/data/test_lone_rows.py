"""Layers that normalise over rows, and steps with a single row of a source."""

from typing import Any

import pytest
from torch import nn

from lightning_mtl import HardSharing, Head, MultiTaskDataModule, MultiTaskModule, Regression, Task
from tests.conftest import TrainerMaker

ROWS = {
    name: [{"x": [float(i), 1.0], name: float(i % 7)} for i in range(count)]
    for name, count in {"a": 60, "b": 20}.items()
}


def module(layer: nn.Module, head: nn.Module | None = None) -> MultiTaskModule:
    trunk = nn.Sequential(nn.Linear(2, 4), layer, nn.ReLU())
    heads: dict[str, Head] = {name: Regression(layers=head) if head else Regression() for name in ROWS}
    return MultiTaskModule(
        [Task(name, head=of) for name, of in heads.items()], HardSharing(trunk, width=4, inputs=["x"])
    )


def data(**options: Any) -> MultiTaskDataModule:
    return MultiTaskDataModule(
        {name: {"train": rows} for name, rows in ROWS.items()}, batch_size=8, summary=False, **options
    )


@pytest.mark.parametrize("head", [None, nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 1))], ids=["encoder", "head"])
def test_a_batch_norm_is_refused_where_a_row_may_be_alone(head: nn.Module | None, trainer: TrainerMaker) -> None:
    run = trainer()
    with pytest.raises(ValueError, match=r"Sources \['a', 'b'\] must have at least two rows .* BatchNorm1d normalises"):
        run.fit(module(nn.Identity() if head else nn.BatchNorm1d(4), head), data(batches="mixed"))
    assert run.global_step == 0


@pytest.mark.parametrize(
    "layer", [nn.LayerNorm(4), nn.GroupNorm(2, 4), nn.Identity()], ids=lambda layer: type(layer).__name__
)
def test_layers_that_read_a_row_are_trained(layer: nn.Module, trainer: TrainerMaker) -> None:
    trainer().fit(module(layer), data(batches="mixed"))


def test_a_batch_norm_is_trained_where_no_row_is_alone(trainer: TrainerMaker) -> None:
    made = module(nn.BatchNorm1d(4))
    trainer().fit(made, data())
    encoder: Any = made.encoder
    assert encoder.trunk[1].num_batches_tracked == 16  # those of training, and none of the trial
