"""MAML."""

from __future__ import annotations

from ._gradient_descent import GradientDescent


class MAML(GradientDescent):
    """Learn initial parameters from which a few gradient steps lead to each task (Finn et al., ICML 2017, algorithms 1 and 2).

    Within a task, theta' = theta - rate * gradient of the support's loss at theta, `steps` times. Over tasks, theta moves against the
    gradient of the query's loss at theta', through these steps (equation 1). `first_order` leaves out second derivatives (section
    5.2): this is at least 1.5 times as fast, and a little less accurate.

    Args:
        rate: See `GradientDescent`.
        steps: See `GradientDescent`.
        evaluation_steps: See `GradientDescent`.
        first_order: See `GradientDescent`.
        adapted: See `GradientDescent`.
        optimizer: See `GradientDescent`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lightning_mtl import HardSharing, MetaLearningModule, Regression, Task
        >>> from lightning_mtl.adaptation import MAML
        >>> encoder = HardSharing(nn.Sequential(nn.Linear(1, 40), nn.ReLU()), width=40)
        >>> module = MetaLearningModule([Task("wave", head=Regression())], encoder, adaptation=MAML(rate=0.01, steps=1))
        >>> episodes = {"support": {"x": torch.rand(25, 5, 1), "wave": torch.rand(25, 5)}}
        >>> episodes["query"] = {"x": torch.rand(25, 10, 1), "wave": torch.rand(25, 10)}
        >>> module.by_step({"waves": episodes})["wave"].losses.shape
        torch.Size([2, 25])
    """
