"""Import paths of version 0.1 go on working for one release, with a warning."""

from __future__ import annotations

import importlib
import sys

import pytest

import lightning_mtl
from lightning_mtl._former_paths import NEW_PATHS


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("_recipe_cli", "finish"),
        ("module", "MultiTaskModule"),
        ("datamodule", "MultiTaskDataModule"),
        ("source", "Source"),
        ("splitting", "split"),
        ("fine_tuning", "FineTuning"),
        ("episodes", "EpisodeDataModule"),
        ("few_shot", "FewShotComparison"),
        ("few_shot_cli", "FewShotCLI"),
    ],
)
def test_a_former_path_gives_the_same_object(path: str, name: str) -> None:
    sys.modules.pop(f"lightning_mtl.{path}", None)
    with pytest.warns(
        FutureWarning, match=rf"lightning_mtl.{path} is now lightning_mtl.{NEW_PATHS[path]}, .* Import from there"
    ):
        old = getattr(importlib.import_module(f"lightning_mtl.{path}"), name)
    assert old is getattr(importlib.import_module(f"lightning_mtl.{NEW_PATHS[path]}"), name)
    assert old is getattr(lightning_mtl, name, old)


def test_other_paths_are_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("lightning_mtl.modul")
