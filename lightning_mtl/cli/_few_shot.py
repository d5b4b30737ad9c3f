"""The command line of recipes that learn tasks from a few examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.cli import LightningArgumentParser

from ..comparison import fit, refuse_idle
from ..meta import EpisodeDataModule, EpisodeScores, FewShotComparison, MetaLearningModule, score_episodes
from ..saving import read_model
from ._base import RecipeCLI, finish
from ._options import split_names
from ._refused import refuse_overwritten

Trained = Mapping[str, Mapping[str, MetaLearningModule]]
"""{setting: {method: module}}."""


class FewShotCLI(RecipeCLI):
    """Train several methods in several settings, and compare their results on test episodes.

    `--model.*`, `--data.*`, `--trainer.*`, `--config`, `--seeds` and `--seed_everything` are as in `MultiTaskCLI`; `--methods` and
    `--settings` choose some, with commas between.

    Args:
        model: A `MetaLearningModule` of one task. It may have a method `learn(trainer, data)` that trains it in another way than
            `Trainer.fit`, and returns the module to test.
        data: An `EpisodeDataModule`.
        methods: {method: arguments of the model that make it}.
        settings: {setting: arguments of the data that make it}.
        shown: Inner steps whose results are reported; tests take as many as the last says.
        full: Arguments of the Trainer that the option `--full=true` sets.
        published: {setting: {method: the result that a paper reports}}.
        draw: Draws a figure of the modules of the first seed into a folder, and returns the name of its file.
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
            values = ", ".join(f"{name}={value}" for name, value in self._full.items())
            parser.add_argument(
                "--full", type=bool, default=False, help=f"Whether to train in full: {values} (default: false)."
            )
        for name, choices in (("methods", self.methods), ("settings", self.settings)):
            names = ",".join(choices)
            parser.add_argument(
                f"--{name}", type=str, default=names, help=f"Which to run, with commas between (default: {names})."
            )

    def answer(self) -> FewShotComparison:
        """Train and test all methods, print the table, and write it as CSV and PNG into the folder of this run."""
        methods, settings = self._chosen("methods", self.methods), self._chosen("settings", self.settings)
        if self._full and self.config.full:
            for name, value in self._full.items():
                self.config.trainer[name] = value
        if self.trainer.world_size > 1:
            raise ValueError(
                f"`--trainer.devices` must be 1 where ways to learn are compared, since each is tested on one process, got "
                f"{self.trainer.world_size} processes. Run settings or methods side by side instead."
            )
        folder = self._start()
        found: dict[str, dict[str, list[Any]]] = {}
        first: dict[str, dict[str, MetaLearningModule]] = {of: {} for of in settings}
        for setting in settings:
            for seed in self._seeds():
                for method in methods:
                    module, results = self._run(folder, setting, method, seed)
                    found.setdefault(setting, {}).setdefault(method, []).append(results)
                    first[setting].setdefault(method, module)
                    comparison = self._keep(folder, found, first)
        if self.trainer.is_global_zero:
            print(f"\n{comparison}", flush=True)
            pictures = [self._picture(lambda: comparison.plot(folder / "comparison.png"), "comparison.png")]
            if (draw := self._draw) is not None:
                pictures.append(self._picture(lambda: draw(first, folder), "A figure"))
            files = ", ".join(["comparison.csv", *filter(None, pictures), "config.yaml"])
            print(f"Written to {folder}: {files}.{self._how_to_adapt(folder)}")
        return comparison

    def _keep(self, folder: Path, found: Mapping[str, Mapping[str, list[Any]]], first: Trained) -> FewShotComparison:
        """Write the comparison as far as it is known, and keep it for the case that it is broken off."""
        scores = {
            of: {name: EpisodeScores(_metric(first[of][name]), list(runs)) for name, runs in by.items()}
            for of, by in found.items()
        }
        self._known = comparison = FewShotComparison(scores, self.shown, self.published)
        comparison.to_csv(folder / "comparison.csv")
        return comparison

    def refuse_options(self) -> None:
        """Refuse options that settings or methods would overwrite."""
        refuse_overwritten(self._given, "data", "settings", self.settings)
        refuse_overwritten(self._given, "model", "methods", self.methods)
        if self._full and self.config.full:
            refuse_overwritten(self._given, "trainer", "full=true", {"full": self._full})
        limit = self.config.trainer.limit_test_batches
        if isinstance(limit, float) and limit != 1.0:
            raise ValueError(
                f"`--trainer.limit_test_batches` must be a whole number of batches of episodes, got {limit}. Count them."
            )

    def _how_to_go_on(self, folder: Path) -> str | None:
        """Return None: a comparison of few-shot methods cannot be resumed; `--settings` and `--methods` choose those that are missing."""
        return None

    def _run(self, folder: Path, setting: str, method: str, seed: int) -> tuple[MetaLearningModule, Any]:
        L.seed_everything(seed, verbose=False)
        config = deepcopy(self.config.data)
        for name, value in {**self.settings[setting], "summary": False}.items():
            config[name] = value
        data = self._instantiate(self._data, "data", config)
        trainer = self._trainer(folder, f"{method}, {setting}/seed{seed}")
        refuse_idle(trainer)
        module: Any = self._model(self.methods[method])
        module = module.learn(trainer, data) if hasattr(module, "learn") else learned(trainer, module, data)
        finish(trainer)
        limit = trainer.limit_test_batches
        return module, score_episodes(module, data, self.shown[-1], limit if isinstance(limit, int) else None)

    def _model(self, changes: Mapping[str, Any]) -> MetaLearningModule:
        config = deepcopy(self.config.model)
        for name, value in changes.items():
            config[name] = value
        module: MetaLearningModule = self._instantiate(self._kind, "model", config)
        return module

    def _chosen(self, option: str, choices: Mapping[str, Any]) -> list[str]:
        names = list(dict.fromkeys(split_names(self.config[option])))
        unknown = [name for name in names if name not in choices]
        if unknown or not names:
            raise ValueError(
                f"`--{option}` must be out of {list(choices)}, got {unknown or names}. Put commas between."
            )
        return names

    def _how_to_adapt(self, folder: Path) -> str:
        """Return a line of code that adapts the first network of these runs, if there is a checkpoint of it."""
        found = sorted(folder.glob("*/**/*.ckpt"))
        kind = self._kind.kind()
        return (
            f"\nTo learn a task: {kind}.load_from_checkpoint({str(found[0])!r}).adapt(Task(name), rows)"
            if found
            else ""
        )


def learned(trainer: L.Trainer, module: MetaLearningModule, data: EpisodeDataModule) -> MetaLearningModule:
    """Train a module, and load the weights of its best validation.

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
