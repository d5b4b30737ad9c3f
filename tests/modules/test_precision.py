"""A module answers rows in whatever precision its parameters are, and says which input is no finite number."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch

from lightning_mtl import MultiTaskModule, Task
from lightning_mtl.inputs import refuse_not_finite
from tests.models import Row, quiet, trained


@pytest.fixture(scope="module")
def models() -> dict[str, tuple[MultiTaskModule, Any, list[Row]]]:
    return {kind: trained(kind) for kind in ("table", "own columns")}


def _numbers(module: MultiTaskModule, rows: list[Row]) -> dict[str, torch.Tensor]:
    return {name: of.detach().double() for name, of in module.export()(module.inputs["s"](rows)).items()}


@pytest.mark.parametrize("precision", ["double", "bfloat16", "half"])
@pytest.mark.parametrize("kind", ["table", "own columns"])
def test_a_module_of_another_precision_answers_rows(kind: str, precision: str, models: Any) -> None:
    module, trainer, rows = models[kind]
    other = getattr(copy.deepcopy(module), precision)()
    expected, found = _numbers(module, rows), _numbers(other, rows)
    for name, values in expected.items():
        assert (found[name] - values).abs().max() < 0.05 * max(1.0, float(values.abs().max()))
    probabilities = next(of["probabilities"] for of in other.predict(rows)[0].values() if "probabilities" in of)
    assert sum(probabilities.values()) == pytest.approx(1, abs=1e-6)
    other.tune_thresholds(trainer.datamodule.train_dataloader())
    few = [{**row, "new": "ab"[i % 2]} for i, row in enumerate(rows[:6])]
    assert other.adapt(Task("new"), few, steps=2).predict(rows[0])["new"]["label"] in "ab"


def test_a_trainer_goes_on_in_the_precision_that_another_left(models: Any) -> None:
    module, trainer, _ = models["table"]
    wide = copy.deepcopy(module).double().train()
    quiet().fit(wide, trainer.datamodule)
    assert {parameter.dtype for parameter in wide.parameters()} == {torch.float64}
    assert wide.routing.precision is None, "what is true of a run must not outlive it"


# Inputs that are no finite numbers


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (math.nan, "row 2, column 'x' is NaN"),
        (math.inf, "row 2, column 'x' is inf"),
        (-math.inf, "row 2, column 'x' is -inf"),
        (1e39, "row 2, column 'x' is inf, or beyond what float32 can hold"),
    ],
)
def test_an_input_that_is_no_finite_number_is_named(value: float, says: str, models: Any) -> None:
    module, _, rows = models["own columns"]
    broken = [*rows[:2], {"x": [*rows[2]["x"][:3], value]}, *rows[3:]]
    for call in (module.predict, module.inputs["s"]):
        with pytest.raises(ValueError, match=says):
            call(broken)
    few = [{**row, "new": "ab"[i % 2]} for i, row in enumerate(broken)]
    with pytest.raises(ValueError, match=f"in the support, {says}"):
        module.adapt(Task("new"), few)
    batch = {"x": torch.tensor([row["x"] for row in broken]), "sign": torch.ones(len(rows)), "size": torch.ones(9)}
    with pytest.raises(ValueError, match=f"in a batch of source 's', {says}"):
        module.tune_thresholds([{"s": batch}])


def test_a_mask_that_is_added_to_scores_is_no_error() -> None:
    refuse_not_finite({"mask": torch.tensor([[0.0, -math.inf]]), "texts": ["a"]}, "row", range(1))
