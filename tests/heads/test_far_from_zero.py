"""Numbers whose mean is large beside their spread: what is learned, answered and told of them is true."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close
from torchmetrics import MeanAbsoluteError, R2Score
from torchmetrics.regression import MeanAbsolutePercentageError

from lightning_mtl import HardSharing, MultiTaskModule, Regression, Task
from lightning_mtl.task import TaskMetrics
from tests.cases import over

MEANS = [0.0, -311_030.0, 1.7e9, 1.7e13]


def labels_of(mean: float, outputs: int = 1, seed: int = 0) -> Tensor:
    shape = (200,) if outputs == 1 else (200, outputs)
    return mean + 30 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def fitted(values: Tensor, outputs: int = 1) -> Regression:
    head = Regression(outputs, scaled=True)
    head.build(3)
    head.fit(values)
    return head


@over("mean", MEANS)
def test_labels_and_answers_keep_their_digits(mean: float) -> None:
    for outputs in (1, 3):
        values = labels_of(mean, outputs)
        head = fitted(values, outputs)
        coded = head.code(values).float()
        assert_close(coded.double().mean(), torch.tensor(0.0).double(), atol=1e-4, rtol=0)
        assert_close(head.decode(coded), values, atol=1e-3, rtol=0)
        answers = head.answers(head.predict(coded))
        told = torch.tensor([next(iter(answer.values())) for answer in answers], dtype=torch.float64)
        assert_close(told, values, atol=1e-2, rtol=0)


@over("mean", MEANS)
def test_metrics_are_those_of_the_numbers_themselves(mean: float) -> None:
    values = labels_of(mean)
    head = fitted(values)
    task = Task(
        "t", head=head, metrics={"r2": R2Score(), "mae": MeanAbsoluteError(), "mape": MeanAbsolutePercentageError()}
    )
    prediction = head.code(values).float() + 0.5 * torch.randn(200)
    metrics = TaskMetrics([task])
    metrics.set_dtype(torch.float64)
    for rows in (slice(None, 120), slice(120, None)):
        coded = head.code(values[rows]).float()
        metrics.update("validate", 0, head.predict(prediction[rows]), head.decode(coded), None, head.offset)
    errors = (prediction.double() - head.code(values)) * values.std(correction=0)
    held: Any = metrics.on_validate
    found = {name: metric.compute() for name, metric in held[0].items()}
    assert_close(found["r2"], 1 - errors.square().sum() / (values - values.mean()).square().sum(), atol=1e-5, rtol=0)
    assert_close(found["mae"], errors.abs().mean(), atol=1e-3, rtol=0)
    if mean:
        assert_close(found["mape"], (errors / values).abs().mean(), atol=1e-9, rtol=1e-3)


class Huber(Regression):
    """Scales labels itself, as a head of a user's may."""

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.huber_loss(prediction, self.scale_target(target))


class Powers(Regression):
    """Has a scale of its own."""

    def scale_target(self, target: Tensor) -> Tensor:
        return target.log()


@pytest.mark.parametrize("mean", [50.0, 1.7e9])
def test_heads_and_losses_of_a_user_get_what_they_got(mean: float) -> None:
    values = labels_of(mean)
    scaled = (values - values.mean()) / values.std(correction=0)
    seen: list[Tensor] = []

    def own(prediction: Tensor, target: Tensor) -> Tensor:
        seen.append(target)
        return F.l1_loss(prediction, target)

    heads: list[tuple[Any, Any]] = [(Huber(scaled=True), None), (Regression(scaled=True), own)]
    for head, loss in heads:
        head.fit(values)
        module = MultiTaskModule([Task("y", head=head, loss=loss)], HardSharing(torch.nn.Linear(2, 3), width=3))
        batch = {"s": {"x": torch.randn(200, 2), "y": values.tolist()}}
        (result,) = module.run(batch).results
        expected = (
            F.huber_loss(result.prediction, scaled.float())
            if loss is None
            else F.l1_loss(result.prediction, scaled.float())
        )
        assert_close(result.loss, expected, atol=1e-4, rtol=1e-3)
        result.loss.backward()  # type: ignore[no-untyped-call]
    assert_close(seen[0], scaled.float(), atol=1e-4, rtol=0)
    head = Powers(scaled=True)
    head.fit(values)
    assert head.code(values) is values


def test_a_head_goes_on_in_another_precision_and_place() -> None:
    values = labels_of(1.7e9)
    head = fitted(values)
    for move in (torch.nn.Module.half, torch.nn.Module.double, torch.nn.Module.float):
        move(head)
        assert head.mean is not None
        assert head.mean.dtype is torch.float64
        assert float(head.mean) == pytest.approx(float(values.mean()), abs=1e-6)


@pytest.mark.parametrize(
    ("head", "values", "says"),
    [
        (Regression(), labels_of(1.7e9), "float32 can hold.*Use Regression\\(scaled=True\\)"),
        (Regression(scaled=True), labels_of(1.7e18), "float64 can hold.*Subtract a fixed number"),
        (Regression(scaled=True), torch.full((9,), 2.0**60, dtype=torch.float64), "float64 can hold"),
        (Regression(scaled=True), torch.full((9,), 5.0), "labels that differ"),
    ],
)
def test_labels_that_rounding_spoils_are_refused(head: Regression, values: Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        head.fit(values)


@over("mean", [0.0, 5.0, 311_030.0])
def test_labels_that_float32_holds_need_no_scale(mean: float) -> None:
    Regression().fit(labels_of(mean))
    Regression().fit(torch.full((4,), mean))
