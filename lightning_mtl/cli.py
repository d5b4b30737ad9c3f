"""The command line of a recipe: Lightning's own, which ends in a comparison."""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from difflib import get_close_matches
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal, NoReturn

import datasets
import lightning as L
from jsonargparse import Namespace
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from . import samplers
from ._balancing import Measuring
from .arms import compare_arms
from .balancers import Balancer
from .comparison import Comparison, compare, score
from .datamodule import MultiTaskDataModule
from .module import MultiTaskModule
from .placement import Placement, search_placement
from .weight_search import WeightSearch, search_weights

_RUN = "LIGHTNING_MTL_RUN"


class MultiTaskCLI(LightningCLI):
    """Train a multi-task model beside its single-task twins, all of it set from the command line.

    The model's class must take `tasks`, the names of the tasks to train, from which its twins are made. There is no
    subcommand: `--model.*`, `--data.*` and `--trainer.*` set the arguments of the classes and of the Trainer, `--config`
    reads them from a YAML file, `--seeds` says how many paired seeds to run, `--seed_everything` which is the first, and
    `--compare=false` trains the network for all tasks alone, as a sweep does: every `--save_every` steps it writes `last.ckpt`, with
    which `--ckpt_path` goes on where a run was killed. `--weight_search=8` searches fixed weights of the losses instead, beside
    equal weights and `--model.balancer` with as many trials: see `search_weights`. `--placement=all` tries each task of a hierarchy
    at each level instead: see `search_placement`. What the classes refuse when they are made (a
    `ValueError`, a file that is not there) ends the program with their message.

    Args:
        model: A `MultiTaskModule` with an argument `tasks`.
        data: A `MultiTaskDataModule`.
        folder: Where runs are kept, unless `--trainer.default_root_dir` says otherwise.
        trainer: Defaults of the Trainer's arguments.
        links: Arguments of the model that follow from attributes of the data, e.g. {"topics": "topics"}.
        shortcuts: Options without a prefix that stand for arguments of data and model: {option: (default, arguments)}; with
            several arguments the value is a list, with commas between.
        arms: Two networks to compare in place of one with its single-task twins: {name: arguments of the model that make it}; the
            first is what the second is measured against.
        also: Results of these that are compared too, see `compare_arms`.
        args: The command line. Default: that of the process.
    """

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
        args: list[str] | None = None,
    ) -> None:
        self.links = links or {}
        self._kind = model
        self.shortcuts = shortcuts or {}
        self.arms = arms or {}
        self.also = also
        super().__init__(
            model,
            data,
            run=False,
            save_config_callback=None,
            seed_everything_default=0,
            trainer_defaults={"default_root_dir": folder, **(trainer or {})},
            parser_class=_Parser,
            auto_configure_optimizers=False,  # `--model.optimizer` chooses it
            args=args,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of the comparison."""
        parser.add_argument("--seeds", type=int, default=5, help="How many paired seeds to run (default: 5).")
        whom = f"compare {' and '.join(self.arms)}" if self.arms else "train the twins too"
        parser.add_argument("--compare", type=bool, default=True, help=f"Whether to {whom} (default: true).")
        parser.add_argument(
            "--save_every",
            type=int,
            default=50,
            help="Steps from one last.ckpt to the next, with --compare=false (default: 50).",
        )
        parser.add_argument(
            "--ckpt_path", type=str, default=None, help="A last.ckpt to go on with, with --compare=false --seeds=1."
        )
        parser.add_argument(
            "--weight_search",
            type=int | None,
            default=None,
            help="Trials of a search for the best fixed weights, beside equal weights and --model.balancer with as many, in place "
            "of the comparison. Each trial has a seed of its own, from --seed_everything on; --seeds does not count.",
        )
        parser.add_argument(
            "--placement",
            type=Literal["all"] | dict[str, list[int]] | None,
            default=None,
            help="Tasks to try at other levels of a hierarchy, in place of the comparison: all, or {task: [level, ...]}. Each level has the "
            "same --seeds.",
        )
        for option, (default, arguments) in self.shortcuts.items():
            parser.add_argument(f"--{option}", type=str, default=default, help=f"Sets {', '.join(arguments)}.")
            for argument in arguments:
                parser.link_arguments(option, argument, compute_fn=_split if len(arguments) > 1 else None)
        for target, source in self.links.items():
            parser.link_arguments(f"data.{source}", f"model.{target}", apply_on="instantiate")

    def instantiate_trainer(self, **options: Any) -> L.Trainer:
        """Make a Trainer that tells ranks and devices; each run gets one of its own, with its logger."""
        return super().instantiate_trainer(**{"logger": False, **options})

    def instantiate_classes(self) -> None:
        """Make data, model and Trainer; what they refuse is said without a traceback."""
        try:
            super().instantiate_classes()
        except (ValueError, OSError) as error:
            self.parser.exit(2, f"error: {error}\n")

    def run(self) -> Comparison | WeightSearch | Placement | float:
        """Do what the options say: a search of weights or levels, the comparison, or the network for all tasks alone."""
        try:
            if self.config.weight_search is not None:
                return self.search_weights()
            if self.config.placement is not None:
                return self.search_placement()
            return self.compare() if self.config.compare else self.score()
        except ValueError as error:
            raised = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
            if not raised.is_relative_to(Path(__file__).parent):
                raise
            self.parser.exit(2, f"error: {error}\n")  # what the library refuses is said without a traceback
            raise AssertionError("`exit` leaves the program") from error

    def compare(self) -> Comparison:
        """Run the comparison, print its table, and write it as CSV and PNG into the folder of this run."""
        folder = self._start()
        options: dict[str, Any] = {"seeds": self._seeds(), "finish": _finish}
        if self.arms:
            arms = {name: partial(self._model, None, None, changes) for name, changes in self.arms.items()}
            comparison = compare_arms(
                arms, self.datamodule, lambda run: self._trainer(folder, run), also=self.also, **options
            )
        else:
            comparison = compare(self._model, self.datamodule, lambda run: self._trainer(folder, run), **options)
        if self.trainer.is_global_zero:
            comparison.to_csv(folder / "comparison.csv")
            comparison.plot(folder / "comparison.png")
            predicts = self._predicts(folder, comparison.arms[1])
            print(f"\n{comparison}\nWritten to {folder}: comparison.csv, comparison.png, config.yaml.{predicts}")
        return comparison

    def score(self) -> float:
        """Train the network for all tasks alone, and print the mean of its `validate/score` over the seeds."""
        folder = self._start()
        found = score(
            self._model,
            self.datamodule,
            lambda run: self._trainer(folder, run),
            seeds=self._seeds(),
            finish=_finish,
            ckpt_path=self.config.ckpt_path,
        )
        if self.trainer.is_global_zero:
            said = f"validate/score {found:.4f}, seeds: {len(self._seeds())}"
            print(f"\n{said}\nWritten to {folder}: logs, config.yaml.{self._predicts(folder)}")
        return found

    def search_weights(self) -> WeightSearch:
        """Search fixed weights of the losses, print the table, and write it as CSV into the folder of this run."""
        self._refuse_beside("weight_search", "balancer", "`**balancing`, and pass that on to `MultiTaskModule`")
        folder, first = self._start(), self._seeds()[0]
        found = search_weights(
            lambda balancer: self._model(None, balancer),
            self.datamodule,
            lambda run: self._trainer(folder, run),
            trials=self.config.weight_search,
            seed=first,
            finish=_finish,
        )
        if self.trainer.is_global_zero:
            found.to_csv(folder / "weight_search.csv")
            predicts = self._predicts(folder, found.best.best.run)
            print(f"\n{found}\nWritten to {folder}: weight_search.csv, config.yaml.{predicts}")
        return found

    def search_placement(self) -> Placement:
        """Try tasks at other levels, print the table, and write it as CSV into the folder of this run."""
        self._refuse_beside("placement", "levels", "`levels`, a dictionary {task: level}, for its tasks")
        folder, wanted = self._start(), self.config.placement
        found = search_placement(
            self._at_levels,
            self.datamodule,
            lambda run: self._trainer(folder, run),
            levels=None if wanted == "all" else wanted,
            seeds=self._seeds(),
            finish=_finish,
        )
        if self.trainer.is_global_zero:
            found.to_csv(folder / "placement.csv")
            print(f"\n{found}\nWritten to {folder}: placement.csv, config.yaml.")
        return found

    def _at_levels(self, levels: Mapping[str, int] | None) -> Any:
        given: Mapping[str, int] = self.config.model.levels or {}
        return self._model(None, changes={"levels": {**given, **(levels or {})}})

    def _refuse_beside(self, search: str, argument: str, remedy: str) -> None:
        """Refuse options that do not go together with a search, before anything is written."""
        if self.config.ckpt_path is not None or not self.config.compare:
            raise ValueError(
                f"`--{search}` must stand without `--ckpt_path` and `--compare=false`, which are of one network, got "
                f"--ckpt_path={self.config.ckpt_path} and --compare={str(self.config.compare).lower()}. Leave these out."
            )
        if argument not in self.config.model:
            raise ValueError(
                f"`--{search}` must be of a model that takes `{argument}`, got {self._kind.__name__}. Give its `__init__` {remedy}."
            )

    def _predicts(self, folder: Path, run: str = "multi-task") -> str:
        """Say where the first network of these runs is kept, if it is."""
        found = sorted(folder.glob(f"{run}/**/*.ckpt"))
        kind = self._kind.kind()
        return f"\nTo predict: {kind}.load_from_checkpoint({str(found[0])!r}).predict(rows)" if found else ""

    def _seeds(self) -> range:
        seeds, first = self.config.seeds, self.config.seed_everything
        if seeds < 1:
            raise ValueError(f"`--seeds` must be at least 1, got {seeds}.")
        first = first if isinstance(first, int) else 0
        return range(first, first + seeds)

    def _start(self) -> Path:
        """Make the folder of this run, with its configuration."""
        self._seeds()
        start = self.config.ckpt_path
        folder = (
            _folder(Path(self.config.trainer.default_root_dir), self.trainer.world_size)
            if start is None
            else self._left(Path(start))
        )
        if self.trainer.is_global_zero and start is None:
            self.parser.save(self.config, folder / "config.yaml", skip_validation=True, overwrite=True)
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # twenty runs would say it twenty times
        warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated")  # Lightning's own, at every step of its set-up
        for text in (".*have the same inputs as rows of", ".*number of training batches"):
            warnings.filterwarnings("once", text)  # every run has the same data
        if not sys.stderr.isatty():
            datasets.disable_progress_bars()  # in a file each of them would be lines
        return folder

    def _left(self, start: Path) -> Path:
        """Find the folder of the run that a checkpoint is of."""
        if self.config.compare:
            raise ValueError(
                "`--ckpt_path` must go on with one network, got a comparison. Add --compare=false --seeds=1."
            )
        if not start.is_file():
            raise ValueError(f"`--ckpt_path` must be a checkpoint of a run, got {str(start)!r}, which is no file.")
        return next((folder for folder in start.parents if (folder / "config.yaml").exists()), start.parent)

    def _model(
        self, tasks: list[str] | None, balancer: Balancer | None = None, changes: Mapping[str, Any] | None = None
    ) -> MultiTaskModule:
        config = deepcopy(self.config.model)
        for name, value in (changes or {}).items():
            config[name] = value
        if balancer is not None:
            config.balancer = balancer
            for name, default in vars(Measuring()).items():  # what goes with the balancer of the user's choice alone
                if name in config:
                    config[name] = default
        if tasks is not None:
            config.tasks = tasks
        for target, source in self.links.items():
            config[target] = getattr(self.datamodule, source)
        model: MultiTaskModule = self._made(self._kind, "model", config)
        return model

    def _made(self, kind: type, name: str, config: Namespace) -> Any:
        """Make one of the classes alone: all of them together would read the data again for each run."""
        parser = LightningArgumentParser()
        parser.add_lightning_class_args(kind, name)
        return parser.instantiate_classes(Namespace({name: config}))[name]  # type: ignore[no-untyped-call]

    def _trainer(self, folder: Path, run: str) -> L.Trainer:
        arm, seed = run.split("/")
        config = deepcopy(self.config.trainer)
        config.default_root_dir = str(folder / run)
        for logger in _listed(config.logger):
            if isinstance(logger, Namespace) and "name" in logger.init_args and logger.init_args.name is None:
                logger.init_args.name = f"{arm}-{seed}"
        options = dict(self._made(L.Trainer, "trainer", config))
        if options["logger"] in (None, True) and not options["barebones"]:
            again = len(list((folder / arm).glob(f"{seed}*"))) if self.config.ckpt_path else 0
            options["logger"] = CSVLogger(folder, name=arm, version=f"{seed}-resumed-{again}" if again else seed)
        kept: dict[str, Any] = {"dirpath": folder / run / "checkpoints", "enable_version_counter": False}
        best = ModelCheckpoint(monitor="validate/score", mode="max", filename="best", save_weights_only=True, **kept)
        last = ModelCheckpoint(filename="last", every_n_train_steps=self.config.save_every, **kept)
        callbacks = _listed(options["callbacks"])
        watched = any(isinstance(callback, Checkpoint) for callback in callbacks)
        off = options["enable_checkpointing"] is False or options["barebones"] or options["fast_dev_run"]
        callbacks = callbacks if watched or off else [*callbacks, best]
        options["callbacks"] = callbacks if self.config.compare or off else [*callbacks, last]
        return self._instantiate_trainer(options, [])


class _Parser(LightningArgumentParser):
    """Answers an unknown option with the nearest one there is."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        known = [name for name in self._option_string_actions if name.startswith("--")]
        rules = [name for name in samplers.__all__ if isinstance(getattr(samplers, name), type(samplers.Rule))]
        for wrong in re.findall(r"dot import path string: (\w+)", message):
            if close := get_close_matches(wrong, rules, 1):
                message += f"\nDid you mean {close[0]}?"
        for wrong in re.findall(r"--[\w.]+", message):
            if wrong not in known and (close := get_close_matches(wrong, known, 1)):
                message += f"\nThere is no option {wrong}. Did you mean {close[0]}?"
        super().error(message, ex)
        raise AssertionError("`error` leaves the program")


def _finish(trainer: L.Trainer) -> None:
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):  # else the next run would go on in the same one
            logger.experiment.finish()


def _split(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [] if value is None else [value]


def _folder(root: Path, ranks: int) -> Path:
    """Make a new folder for this run, the same one on all of its ranks."""
    job = os.environ.get("TORCHELASTIC_RUN_ID") or os.environ.get("SLURM_JOB_ID")
    if ranks > 1 and (job or _RUN in os.environ):
        folder = Path(os.environ[_RUN]) if _RUN in os.environ else root / f"run_{job}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    for number in count():
        folder = root / f"run_{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        if ranks > 1:
            os.environ[_RUN] = str(folder)  # for the processes that Lightning starts from this one
        return folder
    raise AssertionError("numbers do not end")
