"""What the command lines of recipes have in common: Lightning's options, a folder for each run, errors without a traceback."""

from __future__ import annotations

import logging
import re
import sys
import traceback
import warnings
from abc import abstractmethod
from copy import deepcopy
from pathlib import Path
from typing import Any, NoReturn

import datasets
import lightning as L
from jsonargparse import Namespace
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from .. import samplers
from .._checks import did_you_mean
from ..modules import MultiTaskModule
from ..writing import whole_file
from ._options import refuse_functions
from ._run_folder import run_folder


class RecipeCLI(LightningCLI):
    """Configure model, data and Trainer from the command line, and train several networks with them.

    Args:
        model: A module of the library.
        data: A data module of the library.
        folder: The folder of all runs, unless `--trainer.default_root_dir` says otherwise.
        trainer: Defaults of the Trainer's arguments.
        args: The command line. Default: that of the process.
    """

    def __init__(
        self,
        model: type[MultiTaskModule],
        data: type[L.LightningDataModule],
        *,
        folder: str,
        trainer: dict[str, Any] | None = None,
        args: list[str] | None = None,
    ) -> None:
        self._kind = model
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

    def instantiate_trainer(self, **options: Any) -> L.Trainer:
        """Make a Trainer that knows ranks and devices; each run gets one of its own, with its logger."""
        return super().instantiate_trainer(**{"logger": False, **options})

    def instantiate_classes(self) -> None:
        """Make data, model and Trainer; print their errors without a traceback."""
        try:
            refuse_functions("model.balancer", self.config.model.get("balancer"))
            super().instantiate_classes()
        except (ValueError, OSError) as error:
            self.parser.exit(2, f"error: {error}\n")

    def run(self) -> Any:
        """Do what the options say; print errors of the library without a traceback."""
        try:
            return self.answer()
        except ValueError as error:
            raised = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
            if not raised.is_relative_to(Path(__file__).parents[1]):
                raise
            self.parser.exit(2, f"error: {error}\n")
            raise AssertionError("`exit` leaves the program") from error

    @abstractmethod
    def answer(self) -> Any:
        """Do what the options say."""

    def _seeds(self) -> range:
        seeds, first = self.config.seeds, self.config.seed_everything
        if seeds < 1:
            raise ValueError(f"`--seeds` must be at least 1, got {seeds}.")
        first = first if isinstance(first, int) else 0
        return range(first, first + seeds)

    def _start(self) -> Path:
        """Make the folder of this run, with its configuration."""
        self._seeds()
        resumed = self._resumed_folder()
        folder = resumed or run_folder(Path(self.config.trainer.default_root_dir), self.trainer)
        if self.trainer.is_global_zero and resumed is None:
            with whole_file(folder / "config.yaml") as part:
                self.parser.save(self.config, part, skip_validation=True, overwrite=True)
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # twenty runs would print it twenty times
        warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated")  # Lightning's own, at every step of its set-up
        for text in (".*have the same inputs as rows of", ".*number of training batches"):
            warnings.filterwarnings("once", text)  # every run has the same data
        if not sys.stderr.isatty():
            datasets.disable_progress_bars()  # in a file, each update would be a line
        return folder

    def _resumed_folder(self) -> Path | None:
        """Return the folder of the run that is resumed, if there is one."""
        return None

    def _instantiate(self, kind: type, name: str, config: Namespace) -> Any:
        """Make one of the classes alone: all of them together would read the data again for each run."""
        parser = LightningArgumentParser()
        parser.add_lightning_class_args(kind, name)
        return parser.instantiate_classes(Namespace({name: config}))[name]  # type: ignore[no-untyped-call]

    def _trainer(self, folder: Path, run: str) -> L.Trainer:
        arm, seed = run.split("/")
        config = deepcopy(self.config.trainer)
        config.default_root_dir = str(folder / run)
        for logger in _as_list(config.logger):
            if isinstance(logger, Namespace) and "name" in logger.init_args and logger.init_args.name is None:
                logger.init_args.name = f"{arm}-{seed}"
        options = dict(self._instantiate(L.Trainer, "trainer", config))
        if options["logger"] in (None, True) and not options["barebones"]:
            again = len(list((folder / arm).glob(f"{seed}*"))) if self._resumed_folder() else 0
            options["logger"] = CSVLogger(folder, name=arm, version=f"{seed}-resumed-{again}" if again else seed)
        where: dict[str, Any] = {"dirpath": folder / run / "checkpoints", "enable_version_counter": False}
        best = ModelCheckpoint(monitor="validate/score", mode="max", filename="best", save_weights_only=True, **where)
        callbacks = [*_as_list(options["callbacks"]), *self._watching(run)]
        own = any(isinstance(callback, Checkpoint) for callback in callbacks)
        off = options["enable_checkpointing"] is False or options["barebones"] or options["fast_dev_run"]
        callbacks = callbacks if own or off else [*callbacks, best]
        options["callbacks"] = callbacks if off else [*callbacks, *self._more_checkpoints(where)]
        return self._instantiate_trainer(options, [])

    def _watching(self, run: str) -> list[L.Callback]:
        """Return callbacks that monitor the run of this name, beside those of the user."""
        return []

    def _more_checkpoints(self, where: dict[str, Any]) -> list[ModelCheckpoint]:
        """Return callbacks that write checkpoints beside the best one."""
        return []


class _Parser(LightningArgumentParser):
    """Names the nearest option in errors about an unknown one."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        known = [name for name in self._option_string_actions if name.startswith("--")]
        rules = [name for name in samplers.__all__ if isinstance(getattr(samplers, name), type(samplers.Rule))]
        for wrong in re.findall(r"dot import path string: (\w+)", message):
            if hint := did_you_mean(wrong, rules, ""):
                message += f"\n{hint}"
        for wrong in re.findall(r"--[\w.]+", message):
            if wrong not in known and (hint := did_you_mean(wrong, known, "")):
                message += f"\nThere is no option {wrong}. {hint}"
        super().error(message, ex)
        raise AssertionError("`error` leaves the program")


def finish(trainer: L.Trainer) -> None:
    """Close the loggers of a run."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):  # else the next run would continue this one
            logger.experiment.finish()


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [] if value is None else [value]
