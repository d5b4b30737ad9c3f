"""Layers that depend on the data are there when callbacks look at the module in their `setup`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import BackboneFinetuning, ModelPruning, StochasticWeightAveraging
from torch import Tensor, nn
from torch.nn.utils.prune import is_pruned
from torch.testing import assert_close

from lightning_mtl import (
    EpisodeDataModule,
    HardSharing,
    HierarchicalModule,
    MetaLearningModule,
    MultiTaskDataModule,
    MultiTaskModule,
    Source,
    Tabular,
    Task,
)
from lightning_mtl.encoders import Levels

DRAWN = torch.randn(32, 2, generator=torch.Generator().manual_seed(0)).tolist()
ROWS = [{"u": u, "v": v, "kind": "yes" if u > 0 else "no", "size": u + v} for u, v in DRAWN]


class Epochs(L.Callback):
    """The parameters at the start of each epoch."""

    def __init__(self) -> None:
        self.at: list[dict[str, Tensor]] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.at.append({name: value.detach().clone() for name, value in pl_module.named_parameters()})


class WithBackbone(MultiTaskModule):
    @property
    def backbone(self) -> nn.Module:
        return self.encoder


def module(kind: type[MultiTaskModule] = MultiTaskModule) -> MultiTaskModule:
    tasks = [Task("kind"), Task("size")]
    return kind(tasks, HardSharing(Tabular(4)), optimizer=lambda groups: torch.optim.SGD(groups, lr=0.05))


def trainer(*callbacks: L.Callback, epochs: int = 4, **options: Any) -> L.Trainer:
    quiet: Any = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    return L.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=list(callbacks), **quiet, **options)


def data(**splits: Sequence[Any]) -> MultiTaskDataModule:
    given = splits or {"train": ROWS}
    return MultiTaskDataModule({"t": Source(given, features=["u", "v"])}, batch_size=8, summary=False)


def test_every_parameter_is_averaged() -> None:
    epochs, made = Epochs(), module()
    trainer(epochs, StochasticWeightAveraging(0.05, swa_epoch_start=1)).fit(made, data())
    for name, value in made.named_parameters():
        assert_close(value.detach(), torch.stack([at[name] for at in epochs.at]).mean(0))


def test_every_parameter_of_a_hierarchy_is_averaged() -> None:
    made = HierarchicalModule(
        [Task("kind", level=1), Task("size", level=-1)], Levels([nn.Linear(2, 4), nn.Linear(4, 4)], inputs="x")
    )
    rows = [{"x": [row["u"], row["v"]], "kind": row["kind"], "size": row["size"]} for row in ROWS]
    epochs = Epochs()
    swa = StochasticWeightAveraging(1e-3, swa_epoch_start=1)
    trainer(epochs, swa).fit(made, MultiTaskDataModule({"t": rows}, summary=False))
    for name, value in made.named_parameters():
        assert_close(value.detach(), torch.stack([at[name] for at in epochs.at]).mean(0))


def test_a_frozen_backbone_stays() -> None:
    epochs = Epochs()
    trainer(epochs, BackboneFinetuning(unfreeze_backbone_at_epoch=3)).fit(module(WithBackbone), data())
    encoder = [name for name in epochs.at[0] if name.startswith("encoder.")]
    assert encoder
    assert all(torch.equal(epochs.at[0][name], epochs.at[2][name]) for name in encoder)


def test_heads_are_pruned_too() -> None:
    made = module()
    trainer(ModelPruning("l1_unstructured", amount=0.5, make_pruning_permanent=False), epochs=1).fit(made, data())
    assert all(is_pruned(part) for part in [made.encoder, *made.heads.values()])


def test_the_layers_of_episodes_are_averaged() -> None:
    rows = [{"x": [row["u"], row["v"]], "kind": row["kind"]} for row in ROWS]
    made = MetaLearningModule([Task("kind")], HardSharing(nn.Linear(2, 4), width=4))
    episodes = EpisodeDataModule({"s": Source(rows)}, ways=2, shots=1, queries=2, steps_per_epoch=2, summary=False)
    epochs = Epochs()
    trainer(epochs, StochasticWeightAveraging(1e-3, swa_epoch_start=1)).fit(made, episodes)
    for name, value in made.named_parameters():
        assert_close(value.detach(), torch.stack([at[name] for at in epochs.at]).mean(0))


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_a_new_module_predicts_by_a_checkpoint_that_knows_its_heads(tmp_path: Path, precision: Any) -> None:
    fitted, run = module(), trainer(epochs=1, precision=precision)
    run.fit(fitted, data())
    run.save_checkpoint(tmp_path / "fitted.ckpt")
    due = trainer(precision=precision).predict(fitted, data(train=ROWS, predict=ROWS[:9]))
    fresh = trainer(precision=precision)
    assert fresh.predict(module(), data(train=ROWS, predict=ROWS[:9]), ckpt_path=tmp_path / "fitted.ckpt") == due


def test_a_module_without_a_checkpoint_does_not_predict() -> None:
    with pytest.raises(ValueError, match="Task 'kind' needs a `head`"):
        trainer().predict(module(), data(train=ROWS, predict=ROWS))
