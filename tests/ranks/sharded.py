"""Runs under FSDP2 on two processes: what is resumed, tested after a fit, learned by losses, and run with labels here and there."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader

from lightning_mtl import (
    HardSharing,
    HierarchicalModule,
    Levels,
    MultiTaskDataModule,
    MultiTaskModule,
    Regression,
    Task,
)
from lightning_mtl.balancers import Uncertainty
from tests.builders import module, splits

Found = dict[str, Tensor]


class Scaled(nn.Module):
    """A loss that learns its scale, a single number."""

    def __init__(self) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.zeros(()))

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return nn.functional.mse_loss(prediction, target) * (-self.log).exp() + self.log


class Shifted(MultiTaskModule):
    """A module with a parameter of its own."""

    def __init__(self, tasks: Sequence[Task], encoder: HardSharing, **options: Any) -> None:
        super().__init__(tasks, encoder, **options)
        self.shift = nn.Parameter(torch.zeros(1))

    def head_outputs(self, *args: Any) -> list[Tensor]:
        return [output + self.shift for output in super().head_outputs(*args)]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        shift = self.shift
        return super().training_step(batch, batch_idx) + (shift - 1).square().sum()


def ranks() -> int:
    return int(os.environ.get("WORLD_SIZE", 1))


def trainer(folder: Path | None = None, **options: Any) -> L.Trainer:
    strategy: Any = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1) if ranks() > 1 else "auto"
    keep = [ModelCheckpoint(folder, filename="{step}", every_n_train_steps=3, save_top_k=-1)] if folder else []
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return L.Trainer(
        accelerator="cpu",
        devices=ranks(),
        strategy=strategy,
        callbacks=[*options.pop("callbacks", []), *keep],
        enable_checkpointing=folder is not None,
        use_distributed_sampler=False,
        **{"max_epochs": 2, **quiet, **options},
    )


def weights(of: nn.Module) -> Found:
    return {
        name: (value.full_tensor() if isinstance(value, DTensor) else value).detach().reshape(-1).clone()
        for name, value in of.named_parameters()
    }


def data() -> MultiTaskDataModule:
    rows = splits(48)
    return MultiTaskDataModule(
        {"s": {**rows, "test": rows["validation"]}}, batch_size=8 // ranks(), seed=0, summary=False
    )


def loader(without: Sequence[int] = (), on: Sequence[int] = (0, 1)) -> Any:
    """Return batches of two tasks, shared by the ranks; some have no label of the second, or on some ranks of both."""
    draw = torch.Generator().manual_seed(0)
    names = {"x": (3,), "early": (), "late": ()}
    whole = [{name: torch.randn(8, *size, generator=draw) for name, size in names.items()} for _ in range(6)]
    for number in without:
        for rank in on:
            for name in ("late",) if len(on) == 2 else ("early", "late"):
                whole[number][name][4 * rank : 4 * rank + 4] = torch.nan
    rank = int(os.environ.get("RANK", 0))
    part = slice(rank * 8 // ranks(), (rank + 1) * 8 // ranks())
    return DataLoader([{"s": {name: of[part] for name, of in batch.items()}} for batch in whole], batch_size=None)  # type: ignore[arg-type]


def own(kind: type[MultiTaskModule] = MultiTaskModule, loss: Any = None, **options: Any) -> MultiTaskModule:
    torch.manual_seed(0)
    made = [
        Task("early", head=Regression(layers=nn.Linear(8, 1))),
        Task("late", head=Regression(layers=nn.Linear(8, 1)), loss=loss),
    ]
    encoder = HardSharing(nn.Linear(3, 8), width=8, inputs=["x"])
    return kind(made, encoder, optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1), **options)


def mixed() -> HierarchicalModule:
    torch.manual_seed(0)
    made = [
        Task("early", head=Regression(layers=nn.Linear(8, 1)), level=1),
        Task("late", head=Regression(layers=nn.Linear(8, 1)), level=[1, 2]),
    ]
    levels = Levels([nn.Linear(3, 8), nn.Sequential(nn.Tanh(), nn.Linear(8, 8))], inputs="x")
    return HierarchicalModule(made, levels, optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1))


def trained(of: MultiTaskModule, batches: Any = None, **options: Any) -> Found:
    trainer(**options).fit(of, loader() if batches is None else batches)
    return weights(of)


CASES: dict[str, Any] = {
    "a loss that learns": lambda: trained(own(loss=Scaled())),
    "a parameter of the module": lambda: trained(own(Shifted)),
    "levels that are mixed": lambda: trained(mixed()),
    "labels in an earlier batch": lambda: trained(own(), loader([1, 3]), accumulate_grad_batches=2),
    "a balancer that learns, a rank without labels": lambda: trained(own(balancer=Uncertainty()), loader([2], on=[1])),
}
"""What two processes must do as one does."""


def resumed(folder: Path) -> Found:
    """Return by how much a run that is resumed differs from the whole one, and two tests of it."""
    whole, again = module(), module()
    first = trainer(folder)
    first.fit(whole, data())
    due = weights(whole)
    tested = first.test(whole, data(), verbose=False)[0]
    trainer(max_epochs=3).fit(whole, data())  # once more, with what is sharded
    torch.distributed.barrier()
    trainer().fit(again, data(), ckpt_path=folder / "step=3.ckpt")
    apart = {name: (value - due[name]).abs().max() for name, value in weights(again).items()}
    final = folder / f"step={first.global_step}.ckpt"
    by_path = trainer().test(module(), data(), ckpt_path=final, verbose=False)[0]
    return {
        "resumed": torch.stack(list(apart.values())).max(),
        "tested": torch.tensor(tested["test/loss"] - by_path["test/loss"]),
    }


def main() -> None:
    """Write what all cases give into the folder named first on the command line."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    found = {case: run() for case, run in CASES.items()} | {"resumed": resumed(folder)}
    torch.save(found, folder / f"rank{os.environ['RANK']}.pt")


if __name__ == "__main__":
    main()
