"""The report: a page that stands alone, the same figures as files and in loggers, a record that a resume does not break."""

from __future__ import annotations

import json
import random
import re
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from lightning_mtl import HierarchicalModule, Levels, Multiclass, MultiTaskDataModule, Regression, Source, Task
from lightning_mtl._plain import plain
from lightning_mtl.report import Report, write_report
from lightning_mtl.report._series import POINTS, Series
from lightning_mtl.report.page import Section, sections
from lightning_mtl.report.page._drawing import _columns
from lightning_mtl.report.page._stages import _by_column
from lightning_mtl.samplers import Phase, Phases
from tests.builders import module, rows, splits
from tests.conftest import TrainerMaker
from tests.report.records import LEVELS, NAMES, TASKS, comparison, records, run

PNG = b"\x89PNG"


class Page(HTMLParser):
    """What a page holds: its tags with their attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def data(**options: Any) -> MultiTaskDataModule:
    """Two sources, drawn one after the other."""
    of = {"sign": splits(60, 1), "size": splits(24, 2)}
    in_turn = Phases([Phase(["sign"], steps=7), Phase(["size"], steps=5)], repeat=False)
    sources = {
        name: {split: [{"x": row["x"], name: row[name]} for row in held] for split, held in parts.items()}
        for name, parts in of.items()
    }
    given = {"batch_size": 6, "sampling": in_turn, "steps_per_epoch": 6, "summary": False, **options}
    return MultiTaskDataModule(sources, **given)


class Counting(L.Callback):
    """A monitor with a record, of which NaN is a part."""

    def record(self) -> dict[str, Any]:
        return {"tasks": ["sign"], "value": float("nan")}


# Series


@pytest.mark.parametrize("count", [1, 2, POINTS - 1, POINTS, POINTS + 1, POINTS + 2, 2 * POINTS + 1, 12_345])
def test_thinning_keeps_first_and_last_and_even_distances(count: int) -> None:
    series, draw = Series(), random.Random(count)
    given: list[list[float]] = [[step, draw.random()] for step in range(7, 7 + count)]
    for step, value in given:
        series.add(int(step), value)
    kept = series.kept()
    assert (kept[0], kept[-1]) == (given[0], given[-1])
    assert len(kept) <= POINTS + 1
    assert len(kept) >= min(count, POINTS // 2)
    assert all(point in given for point in kept)
    gaps = [after[0] - before[0] for before, after in pairwise(kept)]
    assert len(set(gaps[:-1])) <= 1
    assert count > POINTS or kept == given


def test_a_series_goes_on_where_it_was_kept() -> None:
    whole, first = Series(), Series()
    for step in range(3000):
        whole.add(step, step / 3)
    for step in range(1501):
        first.add(step, step / 3)
    second = Series(*json.loads(json.dumps([first.points, first.every, first.seen, first.newest])))
    for step in range(1501, 3000):
        second.add(step, step / 3)
    assert second.kept() == whole.kept()


def test_a_record_is_plain() -> None:
    assert plain({1: (float("inf"), float("nan"), 2), "a": [None, True, "x"]}) == {
        "1": [None, None, 2],
        "a": [None, True, "x"],
    }
    with pytest.raises(TypeError, match="got Tensor"):
        plain({"a": torch.ones(1)})


# The page


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the page of two runs and a comparison, once for all tests."""
    return write_report(tmp_path_factory.mktemp("whole"), records(), comparison())


def test_every_figure_there_are_data_for_is_drawn(whole: Path) -> None:
    page, folder = Page(whole), whole.parent / "report"
    files = {path.stem for path in folder.glob("*.png")}
    kinds = [
        "curves",
        "forgetting",
        "stages",
        "affinity",
        "cosine",
        "cosines",
        "conflict",
        "rate",
        "loss-weight",
        "loss-share",
    ]
    wanted = {f"{kind}-{i}" for kind in (*kinds, "draws", "levels") for i in range(2)}
    assert wanted | {"comparison", *(f"comparison-{i}" for i in range(5)), "curves-4", "forgetting-4"} <= files
    images = page.all("img")
    assert len(images) == len(files)
    assert all((image["alt"] or "").endswith(".") and image["src"] for image in images)
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            assert image.width >= 800
            assert len(image.convert("L").getcolors() or range(300)) > 2


def test_a_table_says_what_each_arm_cost(whole: Path) -> None:
    text = Page(whole).text
    for said in ("memory to train, MiB", "memory to serve, MiB", "1,510", "402", "32,000,000", "488", "122"):
        assert said in text


def test_scores_that_were_kept_are_dark() -> None:
    shades = _by_column([[0.984, 0.9, 0.0], [0.984, 0.2, 0.0], [0.98, None, -1.0]])
    assert [row[0] for row in shades] == pytest.approx([1.0, 1.0, 1 - 0.004 / 0.0984])
    assert [row[1] for row in shades] == [1.0, pytest.approx(0.0), None]
    assert [row[2] for row in shades] == [1.0, 1.0, 0.0]


def test_a_legend_has_as_many_columns_as_fit() -> None:
    assert _columns([16, 14, 18, 19]) == 2
    assert _columns([16]) == 1
    assert _columns([3, 3, 3, 3, 3]) == 4
    assert _columns([40, 40]) == 1


def test_a_comparison_alone_is_of_its_tasks(tmp_path: Path) -> None:
    assert "5 tasks" in Page(write_report(tmp_path, {}, comparison())).text


def test_figures_without_data_are_left_out(tmp_path: Path) -> None:
    few: dict[str, Any] = {"tasks": [{"name": "a"}], "series": {"validate/a/loss": [[1, 2.0]]}}
    assert Page(write_report(tmp_path, {"run": few})).all("img")
    path = write_report(tmp_path, {"run": {"tasks": [{"name": "a"}]}})
    page = Page(path)
    assert not page.all("img")
    assert not list((tmp_path / "report").iterdir())
    assert "Not measured" in page.text


def test_links_lead_to_sections_that_are_there(tmp_path: Path) -> None:
    few: dict[str, Any] = {"tasks": [{"name": "a"}], "series": {"validate/a/loss": [[1, 2.0]]}}
    records_of: list[dict[str, Any]] = [{"run": few}, {"run": few | {"levels": LEVELS}}, {"run": {}}]
    for given in records_of:
        page = Page(write_report(tmp_path, given))
        there = {attributes.get("id") for _, attributes in page.tags}
        assert {(link["href"] or "")[1:] for link in page.all("a")} <= there


def test_names_are_escaped_wherever_they_stand(tmp_path: Path) -> None:
    wild = "<script>alert('1')</script>&\"`$x$"
    monitors = {
        "ForgettingMonitor": {
            "tasks": [wild],
            "steps": [1, 2],
            "scores": [[1.0], [0.5]],
            "alarms": [{"task": wild, "step": 2}],
        },
        "TransferMonitor": {
            "tasks": [wild, "b"],
            "affinity": [[0, 1], [1, 0]],
            "error": [[0, 0.1], [0.1, 0]],
            "probes": 2,
        },
    }
    record = {"tasks": [{"name": wild, "metric": wild, "sign": 1, "rows": 3}], "monitors": monitors}
    of = {"task": wild, "metric": wild, "sign": 1, "single": [1.0], "multi": [2.0], "difference": {"mean": 1.0}}
    page = Page(write_report(tmp_path, {wild: record}, {"seeds": [0], "tasks": [of]}, title=wild))
    assert not page.all("script")
    assert page.text.count(wild) > 10
    assert any(wild in (image["alt"] or "") for image in page.all("img"))


def test_names_with_tags_stay_text(whole: Path) -> None:
    page = Page(whole)
    assert NAMES[3] in page.text
    assert not page.all("b")


def test_the_page_asks_nothing_of_a_network(whole: Path) -> None:
    page = Page(whole)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        for name in ("src", "href", "srcset", "poster", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,"))
    assert not re.search(r"url\(|@import|https?:", whole.read_text(encoding="utf-8"))


@pytest.mark.parametrize("count", [1, 2, 9])
def test_any_number_of_tasks_can_be_drawn(count: int) -> None:
    names = [f"a task with a rather long name, the one of number {i}" for i in range(count)]
    matrix = [[0.1 * (i - j) for j in range(count)] for i in range(count)]
    monitors = {
        "TransferMonitor": {"tasks": names, "affinity": matrix, "error": matrix, "probes": 3},
        "ConflictMonitor": {"tasks": names, "cosine": matrix, "conflict_rate": matrix, "looks": matrix},
    }
    series = {f"train/{name}/rate": [[1, 0.5], [2, None]] for name in names}
    drawn = sections({"run": {"tasks": [{"name": name} for name in names], "series": series, "monitors": monitors}})
    found = {panel.name: panel for section in drawn for panel in section.panels}
    assert ("affinity-0" in found) == (count > 1)
    assert "rate-0" in found
    assert count < 9 or found["cosine-0"].wide


def test_a_users_own_style_of_figures_is_left_alone(tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    write_report(tmp_path, {"run": {"levels": LEVELS}})
    assert dict(matplotlib.rcParams) == before


def test_sections_are_in_order() -> None:
    drawn: list[Section] = sections(records(), comparison())
    assert [section.key for section in drawn] == [
        "curves",
        "comparison",
        "forgetting",
        "relations",
        "sampling",
        "levels",
    ]


# A run


def test_stages_are_told_in_steps_of_the_optimizer(trainer: TrainerMaker, tmp_path: Path) -> None:
    report = Report()
    trainer(max_epochs=2, accumulate_grad_batches=4, callbacks=[report]).fit(module(), data())
    first, second = report.record()["stages"]
    assert first == {"name": "sign", "start": 0, "end": second["start"]}
    assert second["end"] == 4  # of two epochs of six batches
    assert 0 < second["start"] < 4


def test_many_repeated_phases_are_not_kept(trainer: TrainerMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_mtl.report._recorder._MOST_STAGES", 3)
    report, in_turns = Report(), Phases([Phase([name], steps=1) for name in ("sign", "size")])
    trainer(max_epochs=1, callbacks=[report]).fit(module(), data(sampling=in_turns))
    assert report.record()["stages"] == []
    assert len(report.state_dict()["stages"]) == 4


def test_a_run_ends_with_page_figures_and_record(trainer: TrainerMaker, tmp_path: Path) -> None:
    report = Report()
    fit = trainer(max_epochs=2, log_every_n_steps=2, callbacks=[report, Counting(), Counting()])
    fit.fit(module(), data())
    read = json.loads((tmp_path / "record.json").read_text())
    assert read == report.record()
    assert read["tasks"] == [
        {"name": "sign", "metric": "accuracy", "sign": 1, "rows": 60},
        {"name": "size", "metric": "r2", "sign": 1, "rows": 24},
    ]
    assert [step for step, _ in read["series"]["validate/size/loss"]] == [6, 12]
    assert [step for step, _ in read["series"]["train/loss"]] == [2, 4, 6, 8, 10, 12]
    last = {key: points[-1] for key, points in read["series"].items() if key.startswith("validate/")}
    shown = {key: float(value) for key, value in fit.callback_metrics.items() if key.startswith("validate/")}
    assert last == {key: [12, value] for key, value in shown.items()}
    assert read["stages"] == [{"name": "sign", "start": 0, "end": 7}, {"name": "size", "start": 7, "end": 12}]
    assert read["draws"]["sources"]["sign"] == {"rows": 60, "drawn": 42, "passes": 0.7}
    assert read["draws"]["steps"] == 12
    nothing = {"tasks": ["sign"], "value": None}
    assert read["monitors"] == {"Counting": nothing, "Counting 2": nothing}
    assert "2 tasks \u00b7 12 steps" in Page(tmp_path / "report.html").text
    assert all(path.read_bytes().startswith(PNG) for path in (tmp_path / "report").glob("*.png"))
    assert (tmp_path / "report/curves-0.png").exists()


def test_rows_with_a_label_are_counted_for_each_task(trainer: TrainerMaker) -> None:
    held = [{**row, "size": row["size"] if i % 3 else None} for i, row in enumerate(rows(60))]
    report = Report()
    trainer(callbacks=[report]).fit(module(), MultiTaskDataModule({"s": Source(held)}, batch_size=20, summary=False))
    assert {task["name"]: task["rows"] for task in report.record()["tasks"]} == {"sign": 60, "size": 40}


def hierarchy() -> HierarchicalModule:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Sequential(nn.Linear(4, 32), nn.Dropout(0.5)), nn.Linear(32, 4))
    low, high = Task("sign", head=Multiclass(2), level=1), Task("size", head=Regression(), level=2)
    return HierarchicalModule(
        [low, high], Levels(trunk, inputs="x"), optimizer=lambda groups: torch.optim.SGD(groups, lr=0.05)
    )


def test_the_work_of_levels_is_recorded(trainer: TrainerMaker) -> None:
    report = Report()
    trainer(callbacks=[report]).fit(hierarchy(), MultiTaskDataModule({"s": splits()}, batch_size=20, summary=False))
    levels = report.record()["levels"]
    assert [level["tasks"] for level in levels] == [[], ["sign"], ["size"]]
    assert [level["share"] for level in levels] == [0.0, 0.5, 0.5]
    assert [level["parameters"] for level in levels] == [0, 4 * 32 + 32, 32 * 4 + 4]


@pytest.mark.parametrize("kind", ["flat", "levels"])
def test_training_is_the_same_with_and_without(kind: str, trainer: TrainerMaker) -> None:
    ends = []
    for callbacks in ([], [Report(every_figure=2)]):
        L.seed_everything(3, verbose=False)
        made = module() if kind == "flat" else hierarchy()
        trainer(max_epochs=2, log_every_n_steps=1, callbacks=callbacks).fit(made, data())
        ends.append(
            ({name: value.clone() for name, value in made.state_dict().items()}, torch.get_rng_state(), made.training)
        )
    (without, state, training), (watched, after, still) = ends
    assert all(torch.equal(without[name], watched[name]) for name in without)
    assert torch.equal(state, after)
    assert training == still


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
@pytest.mark.filterwarnings("ignore:No batch of the first epoch had labels")
@pytest.mark.parametrize(
    ("habits", "stop"),
    [({"every_n_epochs": 1}, 6), ({"every_n_train_steps": 2}, 8)],
    ids=["at the end of an epoch", "within an epoch"],
)
def test_a_resumed_run_has_one_record(habits: dict[str, int], stop: int, trainer: TrainerMaker, tmp_path: Path) -> None:
    def fit(folder: str, ckpt_path: Path | None = None) -> dict[str, Any]:
        options: dict[str, Any] = {**habits}
        keep = ModelCheckpoint(tmp_path / folder, save_top_k=-1, filename="{step}", **options)
        report = Report(tmp_path / folder)
        options = {"max_epochs": 3, "log_every_n_steps": 1, "callbacks": [report, keep], "enable_checkpointing": True}
        trainer(**options).fit(module(), data(), ckpt_path=ckpt_path)
        return report.record()

    whole = fit("whole")
    assert fit("resumed", tmp_path / f"whole/step={stop}.ckpt") == whole


def test_another_fit_has_a_record_of_its_own(trainer: TrainerMaker) -> None:
    report = Report()
    for _ in range(2):
        made = module()
        trainer(callbacks=[report], log_every_n_steps=2).fit(made, data())
        assert [step for step, _ in report.record()["series"]["train/loss"]] == [2, 4, 6]
        assert made.train_log.listeners == []


def test_validation_outside_of_a_fit_is_no_part_of_the_record(trainer: TrainerMaker) -> None:
    report, made, fed = Report(), module(), data()
    fit = trainer(callbacks=[report], num_sanity_val_steps=2)
    fit.fit(made, fed)
    before = report.record()
    assert len(before["series"]["validate/score"]) == 1
    fit.validate(made, fed, verbose=False)
    assert report.record() == before


def test_a_page_can_be_written_while_training_runs(trainer: TrainerMaker, tmp_path: Path) -> None:
    seen = []

    class Look(L.Callback):
        def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            there = (tmp_path / "record.json").exists()
            seen.append(
                len(json.loads((tmp_path / "record.json").read_text())["series"]["validate/score"]) if there else 0
            )

    trainer(max_epochs=4, callbacks=[Look(), Report(every_figure=2)]).fit(module(), data())
    assert seen == [0, 0, 2, 2]


# Where it goes


def test_the_folder_is_that_of_the_first_logger_that_has_one(trainer: TrainerMaker, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="log", version="one")
    trainer(callbacks=[Report()], logger=logger).fit(module(), data())
    assert (tmp_path / "log/one/report.html").exists()
    trainer(callbacks=[Report(tmp_path / "own")], logger=logger).fit(module(), data())
    assert (tmp_path / "own/report.html").exists()
    assert not (tmp_path / "report.html").exists()


def test_a_trial_of_a_step_writes_nothing(trainer: TrainerMaker, tmp_path: Path) -> None:
    trainer(callbacks=[Report(tmp_path)], fast_dev_run=True).fit(module(), data())
    assert not (tmp_path / "report.html").exists()


def test_tensorboard_gets_the_figures(trainer: TrainerMaker, tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="board", version="one")
    trainer(callbacks=[Report()], logger=logger).fit(module(), data())
    logger.finalize("success")
    folder = tmp_path / "board/one"
    events = EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    files = {f"report/{path.stem}": path for path in (folder / "report").glob("*.png")}
    assert set(events.Tags()["images"]) == set(files)
    for tag, path in files.items():
        (event,) = events.Images(tag)
        assert event.step == 6
        with Image.open(path) as image:
            assert (event.width, event.height) == image.size


def test_wandb_gets_the_figures(trainer: TrainerMaker, tmp_path: Path) -> None:
    logger = WandbLogger(save_dir=tmp_path, offline=True, project="report")
    trainer(callbacks=[Report()], logger=logger).fit(module(), data())
    logger.experiment.finish()
    kept = [path.read_bytes() for path in tmp_path.glob("wandb/offline-run-*/files/media/images/report/*.png")]
    files = [path.read_bytes() for path in (tmp_path / "report").glob("*.png")]
    assert sorted(kept) == sorted(files)
    assert len(files) > 2


# What is refused


def test_without_matplotlib_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for make in (Report, lambda: write_report(tmp_path, {})):
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'lightning-mtl\[recipes\]'"):
            make()


def test_figures_need_a_distance_of_at_least_one() -> None:
    with pytest.raises(ValueError, match="`every_figure` must be a whole number of at least 1, got 0"):
        Report(every_figure=0)


def test_a_module_of_another_kind_is_refused(trainer: TrainerMaker) -> None:
    class Other(L.LightningModule):
        pass

    with pytest.raises(ValueError, match="Report must have a module of lightning-mtl, got Other"):
        Report().setup(trainer(), Other(), "fit")


def test_the_sample_fills_what_a_record_has() -> None:
    assert set(run(0.1, 0)) == set(Report().record())
    assert len(TASKS) == 5
