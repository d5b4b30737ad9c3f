"""Losses and encoders of a user's own: what they return is looked at in the first step, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_mtl import Binary, Encoder, HardSharing, MultiTaskModule, Regression, Task


def run(task: Task, encoder: Encoder | None = None, rows: int = 8, **columns: Any) -> Any:
    module = MultiTaskModule([task], encoder or HardSharing(nn.Linear(2, 4), width=4))
    batch = {"x": torch.randn(rows, 2), "y": torch.arange(8.0) % 2, **columns}
    return module.run({"s": batch}).results[0]


def each(prediction: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(prediction, target.float(), reduction="none")


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (lambda p, t: each(p, t)[:3], r"one value for each of the 8 examples, got shape \[3\]"),
        (lambda p, t: each(p, t)[None], r"for each of the 8 examples, got shape \[1, 8\]"),
        (lambda p, t: each(p, t).mean().detach(), "has a gradient, got one without"),
        (lambda p, t: ((p > 0) != t).float().mean(), "has a gradient, got one without"),
        (lambda p, t: ((p > 0) != t).sum(), "must return real numbers, got int64"),
        (lambda p, t: each(p, t).mean().item(), "must return a tensor, got float"),
        (lambda p, t: None, "must return a tensor, got NoneType"),
        (lambda p, t: each(p, t)[:0], r"got shape \[0\]"),
    ],
)
def test_a_loss_that_is_none_is_named(loss: Callable[..., Any], says: str) -> None:
    with pytest.raises(ValueError, match=f"`loss` of task 'y' must return .*{says}".replace(".*must return ", "")):
        run(Task("y", head=Binary(), loss=loss))


@pytest.mark.parametrize(
    "loss",
    [
        lambda p, t: each(p, t),
        lambda p, t: each(p, t).mean(),
        lambda p, t: each(p, t).mean().reshape(1),
        lambda p, t: each(p, t).double(),
        nn.BCEWithLogitsLoss(),
    ],
)
def test_a_mean_or_one_value_for_each_example_is_taken(loss: Callable[..., Any]) -> None:
    own = loss if not isinstance(loss, nn.Module) else lambda p, t, of=loss: of(p, t.float())
    result = run(Task("y", head=Binary(), loss=own))
    assert result.loss.ndim == 0
    assert result.loss.item() == pytest.approx(each(result.prediction, result.target).mean().item())


def test_a_loss_without_gradients_evaluates() -> None:
    with torch.no_grad():
        assert run(Task("y", head=Regression(), loss=lambda p, t: (p - t).abs().detach())).loss.ndim == 0


def test_a_loss_is_no_class() -> None:
    given: Any = nn.MSELoss
    with pytest.raises(TypeError, match=r"must be a function, got the class MSELoss\. Make one: MSELoss\(\)"):
        Task("y", loss=given)


class Own(Encoder):
    """Returns what a test says."""

    def __init__(self, made: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.made, self.layer = made, nn.Linear(2, 4)

    width = 4

    def forward(self, inputs: dict[str, Any], tasks: Any) -> Any:
        return self.made(self.layer(inputs["x"]))


@pytest.mark.parametrize(
    ("encoder", "says"),
    [
        (
            HardSharing(nn.Linear(2, 4), width=6),
            r"`width` of HardSharing\(Linear\) must be the size of its features, got 6",
        ),
        (
            HardSharing(nn.Linear(3, 4), width=4),
            r"that HardSharing\(Linear\) reads, got \{'x': \[8, 2\]\} \(rows first\)",
        ),
        (HardSharing(nn.Conv2d(3, 4, 1), width=4), r"got \{'x': \[8, 2\]\}"),
        (Own(lambda features: features), "must return {task: features} for .'y'., got Tensor"),
        (Own(lambda features: {"z": features}), "must return {task: features} for .'y'., got .'z'."),
        (Own(lambda features: {"y": [features]}), "must return a tensor for each task, or one with its mask, got list"),
        (Own(lambda features: {"y": features[:7]}), "a prediction for each row, got 7 for 8 labels"),
    ],
)
def test_an_encoder_that_does_not_fit_is_named(encoder: Encoder, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        run(Task("y", head=Binary()), encoder)


def test_an_error_of_another_kind_stays_what_it_is() -> None:
    def broken(features: Tensor) -> Any:
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match=r"^the disk is full$"):
        run(Task("y", head=Binary()), Own(broken))
