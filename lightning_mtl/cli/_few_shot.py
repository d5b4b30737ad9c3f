"""The command line of recipes that learn tasks from a few examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.cli import LightningArgumentParser

from ..comparison import fit
from ..meta import EpisodeDataModule, FewShotComparison, Judgement, MetaLearningModule, judge
from ..saving import read_model
from ._base import RecipeCLI, finish

Trained = Mapping[str, Mapping[str, MetaLearningModule]]
"""{setting: {method: module}}."""


class FewShotCLI(RecipeCLI):
    """Train several methods in several settings, and compare what each makes of test episodes.

    `--model.*`, `--data.*`, `--trainer.*`, `--config`, `--seeds` and `--seed_everything` are as in `MultiTaskCLI`; `--methods` and
    `--settings` choose some, with commas between.

    Args:
        model: A `MetaLearningModule` of one task; it may have a method `learn(trainer, data)` that trains it otherwise than `Trainer.fit` does,
            and gives the module to test.
        data: An `EpisodeDataModule`.
        methods: {method: arguments of the model that make it}.
        settings: {setting: arguments of the data that make it}.
        shown: Inner steps whose results are written down; as many are taken in tests as the last says.
        full: Arguments of the Trainer that the option `--full=true` sets.
        published: {setting: {method: what a paper reports}}.
        draw: Draws a picture of the modules of the first seed into a folder, and names its file.
        folder: See `MultiTaskCLI`.
        trainer: See `MultiTaskCLI`.
        args: See `MultiTaskCLI`.
    """

    def __init__(
        self,
        model: type[MetaLearningModule],
        data: type[EpisodeDataModule],
        *,
        methods: Mapping[str, dict[str, Any]],
        settings: Mapping[str, dict[str, Any]],
        shown: Sequence[int],
        folder: str,
        full: Mapping[str, Any] | None = None,
        published: Mapping[str, Mapping[str, str]] | None = None,
        draw: Callable[[Trained, Path], str] | None = None,
        trainer: dict[str, Any] | None = None,
        args: list[str] | None = None,
    ) -> None:
        self.methods, self.settings, self.shown = methods, settings, shown
        self.published, self._draw = published or {}, draw
        self._data, self._full = data, full or {}
        super().__init__(model, data, folder=folder, trainer=trainer, args=args)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of the comparison."""
        parser.add_argument("--seeds", type=int, default=1, help="How many seeds to run (default: 1).")
        if self._full:
            said = ", ".join(f"{name}={value}" for name, value in self._full.items())
            parser.add_argument(
                "--full", type=bool, default=False, help=f"Whether to train in full: {said} (default: false)."
            )
        for name, there in (("methods", self.methods), ("settings", self.settings)):
            names = ",".join(there)
            parser.add_argument(
                f"--{name}", type=str, default=names, help=f"Which to run, with commas between (default: {names})."
            )

    def answer(self) -> FewShotComparison:
        """Train and test all of it, print the table, and write it as CSV and PNG into the folder of this run."""
        methods, settings = (
            self._chosen(name, there) for name, there in (("methods", self.methods), ("settings", self.settings))
        )
        if self._full and self.config.full:
            for name, value in self._full.items():
                self.config.trainer[name] = value
        if self.trainer.world_size > 1:
            raise ValueError(
                f"`--trainer.devices` must be 1 where ways to learn are compared, since each is tested on one process, got "
                f"{self.trainer.world_size} processes. Run settings or methods side by side instead."
            )
        folder = self._start()
        found: dict[str, dict[str, list[Any]]] = {of: {name: [] for name in methods} for of in settings}
        first: dict[str, dict[str, MetaLearningModule]] = {of: {} for of in settings}
        for setting in settings:
            for seed in self._seeds():
                for method in methods:
                    module, judged = self._run(folder, setting, method, seed)
                    found[setting][method].append(judged)
                    first[setting].setdefault(method, module)
        comparison = FewShotComparison(
            {
                of: {name: Judgement(_metric(first[of][name]), runs) for name, runs in by.items()}
                for of, by in found.items()
            },
            self.shown,
            self.published,
        )
        if self.trainer.is_global_zero:
            comparison.to_csv(folder / "comparison.csv")
            comparison.plot(folder / "comparison.png")
            more = f", {self._draw(first, folder)}" if self._draw is not None else ""
            print(
                f"\n{comparison}\nWritten to {folder}: comparison.csv, comparison.png{more}, config.yaml.{self._adapts(folder)}"
            )
        return comparison

    def _run(self, folder: Path, setting: str, method: str, seed: int) -> tuple[MetaLearningModule, Any]:
        L.seed_everything(seed, verbose=False)
        config = deepcopy(self.config.data)
        for name, value in {**self.settings[setting], "summary": False}.items():
            config[name] = value
        data = self._made(self._data, "data", config)
        trainer = self._trainer(folder, f"{method}, {setting}/seed{seed}")
        module: Any = self._model(self.methods[method])
        module = module.learn(trainer, data) if hasattr(module, "learn") else learned(trainer, module, data)
        finish(trainer)
        limit = trainer.limit_test_batches
        return module, judge(module, data, self.shown[-1], limit if isinstance(limit, int) else None)

    def _model(self, changes: Mapping[str, Any]) -> MetaLearningModule:
        config = deepcopy(self.config.model)
        for name, value in changes.items():
            config[name] = value
        module: MetaLearningModule = self._made(self._kind, "model", config)
        return module

    def _chosen(self, option: str, there: Mapping[str, Any]) -> list[str]:
        names = [name.strip() for name in self.config[option].split(",") if name.strip()]
        unknown = [name for name in names if name not in there]
        if unknown or not names:
            raise ValueError(f"`--{option}` must be out of {list(there)}, got {unknown or names}. Put commas between.")
        return names

    def _adapts(self, folder: Path) -> str:
        """Say where the first network of these runs is kept, if it is."""
        found = sorted(folder.glob("*/**/*.ckpt"))
        kind = self._kind.kind()
        return (
            f"\nTo learn a task: {kind}.load_from_checkpoint({str(found[0])!r}).adapt(Task(name), rows)"
            if found
            else ""
        )


def learned(trainer: L.Trainer, module: MetaLearningModule, data: EpisodeDataModule) -> MetaLearningModule:
    """Train a module, and give it the weights that validated best.

    Args:
        trainer: The Trainer.
        module: The module.
        data: The data.
    """
    best = fit(trainer, module, data)
    if best:
        module.load_state_dict(read_model(best)[1])
    return module


def _metric(module: MetaLearningModule) -> str:
    return "accuracy" if module.tasks[0].known_head().kind == "multiclass" else "loss"
