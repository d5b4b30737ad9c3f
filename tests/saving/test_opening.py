"""A file that is no whole checkpoint is named, with what is wrong and what helps; nothing in it runs."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file

from lightning_mtl import MultiTaskDataModule, MultiTaskModule

from .. import builders, models


class Calls:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Any, *given: Any) -> None:
        self.call = function, given

    def __reduce__(self) -> Any:
        return self.call


def saved(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "model.ckpt"
    trainer = models.quiet()
    trainer.strategy.connect(builders.module())
    trainer.save_checkpoint(path)
    return path.read_bytes()


FILES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "half": (lambda whole: whole[: len(whole) // 2], "is cut short or damaged"),
    "without its end": (lambda whole: whole[:-1], "is cut short or damaged"),
    "a byte of its list is changed": (
        lambda whole: whole.replace(b"PK\x01\x02", b"PK\x01\x03", 1),
        "is cut short or damaged",
    ),
    "empty": (lambda _: b"", "is empty"),
    "a text": (lambda _: b"a,b\n1,2\n", "Name another file"),
    "zeros": (lambda _: bytes(1000), "Name another file"),
    "weights alone": (lambda _: saved({"layer.weight": torch.ones(2)}), "Other weights go into an encoder"),
    "a list": (lambda _: saved([1, 2]), "with list"),
    "Lightning's": (lambda _: saved({"state_dict": {}, "epoch": 0}), "Other weights go into an encoder"),
    "a call": (lambda _: saved({"x": Calls(Path.touch, Path("ran"))}), r"names \w+: opening it could run"),
    "a command": (lambda _: saved(Calls(exec, "open('ran', 'w')")), r"names exec: opening it"),
    "an old pickle": (
        lambda _: saved(Calls(exec, "open('ran', 'w')"), _use_new_zipfile_serialization=False),
        r"exec: opening it could run code",
    ),
    "a bare pickle": (
        lambda _: pickle.dumps(Calls(exec, "open('ran', 'w')"), protocol=2),
        "names exec: opening it",
    ),
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_whole_checkpoint_is_named(
    kind: str, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make, says = FILES[kind]
    path = tmp_path / "my model.ckpt"
    path.write_bytes(make(whole))
    data = MultiTaskDataModule({"s": builders.splits()}, batch_size=30, summary=False)
    for read in (
        lambda: MultiTaskModule.load_from_checkpoint(path),
        lambda: builders.module().warm_start(path),
        lambda: models.quiet().validate(builders.module(), data, ckpt_path=path, verbose=False),
    ):
        with pytest.raises(ValueError, match=says) as error:
            read()
        assert "my model.ckpt" in str(error.value)
        assert "weights_only" not in str(error.value)
        assert error.value.__cause__ is None
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors", b""),
        ("model.safetensors", b"\xff" * 50),
        ("model.safetensors", None),
        ("lightning_mtl.json", b'{"format": 1, "tas'),
        ("lightning_mtl.json", b"\xff\xfe"),
        ("lightning_mtl.json", b"[]"),
        ("lightning_mtl.json", json.dumps({"format": 1, "tasks": [{"name": "size"}]}).encode()),
    ],
)
def test_a_damaged_folder_is_named(file: str, content: bytes | None, tmp_path: Path) -> None:
    builders.module().save_pretrained(tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=f"{tmp_path}.* is cut short, damaged, or of another model"):
        MultiTaskModule.from_pretrained(tmp_path)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    builders.module().save_pretrained(tmp_path)
    save_file({"other": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=f"The folder '{tmp_path}' is cut short, damaged, or of another model"):
        MultiTaskModule.from_pretrained(tmp_path)


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt"):
        MultiTaskModule.load_from_checkpoint(tmp_path / "none.ckpt")
    with pytest.raises(ValueError, match="A checkpoint must be a file here, got the folder"):
        MultiTaskModule.load_from_checkpoint(tmp_path)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_a_checkpoint_of_several_parts_is_named_and_becomes_a_file(tmp_path: Path) -> None:
    """As each process of a sharded run writes a part, here one; the remedy is followed."""
    made, run, data = (
        builders.module(),
        models.quiet(max_steps=1),
        MultiTaskDataModule({"s": builders.splits()}, summary=False),
    )
    run.fit(made, data)
    run.save_checkpoint(tmp_path / "file.ckpt")
    whole = torch.load(tmp_path / "file.ckpt")
    folder = tmp_path / "folder.ckpt"
    parts = {"state_dict": whole.pop("state_dict"), "optimizer_0": whole.pop("optimizer_states")[0]}
    dcp.state_dict_saver.save(parts, checkpoint_id=folder, no_dist=True)
    torch.save(whole, folder / "meta.pt")
    fresh = builders.module()
    for read in (
        lambda: MultiTaskModule.load_from_checkpoint(folder),
        lambda: MultiTaskModule.from_pretrained(folder),
        lambda: fresh.warm_start(folder),
        lambda: models.quiet().fit(fresh, data, ckpt_path=folder),
        lambda: models.quiet().test(fresh, data, ckpt_path=folder),
    ):
        with pytest.raises(ValueError, match="each process of a sharded run wrote a part") as caught:
            read()
    tool = str(caught.value).split("python -m ")[1].split(" (of")[0]
    subprocess.run([sys.executable, "-m", *tool.split()], check=True)
    loaded = MultiTaskModule.load_from_checkpoint(f"{folder}.consolidated").state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in made.state_dict().items())
