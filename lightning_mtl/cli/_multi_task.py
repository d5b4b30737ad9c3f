"""The command line of a recipe that ends in a comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser

from ..arms import compare_arms
from ..balancers import Balancer
from ..comparison import ALL, Comparison, compare, score
from ..data import MultiTaskDataModule
from ..gradients import Measuring
from ..modules import MultiTaskModule
from ..placement import Placement, search_placement
from ..report import write_report
from ..weight_search import WeightSearch, search_weights
from ._base import RecipeCLI, finish
from ._comparisons import read_comparison, write_comparison
from ._messages import program
from ._options import add_options, add_shortcuts
from ._refused import refuse_beside_search, refuse_checkpoint, refuse_ignored, refuse_twin_options
from ._watched import Watched


class MultiTaskCLI(RecipeCLI):
    """Train a multi-task model and its single-task twins, configured from the command line.

    The model's class must take `tasks`, the names of the tasks to train, from which its twins are made. There is no
    subcommand: `--model.*`, `--data.*` and `--trainer.*` set the arguments of the classes and of the Trainer, `--config`
    reads them from a YAML file, `--seeds` is the number of paired seeds, and `--seed_everything` the first of them.
    `--compare=false` trains only the network for all tasks, as a sweep does: every `--save_every` steps it writes `last.ckpt`,
    with which `--ckpt_path` resumes a run that was killed. `--weight_search=8` searches fixed weights of the losses instead,
    beside equal weights and `--model.balancer` with as many trials: see `search_weights`. `--placement=all` tries each task of a
    hierarchy at each level instead: see `search_placement`. Errors of the classes when they are made (a `ValueError`, a
    missing file) end the program with their message.

    Args:
        model: A `MultiTaskModule` with an argument `tasks`.
        data: A `MultiTaskDataModule`.
        folder: The folder of all runs, unless `--trainer.default_root_dir` says otherwise.
        trainer: Defaults of the Trainer's arguments.
        links: Arguments of the model that follow from attributes of the data, e.g. {"topics": "topics"}.
        shortcuts: Options without a prefix that set arguments of data and model: {option: (default, arguments)}; with
            several arguments the value is a list, with commas between.
        arms: Two networks to compare in place of one with its single-task twins: {name: arguments of the model that make it}; the
            first is the baseline of the second.
        also: Results of these that are compared too, see `compare_arms`.
        monitors: Makes callbacks that monitor the first network for all tasks in a comparison; a report is made of their records.
        args: The command line. Default: that of the process.
    """

    two_stage: ClassVar[bool | float] = False
    """The default of `--two_stage`."""

    def __init__(
        self,
        model: type[MultiTaskModule],
        data: type[MultiTaskDataModule],
        *,
        folder: str,
        trainer: dict[str, Any] | None = None,
        links: dict[str, str] | None = None,
        shortcuts: dict[str, tuple[str, list[str]]] | None = None,
        arms: dict[str, dict[str, Any]] | None = None,
        also: Sequence[str] = (),
        monitors: Callable[[], list[L.Callback]] | None = None,
        args: list[str] | None = None,
    ) -> None:
        self._watched = Watched(monitors)
        self.links = links or {}
        self.shortcuts = shortcuts or {}
        self.arms = arms or {}
        self.also = also
        super().__init__(model, data, folder=folder, trainer=trainer, args=args)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of the comparison."""
        add_options(parser, self.arms, self.two_stage)
        add_shortcuts(parser, self.shortcuts)
        for target, source in self.links.items():
            parser.link_arguments(f"data.{source}", f"model.{target}", apply_on="instantiate")

    def refuse_options(self) -> None:
        """Refuse options that do not go together."""
        refuse_twin_options(self.config, self.arms)
        refuse_ignored(self.config, self._given, self.arms)
        refuse_beside_search(self.config, self._kind.__name__)
        refuse_checkpoint(self.config)

    def answer(self) -> Comparison | WeightSearch | Placement | float:
        """Search weights or levels, compare, or train only the network for all tasks."""
        if self.config.weight_search is not None:
            return self.search_weights()
        if self.config.placement is not None:
            return self.search_placement()
        return self.compare() if self.config.compare else self.score()

    def compare(self) -> Comparison:
        """Run the comparison, print its table, and write it as CSV, JSON and PNG into the folder of this run."""
        folder = self._start()
        options: dict[str, Any] = {"seeds": self._seeds(), "finish": finish, "done": self._done(folder)}
        options["after_seed"] = lambda comparison: self._keep(folder, comparison)
        if (left_out := self._watched.why_not()) is not None and self.trainer.is_global_zero:
            print(left_out)
        if self.arms:
            arms = {name: partial(self._model, None, None, changes) for name, changes in self.arms.items()}
            comparison = compare_arms(
                arms, self.datamodule, lambda run: self._trainer(folder, run), also=self.also, **options
            )
        else:
            comparison = compare(
                self._model,
                self.datamodule,
                lambda run: self._trainer(folder, run),
                two_stage=self.two_stage if self.config.two_stage is None else self.config.two_stage,
                cache=self.config.cache,
                **options,
            )
        if self.trainer.is_global_zero:
            self._keep(folder, comparison)
            print(f"\n{comparison}", flush=True)
            picture = self._picture(lambda: comparison.plot(folder / "comparison.png"), "comparison.png")
            predict = self._how_to_predict(folder, comparison.arms[1])
            print(f"Written to {folder}: comparison.csv, .json,{' .png,' if picture else ''} config.yaml.{predict}")
        self._report(folder, comparison)
        return comparison

    def _keep(self, folder: Path, comparison: Comparison) -> None:
        """Write the comparison as far as it is known, and keep it for the case that it is broken off."""
        self._known = comparison
        if self.trainer.is_global_zero:
            write_comparison(folder, comparison)

    def _done(self, folder: Path) -> Comparison | None:
        """Return the comparison as far as it was known when the run that is resumed was broken off."""
        self._known = found = None if self.config.resume is None else read_comparison(folder)
        return found

    def more_runs(self, folder: Path) -> dict[str, dict[str, Any]]:
        """Train further runs for the report, and return {name: what `Report.record` returned}; a recipe may override it.

        Args:
            folder: The folder of this run.
        """
        return {}

    def _watching(self, run: str) -> list[L.Callback]:
        first = f"{list(self.arms)[-1] if self.arms else ALL}/seed{self._seeds()[0]}"
        watched = self.config.compare and run == first and not self._searches
        return self._watched.callbacks() if watched else []

    @property
    def _searches(self) -> bool:
        return self.config.weight_search is not None or self.config.placement is not None

    def _report(self, folder: Path, comparison: Comparison) -> None:
        """Write the report of the monitored run, and print its path."""
        if self._watched.report is None:
            return
        records = {"together": self._watched.report.record(), **self.more_runs(folder)}
        if self.trainer.is_global_zero:
            title = f"{self._kind.__name__}: did sharing help?"
            if self._picture(lambda: write_report(folder, records, comparison.record(), title), "report.html"):
                print(f"The report: {folder / 'report.html'}")

    def score(self) -> float:
        """Train only the network for all tasks, and print the mean of its `validate/score` over the seeds."""
        folder = self._start()
        found = score(
            self._model,
            self.datamodule,
            lambda run: self._trainer(folder, run),
            seeds=self._seeds(),
            finish=finish,
            ckpt_path=self.config.ckpt_path,
        )
        if self.trainer.is_global_zero:
            result = f"validate/score {found:.4f}, seeds: {len(self._seeds())}"
            print(f"\n{result}\nWritten to {folder}: logs, config.yaml.{self._how_to_predict(folder)}")
        return found

    def search_weights(self) -> WeightSearch:
        """Search fixed weights of the losses, print the table, and write it as CSV into the folder of this run."""
        folder, first = self._start(), self._seeds()[0]
        found = search_weights(
            lambda balancer: self._model(None, balancer),
            self.datamodule,
            lambda run: self._trainer(folder, run),
            trials=self.config.weight_search,
            seed=first,
            finish=finish,
            after_trial=partial(self._keep_table, folder / "weight_search.csv"),
        )
        if self.trainer.is_global_zero:
            found.to_csv(folder / "weight_search.csv")
            predict = self._how_to_predict(folder, found.best.best.run)
            print(f"\n{found}\nWritten to {folder}: weight_search.csv, config.yaml.{predict}")
        return found

    def search_placement(self) -> Placement:
        """Try tasks at other levels, print the table, and write it as CSV into the folder of this run."""
        folder, wanted = self._start(), self.config.placement
        found = search_placement(
            self._at_levels,
            self.datamodule,
            lambda run: self._trainer(folder, run),
            levels=None if wanted == "all" else wanted,
            seeds=self._seeds(),
            finish=finish,
            after_level=partial(self._keep_table, folder / "placement.csv"),
        )
        if self.trainer.is_global_zero:
            found.to_csv(folder / "placement.csv")
            print(f"\n{found}\nWritten to {folder}: placement.csv, config.yaml.")
        return found

    def _keep_table(self, path: Path, found: WeightSearch | Placement) -> None:
        """Write a search as far as it is known, and keep it for the case that it is broken off."""
        self._known = found
        if self.trainer.is_global_zero:
            found.to_csv(path)

    def _at_levels(self, levels: Mapping[str, int] | None) -> Any:
        given: Mapping[str, int] = self.config.model.levels or {}
        return self._model(None, changes={"levels": {**given, **(levels or {})}})

    def _resumed_folder(self) -> Path | None:
        """Return the folder of the run to which `--ckpt_path` belongs, or which `--resume` names."""
        if self.config.ckpt_path is None:
            return super()._resumed_folder()
        start = Path(self.config.ckpt_path)
        return next((folder for folder in start.parents if (folder / "config.yaml").exists()), start.parent)

    def _how_to_go_on(self, folder: Path) -> str | None:
        """Return the command that goes on with a run that was broken off."""
        if self._searches:
            return None
        if self.config.compare:
            return super()._how_to_go_on(folder)
        last = sorted(folder.glob("**/last.ckpt"))
        resume = f"{program()} --config={folder / 'config.yaml'} --compare=false --seeds=1"
        return f"{resume} --ckpt_path={last[-1]}" if last and len(self._seeds()) == 1 else None

    def _more_checkpoints(self, where: dict[str, Any]) -> list[ModelCheckpoint]:
        last = ModelCheckpoint(filename="last", every_n_train_steps=self.config.save_every, **where)
        return [] if self.config.compare else [last]

    def _model(
        self, tasks: list[str] | None, balancer: Balancer | None = None, changes: Mapping[str, Any] | None = None
    ) -> MultiTaskModule:
        config = deepcopy(self.config.model)
        for name, value in (changes or {}).items():
            config[name] = value
        if balancer is not None:
            config.balancer = balancer
            for name, default in vars(Measuring()).items():  # the user's settings belong to the user's balancer only
                if name in config:
                    config[name] = default
        if tasks is not None:
            config.tasks = tasks
        for target, source in self.links.items():
            config[target] = getattr(self.datamodule, source)
        model: MultiTaskModule = self._instantiate(self._kind, "model", config)
        return model
