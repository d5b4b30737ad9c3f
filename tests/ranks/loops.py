"""Loops that are not the usual one: Fabric, and an optimizer that runs a step several times; two processes must do as one does."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_mtl import HardSharing, MultiTaskModule, Regression, Task
from lightning_mtl.balancers import DynamicWeightAverage

Found = dict[str, Tensor]
ROWS = 8


def batches(rank: int | None) -> list[dict[str, dict[str, Tensor]]]:
    """Four batches; the second rank lacks labels of one task in one of them, and all labels in another."""
    draw, found = torch.Generator().manual_seed(1), []
    for number in range(4):
        columns = {
            name: torch.randn(ROWS, *size, generator=draw, dtype=torch.float64)
            for name, size in (("x", (3,)), ("a", ()), ("b", ()))
        }
        if number in (1, 2):
            columns["b"][3:] = torch.nan
        if number == 2:
            columns["a"][4:] = torch.nan
        rows = slice(None) if rank is None else slice(rank * ROWS // 2, (rank + 1) * ROWS // 2)
        found.append({"s": {name: column[rows] for name, column in columns.items()}})
    return found


def made(optimizer: Any, **options: Any) -> MultiTaskModule:
    torch.manual_seed(0)
    tasks = [Task(name, head=Regression(layers=nn.Linear(4, 1))) for name in ("a", "b")]
    trunk = HardSharing(nn.Sequential(nn.Linear(3, 4), nn.Tanh()), width=4, inputs=["x"])
    return MultiTaskModule(tasks, trunk, optimizer=optimizer, **options).double()


def in_fabric(rank: int | None) -> Found:
    """Train by Fabric."""
    ddp: Any = DDPStrategy(find_unused_parameters=True, process_group_backend="gloo")
    fabric = L.Fabric(accelerator="cpu", devices=1 if rank is None else 2, strategy="auto" if rank is None else ddp)
    fabric.launch()
    module = made(None)
    wrapped, optimizer = fabric.setup(module, torch.optim.SGD(module.parameters(), lr=0.1))
    for batch in batches(rank):
        fabric.backward(wrapped.training_step(batch, 0))
        optimizer.step()
        optimizer.zero_grad()
    return dict(module.state_dict())


def by_lbfgs(rank: int | None, **options: Any) -> Found:
    """Train by an optimizer that decides by the value of the loss how often it runs a batch."""

    def lbfgs(groups: Any) -> torch.optim.Optimizer:
        parameters = [p for group in groups for p in group["params"]]
        return torch.optim.LBFGS(parameters, lr=0.5, max_iter=6, line_search_fn="strong_wolfe")

    module = made(lbfgs, **options)
    shown = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1 if rank is None else 2,
        strategy="auto" if rank is None else "ddp",
        precision="64-true",
        max_epochs=2,
        log_every_n_steps=1,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        **shown,  # type: ignore[arg-type]
    )
    trainer.fit(module, DataLoader(batches(rank), batch_size=None))  # type: ignore[arg-type]
    return {**module.state_dict(), "loss": trainer.callback_metrics["train/loss"].double()}


def loops(rank: int | None) -> dict[str, Found]:
    """Return what each loop ends in, on this rank or on one process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's about loaders
        return {
            "fabric": in_fabric(rank),
            "lbfgs": by_lbfgs(rank),
            "lbfgs and a balancer": by_lbfgs(rank, balancer=DynamicWeightAverage()),
        }


if __name__ == "__main__":
    own = int(os.environ["RANK"])
    torch.save(loops(own), Path(sys.argv[1]) / f"loops{own}.pt")
