"""A record of a run, kept during training, and written as one page at its end."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn

from .._checks import require_number
from .._pictures import drawn
from .._plain import plain
from ..callbacks import StatefulCallback, phase_of, sampler_of
from ..modules import TaskModule
from ..writing import whole_file
from ._run_facts import draws_of, levels_of, tasks_of
from ._series import Series

_MOST_STAGES = 1000
"""If there are more phases, they are repeated ones, and none is in the record."""


class Report(StatefulCallback):
    """Record what a run logs, and write a page that answers the questions of a multi-task run.

    The page, `report.html`, needs no network. It says at the top whether each task gains by sharing, which tasks belong together,
    whether the small one overfits, whether one is forgotten, and how much should be shared: with numbers, with the figures that
    show them, and with "not measured" and what to add where no callback has measured it. The figures are written beside it as PNG,
    the record as `record.json`; `WandbLogger` and `TensorBoardLogger` of the Trainer get the figures too. `write_report` makes one
    page of several runs and of a comparison.

    It only observes: training is the same, bit for bit, with and without it. The record is in checkpoints, so that a resumed run has
    all of it. A checkpoint within an epoch, at a step whose losses are logged, is written before they are, and lacks these losses.

    Args:
        folder: The folder of the page. Default: the folder of the first logger that has one, or else `default_root_dir`.
        every_figure: Validations from one writing to the next during training. Default: it is written at the end only.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: `every_figure` is below 1; or the model is no module of the library.

    Example:
        >>> from lightning_mtl.report import Report
        >>> report = Report()  # L.Trainer(callbacks=[report]); afterwards report.record()
        >>> report.record()["series"]
        {}
    """

    def __init__(self, folder: str | Path | None = None, every_figure: int | None = None) -> None:
        remedy = "Leave it out to write at the end."
        require_number("every_figure", every_figure, remedy, at_least=1, whole=True, optional=True)
        self._page = _page_package()
        self.folder, self.every_figure = folder, every_figure
        self._trainer: L.Trainer | None = None
        self._reset()

    def _reset(self) -> None:
        self._series: dict[str, Series] = {}
        self._facts: dict[str, Any] = {}
        self._validations = 0
        self._stages: list[dict[str, Any]] = []
        self._phase: int | None = None
        self._steps = 0

    # Hooks of Lightning

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check that the model is a module of the library."""
        if not isinstance(pl_module, TaskModule):
            raise ValueError(
                f"Report must have a module of lightning-mtl, got {type(pl_module).__name__}. Train a `MultiTaskModule` or its like."
            )

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Register for the values that the module logs; start from scratch, or resume."""
        if self.starts_new_run(trainer):
            self._reset()
        self._trainer = trainer
        self._facts["tasks"] = tasks_of(trainer, pl_module)
        pl_module.train_log.listeners.append(self._add)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Measure the work of the levels, once; note where a phase begins."""
        if "levels" not in self._facts:
            self._facts["levels"] = levels_of(pl_module, batch)
        sampler = sampler_of(trainer)
        phase = phase_of(sampler) if len(self._stages) <= _MOST_STAGES else None
        if sampler is not None and phase is not None and phase != self._phase:
            rule: Any = sampler.rule
            self._phase = phase
            self._stages.append({"name": " + ".join(rule.phases[phase].sources), "start": trainer.global_step})

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record the results of a validation."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        metrics = trainer.callback_metrics.items()
        self._add(trainer.global_step, {key: float(value) for key, value in metrics if key.startswith("validate/")})
        self._validations += 1
        if self.every_figure is not None and self._validations % self.every_figure == 0:
            self._write(trainer)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the page, after the hooks of all callbacks for the end of training."""
        super().on_fit_end(trainer, pl_module)
        self._collect()
        self._write(trainer)

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Release the Trainer: other callbacks may have removed their records by now."""
        super().teardown(trainer, pl_module, stage)
        self._trainer = None

    def state_dict(self) -> dict[str, Any]:
        """Return the series, the stages and the work of the levels."""
        series = {key: [of.points, of.every, of.seen, of.newest] for key, of in self._series.items()}
        kept = {"validations": self._validations, "phase": self._phase}
        return {"series": series, "levels": self._facts.get("levels"), "stages": list(self._stages), **kept}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Args:
            state: The state.
        """
        self._reset()
        self._series = {
            key: Series([list(p) for p in points], *rest) for key, (points, *rest) in state["series"].items()
        }
        self._validations, self._stages = state["validations"], list(state["stages"])
        self._phase = state["phase"]
        if state["levels"] is not None:
            self._facts["levels"] = state["levels"]

    # The record

    def record(self) -> dict[str, Any]:
        """Return all that is known of the run so far, as plain data.

        Returns:
            "tasks" (name, metric, sign, rows), "series" ({key: [[step, value], ...]}, some 500 points each), "monitors" ({class:
            its record}), "levels", "stages" and "draws".
        """
        self._collect()
        series = {key: of.kept() for key, of in self._series.items()}
        known: dict[str, Any] = {"tasks": [], "levels": None, "draws": None, "monitors": {}}
        ends = [*(stage["start"] for stage in self._stages[1:]), self._steps]
        noted = self._stages if len(self._stages) <= _MOST_STAGES else []
        stages = [{**stage, "end": end} for stage, end in zip(noted, ends, strict=False)]
        made: dict[str, Any] = plain({**known, **self._facts, "stages": stages, "series": series})
        return made

    def _add(self, step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            if key not in self._series:
                self._series[key] = Series()
            self._series[key].add(step, value)

    def _collect(self) -> None:
        """Collect records of monitors, steps and draws, while there is a Trainer."""
        if self._trainer is None:
            return
        self._facts["monitors"], self._steps = self._monitors(), self._trainer.global_step
        if (sampler := sampler_of(self._trainer)) is not None:
            self._facts["draws"] = draws_of(sampler)

    def _monitors(self) -> dict[str, Any]:
        """Return the record of every other callback that has one; a second callback of a class has a number."""
        found: dict[str, Any] = {}
        for callback in getattr(self._trainer, "callbacks", ()):
            record = getattr(callback, "record", None)
            if callback is self or not callable(record):
                continue
            name = type(callback).__name__
            same = sum(key.split(" ")[0] == name for key in found)
            found[f"{name} {same + 1}" if same else name] = record()
        return found

    # The page

    def _write(self, trainer: L.Trainer) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        folder = self._folder(trainer)
        record = self.record()
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(folder / "record.json") as part:
            part.write_text(json.dumps(record, indent=1), encoding="utf-8")
        if left_out := drawn(lambda: self._draw(folder, record, trainer), "The report"):
            warnings.warn(f"{left_out} The record is {folder / 'record.json'}.", stacklevel=2)

    def _draw(self, folder: Path, record: Mapping[str, Any], trainer: L.Trainer) -> None:
        self._page.write_report(folder, {"this run": record})
        figures = sorted((folder / "report").glob("*.png"))
        self._page.log_figures(trainer.loggers, figures, trainer.global_step)

    def _folder(self, trainer: L.Trainer) -> Path:
        if self.folder is not None:
            return Path(self.folder)
        folders = (getattr(logger, "log_dir", None) for logger in trainer.loggers)
        return Path(next((folder for folder in folders if folder), trainer.default_root_dir))


def write_report(
    folder: str | Path,
    records: Mapping[str, Mapping[str, Any]],
    comparison: Mapping[str, Any] | None = None,
    title: str = "Multi-task learning report",
) -> Path:
    """Write the page of one or several runs, `report.html`, and its figures, `report/*.png`.

    The page answers five questions (does each task gain by sharing, which tasks belong together, is the small task overfitting,
    is a task being forgotten, how much should be shared), with the numbers and figures behind each answer, or says what was
    not measured. It is a single file and needs no network.

    Args:
        folder: The folder of the page; figures of an earlier report there are removed.
        records: {name of the run: what `Report.record` returned}, e.g. {"joint": ..., "with replay": ...}.
        comparison: What `Comparison.record` returned.
        title: The heading.

    Returns:
        The path of the page.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.

    Example:
        >>> from tempfile import mkdtemp
        >>> write_report(mkdtemp(), {"joint": {"tasks": [{"name": "topic"}]}}).name
        'report.html'
    """
    path: Path = _page_package().write_report(folder, records, comparison, title)
    return path


def _page_package() -> Any:
    try:
        import matplotlib  # noqa: F401

        from . import page
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("A report needs matplotlib: pip install 'lightning-mtl[recipes]'") from error
    return page
