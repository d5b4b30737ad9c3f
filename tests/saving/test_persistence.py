"""What is saved predicts the same elsewhere, with nothing else at hand; what cannot be is refused by name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torchmetrics.regression import MeanAbsoluteError
from transformers import AutoModel, AutoTokenizer

from lightning_mtl import (
    BagOfWords,
    Binary,
    HardSharing,
    Multiclass,
    MultiTaskDataModule,
    MultiTaskModule,
    Regression,
    Source,
    Tabular,
    Task,
)
from tests import ROOT
from tests.models import (
    KINDS,
    Pixels,
    Row,
    close,
    head,
    image_rows,
    inputs,
    learned,
    own_rows,
    quiet,
    table_rows,
    text_rows,
    trained,
)

CHECKPOINTS = ROOT / "tests/checkpoints"
ELSEWHERE = """
import json, sys, torch
from pathlib import Path
from lightning_mtl import MultiTaskModule
torch.set_num_threads(1)
folder = Path(sys.argv[1])
answers = {}
for path in sorted(folder.iterdir()):
    rows = json.loads((path / "rows.json").read_text())
    loaded = MultiTaskModule.load_from_checkpoint(path / "a.ckpt")
    shared = MultiTaskModule.from_pretrained(path / "shared")
    answers[path.name] = [loaded.predict(rows), shared.predict(rows)]
print("ANSWERS" + repr(answers))
"""
SAVED = [kind for kind in KINDS if kind != "minilm"]  # large, and its like is there: "bert words"
Save = Callable[[Any, Path], Any]


def checkpoint(of: tuple[MultiTaskModule, L.Trainer, list[Row]], path: Path) -> MultiTaskModule:
    of[1].save_checkpoint(path / "a.ckpt")
    return MultiTaskModule.load_from_checkpoint(path / "a.ckpt")


def folder(of: tuple[MultiTaskModule, L.Trainer, list[Row]], path: Path) -> MultiTaskModule:
    of[0].save_pretrained(path / "a")
    return MultiTaskModule.from_pretrained(path / "a")


@pytest.fixture(scope="module")
def models() -> dict[str, tuple[MultiTaskModule, L.Trainer, list[Row]]]:
    return {kind: trained(kind) for kind in SAVED}


@pytest.mark.parametrize("save", [checkpoint, folder])
@pytest.mark.parametrize("kind", SAVED)
def test_what_is_loaded_predicts_the_same(kind: str, save: Save, models: Any, tmp_path: Path) -> None:
    module, _, rows = models[kind]
    loaded = save(models[kind], tmp_path)
    assert close(loaded.predict(rows), module.predict(rows), 1e-6)
    assert {name: value.tolist() for name, value in loaded.state_dict().items()} == {
        name: value.tolist() for name, value in module.state_dict().items()
    }


@pytest.mark.parametrize("kind", ["text", "table", "words"])
def test_what_is_loaded_can_be_saved_again(kind: str, models: Any, tmp_path: Path) -> None:
    module, _, rows = models[kind]
    first = folder(models[kind], tmp_path / "1")
    second = folder((first, models[kind][1], rows), tmp_path / "2")
    assert close(second.predict(rows), module.predict(rows), 1e-6)
    described = [json.loads((tmp_path / n / "a" / "lightning_mtl.json").read_text()) for n in ("1", "2")]
    assert described[0] == described[1]


def test_another_process_needs_neither_data_nor_code(models: Any, tmp_path: Path) -> None:
    """One subprocess, elsewhere: a path, new rows, and the same answers."""
    for kind, (module, trainer, rows) in models.items():
        path = tmp_path / "saved" / kind
        path.mkdir(parents=True)
        trainer.save_checkpoint(path / "a.ckpt")
        module.save_pretrained(path / "shared")
        (path / "rows.json").write_text(json.dumps(rows))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ELSEWHERE, str(tmp_path / "saved")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers = eval(done.stdout.split("ANSWERS")[-1])
    for kind, (module, _, rows) in models.items():
        for read in answers[kind]:
            assert close(read, module.predict(rows)), kind


@pytest.mark.parametrize("kind", SAVED)
def test_no_checkpoint_holds_code(kind: str, models: Any, tmp_path: Path) -> None:
    models[kind][1].save_checkpoint(tmp_path / "a.ckpt")
    loaded = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert loaded["lightning_mtl"]["format"] == 1
    assert json.loads(json.dumps(loaded["lightning_mtl"])) == loaded["lightning_mtl"], "plain data"


def test_checkpoints_of_the_callback_are_plain_data(tmp_path: Path) -> None:
    keep = ModelCheckpoint(tmp_path, save_last=True, save_top_k=2, monitor="train/loss")
    module, _, rows = trained("table", tmp_path, enable_checkpointing=True, callbacks=[keep], max_epochs=3)
    paths = list(tmp_path.glob("*.ckpt"))
    assert len(paths) == 3
    for path in paths:
        assert "state_dict" in torch.load(path, weights_only=True)
        MultiTaskModule.load_from_checkpoint(path).predict(rows)
    loaded = MultiTaskModule.load_from_checkpoint(tmp_path / "last.ckpt")
    assert close(loaded.predict(rows), module.predict(rows), 1e-6)


def test_a_folder_of_a_pretrained_model_is_one_of_transformers(models: Any, tmp_path: Path) -> None:
    module, _, rows = models["bert words"]
    module.save_pretrained(tmp_path)
    model = AutoModel.from_pretrained(tmp_path, add_pooling_layer=False).eval()
    tokens = AutoTokenizer.from_pretrained(tmp_path)(
        [" ".join(row["words"]) for row in rows], padding=True, truncation=True, return_tensors="pt"
    )
    with torch.inference_mode():
        ours, mask = module.encoder.trunk(**tokens)
        theirs = model(**tokens).last_hidden_state
    torch.testing.assert_close(ours * mask[..., None], theirs * mask[..., None], rtol=1e-5, atol=1e-5)
    assert "lightning-mtl" in (tmp_path / "README.md").read_text()


# Formats


def test_a_checkpoint_of_format_0_opens() -> None:
    """It holds weights only: tasks and encoder are given, as they were."""
    path = CHECKPOINTS / "format0.ckpt"
    with pytest.raises(
        ValueError, match=r"`tasks` and `encoder` must be given for .*format0\.ckpt, which does not desc"
    ):
        MultiTaskModule.load_from_checkpoint(path)
    tasks = [Task("mood", head=Binary()), Task("stars", head=Regression())]
    encoder = HardSharing(BagOfWords(width=4, buckets=50))
    loaded = MultiTaskModule.load_from_checkpoint(path, tasks=tasks, encoder=encoder).eval()
    made = loaded({"texts": {"input_ids": torch.tensor([[45, 0, 0, 0, 0], [8, 44, 3, 46, 35]])}})
    assert made["mood"].tolist() == pytest.approx([-0.11950486898, -0.49630898237], abs=1e-6)
    assert made["stars"].tolist() == pytest.approx([-0.20763431489, -0.10930469632], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "rows", "happy", "stars"),
    [
        ("text", ["good", "a dull film"], [0.52651852369, 0.62163686752], [1.25871646404, 1.37481629848]),
        ("recurrent", ["good", "a dull film"], [0.52652323246, 0.58072543144], [1.10543692111, 1.19736194610]),
        (
            "table",
            [{"age": 22, "city": "Rome"}, {"age": 31, "city": None}],
            [0.62696141004, 0.60314416885],
            [1.23714971542, 1.21760821342],
        ),
    ],
)
def test_a_checkpoint_of_format_1_opens(name: str, rows: list[Any], happy: list[float], stars: list[float]) -> None:
    loaded = MultiTaskModule.load_from_checkpoint(CHECKPOINTS / f"format1_{name}.ckpt")
    answers = loaded.predict(rows)
    assert [answer["mood"]["probabilities"]["happy"] for answer in answers] == pytest.approx(happy, abs=1e-6)
    assert [answer["stars"]["value"] for answer in answers] == pytest.approx(stars, abs=1e-5)


def test_a_later_format_is_refused(models: Any, tmp_path: Path) -> None:
    module, trainer, _ = models["table"]
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    later = torch.load(tmp_path / "a.ckpt", weights_only=True)
    later["lightning_mtl"]["format"] = 2
    torch.save(later, tmp_path / "later.ckpt")
    says = r"The format of .* must be 1 at most, got 2\. Install a later lightning-mtl"
    with pytest.raises(ValueError, match=says):
        MultiTaskModule.load_from_checkpoint(tmp_path / "later.ckpt")
    with pytest.raises(ValueError, match=says):
        module.warm_start(tmp_path / "later.ckpt")
    module.save_pretrained(tmp_path / "b")
    file = tmp_path / "b" / "lightning_mtl.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 2}))
    with pytest.raises(ValueError, match=says):
        MultiTaskModule.from_pretrained(tmp_path / "b")
    with pytest.raises(ValueError, match=says):
        module.warm_start(tmp_path / "b")


class Other(L.LightningModule):
    """A module that is none of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        made: Tensor = self.layer(batch[0]).sum()
        return made

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_checkpoint_of_another_library_is_refused(tmp_path: Path) -> None:
    trainer = quiet(tmp_path)
    trainer.fit(Other(), torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(4, 2))))
    trainer.save_checkpoint(tmp_path / "other.ckpt")
    torch.save(Other().state_dict(), tmp_path / "weights.pt")
    for name in ("other.ckpt", "weights.pt"):
        with pytest.raises(
            ValueError, match=r"`checkpoint_path` must be a checkpoint of lightning-mtl, got .* with keys"
        ):
            MultiTaskModule.load_from_checkpoint(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"`folder` must be one that `save_pretrained` wrote"):
        MultiTaskModule.from_pretrained(tmp_path / "empty")


# Classes of the user's own


class Halved(nn.Module):
    """A loss of the user's own, with a weight that moves along."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        return self.scale * (prediction - target).square().mean()


class Own(Regression):
    """A head of the user's own."""


class DistanceError(MeanAbsoluteError):
    """A metric of the user's own."""


def absolute(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - target).abs().mean()


def fitted(tasks: list[Task], encoder: Any, rows: list[Row], path: Path, **source: Any) -> MultiTaskModule:
    module = MultiTaskModule(tasks, encoder)
    trainer = quiet(path)
    trainer.fit(module, MultiTaskDataModule({"s": Source(rows, **source)}, batch_size=6, summary=False))
    trainer.save_checkpoint(path / "a.ckpt")
    return module.eval()


def test_a_trunk_of_the_users_own_is_asked_for(tmp_path: Path) -> None:
    module = fitted([Task("kind"), Task("weight")], HardSharing(Pixels(), 6), image_rows(), tmp_path, image="pixels")
    rows = inputs(image_rows(3, seed=1), ("kind", "weight"))
    says = r"a\.ckpt holds no classes of your own, and the model has encoder.*Pixels.*encoder=HardSharing\(MyTrunk"
    with pytest.raises(ValueError, match=says):
        MultiTaskModule.load_from_checkpoint(tmp_path / "a.ckpt")
    loaded = MultiTaskModule.load_from_checkpoint(tmp_path / "a.ckpt", encoder=HardSharing(Pixels(), 6))
    assert close(loaded.predict(rows), module.predict(rows), 1e-6)
    module.save_pretrained(tmp_path / "b")
    with pytest.raises(ValueError, match=says.replace(r"a\.ckpt", "b")):
        MultiTaskModule.from_pretrained(tmp_path / "b")
    shared = MultiTaskModule.from_pretrained(tmp_path / "b", encoder=HardSharing(Pixels(), 6))
    assert close(shared.predict(rows), module.predict(rows), 1e-6)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"loss": Halved()}, "Halved"),
        ({"loss": absolute}, "absolute"),
        ({"head": Own()}, "Own"),
        ({"metrics": {"far": DistanceError()}}, "DistanceError"),
    ],
)
def test_what_a_task_has_of_the_users_own_is_asked_for(options: Any, named: str, tmp_path: Path) -> None:
    tasks = [Task("sum", **options), Task("buys")]
    module = fitted(tasks, HardSharing(Tabular(4)), table_rows(), tmp_path, features=["age", "city"])
    rows = inputs(table_rows(3, seed=1), ("buys", "sum"))
    says = rf"task 'sum'.*{named}.*load_from_checkpoint\(path, tasks=\[Task\('sum'"
    with pytest.raises(ValueError, match=says):
        MultiTaskModule.load_from_checkpoint(tmp_path / "a.ckpt")
    loaded = MultiTaskModule.load_from_checkpoint(tmp_path / "a.ckpt", tasks=[Task("sum", **options)])
    assert close(loaded.predict(rows), module.predict(rows), 1e-6)
    assert [task.name for task in loaded.tasks] == ["sum", "buys"]
    with pytest.raises(ValueError, match=r"`tasks` must be tasks of .*, got \['some'\]"):
        MultiTaskModule.load_from_checkpoint(tmp_path / "a.ckpt", tasks=[Task("some", **options)])


def test_a_transform_of_the_users_own_is_asked_for_when_it_is_needed(tmp_path: Path) -> None:
    def double(columns: dict[str, list[Any]]) -> dict[str, Tensor]:
        return {"x": 2 * torch.tensor(columns["x"])}

    encoder = HardSharing(nn.Sequential(nn.Linear(4, 6)), 6)
    module = fitted([Task("sign"), Task("size")], encoder, own_rows(), tmp_path, transform=double)
    rows = inputs(own_rows(3, seed=1), ("sign", "size"))
    loaded = MultiTaskModule.load_from_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(
        ValueError, match=r"trained with .*double, a function of your own.*transform=\.\.\.\)\.inputs\("
    ):
        loaded.predict(rows)
    loaded.inputs["s"] = Source(rows, transform=double).inputs(None, [])
    assert close(loaded.predict(rows), module.predict(rows), 1e-6)


# Going on


def test_training_goes_on_with_the_scale_of_the_first_data(models: Any, tmp_path: Path) -> None:
    loaded = checkpoint(models["table"], tmp_path)
    before = learned(loaded), head(loaded, "sum").learned()
    other = [{**row, "age": row["age"] + 100, "sum": row["sum"] * 9} for row in table_rows()]
    quiet().fit(loaded, MultiTaskDataModule({"s": Source(other, features=["age", "pay", "city"])}, summary=False))
    assert (learned(loaded), head(loaded, "sum").learned()) == before


def test_thresholds_are_kept(tmp_path: Path) -> None:
    rows = [{**row, "good": row["mood"] == "happy"} for row in text_rows()]
    module = MultiTaskModule([Task("good"), Task("about")], KINDS["text"].encoder())
    rest = [{**row, "text": f"{row['text']}!"} for row in rows]
    splits = {"train": rows, "validation": rest, "test": rest}
    data = MultiTaskDataModule({"s": Source(splits, text="text")}, summary=False)
    trainer = quiet(tmp_path)
    trainer.fit(module, data)
    before = trainer.test(module, data, verbose=False)[0]
    tuned = module.tune_thresholds(data.val_dataloader())
    assert tuned["good"] != 0.5
    after = trainer.test(module, data, verbose=False)[0]
    answers = module.eval().predict(rest)
    truth = torch.tensor([row["good"] for row in rest])
    said = torch.tensor([answer["good"]["label"] for answer in answers])
    f1 = (2 * (said & truth).sum() / (said.sum() + truth.sum())).item()
    assert after["test/good/f1"] == pytest.approx(f1)
    assert after["test/good/f1"] > before["test/good/f1"]
    for save in (checkpoint, folder):
        loaded = save((module, trainer, rows), tmp_path)
        assert {name: head(loaded, name).learned()["threshold"] for name in tuned} == tuned
        assert close(loaded.predict(rest), answers, 1e-6)
        assert quiet().test(loaded, data, verbose=False)[0]["test/good/f1"] == pytest.approx(f1)


@pytest.mark.parametrize("freeze", [True, False])
def test_a_task_is_added(freeze: bool, tmp_path: Path) -> None:
    module = MultiTaskModule([Task("mood"), Task("stars")], KINDS["text"].encoder())
    quiet().fit(module, MultiTaskDataModule({"s": Source(text_rows(), text="text")}, batch_size=6, summary=False))
    rows = inputs(text_rows(5, seed=1), KINDS["text"].targets)
    before = module.eval().predict(rows)
    module.train().add_task(Task("long", "more" if freeze else "s"), freeze=freeze)
    more = [{**row, "long": len(row["text"]) > 30} for row in text_rows()]
    data = MultiTaskDataModule({"more" if freeze else "s": Source(more, text="text")}, batch_size=6, summary=False)
    trainer = quiet(tmp_path)
    trainer.fit(module, data)
    after = module.eval().predict(rows)
    assert set(after[0]) == {"mood", "stars", "long"}
    old = [{name: answer[name] for name in ("mood", "stars")} for answer in after]
    assert close(old, before, 1e-6) is freeze
    loaded = checkpoint((module, trainer, rows), tmp_path)
    assert close(loaded.predict(rows), after, 1e-6)
    with pytest.raises(ValueError, match=r"`tasks` must have different names, got \['long'\]"):
        module.add_task(Task("long"))


@pytest.mark.parametrize("save", ["checkpoint", "folder"])
def test_a_warm_start_takes_what_fits_and_says_so(
    save: str, models: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module, trainer, rows = models["text"]
    trainer.save_checkpoint(tmp_path / "checkpoint")
    module.save_pretrained(tmp_path / "folder")
    tasks = [Task("mood"), Task("stars", head=Multiclass(3)), Task("fresh", head=Binary())]
    new = MultiTaskModule(tasks, HardSharing(BagOfWords(8, tokenizer=module.encoder.tokenizer)))
    found = new.warm_start(tmp_path / save)
    assert found == {
        "taken": ["encoder", "heads.mood"],
        "new": ["heads.fresh", "heads.stars"],
        "left": ["heads.about", "heads.stars"],
    }
    assert f"Warm start from {tmp_path / save}: taken: encoder, heads.mood; new: heads.fresh" in capsys.readouterr().out
    assert close(
        [answer["mood"] for answer in new.eval().predict(rows, ["mood"])],
        [answer["mood"] for answer in module.predict(rows)],
        1e-6,
    )


def test_a_warm_start_from_what_does_not_fit_is_refused(models: Any, tmp_path: Path) -> None:
    models["table"][1].save_checkpoint(tmp_path / "a.ckpt")
    new = MultiTaskModule([Task("other", head=Binary())], HardSharing(Tabular(5)))
    with pytest.raises(ValueError, match=r"`path` must hold weights that fit this model, got .*Use the same encoder"):
        new.warm_start(tmp_path / "a.ckpt")


class OwnInit(MultiTaskModule):
    def __init__(self, tasks: Any, encoder: Any, **options: Any) -> None:
        super().__init__(tasks, encoder, **options)


def test_a_folder_rebuilds_a_subclass_with_an_init_of_its_own(tmp_path: Path) -> None:
    saved = OwnInit([Task("y", head=Binary())], HardSharing(nn.Linear(3, 4), width=4))
    saved.save_pretrained(tmp_path)
    loaded = OwnInit.from_pretrained(tmp_path)
    assert type(loaded) is OwnInit
    assert all(torch.equal(p, q) for p, q in zip(saved.parameters(), loaded.parameters(), strict=True))
