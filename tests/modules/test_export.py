"""Exported models give the same numbers as the model, for any number of rows and positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_mtl import MultiTaskModule
from tests.models import KINDS, Row, close, trained

TRACED = ["text", "table", "image", "own columns", pytest.param("minilm", marks=pytest.mark.slow)]
Models = dict[str, tuple[MultiTaskModule, Any, list[Row]]]


@pytest.fixture(scope="module")
def models() -> Models:
    return {kind: trained(kind) for kind in KINDS}


def read(module: MultiTaskModule, rows: list[Row]) -> dict[str, Tensor]:
    """Make the columns that an exported model takes."""
    inputs = module.inputs["s"]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    made = inputs.collate(inputs.prepare(columns, range(len(rows))))
    return {
        name: column for name, column in made.items() if name not in module.hidden_columns(range(len(module.tasks)))
    }


def example(kind: str) -> dict[str, Tensor] | None:
    return {"x": torch.zeros(2, 4)} if kind == "own columns" else None


def numbers(module: MultiTaskModule, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Compute probabilities and values without any of the export."""
    with torch.inference_mode():
        raw = module({"s": batch})
        return {task.name: task.known_head().predict(raw[task.name]) for task in module.tasks}


def batches(rows: list[Row]) -> list[list[Row]]:
    """Cut rows into batches of one, of several, and of all."""
    return [rows[:1], rows[3:4], rows[2:7], rows]


@pytest.mark.parametrize("kind", KINDS)
def test_a_module_gives_the_same(kind: str, models: Models) -> None:
    module, _, rows = models[kind]
    exported = module.export()
    for part in batches(rows):
        batch = read(module, part)
        assert_close(exported(batch), numbers(module, batch))
        with_targets = {**batch, **{name: torch.zeros(len(part)) for name in KINDS[kind].targets}}
        assert_close(exported(with_targets), exported(batch))


@pytest.mark.parametrize("kind", KINDS)
def test_all_tasks_come_in_one_pass(kind: str, models: Models) -> None:
    module, _, rows = models[kind]
    exported, calls = module.export(), []
    exported.encoder.register_forward_hook(lambda *_: calls.append(1))
    assert set(exported(read(module, rows))) == set(KINDS[kind].targets)
    assert len(calls) == 1


def test_an_exported_module_stands_alone(models: Models, tmp_path: Path) -> None:
    module, _, rows = models["text"]
    exported, batch = module.export(["stars"]), read(module, rows)
    before = exported(batch)
    assert set(before) == {"stars"}
    assert not {id(p) for p in exported.parameters()} & {id(p) for p in module.parameters()}
    torch.save(exported.state_dict(), tmp_path / "weights.pt")
    again = module.export(["stars"])
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert_close(again(batch), before)


@pytest.mark.parametrize("kind", TRACED)
def test_a_program_gives_the_same_when_loaded(kind: str, models: Models, tmp_path: Path) -> None:
    module, _, rows = models[kind]
    program = module.export(format="torch", example=example(kind))
    torch.export.save(program, tmp_path / "a.pt2")
    loaded = torch.export.load(tmp_path / "a.pt2").module()
    for part in batches(rows):
        batch = read(module, part)
        assert_close(loaded(batch), numbers(module, batch), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", TRACED)
@pytest.mark.filterwarnings("ignore")  # what onnxscript and torch say about themselves
def test_onnx_gives_the_same(kind: str, models: Models, tmp_path: Path) -> None:
    """Read by onnxruntime, with other numbers of rows and positions than it was traced with."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    module, _, rows = models[kind]
    module.export(format="onnx", example=example(kind)).save(tmp_path / "a.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == list(KINDS[kind].targets)
    for part in batches(rows):
        batch = read(module, part)
        made = session.run(None, {name: batch[name].numpy() for name in (of.name for of in session.get_inputs())})
        ours = numbers(module, batch)
        for name, values in zip(KINDS[kind].targets, made, strict=True):
            assert_close(torch.from_numpy(values), ours[name], rtol=1e-4, atol=1e-5)


def test_numbers_of_an_export_are_those_of_answers(models: Models) -> None:
    module, _, rows = models["table"]
    made = module.export()(read(module, rows))
    answers = module.predict(rows)
    assert close(made["sum"].tolist(), [answer["sum"]["value"] for answer in answers])
    assert close(made["buys"].tolist(), [answer["buys"]["probabilities"][True] for answer in answers])


def test_what_cannot_be_exported_says_so(models: Models) -> None:
    with pytest.raises(ValueError, match=r"needs an encoder that `torch.export` can trace, got .*use format='module'"):
        models["recurrent"][0].export(format="torch")
    with pytest.raises(ValueError, match=r"`example` must be given to trace tasks of the sources \['s'\], got none"):
        models["own columns"][0].export(format="torch")
    with pytest.raises(ValueError, match=r"`tasks` must be a list of names out of .*, got \['no'\]"):
        models["text"][0].export(["no"])
