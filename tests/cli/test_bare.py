"""From a wheel without extras, recipes reach their tables with the user's own file, or say before training what to install."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

BARE = ROOT / "tests/cli/bare.py"
QUICK = "--trainer.max_epochs=1 --trainer.accelerator=cpu --trainer.enable_progress_bar=false --seeds=1"


def files(folder: Path) -> None:
    """Write a file of the user's own for each recipe that reads one."""
    draw = random.Random(0)
    rows = [[f"{draw.gauss(0, 1):.3f}", "fm"[i % 2], ["yes", "no"][i % 2], str(i % 7)] for i in range(80)]
    (folder / "rows.csv").write_text("\n".join(map(",".join, [["age", "sex", "a", "b"], *rows])) + "\n")
    words = [" ".join(draw.choices(["fine", "dull", "long", "witty"], k=5)) + f" {i}" for i in range(160)]
    labels = [f"{word},{['up', 'down'][i % 2]},{['art', 'law'][i // 2 % 2]},{i % 5}.5" for i, word in enumerate(words)]
    for name, header in {
        "texts": "text,sentiment,topic,disagreement",
        "domains": "text,mood,domain,valence",
    }.items():
        (folder / f"{name}.csv").write_text("\n".join([header, *labels]) + "\n")
    lines = [f"{word} {'NOUN' if i % 2 else 'VERB'} {['A', 'B'][i % 2]}" for i, word in enumerate("abcdefgh")]
    sentences = ["\n".join([*draw.sample(lines, 5), f"w{i} NOUN A"]) for i in range(60)]
    (folder / "words.txt").write_text("\n\n".join(sentences) + "\n")


def bare(folder: Path, *runs: str, path: Path = ROOT, timeout: int = 600) -> dict[str, str]:
    """Run recipes without extras, and return what each of them said."""
    env = {**os.environ, "PYTHONPATH": str(path), "HF_HOME": str(folder / "hf"), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, str(BARE), *" -- ".join(runs).split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, timeout=timeout)
    said = done.stdout + done.stderr if done.returncode else done.stdout
    assert done.returncode == 0, said[-3000:]
    told = {part.split("\n", 1)[0]: part for part in done.stdout.split("\n== ")[1:]}
    return {**told, "errors": done.stderr}


def test_extras_that_are_missing_cost_no_result(tmp_path: Path) -> None:
    files(tmp_path)
    said = bare(tmp_path, f"table --data.path=rows.csv --targets=a,b {QUICK}", "tweets")
    assert "delta_m" in said["table"]
    assert (
        "comparison.png is left out. A picture needs matplotlib: pip install 'lightning-mtl[recipes]'" in said["table"]
    )
    assert "comparison.csv, .json, config.yaml" in said["table"]
    assert "exit 2" in said["tweets"]
    assert "pip install 'lightning-mtl[hf,recipes]'" in said["errors"]
    assert "Traceback" not in said["errors"]


def wheel(folder: Path) -> Path:
    """Build a wheel of the library, and unpack it."""
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    shutil.copytree(ROOT / "lightning_mtl", source / "lightning_mtl", ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)]
    done = subprocess.run(build, capture_output=True, text=True)
    if done.returncode and "hatchling" in done.stderr:
        pytest.skip("hatchling, which builds the wheel, is neither installed nor on the index")
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("*.whl")
    shutil.unpack_archive(made, folder / "installed", "zip")
    return folder / "installed"


@pytest.mark.slow
def test_every_recipe_runs_from_a_bare_wheel(tmp_path: Path) -> None:
    files(tmp_path)
    waves = "--data.steps_per_epoch=2 --data.test_episodes=4 --methods=MAML --trainer.max_epochs=1 --trainer.enable_progress_bar=false"
    runs = [
        f"table --data.path=rows.csv --targets=a,b {QUICK}",
        f"text --data.path=texts.csv --targets=sentiment,disagreement {QUICK}",
        f"sentiment_topic --data.path=texts.csv {QUICK}",
        f"domain_sentiment --data.path=domains.csv {QUICK}",
        f"tagging --data.path=words.txt --data.columns=[form,upos,feats] --targets=upos,feats --model.width=8 {QUICK}",
        f"sinusoid {waves}",
        "glyphs",
        "tweets",
    ]
    said = bare(tmp_path, *runs, path=wheel(tmp_path))
    for recipe in ("table", "text", "sentiment_topic", "domain_sentiment", "tagging"):
        assert "delta_m" in said[recipe], said[recipe]
        assert "comparison.png is left out" in said[recipe]
    assert "5 points" in said["sinusoid"]
    assert "report.html is left out. A report needs matplotlib" in said["domain_sentiment"].split("delta_m")[0]
    for recipe in ("glyphs", "tweets"):
        assert "exit 2" in said[recipe]
    assert said["errors"].count("error: ") == 2
    assert said["errors"].count("pip install 'lightning-mtl[") == 2
    assert "Traceback" not in said["errors"]
