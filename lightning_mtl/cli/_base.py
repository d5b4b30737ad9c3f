"""What the command lines of recipes have in common: Lightning's options, a folder for each run, errors without a traceback."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from abc import abstractmethod
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, NoReturn

import datasets
import lightning as L
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from .. import samplers
from .._checks import did_you_mean, require_number
from .._pictures import drawn
from ..comparison import LARGEST
from ..modules import MultiTaskModule
from ..writing import whole_file
from ._messages import as_options, interrupted, message_of, program, told
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
        self._folder: Path | None = None
        self._known: Any = None
        """What is known so far; its text is a table."""
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
        try:
            return super().instantiate_trainer(**{"logger": False, **options})
        except (MisconfigurationException, ValueError) as error:
            given = sorted(name for name in self._given if name.startswith("--trainer.")) or [
                "those of the configuration"
            ]
            raise ValueError(
                f"The options of the Trainer must suit this machine and each other, got {', '.join(given)}: {str(error).strip()} "
                "Change them, or leave them out."
            ) from error

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Read the options, and refuse those that do not go together, before any data are read."""
        given = [str(arg) for arg in (sys.argv[1:] if args is None else args)] if not isinstance(args, dict) else []
        self._given = {arg.split("=")[0] for arg in given if arg.startswith("--")}
        with (
            warnings.catch_warnings()
        ):  # of options from both, which are the same but for those of a run that is resumed
            warnings.filterwarnings("ignore", "LightningCLI's args parameter is intended to run from within Python")
            super().parse_arguments(parser, self._resumed(given) if args is None or isinstance(args, list) else args)
        try:
            self._seeds()
            self.refuse_options()
        except ValueError as error:
            parser.exit(2, f"error: {as_options(str(error), self._options)}\n")

    def refuse_options(self) -> None:
        """Refuse options that do not go together."""

    def instantiate_classes(self) -> None:
        """Make data, model and Trainer; print their errors without a traceback."""
        if not sys.stderr.isatty():
            datasets.disable_progress_bars()  # in a file, each update would be a line
        try:
            refuse_functions("model.balancer", self.config.model.get("balancer"))
            super().instantiate_classes()
        except (ValueError, OSError, ModuleNotFoundError, MisconfigurationException) as error:
            self.parser.exit(2, f"error: {told(error, self._options)}\n")

    def run(self) -> Any:
        """Do what the options say; print errors of the library without a traceback, and what is known by then."""
        try:
            return self.answer()
        except BaseException as error:
            self._tell_known()
            if interrupted(error):
                self.parser.exit(130, "Interrupted.\n")
            if (message := message_of(error, self._options)) is not None:
                self.parser.exit(2, f"error: {message}\n")
            raise

    @abstractmethod
    def answer(self) -> Any:
        """Do what the options say."""

    def _tell_known(self) -> None:
        """Print what is known of a comparison or a search that is broken off, and how to go on."""
        folder = self._folder
        if folder is None or not self.trainer.is_global_zero:
            return
        if self._known is not None:
            print(f"\nBroken off. Known so far, and written to {folder}:\n{self._known}")
        if how := self._how_to_go_on(folder):
            print(f"To go on: {how}", flush=True)

    def _how_to_go_on(self, folder: Path) -> str | None:
        """Return the command that goes on with a run that was broken off, if there is one."""
        return f"{program()} --resume={folder}"

    def _resumed(self, given: list[str]) -> list[str]:
        """Return the options with those of the run that `--resume` names."""
        folder = next((value for name, value in _named(given) if name == "--resume"), None)
        if folder is None or "--resume" not in self._options:
            return given
        if others := sorted(self._given - {"--resume", "--seeds", "--config"}):
            self.parser.exit(
                2, f"error: `--resume` has the options of the run that it resumes, got {others} too. Leave them out.\n"
            )
        if not (config := Path(folder) / "config.yaml").is_file():
            self.parser.exit(
                2, f"error: `--resume` must be the folder of a run, with its config.yaml, got {folder!r}.\n"
            )
        return ["--config", str(config), *given]

    @property
    def _options(self) -> list[str]:
        return [name for name in self.parser._option_string_actions if name.startswith("--")]

    def _seeds(self) -> range:
        seeds, first = self.config.seeds, self.config.seed_everything
        require_number("--seeds", seeds, "5 are the default.", at_least=1, whole=True)
        if first is False:
            raise ValueError("`--seed_everything` must be a whole number: runs are paired by their seeds, got false.")
        first = 0 if first is None or first is True else first  # true: Lightning draws one before anything is run
        if not 0 <= first <= first + seeds - 1 <= LARGEST:
            raise ValueError(
                f"`--seed_everything` must be a whole number from 0 to {LARGEST + 1 - seeds} with --seeds={seeds}, since {LARGEST} is the "
                f"largest seed that NumPy takes, got {first}."
            )
        return range(first, first + seeds)

    def _start(self) -> Path:
        """Make the folder of this run, with its configuration."""
        resumed = self._resumed_folder()
        folder = self._folder = resumed or run_folder(Path(self.config.trainer.default_root_dir), self.trainer)
        if self.trainer.is_global_zero and resumed is None:
            with whole_file(folder / "config.yaml") as part:
                self.parser.save(self.config, part, skip_validation=True, overwrite=True)
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # twenty runs would print it twenty times
        warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated")  # Lightning's own, at every step of its set-up
        for text in (".*have the same inputs as rows of", ".*number of training batches"):
            warnings.filterwarnings("once", text)  # every run has the same data
        return folder

    def _resumed_folder(self) -> Path | None:
        """Return the folder of the run that is resumed, if there is one."""
        resumed = self.config.get("resume")
        return None if resumed is None else Path(resumed)

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

    def _how_to_predict(self, folder: Path, run: str = "multi-task") -> str:
        """Return a line of code that predicts with the first network of these runs, if there is a checkpoint of it."""
        found = sorted(folder.glob(f"{run}/**/*.ckpt"), key=lambda path: (len(path.parts), path))
        kind = self._kind.kind()
        return f"\nTo predict: {kind}.load_from_checkpoint({str(found[0])!r}).predict(rows)" if found else ""

    def _picture(self, draw: Callable[[], Any], file: str) -> str:
        """Draw a picture, and return the name of its file: what `draw` returns, or else `file`; print why where it is left out."""
        made: list[Any] = []
        if (left_out := drawn(lambda: made.append(draw()), file)) is not None:
            print(left_out)
            return ""
        return made[0] if isinstance(made[0], str) else file

    def _watching(self, run: str) -> list[L.Callback]:
        """Return callbacks that monitor the run of this name, beside those of the user."""
        return []

    def _more_checkpoints(self, where: dict[str, Any]) -> list[ModelCheckpoint]:
        """Return callbacks that write checkpoints beside the best one."""
        return []


def _named(args: list[str]) -> list[tuple[str, str]]:
    """Return names and values of options."""
    after = zip(args, [*args[1:], ""], strict=False)
    return [(arg.split("=", 1)[0], arg.split("=", 1)[1] if "=" in arg else value) for arg, value in after]


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
