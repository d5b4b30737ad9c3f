"""The costs of training, measured while it runs."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor

from ._cost import Cost


class Meter(L.Callback):
    """Measures the costs of training; `cost` stays None where training does not end in this process."""

    def __init__(self) -> None:
        self.cost: Cost | None = None
        self._before = 0
        self._started = 0.0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Note how much memory of the GPU is in use before."""
        device = trainer.strategy.root_device
        self._before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)
        self._started = _now(pl_module.device)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock, and measure memory."""
        seconds, device = _now(pl_module.device) - self._started, pl_module.device
        parameters = list(pl_module.parameters())
        self.cost = Cost(
            seconds=seconds,
            parameters=sum(p.numel() for p in parameters),
            weights=_bytes([*parameters, *pl_module.buffers()]),
            gradients=_bytes([p for p in parameters if p.requires_grad]),
            optimizer=_bytes([optimizer.state for optimizer in trainer.optimizers]),
            peak=torch.cuda.max_memory_allocated(device) - self._before if device.type == "cuda" else None,
            machine=_machine(device),
        )


def _now(device: torch.device) -> float:
    """Read the clock after the GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _bytes(values: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(values))


def _tensors(values: Any) -> Iterator[Tensor]:
    """Return all tensors in lists and dictionaries."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping | list | tuple):
        for each in values.values() if isinstance(values, Mapping) else values:
            yield from _tensors(each)


def _machine(device: torch.device) -> str:
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{platform.node()} ({chip})"
