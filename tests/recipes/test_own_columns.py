"""Columns of a user's own files: what a recipe says of doubtful cells can be followed on its command line."""

from __future__ import annotations

import csv
import importlib
import random
import re
import sys
from pathlib import Path

import datasets
import pytest

from lightning_mtl.recipes.data import with_values

RECIPES = {
    "text": ["--data.path=my.csv", "--targets=domain,valence"],
    "sentiment_topic": ["--data.path=my.csv"],
    "domain_sentiment": ["--data.path=my.csv"],
    "table": ["--data.path=my.csv", "--targets=topic,valence"],
}


@pytest.fixture(autouse=True)
def _file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a file in which a comma may stand before decimals or between thousands."""
    draw = random.Random(0)
    numbers = [f"{draw.randint(1, 9)},{draw.randint(100, 999)}" for _ in range(120)]
    words = [" ".join(draw.choices(["good", "bad", "fine", "dull", "warm", "cold"], k=4)) for _ in numbers]
    rows = [
        {"text": text, "domain": "ab"[i % 2], "topic": "xy"[i % 2], "sentiment": "pq"[i % 2], "valence": number}
        for i, (text, number) in enumerate(zip(words, numbers, strict=True))
    ]
    with (tmp_path / "my.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "disagreement"])
        writer.writeheader()
        writer.writerows({**row, "disagreement": row["valence"]} for row in rows)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["recipe"])


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.filterwarnings("ignore:Fewer than two labelled")
def test_what_settles_a_doubtful_column_is_an_option(recipe: str, capfd: pytest.CaptureFixture[str]) -> None:
    main = importlib.import_module(f"lightning_mtl.recipes.{recipe}").main
    quick = [*RECIPES[recipe], "--seeds=1", "--trainer.fast_dev_run=1", "--trainer.enable_progress_bar=false"]
    with pytest.raises(SystemExit, match="2"):
        main(quick)
    (way,) = re.findall(r"Give (--data\.cells\.decimal)=',' if it is", capfd.readouterr().err)
    assert main([*quick, f"{way}=,"]).tasks


@pytest.mark.parametrize("recipe", ["sentiment_topic", "domain_sentiment"])
def test_a_missing_column_is_named(recipe: str, capfd: pytest.CaptureFixture[str]) -> None:
    Path("my.csv").write_text("text,label\ngood,1\nbad,2\n")
    with pytest.raises(SystemExit, match="2"):
        importlib.import_module(f"lightning_mtl.recipes.{recipe}").main(RECIPES[recipe])
    assert re.search(r"`--data.path` must have the columns .* Rename or add: \w+", capfd.readouterr().err)


def test_rows_without_a_value_are_counted_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    rows = datasets.Dataset.from_dict({"text": ["a", None, "b"]})
    assert with_values(rows, "text")["text"][:] == ["a", "b"]
    assert capsys.readouterr().out == "1 of 3 rows have no 'text': they are left out.\n"
